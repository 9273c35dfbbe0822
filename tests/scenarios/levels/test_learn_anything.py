"""Level 2 whatever the scenario, the order of arrival, what fails and where it stops: what holds of every class."""

import random
from collections import Counter, deque
from collections.abc import Mapping
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.work_messages import Recipe, Sampling
from scenarios.config.schema import Exam, Lesson, Scenario, Task
from scenarios.levels import sequence
from scenarios.levels.base import Level, MessageWithFile, Request, Result, Setup
from scenarios.levels.results import result_of
from scenarios.report.learn import comparisons, methods, summarize_rounds
from scenarios.report.training_records import TrainingRecords
from scenarios.session.request_counts import count
from scenarios.tasks.problems import Bank, ProblemGroup
from tests.scenarios.levels.played import ANSWERERS
from tests.scenarios.levels.test_learn import Class, problem, record, scenario


class Case(NamedTuple):
    """A class, and how things go in it."""

    scenario: Scenario
    bank: Bank
    identical: bool
    """Whether both students are identical."""
    texts: int
    """How many different TRs there are of a problem, whoever writes them."""
    failing: float
    """Share of the requests that fail."""
    weights: str
    """What trainings come to: weights of their own, the same for all in a round, or the same always."""


@st.composite
def cases(draw: st.DrawFn) -> Case:
    tps, eps, held_out = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 2))
    arms = draw(st.permutations(["m2", "correctness", "shuffled", "dense"]))[: draw(st.integers(1, 4))]
    made = scenario(
        draw(st.sampled_from([2, (1, 2)])),
        rounds=draw(st.integers(1, 3)),
        seeds=draw(st.integers(1, 3)),
        arms=tuple(arms),
        held_out=held_out,
        samples=draw(st.integers(0, 2)),
        rationales=draw(st.integers(0, 3)),
        gap=draw(st.sampled_from([0.0, 0.3, 0.6])),
        pairs_per_tp=draw(st.integers(1, 8)),
        uses_per_rationale=draw(st.integers(1, 3)),
        training=Recipe(method=draw(st.sampled_from(["dpo", "sft"]))),
    )
    sampling = draw(st.sampled_from([Sampling(), Sampling(temperature=1.0, top_k=0, top_p=1.0)]))
    score = "logprob" if "dense" in arms else draw(st.sampled_from(["accuracy", "logprob"]))
    made = replace(
        made,
        task=Task(family="x", problems=tps),
        lesson=Lesson(rationales=draw(st.integers(2, 4)), greedy=draw(st.booleans()), sampling=sampling),
        exam=Exam(problems=eps, repeats=draw(st.integers(1, 2)), score=score),  # type: ignore[arg-type]
    )
    items = tuple(ProblemGroup(problem(f"tp{n}"), tuple(problem(f"ep{n}{m}") for m in range(eps))) for n in range(tps))
    bank = Bank("made up", items, (), held_out=tuple(problem(f"held{n}") for n in range(held_out)))
    return Case(
        made,
        bank,
        draw(st.booleans()),
        draw(st.sampled_from([1, 2, 6, 1000])),
        draw(st.sampled_from([0.0, 0.0, 0.05, 0.3])),
        draw(st.sampled_from(["own", "shared", "same"])),
    )


