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
    grades: int = 0
    """Solutions that students were asked the log-probability of; failed ones too."""


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
    spent: float | None = None
    """In this run, in the currency of its prices."""
    budget: float | None = None
    """The same currency."""


class StageRow(msgspec.Struct, frozen=True):
    """How far a stage is."""

    name: str
    done: int
    total: int
    due: bool = False
    """Whether requests of it wait for their results now."""
    left_s: float | None = None
    """Until its slowest agent is through, once it is at it; None: nobody can know yet."""

    @property
    def percent(self) -> int:
        """Whole percent that are done: 100 only at the end."""
        return 100 * self.done // self.total


class RoundRow(msgspec.Struct, frozen=True):
    """One round of one search of level 3. F1 of the positive class; None: not known (yet)."""

    run: int
    """From 1."""
    arm: str
    """class, or the baseline."""
    number: int
    """0: the start, which nobody was taught in."""
    sets: int
    """Scored."""
    train: float | None
    """The teacher on training items, with the best set."""
    held_out: float | None
    """Likewise on held-out items."""
    students: Mapping[str, float | None]
    """Over all the round's sets, on its training items."""


class TrainingRow(msgspec.Struct, frozen=True):
    """One training of level 2."""

    round: int
    arms: tuple[str, ...]
    """More than one where they have the same pairs."""
    pairs: int
    step: int
    steps: int
    """0: it has not begun."""
    losses: tuple[float, ...]
    """By step, as far as they were told."""
    margin: float | None
    accuracy: float | None
    left_s: float | None
    status: str
    """waiting, training, trained, failed; no pairs."""
    step_s: float | None = None
    """Seconds a step, of late."""


class TeacherRow(msgspec.Struct, frozen=True):
    """One teacher of level 2, measured. None: nothing is there yet."""

    round: int
    name: str
    """As the report has it: original, before, correctness, M2 ..."""
    problems: int
    """Held-out problems that all answers are there for."""
    of: int
    greedy: float | None
    """Share right."""
    sampled: float | None
    lbt: float | None
    """Of its new TRs."""


class Learning(msgspec.Struct, frozen=True):
    """What came of the levels after the first so far."""

    rounds: tuple[RoundRow, ...] = ()
    trainings: tuple[TrainingRow, ...] = ()
    teachers: tuple[TeacherRow, ...] = ()


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
    """That is at work."""
    task: str
    status: str
    """starting, running, waiting, draining, finished (every request is answered, agents leave); complete, stopped,
    interrupted (no process, and no word of an end)."""
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
    course: tuple[int, ...] = ()
    """The levels that the class goes through, where it is more than one; `level` is the one at work."""
    amount: str = ""
    """How much of the task there is, in words; empty: so many TPs."""
    learning: Learning = Learning()
    at_work: str = ""
    """What is under way after the first level: the round and its stages."""

    @property
    def over(self) -> bool:
        """Whether nobody is at work on the class."""
        return self.status in OVER

    @property
    def spent(self) -> str:
        """What all agents have spent together, for people: `0.42 of 2.50`; empty: nothing costs anything."""
        paying = [row for row in self.agents if row.spent is not None]
        if not paying:
            return ""
        budgets = [row.budget for row in paying if row.budget is not None]
        return spending(sum(row.spent or 0.0 for row in paying), sum(budgets) if len(budgets) == len(paying) else None)


def spending(spent: float | None, budget: float | None) -> str:
    """`0.42 of 2.50`; without a budget `0.42`; empty where nothing costs anything."""
    if spent is None:
        return ""
    return _amount(spent) if budget is None else f"{_amount(spent)} of {_amount(budget)}"


def _amount(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 or not value else f"{value:.3g}"
