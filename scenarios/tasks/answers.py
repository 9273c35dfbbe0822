"""Finds the final answer in a model's text, and says whether two answers are the same.

Numbers, words and yes/no are read and compared exactly here; LaTeX goes to verifier.py. Where the text marks
no answer there is none: a guess taken for an answer would be noise in every score. The rules stand at `parse`.
Knows no problems' sources and no prompts but the mark they ask for.
"""

import re
from functools import lru_cache
from types import TracebackType
from typing import Self

from broker.messages import AnswerForm
from scenarios.tasks.bank import Problem
from scenarios.tasks.values import clean, exact, leading, result
from scenarios.tasks.verifier import Verifier

ANSWER_MARK = "Answer:"
"""How the line with the final answer begins; prompts ask for it."""

TAIL = 20_000
"""Characters from the end of a text that are looked at."""
LONGEST = 400
"""Characters of an answer; more is no answer."""
TRIES = 50
"""Marks of one text that are tried, from its end."""
CACHE = 65_536
"""Comparisons of LaTeX that are remembered."""

MARKS = re.compile(
    r"(?:\banswer\b[*_ \t]{0,4}:)"
    r"|(?:\banswer (?:is|equals)\b[*_ \t]{0,4}:?)"
    r"|(?:\\boxed\s{0,3}\{)"
    r"|(?:^[*_ \t]{0,4}####)",
    re.IGNORECASE | re.MULTILINE,
)
NEXT_PROBLEM = re.compile(
    r"^[#*_ \t]{0,8}(?:problem|question|exercise)[ \t\d#*_.]{0,12}:", re.IGNORECASE | re.MULTILINE
)
CONCLUDES = re.compile(r"(?:so|therefore|thus|hence|altogether|in total|in all|finally)\b", re.IGNORECASE)
YES_NO = re.compile(r"(yes|no|true|false)\b(?!\s{0,3}(?:/|or)\s{0,3}(?:yes|no|true|false)\b)", re.IGNORECASE)


def parse(text: str, form: AnswerForm) -> str | None:
    r"""The answer that `text` ends in, normalized, or None where there is none to find.

    An answer is marked by a line `Answer: 42`, by `\boxed{42}`, `#### 42` or `the answer is 42`; the last mark
    that can be read counts. A model that runs on and poses itself the next problem is read up to there. Without
    a mark only three endings count: for numbers a last line with an equation (`6 * 7 = 42 apples.`) or a last
    line that concludes (`So she has 42 apples.`) and holds one number; for yes/no a last line of that one word.
    """
    text = text[-TAIL:]
    marks = list(MARKS.finditer(text))
    if marks and (following := NEXT_PROBLEM.search(text, marks[0].end())):
        text = text[: following.start()]
        marks = [mark for mark in marks if mark.end() <= len(text)]
    for mark in reversed(marks[-TRIES:]):
        answer = _read(_marked(text, mark), form)
        if answer is not None:
            return answer
    return _unmarked(text, form) if not marks else None


def normal(answer: str, form: AnswerForm) -> str | None:
    """`answer` alone, as `parse` would give it back; None where it is none of this form."""
    return _read(answer, form)


def _marked(text: str, mark: re.Match[str]) -> str:
    """What stands behind a mark: the inside of the box, else the rest of the line, or the next one."""
    if mark[0].endswith("{"):
        return _inside(text, mark.end())
    for line in text[mark.end() : mark.end() + 2 * LONGEST].split("\n", 3)[:3]:
        if line.strip(" \t*_`:$\\[("):
            box = line.find("\\boxed{")
            return _inside(line, box + 7) if box >= 0 else line
    return ""


def _inside(text: str, start: int) -> str:
    """From `start` up to the brace that closes the one before it; nothing where it is not closed."""
    depth = 1
    for i in range(start, min(len(text), start + LONGEST)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start:i]
    return ""


def _read(value: str, form: AnswerForm) -> str | None:
    if form == "number":
        return leading(value)
    value = value.strip().strip("*_`").strip()
    if not value or len(value) > LONGEST:
        return None
    if form == "yes_no":
        found = YES_NO.match(value.lstrip("\"'(["))
        return None if found is None else {"true": "yes", "false": "no"}.get(found[1].lower(), found[1].lower())
    return _word(value) if form == "word" else _latex(value)


def _word(value: str) -> str | None:
    """Lower case, without quotes, articles, brackets behind it, and what stands behind the first sentence."""
    before, value = value, clean(value).casefold()
    value = re.split(r"(?<=\w)[.;!?](?:\s|$)|\s\(|,\s|\sbecause\s", value, maxsplit=1)[0]
    words = value.strip(" \t\"'\u201c\u201d\u2018\u2019`*_.,:;!?()[]{}$").split()
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    value = " ".join(words)
    # What was uncovered may be wrapped again; every round leaves less.
    return value or None if value == before else _word(value)


def _latex(value: str) -> str | None:
    """Without dollar signs and dots around it; a plain number becomes its exact value."""
    value = value.replace("\\[", "").replace("\\]", "").replace("\\(", "").replace("\\)", "")
    value = value.replace("\\!", "").replace("{,}", ",")
    dollars = value.count("$") - value.count("\\$")
    if dollars >= 2:
        value = value[value.index("$") :].strip("$").split("$")[0] if value.startswith("$") else value.replace("$", "")
    value = " ".join(value.split()).strip().rstrip(".,;").strip()
    if not value:
        return None
    return exact(value) or value


def _unmarked(text: str, form: AnswerForm) -> str | None:
    last = text.rstrip()[-LONGEST:].rsplit("\n", 1)[-1].strip(" \t*_`")
    if form == "yes_no":
        return _read(last, form) if re.fullmatch(r"(?:yes|no)\W?", last, re.IGNORECASE) else None
    if form != "number":
        return None
    if "=" in last:
        return result(last)
    sentence = re.split(r"(?<=[.!?])\s", last)[-1]
    if CONCLUDES.match(sentence) and len(re.findall(r"\d+(?:[.,/]\d+)*", clean(sentence))) == 1:
        return leading(sentence)
    return None


class ClassGrader:
    """The class's grader: numbers, words and yes/no compared exactly, LaTeX by mathematical equivalence.

    Equivalence must hold in both directions: math-verify alone is not symmetric.
    """

    name = "lbt"
    version = "1"

    def __init__(self, *, limit_s: float = 5.0) -> None:
        """limit_s: how long one comparison of LaTeX may take; what takes longer is not equivalent."""
        self._verifier = Verifier(limit_s=limit_s)
        self._equivalent = lru_cache(CACHE)(self._compare)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process that compares LaTeX, if it was ever started."""
        self._verifier.close()

    def parse(self, text: str, form: AnswerForm) -> str | None:
        """The answer that `text` ends in, normalized, or None where there is none to find."""
        return parse(text, form)

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Whether `answer` is the gold answer of `problem`."""
        return answer is not None and self.same(answer, problem.answer, problem.form)

    def same(self, a: str, b: str, form: AnswerForm) -> bool:
        """Whether two answers are equivalent. Symmetric."""
        one, other = normal(a, form), normal(b, form)
        if one is None or other is None:
            return False
        if one == other or form != "latex":
            return one == other
        if exact(one) and exact(other):
            return False
        return self._equivalent(*sorted((one, other)))

    def _compare(self, a: str, b: str) -> bool:
        return self._verifier.equivalent(a, b) and self._verifier.equivalent(b, a)
