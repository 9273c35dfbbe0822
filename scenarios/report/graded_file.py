"""Grades pairs of a gold answer and a response from a file, just as a class grades: for trying the grader.

A line is `{"gold": ..., "response": ...}`, with `form`, `right` (the right verdict) and `id` where there are any.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from broker.errors import TaskError
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.grading.gold import Answer, read_gold
from scenarios.tasks.problems import Problem
from scenarios.tasks.sources import jsonlines

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 60
"""Characters of an answer in a table."""


class AnswerPair(msgspec.Struct, frozen=True):
    """A line of the file."""

    gold: Answer
    response: str
    form: str | None = None
    right: bool | None = None
    id: str | int = ""


class GradedPair(msgspec.Struct, frozen=True):
    """A line, graded."""

    id: str
    """`line-3` where the line has none."""
    form: str
    """Found from the gold answer where the line has none."""
    gold: str
    answer: str | None
    """As it was read in the response; None where none was found."""
    correct: bool
    right: bool | None
    """The verdict that the file expects, where it has one."""


class GradedFile(msgspec.Struct, frozen=True):
    """A file, graded."""

    pairs: int
    correct: int
    judged: int
    """Lines that have `right`."""
    agree: int
    """Lines whose `right` equals `correct`."""
    results: list[GradedPair]


def grade_file(path: Path) -> GradedFile:
    """Grade every line of a file.

    Raises:
        TaskError: the file or a line of it cannot be used: which, and why.
    """
    results = []
    with ClassGrader() as grader:
        for n, where, data in jsonlines.objects(path, ()):
            try:
                pair = msgspec.convert(data, AnswerPair)
            except msgspec.ValidationError as error:
                raise TaskError(
                    f"{where}: {error}; a line has `gold`, `response`, perhaps `form`, `right`, `id`"
                ) from None
            id = f"line-{n}" if pair.id == "" else str(pair.id)
            gold = read_gold(pair.gold, pair.form, where, key="gold")
            answer = grader.parse(pair.response, gold.form)
            correct = grader.correct(Problem(id, "", gold.answer, gold.form), answer)
            results.append(GradedPair(id, gold.form, gold.answer, answer, correct, pair.right))
    if not results:
        raise TaskError(f"grade: {path} holds no pairs")
    return GradedFile(
        pairs=len(results),
        correct=sum(one.correct for one in results),
        judged=sum(one.right is not None for one in results),
        agree=sum(one.right == one.correct for one in results),
        results=results,
    )


def tables(graded: GradedFile) -> "RenderableType":
    """The lines that disagree with the file, or all where it expects nothing; and the totals."""
    from rich.console import Group

    from scenarios.report.formatting import many, percent
    from scenarios.report.layout import Ruled, Sentences, Trimmed, plain

    shown = [one for one in graded.results if not graded.judged or one.right not in (None, one.correct)]
    parts: list[Any] = []
    if shown:
        rows = Ruled("Graded otherwise than the file says" if graded.judged else "Every pair")
        rows.add_columns("id", "form", "gold", "answer found", right=False, fold=True)
        rows.add_column("graded")
        for one in shown:
            found = "none" if one.answer is None else one.answer
            rows.add_row(*(plain(cell)[:SHOWN] for cell in (one.id, one.form, one.gold, found, _verdict(one.correct))))
        parts.append(rows)
    totals = f"{many(graded.pairs, 'pair')}, {graded.correct} graded right"
    if graded.judged:
        share = percent(graded.agree / graded.judged)
        totals += f"; the verdict is that of the file in {graded.agree} of {graded.judged} ({share})"
    return Trimmed(Group(*parts, Sentences(totals)))


def _verdict(correct: bool) -> str:
    return "right" if correct else "wrong"
