"""The table of what tells right TRs from wrong ones, for the report and the page."""

from collections.abc import Sequence

from scenarios.report.formatting import percent
from scenarios.report.layout import Ruled
from scenarios.scoring.signals import Signal

TITLE = "What tells right rationales from wrong ones?"
HEADINGS = ("signal", "AUC", "95 %", "right one higher", "equal", "pairs")
LABELS = {
    "lbt": "LbT score",
    "votes": "votes",
    "shorter": "shorter",
    "self_evaluation": "self-evaluation",
    "lbt_alike": "LbT, equal length",
    "lbt_against_votes": "LbT, votes mislead",
}
NOTE = (
    "Pairs of a right and a wrong rationale of one problem. AUC: the share of pairs in which the right one is higher, "
    "ties counted half; 0.5 is chance. 95 %: over problems. LbT NAME: by the exams of this student alone. votes: how "
    "many rationales of the problem give this answer. shorter: fewer tokens. equal length: only pairs that differ by "
    "at most 10 % in tokens. votes mislead: only pairs in which the wrong answer has at least as many votes."
)


def rows(found: Sequence[Signal]) -> list[tuple[str, ...]]:
    """The cells under HEADINGS of each signal."""
    return [
        (
            label(one.name),
            f"{one.auc:.2f}",
            f"{one.ci95[0]:.2f} to {one.ci95[1]:.2f}",
            percent(one.higher),
            percent(one.ties),
            f"{one.pairs:,}",
        )
        for one in found
    ]


def table(found: Sequence[Signal]) -> Ruled:
    """The signals in a short table."""
    drawn = Ruled(TITLE, NOTE)
    first, *others = HEADINGS
    drawn.add_column(first)
    drawn.add_columns(*others)
    for row in rows(found):
        drawn.add_row(*row)
    return drawn


def label(name: str) -> str:
    """What a table calls a signal; of an LbT score, with the student whose exams it counts."""
    _, _, student = name.partition(".")
    return f"LbT {student}" if student else LABELS[name]
