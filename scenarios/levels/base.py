"""What a level is: a state machine from recorded results to what is due next.

A level does no I/O and sees no socket, no clock and no arrival order: what depends on a set waits for the set
and sorts it by id. Feeding recorded results to a fresh level is resume; feeding them to a level with other
settings is replay.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from broker.protocol import digest
from broker.work_messages import Feedback, Message, Sampling
from scenarios.config.schema import Scenario
from scenarios.records.iterate import Iteration
from scenarios.records.learn import LearnRoundRecord
from scenarios.records.observe import TeachingProblemRecord
from scenarios.records.rewrite import Rewriting
from scenarios.tasks.problems import Bank

TextOf = Callable[[str], str]
"""Looks up the text of an earlier result by its request id."""


class Request(msgspec.Struct, frozen=True):
    """One completion that is due. References only: the classroom fills in the texts when it sends it."""

    id: str
    """Digest of all that decides the completion; see broker.protocol.digest."""
    kind: str
    """Of the message that is sent: Teach, Examine, Reflect ..."""
    to: str
    """The agent (pool) that is asked."""
    stage: str
    """For progress: greedy, teach, exam ... A name means one thing in all levels of a class; those of level 3 are in
    scenarios/levels/iterate/budget.py."""
    sampling: Sampling
    tp: str = ""
    tr: str = ""
    """The teaching material: request id of the TR, or at level 3 the digest of the set of exemplars."""
    ep: str = ""
    repeat: int = 0
    round: int = 0
    level: int = 1
    weights: str = ""
    """Digest of the weights that must answer; empty: those its agent began with."""
    arm: str = ""
    """Of level 3 with sets of exemplars: what it is asked for, the class or a baseline."""
    run: int = 0
    """Of level 3 with sets of exemplars: the independent run, from 0."""

    @property
    def affinity(self) -> str:
        """Requests that share teaching material share a prompt prefix."""
        return self.tr or self.tp


class Result(msgspec.Struct, frozen=True):
    """What came of a request, graded."""

    request_id: str
    text: str
    answer: str | None
    """As parsed from the text; None: no answer to find."""
    correct: bool
    failed: str = ""
    """Kind of the failure, or empty."""
    completion_tokens: int = 0
    finish_reason: str = "stop"
    score: float | None = None
    """Of a Grade: the mean log-probability of the solution's tokens, in nats."""


class RoundNews(msgspec.Struct, frozen=True):
    """What people read about a round of level 3 while the class runs."""

    arm: str
    run: int
    """The independent run, from 0."""
    runs: int
    """Number of independent runs."""
    round: int
    """0: the start."""
    teacher_f1: float | None = None
    """Of the best set: on held-out items where `held_out` is true, else on training items."""
    held_out: bool = False
    kept: bool = True
    """Whether any set was kept."""
    sets: int = 0
    """Number of sets that were scored."""
    students: dict[str, float | None] = {}
    """F1 of each student, all sets of the round together."""


class FeedbackDue(msgspec.Struct, frozen=True):
    """Feedback that is due. Sent at most once, and never again on resume."""

    to: str
    feedback: Feedback


class Step(msgspec.Struct, frozen=True):
    """What a result made due."""

    requests: tuple[Request, ...] = ()
    feedback: tuple[FeedbackDue, ...] = ()
    news: tuple[RoundNews, ...] = ()
    """What people should read. Shown once, and never again on resume."""
    shared: tuple[Request, ...] = ()
    """Requests whose result is due, or there, since something else asked the same."""

    @property
    def wanted(self) -> list[tuple[str, str, int, int, str, str]]:
        """What level 3 wants results for, due or there, as rows of the gradebook's table `asked`."""
        return [(r.id, r.arm, r.run, r.round, r.to, r.stage) for r in (*self.requests, *self.shared) if r.arm]


class Outcome(msgspec.Struct, frozen=True):
    """What is known of a class, finished or not: all that scores and summaries are made of."""

    lessons: tuple[TeachingProblemRecord, ...] = ()
    """Of level 1, and of level 2's first round."""
    learnt: tuple[LearnRoundRecord, ...] = ()
    """The rounds of level 2."""
    weights: str = ""
    """Digest of the weights that the teacher goes on with; empty: those it began with."""
    iteration: Iteration | None = None
    """Of level 3 for sets of exemplars."""
    rewriting: Rewriting | None = None
    """Of level 3 for rationales."""


class MessageWithFile(msgspec.Struct, frozen=True):
    """A message that names a file, which is written into the run's folder of training data before it is sent."""

    message: Message
    name: str
    content: bytes


class Setup(msgspec.Struct, frozen=True):
    """Everything that decides which requests a level makes, and under which ids."""

    scenario: Scenario
    bank: Bank
    answerers: Mapping[str, str]
    """Per agent, the digest of everything that decides its answers."""
    retried: frozenset[str] = frozenset()
    """Failed requests that are asked again as a new repeat."""
    weights: str = ""
    """Digest of the teacher's trained weights; empty: its original weights."""

    def with_weights(self, weights: str) -> "Setup":
        """The same class with other weights for the teacher."""
        return msgspec.structs.replace(self, weights=weights)

    def answerer(self, agent: str) -> str:
        """Digest of everything that decides the agent's answers, trained weights included."""
        trained = self.weights and agent == self.scenario.teacher.name
        return digest(self.answerers[agent], self.weights) if trained else self.answerers[agent]


class Level(Protocol):
    """One of the three levels."""

    def begin(self) -> Step:
        """What is due before anything is known."""

    def receive(self, result: Result) -> Step:
        """What `result` makes due. A result that is not awaited changes nothing."""

    def message(self, request: Request, text_of: TextOf) -> Message | MessageWithFile:
        """What is sent for `request`; its `weights` are filled in by whoever sends it.

        Args:
            request: one that this level made due.
            text_of: the text of an earlier result, by its request id.
        """

    @property
    def finished(self) -> bool:
        """Whether nothing more will be due."""

    def totals(self) -> Mapping[str, int]:
        """Requests per stage, as far as it can be known now: shrinks when TRs turn out alike or unparsable."""

    def outcome(self) -> Outcome:
        """All that is known now, also of an unfinished class."""
