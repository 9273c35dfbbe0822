"""What the exams say of the students: Shapley values, agreement, abilities, and curves of accuracy by what is spent."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

import msgspec

from scenarios.report.breakdown import UNKNOWN
from scenarios.report.formatting import interval, many, percent
from scenarios.report.page.answer import points
from scenarios.report.page.chart_data import MINUS, Chart, Dot, PageTable, Point, around_zero, colours
from scenarios.report.page.charts import dot_plot, line_chart
from scenarios.report.page.figures import student_colours
from scenarios.report.page.line_ups import points_interval
from scenarios.report.summary import Summary
from scenarios.report.tables import LABELS
from scenarios.scoring.agreement import Agreement, PairAgreement
from scenarios.scoring.curves import CurvePoint, CurveValue, DifficultyThird, PartCurve
from scenarios.scoring.over_problems import OverProblems
from scenarios.scoring.shapley import StudentValue

DRAWN = {"sc": "var(--quiet)", "m1_max": "var(--c5)", "m1_sum": "var(--c1)"}
"""The methods with a line, and their colours; the tables of curves have all."""
PALETTE = {LABELS[name]: colour for name, colour in DRAWN.items()}
STEPS = 10
"""page.css has so many steps of its sequential colours, and one for 0."""


class MatrixCell(msgspec.Struct, frozen=True):
    """Two students in the agreement matrix."""

    text: str
    step: int | None
    """Of the sequential colours; None: no colour."""
    hover: str


class AgreementMatrix(msgspec.Struct, frozen=True):
    """Cohen's kappa of every two students, and the table of all measures."""

    students: list[str]
    rows: list[tuple[str, list[MatrixCell]]]
    measures: PageTable
    note: str


def shapley(summary: Summary) -> Chart | None:
    """Bars of what each student adds; None: there are no exams, or there is one student."""
    if summary.shapley is None or len(summary.shapley.students) < 2:
        return None
    found = summary.shapley
    how = "" if found.orders is None else f" Means over {found.orders:,} random orders."
    how += f" All students: {summary.about_shown}." if summary.about_shown else ""
    note = (
        "By M1 SUM. A bar is the Shapley value: the mean change of accuracy when the student joins, over all orders. "
        f"They sum to the gain of M1 SUM with all students over the majority vote, {points(found.gain_sum)} "
        f"points ({points(found.gain_max)} by MAX). Intervals are over {many(found.n, 'problem')}.{how}"
    )
    return value_bars(found.students, student_colours(summary), note)


def value_bars(
    values: Sequence[StudentValue], palette: Mapping[str, str], note: str, rule: Literal["max", "sum"] = "sum"
) -> Chart:
    """Bars of Shapley values by SUM or MAX; the table has both."""
    drawn = [(one, one.m1_max if rule == "max" else one.m1_sum) for one in values]
    dots = [
        Dot(
            one.name,
            found.value,
            found.ci95,
            f"{one.name} adds {points(found.value)} points, 95 % {points_interval(found.ci95)}",
            palette[one.name],
            (points(one.m1_sum.value), points(one.m1_max.value)),
        )
        for one, found in drawn
    ]
    table = PageTable(
        ("student", "to SUM", "95 %", "p", "to MAX", "95 %", "p"),
        tuple((one.name, *_value(one.m1_sum), *_value(one.m1_max)) for one in values),
    )
    return dot_plot(
        f"What each student adds to the majority vote, M1 {rule.upper()}", dots, table,
        domain=around_zero(found.ci95 for _, found in drawn), reference=0.0, headings=("to SUM", "to MAX"),
        unit="points", bars=True, note=note,
    )  # fmt: skip


def _value(found: OverProblems) -> tuple[str, str, str]:
    return points(found.value), points_interval(found.ci95), f"{found.p_value:.2g}"


