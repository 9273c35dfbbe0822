"""Reasons and the teacher's own errors: a class worked out by hand, made-up paraphrases, and whole classes."""

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.levels.base import Request, Result
from scenarios.records.iterate import ArmRun, IterateRoundRecord, Iteration, OwnAnswers
from scenarios.report.iterate import summarize_rounds
from scenarios.report.iterate_tables import round_tables
from scenarios.scoring.reasons import OwnErrors, own_errors, reasons
from scenarios.scoring.text_clusters import content, groups
from tests.printing import printed
from tests.scenarios.levels.iterated import Played, able, answer, bank, level, scenario
from tests.scenarios.report.test_iterate import COURSE

MISTAKEN = msgspec.structs.replace(
    COURSE,
    # The minibatches: i9 is in none, i6 was asked with the start's set alone, i7 with the last one alone.
    rounds=(
        COURSE.rounds[0],
        msgspec.structs.replace(COURSE.rounds[1], items=("i1", "i2", "i3", "i4", "i6")),
        msgspec.structs.replace(COURSE.rounds[2], items=("i3", "i5", "i7", "i8")),
    ),
    own={
        "a": OwnAnswers(right=("i2", "i8"), wrong=("i1", "i3", "i4", "i5", "i6", "i9")),
        "d": OwnAnswers(right=("i1", "i4", "i7", "i9"), wrong=("i2", "i3", "i5", "i8")),
    },
)
"""Ada failed on i1 and i3, Bob on i2; set a is the start's, d the last."""


def test_reasons_that_say_nearly_the_same_are_one() -> None:
    first, second = reasons([COURSE])
    assert (first.reason, first.count, first.wordings) == ("Texts are long.", 2, 1)
    assert (second.count, second.wordings, second.students) == (2, 2, {"ada": 2, "bob": 1})
    assert second.reason in {"They overlook the negation.", "The negations are overlooked!"}
    assert (first.kept, second.kept) == (1, 2)


def test_a_reason_has_the_items_whose_mistakes_led_to_it() -> None:
    long, negation = reasons([COURSE])
    assert (long.items, long.items_by_student) == (1, {"ada": 1})
    assert (negation.items, negation.items_by_student) == (3, {"ada": 2, "bob": 1})


def test_the_teachers_own_errors_are_counted_on_items_that_all_were_asked() -> None:
    # i1 to i5 and i8: wrong before i1 i3 i4 i5, after i2 i3 i5 i8. Shown: i1 i2 i3.
    assert own_errors([MISTAKEN]) == OwnErrors(items=6, errors=4, without_reason=2, removed=2, new=2)
    long, negation = reasons([MISTAKEN])
    assert (long.compared, long.errors, long.share, long.removed, long.new) == (1, 1, 0.25, 0, 0)
    assert (negation.compared, negation.errors, negation.share, negation.removed, negation.new) == (3, 2, 0.5, 1, 1)


def test_an_item_of_two_runs_counts_in_both() -> None:
    both = [MISTAKEN, msgspec.structs.replace(MISTAKEN, run=1)]
    assert own_errors(both) == OwnErrors(items=12, errors=8, without_reason=4, removed=4, new=4)
    assert [one.share for one in reasons(both)] == [one.share for one in reasons([MISTAKEN])]
    assert [one.items for one in reasons(both)] == [2, 6]


@pytest.mark.parametrize(
    "course",
    [
        COURSE,
        msgspec.structs.replace(MISTAKEN, rounds=()),
        msgspec.structs.replace(MISTAKEN, rounds=(IterateRoundRecord(0, (), {}, (), 0, {}, ("a",), ()),)),
    ],
)
def test_without_answers_there_are_no_errors_and_no_shares(course: ArmRun) -> None:
    assert own_errors([course]) == OwnErrors()
    assert {one.share for one in reasons([course])} <= {None}


def test_the_end_of_a_class_shows_reasons_with_the_teachers_errors() -> None:
    lines = printed(*round_tables(summarize_rounds(Iteration((MISTAKEN,))))).splitlines()
    row = next(line for line in lines if line.startswith("Texts are long."))
    assert row.split()[3:] == ["2", "1", "1", "25", "%", "0", "0"]
    total = next(line for line in lines if line.startswith("all errors"))
    assert total.split()[2:] == ["6", "4", "100", "%", "2", "2"]


