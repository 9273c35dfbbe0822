"""What the monitor shows of a class, as plain data: reader.py makes it, view.py and plain.py draw it."""

from collections.abc import Mapping

import msgspec

from scenarios.report.formatting import money
from scenarios.store.changes import Changes

OVER = frozenset({"stopped", "complete", "interrupted"})
"""Statuses of a class that no process works on."""


class Best(msgspec.Struct, frozen=True):
    """The TR of a TP with the highest LbT score so far."""

    answer: str
    score: float
    correct: bool
    complete: bool
    """Whether all its exams are in."""


class LessonRow(msgspec.Struct, frozen=True):
    """One TP as the monitor shows it."""

    tp: str
    rationales: int
    """TRs that arrived; failed ones, too."""
    exams: int
    exams_total: int
    """As far as it is known now: TRs with the same text are examined once, those without an answer never."""
    scores: Mapping[str, float]
    """Share of right exam answers by student; a student without answers is missing."""
    greedy: bool | None
    best: Best | None
    last: str
    """When its last result was committed."""
    grades: int = 0
    """Solutions that students gave the log-probability of; failed requests, too."""


class ShareRow(msgspec.Struct, frozen=True):
    """How often a method or a student is right so far."""

    name: str
    share: float
    ci95: tuple[float, float]
    n: int
    """TPs of a method, exam answers of a student."""


class RunningResults(msgspec.Struct, frozen=True):
    """The results of level 1 so far."""

    finished: int = 0
    """TPs whose TRs and exams are all in."""
    tps: int = 0
    """All TPs."""
    methods: tuple[ShareRow, ...] = ()
    """Over the finished TPs."""
    students: tuple[ShareRow, ...] = ()
    """Over all exam answers so far."""


class CellState(msgspec.Struct, frozen=True):
    """One cell of a study: a class, and what distinguishes it."""

    name: str
    factors: Mapping[str, str]
    """The value of each factor, by its name."""
    status: str
    """to come, or a status of `Snapshot`."""
    done: int = 0
    """Requests with a result."""
    total: int = 0
    """Requests, as far as they are known."""
    standing: RunningResults = RunningResults()
    """Its results so far, as `Snapshot` has them."""


class StudyState(msgspec.Struct, frozen=True):
    """All classes of a study, as they were when the class that is shown began."""

    cells: tuple[CellState, ...]
    at: int | None
    """The place of the class that is shown; None: none is."""


class StartRow(msgspec.Struct, frozen=True):
    """One thing that must be done before the first answer."""

    name: str
    """The agent, or what is made."""
    words: str
    seconds: float | None
    """From the start of the session until it was done, or until now; None: not known."""
    done: bool


class LatestText(msgspec.Struct, frozen=True):
    """The last text of an agent that was recorded."""

    about: str
    """Its stage and its problem."""
    text: str


class AgentRow(msgspec.Struct, frozen=True):
    """One agent. None: not known, or there is no broker."""

    name: str
    role: str
    model: str
    engine: str
    device: str
    state: str
    done: int
    """Its results."""
    tokens: int
    """Completion tokens of its results."""
    restarts: int
    queue: int | None = None
    """Requests that wait in its pool at the broker."""
    leases: int | None = None
    tokens_per_second: float | None = None
    cached_share: float | None = None
    """Share of its prompt tokens that came from a prefix cache."""
    spent: float | None = None
    """In this run, in the currency of its prices."""
    budget: float | None = None
    """In the same currency."""
    latest: LatestText | None = None


class StageRow(msgspec.Struct, frozen=True):
    """One stage."""

    name: str
    done: int
    total: int
    due: bool = False
    """Whether some of its requests have no result yet."""
    left_s: float | None = None
    """Seconds that its slowest agent still needs; None: not known yet."""

    @property
    def percent(self) -> int:
        """Rounded down, so that 100 means the end."""
        return 100 * self.done // self.total


