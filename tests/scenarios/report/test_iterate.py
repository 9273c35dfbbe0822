"""The level-3 part of the summary: a class worked out by hand, and whole classes."""

import json

import msgspec
import pytest

from broker.work_messages import Exemplar
from scenarios.records.confusion import Confusion
from scenarios.records.iterate import (
    ArmRun,
    BestAfter,
    ExemplarSet,
    FailureCase,
    IterateRoundRecord,
    Iteration,
    OwnAnswers,
    Revision,
)
from scenarios.report.iterate import IterateSummary, summarize_rounds
from scenarios.report.iterate_arms import Mean
from scenarios.report.iterate_tables import round_tables
from scenarios.report.unimproved import Unimproved
from scenarios.scoring.attribution import effects, lineage
from tests.printing import printed
from tests.scenarios.levels.iterated import Played, level, scenario


def right(count: int) -> Confusion:
    """Of 10 positive and 10 negative items, so many of each: F1 and accuracy are count / 10."""
    return Confusion(count, 10 - count, 10 - count, count)


SETS = {name: ExemplarSet((Exemplar(f"text {name}", "why", "Yes"),), "revision", name) for name in "abcdef"}
ADA, BOB = FailureCase("i1", "ada", "exam1"), FailureCase("i2", "bob", "exam2")
AGAIN = FailureCase("i3", "ada", "exam3")
START = IterateRoundRecord(
    0,
    (),
    {},
    (Revision("r0", "", made="a"), Revision("r1", "", dropped="count", repaired="form")),
    0,
    {},
    ("a",),
    ("a",),
)
FIRST = IterateRoundRecord(
    1,
    ("a",),
    {"a": {"ada": right(4), "bob": Confusion(1, 0, 1, 0, 1)}},
    (
        Revision("r2", "a", (ADA, BOB), ("They overlook the negation.",), made="b"),
        Revision("r3", "a", (ADA, BOB), ("They overlook the negation.",), made="a"),
        Revision("r4", "a", (AGAIN,), ("The negations are overlooked!", "Texts are long."), made="c"),
    ),
    2,
    {"form": 1},
    ("a", "b", "c"),
    ("b", "a"),
)
SECOND = IterateRoundRecord(
    2,
    ("b", "a"),
    {"b": {"ada": right(5)}, "a": {"ada": right(3)}},
    (Revision("r5", "b", (AGAIN,), ("Texts are long.",), made="d"), Revision("r6", "b", (AGAIN,), (), made="d")),
    1,
    {},
    ("b", "a", "d"),
    ("d", "b"),
)
COURSE = ArmRun(
    "class",
    0,
    (START, FIRST, SECOND),
    SETS,
    {"a": right(4), "b": right(6), "c": right(2), "d": right(9)},
    {"a": right(5), "b": right(4), "d": right(7)},
    requests=100,
)


def test_a_round_tells_f1_of_teacher_and_students_and_the_best_exemplars() -> None:
    rounds = summarize_rounds(Iteration((COURSE,))).rounds
    assert [one.round for one in rounds] == [0, 1, 2]
    assert [one.teacher_f1_train for one in rounds] == [0.4, 0.6, 0.9]
    assert [one.teacher_f1_test for one in rounds] == [0.5, 0.4, 0.7]
    assert rounds[1].students == {"ada": 0.4, "bob": 2 / 3}
    assert rounds[2].students == {"ada": 0.4}  # 5 and 3 of 10, together
    assert rounds[1].student_answers["bob"].neither_share == 0.5
    assert [(one.text, one.answer, one.reason) for one in rounds[2].exemplars] == [("text d", "Yes", "why")]
    assert [(one.key, one.kept, one.parents) for one in rounds[1].sets] == [
        ("a", True, ["a"]), ("b", True, ["a"]), ("c", False, ["a"]),
    ]  # fmt: skip
    assert rounds[1].sets[2].held_out is None
    assert (rounds[0].dropped, rounds[0].repaired) == ({"count": 1}, {"form": 1})
    assert (rounds[1].dropped_reflections, rounds[1].reflections) == ({"form": 1}, 2)
    assert [one.repeated for one in rounds] == [0, 1, 1]


def test_revisions_and_their_gains_belong_to_the_students_whose_failures_were_shown() -> None:
    ada, bob = effects([COURSE])
    assert (ada.name, ada.failures, bob.failures) == ("ada", 2, 1)
    # r2 and r3 half each, r4, r5, r6 wholly.
    assert (ada.revisions, bob.revisions) == (4.0, 1.0)
    # b (half) and d (once, though it came twice); a was there before.
    assert (ada.kept, bob.kept) == (1.5, 0.5)
    assert ada.gain_train == pytest.approx(0.5 * 0.2 + 0.3)
    assert bob.gain_train == pytest.approx(0.1)
    # The way to the last best set: d from b, b from a.
    assert (ada.in_final, bob.in_final) == (1.5, 0.5)
    assert ada.final_gain_train == pytest.approx(0.4)
    assert ada.final_gain_test == pytest.approx(0.5 * -0.1 + 0.3)
    assert bob.final_gain_test == pytest.approx(-0.05)


