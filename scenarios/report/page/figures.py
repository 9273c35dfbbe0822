"""The charts of level 1: methods, line-ups of students, and the students themselves. All numbers are the summary's."""

from collections.abc import Mapping

from scenarios.report.formatting import interval, many, percent
from scenarios.report.page.chart_data import Chart, Dot, PageTable, colours
from scenarios.report.page.charts import dot_plot
from scenarios.report.summary import Summary
from scenarios.report.tables import LABELS
from scenarios.scoring.lineups import LineUp
from scenarios.scoring.teacher_metrics import LABELS as TEACHERS

EMPHASIS = "var(--accent)"
QUIET = "var(--quiet)"
"""Of baselines."""
BASELINES = ("greedy", "sc")


def student_colours(summary: Summary) -> dict[str, str]:
    """The colour that a student keeps everywhere."""
    return colours([student.name for student in summary.students])


def methods(summary: Summary) -> Chart | None:
    """How right each method is; None: no problem is complete."""
    best = summary.best_possible
    if not summary.solves or not best.n:
        return None
    found = {name: method for name, method in summary.methods.items() if name not in TEACHERS and method.n}
    dots = [
        Dot(
            LABELS.get(name, name),
            method.accuracy,
            method.ci95,
            f"{LABELS.get(name, name)}: {percent(method.accuracy)}, 95 % {interval(method.ci95)}, "
            f"{many(method.n, 'problem')}, ties on {percent(method.tie_share)}",
            QUIET if name in BASELINES else EMPHASIS,
            (percent(method.accuracy), f"{method.completion_tokens:,}"),
        )
        for name, method in found.items()
    ]
    rows = [
        (
            LABELS.get(name, name), percent(method.accuracy), interval(method.ci95), f"{method.n:,}",
            percent(method.tie_share), percent(method.accuracy_random_ties), f"{method.completion_tokens:,}",
        )
        for name, method in found.items()
    ]  # fmt: skip
    rows.append((LABELS["best_possible"], percent(best.accuracy), "-", f"{best.n:,}", "-", "-", "-"))
    table = PageTable(
        ("method", "right", "95 %", "problems", "ties", "right with ties at random", "completion tokens"), tuple(rows)
    )
    note = f"The thin line is the best that any choice could reach: a right rationale on {percent(best.accuracy)}."
    headings = ("right", "tokens")
    return dot_plot(
        "How often the teacher's answer is right", dots, table, reference=best.accuracy, headings=headings, note=note
    )


def line_ups(summary: Summary) -> Chart | None:
    """M1 by line-up, as if only its students had sat the exams; None: there is nothing to compare."""
    ups = [up for up in summary.lineups if up.m1_max is not None]
    if not ups:
        return None
    palette = student_colours(summary)
    ordered = sorted(ups, key=lambda up: (len(up.students), -(up.m1_sum or 0), -(up.m1_max or 0)))
    dots = [
        Dot(
            _name(up, summary),
            up.m1_sum,
            None,  # its interval and the difference to SC belong here once the summary has them
            f"{_name(up, summary)}: MAX {percent(up.m1_max)}, SUM {percent(up.m1_sum)}, "
            f"{up.exams_per_rationale:g} exam answers a rationale",
            palette[up.students[0]] if len(up.students) == 1 else "var(--ink)",
            (percent(up.m1_sum), percent(up.m1_sum_equal), f"{up.exams_per_rationale:g}"),
        )
        for up in ordered
    ]
    table = PageTable(
        ("line-up", "students", "exam answers a rationale", "MAX", "SUM", "MAX, equal exams", "SUM, equal exams"),
        tuple(
            (
                _name(up, summary), str(len(up.students)), f"{up.exams_per_rationale:g}", percent(up.m1_max),
                percent(up.m1_sum), percent(up.m1_max_equal), percent(up.m1_sum_equal),
            )
            for up in ordered
        ),
    )  # fmt: skip
    sc = summary.methods["sc"].accuracy if "sc" in summary.methods else None
    note = (
        f"M1 SUM. The thin line is the majority vote, {percent(sc)}. Equal exams: every line-up cut down to as many "
        "exam answers as the smallest one has."
    )
    if summary.lineups_shown != "all":
        note += f" Shown: {summary.lineups_shown}."
    return dot_plot("M1 by line-up", dots, table, reference=sc, headings=("SUM", "equal exams", "exams"), note=note)


def students(summary: Summary) -> Chart | None:
    """How each student did in its exams; None: nobody sat any."""
    sat = [student for student in summary.students if student.exam_answers]
    if not sat:
        return None
    palette = student_colours(summary)
    dots = [
        Dot(
            student.name,
            student.exam_accuracy,
            student.ci95,
            f"{student.name}: {percent(student.exam_accuracy)} of {many(student.exam_answers, 'exam answer')}, "
            f"95 % {interval(student.ci95)}",
            palette[student.name],
            (percent(student.exam_accuracy), f"{student.exam_answers:,}"),
        )
        for student in sat
    ]
    table = PageTable(
        ("student", "right", "95 %", "exam answers", "MAX alone", "SUM alone"),
        tuple(
            (
                student.name, percent(student.exam_accuracy), interval(student.ci95), f"{student.exam_answers:,}",
                percent(student.m1_max), percent(student.m1_sum),
            )
            for student in sat
        ),
    )  # fmt: skip
    unit = "teaching problems" if summary.solves else "items"
    note = f"Right exam answers of each student. Intervals are over {unit}."
    return dot_plot("The students' exams", dots, table, headings=("right", "exams"), note=note)


def swatches(palette: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names of students with the number of their colour, for templates."""
    return [(name, colour.removeprefix("var(--c").removesuffix(")")) for name, colour in palette.items()]


def _name(up: LineUp, summary: Summary) -> str:
    """The students of a line-up."""
    return "everybody" if len(up.students) == len(summary.students) > 2 else " + ".join(up.students)
