"""One picture of a class, as plain data: what the monitor shows, and nothing of how it came about.

scenarios/monitor/reader.py makes the pictures; scenarios/monitor/view.py draws them.
"""

from collections.abc import Mapping

import msgspec

OVER = frozenset({"stopped", "complete", "interrupted"})
"""Statuses in which nobody is at work on the class."""


class Best(msgspec.Struct, frozen=True):
    """The TR with the highest LbT score of its lesson so far."""

    answer: str
    score: float
    correct: bool
    complete: bool
    """Whether all its exams are in."""


class LessonRow(msgspec.Struct, frozen=True):
    """One TP as the monitor shows it."""

    tp: str
    rationales: int
    """TRs that arrived, failed ones too."""
    exams: int
    exams_total: int
    """As far as it can be known now: TRs that are alike or have no answer are not examined."""
    scores: Mapping[str, float]
    """Mean exam correctness by student; a student without an answer yet is missing."""
    greedy: bool | None
    best: Best | None
    last: str
    """When its last result was committed; empty: nothing came yet."""


class AgentRow(msgspec.Struct, frozen=True):
    """One agent. None: not known, or without meaning now."""

    name: str
    role: str
    model: str
    engine: str
    device: str
    state: str
    done: int
    """Results recorded of it."""
    tokens: int
    """Completion tokens of these."""
    restarts: int
    queue: int | None = None
    """Requests that wait in its pool."""
    leases: int | None = None
    tokens_per_second: float | None = None
    cached_share: float | None = None
    """Of its prompt tokens."""


class StageRow(msgspec.Struct, frozen=True):
    """How far a stage is."""

    name: str
    done: int
    total: int


class EventRow(msgspec.Struct, frozen=True):
    """Something that happened."""

    seq: int
    time: str
    """Local time of day."""
    agent: str
    kind: str
    detail: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All that the monitor shows."""

    scenario: str
    level: int
    task: str
    status: str
    """starting, running, waiting, draining; complete, stopped, interrupted (no process, and no word of an end)."""
    simulated: tuple[str, ...]
    """Agents without a language model."""
    elapsed_s: float
    left_s: float | None
    teaching_problems: int
    students: tuple[str, ...]
    agents: tuple[AgentRow, ...]
    stages: tuple[StageRow, ...]
    lessons: tuple[LessonRow, ...]
    """In the order of the task."""
    events: tuple[EventRow, ...]
    """Oldest first."""
    failed: int = 0
    requeued: int = 0

    @property
    def over(self) -> bool:
        """Whether nobody is at work on the class."""
        return self.status in OVER
