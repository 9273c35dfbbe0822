"""Reads exam problems that an agent wrote (`exam.maker: invented`), finds near duplicates, and the agreed answer. Pure.

A near duplicate has the words of another problem, but for case, punctuation and white space; or the same numbers in the
same order, at least two, in whatever words: its answer is mostly the same, too.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from scenarios.tasks.grading.answers import NEXT_PROBLEM

LONGEST = 4000
"""The most characters of a problem."""
LABEL = re.compile(
    r"\A[\s#*_>]*(?:(?:new|exam|next|another)\s+)?(?:problem|question)[\s\d#*_.]*:[*_]*|\A[\s>*_#]+", re.IGNORECASE
)
SOLVED = re.compile(
    r"^[#*_> \t]{0,8}(?:(?:(?:final|correct|the)[ \t]+)?(?:solution|answer|explanation|hint|note)s?\b[*_ \t]{0,4}"
    r"(?:[:.\u2013-]|is\b|$)|(?:new|next|another)[ \t]+(?:problem|question)\b)",
    re.IGNORECASE | re.MULTILINE,
)
"""The start of a solution or of a further problem behind the problem."""
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
FEWEST = 2
"""The fewest numbers that show a near duplicate."""


def read_problem(text: str, like: str, *, ended: bool) -> str:
    """The problem in what an agent wrote, without a label, a solution or a further problem; empty: there is none.

    Args:
        text: what it wrote.
        like: the TP. What looks like the start of a solution or of a further problem is part of a problem where the TP
            has the same.
        ended: False: the text was cut off; what is not followed by a solution is then no whole problem.
    """
    text = LABEL.sub("", text, count=1)
    patterns = [pattern for pattern in (SOLVED, NEXT_PROBLEM) if not pattern.search(like)]
    ends = [found.start() for pattern in patterns if (found := pattern.search(text))]
    if not ends and not ended:
        return ""
    problem = text[: min(ends, default=len(text))].strip().rstrip("*_#").rstrip()
    return problem if any(map(str.isalnum, problem)) and len(problem) <= LONGEST else ""


class Fingerprint(NamedTuple):
    """What tells problems apart."""

    words: tuple[str, ...]
    numbers: tuple[str, ...]

    def duplicates(self, other: "Fingerprint") -> bool:
        """Whether one of these problems is a near duplicate of the other."""
        same_numbers = len(self.numbers) >= FEWEST and self.numbers == other.numbers
        return same_numbers or self.words == other.words


def fingerprint(text: str) -> Fingerprint:
    """What tells this problem apart from others."""
    numbers = tuple(number.replace(",", "") for number in NUMBER.findall(text))
    # Signs tell formulas apart: 3 + 4 and 3 * 4.
    return Fingerprint(tuple(re.findall(r"[^\W_]+|[+*/^=<>-]", text.casefold())), numbers)


def agreed(answers: Sequence[str], asked: int, same: Callable[[str, str], bool]) -> tuple[str, int]:
    """The answer that more than half of `asked` gave, as the first gave it, and how many did; empty: there is none.

    Args:
        answers: those that could be read, in the order of their repeats.
        asked: how many were asked for.
        same: whether two are equivalent.
    """
    groups: list[list[str]] = []
    for answer in answers:
        for group in groups:
            if same(group[0], answer):
                group.append(answer)
                break
        else:
            groups.append([answer])
    largest = max(groups, key=len, default=[])
    return (largest[0], len(largest)) if 2 * len(largest) > asked else ("", 0)
