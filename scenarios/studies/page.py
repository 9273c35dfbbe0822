"""Writes report.html of a study: its answer, line-ups, comparisons and classes, from study.json's figures alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from broker.files import write_atomically
from scenarios.config import load
from scenarios.report.formatting import interval, many, percent, uncorrected
from scenarios.report.page import PAGE
from scenarios.report.page.answer import points
from scenarios.report.page.chart_data import Chart, Dot, PageTable, around_zero
from scenarios.report.page.charts import dot_plot
from scenarios.report.page.figures import copies_alike, line_up_colour
from scenarios.report.tables import LABELS
from scenarios.session.run_dir import RunFolder
from scenarios.studies.beside import beside
from scenarios.studies.folder import StudyFolder
from scenarios.studies.pooling import Difference
from scenarios.studies.result import CellResult, LineupResult, StudyRecords, StudyResult
from scenarios.studies.sentences import in_words
from scenarios.studies.tables import by_class, pooled_over, published_rows
from scenarios.studies.terms import EVERYONE, label, value_label

RULES: Final = ("max", "sum")
"""In the order of their switch."""
MEMBERS = 40
"""The most characters of the students' names that stand beside a line-up in a chart."""


class CellRow(msgspec.Struct, frozen=True):
    """A class in the table of all."""

    name: str
    link: str
    """Of its page, relative; empty: it has none."""
    status: str
    figures: list[str]


def write_study_page(folder: StudyFolder, found: StudyRecords) -> str:
    """Write report.html into the folder of a study; an older one stays where that fails.

    Returns:
        Why it is not written and what to do, as a sentence; empty: it is written.
    """
    try:
        write_atomically(folder.path / PAGE, page(folder, found))
        return ""
    except ImportError as error:
        why = f"the package {error.name} is not installed: pip install -e ."
    except Exception as error:  # a mistake in the page must not hide a finished study
        why = f"{RunFolder(folder.path).log_failure(error)} (the details are in {folder}/logs/run.log)"
    return f"report.html is not written: {why}\nstudy.json is. Later: python run.py report {folder}"


def page(folder: StudyFolder, found: StudyRecords) -> bytes:
    """The bytes of the page."""
    from scenarios.report.page.document import document

    study, result = folder.study(), found.result
    copied = {one.name: one.pool for one in found.scenario.students} if found.scenario else {}
    classes = beside(folder, found.classes)
    first, doubts = _answer(result)
    columns, note = by_class(result)
    uncounted = len(result.descriptive) + len(result.leave_one_out)
    return document(
        "study.html.j2",
        classes,
        scripts=("beside.js",),
        frames=True,
        title=result.study,
        result=result,
        complete=sum(run.status == "complete" for run in result.runs),
        go_on=folder.go_on,
        seeds=sorted({run.seed for run in result.runs}),
        factors=_factors(result.runs),
        problems=next((one.n for one in result.methods.values()), 0),
        answer=first,
        doubts=[*doubts, *([uncorrected(uncounted, others=bool(result.primary))] if uncounted > 1 else [])],
        primary=differences("Primary comparisons, named before the study ran", result.primary),
        line_ups=[(rule.upper(), _line_ups(result, rule, copied), "") for rule in RULES] if result.lineups else [],
        methods=_methods(result),
        shapley=_shapley(result, copied),
        descriptive=differences("Other comparisons: neither planned nor corrected", result.descriptive),
        published=_published(result),
        leave_one_out=differences(
            "All students minus all without the named one: not corrected",
            result.leave_one_out,
            lambda one: one.b.removeprefix(f"{EVERYONE} without "),
        ),
        columns=["problems", "SC", *columns],
        cells_note=note or "No class is complete.",
        cells=[_cell(run, columns.values(), folder) for run in result.runs],
        beside=classes,
        settings=load.dump(study),
    )


def _answer(result: StudyResult) -> tuple[list[str], list[str]]:
    """The sentences up to the last primary comparison and its correction, and those after it, which are doubts."""
    if not result.primary or (last := in_words(result.primary[-1])) not in result.answer:
        return result.answer[:1], result.answer[1:]
    end = result.answer.index(last) + 1 + (len(result.primary) > 1)
    return result.answer[:end], result.answer[end:]


def _factors(runs: Sequence[CellResult]) -> list[str]:
    """Each crossed factor with its values."""
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for factor, value in run.factors.items():
            values.setdefault(factor, {})[value_label(value)] = None
    return [f"{factor}: {', '.join(found)}" for factor, found in values.items()]


