"""The gradebook of a class as data for the page: a row for each teaching problem, a cell for each rationale.

Scores and choices are those of scoring/lbt.py. The texts are in texts.py: a page of many problems loads them on click.
"""

from collections.abc import Mapping, Sequence

import msgspec

from scenarios.config.schema import Scenario
from scenarios.records.observe import Rationale, TeachingProblemRecord
from scenarios.scoring.lbt import ChosenAnswer, Rule, Same, Sheet, exam_marks, lbt_scores
from scenarios.tasks.problems import Bank, Problem

RULES: dict[str, Rule] = {"max": "max", "sum": "sum", "sc": "sc"}
GREEDY = -1
"""Stands for the repeat of the greedy rationale."""
BEGINNING = 160
"""Characters of a problem that its row has, and of an answer."""


class RationaleCell(msgspec.Struct, frozen=True, array_like=True):
    """One rationale in the gradebook."""

    repeat: int
    answer: str | None
    correct: bool
    score: float | None
    """LbT score; None: it was not examined, or cannot be compared."""
    by_student: tuple[float | None, ...]
    """The share of right exam answers of each student of the page, in the scenario's order."""
    chosen_by: tuple[str, ...]
    """Of RULES: MAX chose this very rationale's answer for its score; SC and SUM chose its answer."""
    ended: bool


class ProblemRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One teaching problem in the gradebook."""

    id: str
    text: str
    """Its beginning."""
    gold: str
    cells: tuple[RationaleCell, ...]
    """The greedy rationale first, then by repeat."""
    right: dict[str, bool]
    """By rule: whether the answer that it chooses is right."""
    tied: bool
    """Several answers had the best score by one of the rules."""
    differ: bool
    """An answer of M1 (MAX or SUM) is not that of the majority."""
    answers: int
    """How many different answers the rationales give."""
    solved: float | None
    """The share of right rationales."""
    level: str = ""
    subject: str = ""
    """As its source says; empty: it does not."""


def gradebook(
    lessons: Sequence[TeachingProblemRecord], same: Same, scenario: Scenario, bank: Bank, shown: Sequence[str]
) -> tuple[ProblemRow, ...]:
    """The rows of all problems, in the order of the class; `shown`: the students with figures of their own."""
    problems = {item.tp.id: item.tp for item in bank.items}
    names = tuple(student.name for student in scenario.students)
    return tuple(_row(lesson, Sheet(lesson, same), problems[lesson.tp], names, scenario, shown) for lesson in lessons)


def _row(
    lesson: TeachingProblemRecord,
    sheet: Sheet,
    problem: Problem,
    names: Sequence[str],
    scenario: Scenario,
    shown: Sequence[str],
) -> ProblemRow:
    scores = {id: float(score) for id, score in lbt_scores(lesson.rationales, names, scenario.scoring.merge).items()}
    chosen = {name: sheet.choose(rule, names, scenario.scoring) for name, rule in RULES.items()}
    by = _chosen_by(sheet, chosen, scores)
    greedy = [_cell(lesson.greedy, GREEDY, None, shown, ())] if lesson.greedy else []
    rationales = lesson.rationales
    cells = [_cell(one, one.repeat, scores.get(one.id), shown, by.get(one.id, ())) for one in rationales]
    examined = any(one.exams for one in rationales) or lesson.saved.exams > 0
    return ProblemRow(
        id=problem.id,
        text=problem.text[:BEGINNING],
        gold=problem.shown[:BEGINNING],
        cells=(*greedy, *cells),
        right={name: choice.correct for name, choice in chosen.items() if examined or name == "sc"},
        tied=any(choice.tied for name, choice in chosen.items() if examined or name == "sc"),
        differ=examined and any(chosen[name].answer != chosen["sc"].answer for name in ("max", "sum")),
        answers=len(sheet.groups),
        solved=sum(one.correct for one in rationales) / len(rationales) if rationales else None,
        level=problem.level,
        subject=problem.subject,
    )


def _chosen_by(
    sheet: Sheet, chosen: Mapping[str, ChosenAnswer], scores: Mapping[str, float]
) -> dict[str, tuple[str, ...]]:
    """By id of a rationale, the rules that chose it: MAX one rationale, the others all with the answer they chose."""
    found: dict[str, tuple[str, ...]] = {}
    for name, choice in chosen.items():
        for group in sheet.groups:
            if choice.answer != group.representative.shown:
                continue
            members = group.members
            if name == "max":
                members = (max(members, key=lambda one: scores.get(one.id, -1.0)),) if scores else ()
            if name == "sum" and not scores:
                members = ()
            for one in members:
                found[one.id] = (*found.get(one.id, ()), name)
    return found


def _cell(one: Rationale, repeat: int, score: float | None, names: Sequence[str], by: tuple[str, ...]) -> RationaleCell:
    marks: dict[str, list[bool]] = {name: [] for name in names}
    for (student, *_), correct in exam_marks(one).items():
        marks.setdefault(student, []).append(correct)
    shares = tuple(round(sum(marks[name]) / len(marks[name]), 4) if marks[name] else None for name in names)
    answer = None if one.shown is None else one.shown[:BEGINNING]
    return RationaleCell(repeat, answer, one.correct, None if score is None else round(score, 4), shares, by, one.ended)
