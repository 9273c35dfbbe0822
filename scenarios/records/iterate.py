"""What a class of level 3 knows: sets of exemplars, and what became of them, round by round. Pure data.

The input of the level's part of the summary; made by scenarios/levels/iterate/level.py. Sets are named by their keys.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from broker.protocol import digest
from broker.work_messages import Exemplar
from scenarios.records.confusion import Confusion

Origin = Literal["description", "training", "revision"]
Arm = Literal["class", "random", "self", "search"]
"""class: the scenario's own students. The others are baselines: sets drawn at random, the teacher as its own only
student, and a search without students at the same number of requests."""


class ExemplarSet(msgspec.Struct, frozen=True):
    """Teaching material of level 3: exemplars with their answers."""

    exemplars: tuple[Exemplar, ...]
    origin: Origin
    key: str
    """Digest of the exemplars: two sets of the same exemplars are one."""

    @staticmethod
    def of(exemplars: Iterable[Exemplar], origin: Origin) -> "ExemplarSet":
        """With its key, in an order drawn by hashing: a teacher's own, such as Yes and No in turn, would teach too."""
        ordered = tuple(sorted(exemplars, key=digest))
        return ExemplarSet(ordered, origin, digest("set", ordered))


class FailureCase(msgspec.Struct, frozen=True, order=True):
    """An item that a student got wrong with a set, as it was shown to the teacher."""

    item: str
    student: str
    exam: str
    """Request id of the wrong answer."""


class Revision(msgspec.Struct, frozen=True):
    """One attempt of the teacher to write a set."""

    request: str
    """Its id; of the repaired one, where the first could not be used."""
    parent: str
    """Key of the set it was to improve; empty at the start."""
    failures: tuple[FailureCase, ...] = ()
    reasons: tuple[str, ...] = ()
    made: str = ""
    """Key of the set it made; empty: none."""
    dropped: str = ""
    """Why it made none: what was wrong with the repaired text, or `failed`."""
    repaired: str = ""
    """What was wrong with the first text; empty: nothing, or it failed."""


class IterateRoundRecord(msgspec.Struct, frozen=True):
    """One round; number 0 is the start, which nobody was taught in."""

    number: int
    taught: tuple[str, ...]
    """Sets that the students were examined with, best first."""
    students: dict[str, dict[str, Confusion]]
    """By set, by student: on the round's training items."""
    revisions: tuple[Revision, ...]
    reflections: int
    """How many had a reason in them."""
    dropped_reflections: dict[str, int]
    """The others, by cause."""
    scored: tuple[str, ...]
    """Sets the teacher was scored with: those of before, then the new ones."""
    selected: tuple[str, ...]
    """The sets that were kept, best first."""
    learning: tuple[str, ...] = ()
    """Those whose mistakes the teacher was shown: with a curriculum not all who were examined in the first round."""
    items: tuple[str, ...] = ()
    """Its training items: what the students were asked."""
    answers: dict[str, dict[str, "OwnAnswers"]] = {}
    """By set, by student: item by item what `students` counts."""


class OwnAnswers(msgspec.Struct, frozen=True):
    """Which training items an agent answered right with a set, and which wrong; ids, in order."""

    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @staticmethod
    def of(marks: Iterable[tuple[str, bool]]) -> "OwnAnswers":
        """From items, each with whether it was answered right."""
        ordered = sorted(marks)
        right, wrong = (tuple(item for item, is_right in ordered if is_right is wanted) for wanted in (True, False))
        return OwnAnswers(right, wrong)


class ArmRun(msgspec.Struct, frozen=True):
    """One arm of one independent run."""

    arm: Arm
    run: int
    rounds: tuple[IterateRoundRecord, ...]
    sets: dict[str, ExemplarSet]
    """By key: every set that was scored."""
    train: dict[str, Confusion]
    """The teacher's own answers to training items, by set: what selects."""
    held_out: dict[str, Confusion]
    """To held-out items (dev and test), by set, of the sets that were best in a round: never selects."""
    requests: int
    """Distinct requests that this arm needs, shared ones too; held-out exams are not among them."""
    own: dict[str, OwnAnswers] = {}
    """By set, item by item what `train` counts: of the start's best set and of the last best one."""


class Answers(msgspec.Struct, frozen=True):
    """The answers of one agent for one purpose, in all arms and runs: each once, failed ones left out."""

    agent: str
    stage: str
    """exam: as a student. score: the teacher's own to training items. test: its own to held-out items."""
    n: int
    unparsable: int
    """Without an answer to find."""
    shared: dict[str, int]
    """By agent: answers that were asked of that one, which answers alike, and serve this one, too."""


class Iteration(msgspec.Struct, frozen=True):
    """All of level 3, finished or not."""

    courses: tuple[ArmRun, ...] = ()
    """The class itself first, run by run, then the baselines."""
    answers: tuple[Answers, ...] = ()
    """By agent and stage."""