def test_the_gains_on_the_way_add_up_to_the_teachers() -> None:
    found = effects([COURSE])
    assert sum(one.final_gain_train for one in found) == pytest.approx(0.9 - 0.4)
    assert sum(one.final_gain_test or 0 for one in found) == pytest.approx(0.7 - 0.5)


def test_the_way_to_a_set_goes_over_what_it_was_revised_from() -> None:
    assert [(number, one.request) for number, one in lineage(COURSE.rounds, "d")] == [(2, "r5"), (1, "r2"), (0, "r0")]
    assert lineage(COURSE.rounds, "") == []


def test_a_mean_has_an_interval_from_two_runs_on() -> None:
    assert Mean.of([None]) == Mean(None, None, 0)
    assert Mean.of([0.5, None]) == Mean(0.5, None, 1)
    found = Mean.of([0.5, 0.6, 0.7])
    assert found.mean == pytest.approx(0.6)
    assert found.ci95 == pytest.approx((0.6 - 4.302653 * 0.1 / 3**0.5, 0.6 + 4.302653 * 0.1 / 3**0.5))


def summary(played: Played) -> IterateSummary:
    return summarize_rounds(played.level.outcome().iteration)


def text_of(told: IterateSummary) -> str:
    return printed(*round_tables(told))


@pytest.mark.parametrize("most", [0, 5, 60, 150, 10_000])
def test_a_class_can_be_summed_up_and_printed_at_any_time(most: int) -> None:
    told = summary(Played(level(scenario(baselines=("random", "self", "search"), repeats=2)), most=most))
    assert msgspec.json.decode(msgspec.json.encode(told), type=IterateSummary) == told
    text = text_of(told)
    assert ("Teacher and students by round" in text) == bool(told.rounds)
    assert max(map(len, text.splitlines()), default=0) <= 80


def test_where_no_set_was_kept_that_is_said() -> None:
    told = summary(Played(level(scenario())))
    last = msgspec.structs.replace(told.rounds[-1], exemplars=[])
    text = text_of(msgspec.structs.replace(told, rounds=[last]))
    assert "No set was kept" in text
    assert "last best set\n" not in text


def test_baselines_stand_beside_the_class_over_all_runs() -> None:
    told = summary(Played(level(scenario(baselines=("random", "self", "search"), repeats=3))))
    assert [one.name for one in told.arms] == ["start", "class", "self", "random", "search"]
    start, own, _, drawn, search = told.arms
    assert {one.teacher_f1_train.n for one in told.arms} == {3}
    assert drawn.sets <= own.sets
    assert own.requests is not None
    assert search.requests is not None
    assert own.requests <= search.requests <= own.requests + 2 * (1 + 10)
    assert start.teacher_f1_train.mean == told.by_round[0].teacher_f1_train.mean
    assert own.teacher_f1_test.mean == told.by_round[-1].teacher_f1_test.mean
    assert json.loads(msgspec.json.encode(told))["by_round"][0]["round"] == 0


def test_without_level_3_there_is_nothing() -> None:
    assert summarize_rounds(None) == IterateSummary()
    assert round_tables(IterateSummary()) == []


def test_what_students_could_not_decide_is_that_of_all_rounds() -> None:
    other = IterateRoundRecord(2, ("a",), {"a": {"bob": Confusion(1, 0, 3, 0, 3)}}, (), 0, {}, ("a",), ("a",))
    told = summarize_rounds(Iteration((msgspec.structs.replace(COURSE, rounds=(START, FIRST, other)),)))
    # Of bob's 2 answers in round 1 one is neither, of his 4 in round 2 three are.
    assert "in all rounds: bob 66.7 %." in " ".join(text_of(told).split())


def test_where_the_teacher_made_no_error_there_is_no_share_of_them() -> None:
    told = summarize_rounds(Iteration((COURSE,)))
    assert told.reasons and not told.own_errors.errors
    (line,) = [line for line in text_of(told).splitlines() if line.startswith("all errors")]
    assert "100 %" not in line and "-" in line.split()


# --- equal numbers of requests --------------------------------------------------------------------------


def half(correct: int) -> OwnAnswers:
    """Of 10 positive and 10 negative items, so many of each right, as `right` counts them."""
    items = [f"{part}{n}" for part in "yn" for n in range(10)]
    return OwnAnswers.of((item, int(item[1:]) < correct) for item in items)


