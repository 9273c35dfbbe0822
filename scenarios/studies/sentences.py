"""The result of a study in sentences: first what makes it invalid, then each primary comparison."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from scenarios.report.formatting import many, points
from scenarios.report.steering import AFTER_A_LOOK
from scenarios.report.tables import UNPROTECTED
from scenarios.scoring.power import about
from scenarios.scoring.statistics import LEVEL, caution
from scenarios.studies.answers import ClassAnswers
from scenarios.studies.pooling import Difference
from scenarios.studies.terms import Lineups

if TYPE_CHECKING:
    from scenarios.studies.result import StudyResult


def answer(result: "StudyResult", classes: Sequence[ClassAnswers], lineups: Lineups) -> list[str]:
    """The sentences of `StudyResult.answer`."""
    if not classes:
        return ["No class of this study is complete: there is nothing to compare yet.", *_missing(result)]
    found = [*_no_difference(result, classes, lineups)]
    found += map(in_words, result.primary)
    found += unequal([(one.a, one.b) for one in result.primary], lineups)
    if not result.primary:
        found.append("The study names no primary comparison: everything below is descriptive.")
    if len(result.primary) > 1:
        k = len(result.primary)
        numbers = f", and so are the numbers of problems (p < 0.05 / {k})" if any(map(_takes, result.primary)) else ""
        found.append(f"These p-values are corrected for {k} comparisons (Holm){numbers}; the intervals are not.")
    found += _missing(result)
    if result.simulated:
        found.append("The agents are simulated: the figures say nothing about any language model.")
    found += [UNPROTECTED] * result.unprotected
    found += without_students(result.dropped)
    n = next((one.n for one in result.methods.values()), 0)
    return [*found, *filter(None, [caution(n)])]


def unequal(comparisons: Iterable[tuple[str, str]], lineups: Lineups) -> list[str]:
    """A sentence for each comparison of two line-ups with different numbers of students, and so of exam answers."""
    found = dict[str, None]()
    for pair in comparisons:
        names = [term.removesuffix(".sum") for term in pair]
        if not all(name in lineups for name in names):
            continue
        fewer, more = sorted(names, key=lambda name: len(lineups[name]))
        few, most = len(lineups[fewer]), len(lineups[more])
        if few < most:
            found[
                f"{more} has {most / few:.2g} times as many exam answers as {fewer} ({many(most, 'student')}, "
                f"not {few}): more exams alone may explain a difference between them."
            ] = None
    return list(found)


def without_students(dropped: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence on classes from which students were dropped; none where there is no such class."""
    named = "; ".join(f"{name} without {', '.join(students)}" for name, students in dropped.items())
    return [f"Students were dropped while these classes ran: {named}."] if named else []


def not_equal(entries: Sequence[str]) -> str:
    """A sentence for classes that differ in entries that are no factors."""
    return (
        f"The classes differ in {', '.join(entries)}, which the study does not vary: `extend` changed some of them. "
        "Extend the other classes in the same way before you use the pooled figures."
    )


def not_extended(waiting: int, classes: int, extended: Sequence[str]) -> str:
    """A sentence for a study of which so many classes wait for their extension."""
    of = many(classes, "class", "classes")
    return f"Not extended yet, with {', '.join(extended)}: {waiting:,} of {of}. Resume the study to extend the rest."


def extended(changes: Sequence[str], *, in_file: bool) -> str:
    """Sentences for classes that were all extended alike; `in_file`: study.yaml says so."""
    said = "The study was extended" if in_file else "The classes were extended, and study.yaml shows the old numbers"
    return f"{said}: {', '.join(changes)}. {AFTER_A_LOOK}"


def in_words(one: Difference) -> str:
    """A comparison in a sentence or two."""
    p = one.p_value if one.p_holm is None else one.p_holm
    a, b = _spoken(one.a), _spoken(one.b)
    said = (
        f"{a} against {b}: {points(one.difference, one.ci95)}; better on {one.wins:,}, worse on {one.losses:,} "
        f"of {many(one.n, 'problem')}; p = {p:.2g}."
    )
    if one.shown:
        return f"{said} {a if one.difference > 0 else b} is significantly better."
    if one.p_value < LEVEL:
        said += f" Not significant after correction (p = {one.p_value:.2g} without it)"
    else:
        said += " Statistically tied"
    return f"{said}{_takes(one)}."


def _takes(one: Difference) -> str:
    """How many problems would show a difference that is not shown, as the end of a sentence; empty: none would."""
    if one.shown or one.needed is None:
        return ""
    among = f" after correction for {one.comparisons} comparisons" if one.comparisons > 1 else ""
    return f"; {about(one.needed)} would show a difference of this size{among}"


def _spoken(term: str) -> str:
    """A side of a comparison in a sentence."""
    lineup, _, method = term.rpartition(".")
    words = {"sc_at_cost": "SC at the cost of {}", "sc_at_completion_cost": "SC for the completion tokens of {}"}
    return words[method].format(lineup) if lineup and method in words else term


def _no_difference(result: "StudyResult", classes: Sequence[ClassAnswers], lineups: Lineups) -> Iterator[str]:
    """Why line-ups can differ by chance alone."""
    students = list(classes[0].answerers)
    if len(students) == 1:
        yield f"The study has one student, {students[0]}: it compares methods, not line-ups."
        return
    if all(len(set(one.answerers.values())) == 1 for one in classes):
        yield (
            f"The students do not differ: {', '.join(students)} are the same model with the same persona and sampling, "
            "so differences between line-ups of one size are chance."
        )
    elif not any(one.differing for one in classes):
        yield "The students do not differ: no two of them had different results in any exam."
    for one in result.primary:
        sides = [lineups.get(term.removesuffix(".sum")) for term in (one.a, one.b)]
        if all(sides) and all(len({_answerers(each, side) for side in sides if side}) == 1 for each in classes):
            yield f"{one.a} and {one.b} do not differ: their students are the same, or copies of each other."


def _answerers(one: ClassAnswers, lineup: Sequence[str]) -> tuple[str, ...]:
    """What a line-up consists of, whatever its students are called."""
    return tuple(sorted(one.answerers.get(name, name) for name in lineup))


def _missing(result: "StudyResult") -> Iterator[str]:
    """Which classes are left out."""
    left = [run for run in result.runs if run.status not in ("complete", "to extend")]
    if left:
        named = "; ".join(f"{run.cell} {run.status}{f' ({run.reason})' if run.reason else ''}" for run in left[:3])
        more = f"; and {len(left) - 3} more" if len(left) > 3 else ""
        yield f"Left out: {len(left)} of {many(len(result.runs), 'class', 'classes')}: {named}{more}."
