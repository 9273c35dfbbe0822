"""The printed table of the line-ups: how right each one is, and how it compares with SC on the same problems."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.text import Text

from scenarios.report.formatting import many, percent
from scenarios.report.identical import identical_students
from scenarios.report.layout import Ruled
from scenarios.report.summary import Summary
from scenarios.scoring.lineups import ALL_SUBSETS, LineUp
from scenarios.scoring.statistics import LEVEL, holm

LINE_UPS_SHOWN = 6
"""Line-ups of one size, single students aside; of more than these BEST and WORST are shown."""
BEST, WORST = 3, 2
SHORT_LINE_UP = 4
"""Students from which on line-ups are named by who is missing, if that is one or nobody."""


def line_ups(summary: Summary) -> Ruled:
    """Line-ups of students, as if only they had taken the exams; and with equal numbers of exams."""
    table = Ruled("Which students should take the exams? Line-ups (sets of students) of this class")
    table.add_column("students", fold=True)
    table.add_columns("EAs", "MAX\n(95 %)", "MAX - SC,\npoints (95 %)", "MAX,\nequal")
    table.add_columns("SUM\n(95 %)", "SUM - SC,\npoints (95 %)", "SUM,\nequal")
    names = [student.name for student in summary.students_shown]
    ordered = sorted(summary.lineups, key=lambda up: (len(up.students), -(up.m1_max or 0), -(up.m1_sum or 0)))
    some_hidden = False
    for size, group in groupby(ordered, key=lambda up: len(up.students)):
        ups = list(group)
        hidden = ups[BEST:-WORST] if size > 1 and len(ups) > LINE_UPS_SHOWN else []
        for up in ups:
            if up not in hidden:
                table.add_row(_who(up.students, names), *_figures(up))
            elif up is hidden[0]:
                table.add_row(Text(f"… {len(hidden)} more of {size} students", style="dim"), *[""] * 7)
        some_hidden = some_hidden or bool(hidden)
    table.note = " ".join(_notes(summary, some_hidden))
    return table


def _notes(summary: Summary, some_hidden: bool) -> Iterator[str]:
    yield from identical_students(summary)
    yield from _significant(summary.lineups)
    yield "EAs: exam answers for each TR. In brackets: 95 % intervals over problems. MAX - SC: on the same problems."
    yield "equal: with only as many exams as the smallest line-up has, the mean over random draws."
    best = [up.students[0] for up in summary.lineups if up.best_single]
    if best and len(summary.lineups) > 1:
        yield (
            f"The best student alone, by MAX, is {best[0]}. These figures select it, so it will probably do worse in "
            "another class. summary.json compares every line-up with it, and with the same line-up without one student."
        )
    missing = [one.needs_repeats for one in summary.equal_up if one.needs_repeats]
    if missing:
        yield f"With exam.repeats={max(missing)} one student would take as many exams as all students together do now."
    if some_hidden:
        yield f"Of each size the best by MAX and the worst are shown; summary.json has all {len(summary.lineups)}."
    if len(summary.students) > ALL_SUBSETS:
        yield f"With more than {ALL_SUBSETS} students not all line-ups are shown: {summary.lineups_shown}."


def _significant(ups: Sequence[LineUp]) -> Iterator[str]:
    """Whether any difference to SC is more than chance."""
    p_values = [one.p_value for up in ups for one in up.differences if one.against == "sc"]
    apart, corrected = (sum(p < LEVEL for p in ps) for ps in (p_values, holm(p_values)))
    if p_values and not apart:
        yield "No line-up differs significantly from SC: every interval of a difference contains 0."
    elif p_values:
        yield (
            f"Of {many(len(p_values), 'difference')} to SC, {apart} {'has' if apart == 1 else 'have'} an interval "
            f"without 0; after correction for their number (Holm), {corrected or 'none'} "
            f"{'is' if corrected < 2 else 'are'} significant."
        )


def _figures(up: LineUp) -> Iterator[str]:
    exams = up.exams_per_rationale
    yield f"{exams:g}" if exams % 1 == 0 else f"{exams:.1f}"
    yield _share(up.m1_max, up.m1_max_ci95)
    yield _to_sc(up, "m1_max")
    yield percent(up.m1_max_equal)
    yield _share(up.m1_sum, up.m1_sum_ci95)
    yield _to_sc(up, "m1_sum")
    yield percent(up.m1_sum_equal)


def _to_sc(up: LineUp, rule: str) -> str:
    for one in up.differences:
        if (one.rule, one.against) == (rule, "sc"):
            return f"{100 * one.difference:+.1f} {_range(one.ci95, '+.0f')}"
    return "-"


def _share(share: float | None, ci95: tuple[float, float] | None) -> str:
    return percent(share) + (f" {_range(ci95, '.0f')}" if ci95 else "")


def _range(ci95: tuple[float, float], spec: str) -> str:
    low, high = (format(100 * end, spec) for end in ci95)
    return f"({low} to {high})"


def _who(students: Sequence[str], everybody: Sequence[str]) -> str:
    """A line-up by its names or, where that is shorter, by the students it lacks."""
    missing = [name for name in everybody if name not in students]
    if len(everybody) < SHORT_LINE_UP or len(missing) > 1:
        return ", ".join(students)
    return f"all but {missing[0]}" if missing else f"all {len(students)}"
