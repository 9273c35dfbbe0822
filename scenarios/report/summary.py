"""The shape of summary.json, typed: what its names mean, and which may be null.

The names are a contract: scripts read them. More may be added, none renamed or dropped. Shares run from 0 to 1; a
share of nothing is null. How the figures come about is report.py.
"""

from typing import Any, Literal

import msgspec

from scenarios.report.iterate import IterateSummary
from scenarios.report.unanswered import Unanswered
from scenarios.scoring.dense import Dense
from scenarios.scoring.lbt import Assumption
from scenarios.scoring.lineups import LineUp

Status = Literal["complete", "running", "interrupted", "failed"]


class AgentSummary(msgspec.Struct, frozen=True):
    """What one agent did."""

    name: str
    role: str
    model: str
    engine: str
    device: str
    requests: int
    prompt_tokens: int
    cached_prompt_tokens: int
    cacheable_prompt_tokens: int
    """What a perfect prefix cache would have served: an estimate."""
    completion_tokens: int
    busy_seconds: float
    """Request-seconds: how long its requests took in the engine, added up. An engine that works on several at once
    comes to more than the class lasted."""
    restarts: int
    failed: int
    dtype: str = ""
    """Of its weights; empty: it computes nothing here."""
    spent: float | None = None
    """In the currency of its prices, its replicas and all sessions included; None: nothing, or not known."""
    shared: dict[str, int] = {}
    """At level 3, by agent: answers that were asked of that agent and stand for this one's own, since both answer alike
    (same model, persona and sampling). They are not among `requests`."""
    thoughts: int = 0
    """Answers that came with thoughts, which are left out of their texts."""
    thought_tokens: int = 0
    """Of `completion_tokens`: those of thoughts. Where no server counts them, an estimate by characters."""
    without: list[str] = []
    """What its server does not take, such as `seed`: it was asked without, in some session at least."""
    role_marks_broken: int = 0
    """In texts for its server, each time that they were sent."""
    answers_cut: int = 0
    """Answers of its server that were cut off because they went on far beyond `max_tokens`."""


class Method(msgspec.Struct, frozen=True):
    """How right the answers are that one method hands in."""

    accuracy: float | None
    ci95: tuple[float, float]
    """Wilson; over TPs."""
    n: int
    completion_tokens: int
    """greedy: its own; sc, and M1 by log-probabilities: all TRs; M1: all TRs and their exams. Prompts are not counted,
    nor solutions that students read to say how likely they are (`counts.solution_tokens`)."""
    tie_share: float | None
    """Of TPs on which several answers had the best score."""
    accuracy_random_ties: float | None
    """Expected accuracy if those were decided at random."""


class BestPossible(msgspec.Struct, frozen=True):
    """An oracle, not a method: the share of TPs with at least one right TA."""

    accuracy: float | None
    n: int


class Comparison(msgspec.Struct, frozen=True):
    """Two methods on the same TPs; see statistics.Paired."""

    a: str
    b: str
    difference: float
    ci95: tuple[float, float]
    wins: int
    losses: int
    p_value: float
    n: int


class StudentSummary(msgspec.Struct, frozen=True):
    """How one student fared, and what its exams alone would have chosen."""

    name: str
    exam_accuracy: float | None
    """Over all its EAs, each asked once."""
    ci95: tuple[float, float]
    """Over TPs, since the EAs of one TP go together. At level 3 alone as if all EAs were independent."""
    exam_answers: int
    m1_max: float | None
    m1_sum: float | None


class MeasuredAssumption(Assumption, frozen=True):
    """The assumption, and how sure it is."""

    ci95: tuple[float, float] | None = None
    """Of `right_beats_wrong`, over TPs; None where there is no pair."""


class FailedRequests(msgspec.Struct, frozen=True):
    """A request without a result."""

    request: str
    agent: str
    kind: str
    detail: str


class LearnRounds(msgspec.Struct, frozen=True):
    """The rounds of level 2; none at level 1."""

    rounds: list[dict[str, Any]] = []


class Levels(msgspec.Struct, frozen=True):
    """What the levels after the first came to."""

    learn: LearnRounds = msgspec.field(default=LearnRounds(), name="2")
    iterate: IterateSummary = msgspec.field(default=IterateSummary(), name="3")


class Summary(msgspec.Struct, frozen=True):
    """summary.json."""

    scenario: str
    level: int | list[int]
    """A list where one class went through several."""
    seed: int
    status: Status
    wall_seconds: float
    simulated: bool
    """Some agent was a model of a class, not of a language: the figures say nothing about language models."""
    agents: list[AgentSummary]
    counts: dict[str, int]
    methods: dict[str, Method]
    best_possible: BestPossible
    paired: list[Comparison]
    students: list[StudentSummary]
    lineups: list[LineUp]
    assumption: MeasuredAssumption
    levels: Levels
    failures: list[FailedRequests]
    caution: str | None
    dense: Dense | None = None
    """Where exam.score is logprob."""
    lineups_shown: str = "all"
    """Which line-ups `lineups` has, in words: with many students not all of them."""
    completions_per_rationale: float | None = None
    """Of level 1: a sampled TR, its exams, and the questions and answers before them; identical TRs share theirs."""

    unanswered: list[Unanswered] = []
    """By agent and stage: how many answers were empty, and how many requests failed."""

    @property
    def solves(self) -> bool:
        """Whether there are teaching problems to solve: a class that only classifies has none, and empty methods."""
        return self.counts["teaching_problems"] > 0
