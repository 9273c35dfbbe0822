"""The charts of the methods of level 1 and of the students' exams. All numbers are the summary's."""

from collections.abc import Mapping

from scenarios.report.baselines import HEADINGS, rows
from scenarios.report.formatting import interval, many, percent
from scenarios.report.page.chart_data import Chart, Dot, PageTable, colours
from scenarios.report.page.charts import dot_plot
from scenarios.report.summary import Summary
from scenarios.report.tables import LABELS, published_methods
from scenarios.scoring.teacher_metrics import LABELS as TEACHERS

EMPHASIS = "var(--accent)"
QUIET = "var(--quiet)"
"""Of baselines."""
BASELINES = ("greedy", "sc")


def student_colours(summary: Summary) -> dict[str, str]:
    """The colour that a student keeps everywhere; copies of one student share it."""
    kinds = {student.name: student.copy_of or student.name for student in summary.students}
    palette = colours(list(kinds.values()))
    return {name: palette[kind] for name, kind in kinds.items()}


def methods(summary: Summary) -> Chart | None:
    """How right each method is; None: no problem is complete."""
    best = summary.best_possible
    if not summary.solves or not best.n:
        return None
    found = {name: method for name, method in summary.methods.items() if name not in TEACHERS and method.n}
    published = {name: share for name, share in published_methods(summary).items() if name not in TEACHERS}
    dots = [
        Dot(
            LABELS.get(name, name),
            method.accuracy,
            method.ci95,
            f"{LABELS.get(name, name)}: {percent(method.accuracy)}, 95 % {interval(method.ci95)}, "
            f"{many(method.n, 'problem')}, ties on {percent(method.tie_share)}",
            QUIET if name in BASELINES else EMPHASIS,
            (
                percent(method.accuracy),
                f"{method.prompt_tokens:,}",
                f"{method.cached_prompt_tokens:,}",
                f"{method.completion_tokens:,}",
            ),
        )
        for name, method in found.items()
    ]
    cells = [
        (
            LABELS.get(name, name), percent(method.accuracy), interval(method.ci95), f"{method.n:,}",
            percent(method.tie_share), percent(method.accuracy_random_ties), f"{method.rationales:,}",
            f"{method.prompt_tokens:,}", f"{method.cached_prompt_tokens:,}", f"{method.completion_tokens:,}",
            *([percent(published.get(name), digits=2)] if published else ()),
        )
        for name, method in found.items()
    ]  # fmt: skip
    cells.append(
        (
            LABELS["best_possible"],
            percent(best.accuracy),
            interval(best.ci95),
            f"{best.n:,}",
            *["-"] * (6 + bool(published)),
        )
    )
    table = PageTable(
        (
            "method", "right", "95 %", "problems", "ties", "right with ties at random", "rationales", "prompt tokens",
            "of these cached", "completion tokens", *(["published"] if published else ()),
        ),
        tuple(cells),
    )  # fmt: skip
    note = f"The thin line is the best that any choice could reach: a right rationale on {percent(best.accuracy)}. "
    note += "Tokens are those of all problems: prompts, cached ones among them, and completions."
    if published and summary.published:
        figures = ", ".join(f"{LABELS[name]} {percent(share, digits=2)}" for name, share in published.items())
        note += f" Published ({summary.published.source or 'elsewhere'}): {figures}."
    headings = ("right", "prompt", "cached", "completion")
    return dot_plot(
        "How often the teacher's answer is right", dots, table, reference=best.accuracy, headings=headings, note=note
    )


def baselines(summary: Summary) -> PageTable | None:
    """The baselines of M1; None where there are none."""
    return PageTable(HEADINGS, tuple(rows(summary.baselines))) if summary.baselines else None


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
