"""The printed report of level 2: per round, the arms and their trainings, and how the teachers compare."""

from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from scenarios.records.learn import ARM_LABELS, numbered
from scenarios.report.formatting import figure, interval, many, percent, signed, signed_interval, uncorrected
from scenarios.report.layout import Cell, Ruled, Sentences, plain, tabulated
from scenarios.report.learn import LearnRoundSummary, TeacherSummary
from scenarios.report.summary import PublishedAccuracies, Summary
from scenarios.scoring.teacher_metrics import LABELS, Measure

MEASURES: dict[Measure, str] = {"greedy": "greedy", "sampled": "pass@1", "lbt": "LbT"}
TRAINED = ("m2", "m2_dense", "correctness_dpo", "shuffled")
"""The first of these that was trained is compared with all others, the others with the original."""
AGAINST = ("original", "before", "correctness_dpo", "shuffled", "m2_dense")
STATUS = {"trained": "", "training": "not yet", "failed": "failed", "no pairs": "no pairs"}


def rounds(summary: Summary) -> Iterator[RenderableType]:
    """Every round of level 2, if there are any."""
    for one in summary.levels.learn.rounds:
        yield Text(f"Level 2, round {one.round}" + ("" if one.finished else " (unfinished)"), style="bold")
        if one.arms:
            yield arms(one)
        if one.notes:
            yield Group(*(Sentences(note) for note in one.notes))
        if any(row.n or row.lbt_problems for row in one.teachers):
            yield teachers(one, summary.published)
            if (by_seed := seeds(one)).row_count:
                yield by_seed
            if (compared := comparisons(one)).row_count:
                yield compared


def arms(one: LearnRoundSummary) -> Ruled:
    """Each arm: its pairs, and the figures of its training."""
    return tabulated(
        "What the teacher was trained on",
        one.arms,
        [
            ("arm", lambda arm: numbered(ARM_LABELS.get(arm.arm, arm.arm), arm.seed)),
            ("pairs", lambda arm: f"{arm.pairs:,}"),
            ("by the\nrule", lambda arm: f"{arm.available:,}"),
            ("mean\ngap", lambda arm: figure(arm.mean_gap, ".2f")),
            ("steps", lambda arm: STATUS[arm.status] or figure(arm.figures.get("steps"), ",.0f")),
            ("loss", lambda arm: figure(arm.figures.get("loss"), ".3f")),
            ("reward\nmargin", lambda arm: figure(arm.figures.get("reward_margin"), "+.3f")),
            ("chosen\npreferred", lambda arm: percent(arm.figures.get("reward_accuracy"), digits=0)),
            ("s", lambda arm: figure(arm.figures.get("seconds"), ",.0f")),
        ],
        "by the rule: pairs before all arms were cut to equally many. gap: between the scores of a pair. loss, reward "
        "margin, chosen preferred (share of the pairs): of the last step. s: seconds.",
    )


def teachers(one: LearnRoundSummary, published: PublishedAccuracies | None = None) -> Ruled:
    """Each teacher: its accuracy on held-out problems, and the LbT score of its new rationales."""
    n = max(row.n for row in one.teachers)
    shares = {name: share for name, share in published.methods.items() if name in LABELS} if published else {}
    beside: list[tuple[str, Callable[[TeacherSummary], Cell]]] = [
        ("published", lambda row: percent(shares.get(row.teacher), digits=2))
    ]
    note = f" published, greedy: {plain(published.source)}." if shares and published and published.source else ""
    return tabulated(
        f"The teachers, measured on {many(n, 'held-out problem')}",
        one.teachers,
        [
            ("teacher", lambda row: LABELS.get(row.teacher, row.teacher)),
            ("greedy", lambda row: percent(row.greedy)),
            ("95 %", lambda row: interval(row.ci95 if row.n else None)),
            *(beside if shares else ()),
            ("pass@1", lambda row: percent(row.sampled)),
            ("with an\nanswer", lambda row: percent(row.answered, digits=0)),
            ("tokens", lambda row: figure(row.length, ".0f")),
            ("LbT\nscore", lambda row: figure(row.lbt, ".2f")),
            ("drift", lambda row: figure(row.drift, ".3f")),
        ],
        _explained(one) + note,
    )


def _explained(one: LearnRoundSummary) -> str:
    note = (
        "greedy, pass@1 (mean over samples): right. with an answer, tokens (mean length): of the samples. LbT score: "
        "of new rationales for the teaching problems, by the same students. drift: KL(teacher || original) per token, "
        "in nats, estimated from one text per held-out problem; an estimate may be below 0."
    )
    intervals = [
        f"{LABELS.get(row.teacher, row.teacher)} {row.drift_ci95[0]:.3f} to {row.drift_ci95[1]:.3f}"
        for row in one.teachers
        if row.drift_ci95
    ]
    if intervals:
        note += f" Its 95 % intervals: {', '.join(intervals)}."
    if n := one.lbt_left_out:
        note += f" LbT scores leave out {many(n, 'exam answer')}: the same exam failed under another rationale."
    return note


def seeds(one: LearnRoundSummary) -> Ruled:
    """The figures of each training seed that is measured: how much they depend on it."""
    measured = [
        (row.teacher, of)
        for row in one.teachers
        for of in row.by_seed
        if not of.greedy is of.sampled is of.lbt is of.drift is None
    ]
    return tabulated(
        "The same, seed by seed",
        measured,
        [
            ("teacher", lambda row: numbered(LABELS.get(row[0], row[0]), row[1].seed)),
            ("greedy", lambda row: percent(row[1].greedy)),
            ("pass@1", lambda row: percent(row[1].sampled)),
            ("LbT\nscore", lambda row: figure(row[1].lbt, ".2f")),
            ("drift", lambda row: figure(row[1].drift, ".3f")),
        ],
    )


def comparisons(one: LearnRoundSummary) -> Ruled:
    """The paired comparisons: difference in points with its interval, and on how many problems the teachers differ."""
    table = Ruled("The same problems, one teacher less another")
    table.add_column("teachers")
    table.add_column("by")
    table.add_columns("points", "95 %", "better", "worse", "of", "p")
    known = {(pair.a, pair.b, pair.measure): pair for pair in one.paired}
    lead, *others = [name for name in TRAINED if any(name == pair.a for pair in one.paired)] or [""]
    shown = [(lead, name) for name in AGAINST] + [(name, "original") for name in others]
    wanted = [(*names, measure) for names in shown for measure in MEASURES]
    for pair in (known[key] for key in wanted if key in known):
        a, b = (LABELS.get(name, name) for name in (pair.a, pair.b))
        table.add_row(
            f"{a} - {b}",
            MEASURES[pair.measure],
            signed(pair.difference),
            signed_interval(pair.ci95),
            *(f"{n:,}" for n in (pair.wins, pair.losses, pair.n)),
            f"{pair.p_value:.2g}",
        )
    if table.row_count > 1:
        table.note = f"points: of percent, or of an LbT score times 100. {uncorrected(table.row_count)}"
    return table
