"""A level without the requests to dropped students is a function of the results and of who was dropped."""

import random
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.work_messages import Teach
from scenarios.config.schema import Exam, Lesson
from scenarios.levels.base import Level, Request, Result, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.steered import SteeredLevel
from tests.scenarios.levels import iterated, test_learn
from tests.scenarios.levels.played import ANSWERERS, bank, small_scenario

SCENARIO = small_scenario(
    lesson=Lesson(rationales=2, greedy=False),
    exam=Exam(problems=2),
)


def answer(request: Request) -> Result:
    text = f"{request.id} Answer: 1"
    return Result(request.id, text, "1", correct=request.id < "8", completion_tokens=1)


def observe() -> Level:
    return ObserveLevel(Setup(SCENARIO, bank(), ANSWERERS))


class Played:
    """A class that is played in any order; `known` has the results so far."""

    def __init__(
        self,
        dropped: tuple[str, ...] = (),
        known: Mapping[str, Result] | None = None,
        make: Callable[[], Level] = observe,
        say: Callable[[Request], Result] = answer,
    ) -> None:
        self.known = dict(known or {})
        self.say = say
        self.level = SteeredLevel(make(), dropped, lambda id: id in self.known)
        self.due: dict[str, Request] = {}
        self.add(self.level.begin().requests)

    def add(self, requests: tuple[Request, ...]) -> None:
        self.due |= {request.id: request for request in requests}
        # Recorded results are fed at once, as on resume.
        for request in [one for one in self.due.values() if one.id in self.known]:
            if self.due.pop(request.id, None):
                self.add(self.level.receive(self.known[request.id]).requests)

    def take(self, place: int) -> None:
        request = self.due.pop(list(self.due)[place % len(self.due)])
        self.known[request.id] = self.say(request)
        self.add(self.level.receive(self.known[request.id]).requests)

    def drop(self, student: str) -> None:
        awaited = [request for request in self.due.values() if request.to == student]
        for request in awaited:
            del self.due[request.id]
        self.add(self.level.drop(student, awaited).requests)

    def finish(self) -> None:
        while self.due:
            self.take(0)


LEVELS: dict[str, tuple[Callable[[], Level], Callable[[Request], Result]]] = {
    "observe": (observe, answer),
    "learn": (lambda: test_learn.level(test_learn.scenario((1, 2))), test_learn.Class().answer),
    "iterate": (iterated.level, iterated.answer),
}


@pytest.mark.parametrize("name", LEVELS)
@given(st.integers(0, 80), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_a_class_that_goes_on_after_a_drop_is_the_class_that_drops_it_on_resume(
    name: str, answers: int, order: random.Random
) -> None:
    make, say = LEVELS[name]
    live = Played(make=make, say=say)
    for _ in range(answers):
        if live.due:
            live.take(order.randrange(len(live.due)))
    at_drop = dict(live.known)
    live.drop("ada")
    while live.due:
        assert not any(request.to == "ada" for request in live.due.values())
        live.take(order.randrange(len(live.due)))
    resumed = Played(("ada",), at_drop, make, say)
    resumed.finish()
    assert live.level.finished and resumed.level.finished
    assert live.level.outcome() == resumed.level.outcome()
    assert live.level.not_asked == resumed.level.not_asked
    assert live.known == resumed.known


def test_a_dropped_student_is_asked_nothing_and_the_totals_say_so() -> None:
    played = Played()
    played.drop("ada")
    played.finish()
    assert {len(one.exams) for lesson in played.level.outcome().lessons for one in lesson.rationales} == {2}
    assert played.level.not_asked == {("ada", "exam"): 8}
    assert played.level.exams_not_asked == {"tp0/0": 4, "tp1/0": 4}
    assert played.level.totals()["exam"] == 8
    assert len(played.known) == 4 + 8


def test_results_that_a_student_gave_before_it_was_dropped_count() -> None:
    played = Played()
    while any(request.to == "teacher" for request in played.due.values()):
        played.take(next(n for n, one in enumerate(played.due.values()) if one.to == "teacher"))
    played.take(next(n for n, one in enumerate(played.due.values()) if one.to == "ada"))
    played.drop("ada")
    played.finish()
    exams = [exam for lesson in played.level.outcome().lessons for one in lesson.rationales for exam in one.exams]
    assert sum(exam.student == "ada" for exam in exams) == 1
    assert played.level.not_asked == {("ada", "exam"): 7}


@pytest.mark.parametrize("dropped", [(), ("ada",)])
def test_the_message_of_a_request_is_that_of_the_level(dropped: tuple[str, ...]) -> None:
    played = Played(dropped)
    request = next(iter(played.due.values()))
    message = played.level.message(request, lambda id: "")
    assert isinstance(message, Teach)
    assert message.problem in {"What is 0 and 0?", "What is 1 and 0?"}