def test_arms_are_compared_at_the_largest_number_of_requests_that_all_reached() -> None:
    own = msgspec.structs.replace(
        COURSE,
        progress=(BestAfter(20, "a"), BestAfter(60, "b"), BestAfter(100, "d")),
        held_out_own={"a": half(5), "b": half(4), "d": half(7)},
    )
    only = IterateRoundRecord(0, (), {}, (), 0, {}, ("e", "f"), ("f",))
    drawn = ArmRun(
        "random", 0, (only,), {}, {"e": right(8), "f": right(9)}, {"e": right(6), "f": right(8)}, 70,
        held_out_own={"e": half(6), "f": half(8)}, progress=(BestAfter(35, "e"), BestAfter(70, "f")),
    )  # fmt: skip
    told = summarize_rounds(Iteration((own, drawn), positive=frozenset(f"y{n}" for n in range(10))))
    assert told.equal_requests is not None
    assert told.equal_requests.requests == [70]
    assert [(one.name, one.requests, one.teacher_f1_train.mean, one.teacher_f1_test.mean)
            for one in told.equal_requests.arms] == [("class", 60, 0.6, 0.4), ("random", 70, 0.9, 0.8)]  # fmt: skip
    assert [(one.b, one.at, one.n, one.wins, one.losses) for one in told.comparisons] == [
        ("random", "equal_requests", 20, 0, 8), ("start", "end", 20, 4, 0), ("random", "end", 20, 0, 2)
    ]  # fmt: skip
    assert [one.difference for one in told.comparisons] == pytest.approx([-0.4, 0.2, -0.1])
    text = text_of(told)
    assert "The same at equal numbers of requests: 70\n" in text
    (line,) = [line for line in text.splitlines() if line.startswith("random ") and " 70 " in line and "%" in line
               and "-40.0" in line]  # fmt: skip
    assert "80.0 %" in line


def test_of_one_arm_there_is_nothing_to_compare_at_equal_requests() -> None:
    told = summary(Played(level(scenario())))
    assert told.equal_requests is None
    assert {(one.b, one.at) for one in told.comparisons} == {("start", "end")}
    assert "equal numbers" not in text_of(told)


# --- why nothing improved -------------------------------------------------------------------------------


def why(
    first_round: IterateRoundRecord, train: dict[str, Confusion], held_out: dict[str, Confusion]
) -> Unimproved | None:
    start = msgspec.structs.replace(START, revisions=())
    return summarize_rounds(
        Iteration((ArmRun("class", 0, (start, first_round), SETS, train, held_out, 50),))
    ).unimproved


def a_round(
    revisions: tuple[Revision, ...], scored: tuple[str, ...], best: str, dropped: dict[str, int] | None = None
) -> IterateRoundRecord:
    return IterateRoundRecord(1, ("a",), {"a": {"ada": right(4)}}, revisions, 0, dropped or {}, scored, (best,))


def test_where_nothing_improved_the_cause_is_named() -> None:
    same, made = {"a": right(5)}, Revision("r", "a", (ADA,), ("why",), made="b")
    refused = Revision("q", "a", (ADA,), ("why",), dropped="form")
    worse = {"a": right(5), "b": right(3)}
    better = {"a": right(5), "b": right(7)}
    cases = [
        (a_round((), ("a",), "a"), same, same, "no mistakes", "no mistakes to learn from"),
        (a_round((), ("a",), "a", {"form": 2}), same, same, "no reasons", "2 reflections had a reason in it (form: 2)"),
        (a_round((refused, refused), ("a",), "a"), same, same, "refused", "2 sets asked for could be used (form: 2)"),
        (
            a_round((msgspec.structs.replace(made, made="a"),), ("a",), "a"),
            same,
            same,
            "repeated",
            "was there already",
        ),
        (
            a_round((made, refused), ("a", "b"), "a"),
            worse,
            same,
            "none better in training",
            "of 1 new set (1 other could not be used), 0 had a higher F1",
        ),
        (
            a_round((made,), ("a", "b"), "b"),
            better,
            worse,
            "training only",
            "from 50.0 % to 70.0 % on training items, by which sets are kept, but on held-out items it went from "
            "50.0 % to 30.0 %",
        ),
    ]
    for round, train, held_out, cause, words in cases:
        found = why(round, train, held_out)
        assert found is not None
        assert found.cause == cause
        assert words in found.sentence
    unkept = msgspec.structs.replace(START, selected=())
    found = summarize_rounds(Iteration((ArmRun("class", 0, (unkept,), SETS, {}, {}, 5),))).unimproved
    assert found is not None
    assert found.cause == "none kept"


def test_where_held_out_f1_rose_or_is_not_known_nothing_has_to_be_explained() -> None:
    made = Revision("r", "a", (ADA,), ("why",), made="b")
    better = {"a": right(5), "b": right(7)}
    assert why(a_round((made,), ("a", "b"), "b"), better, better) is None
    assert why(a_round((made,), ("a", "b"), "b"), better, {"a": right(5)}) is None
    assert summarize_rounds(Iteration()).unimproved is None
    assert summarize_rounds(Iteration((COURSE,))).unimproved is None
