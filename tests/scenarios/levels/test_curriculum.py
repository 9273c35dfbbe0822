"""Students who join level 3 round by round: in which order, when, and whose mistakes the teacher is shown."""

import random
from itertools import pairwise

import pytest

from broker.work_messages import Reflect
from scenarios.config.schema import Scenario
from scenarios.levels.base import Request, Result
from scenarios.levels.iterate.curriculum import Order, joined, line_up
from scenarios.levels.iterate.level import IterateLevel
from scenarios.records.confusion import Confusion
from scenarios.report.iterate import summarize_rounds
from scenarios.session.plan import order
from scenarios.session.request_counts import counts
from tests.scenarios.levels.iterated import Played, able, bank, level, scenario

NAMES = ("weak", "strong", "middle")
MEASURED = {
    "weak": Confusion(1, 3, 3, 1),
    "strong": Confusion(4, 0, 0, 4),
    "middle": Confusion(3, 1, 1, 3),
}


def described(which: Order, rounds: int = 3) -> Scenario:
    return scenario(NAMES, curriculum=which, rounds=rounds, baselines=("self",))


def say(request: Request) -> Result:
    """The weak one is always wrong, the strong one seldom, the middle one half of the time."""
    if request.kind != "Examine" or request.stage != "exam":
        return able(request)
    right = random.Random(request.id).random() < {"weak": 0.0, "strong": 0.95}.get(request.to, 0.5)
    gold = GOLD[request.ep]
    return Result(request.id, "hm", gold if right else {"yes": "no", "no": "yes"}[gold], right)


GOLD = {problem.id: problem.answer.lower() for problem in getattr(bank().labelled, "train")}  # noqa: B009


def learning(one: IterateLevel) -> list[list[str]]:
    return [each.learning for each in summarize_rounds(one.outcome().iteration).rounds]


def test_strong_or_weak_students_join_first() -> None:
    assert line_up("strong_first", MEASURED, 0) == ("strong", "middle", "weak")
    assert line_up("weak_first", MEASURED, 0) == ("weak", "middle", "strong")
    assert line_up("all", MEASURED, 0) == NAMES


def test_a_random_draw_decides_between_equal_students_only() -> None:
    equals = dict.fromkeys("abcd", Confusion(1, 1, 1, 1))
    backwards = dict(reversed(equals.items()))
    assert line_up("weak_first", equals, 0) == line_up("weak_first", backwards, 0)
    assert len({line_up("weak_first", equals, seed) for seed in range(20)}) > 1
    assert set(line_up("strong_first", {"a": Confusion(), "b": Confusion()}, 0)) == {"a", "b"}


@pytest.mark.parametrize(
    ("students", "rounds", "sizes"), [(3, 5, [1, 2, 2, 3, 3]), (3, 3, [1, 2, 3]), (4, 2, [2, 4]), (1, 2, [1, 1])]
)
def test_students_join_evenly_and_all_by_the_last_round(students: int, rounds: int, sizes: list[int]) -> None:
    names = [str(n) for n in range(students)]
    there = [joined("strong_first", names, number, rounds) for number in range(1, rounds + 1)]
    assert [len(one) for one in there] == sizes
    assert all(set(before) <= set(after) for before, after in pairwise(there))
    assert joined("all", names, 1, rounds) == tuple(names)


@pytest.mark.parametrize(("which", "first"), [("strong_first", "strong"), ("weak_first", "weak")])
def test_the_teacher_is_shown_the_mistakes_of_those_who_have_joined(which: Order, first: str) -> None:
    one = level(described(which))
    played = Played(one, say)
    assert one.finished
    assert [set(names) for names in learning(one)] == [set(), {first}, {first, "middle"}, set(NAMES)]
    sat = {number: {r.to for r in played.of("exam") if r.round == number} for number in (1, 2, 3)}
    assert sat == {1: {*NAMES, "teacher"}, 2: {first, "middle", "teacher"}, 3: {*NAMES, "teacher"}}
    shown = {
        mistake.student
        for id, message in played.messages.items()
        if isinstance(message, Reflect) and played.asked[id].round == 1
        for mistake in message.mistakes
    }
    assert shown <= {first, "teacher"}
    stages = [request.stage for request in played.asked.values()]
    assert one.totals() == {stage: stages.count(stage) for stage in one.totals()}


def test_without_a_curriculum_all_students_learn_in_every_round() -> None:
    one = level(described("all"))
    Played(one, say)
    assert learning(one) == [[], *([list(NAMES)] * 3)]


def test_the_order_of_arrival_decides_nothing() -> None:
    straight, mixed = level(described("weak_first")), level(described("weak_first"))
    Played(straight, say)
    Played(mixed, say, random.Random(5))
    assert straight.outcome() == mixed.outcome()


def test_the_plan_shows_the_curriculum() -> None:
    assert "weak ones first" in " ".join(order(described("weak_first"), counts(described("weak_first"))))
    assert "join" not in " ".join(order(described("all"), counts(described("all"))))