# --- which reasons are one ------------------------------------------------------------------------------

PARAPHRASED = (
    (
        "The students confused correlation with causation.",
        "Causation was confused with mere correlation by students.",
        "The examples lack cases of correlation taken for causation.",
    ),
    (
        "Foreign policy is not covered by the examples.",
        "There are no examples about foreign policy.",
        "The set covers only taxes and health care, not foreign policy.",
    ),
    (
        "They answered from world knowledge and not from what the text says.",
        "Students relied on their own world knowledge instead of the text.",
    ),
)


def test_paraphrases_with_words_in_common_are_one_group_each() -> None:
    found = groups({text: 1 for alike in PARAPHRASED for text in alike})
    assert {frozenset(group) for group in found} == {frozenset(alike) for alike in PARAPHRASED}


def test_a_groups_first_text_is_the_one_nearest_to_all_that_were_given() -> None:
    alike = {"red green blue": 1, "red green": 1, "green blue": 1}
    assert groups(alike)[0][0] == "red green blue"
    assert groups(alike | {"red green": 9})[0][0] == "red green"


def test_endings_and_empty_words_tell_no_text_from_another() -> None:
    assert content("The negations are overlooked!") == content("overlooking, a negation")


def test_texts_in_which_no_word_says_anything_stay_apart() -> None:
    assert groups({}) == []
    assert groups({"?": 1}) == [["?"]]
    assert sorted(groups({"!": 1, "the": 2, "": 1})) == [[""], ["!"], ["the"]]


@given(st.lists(st.text("ab cde", max_size=12), unique=True, max_size=12), st.randoms(use_true_random=False))
def test_every_text_is_in_one_group_in_whatever_order_they_come(texts: list[str], draw: random.Random) -> None:
    found = groups(dict.fromkeys(texts, 1))
    assert sorted(text for group in found for text in group) == sorted(texts)
    draw.shuffle(texts)
    assert groups(dict.fromkeys(texts, 1)) == found


# --- whole classes --------------------------------------------------------------------------------------


def course(played: Played) -> ArmRun:
    iteration = played.level.outcome().iteration
    assert iteration is not None
    return iteration.courses[0]


@pytest.mark.parametrize("say", [answer, able])
def test_a_course_knows_the_teachers_answers_with_its_first_and_last_best_set(say: Callable[[Request], Result]) -> None:
    played = Played(level(of=bank(train=60)), say)
    one = course(played)
    assert set(one.own) == {one.rounds[0].selected[0], one.rounds[-1].selected[0]}
    for key, own in one.own.items():
        wrong = {r.ep for r in played.of("score", "exam") if r.to == "teacher" and r.tr == key
                 and played.results[r.id].answer != ("yes", "no")[int(r.ep.split("-")[1]) % 2]}  # fmt: skip
        assert set(own.wrong) == wrong
        assert len(own.right) == one.train[key].true_positive + one.train[key].true_negative
        assert len(own.right) + len(own.wrong) == one.train[key].n


@pytest.mark.parametrize("score_items", [4, 30])
def test_errors_are_told_of_items_that_both_students_and_teacher_were_asked(score_items: int) -> None:
    played = Played(level(scenario(score_items=score_items), bank(train=60)), able)
    asked = {item for round in course(played).rounds for item in round.items}
    assert asked == {request.ep for request in played.of("exam")}
    scored = {request.ep for request in played.of("score")}
    assert len(scored) == score_items
    assert own_errors([course(played)]).items <= len(scored & asked)


@pytest.mark.parametrize("seed", range(3))
def test_reasons_and_errors_know_no_order_of_arrival(seed: int) -> None:
    def told(order: random.Random | None) -> object:
        found = summarize_rounds(Played(level(scenario(repeats=2)), order=order).level.outcome().iteration)
        return found.reasons, found.own_errors

    assert told(random.Random(seed)) == told(None)
