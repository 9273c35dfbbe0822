"""The charts of the methods of level 1 and of the students' exams. All numbers are the summary's."""

import math
from collections.abc import Collection, Mapping

from msgspec import UnsetType

from scenarios.report import signals
from scenarios.report.baselines import headings, rows
from scenarios.report.formatting import interval, many, percent
from scenarios.report.methods import Method
from scenarios.report.page.chart_data import INK, Chart, Dot, PageTable, colours
from scenarios.report.page.charts import dot_plot
from scenarios.report.summary import Summary
from scenarios.report.tables import LABELS, S_SCORE, published_methods
from scenarios.scoring.teacher_metrics import LABELS as TEACHERS

EMPHASIS = "var(--accent)"
QUIET = "var(--quiet)"
"""Of baselines."""
BASELINES = ("greedy", "sc")


def student_colours(summary: Summary) -> dict[str, str]:
    """The colour that a student keeps everywhere; copies of one student share it."""
    return copies_alike(copied(summary))


def copied(summary: Summary) -> dict[str, str]:
    """By student: the student of the file that it is a copy of, or its own name."""
    return {student.name: student.copy_of or student.name for student in summary.students}


def copies_alike(copied: Mapping[str, str]) -> dict[str, str]:
    """A colour for each student, equal for copies of one; see `copied`."""
    palette = colours(list(copied.values()))
    return {name: palette[kind] for name, kind in copied.items()}


def line_up_colour(students: Collection[str], copied: Mapping[str, str]) -> str:
    """That of its only student, or of the one that all of them are copies of."""
    return copies_alike(copied)[next(iter(students))] if len({copied[name] for name in students}) == 1 else INK


def methods(summary: Summary) -> Chart | None:
    """How right each method is; None: no problem is complete."""
    best = summary.best_possible
    if not summary.solves or not best.n:
        return None
    found = {name: method for name, method in summary.methods.items() if name not in TEACHERS and method.n}
    published = {name: share for name, share in published_methods(summary).items() if name not in TEACHERS}
    costs = _costs(found)
    of_programs = any(method.s_score is not None for method in found.values())
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
                *[percent(method.s_score)] * of_programs,
                *([costs[name]] if costs else []),
            ),
        )
        for name, method in found.items()
    ]
    cells = [
        (
            LABELS.get(name, name), percent(method.accuracy), interval(method.ci95), f"{method.n:,}",
            percent(method.tie_share), percent(method.accuracy_random_ties), f"{method.rationales:,}",
            f"{method.prompt_tokens:,}", f"{method.cached_prompt_tokens:,}", f"{method.completion_tokens:,}",
            *[percent(method.s_score)] * of_programs,
            *([percent(published.get(name), digits=2)] if published else ()),
            *([costs[name]] if costs else ()),
        )
        for name, method in found.items()
    ]  # fmt: skip
    nothing = ["-"] * (6 + of_programs + bool(published) + bool(costs))
    cells.append((LABELS["best_possible"], percent(best.accuracy), interval(best.ci95), f"{best.n:,}", *nothing))
    table = PageTable(
        (
            "method", "right", "95 %", "problems", "ties", "right with ties at random", "rationales", "prompt tokens",
            "of these cached", "completion tokens", *["S-score"] * of_programs, *["published"] * bool(published),
            *["cost"] * bool(costs),
        ),
        tuple(cells),
    )  # fmt: skip
    note = f"The thin line is the best that any choice could reach: a right rationale on {percent(best.accuracy)}. "
    note += "Tokens are those of all problems: prompts, cached ones among them, and completions."
    if published and summary.published:
        figures = ", ".join(f"{LABELS[name]} {percent(share, digits=2)}" for name, share in published.items())
        note += f" Published ({summary.published.source or 'elsewhere'}): {figures}."
    headings = ["right", "prompt", "cached", "completion"]
    if of_programs:
        headings.append("S-score")
        note += f" {S_SCORE}"
    if costs:
        headings.append("cost")
        note += " Cost: of these tokens by the prices in the scenario, in their currency."
    return dot_plot(
        "How often the teacher's answer is right", dots, table, reference=best.accuracy, headings=headings, note=note
    )


def _costs(found: Mapping[str, Method]) -> dict[str, str]:
    """What each method costs, with equally many digits after the point: two of the smallest cost; empty: no prices."""
    known = {name: method.cost for name, method in found.items() if not isinstance(method.cost, UnsetType)}
    least = min((cost for cost in known.values() if cost), default=1.0)
    digits = max(2, 1 - math.floor(math.log10(least)))
    return {name: f"{known[name]:,.{digits}f}" if name in known else "-" for name in found} if known else {}


def baselines(summary: Summary) -> PageTable | None:
    """The baselines of M1; None where there are none."""
    return PageTable(tuple(headings(summary.baselines)), tuple(rows(summary.baselines))) if summary.baselines else None


def signals_table(summary: Summary) -> PageTable | None:
    """What tells right TRs from wrong ones; None where nothing can be said."""
    return PageTable(signals.HEADINGS, tuple(signals.rows(summary.signals))) if summary.signals else None


def students(summary: Summary) -> Chart | None:
    """How each student did in its exams; None: nobody sat any."""
    sat = [student for student in summary.students_shown if student.exam_answers]
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
    note += f" Shown: {summary.about_shown}." if summary.about_shown else ""
    return dot_plot("The students' exams", dots, table, headings=("right", "exams"), note=note)


def swatches(palette: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names of students with the number of their colour, for templates."""
    return [(name, colour.removeprefix("var(--c").removesuffix(")")) for name, colour in palette.items()]