def abilities(summary: Summary) -> Chart | None:
    """The students on the scale of the item response model; None: there are no exams."""
    found = summary.abilities
    if found is None or not (known := [one for one in found.students if one.ability is not None]):
        return None
    palette = student_colours(summary)
    dots = [
        Dot(
            one.name,
            one.ability,
            one.ci95,
            f"{one.name}: {_number(one.ability)} logits, 95 % {_range(one.ci95)}; "
            f"{many(one.exam_answers, 'exam answer')}",
            palette[one.name],
            (_number(one.ability), _signed(one.teacher_leads_by), _signed(one.gain_sum)),
        )
        for one in known
    ]
    table = PageTable(
        ("student", "ability", "95 %", "exam answers", "teacher leads by", "gain of MAX", "gain of SUM"),
        tuple(
            (
                one.name, _number(one.ability), _range(one.ci95), f"{one.exam_answers:,}",
                _signed(one.teacher_leads_by), _signed(one.gain_max), _signed(one.gain_sum),
            )
            for one in known
        ),
    )  # fmt: skip
    ends = [end for one in known for end in (one.ability or 0.0, *(one.ci95 or ()))]
    note = (
        "In logits, by one item response model of students, exam problems and rationales; 0 means right on half of "
        f"the exam problems of mean difficulty. Standard deviation between exam problems: {found.difficulty_sd:.2f}, "
        f"between rationales of a problem: {found.quality_sd:.2f}. Teacher leads by: its right answers minus the "
        "student's, in points. Gain: M1 SUM with this student alone, minus the majority vote."
    )
    if found.right_minus_wrong is not None:
        note += f" Right rationales teach better than wrong ones by {_number(found.right_minus_wrong)} logits"
        note += f" (95 % {_range(found.right_minus_wrong_ci95)})." if found.right_minus_wrong_ci95 else "."
    if found.gain_sum_by_lead is not None:
        note += (
            " Over students, the teacher's lead and the gain of SUM have a rank correlation of "
            f"{_number(found.gain_sum_by_lead)}, which describes this class alone."
        )
    return dot_plot(
        "Ability of the students", dots, table, domain=(min(-1.0, *ends) - 0.1, max(1.0, *ends) + 0.1), reference=0.0,
        headings=("ability", "teacher leads by", "gain"), unit="logits", note=note,
    )  # fmt: skip


def fidelity(summary: Summary) -> list[str]:
    """How students differ from their base, a sentence for each."""
    if summary.fidelity is None:
        return []
    return [
        f"{one.student} minus {one.base}: {points(one.accuracy.value)} points of right exam answers "
        f"(95 % {points_interval(one.accuracy.ci95)}, p = {one.accuracy.p_value:.2g}); the same result on "
        f"{percent(one.same)} of {many(one.n, 'exam problem')} that both answered"
        + ("" if one.same_with_itself is None else f", one student with itself on {percent(one.same_with_itself)}")
        + ("." if one.p_answers is None else f"; right on the same exams: p = {one.p_answers:.2g}.")
        for one in summary.fidelity.to_base
    ]


def agreement(summary: Summary) -> AgreementMatrix | None:
    """Kappa of every two students; None: no two answered the same exam."""
    if summary.agreement is None or not summary.agreement.pairs:
        return None
    found = {frozenset((one.a, one.b)): one for one in summary.agreement.pairs}
    paired = frozenset[str]().union(*found)
    names = [one.name for one in summary.students if one.name in paired]
    rows = [(a, [_cell(a, b, found.get(frozenset((a, b)))) for b in names]) for a in names]
    measures = PageTable(
        ("students", "exams", "same result", "kappa", "95 %", "error correlation", "95 %", "Yule's Q", "both wrong"),
        tuple(
            (
                f"{one.a} and {one.b}", f"{one.n:,}", percent(one.same), _number(one.kappa),
                _range(one.kappa_ci95), _number(one.error_correlation), _range(one.error_correlation_ci95),
                _number(one.yules_q), percent(one.double_fault),
            )
            for one in summary.agreement.pairs
        ),
    )  # fmt: skip
    return AgreementMatrix(names, rows, measures, _about(summary.agreement))


def _about(found: Agreement) -> str:
    note = (
        "Cohen's kappa: how much more often two students are right and wrong together than by chance. 1: always; 0: as "
        "by chance. Students that agree less err on other exams."
    )
    if found.gain_sum_by_kappa is not None:
        note += (
            f" Over {many(found.line_ups, 'line-up')} the mean kappa and the gain of SUM have a rank correlation of "
            f"{_number(found.gain_sum_by_kappa)}, which describes this class alone."
        )
    return note


def _cell(a: str, b: str, one: PairAgreement | None) -> MatrixCell:
    if a == b:
        return MatrixCell("", None, "")
    if one is None or one.kappa is None:
        why = "no exam in common" if one is None else "one of them is right everywhere, or nowhere"
        return MatrixCell("-", None, f"{a} and {b}: {why}")
    said = f"{a} and {b}: kappa {_number(one.kappa)}, 95 % {_range(one.kappa_ci95)}"
    return MatrixCell(_number(one.kappa), round(STEPS * max(0.0, min(1.0, one.kappa))), said)