class RoundRow(msgspec.Struct, frozen=True):
    """One round of one search of level 3. F1 is that of the positive class; None: not known yet."""

    run: int
    """From 1."""
    arm: str
    """class, or the name of the baseline."""
    number: int
    """0: the start, before the first lesson."""
    sets: int
    """Exemplar sets with a score."""
    train: float | None
    """F1 of the teacher on training items, with the best set."""
    held_out: float | None
    """The same on held-out items."""
    students: Mapping[str, float | None]
    """F1 over all sets of the round, on its training items."""


class TrainingRow(msgspec.Struct, frozen=True):
    """One training of level 2."""

    round: int
    arms: tuple[str, ...]
    """Several, if they have the same pairs."""
    pairs: int
    step: int
    steps: int
    """0: it has not begun."""
    losses: tuple[float, ...]
    """By step, as far as they are known."""
    margin: float | None
    accuracy: float | None
    left_s: float | None
    status: str
    """waiting, training, trained, failed; no pairs."""
    step_s: float | None = None
    """Seconds that a step took lately."""


class TeacherRow(msgspec.Struct, frozen=True):
    """One teacher of level 2 on held-out problems. None: not known yet."""

    round: int
    name: str
    """As in the report: original, before, correctness, M2 ..."""
    problems: int
    """Held-out problems with all answers."""
    of: int
    greedy: float | None
    """Share of right answers."""
    sampled: float | None
    lbt: float | None
    """Mean LbT score of its new TRs."""


class Learning(msgspec.Struct, frozen=True):
    """What the levels after the first came to so far."""

    rounds: tuple[RoundRow, ...] = ()
    trainings: tuple[TrainingRow, ...] = ()
    teachers: tuple[TeacherRow, ...] = ()


class EventRow(msgspec.Struct, frozen=True):
    """Something that happened."""

    seq: int
    time: str
    """Local time."""
    agent: str
    kind: str
    detail: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the monitor shows."""

    scenario: str
    level: int
    """The level at work."""
    task: str
    status: str
    """starting, running, waiting, paused, draining, finished (every request is answered, agents leave); complete,
    stopped, interrupted (no process, and no event that ends the class)."""
    simulated: tuple[str, ...]
    """Agents without a language model."""
    unprotected: bool = False
    """Programs of models run without a sandbox."""
    elapsed_s: float
    paused_s: float = 0.0
    """Of `elapsed_s`: in pauses."""
    left_s: float | None
    students: tuple[str, ...]
    agents: tuple[AgentRow, ...]
    stages: tuple[StageRow, ...]
    lessons: tuple[LessonRow, ...]
    """In the order of the task."""
    events: tuple[EventRow, ...]
    """Oldest first."""
    failed: int = 0
    course: tuple[int, ...] = ()
    """The levels of the class, if there are several."""
    amount: str = ""
    """How many problems and items there are, in words."""
    learning: Learning = Learning()
    at_work: str = ""
    """The round and the stages under way, after the first level."""
    standing: RunningResults = RunningResults()
    start: tuple[StartRow, ...] = ()
    """Until all agents of the session are ready."""
    read: float = 1.0
    """Share of the gradebook that is read."""
    changes: Changes = Changes()
    """What was changed while it ran."""
    cells: tuple[CellState, ...] = ()
    """Of its study, this class included; empty if it is part of none."""

    @property
    def over(self) -> bool:
        """Whether no process works on the class."""
        return self.status in OVER

    @property
    def tokens(self) -> int:
        """Completion tokens of all results."""
        return sum(row.tokens for row in self.agents)

    @property
    def spent(self) -> str:
        """What all agents have spent: `0.42 of 2.50`, or empty if no agent has prices."""
        paying = [row for row in self.agents if row.spent is not None]
        if not paying:
            return ""
        budgets = [row.budget for row in paying if row.budget is not None]
        return spending(sum(row.spent or 0.0 for row in paying), sum(budgets) if len(budgets) == len(paying) else None)


def spending(spent: float | None, budget: float | None) -> str:
    """`0.42 of 2.50`, `0.42` without a budget; empty without prices."""
    if spent is None:
        return ""
    return money(spent) if budget is None else f"{money(spent)} of {money(budget)}"
