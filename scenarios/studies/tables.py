"""The result of a study as printed tables, from study.json alone."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from scenarios.config.published import METHOD
from scenarios.report.formatting import interval, many, percent
from scenarios.report.layout import Ruled, Sentences, plain, spaced
from scenarios.report.tables import LABELS, UNPROTECTED, added_table
from scenarios.studies.pooling import Difference
from scenarios.studies.result import StudyResult
from scenarios.studies.terms import label

ROWS_SHOWN = 40
"""Line-ups and descriptive comparisons of which more are in study.json alone."""
DIFFERENCE_HEADINGS = ("points", "95 %", "better", "worse", "p")
LINE_UPS_BY_CLASS = 6
"""With more line-ups the table of classes has two of them."""


def result_tables(result: StudyResult) -> RenderableType:
    """The result of a study."""
    complete, waiting = (sum(run.status == status for run in result.runs) for status in ("complete", "to extend"))
    head = Text(plain(result.study), style="bold")
    head.append(f"  study of {many(len(result.runs), 'class', 'classes')}, {complete} complete", style="none")
    head.append(f", {waiting} to extend" if waiting else "", style="none")
    parts: list[RenderableType] = [head]
    parts += [Sentences(one, style="bold red" if one == UNPROTECTED else "") for one in result.answer]
    if result.primary:
        parts.append(_comparisons("Primary comparisons, named before the study ran", result.primary))
    if result.lineups:
        parts += [_lineups(result), _methods(result)]
    if len(result.shapley.students) > 1:
        over = many(result.shapley.n, "distinct problem")
        parts.append(added_table(result.shapley.students, f"95 %: over {over}, each the mean over its classes."))
    if result.descriptive:
        parts.append(_comparisons("Other comparisons (descriptive: neither planned nor corrected)", result.descriptive))
    if result.leave_one_out:
        parts.append(_comparisons("All students against all but one (descriptive)", result.leave_one_out))
    parts += [_published(result)] if result.published else []
    parts.append(_cells(result))
    return spaced(parts)


def pooled_over(result: StudyResult) -> str:
    """The problems and classes over which the results of line-ups are pooled, in words."""
    waiting = any(run.status == "to extend" for run in result.runs)
    classes = "classes that are complete or to extend" if waiting else "complete classes"
    return f"{many(result.lineups[0].n, 'distinct problem')} of all {classes}"


def _lineups(result: StudyResult) -> Ruled:
    best = sorted(result.lineups, key=lambda one: -one.m1_max)[:ROWS_SHOWN]
    shown = [one for one in result.lineups if one in best]
    table = Ruled(f"Line-ups, over {pooled_over(result)}", _left_out(result))
    table.add_column("line-up", fold=True)
    table.add_column("students", fold=True)
    costs = any(one.sc_at_cost is not None for one in shown)
    table.add_columns("MAX", "95 %", "SUM", "95 %", *(("SC at\nits cost", "95 %") if costs else ()))
    for one in shown:
        cells = [percent(one.m1_max), interval(one.m1_max_ci95), percent(one.m1_sum), interval(one.m1_sum_ci95)]
        cells += [percent(one.sc_at_cost), interval(one.sc_at_cost_ci95)] if costs else []
        table.add_row(one.name, ", ".join(one.students), *cells)
    return table


def _left_out(result: StudyResult) -> str:
    more = len(result.lineups) - ROWS_SHOWN
    return f"{more} more, with a lower MAX, are in study.json." if more > 0 else ""


def _methods(result: StudyResult) -> Ruled:
    table = Ruled("Methods of the classes; M1 is by all students")
    table.add_column("method")
    table.add_columns("right", "95 %")
    for name, one in result.methods.items():
        table.add_row(LABELS.get(name, name), percent(one.accuracy), interval(one.ci95))
    return table


def _comparisons(title: str, differences: list[Difference]) -> Ruled:
    more = len(differences) - ROWS_SHOWN
    table = Ruled(title, f"{more} more are in study.json." if more > 0 else "")
    table.add_column("comparison", fold=True)
    corrected = any(one.p_holm is not None for one in differences)
    table.add_columns(*DIFFERENCE_HEADINGS, *(["p (Holm)"] if corrected else []))
    for one in differences[:ROWS_SHOWN]:
        cells = [f"{one.p_holm:.2g}"] if one.p_holm is not None else []
        table.add_row(f"{one.a} - {one.b}", *difference_cells(one), *cells)
    return table


def difference_cells(one: Difference) -> list[str]:
    """The cells under DIFFERENCE_HEADINGS."""
    low, high = (f"{100 * end:+.1f}" for end in one.ci95)
    numbers = [f"{one.wins:,}", f"{one.losses:,}", f"{one.p_value:.2g}"]
    return [f"{100 * one.difference:+.1f}", f"{low} to {high}", *numbers]


def by_class(result: StudyResult) -> tuple[dict[str, str], str]:
    """The line-ups in the table of classes by the heading of their column, and a note.

    With many line-ups these are the best of them over all classes, and the one with all students.
    """
    lineups, more = result.lineups, "study.json has SUM and the other methods."
    if len(lineups) <= LINE_UPS_BY_CLASS:
        return {one.name: one.name for one in lineups}, f"MAX of each line-up; {more}" if lineups else ""
    best = max(lineups, key=lambda one: one.m1_max)
    everyone = max(lineups, key=lambda one: len(one.students))
    shown = {"best": best.name}
    if set(everyone.students) >= {name for one in lineups for name in one.students}:
        shown["everyone"] = everyone.name
    note = f"MAX; best is {best.name}, with the highest MAX over all classes"
    return shown, f"{note}. study.json has all {len(lineups)} line-ups, SUM and the other methods."


def _cells(result: StudyResult) -> Ruled:
    columns, note = by_class(result)
    table = Ruled("Each class by itself", note)
    table.add_column("class", fold=True)
    table.add_columns("status", right=False)
    table.add_columns("TPs", "SC", *columns)
    for run in result.runs:
        figures = [percent(run.lineups.get(name, {}).get("m1_max")) for name in columns.values()]
        table.add_row(
            label({**run.factors, "seed": run.seed}), run.status, f"{run.n}", percent(run.methods.get("sc")), *figures
        )
    return table


def _published(result: StudyResult) -> Ruled:
    table = Ruled("Published results, and those of the same classes of this study")
    table.add_column("row", fold=True)
    table.add_columns("method", right=False)
    table.add_columns("published", "here", "95 %")
    for cells in published_rows(result):
        table.add_row(*cells)
    return table


def published_rows(result: StudyResult) -> Iterator[tuple[str, str, str, str, str]]:
    """Of each published figure: its row, its method, the figure, and that of this study with its interval."""
    for row in result.published:
        for method, value in row.published.items():
            ours = row.ours.get(method)
            name = ", ".join(filter(None, [label(row.where), row.lineup]))
            yield (
                name,
                LABELS[METHOD[method]],
                percent(value, digits=2),
                percent(ours.accuracy if ours else None),
                interval(ours.ci95 if ours else None),
            )
