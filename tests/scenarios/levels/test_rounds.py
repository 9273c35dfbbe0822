"""Exams in rounds (`exam.allocation`): what is asked, and that nothing but the records decides it."""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.config.schema import Exam, Lesson, Scenario, Scoring
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.records.observe import Saved, TeachingProblemRecord
from scenarios.scoring.lbt import Rule, Sheet, distinct, lbt_scores
from tests.scenarios.levels.played import ANSWERERS, STUDENTS, Played, bank
from tests.scenarios.levels.test_observe import scenario
from tests.scenarios.scoring.test_lbt import same

RULES: tuple[Rule, ...] = ("max", "sum", "avg")
Say = Callable[[Request], Result]


def described(allocation: str, scoring: Scoring = Scoring(), rationales: int = 5, repeats: int = 2) -> Scenario:  # noqa: B008
    exam = Exam(problems=2, repeats=repeats, allocation=allocation)  # type: ignore[arg-type]
    return scenario(lesson=Lesson(rationales=rationales), exam=exam, scoring=scoring)


def level(of: Scenario) -> ObserveLevel:
    return ObserveLevel(Setup(of, bank(tps=1), ANSWERERS, same=same))


def drawn(seed: int, *, answers: int = 3, fails: float = 0.1, broken: str = "") -> Say:
    """Agents whose answer is drawn by the request's id; half of the exams of the student `broken` fail."""

    turn = Random(seed).randrange(8)

    def text_of(tr: str) -> str:
        return f"text {Random(f'{seed} {tr} text').randrange(6)}"

    def say(request: Request) -> Result:
        draw = Random(f"{seed} {request.id}")
        if request.kind == "Teach":
            text = text_of(request.id)
            answer = Random(f"{seed} {text}").choice([None, *2 * [str(n) for n in range(1, answers + 1)]])
            return Result(request.id, text, answer, answer == "1", failed="engine" * (draw.random() < fails / 2))
        failed = draw.random() < (0.5 if request.to == broken else fails)
        # A TR is clearly better than others in the first rounds, and in the later ones perhaps clearly worse.
        later = 2 * request.repeat + (request.ep == "tp0/2") >= turn
        share = Random(f"{seed} {text_of(request.tr)} teaches {later}").choice([0.0, 0.0, 0.5, 1.0, 1.0])
        return Result(request.id, "", "1", draw.random() < share and not failed, failed="engine" * failed)

    return say


def record(of: Scenario, say: Say) -> TeachingProblemRecord:
    return Played(level(of), say).level.outcome().lessons[0]


def choices(lesson: TeachingProblemRecord, scoring: Scoring) -> list[tuple[str | None, bool]]:
    sheet = Sheet(lesson, same)
    found = [sheet.choose(rule, STUDENTS, scoring) for rule in RULES]
    return [(one.answer, one.correct) for one in found]


def exams(lesson: TeachingProblemRecord) -> int:
    return sum(len(one.exams) for one in distinct(lesson))


SCORINGS = st.builds(Scoring, merge=st.sampled_from(["answers", "students"]), ties=st.sampled_from(["votes", "first"]))
SEEDS = st.integers(0, 2**32)


@settings(max_examples=300, deadline=None)
@given(SEEDS, SCORINGS, st.sampled_from([0.0, 0.1, 0.4]), st.integers(1, 5), st.sampled_from(["", "ada"]))
def test_lossless_never_changes_a_choice(seed: int, scoring: Scoring, fails: float, repeats: int, broken: str) -> None:
    say, one = drawn(seed, fails=fails, broken=broken), level(described("lossless", scoring, 7, repeats))
    asked = Played(one, say).asked
    fewer = one.outcome().lessons[0]
    answers = {tr.id: tr.answer for tr in fewer.rationales}
    assert fewer.saved.by_halving == 0

    def against_all_but(rival: str, request: Request) -> Result:
        """The exams that lossless does not ask: right under the TRs of one answer alone, or failed."""
        if request.id in asked:
            return say(request)
        failed = Random(f"{request.id} fails").random() < fails
        return Result(request.id, "", "1", answers[request.tr] == rival, failed="engine" * failed)

    others: list[Say] = [say, *(partial(against_all_but, answer) for answer in answers.values() if answer)]
    for other in others:
        full = record(described("full", scoring, 7, repeats), other)
        assert choices(fewer, scoring) == choices(full, scoring)


