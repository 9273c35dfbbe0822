"""What is printed of level 2: per round, what was trained on what, and how the teachers compare.

Reads a summary and nothing else.
"""

from collections.abc import Iterator

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scenarios.gradebook.learning import ArmSummary, RoundSummary
from scenarios.gradebook.learnt import numbered
from scenarios.gradebook.marks import percent, plain, ruled
from scenarios.gradebook.measured import Measure
from scenarios.gradebook.summary import Summary

LABELS = {
    "original": "original",
    "before": "before",
    "correctness_dpo": "correctness",
    "m2": "M2",
    "shuffled": "shuffled",
    "m2_dense": "dense",
}
ARMS = {"m2": "M2", "correctness": "correctness", "shuffled": "shuffled", "dense": "dense"}
MEASURES: dict[Measure, str] = {"greedy": "greedy", "sampled": "pass@1", "lbt": "LbT"}
TRAINED = ("m2", "m2_dense", "correctness_dpo", "shuffled")
"""The first of them that there is is compared with all others, the others with the original; summary.json has all."""
AGAINST = ("original", "before", "correctness_dpo", "shuffled", "m2_dense")
STATUS = {"trained": "", "training": "not yet", "failed": "failed", "no pairs": "no pairs"}


def rounds(told: Summary) -> Iterator[RenderableType]:
    """Every round of level 2; nothing where there is none."""
    found = msgspec.convert(told.levels.learn.rounds, list[RoundSummary])
    for one in found:
        yield Text(f"Level 2, round {one.round}" + ("" if one.finished else " (unfinished)"), style="bold")
        if one.arms:
            yield arms(one)
        if one.notes:
            yield Text("\n".join(plain(note) for note in one.notes))
        if any(row.n or row.lbt_problems for row in one.teachers):
            yield teachers(one)
            if (by_seed := seeds(one)).row_count:
                yield by_seed
            if (compared := comparisons(one)).row_count:
                yield compared


def arms(one: RoundSummary) -> RenderableType:
    """What was trained, on what, and how that went."""
    table = ruled("What the teacher was trained on")
    table.add_column("arm", no_wrap=True)
    for heading in ("pairs", "by the\nrule", "mean\ngap", "steps", "loss", "reward\nmargin", "chosen\npreferred", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in one.arms:
        steps, *others = _figures(arm)
        table.add_row(
            Text(numbered(ARMS.get(arm.arm, plain(arm.arm)), arm.seed)),
            Text(f"{arm.pairs:,}"),
            Text(f"{arm.available:,}"),
            Text("-" if arm.mean_gap is None else f"{arm.mean_gap:.2f}"),
            Text(STATUS[arm.status] or steps),
            *map(Text, others),
        )
    return table


def teachers(one: RoundSummary) -> RenderableType:
    """Every teacher on the held-out problems, and as a teacher."""
    n = max(row.n for row in one.teachers)
    table = ruled(f"The teachers, measured on {n} held-out problem{'' if n == 1 else 's'}")
    table.add_column("teacher", no_wrap=True)
    table.add_column("greedy", justify="right", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True)
    for heading in ("pass@1", "with an\nanswer", "tokens", "LbT\nscore", "drift"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in one.teachers:
        low, high = row.ci95
        table.add_row(
            Text(LABELS.get(row.teacher, plain(row.teacher))),
            Text(percent(row.greedy)),
            Text(f"{100 * low:.0f} to {100 * high:.0f} %" if row.n else "-"),
            Text(percent(row.sampled)),
            Text(percent(row.answered, digits=0)),
            Text("-" if row.length is None else f"{row.length:.0f}"),
            Text("-" if row.lbt is None else f"{row.lbt:.2f}"),
            Text("-" if row.drift is None else f"{row.drift:.3f}"),
        )
    note = (
        "LbT score: of new rationales for the teaching problems, by the same students. drift: KL(teacher || original) "
        "per token, in nats."
    )
    return Group(table, Text(note, style="dim"))


def seeds(one: RoundSummary) -> Table:
    """What each training seed came to: how much of a figure hangs on it."""
    table = ruled("The same, seed by seed")
    table.add_column("teacher", no_wrap=True)
    for heading in ("greedy", "pass@1", "LbT\nscore", "drift"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in one.teachers:
        for of in row.by_seed:
            if of.greedy is of.sampled is of.lbt is of.drift is None:
                continue  # not measured yet
            table.add_row(
                Text(numbered(LABELS.get(row.teacher, plain(row.teacher)), of.seed)),
                Text(percent(of.greedy)),
                Text(percent(of.sampled)),
                Text("-" if of.lbt is None else f"{of.lbt:.2f}"),
                Text("-" if of.drift is None else f"{of.drift:.3f}"),
            )
    return table


def comparisons(one: RoundSummary) -> Table:
    """The paired comparisons: the difference in points, on how many problems it is one, and how sure it is."""
    table = ruled("The same problems, one teacher less another")
    table.add_column("teachers", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for heading in ("points", "95 %", "better", "worse", "of", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    known = {(pair.a, pair.b, pair.measure): pair for pair in one.paired}
    lead, *others = [name for name in TRAINED if any(name == pair.a for pair in one.paired)] or [""]
    shown = [(lead, name) for name in AGAINST] + [(name, "original") for name in others]
    wanted = [(*names, measure) for names in shown for measure in MEASURES]
    for pair in (known[key] for key in wanted if key in known):
        a, b = (LABELS.get(name, plain(name)) for name in (pair.a, pair.b))
        low, high = pair.ci95
        table.add_row(
            Text(f"{a} - {b}"),
            Text(MEASURES[pair.measure]),
            Text(f"{100 * pair.difference:+.1f}"),
            Text(f"{100 * low:+.0f} to {100 * high:+.0f}"),
            *(Text(f"{n:,}") for n in (pair.wins, pair.losses, pair.n)),
            Text(f"{pair.p_value:.2g}"),
        )
    return table


def _figures(arm: ArmSummary) -> tuple[str, ...]:
    """Steps, loss, reward margin, reward accuracy, seconds; dashes where there are none."""
    told = arm.figures
    return (
        f"{told['steps']:,.0f}" if "steps" in told else "-",
        f"{told['loss']:.3f}" if "loss" in told else "-",
        f"{told['reward_margin']:+.3f}" if "reward_margin" in told else "-",
        percent(told.get("reward_accuracy"), digits=0),
        f"{told['seconds']:,.0f}" if "seconds" in told else "-",
    )
