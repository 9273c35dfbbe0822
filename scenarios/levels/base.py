"""The interface of a level: a state machine from recorded results to the requests that are due next.

A level does no I/O and depends on no socket, no clock and no order of arrival: whatever depends on a set waits for the
set and sorts it by id. Resume feeds recorded results to a new level, replay to a level with other settings.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from broker.protocol import digest
from broker.work_messages import Feedback, Message, Sampling
from scenarios.config.schema import Scenario, Scoring
from scenarios.records.iterate import Iteration
from scenarios.records.learn import LearnRoundRecord
from scenarios.records.observe import TeachingProblemRecord
from scenarios.records.rewrite import Rewriting
from scenarios.scoring.lbt import Same
from scenarios.tasks.problems import Bank, Problem, ProblemGroup

TextOf = Callable[[str], str]
"""Looks up the text of an earlier result by its request id."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One completion that is due. It holds references; `Level.message` looks up the texts when it is sent."""

    id: str
    """Digest of everything that decides the completion; see asker.py."""
    kind: str
    """Type of the message that is sent: Teach, Examine, Reflect ..."""
    to: str
    """Name of the agent (pool) that is asked."""
    stage: str
    """What it is asked for: greedy, teach, exam ... A name means one thing in all levels of a class; iterate/budget.py
    lists those of level 3."""
    sampling: Sampling
    tp: str = ""
    tr: str = ""
    """The teaching material: request id of the TR, or key of the exemplar set at level 3."""
    ep: str = ""
    repeat: int = 0
    round: int = 0
    level: int = 1
    weights: str = ""
    """Digest of the weights that must answer; empty: the agent's original weights."""
    arm: str = ""
    """Level 3 with exemplar sets: the arm, the class or a baseline."""
    run: int = 0
    """Level 3 with exemplar sets: the independent run, from 0."""

    @property
    def affinity(self) -> str:
        """Requests with equal affinity share teaching material, so a prompt prefix."""
        return self.tr or self.tp


class Result(msgspec.Struct, frozen=True, gc=False):
    """The graded result of a request."""

    request_id: str
    text: str
    answer: str | None
    """The answer in the text; None: none was found."""
    correct: bool
    failed: str = ""
    """Kind of the failure, or empty."""
    completion_tokens: int = 0
    finish_reason: str = "stop"
    score: float | None = None
    """Mean log-probability of the solution's tokens, in nats, of a `Grade`."""
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    """Of `prompt_tokens`: those that came from a prefix cache."""
    behaviour: str = ""
    hidden: float | None = None
    """These two are of programs: see `Rationale`."""
    failing: str = ""
    """The visible cases that a program fails, one a line; kept in classes with `self_debug` alone."""

    def counts_as_right(self, scoring: Scoring) -> bool:
        """Whether the answer is right under `scoring.cut_off`."""
        return self.correct and not (self.finish_reason == "length" and scoring.cut_off == "wrong")


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
    """Feedback that is due. It is sent at most once, and not again on resume."""

    to: str
    feedback: Feedback


class Step(msgspec.Struct, frozen=True):
    """What became due with a result."""

    requests: tuple[Request, ...] = ()
    feedback: tuple[FeedbackDue, ...] = ()
    news: tuple[RoundNews, ...] = ()
    """What people should read. Shown once, and never again on resume."""
    shared: tuple[Request, ...] = ()
    """Requests that were asked before, so their result is known or awaited."""
    problems: tuple[Problem, ...] = ()
    """Problems that agents wrote. One comes again once its gold answer is known; until then it has none."""

    def __add__(self, more: "Step") -> "Step":
        """Both, one after the other."""
        return Step(
            requests=(*self.requests, *more.requests),
            feedback=(*self.feedback, *more.feedback),
            news=(*self.news, *more.news),
            shared=(*self.shared, *more.shared),
            problems=(*self.problems, *more.problems),
        )

    @property
    def wanted(self) -> list[tuple[str, str, int, int, str, str]]:
        """What level 3 wants results for, known or not, as rows of the table `asked`."""
        return [(r.id, r.arm, r.run, r.round, r.to, r.stage) for r in (*self.requests, *self.shared) if r.arm]


class Outcome(msgspec.Struct, frozen=True):
    """What is known of a class, finished or not: the input of scores and summaries."""

    invented: tuple[ProblemGroup, ...] = ()
    """The teaching problems with the EPs that an agent wrote, once they are known (`exam.maker: invented`)."""
    lessons: tuple[TeachingProblemRecord, ...] = ()
    """The teaching problems of level 1, which are those of level 2's first round."""
    learnt: tuple[LearnRoundRecord, ...] = ()
    """The rounds of level 2."""
    weights: str = ""
    """Digest of the teacher's latest weights; empty: its original weights."""
    iteration: Iteration | None = None
    """Level 3 with exemplar sets."""
    rewriting: Rewriting | None = None
    """Level 3 with rationales."""


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
    same: Same = lambda one, other, form: one == other
    """Whether two answers are equivalent: `exam.allocation` asks it."""

    def with_weights(self, weights: str) -> "Setup":
        """The same class with other weights for the teacher."""
        return msgspec.structs.replace(self, weights=weights)

    def answerer(self, agent: str) -> str:
        """Digest of everything that decides the agent's answers, trained weights included."""
        trained = self.weights and agent == self.scenario.teacher.name
        return digest(self.answerers[agent], self.weights) if trained else self.answerers[agent]


class Level(Protocol):
    """One of the three levels, or a sequence of them."""

    def begin(self) -> Step:
        """What is due at the start."""

    def receive(self, result: Result) -> Step:
        """What becomes due with `result`. A result that is not awaited changes nothing."""

    def message(self, request: Request, text_of: TextOf) -> Message | MessageWithFile:
        """The message of `request`; its sender fills in `weights`.

        Args:
            request: one that this level made due.
            text_of: the text of an earlier result, by its request id.
        """

    @property
    def finished(self) -> bool:
        """Whether nothing is awaited and nothing more will be due."""

    def totals(self) -> Mapping[str, int]:
        """Requests per stage, as far as known: fewer once TRs turn out to be equal or unusable."""

    def outcome(self) -> Outcome:
        """Everything that is known now, of an unfinished class too."""
