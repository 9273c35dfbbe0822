"""The shape of summary.json: what its names mean, and which may be null.

The names are a contract with scripts that read them: more may be added, none renamed or dropped. Shares run from 0 to
1; a share of nothing is null. build.py makes a summary.
"""

import msgspec

from scenarios.report.agents import AgentSummary
from scenarios.report.allocation import AllocatedExams
from scenarios.report.baselines import Baseline
from scenarios.report.breakdown import PartAccuracy
from scenarios.report.counts import ClassCounts, FailedRequests
from scenarios.report.exams import ExamSource
from scenarios.report.iterate import IterateSummary
from scenarios.report.learn import LearnRoundSummary
from scenarios.report.methods import Comparison, Method
from scenarios.report.run_info import Status
from scenarios.report.unanswered import Unanswered
from scenarios.scoring.abilities import Abilities
from scenarios.scoring.agreement import Agreement
from scenarios.scoring.curves import AccuracyCurves
from scenarios.scoring.dense import Dense
from scenarios.scoring.equal_up import EqualUp
from scenarios.scoring.fidelity import Fidelity
from scenarios.scoring.lbt import Assumption
from scenarios.scoring.lineups import LineUp
from scenarios.scoring.shapley import Shapley
from scenarios.scoring.signals import Signal
from scenarios.store.changes import Changes


class BestPossible(msgspec.Struct, frozen=True):
    """An oracle, not a method: the share of TPs with at least one right TA."""

    accuracy: float | None
    n: int
    ci95: tuple[float, float] | None = None
    """Wilson; over TPs. None without a TP."""


class StudentSummary(msgspec.Struct, frozen=True):
    """How one student did in its exams, and how right M1 is by its exams alone."""

    name: str
    exam_accuracy: float | None
    """Over its EAs at level 1, each asked once; at level 3 alone, over those of its rounds."""
    ci95: tuple[float, float]
    """Over TPs, since the EAs of one TP go together. At level 3 alone as if all EAs were independent."""
    exam_answers: int
    m1_max: float | None
    m1_sum: float | None
    copy_of: str = ""
    """The agent that answers for it, where it is one of its copies."""
    sampling: dict[str, float] = {}
    """How its exam answers were drawn, where that differs from exam.sampling."""


class MeasuredAssumption(Assumption, frozen=True):
    """The assumption with an interval."""

    ci95: tuple[float, float] | None = None
    """Of `right_beats_wrong`, over TPs; None where there is no pair."""


class PublishedAccuracies(msgspec.Struct, frozen=True):
    """Published results that the scenario names, to be read beside `methods`."""

    source: str
    methods: dict[str, float]
    """By method of this summary."""


class LearnRounds(msgspec.Struct, frozen=True):
    """The rounds of level 2; none at level 1."""

    rounds: list[LearnRoundSummary] = []


class Levels(msgspec.Struct, frozen=True):
    """The results of the levels after the first."""

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
    """Some agent was simulated: the figures say nothing about language models."""
    agents: list[AgentSummary]
    counts: ClassCounts
    methods: dict[str, Method]
    best_possible: BestPossible
    paired: list[Comparison]
    students: list[StudentSummary]
    lineups: list[LineUp]
    assumption: MeasuredAssumption
    levels: Levels
    failures: list[FailedRequests]
    caution: str | None
    signals: list[Signal] = []
    """What tells right TRs from wrong ones; empty without such a pair, and where `allocation` left out exams."""
    dense: Dense | None = None
    """Where exam.score is logprob."""
    unprotected: bool = False
    """Programs of models ran without a sandbox (task.sandbox: none)."""
    lineups_shown: str = "all"
    """Which line-ups `lineups` has, in words: with many students not all of them."""
    students_analysed: list[str] = []
    """Of a class with more than 64 students: those that line-ups, `signals`, `shapley` and what follows it are about,
    drawn by the seed. Empty: all of them."""
    identical_students: list[list[str]] = []
    """Groups of students with the same model, persona and settings, which differ by their draws alone."""
    completions_per_rationale: float | None = None
    """Of level 1: a sampled TR, its exams, and the questions and answers before them; identical TRs share theirs.
    Repairs, and what an agent was asked to invent exam problems, are left out: see `counts` and `exams`."""

    unanswered: list[Unanswered] = []
    """By agent and stage: how many answers were empty, and how many requests failed."""
    shapley: Shapley | None = None
    """This and what follows: null or empty where no TP with exams is finished."""
    agreement: Agreement | None = None
    """Also null for a single student."""
    abilities: Abilities | None = None
    curves: AccuracyCurves | None = None
    fidelity: Fidelity | None = None
    """Also null for a single student."""
    equal_up: list[EqualUp] = []
    """Everybody against each student with as many EAs; empty where all students are copies of one."""
    by_level: list[PartAccuracy] = []
    """SC and M1 MAX by the level that the source names for a TP; empty where it names none, as is the next."""
    by_subject: list[PartAccuracy] = []
    baselines: dict[str, Baseline] = {}
    """Controls of M1: rules that choose without the students' exams. Empty where no TP is finished."""
    published: PublishedAccuracies | None = None
    """Where the scenario has published figures."""
    exams: ExamSource | None = None
    """Where the exam problems come from; null with exam.maker: variants."""
    changes: Changes = Changes()
    """What was changed while the class ran (`run.py ctl`)."""
    allocation: AllocatedExams | None = None
    """Where exam.allocation is not full: what it saved, and what is left out."""

    @property
    def students_shown(self) -> list[StudentSummary]:
        """The students that people are shown: those that are analysed."""
        names = frozenset(self.students_analysed)
        return [one for one in self.students if not names or one.name in names]

    @property
    def about_shown(self) -> str:
        """Which students are shown, in words; empty: all of them."""
        shown = len(self.students_analysed)
        return f"{shown} of the {len(self.students):,} students, drawn by the seed" if shown else ""

    @property
    def solves(self) -> bool:
        """Whether there are teaching problems to solve: a class that only classifies has none, and empty methods."""
        return self.counts.teaching_problems > 0