def differences(
    title: str, found: Sequence[Difference], name: Callable[[Difference], str] = lambda one: f"{one.a} minus {one.b}"
) -> Chart | None:
    """Paired differences as a dot plot in the order given, each with its name; None: there are none."""
    if not found:
        return None
    from scenarios.report.page.line_ups import ROWS

    corrected = any(one.p_holm is not None for one in found)
    dots = [
        Dot(
            name(one), one.difference, one.ci95, in_words(one),
            "var(--accent)" if corrected else "var(--ink)",
            (points(one.difference), f"{one.wins:,}", f"{one.losses:,}", _p(one)),
        )
        for one in found[:ROWS]
    ]  # fmt: skip
    table = PageTable(
        ("comparison", "points", "95 %", "better", "worse", "problems", "p", "p (Holm)", "problems needed"),
        tuple(
            (
                f"{one.a} minus {one.b}", points(one.difference), f"{points(one.ci95[0])} to {points(one.ci95[1])}",
                f"{one.wins:,}", f"{one.losses:,}", f"{one.n:,}", f"{one.p_value:.2g}",
                "-" if one.p_holm is None else f"{one.p_holm:.2g}", "-" if one.needed is None else f"{one.needed:,}",
            )
            for one in found
        ),
    )  # fmt: skip
    note = (
        "Paired over distinct problems. A line-up stands for its MAX, NAME.sum for its SUM. Thin line: no difference."
    )
    note += " p is corrected for the number of comparisons (Holm), intervals are not." if corrected else ""
    if (k := found[0].comparisons) > 1:
        note += f" The problems needed are counted for p below 0.05 / {k} before correction."
    note += f" The first {ROWS} are drawn; the table has all {len(found)}." if len(found) > ROWS else ""
    return dot_plot(
        title, dots, table, domain=around_zero(one.ci95 for one in found), reference=0.0,
        headings=("points", "better", "worse", "p (Holm)" if corrected else "p"), unit="points", note=note,
    )  # fmt: skip


def _p(one: Difference) -> str:
    return f"{one.p_value if one.p_holm is None else one.p_holm:.2g}"


def _with_members(one: LineupResult) -> str:
    """A line-up with its students, where they are few enough for a label."""
    members = ", ".join(one.students)
    return one.name if members == one.name or len(members) > MEMBERS else f"{one.name} ({members})"


def _line_ups(result: StudyResult, rule: str, copied: Mapping[str, str]) -> Chart:
    """The line-ups by MAX or by SUM, pooled over the cells."""
    from scenarios.report.page.line_ups import grouped

    def accuracy(one: LineupResult) -> float:
        return one.m1_max if rule == "max" else one.m1_sum

    def dot(one: LineupResult) -> Dot:
        ci95 = one.m1_max_ci95 if rule == "max" else one.m1_sum_ci95
        said = f"{one.name} ({', '.join(one.students)}): {percent(accuracy(one))}, 95 % {interval(ci95)}"
        return Dot(
            _with_members(one), accuracy(one), ci95, said, line_up_colour(one.students, copied),
            (percent(accuracy(one)), interval(ci95)),
        )  # fmt: skip

    ordered = sorted(result.lineups, key=lambda one: (len(one.students), -accuracy(one)))
    dots, left_out = grouped(ordered, lambda one: len(one.students), dot)
    table = PageTable(
        ("line-up", "students", "MAX", "95 %", "SUM", "95 %"),
        tuple(
            (
                one.name, ", ".join(one.students), percent(one.m1_max), interval(one.m1_max_ci95),
                percent(one.m1_sum), interval(one.m1_sum_ci95),
            )
            for one in ordered
        ),
    )  # fmt: skip
    sc = result.methods.get("sc")
    note = f"Pooled over {pooled_over(result)}."
    note += f" The thin line is the majority vote, {percent(sc.accuracy)}." if sc else ""
    return dot_plot(
        f"Line-ups, M1 {rule.upper()}", dots, table, reference=sc.accuracy if sc else None,
        headings=("right", "95 %"), note=note + left_out,
    )  # fmt: skip


def _methods(result: StudyResult) -> Chart | None:
    if not result.methods:
        return None
    rows = [
        (LABELS.get(name, name), one.accuracy, one.ci95, percent(one.accuracy), interval(one.ci95))
        for name, one in result.methods.items()
    ]
    dots = [
        Dot(name, value, ci95, f"{name}: {right}, 95 % {between}", "var(--accent)", (right, between))
        for name, value, ci95, right, between in rows
    ]
    table = PageTable(("method", "right", "95 %"), tuple((name, right, between) for name, *_, right, between in rows))
    note = "M1 is by all students of a class. Pooled over distinct problems."
    return dot_plot("Methods", dots, table, headings=("right", "95 %"), note=note)


def _shapley(result: StudyResult, copied: Mapping[str, str]) -> list[Chart]:
    """What each student adds by the rules, in the order of their switch; empty where that is not pooled."""
    from scenarios.report.page.analysis import value_bars

    found = result.shapley
    if not found.students:
        return []
    note = (
        "A bar is the Shapley value: what the student adds when it joins, averaged over all orders and, on each "
        f"problem, over its classes. Intervals are over {many(found.n, 'distinct problem')}."
    )
    return [
        value_bars(found.students, copies_alike(copied), f"By M1 {rule.upper()}, like the line-ups above. {note}", rule)
        for rule in RULES
    ]


def _published(result: StudyResult) -> PageTable | None:
    if not result.published:
        return None
    return PageTable(("row", "method", "published", "here", "95 %"), tuple(published_rows(result)))


def _cell(run: CellResult, lineups: Iterable[str], folder: StudyFolder) -> CellRow:
    """A class with the MAX of these line-ups; its page may be missing, of a class that never ran."""
    figures = [f"{run.n:,}" if run.n else "-", percent(run.methods.get("sc"))]
    figures += [percent(run.lineups.get(name, {}).get("m1_max")) for name in lineups]
    link = f"{run.folder}/{PAGE}"
    has_page = (folder.path / link).is_file()
    status = f"{run.status}: {run.reason}" if run.reason else run.status
    return CellRow(label({**run.factors, "seed": run.seed}), link if has_page else "", status, figures)
