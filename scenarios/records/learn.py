"""Records of level 2, round by round: the input of its report. Pure data."""

import msgspec

from scenarios.config.schema import ArmName
from scenarios.records.observe import TeachingProblemRecord

ARM_LABELS: dict[str, str] = {"correctness": "correctness", "m2": "M2", "shuffled": "shuffled", "dense": "dense"}
"""Names of the arms for people."""

MACHINE_DEPENDENT = frozenset({"seconds", "peak_memory_mb"})
"""Figures of a training that depend on the machine and its load."""


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
        """Difference of the scores, rounded so that equal gaps of different scores compare as equal."""
        return round(self.score_chosen - self.score_rejected, 9)


class Gaps(msgspec.Struct, frozen=True):
    """Differences of final scores, over all pairs of distinct examined TRs of one TP."""

    pairs: int
    above: int
    """Number of pairs with more than the required gap."""
    problems: int
    """Number of TPs with such a pair."""
    largest: float | None
    """None: no TP has two distinct examined TRs."""


class Training(msgspec.Struct, frozen=True):
    """One arm with one training seed: its pairs and the result of the training."""

    arm: ArmName
    pairs: tuple[Preference, ...]
    available: int
    """Number of pairs before all arms were cut to equally many."""
    gaps: Gaps
    request: str = ""
    """Request id; empty: there are no pairs to train on."""
    weights: str = ""
    """Digest of the new weights; empty: none yet, or none at all."""
    failed: str = ""
    """Kind of the failure; empty: it did not fail."""
    figures: dict[str, float] = {}
    """From `Trained`: pairs, steps, loss, reward_margin ..."""
    seed: int = 0
    """Which of the arm's seeds, from 0."""

    @property
    def label(self) -> str:
        """Name of the arm for people; M2 #2 is M2 with its second seed."""
        return numbered(ARM_LABELS[self.arm], self.seed)


def numbered(name: str, seed: int) -> str:
    """The name of an arm, or of its teacher, followed by the number of its seed from the second on."""
    return f"{name} #{seed + 1}" if seed else name


class Likelihood(msgspec.Struct, frozen=True):
    """Likelihood of a text that a trained teacher drew from its whole distribution, in nats per token."""

    weights: str
    """Weights of the teacher that wrote it."""
    tp: str
    tokens: int
    own: float | None = None
    """Mean log-probability under those weights. None: not known."""
    original: float | None = None
    """Mean log-probability under the original weights."""

    def under(self, logprob: float | None, *, original: bool) -> "Likelihood":
        """A copy with one of the two log-probabilities."""
        return msgspec.structs.replace(self, **{"original" if original else "own": logprob})


class Measured(msgspec.Struct, frozen=True):
    """Measurements of one teacher."""

    weights: str
    """Empty: the original weights."""
    held_out: tuple[TeachingProblemRecord, ...] = ()
    """The greedy answer and k sampled ones; no exams."""
    taught: tuple[TeachingProblemRecord, ...] = ()
    """New TRs of the TPs, with the students' exams."""
    drift: tuple[Likelihood, ...] = ()
    """One text per held-out problem; none of the original teacher."""


class LearnRoundRecord(msgspec.Struct, frozen=True):
    """One round: its teacher's TRs and exams, the trainings, and the measurements."""

    number: int
    """From 1."""
    weights: str
    """The teacher's weights at the start of the round; empty: the original ones."""
    lessons: tuple[TeachingProblemRecord, ...]
    trainings: tuple[Training, ...]
    """By arm, in the scenario's order; empty: the pairs are not chosen yet."""
    measured: tuple[Measured, ...]
    """In the first round the original teacher, then the trained ones, equal weights once."""
    finished: bool = False
