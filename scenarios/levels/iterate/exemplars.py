r"""Parses what a teacher wrote at level 3: sets of exemplars, and reasons. Pure.

A set is a list of blocks, in the form that prompts ask for and show:

    Example 1
    Text: one or more lines
    Reason: one line, or no such line
    Answer: Yes

Text in this form (docs/protocol.md) is accepted. Anything else is refused with a sentence for the teacher. Text before
the first block and after the last answer is ignored.
"""

import re
from collections.abc import Set
from typing import Literal

from broker.work_messages import Exemplar
from scenarios.tasks.problems import folded

Cause = Literal["form", "count", "answer", "no text", "one class", "repeated", "held out"]
"""What can be wrong with a set; with reasons only `form`."""

HEADING = re.compile(r"[*#_ \t]*example[ \t]+\d+[.:*_ \t]*", re.IGNORECASE)
LABEL = re.compile(r"[*_ \t]*(text|reason|answer)[*_ \t]*:[*_]*", re.IGNORECASE)
ANSWER = re.compile(r"[\"'(*_ \t]*(yes|no)[\"')*_ \t]*[.!]?[*_ \t]*", re.IGNORECASE)
REASON = re.compile(r"[*_ \t]*(?:\d{1,2}[.):]|[-*\u2022])[*_ \t]+(\S.*)")
LONGEST = 4000
"""The most characters of one exemplar's text."""
LONGEST_REASON = 400
"""The most characters of a reason; the rest is cut off."""


class Unusable(ValueError):
    """What the teacher wrote cannot be used; the message is for the teacher.

    Args:
        cause: for the counts.
        complaint: what is wrong, in a sentence.
    """

    def __init__(self, cause: Cause, complaint: str) -> None:
        super().__init__(complaint)
        self.cause: Cause = cause


def read_set(text: str, count: int, forbidden: Set[str]) -> tuple[Exemplar, ...]:
    """The exemplars in `text`.

    Args:
        text: what the teacher wrote.
        count: the number of exemplars that it must hold.
        forbidden: folded texts that may not be used.

    Raises:
        Unusable: it does not hold `count` different exemplars of both classes, or uses a forbidden text.
    """
    blocks = _blocks(text)
    if len(blocks) < count:
        raise Unusable("count", f"There must be {count} examples, and there are {len(blocks)}.")
    exemplars = tuple(_exemplar(number, lines, number == count) for number, lines in enumerate(blocks[:count], 1))
    seen: dict[str, int] = {}
    for number, exemplar in enumerate(exemplars, 1):
        same = folded(exemplar.problem)
        if same in seen:
            raise Unusable("repeated", f"Example {number} repeats the text of example {seen[same]}.")
        if same in forbidden:
            raise Unusable("held out", f"The text of example {number} may not be used; write one of your own.")
        seen[same] = number
    answers = {exemplar.answer for exemplar in exemplars}
    if len(answers) == 1:
        raise Unusable("one class", f"Every example has 'Answer: {answers.pop()}'; there must be both, half of each.")
    return exemplars


def read_reasons(text: str, count: int) -> tuple[str, ...]:
    """The numbered lines of `text`, at most `count`.

    Raises:
        Unusable: there is none.
    """
    found = (REASON.fullmatch(line.rstrip()) for line in text.splitlines())
    reasons = dict.fromkeys(" ".join(one[1].split())[:LONGEST_REASON] for one in found if one)
    if not reasons:
        raise Unusable("form", "There is no numbered line with a reason in it.")
    return tuple(reasons)[:count]


def _blocks(text: str) -> list[list[str]]:
    """The lines below each heading."""
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if HEADING.fullmatch(line):
            blocks.append([])
        elif blocks:
            blocks[-1].append(line)
    if not blocks:
        raise Unusable("form", "There is no line 'Example 1', so no example was found.")
    return blocks


def _exemplar(number: int, lines: list[str], last: bool) -> Exemplar:
    """Parse one block; anything may follow the answer of the last one."""
    parts: dict[str, list[str]] = {}
    label = ""
    for line in lines:
        if last and label == "answer":
            break
        if found := LABEL.match(line):
            label = found[1].lower()
            if label in parts or "answer" in parts or (label == "text" and parts):
                raise Unusable("form", f"Example {number} has its line '{label.title()}:' twice or too late.")
            parts[label] = [line[found.end() :].strip()]
        elif label == "text":
            parts[label].append(line.rstrip())
        elif line.strip():
            where = f"after its {label}" if label else "before its text"
            raise Unusable("form", f"Example {number} has a line {where} that belongs to nothing.")
    if "text" not in parts:
        raise Unusable("form", f"Example {number} has no line that begins with 'Text:'.")
    if "answer" not in parts:
        raise Unusable("form", f"Example {number} has no line that begins with 'Answer:'.")
    text = "\n".join(parts["text"]).strip()
    if not any(character.isalnum() for character in text):
        raise Unusable("no text", f"Example {number} has no text of its own.")
    if len(text) > LONGEST:
        raise Unusable("form", f"The text of example {number} is longer than {LONGEST} characters.")
    answer = ANSWER.fullmatch(parts["answer"][0])
    if answer is None:
        raise Unusable("answer", f"The answer of example {number} must be Yes or No, without another word.")
    return Exemplar(text, " ".join(parts.get("reason", [""])[0].split()), answer[1].capitalize())
