"""What a finished (or half finished) class of level 2 knows, round by round: the input of its report. Pure data."""

import msgspec

from scenarios.config.schema import ArmName
from scenarios.records.observe import TeachingProblemRecord

ARM_LABELS: dict[str, str] = {"correctness": "correctness", "m2": "M2", "shuffled": "shuffled", "dense": "dense"}
"""What people read of an arm."""

MACHINE_DEPENDENT = frozenset({"seconds", "peak_memory_mb"})
"""Figures of a training that are another's on another machine, or another day."""


class Preference(msgspec.Struct, frozen=True):
    """Two TRs of one TP, of which the first has the higher final score."""

    tp: str
    chosen: str
    """Request id of the TR."""
    rejected: str
    score_chosen: float
    score_rejected: float
    chosen_material: str
    """Digest of its text."""
    rejected_material: str
    chosen_ended: bool = True
    """False: it was cut off."""
    rejected_ended: bool = True

    @property
    def gap(self) -> float:
        """By how much the scores differ; equal gaps are equal, whatever the scores."""
        return round(self.score_chosen - self.score_rejected, 9)


class Gaps(msgspec.Struct, frozen=True):
    """By how much the final scores of TRs differ, over all pairs of distinct examined TRs of one TP."""

    pairs: int
    above: int
    """So many of them by more than the gap that is asked for."""
    problems: int
    """TPs that have such a pair."""
    largest: float | None
    """None: no TP has two distinct examined TRs."""


class Training(msgspec.Struct, frozen=True):
    """One arm with one training seed: its pairs, and what training on them came to."""

    arm: ArmName
    pairs: tuple[Preference, ...]
    available: int
    """How many there were before all arms were cut to equally many."""
    gaps: Gaps
    request: str = ""
    """Of the training; empty: there are no pairs to train on."""
    weights: str = ""
    """Digest of the new weights; empty: none (yet)."""
    failed: str = ""
    """Why there are none and will be none: a kind of failure."""
    figures: dict[str, float] = {}
    """As `Trained` tells them: pairs, steps, seconds, loss, reward_margin ..."""
    seed: int = 0
    """Which of the arm's seeds, from 0."""

    @property
    def label(self) -> str:
        """The arm, as people read it; M2 #2 is M2 with its second seed."""
        return numbered(ARM_LABELS[self.arm], self.seed)


def numbered(name: str, seed: int) -> str:
    """The name of an arm, or of its teacher, with the number of its seed behind it from the second on."""
    return f"{name} #{seed + 1}" if seed else name


class Likelihood(msgspec.Struct, frozen=True):
    """A text that a trained teacher drew from its whole distribution, and how likely it is. In nats per token."""

    weights: str
    """Of who wrote it."""
    tp: str
    tokens: int
    own: float | None = None
    """Mean log-probability under those weights. None: not known (yet)."""
    original: float | None = None
    """Under those the teacher began with."""

    def under(self, logprob: float | None, *, original: bool) -> "Likelihood":
        """With one of them known."""
        return msgspec.structs.replace(self, **{"original" if original else "own": logprob})


class Measured(msgspec.Struct, frozen=True):
    """What one teacher did on what it is measured with."""

    weights: str
    """Empty: those it began with."""
    held_out: tuple[TeachingProblemRecord, ...] = ()
    """The greedy answer and k sampled ones; no exams."""
    taught: tuple[TeachingProblemRecord, ...] = ()
    """New TRs of the TPs, with the students' exams."""
    drift: tuple[Likelihood, ...] = ()
    """One text per held-out problem; none for the original teacher."""


class LearnRoundRecord(msgspec.Struct, frozen=True):
    """One round: its teacher's TRs and exams, what was trained on them, and how that is measured."""

    number: int
    """From 1."""
    weights: str
    """Of the teacher at its beginning; empty: those it began the class with."""
    lessons: tuple[TeachingProblemRecord, ...]
    trainings: tuple[Training, ...]
    """By arm, in the scenario's order; empty: it has not come so far."""
    measured: tuple[Measured, ...]
    """The original teacher, in the first round; then the trained ones. Equal weights once."""
    finished: bool = False
