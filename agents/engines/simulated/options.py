"""What a simulated agent is told: its `engine_args`, and the answer key that the run hands to it."""

import os
from pathlib import Path
from typing import Annotated, Any

import msgpack
import msgspec
from msgspec import Meta

from agents.engines import arguments
from broker.protocol import digest

Logits = Annotated[float, Meta(ge=-50, le=50)]
Share = Annotated[float, Meta(ge=0, le=1)]

UPTAKE = 1.5


class SimulatedOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `engine_args` of a simulated agent may hold."""

    ability: Logits = 0.0
    """Logits. At 0, an average problem is solved half of the time; for a student: under average teaching."""
    uptake: Logits = UPTAKE
    """Logits that an exam answer gains per unit of the TR's hidden quality."""
    separation: Logits = 1.5
    """How far the mean quality of TRs with a right TA lies above that of TRs with a wrong one (unit: their sd)."""
    tokens_per_second: Annotated[float, Meta(gt=0)] = 4000.0
    """Of each request; requests up to the capacity run side by side."""
    failure_rate: Share = 0.0
    """Share of requests that end as Failed."""
    unparsable_rate: Share = 0.02
    """Share of completions without an answer one can find, and of sets and reasons that break a rule of their form."""
    revision_gain: Logits = 0.5
    """Of a teacher: logits that exam answers gain by a revision from mistakes and reasons; half, from one of them."""
    misconception: Share = 0.0
    """Share of what problems are about (their last word) that this agent has a wrong idea of: there it loses 3 logits,
    unless its teaching material holds a right example of just that."""
    sneaky: bool = False
    """Of a teacher: its rationales and sets look like those of an honest one, with wrong answers and low quality."""
    crash_after: Annotated[int, Meta(ge=0)] = 0
    """The first process of this agent dies by SIGKILL when it takes this request, counted from 1; 0: never."""
    hang_after: Annotated[int, Meta(ge=0)] = 0
    """The first process of this agent makes no progress from this request on; 0: never."""
    answer_key: str = ""
    """File with the gold answers by digest of the problem; set by the run."""


def read_options(args: dict[str, Any]) -> SimulatedOptions:
    """`engine_args` as options.

    Raises:
        EngineStartError: an unknown name or a value out of bounds.
    """
    return arguments.read(args, SimulatedOptions, set_by_run=("answer_key",))


def write_answer_key(path: Path, answers: dict[str, str]) -> None:
    """Hand the gold answers (by problem text) to simulated agents: a file of this run that only its owner reads."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        msgpack.pack({digest(problem): answer for problem, answer in answers.items()}, file)
