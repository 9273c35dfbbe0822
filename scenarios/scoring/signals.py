"""What tells the right TRs of a TP from its wrong ones: exams, and what else could explain what exams find.

The students' exams are worth their cost if they tell right from wrong better than the votes of the other TRs, the
length of a TR, or the teacher's own opinion, which cost less or nothing.
Source: the assumption of M1 in arXiv 2406.14629, section 3; the other signals are controls.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from scenarios.config.schema import Scoring
from scenarios.records.observe import Rationale
from scenarios.scoring.baselines import rating_scores
from scenarios.scoring.lbt import Sheet, lbt_scores
from scenarios.scoring.statistics import clustered

ALIKE = 0.1
"""Two TRs are about equally long where the shorter one has at most this share of tokens less."""
Values = Mapping[str, float]
"""By id of a TR, a number that is to be higher for right TRs; TRs that have none are left out."""
Pair = tuple[Rationale, Rationale]
"""A right and a wrong TR of one TP."""


class Signal(msgspec.Struct, frozen=True):
    """How well a number tells right TRs from wrong ones, over pairs of a right and a wrong TR of one TP."""

    name: str
    """lbt (of all students); lbt.NAME (of one); votes (how many TRs of the TP give this answer); shorter (fewer
    tokens); self_evaluation (the teacher's own judgements, where the scenario asks for them). Of lbt on some of the
    pairs: lbt_alike (about equally long), lbt_against_votes (the wrong answer has at least as many votes)."""
    higher: float
    """Share of the pairs in which the right TR has the higher number."""
    ties: float
    auc: float
    """`higher` plus half of `ties`: 0.5 is chance."""
    ci95: tuple[float, float]
    """Of `auc`, over TPs."""
    pairs: int


class PairTally:
    """Counts pairs for one signal."""

    def __init__(self) -> None:
        """Begin with no pair."""
        self.higher = self.ties = 0
        self.by_tp: list[tuple[float, int]] = []

    def add(self, pairs: Sequence[Pair], values: Values) -> None:
        """Count the pairs of one TP in which both have a value."""
        differences = [values[a.id] - values[b.id] for a, b in pairs if a.id in values and b.id in values]
        higher, ties = sum(one > 0 for one in differences), sum(one == 0 for one in differences)
        self.higher += higher
        self.ties += ties
        self.by_tp.append((higher + ties / 2, len(differences)))

    def signal(self, name: str) -> Signal | None:
        """None without a pair."""
        if not (n := sum(pairs for _, pairs in self.by_tp)):
            return None
        auc = (self.higher + self.ties / 2) / n
        return Signal(name, self.higher / n, self.ties / n, auc, clustered(self.by_tp), n)


def signals(sheets: Sequence[Sheet], students: Sequence[str], scoring: Scoring, teacher: str) -> list[Signal]:
    """Every signal, on the pairs of examined TRs; none where no TP has a right and a wrong one.

    Args:
        sheets: the TPs.
        students: all students of the class.
        scoring: how exam answers are merged.
        teacher: the name of the teacher, whose judgements are `self_evaluation`.
    """
    tallies: dict[str, PairTally] = {}

    def add(name: str, pairs: Sequence[Pair], values: Values) -> None:
        tallies.setdefault(name, PairTally()).add(pairs, values)

    for sheet in sheets:
        rationales = sheet.lesson.rationales
        lbt = _floats(lbt_scores(rationales, students, scoring.merge))
        examined = [one for one in rationales if one.id in lbt]
        pairs = [(right, wrong) for right in examined if right.correct for wrong in examined if not wrong.correct]
        votes = {member.id: float(len(group.members)) for group in sheet.groups for member in group.members}
        add("lbt", pairs, lbt)
        for name in students if len(students) > 1 else ():
            add(f"lbt.{name}", pairs, _floats(lbt_scores(rationales, [name], scoring.merge)))
        add("votes", pairs, votes)
        add("shorter", pairs, {one.id: -one.completion_tokens for one in rationales})
        add("self_evaluation", pairs, _floats(rating_scores(rationales, (teacher,), scoring.merge)))
        add("lbt_alike", [pair for pair in pairs if _alike(pair)], lbt)
        add("lbt_against_votes", [(a, b) for a, b in pairs if votes[b.id] >= votes[a.id]], lbt)
    found = [tally.signal(name) for name, tally in tallies.items()]
    return [one for one in found if one]


def _floats(scores: Mapping[str, Fraction]) -> Values:
    return {key: float(score) for key, score in scores.items()}


def _alike(pair: Pair) -> bool:
    shorter, longer = sorted(one.completion_tokens for one in pair)
    return shorter >= (1 - ALIKE) * longer
