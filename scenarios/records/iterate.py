"""Records of level 3: exemplar sets and their results, round by round. Sets are referred to by their keys."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from broker.protocol import digest
from broker.work_messages import Exemplar
from scenarios.records.confusion import Confusion

Origin = Literal["description", "training", "revision"]
Arm = Literal["class", "random", "self", "search"]
"""class: with the scenario's students. The others are baselines: random sets, the teacher as its own only student,
and a search without students at the same number of requests."""


class ExemplarSet(msgspec.Struct, frozen=True):
    """Teaching material of level 3: exemplars with answers."""

    exemplars: tuple[Exemplar, ...]
    origin: Origin
    key: str
    """Digest of the exemplars: equal sets have equal keys."""

    @staticmethod
    def of(exemplars: Iterable[Exemplar], origin: Origin) -> "ExemplarSet":
        """Make a set, in an order drawn by hashing: the order of a teacher, such as Yes and No in turn, is a hint."""
        ordered = sorted(((_identity(one), one) for one in exemplars), key=lambda pair: digest(pair[0]))
        key = digest("set", [identity for identity, _ in ordered])
        return ExemplarSet(tuple(one for _, one in ordered), origin, key)


def _identity(exemplar: Exemplar) -> dict[str, str]:
    """What a set's key is made of: the texts as students see them, so that no key changes with the struct's fields."""
    return {"problem": exemplar.problem, "rationale": exemplar.solution}


class FailureCase(msgspec.Struct, frozen=True, order=True):
    """An item that a student got wrong with a set."""

    item: str
    student: str
    exam: str
    """Request id of the wrong answer."""


class Revision(msgspec.Struct, frozen=True):
    """One attempt of the teacher to write a set."""

    request: str
    """Request id; of the second request, where the first text could not be used."""
    parent: str
    """Key of the set that was revised; empty at the start."""
    failures: tuple[FailureCase, ...] = ()
    reasons: tuple[str, ...] = ()
    made: str = ""
    """Key of the set it made; empty: none."""
    dropped: str = ""
    """Why it made none: what was wrong with the last text, or `failed`."""
    repaired: str = ""
    """What was wrong with the first text; empty: nothing, or it failed."""


class IterateRoundRecord(msgspec.Struct, frozen=True):
    """One round; number 0 is the start, without exams of students."""

    number: int
    taught: tuple[str, ...]
    """Sets that students were examined with, best first."""
    students: dict[str, dict[str, Confusion]]
    """By set and student, on the round's training items."""
    revisions: tuple[Revision, ...]
    reflections: int
    """Number of reflections with a reason."""
    dropped_reflections: dict[str, int]
    """Number of the other reflections, by cause."""
    scored: tuple[str, ...]
    """Sets that were scored: the earlier ones, then the new ones."""
    selected: tuple[str, ...]
    """The sets that were kept, best first."""
    learning: tuple[str, ...] = ()
    """Students whose mistakes the teacher was shown; with a curriculum fewer than were examined in round 1."""
    items: tuple[str, ...] = ()
    """Ids of the training items that students were asked."""
    answers: dict[str, dict[str, "OwnAnswers"]] = {}
    """By set and student, the answers that `students` counts."""


class OwnAnswers(msgspec.Struct, frozen=True):
    """Ids of the training items that an agent answered right with a set, and of those it got wrong, sorted."""

    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @staticmethod
    def of(answers: Iterable[tuple[str, bool]]) -> "OwnAnswers":
        """From item ids, each with whether it was answered right."""
        ordered = sorted(answers)
        right, wrong = (tuple(item for item, is_right in ordered if is_right is wanted) for wanted in (True, False))
        return OwnAnswers(right, wrong)


class BestAfter(msgspec.Struct, frozen=True):
    """The best set that an arm kept once it had used a number of requests."""

    requests: int
    """Distinct requests of the arm until then, without held-out exams."""
    key: str
    """Key of the set; empty: no set could be kept."""


class ArmRun(msgspec.Struct, frozen=True):
    """One arm of one independent run."""

    arm: Arm
    run: int
    rounds: tuple[IterateRoundRecord, ...]
    sets: dict[str, ExemplarSet]
    """Every set that was scored, by key."""
    train: dict[str, Confusion]
    """The teacher's own answers to training items, by set; these decide the selection."""
    held_out: dict[str, Confusion]
    """The teacher's answers to held-out items (dev and test), by set, of sets that were best in a round."""
    requests: int
    """Distinct requests of this arm, shared ones included, without held-out exams."""
    own: dict[str, OwnAnswers] = {}
    """By set, the answers that `train` counts, of the best set of the start and of the last round."""
    held_out_own: dict[str, OwnAnswers] = {}
    """By set, the answers that `held_out` counts."""
    progress: tuple[BestAfter, ...] = ()
    """After each round; of the arm `random`, which has one round, after each set in the order in which it was drawn."""


class Answers(msgspec.Struct, frozen=True):
    """Counts of one agent's answers of one stage in all arms and runs: each once, without failed ones."""

    agent: str
    stage: str
    """exam: as a student. score: the teacher's to training items. test: the teacher's to held-out items."""
    n: int
    unparsable: int
    """Texts in which no answer was found."""
    shared: dict[str, int]
    """By other agent, which is identical: answers that it gave and that count for this one too."""


class Iteration(msgspec.Struct, frozen=True):
    """Level 3, finished or not."""

    courses: tuple[ArmRun, ...] = ()
    """The class first, run by run, then the baselines."""
    answers: tuple[Answers, ...] = ()
    """By agent and stage."""
    positive: frozenset[str] = frozenset()
    """Ids of the held-out items whose answer is Yes."""