@pytest.mark.parametrize("how", ["lossless", "halving"])
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, scoring=SCORINGS, broken=st.sampled_from(["", "bob"]))
def test_the_order_of_arrival_decides_nothing(how: str, seed: int, scoring: Scoring, broken: str) -> None:
    say = drawn(seed, broken=broken)
    straight, mixed = (level(described(how, scoring)) for _ in range(2))
    assert Played(mixed, say, Random(seed)).asked.keys() == Played(straight, say).asked.keys()
    assert mixed.outcome() == straight.outcome()


@pytest.mark.parametrize("how", ["lossless", "halving"])
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, share=st.floats(0, 1))
def test_a_class_that_was_killed_asks_nothing_twice(how: str, seed: int, share: float) -> None:
    say, first = drawn(seed), level(described(how))
    results = Played(first, say, Random(seed)).results
    known = dict(list(results.items())[: int(share * len(results))])
    again = level(described(how))
    new: list[str] = []

    def answer(request: Request) -> Result:
        new.extend([request.id] * (request.id not in known))
        return known.get(request.id) or say(request)

    Played(again, answer)
    assert again.outcome() == first.outcome()
    assert sorted([*known, *new]) == sorted(results)


@pytest.mark.parametrize("how", ["lossless", "halving"])
@given(seed=SEEDS)
def test_asked_and_saved_exams_are_those_of_a_full_class(how: str, seed: int) -> None:
    say = drawn(seed, fails=0.0)
    full, fewer = record(described("full"), say), level(described(how))
    Played(fewer, say)
    lesson = fewer.outcome().lessons[0]
    assert exams(lesson) + lesson.saved.exams == exams(full)
    assert full.saved == Saved()
    assert fewer.totals()["exam"] == exams(lesson)


def scripted(answers: Sequence[str], right: Callable[[int, Request], bool]) -> Say:
    """TRs with these answers, each a text of its own; `right` says whether an EA under the n-th of them is."""
    number: dict[str, int] = {}

    def say(request: Request) -> Result:
        if request.kind == "Teach":
            number[request.id] = request.repeat
            return Result(request.id, request.id, answers[request.repeat], answers[request.repeat] == "1")
        return Result(request.id, "", "1", right(number[request.tr], request))

    return say


def test_nothing_is_examined_where_the_grader_calls_all_answers_the_same() -> None:
    one = record(described("lossless", rationales=3), scripted(["5", "5.0", "05"], lambda n, request: True))
    assert exams(one) == 0
    assert one.saved == Saved(by_agreement=3 * 2 * 4)
    assert choices(one, Scoring())[0] == ("5", False)


def test_exams_end_once_the_rest_cannot_change_the_choice() -> None:
    one = record(described("lossless", rationales=2), scripted(["1", "2"], lambda n, request: n == 0))
    # After two of four rounds 1 has 4 of 8; 2 can reach 4 of 8 as well, and 1 came first.
    assert exams(one) == 2 * 2 * 2
    assert one.saved == Saved(by_certainty=2 * 2 * 2)
    assert choices(one, Scoring())[0] == ("1", True)


def test_halving_ends_the_exams_of_an_answer_that_does_worse_after_equally_many_of_all() -> None:
    say = scripted(["1", "2", "3"], lambda n, request: n < 2)
    one = record(described("halving", rationales=3, repeats=4), say)
    asked = {tr.answer: len(tr.exams) for tr in one.rationales}
    assert 2 <= asked["3"] < asked["1"] == asked["2"]
    assert [tr.dropped for tr in one.rationales] == [False, False, True]
    assert one.saved.by_halving == (16 - asked["3"]) * 1
    assert set(lbt_scores(one.rationales, STUDENTS, "answers")) == {tr.id for tr in one.rationales}


def test_a_dropped_answer_is_not_chosen_although_its_few_exams_would_restrict_those_of_the_others() -> None:
    say = scripted(["1", "2", "3"], lambda n, request: n == 1 or (n == 0 and request.repeat < 1))
    one = record(described("halving", rationales=3, repeats=4), say)
    assert one.rationales[2].dropped
    assert choices(one, Scoring()) == [("2", False)] * 3
