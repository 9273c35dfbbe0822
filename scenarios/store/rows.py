"""Rows of class.db."""

from collections.abc import Sequence
from typing import Any

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `result`, and its grade."""

    request_id: str
    kind: str
    level: int = 1
    round: int = 0
    agent: str
    stage: str
    tp: str
    tr: str = ""
    ep: str = ""
    repeat: int = 0
    text: str = ""
    answer: str | None = None
    failed: str = ""
    """Kind of the failure; empty: it succeeded."""
    detail: str = ""
    """Of the failure, for people."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cacheable_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    finish_reason: str = "stop"
    weights: str = ""
    """Digest of the trained weights that answered; empty: those the agent began with."""
    score: float | None = None
    """Of a Grade: the mean log-probability of the solution's tokens, in nats."""
    temperature: float | None = None
    """Of the sampling: 0 is greedy. None: nothing was sampled, or not known."""
    thought_tokens: int = 0
    """Of `completion_tokens`: those of thoughts, which are no part of `text`."""
    prompt: int | None = None
    """Id of its prompt: see prompts.py. None: it has none, or it was not kept."""
    behaviour: str = ""
    """Of a teacher's program: a digest of what it does, equal for programs that do the same."""
    hidden: float | None = None
    """Of a teacher's program: the share of hidden cases that pass; None: there are none."""
    failing: str = ""
    """Of a program, with `self_debug`: the visible cases that it fails, one a line."""
    correct: bool | None = None
    """None: not graded (a failure). The last field: see COLUMNS."""


COLUMNS = Record.__struct_fields__[:-1]
"""Of the table `result`: all but the grade, which is in a table of its own."""


def record_of_row(row: Sequence[Any]) -> Record:
    """The record of a row of COLUMNS and its latest grade, which is None where it has none."""
    *values, grade = row
    return Record(**dict(zip(COLUMNS, values, strict=True)), correct=None if grade is None else bool(grade))


class ClassEvent(msgspec.Struct, frozen=True):
    """Something that happened to the class: an agent joined, was lost, the class stopped."""

    seq: int
    at: str
    agent: str
    kind: str
    detail: str