class Going(Class):
    """A class that goes on until it is over, or stops; and takes down what its level says of itself."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self._case = case
        self.fails = lambda request: random.Random(f"fails {request.id}").random() < case.failing
        self.due = Counter[str]()
        """What the level made due, by stage."""
        self.totals: list[Mapping[str, int]] = []
        """What it said it would, each time."""

    def answer(self, request: Request) -> Result:
        found, draw = super().answer(request), random.Random(f"text {request.id}")
        if found.failed:
            return found
        if request.kind == "Train":
            shared = {"own": found.answer, "shared": f"trained in {request.round}", "same": "trained"}
            return replace(found, answer=shared[self._case.weights])
        if request.kind == "Teach":
            return replace(found, text=f"way {draw.randrange(self._case.texts)}")
        return found

    def go(self, order: random.Random, stop: int = -1) -> Level:
        """Begin anew with what is recorded, and answer in a random order; at most `stop` answers."""
        case = self._case
        answerers = ANSWERERS | (dict.fromkeys(("ada", "bob"), "alike") if case.identical else {})
        level = sequence.make(Setup(case.scenario, case.bank, answerers))
        self.due.clear()
        self.totals.clear()
        waiting: list[Request] = []
        self._take(level, level.begin().requests, waiting)
        while waiting and stop:
            stop -= 1
            request = waiting.pop(order.randrange(len(waiting)))
            message = level.message(request, self.text)
            if isinstance(message, MessageWithFile):
                self.sent[request.id] = message
            result = self.answer(request)
            self.asked.append(request)
            assert request.id not in self.records, "asked twice"
            self.records[request.id] = record(request, result)
            self._take(level, level.receive(result).requests, waiting)
        return level

    def _take(self, level: Level, requests: tuple[Request, ...], waiting: list[Request]) -> None:
        new = deque(requests)
        while new:
            request = new.popleft()
            self.due[request.stage] += 1
            if (known := self.records.get(request.id)) is None:
                assert all(request.id != other.id for other in waiting), "asked twice"
                waiting.append(request)
            else:
                new += level.receive(result_of(known)).requests
        self.totals.append(dict(level.totals()))
        assert all(self.totals[-1].get(stage, 0) >= n for stage, n in self.due.items()), "more than all"


@settings(max_examples=60, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_totals_never_grow_and_equal_the_requests_in_the_end(case: Case, order: random.Random) -> None:
    school = Going(case)
    assert school.go(order).finished
    assert {stage: n for stage, n in school.totals[-1].items() if n} == school.due
    if case.scenario.levels == (2,):  # of more levels only those are counted that have begun
        for before, after in zip(school.totals, school.totals[1:], strict=False):
            assert all(n <= before.get(stage, 0) for stage, n in after.items())


@settings(max_examples=60, deadline=None)
@given(cases(), st.randoms(use_true_random=False), st.integers(0, 300))
def test_a_class_interrupted_anywhere_has_the_same_outcome(case: Case, order: random.Random, stop: int) -> None:
    whole, broken = Going(case), Going(case)
    wanted = whole.go(order).outcome()
    halfway = broken.go(order, stop).outcome()
    again = broken.go(order)
    assert again.finished
    assert again.outcome() == wanted
    assert (broken.sent, broken.records) == (whole.sent, whole.records)
    for learnt, complete in ((halfway.learnt, False), (wanted.learnt, True)):
        rounds = summarize_rounds(case.scenario, learnt, TrainingRecords({}, {}), complete=complete)
        assert len(rounds) == len(learnt)
        assert methods(rounds, learnt).keys() >= {"original", "correctness_dpo", "m2"}
        assert all(pair.n for pair in comparisons(rounds))


@settings(max_examples=60, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_there_are_never_more_requests_than_planned(case: Case, order: random.Random) -> None:
    school = Going(case)
    learnt = school.go(order).outcome().learnt
    planned, asked = count(case.scenario, problem_tokens=20), Counter(r.stage for r in school.asked)
    written = sum(r.stage == "drift" and r.kind == "Teach" for r in school.asked)
    assert len(school.asked) <= planned.requests
    assert asked["train"] <= planned.trainings
    assert all(len(training.pairs) <= planned.pairs for one in learnt for training in one.trainings)
    assert asked["grade"] <= planned.grades
    assert asked["measure"] + written <= planned.measured
    assert asked["drift"] - written <= planned.likelihoods
    assert asked["teach"] + asked["probe"] <= planned.teaching_rationales + planned.later_rationales
    assert asked["exam"] + asked["probe_exam"] <= planned.exam_answers + planned.later_exam_answers
