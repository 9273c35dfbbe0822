"""Charts of line-ups of students: by themselves, with equal numbers of exams, and against SC."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import msgspec

from scenarios.report.formatting import interval, listed, many, percent
from scenarios.report.identical import identical_students
from scenarios.report.page.answer import points
from scenarios.report.page.chart_data import Chart, Dot, PageTable, around_zero
from scenarios.report.page.charts import dot_plot
from scenarios.report.page.figures import copied, line_up_colour, student_colours
from scenarios.report.summary import Summary
from scenarios.scoring import fidelity
from scenarios.scoring.lineups import LineUp, LineUpDifference
from scenarios.scoring.over_problems import OverProblems

ROWS = 42
"""Rows of a plot at most; its table has all line-ups."""
Item = TypeVar("Item")


class LineUpCharts(msgspec.Struct, frozen=True):
    """The charts of the line-ups of a class."""

    whole: Chart
    """With all their exams."""
    equal: Chart
    """Cut down to equal exams."""
    to_sc: Chart | None
    """Less SC on the same problems; None: a summary of an earlier version lacks the differences."""
    up: Chart | None
    """Everybody minus one student with as many exams."""
    without_up: str
    """Why `up` is None."""


def alike(summary: Summary) -> list[str]:
    """Students that do not differ, which takes the meaning of line-ups away; empty: they differ."""
    said = identical_students(summary)
    if summary.fidelity and (sentence := fidelity.sentence(summary.fidelity)):
        said.append(sentence)
    return said


def line_ups(summary: Summary) -> LineUpCharts | None:
    """M1 by line-up, as if only its students had taken the exams; None: there is nothing to compare."""
    ups = [up for up in summary.lineups if up.m1_max is not None]
    if not ups:
        return None
    ups.sort(key=lambda up: (len(up.students), -(up.m1_sum or 0), -(up.m1_max or 0)))
    up, without_up = _up(summary)
    return LineUpCharts(_whole(ups, summary), _equal(ups, summary), _to_sc(ups, summary), up, without_up)


def grouped(
    items: Sequence[Item], size: Callable[[Item], int], dot: Callable[[Item], Dot], most: int = ROWS
) -> tuple[list[Dot], str]:
    """The rows of a plot, under a heading for each size of line-ups, and a note on those that are left out.

    Args:
        items: By size, within a size the best first.
        size: How many students an item has.
        dot: The row of an item.
        most: Rows; of more than so many items some of the middle of each size are left out, half of those that stay
            are the best.
    """
    groups = [(number, list(found)) for number, found in groupby(items, size)]
    share = max(2, most // len(groups)) if groups else most
    dots: list[Dot] = []
    hidden = 0
    for number, found in groups:
        dots += [Dot(many(number, "student"), None, None, "", heading=True)] if len(groups) > 1 else []
        left_out = len(found) - share if len(items) > most and len(found) > share else 0
        hidden += left_out
        first = (share + 1) // 2
        dots += map(dot, found[:first] + found[first + left_out :])
    if not hidden:
        return dots, ""
    return dots, f" Of each size the best and the worst are drawn; the table has all {len(items)} line-ups."


def _whole(ups: Sequence[LineUp], summary: Summary) -> Chart:
    def dot(up: LineUp) -> Dot:
        name = _name(up, summary)
        said = f"{name}: SUM {percent(up.m1_sum)}, 95 % {interval(up.m1_sum_ci95)}, MAX {percent(up.m1_max)}"
        columns = (percent(up.m1_sum), percent(up.m1_max), f"{up.exams_per_rationale:g}")
        return Dot(name, up.m1_sum, up.m1_sum_ci95, said, _colour(up, summary), columns)

    table = PageTable(
        ("line-up", "students", "exam answers a rationale", "SUM", "95 %", "MAX", "95 %"),
        tuple(
            (
                _name(up, summary), str(len(up.students)), f"{up.exams_per_rationale:g}", percent(up.m1_sum),
                interval(up.m1_sum_ci95), percent(up.m1_max), interval(up.m1_max_ci95),
            )
            for up in ups
        ),
    )  # fmt: skip
    dots, left_out = grouped(ups, _size, dot)
    sc = _sc(summary)
    note = f"M1 SUM, with all exams of the line-up's students. The thin line is the majority vote, {percent(sc)}."
    note += left_out + _shown(summary)
    return dot_plot("M1 by line-up", dots, table, reference=sc, headings=("SUM", "MAX", "exams"), note=note)


def _equal(ups: Sequence[LineUp], summary: Summary) -> Chart:
    def dot(up: LineUp) -> Dot:
        name = _name(up, summary)
        said = f"{name}, equal exams: SUM {percent(up.m1_sum_equal)}, 95 % {interval(up.m1_sum_equal_ci95)}"
        columns = (percent(up.m1_sum_equal), percent(up.m1_max_equal))
        return Dot(name, up.m1_sum_equal, up.m1_sum_equal_ci95, said, _colour(up, summary), columns)

    table = PageTable(
        ("line-up", "students", "SUM", "95 %", "MAX", "95 %"),
        tuple(
            (
                _name(up, summary), str(len(up.students)), percent(up.m1_sum_equal), interval(up.m1_sum_equal_ci95),
                percent(up.m1_max_equal), interval(up.m1_max_equal_ci95),
            )
            for up in ups
        ),
    )  # fmt: skip
    dots, left_out = grouped(ups, _size, dot)
    sc = _sc(summary)
    note = (
        "M1 SUM with only as many exam answers for every line-up as the smallest one has, the mean over random "
        f"draws: so line-ups differ only in who takes the exams. The thin line is the majority vote, {percent(sc)}."
    )
    note += left_out + _shown(summary)
    return dot_plot(
        "M1 by line-up, equal exams", dots, table, reference=sc, headings=("SUM", "MAX"), note=note
    )  # fmt: skip


def _to_sc(ups: Sequence[LineUp], summary: Summary) -> Chart | None:
    found = [(up, one) for up in ups for one in up.differences if one.against == "sc"]
    by_sum = [(up, one) for up, one in found if one.rule == "m1_sum"]
    if not by_sum:
        return None

    def dot(pair: tuple[LineUp, LineUpDifference]) -> Dot:
        up, one = pair
        name = _name(up, summary)
        said = (
            f"{name} minus SC: {points(one.difference)} points, 95 % {points_interval(one.ci95)}, p = {one.p_value:.2g}"
        )
        columns = (points(one.difference), str(one.wins), str(one.losses), f"{one.p_value:.2g}")
        return Dot(name, one.difference, one.ci95, said, _colour(up, summary), columns)

    table = PageTable(
        ("line-up", "by", "points", "95 %", "better", "worse", "p"),
        tuple(
            (
                _name(up, summary), one.rule.removeprefix("m1_").upper(), points(one.difference),
                points_interval(one.ci95), str(one.wins), str(one.losses), f"{one.p_value:.2g}",
            )
            for up, one in found
        ),
    )  # fmt: skip
    dots, left_out = grouped(by_sum, lambda pair: _size(pair[0]), dot)
    note = (
        "M1 SUM of each line-up minus the majority vote (SC), on the same problems. p is not corrected for the number "
        "of line-ups. A dot right of the thin line: better than SC. An interval that crosses the line: not significant."
    )
    return dot_plot(
        "Each line-up minus the majority vote", dots, table, domain=around_zero(one.ci95 for _, one in by_sum),
        reference=0.0, headings=("points", "better", "worse", "p"), unit="points", note=note + left_out,
    )  # fmt: skip


def _up(summary: Summary) -> tuple[Chart | None, str]:
    """A chart of everybody minus one student with as many exams, or the reason why there is none."""
    enough = [one for one in summary.equal_up if one.sum_difference and one.max_difference]
    missing = [one for one in summary.equal_up if one.needs_repeats]
    if not summary.equal_up:
        return None, "There is nothing to compare: all students are copies of one, or no exam can be compared."
    needs = sorted({one.needs_repeats for one in missing if one.needs_repeats})
    lacking = "".join(
        f" {listed([one.student for one in missing if one.needs_repeats == n])} would need exam.repeats={n}."
        for n in needs
    )
    if not enough:
        return None, f"No student has as many exam answers as all have together.{lacking}"
    palette = student_colours(summary)
    found = [(one.student, one.m1_sum, one.sum_difference) for one in enough if one.sum_difference]
    dots = [
        Dot(
            f"all minus {name}",
            by_sum.value,
            by_sum.ci95,
            f"everybody minus {name} with as many exams: {points(by_sum.value)} points, "
            f"95 % {points_interval(by_sum.ci95)}, p = {by_sum.p_value:.2g}",
            palette[name],
            (points(by_sum.value), percent(alone), f"{by_sum.p_value:.2g}"),
        )
        for name, alone, by_sum in found
    ]
    table = PageTable(
        ("one student", "exam answers a rationale", "by", "it alone", "all minus it", "95 %", "p"),
        tuple(
            (
                one.student, f"{one.exams_per_rationale:g}", rule, percent(alone), points(by.value),
                points_interval(by.ci95), f"{by.p_value:.2g}",
            )
            for one in enough
            for rule, alone, by in _rules(one.m1_sum, one.sum_difference, one.m1_max, one.max_difference)
        ),
    )  # fmt: skip
    note = (
        "M1 SUM with everybody, minus M1 SUM with one student that has as many exams by repeats and copies. Right "
        f"of the thin line: different students are worth more than more exams of one.{lacking}"
    )
    note += f" Everybody: {summary.about_shown}." if summary.about_shown else ""
    chart = dot_plot(
        "Everybody minus one student with as many exams", dots, table,
        domain=around_zero(by_sum.ci95 for *_, by_sum in found), reference=0.0,
        headings=("points", "it alone", "p"), unit="points", note=note,
    )  # fmt: skip
    return chart, ""


def _rules(
    m1_sum: float | None, by_sum: OverProblems | None, m1_max: float | None, by_max: OverProblems | None
) -> Iterator[tuple[str, float | None, OverProblems]]:
    for rule, alone, by in (("SUM", m1_sum, by_sum), ("MAX", m1_max, by_max)):
        if by is not None:
            yield rule, alone, by


def points_interval(ci95: tuple[float, float]) -> str:
    """The interval of a difference in percentage points."""
    return f"{points(ci95[0])} to {points(ci95[1])}"


def _name(up: LineUp, summary: Summary) -> str:
    """The students of a line-up."""
    return "everybody" if len(up.students) == len(summary.students_shown) > 2 else " + ".join(up.students)


def _size(up: LineUp) -> int:
    return len(up.students)


def _colour(up: LineUp, summary: Summary) -> str:
    return line_up_colour(up.students, copied(summary))


def _sc(summary: Summary) -> float | None:
    return summary.methods["sc"].accuracy if "sc" in summary.methods else None


def _shown(summary: Summary) -> str:
    return "" if summary.lineups_shown == "all" else f" Shown: {summary.lineups_shown}."
