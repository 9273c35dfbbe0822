"""The charts of level 2: the curves of each training, and the teachers that came of them."""

from collections.abc import Iterator

from scenarios.records.learn import ARM_LABELS, numbered
from scenarios.report.formatting import figure, interval, percent
from scenarios.report.learn import LearnComparison, LearnRoundSummary
from scenarios.report.page.answer import points
from scenarios.report.page.chart_data import Chart, Dot, PageTable, Point, around_zero
from scenarios.report.page.charts import dot_plot, line_chart
from scenarios.report.summary import Summary
from scenarios.scoring.teacher_metrics import LABELS

CURVES = {"loss": "loss", "reward_margin": "reward margin", "reward_accuracy": "chosen preferred"}
"""Figures of a training by step, with their names for people."""
MEASURES = {"greedy": "greedy", "sampled": "pass@1", "lbt": "LbT"}


def rounds(summary: Summary) -> list[tuple[LearnRoundSummary, list[Chart]]]:
    """Each round with its charts."""
    return [(one, list(_charts(one))) for one in summary.levels.learn.rounds]


def _charts(one: LearnRoundSummary) -> Iterator[Chart]:
    if teachers := [row for row in one.teachers if row.n]:
        dots = [
            Dot(
                LABELS.get(row.teacher, row.teacher),
                row.greedy,
                row.ci95,
                f"{LABELS.get(row.teacher, row.teacher)}: {percent(row.greedy)}, 95 % {interval(row.ci95)}",
                "var(--quiet)" if row.teacher == "original" else "var(--accent)",
                (percent(row.greedy), percent(row.sampled), figure(row.lbt, ".2f"), figure(row.drift, ".3f")),
            )
            for row in teachers
        ]
        rows = tuple(
            (
                LABELS.get(row.teacher, row.teacher), percent(row.greedy), interval(row.ci95), f"{row.n:,}",
                percent(row.sampled), percent(row.answered), figure(row.length, ".0f"), figure(row.lbt, ".2f"),
                figure(row.drift, ".3f"),
            )
            for row in teachers
        )  # fmt: skip
        columns = ("teacher", "greedy", "95 %", "problems", "pass@1", "answered", "tokens", "LbT score", "drift")
        headings = ("greedy", "pass@1", "LbT score", "drift")
        note = "Greedy answers to held-out problems. Drift: KL to the original teacher, in nats per token."
        yield dot_plot("The teachers", dots, PageTable(columns, rows), headings=headings, note=note)
    if compared := [pair for pair in one.paired if pair.measure == "greedy"]:
        yield _differences(compared, one.paired)
    for name, label in CURVES.items():
        curves = [
            Point(numbered(ARM_LABELS.get(arm.arm, arm.arm), arm.seed), step["step"], step[name])
            for arm in one.arms
            for step in arm.curve
            if name in step and "step" in step
        ]
        if curves:
            table = PageTable(("arm", "step", label), tuple((at.series, f"{at.x:g}", f"{at.y:.4g}") for at in curves))
            share = name == "reward_accuracy"
            yield line_chart(f"{label.capitalize()} by step", curves, table, x="step", y=label, share=share)


def _differences(shown: list[LearnComparison], every: list[LearnComparison]) -> Chart:
    """Teachers minus other teachers, problem by problem."""
    dots = [
        Dot(
            _pair(pair), pair.difference, pair.ci95,
            f"{_pair(pair)}: {points(pair.difference)} points, 95 % {points(pair.ci95[0])} to {points(pair.ci95[1])}, "
            f"p = {pair.p_value:.2g}, better on {pair.wins}, worse on {pair.losses} of {pair.n}",
            "var(--ink)", (points(pair.difference), f"{pair.wins}", f"{pair.losses}", f"{pair.p_value:.2g}"),
        )
        for pair in shown
    ]  # fmt: skip
    table = PageTable(
        ("teachers", "by", "points", "95 %", "better", "worse", "problems", "p"),
        tuple(
            (
                _pair(pair), MEASURES[pair.measure], points(pair.difference),
                f"{points(pair.ci95[0])} to {points(pair.ci95[1])}", str(pair.wins), str(pair.losses), str(pair.n),
                f"{pair.p_value:.2g}",
            )
            for pair in every
        ),
    )  # fmt: skip
    return dot_plot(
        "One teacher minus another, on the same problems", dots, table,
        domain=around_zero(pair.ci95 for pair in shown), reference=0.0, headings=("points", "better", "worse", "p"),
        unit="points", note="Greedy answers. Thin line: no difference.",
    )  # fmt: skip


def _pair(pair: LearnComparison) -> str:
    return f"{LABELS.get(pair.a, pair.a)} minus {LABELS.get(pair.b, pair.b)}"
