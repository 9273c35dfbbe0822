"""Finds the final answer in a model's text and decides whether two answers are the same.

Numbers, words and yes/no are compared exactly; verifier.py compares LaTeX. A text without a marked answer has none:
guessed answers would add noise to every score. `parse` has the rules.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Self

from broker.work_messages import AnswerForm
from scenarios.tasks.grading import latex, words
from scenarios.tasks.grading.code import Kind, ProgramGrader
from scenarios.tasks.grading.latex import Formula
from scenarios.tasks.grading.program_text import find_program
from scenarios.tasks.grading.values import clean, exact, leading, result
from scenarios.tasks.grading.verifier import Verifier
from scenarios.tasks.problems import Behaviour, Problem

TAIL = 20_000
"""Characters at the end of a text that are read."""
LONGEST = 400
"""Most characters of an answer."""
TRIES = 50
"""Marks that are tried per text, from its end."""
CACHE = 65_536
"""Comparisons of LaTeX that are cached."""
READ = 16_384
"""Texts, marked ones and whole ones, whose answer is cached: many are equal, and gold answers come with every exam."""
SHORT = 2_000
"""Characters of a whole text that is cached, at most, so that the cache takes tens of megabytes."""

MARKS = re.compile(
    r"(?P<strong>(?<![^\W_])answer[*_ \t]{0,4}[:\uff1a=]"
    r"|^[#*_ \t]{0,8}(?-i:(?:Final )?Answer|Final answer|(?:FINAL )?ANSWER)"
    r"[*_ \t]{0,4}(?:[-\u2013\u2014](?=[ \t])|(?=\n)))"
    r"|(?P<box>\\(?:boxed|fbox)\s{0,3}\{)"
    r"|\\boxed\s{0,3}(?P<token>-?\d[\d.,/]{0,30}|[A-Za-z](?![A-Za-z]))"
    r"|(?P<tag><answer>)"
    r"|(?P<hashes>^[*_ \t]{0,4}####)"
    r"|\banswer (?:is|equals|must be|would be|should be)\b[*_ \t]{0,4}:?",
    re.IGNORECASE | re.MULTILINE,
)
CONTROL = re.compile(r"</answer>|<\|[a-z_]{1,30}\|>|</s>|\[/?INST\]|<(?:start|end)_of_turn>")
"""Marks, written as text, that end an answer or a turn."""
ROLE = r"human|user|assistant|student|teacher|system|customer"
ASKED = r"problem|question|q"
TITLE = rf"{ASKED}|exercise|example|task|puzzle|riddle|instruction|input|prompt|passage|statement|text|query"
NEW = r"new|next|another|second|follow-?up|practice|sample|test|similar|bonus"
NEXT_PROBLEM = re.compile(
    rf"^[#*_>\[( \t]{{0,8}}(?:(?:{ROLE})[*_ \t]{{0,4}}:"
    rf"|(?:(?:{NEW})[ \t]+)?(?:{TITLE})"
    r"(?:[ \t#*_.\])]{0,6}(?:no\.?[ \t]?)?\d{0,4}[ \t#*_.)\]]{0,6}:"
    r"|[ \t]{0,3}\#?\d{1,4}(?:[.)][*_]{0,3}[ \t]|[*_.) \t]{0,6}$))"
    rf"|\#{{1,6}}[ \t]*(?:(?:new|next|another)[ \t]+)?(?:{TITLE}|{ROLE})\b[ \t\d#*_.]{{0,12}}$)"
    rf"|{CONTROL.pattern}",
    re.IGNORECASE | re.MULTILINE,
)
"""The start of another problem or of the next chat turn, with which some models continue after their answer."""
NEW_TURN = re.compile(rf"[\W_]*(?:(?:{NEW})\b|(?:{ROLE}|{ASKED})\b)|{CONTROL.pattern}", re.IGNORECASE)
"""Those of them that never occur within a solution; `Input: 3 boxes` may."""
BULLET = re.compile(r"^\s{0,8}[-*+\u2022]\s+")
DISPLAY = re.compile(r"[\s*_`:]{0,12}(\\\[|\$\$)")
BETWEEN_BOXES = re.compile(r"[\s$.]*(?:,|;|and|or|&)[\s$]*(?:and|or)?[\s$]*", re.IGNORECASE)
ELSEWHERE = re.compile(r"\W*(?:as|see)\s+(?:boxed|above|shown|stated|given|in the box)", re.IGNORECASE)
"""A reference to an answer that is marked before."""
CONCLUDES = re.compile(r"(?:so|therefore|thus|hence|altogether|in total|in all|finally)\b", re.IGNORECASE)


def parse(text: str, form: AnswerForm) -> str | None:
    r"""The final answer in `text`, normalized; None if there is none.

    A line `Answer: 42`, `\boxed{42}`, `#### 42` or `<answer>42</answer>` marks an answer. The last mark counts, or the
    one before it if the last one marks no answer at all. Without such a mark, the last `the answer is 42` counts.
    Text after the start of another problem is ignored (see `_end`). Without any mark only these count: for numbers a
    text that is one number, a last line with an equation (`6 * 7 = 42 apples.`) or a last line that concludes
    (`So she has 42 apples.`) and has one number; for yes/no a last line of that one word.
    """
    text = text[-TAIL:]
    marks = list(MARKS.finditer(text))
    text = text[: _end(text, marks, form)]
    marks = [mark for mark in marks if mark.end() <= len(text)]
    sure = [mark for mark in marks if mark.lastgroup]
    for mark in reversed(sure[-TRIES:]):
        value = _marked(text, mark)
        answer = None if ELSEWHERE.match(value) else normal(value, form)
        if answer is not None or _tries(value, form):
            return answer
    for mark in reversed([mark for mark in marks if not mark.lastgroup][-TRIES:]):
        if (answer := _answer(text, mark, form)) is not None:
            return answer
    return _unmarked(text, form) if not marks else None


_parse_short = lru_cache(READ)(parse)


def boxed(text: str) -> str | None:
    """The answer in the last box of a worked solution, in LaTeX; None if there is none.

    Boxes before it that form a list with it belong to the answer.
    """
    boxes = [mark for mark in MARKS.finditer(text) if mark["box"] or mark["token"]]
    return normal(_marked(text, boxes[-1]), "latex") if boxes else None


def _end(text: str, marks: list[re.Match[str]], form: AnswerForm) -> int:
    """The position where the solution ends and another problem or turn begins.

    A sentence about the answer may be one of several, and looks much like an answer in words. So it ends a solution
    only for numbers and yes/no, and only if a new turn follows before any other mark.
    """
    sure = [mark for mark in marks if mark.lastgroup]
    first = _first(text, sure, form)
    sentence = None if form in ("word", "latex") and sure else _first(text, marks, form)
    if sentence is not None and sentence is not first:
        for turn in NEXT_PROBLEM.finditer(text, sentence.end(), first.start() if first else len(text)):
            if NEW_TURN.match(turn[0]):
                return turn.start()
    following = NEXT_PROBLEM.search(text, first.end()) if first else None
    return following.start() if following else len(text)


def _first(text: str, marks: list[re.Match[str]], form: AnswerForm) -> re.Match[str] | None:
    return next((mark for mark in marks[:TRIES] if _answer(text, mark, form) is not None), None)


def _answer(text: str, mark: re.Match[str], form: AnswerForm) -> str | None:
    return normal(_marked(text, mark), form)


def _tries(value: str, form: AnswerForm) -> bool:
    """Whether a marked text gives some answer, though not of this form: then earlier marks do not count."""
    if form == "number":
        return re.search(r"\d", value) is not None
    return form == "yes_no" and words.POLAR.search(value) is not None


def _marked(text: str, mark: re.Match[str]) -> str:
    """The marked text: the content of the box, else the rest of the line or the next line."""
    if mark["token"]:
        return mark["token"]
    if mark["box"]:
        return _boxes(text, mark)
    rest = text[mark.end() : mark.end() + 2 * LONGEST]
    if display := DISPLAY.match(rest):
        end = rest.find("\\]" if display[1] == "\\[" else "$$", display.end())
        if end > 0:
            return latex.unboxed(rest[display.end() : end])
    for n, line in enumerate(rest.split("\n", 5)[:5]):
        if line.strip(" \t*_`:$\\[("):
            if "\\begin{" in line and "\\end{" not in line and (end := rest.find("\\end{", rest.index(line))) > 0:
                line = rest[rest.index(line) : rest.find("}", end) + 1]
            line = CONTROL.split(line, maxsplit=1)[0]
            return latex.unboxed(BULLET.sub("", line, count=1) if n else line)
    return ""


def _boxes(text: str, mark: re.Match[str]) -> str:
    """The content of a box and of the boxes before it that form a list with it: one of two boxes is not the answer."""
    value, start = _inside(text, mark.end()), mark.start()
    for _ in range(8):
        before = text[max(0, start - LONGEST) : start]
        other = max(before.rfind("\\boxed{"), before.rfind("\\fbox{"))
        opened = before.find("{", other) + 1
        end = latex.closing(before, opened) if other >= 0 else 0
        if not end or not BETWEEN_BOXES.fullmatch(before, end):
            break
        value, start = f"{before[opened : end - 1]}, {value}", start - len(before) + other
    return value


def _inside(text: str, start: int) -> str:
    """The text from `start` to the brace that closes the one before it; empty if none does."""
    text = text[start : start + LONGEST]
    end = latex.closing(text, 0)
    return text[: end - 1] if end else ""


@lru_cache(READ)
def normal(answer: str, form: AnswerForm) -> str | None:
    """The normal form of an answer, as `parse` returns it; None if it does not have this form."""
    if form == "number":
        return leading(answer)
    if form == "latex":
        found = latex.formula(answer.strip().strip("*_`"))
    else:
        found = (words.phrase if form == "word" else words.polarity)(answer[: LONGEST + 1])
    return found if found and len(found) <= LONGEST else None


def _unmarked(text: str, form: AnswerForm) -> str | None:
    last = text.rstrip()[-LONGEST:].rsplit("\n", 1)[-1].strip(" \t*_`")
    if form == "yes_no":
        return normal(last, form) if re.fullmatch(r"(?:yes|no)\W?", last, re.IGNORECASE) else None
    if form != "number":
        return None
    if "\n" not in text.strip() and (only := exact(last.rstrip("."))) is not None:
        return only
    if "=" in last:
        return result(last)
    sentence = re.split(r"(?<=[.!?])\s", last)[-1]
    if CONCLUDES.match(sentence) and len(re.findall(r"\d+(?:[.,/]\d+)*", clean(sentence))) == 1:
        return leading(sentence)
    return None


class ClassGrader:
    """The class's grader: compares numbers, words and yes/no exactly, and LaTeX by mathematical equivalence.

    Equivalence must hold in both directions, since math-verify is not symmetric. Programs are run: see code.py.

    Args:
        limit_s: processor time of one comparison of LaTeX; one that takes longer counts as not equivalent.
        sandbox: where programs run; none: without a sandbox.
        self_debug: find every visible case that a program fails, not only whether it fails one.
    """

    name = "lbt"
    version = "2"

    def __init__(self, *, limit_s: float = 5.0, sandbox: Kind = "auto", self_debug: bool = False) -> None:
        self._verifier = Verifier(limit_s=limit_s)
        self._programs = ProgramGrader(sandbox, every_case=self_debug)
        self._workable = lru_cache(CACHE)(self._verifier.workable)
        self._equivalent = lru_cache(CACHE)(self._compare)
        self._right = lru_cache(CACHE)(self._is_gold)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def given_up(self) -> int:
        """How many comparisons of LaTeX took too long; these answers were compared as text."""
        return self._verifier.given_up

    def close(self) -> None:
        """End the processes that compare LaTeX and run programs, if they run."""
        self._verifier.close()
        self._programs.close()

    def parse(self, text: str, form: AnswerForm) -> str | None:
        """The final answer in `text`, normalized; None if there is none. Not for programs."""
        return parse(text, form)

    def read(self, text: str, problem: Problem, *, ended: bool = True) -> str | None:
        """The final answer to `problem` in `text`, normalized; None if there is none."""
        if problem.form == "code":
            return find_program(text, problem.function, ended=ended)
        return (_parse_short if len(text) <= SHORT else parse)(text, problem.form)

    def correct(self, problem: Problem, answer: str | None) -> bool:
        r"""Whether `answer` is the gold answer of `problem`.

        More lenient than `same`, since the gold answer shows what is asked for: a word may have a remark behind it
        ("New York, USA"), and a formula may leave out a part of the gold answer (`5` for `x = 5`, `0.28` for `28\%`).
        A program is right if all visible cases pass.
        """
        if problem.form == "code":
            return answer is not None and self._programs.correct(answer, problem)
        return self._right(problem.answer, answer or "", problem.form)

    def _is_gold(self, gold_answer: str, answer: str, form: AnswerForm) -> bool:
        gold, given = normal(gold_answer, form), normal(answer, form)
        if gold is None or given is None:
            return False
        if gold == given:
            return True
        if form == "word":
            return words.says(given, gold)
        return form == "latex" and self._gives(latex.read(gold), latex.read(given))

    def behaviour(self, problem: Problem, answer: str) -> Behaviour:
        """What a program does beyond the visible cases."""
        return self._programs.behaviour(answer, problem)

    def failing(self, problem: Problem, answer: str) -> str:
        """The visible cases that a program fails, one a line; empty without `self_debug`."""
        return self._programs.failing(answer, problem)

    def same(self, a: str, b: str, form: AnswerForm) -> bool:
        """Whether two answers are the same, whatever the gold answer is.

        Symmetric and transitive, so that groups of equal answers do not depend on their order. Programs are compared by
        the behaviour that was recorded when they were graded: see `Rationale.compared`.
        """
        if form == "code":
            return a == b
        one, other = normal(a, form), normal(b, form)
        if one is None or other is None:
            return False
        if one == other:
            return True
        if form == "word":
            return words.group_key(one) == words.group_key(other)
        if form != "latex":
            return False
        first, second = latex.read(one), latex.read(other)
        alike = first.shape.strip("{") == second.shape.strip("{") and first.equations == second.equations
        return alike and first.unit == second.unit and self._equal(first, second)

    def _gives(self, gold: Formula, answer: Formula) -> bool:
        if gold.variable and answer.variable and gold.variable != answer.variable:
            return False
        if gold.shape and answer.shape and gold.shape != answer.shape:
            return False
        if gold.unit and answer.unit and gold.unit != answer.unit:
            return False
        if self._equal(gold, answer):
            return True
        share, whole = (
            (exact(gold.body), exact(answer.body)) if answer.percent else (exact(answer.body), exact(gold.body))
        )
        if gold.percent == answer.percent or share is None or whole is None:
            return False
        return Fraction(share) * 100 == Fraction(whole)

    def _equal(self, one: Formula, other: Formula) -> bool:
        if one.numerals != other.numerals:
            return False
        if one.cells or other.cells:
            pairs = zip(one.cells, other.cells, strict=False)
            return len(one.cells) == len(other.cells) and all(
                a == b or self._equal(latex.read(a), latex.read(b)) for a, b in pairs
            )
        if latex.squeezed(one.body) == latex.squeezed(other.body):
            return True
        if exact(one.body) and exact(other.body):
            return exact(one.body) == exact(other.body)
        if latex.differ_in_case(one.body, other.body):
            return False
        return self._equivalent(*sorted((one.body, other.body)))

    def _compare(self, a: str, b: str) -> bool:
        # Each text is tried alone first: one that takes too long is always compared as text, whatever it is compared
        # with and in whatever order answers come.
        if not (self._workable(a) and self._workable(b)):
            return False
        return self._verifier.equivalent(a, b) and self._verifier.equivalent(b, a)