def curves(summary: Summary) -> list[Chart]:
    """Accuracy by rationales, exams, tokens and difficulty; empty: there are no exams."""
    if (found := summary.curves) is None:
        return []
    charts = [
        _curve("By rationales a problem", found.rationales, "rationales", lambda at, _: at.size,
               "Fewer rationales: the mean over random subsets of those recorded, with all their exams."),
        _curve("By exam answers a rationale", found.exams, "exam answers", lambda at, _: at.size,
               "Fewer exams: the mean over random shares, evenly over the students, with all rationales."),
        _curve("By tokens a problem", found.rationales, "completion tokens", lambda _, value: value.tokens,
               "With fewer rationales, as in the first chart, by the completion tokens that each method needs."),
        _by_money(found.rationales),
        _by_difficulty(found.difficulty),
        _by_part("By rationales, for each level", found.levels),
        _by_part("By rationales, for each subject", found.subjects),
    ]  # fmt: skip
    return [chart for chart in charts if chart is not None]


def _by_money(sizes: Sequence[CurvePoint]) -> Chart | None:
    """None where a drawn method costs nothing, or its price is not known: the axis is logarithmic."""
    if not all(at.methods[name].money for at in sizes for name in DRAWN if name in at.methods):
        return None
    note = "As by tokens, at the prices of the scenario, prompts in full; agents without prices cost nothing."
    return _curve("By money a problem", sizes, "money", lambda _, value: value.money or 0.0, note)


def _by_part(title: str, parts: Sequence[PartCurve]) -> Chart | None:
    """M1 SUM by rationales, a line for each level or subject; the table has all methods."""
    points = [
        Point(part.name or UNKNOWN, at.size, at.methods["m1_sum"].accuracy, at.methods["m1_sum"].ci95)
        for part in parts
        for at in part.rationales
    ]
    if len({point.x for point in points}) < 2:
        return None
    table = PageTable(
        ("part", "rationales", "method", "right", "95 %", "problems"),
        tuple(
            (part.name or UNKNOWN, f"{at.size:,}", LABELS.get(name, name), percent(value.accuracy),
             interval(value.ci95), f"{at.n:,}")
            for part in parts
            for at in part.rationales
            for name, value in at.methods.items()
        ),
    )  # fmt: skip
    return line_chart(
        title, points, table, x="rationales (log scale)", y="right", share=True, log=True,
        palette=colours([part.name or UNKNOWN for part in parts]),
        note="M1 SUM. Fewer rationales: the mean over random subsets. The table has all methods.",
    )  # fmt: skip


def _curve(
    title: str, sizes: Sequence[CurvePoint], unit: str, x: Callable[[CurvePoint, CurveValue], float], note: str
) -> Chart | None:
    if len(sizes) < 2:
        return None
    drawn = _points([(at.methods, partial(x, at)) for at in sizes])
    table = PageTable(
        (unit, "method", "right", "95 %", "problems", "tokens a problem"),
        tuple(
            (
                f"{x(at, value):g}", LABELS.get(name, name), percent(value.accuracy), interval(value.ci95),
                f"{at.n:,}", f"{value.tokens:,.0f}",
            )
            for at in sizes
            for name, value in at.methods.items()
        ),
    )  # fmt: skip
    return line_chart(
        title, drawn, table, x=f"{unit} (log scale)", y="right", share=True, log=True, palette=PALETTE, note=note
    )


def _by_difficulty(thirds: Sequence[DifficultyThird]) -> Chart | None:
    if len(thirds) < 2:
        return None

    def middle(one: DifficultyThird, _: CurveValue) -> float:
        return round(50 * (one.right_from + one.right_to))

    drawn = _points([(one.methods, partial(middle, one)) for one in thirds])
    table = PageTable(
        ("right rationales", "problems", "method", "right", "95 %"),
        tuple(
            (
                f"{100 * one.right_from:.0f} to {100 * one.right_to:.0f} %", f"{one.n:,}", LABELS.get(name, name),
                percent(value.accuracy), interval(value.ci95),
            )
            for one in thirds
            for name, value in one.methods.items()
        ),
    )  # fmt: skip
    note = "Problems in thirds by the share of their rationales that are right: hard ones on the left."
    return line_chart(
        "By difficulty",
        drawn,
        table,
        x="right rationales (%, middle of the third)",
        y="right",
        share=True,
        palette=PALETTE,
        note=note,
    )


def _points(rows: Iterable[tuple[Mapping[str, CurveValue], Callable[[CurveValue], float]]]) -> list[Point]:
    """The points of the drawn methods: by row, the methods with their values, and where a value is on the x axis."""
    return [
        Point(LABELS[name], x(methods[name]), methods[name].accuracy, methods[name].ci95)
        for methods, x in rows
        for name in DRAWN
        if name in methods
    ]


def _range(ci95: tuple[float, float] | None) -> str:
    return "-" if ci95 is None else f"{_number(ci95[0])} to {_number(ci95[1])}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}".replace("-", MINUS)


def _signed(difference: float | None) -> str:
    return "-" if difference is None else points(difference)
