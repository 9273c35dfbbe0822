"""Level 3 as lists of requests and answers: what is asked of whom, what is kept, and that no order matters."""

import random
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import TaskError
from broker.work_messages import Examine, Exemplar, Sampling
from scenarios.levels.base import Request, Result
from scenarios.levels.iterate.level import IterateLevel
from scenarios.levels.iterate.search import Search, SearchMaterial
from scenarios.levels.replay import replay
from scenarios.records.iterate import ArmRun, Iteration
from scenarios.scoring.equal_requests import best_within, common_requests
from scenarios.store.rows import Record
from scenarios.tasks.problems import Bank, Problem
from tests.scenarios.levels.iterated import SMALL, STUDENTS, Played, a_set, able, answer, bank, level, scenario

ALL: dict[str, Any] = {"baselines": ("random", "self", "search"), "repeats": 2}


def iteration(one: IterateLevel) -> Iteration:
    found = one.outcome().iteration
    assert found is not None
    return found


def course(one: IterateLevel) -> ArmRun:
    return iteration(one).courses[0]


# --- the rounds -----------------------------------------------------------------------------------------


def test_the_number_of_requests_follows_from_the_settings() -> None:
    played = Played(level(of=bank(train=60)), able)
    beam, rounds, students = SMALL["beam"], SMALL["rounds"], len(STUDENTS)
    sets = beam + rounds * beam * SMALL["revisions"]
    asked = Counter(request.stage for request in played.asked.values())
    assert asked["exam"] == rounds * beam * SMALL["minibatch"] * students
    assert asked["reflect"] == rounds * beam * SMALL["reflections"]
    assert asked["write"] == sets
    assert asked["score"] == sets * SMALL["score_items"]
    assert asked["test"] % 10 == 0
    assert played.level.finished
    assert played.level.totals() == asked
    assert [len(round.taught) for round in course(played.level).rounds] == [0, beam, beam]


def test_one_minibatch_serves_all_students_and_sets_of_a_round_and_the_next_round_has_another() -> None:
    played = Played(level(of=bank(train=60)), able)
    drawn = [{r.ep for r in played.of("exam") if r.round == number} for number in (1, 2)]
    assert [len(items) for items in drawn] == [6, 6]
    assert drawn[0] != drawn[1]
    sat = Counter((r.to, r.tr, r.round) for r in played.of("exam"))
    assert set(sat.values()) == {6}
    assert {r.to for r in played.of("exam")} == set(STUDENTS)
    assert {r.to for r in played.of("score", "test", "write", "reflect")} == {"teacher"}


def test_the_teacher_is_shown_the_students_wrong_answers_to_this_set_and_no_gold_answer() -> None:
    played = Played(level())
    assert played.reflections
    for reflect in played.reflections:
        assert 0 < len(reflect.mistakes) <= SMALL["mistakes"]
        for mistake in reflect.mistakes:
            number = int(mistake.problem.split()[1])
            gold = ("yes", "no")[number % 2]
            assert mistake.problem.endswith("of train")
            assert mistake.rationale in {"hm None", f"hm { ({'yes': 'no', 'no': 'yes'}[gold]) }"}
            assert mistake.student in STUDENTS
    wrong = {r.id for r in played.of("exam") if played.results[r.id].answer != ("yes", "no")[int(r.ep[6:]) % 2]}
    for round in course(played.level).rounds:
        for revision in round.revisions:
            assert {case.exam for case in revision.failures} <= wrong
            assert {played.asked[case.exam].tr for case in revision.failures} <= {revision.parent}


def test_an_exam_shows_the_set_and_the_task_and_no_gold_answer() -> None:
    played = Played(level(scenario(start="training")))
    exam = next(m for m in played.messages.values() if isinstance(m, Examine))
    assert exam.task == "Is it so?"
    assert len(exam.material) == 4
    assert {one.answer for one in exam.material} == {"Yes", "No"}
    assert set(Examine.__struct_fields__) & {"answer", "gold", "label"} == set()


def test_an_item_is_never_asked_with_a_set_that_holds_it() -> None:
    played = Played(level(scenario(start="training")))
    for message in played.messages.values():
        if isinstance(message, Examine):
            assert message.problem not in {one.problem for one in message.material}


def test_random_sets_are_half_positive_and_of_training_items() -> None:
    started = course(Played(level(scenario(start="training"))).level)
    for key in started.rounds[0].scored:
        drawn = started.sets[key]
        assert drawn.origin == "training"
        assert Counter(one.answer for one in drawn.exemplars) == {"Yes": 2, "No": 2}
        assert all(one.problem.endswith("of train") for one in drawn.exemplars)


def test_a_revision_uses_one_reflection_or_with_mix_all_of_its_set() -> None:
    apart = Played(level(of=bank(train=60)), able)
    mixed = Played(level(scenario(mix=True), bank(train=60)), able)
    written = [one for one in apart.revisions if one.material]
    assert {len(one.mistakes) for one in written} == {2}
    assert {len(one.mistakes) for one in mixed.revisions if one.material} == {4}
    # Three revisions from two reflections: the first is used twice.
    by_set = Counter((one.material, one.mistakes) for one in written)
    assert sorted(Counter(by_set.values()).items()) == [(1, 4), (2, 4)]


# --- what is kept ---------------------------------------------------------------------------------------


def test_the_best_sets_by_the_teachers_own_training_items_are_kept() -> None:
    played = Played(level(of=bank(train=60)), able)
    found = course(played.level)
    for round in found.rounds:
        kept = [found.train[key].f1 or 0 for key in round.selected]
        others = [found.train[key].f1 or 0 for key in round.scored if key not in round.selected]
        assert kept == sorted(kept, reverse=True)
        assert min(kept) >= max(others, default=0)


def test_held_out_answers_change_nothing_of_what_is_asked_or_kept() -> None:
    """The same class, with the teacher brilliant, hopeless or broken on held-out items."""

    def on_held_out(text: str | None, failed: str = "") -> Played:
        def say(request: Request) -> Result:
            if request.stage != "test":
                return answer(request)
            return Result(request.id, "", text, False, failed=failed)

        return Played(level(), say)

    first, *others = (on_held_out("yes"), on_held_out("no"), on_held_out(None, "engine"))
    for other in others:
        assert other.asked.keys() == first.asked.keys()
        assert [r.selected for r in course(other.level).rounds] == [r.selected for r in course(first.level).rounds]
        assert course(other.level).train == course(first.level).train
        assert course(other.level).held_out != course(first.level).held_out


def test_a_search_holds_no_answers_to_held_out_items() -> None:
    """Selection happens in a Search, and what a Search is given to learn from has training items and bare texts."""
    assert get_type_hints(SearchMaterial) == {"train": tuple[Problem, ...], "held_out": frozenset[str]}
    one = level()
    labelled = bank().labelled
    assert labelled is not None
    held = {item.id for item in (*labelled.dev, *labelled.test)}
    one.begin()
    (search,) = (value for value in vars(one)["_searches"] if isinstance(value, Search))
    assert {item.id for item in search._train} & held == set()


def test_held_out_exams_of_a_round_are_asked_once_its_selection_is_over() -> None:
    one = level(of=bank(train=60))
    waiting = list(one.begin().requests)
    while waiting:
        request = waiting.pop(0)
        if request.stage == "test":
            best = {round.selected[0] for round in course(one).rounds}
            # At the end, also what the last best set came from.
            assert request.tr in best or len(course(one).rounds) == 3
        waiting += one.receive(able(request)).requests


# --- nothing twice, no order, resume --------------------------------------------------------------------


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_no_order_of_arrival_changes_anything(seed: int) -> None:
    straight, shuffled = (Played(level(scenario(**ALL)), order=order) for order in (None, random.Random(seed)))
    assert shuffled.asked.keys() == straight.asked.keys()
    assert shuffled.messages == straight.messages
    assert shuffled.level.outcome() == straight.level.outcome()
    assert sorted(shuffled.news, key=repr) == sorted(straight.news, key=repr)


@pytest.mark.parametrize("most", [0, 3, 30, 80, 150, 10_000])
def test_a_resumed_class_continues_where_it_stopped(most: int) -> None:
    whole = Played(level(scenario(**ALL)))
    part = Played(level(scenario(**ALL)), order=random.Random(most), most=most)
    fresh = level(scenario(**ALL))

    def find(id: str) -> Record | None:
        if id not in part.results:
            return None
        request, result = part.asked[id], part.results[id]
        return Record(
            request_id=id, kind=request.kind, agent=request.to, stage=request.stage, tp="",
            text=result.text, answer=result.answer, correct=False,
        )  # fmt: skip

    step, reused = replay(fresh, fresh.begin(), lambda ids: {id: one for id in ids if (one := find(id))})
    assert reused == len(part.results)
    due = list(step.requests)
    assert not {request.id for request in due} & part.results.keys()
    while due:
        due += fresh.receive(answer(due.pop())).requests
    assert fresh.outcome() == whole.level.outcome()


def test_a_set_that_is_written_twice_is_examined_once() -> None:
    """`Played` refuses any id that comes twice; here the sets do come twice, within rounds and between them."""
    few = [a_set(random.Random(n), 4) for n in range(3)]

    def say(request: Request) -> Result:
        if request.kind == "Revise":
            return Result(request.id, few[int(request.id, 16) % 3], None, False)
        return answer(request)

    played = Played(level(), say)
    assert len(course(played.level).sets) <= 3
    assert len(played.of("score")) == len(course(played.level).sets) * SMALL["score_items"]


def test_a_teacher_that_is_its_own_student_answers_its_own_exam_once() -> None:
    played = Played(level(scenario((), itself=True)), able)
    answered = Counter((r.tr, r.ep) for r in played.of("exam", "score"))
    assert set(answered.values()) == {1}
    students = [set(by) for round in course(played.level).rounds for by in round.students.values()]
    assert students == [{"teacher"}] * 4


def test_identical_students_share_a_greedy_answer_and_draw_their_own_otherwise() -> None:
    greedy = Played(level(identical=("ada", "bob")), able)
    assert {r.to for r in greedy.of("exam")} == {"ada"}
    for by in (by for round in course(greedy.level).rounds for by in round.students.values()):
        assert by["ada"] == by["bob"]
    warm = scenario(answering=Sampling(temperature=0.7))
    sampled = Played(level(warm, identical=("ada", "bob")), able)
    assert {(r.to, r.repeat) for r in sampled.of("exam")} == {("ada", 0), ("bob", 1)}


def test_ids_do_not_depend_on_round_and_stage() -> None:
    """The same question in another round of another class is the same request."""
    one, other = Played(level()), Played(level(scenario(rounds=1, baselines=("self",))))
    shared = one.asked.keys() & other.asked.keys()
    assert len(shared) > 50
    assert {(one.asked[id].tr, one.asked[id].ep) == (other.asked[id].tr, other.asked[id].ep) for id in shared} == {True}


# --- texts that cannot be used, and requests that fail --------------------------------------------------


def test_a_set_that_cannot_be_used_is_asked_for_once_more_with_what_was_wrong_and_then_dropped() -> None:
    bad = "Example 1\nText: alone\nAnswer: Yes"

    def say(request: Request) -> Result:
        return Result(request.id, bad, None, False) if request.kind == "Revise" else able(request)

    played = Played(level(), say)
    again = [one for one in played.revisions if one.complaint]
    assert len(again) * 2 == len(played.revisions)
    assert {one.previous for one in again} == {bad}
    assert {one.complaint for one in again} == {"There must be 4 examples, and there are 1."}
    rounds = course(played.level).rounds
    assert {(r.dropped, r.repaired, r.made) for one in rounds for r in one.revisions} == {("count", "count", "")}
    # Nothing written could be used: the class began with training items, and stayed with them.
    assert {one.origin for one in course(played.level).sets.values()} == {"training"}
    assert len(rounds) == 3
    assert set(rounds[2].selected) == set(rounds[0].scored)


def test_a_repaired_set_counts_as_one() -> None:
    def say(request: Request) -> Result:
        message = played_level.message(request, lambda id: "bad")
        if request.kind == "Revise" and not getattr(message, "complaint", ""):
            return Result(request.id, "bad", None, False)
        return able(request)

    played_level = level()
    played = Played(played_level, say)
    assert {(r.dropped, r.repaired) for one in course(played.level).rounds for r in one.revisions} == {("", "form")}


def test_a_set_with_a_text_of_the_held_out_part_is_refused() -> None:
    def say(request: Request) -> Result:
        said = able(request)
        if request.kind == "Revise":
            return Result(
                request.id, said.text.replace(f"Text: 0 of {request.id}", "Text: TEXT 1  of test"), None, False
            )
        return said

    played = Played(level(), say)
    causes = {r.dropped for one in course(played.level).rounds for r in one.revisions}
    assert causes == {"held out"}


def test_a_reflection_without_a_reason_is_asked_for_again_and_then_dropped() -> None:
    def say(request: Request) -> Result:
        return Result(request.id, "who knows", None, False) if request.kind == "Reflect" else able(request)

    played = Played(level(), say)
    rounds = course(played.level).rounds
    assert [one.dropped_reflections for one in rounds] == [{}, {"form": 4}, {"form": 4}]
    assert [one.reflections for one in rounds] == [0, 0, 0]
    assert [len(one.revisions) for one in rounds] == [2, 0, 0]
    assert played.level.finished


def test_without_mistakes_nothing_is_revised_and_the_class_completes() -> None:
    def say(request: Request) -> Result:
        if request.kind != "Examine":
            return able(request)
        return Result(request.id, "", ("yes", "no")[int(request.ep.split("-")[1]) % 2], True)

    played = Played(level(), say)
    assert played.level.finished
    assert not played.reflections
    assert course(played.level).train[course(played.level).rounds[-1].selected[0]].f1 == 1.0


def test_a_set_with_too_few_answers_is_not_kept() -> None:
    played = Played(level(of=bank(train=60)), able)
    best = course(played.level).rounds[0].selected[0]

    def say(request: Request) -> Result:
        if request.stage == "score" and request.tr == best and int(request.id, 16) % 2:
            return Result(request.id, "", None, False, failed="engine")
        return able(request)

    again = Played(level(of=bank(train=60)), say)
    assert all(best not in round.selected for round in course(again.level).rounds)
    assert again.level.finished


def test_a_class_in_which_everything_fails_ends() -> None:
    played = Played(level(scenario(**ALL)), lambda request: Result(request.id, "", None, False, failed="engine"))
    assert played.level.finished
    assert all(not round.selected for one in iteration(played.level).courses for round in one.rounds)


def test_failed_requests_that_are_retried_are_asked_as_new_repeats() -> None:
    def say(request: Request) -> Result:
        fails = int(request.id, 16) % 5 == 0
        return Result(request.id, "", None, False, failed="engine") if fails else answer(request)

    first = Played(level(), say)
    failed = frozenset(id for id, result in first.results.items() if result.failed)
    again = Played(level(retried=failed))
    assert not failed & again.asked.keys()


def test_answers_that_are_neither_yes_nor_no_are_wrong_and_counted() -> None:
    def say(request: Request) -> Result:
        if request.to == "ada" and request.kind == "Examine":
            return Result(request.id, "perhaps", None, False)
        return able(request)

    played = Played(level(), say)
    for by in (by for round in course(played.level).rounds for by in round.students.values()):
        assert by["ada"].neither == by["ada"].n
        assert by["ada"].f1 == 0.0
    assert {"perhaps"} <= {m.rationale for one in played.reflections for m in one.mistakes}


def test_a_round_records_which_items_each_student_answered_right() -> None:
    """Failed requests are no answers."""

    def say(request: Request) -> Result:
        fails = request.kind == "Examine" and random.Random(request.id).random() < 0.2
        return Result(request.id, "", None, False, failed="engine") if fails else able(request)

    played = Played(level(), say)
    rounds = course(played.level).rounds[1:]
    for round in rounds:
        assert round.answers.keys() == round.students.keys()
        for key, students in round.students.items():
            for name, counted in students.items():
                own = round.answers[key][name]
                assert (len(own.right), len(own.right) + len(own.wrong)) == (counted.right, counted.n)
                assert {*own.right, *own.wrong} <= set(round.items)
    assert sum(counted.n for round in rounds for by in round.students.values() for counted in by.values())


def test_the_teacher_gets_feedback_on_its_sets() -> None:
    played = Played(level(), able)
    taught = {key for round in course(played.level).rounds for key in round.taught}
    assert {told.feedback.about for told in played.feedback} == taught
    assert {told.to for told in played.feedback} == {"teacher"}
    assert all(set(told.feedback.lbt_scores) == set(STUDENTS) for told in played.feedback)


def test_a_bank_without_labelled_items_is_refused() -> None:
    with pytest.raises(TaskError, match="labelled"):
        level(of=Bank("none", (), (Exemplar("a", "b"),)))


def test_answers_are_counted_once_by_agent_and_stage_and_shared_ones_by_the_agent_that_gave_them() -> None:
    played = Played(level(scenario(baselines=("self",)), identical=("ada", "teacher")))
    told = {(one.agent, one.stage): one for one in iteration(played.level).answers}
    assert set(told) == {(who, "exam") for who in ("ada", "bob", "teacher")} | {
        ("teacher", "score"),
        ("teacher", "test"),
    }
    asked = Counter((r.to, r.stage) for r in played.asked.values() if r.kind == "Examine")
    unparsable = Counter(
        (r.to, r.stage) for id, r in played.asked.items() if r.kind == "Examine" and played.results[id].answer is None
    )
    bob = told["bob", "exam"]
    assert (bob.n, bob.unparsable, bob.shared) == (asked["bob", "exam"], unparsable["bob", "exam"], {})
    # ada and the teacher are identical: an answer of one is also that of the other.
    assert told["ada", "exam"].n == bob.n
    assert told["ada", "exam"].shared == {"teacher": bob.n - asked["ada", "exam"]}
    assert told["teacher", "test"].n == asked["teacher", "test"]


def test_a_step_names_the_arm_run_and_round_of_shared_requests_too() -> None:
    one = level(scenario(baselines=("self",)), identical=("ada", "teacher"))
    wanted: set[tuple[str, int, int, str, str]] = set()
    step, waiting = one.begin(), list[Request]()
    while True:
        wanted |= {(r.arm, r.run, r.round, r.to, r.ep) for r in (*step.requests, *step.shared) if r.stage == "exam"}
        waiting += step.requests
        if not waiting:
            break
        step = one.receive(answer(waiting.pop(0)))
    for course in iteration(one).courses:
        for round in course.rounds[1:]:
            for name in {name for by in round.students.values() for name in by}:
                items = {item for arm, run, number, to, item in wanted
                         if (arm, run, number, to) == (course.arm, course.run, round.number, name)}  # fmt: skip
                assert items <= set(round.items), "a minibatch is that of its round"
                assert items


# --- equal numbers of requests --------------------------------------------------------------------------


def sure_teacher(request: Request) -> Result:
    """A teacher that answers everything right; students guess."""
    if request.kind == "Examine" and request.to == "teacher":
        return Result(request.id, "hm", ("yes", "no")[int(request.ep.split("-")[1]) % 2], False)
    return able(request)


@pytest.mark.parametrize("say", [answer, able, sure_teacher])
def test_every_arm_has_a_best_set_examined_on_held_out_items_at_the_same_number_of_requests(
    say: Callable[[Request], Result],
) -> None:
    found = iteration(Played(level(scenario(**ALL), bank(train=40)), say).level)
    for run in (0, 1):
        arms = {one.arm: one for one in found.courses if one.run == run}
        common = common_requests([one.progress for one in arms.values()])
        assert common == min(one.requests for one in arms.values())
        for one in arms.values():
            state = best_within(one.progress, common)
            assert state is not None
            assert state.key in one.held_out
            assert state.requests <= common
    if say is sure_teacher:  # it learns from no mistakes of its own: random sets go on for longer
        assert len({arm.progress[-1].requests for arm in arms.values()}) > 1
        assert best_within(arms["random"].progress, common) != arms["random"].progress[-1]


def test_the_best_set_so_far_is_kept_after_each_round_and_of_random_sets_after_each_set() -> None:
    found = iteration(Played(level(scenario(**ALL), bank(train=40)), able).level)
    for one in found.courses:
        counts = [state.requests for state in one.progress]
        assert counts == sorted(counts)
        assert counts[-1] == one.requests
        best = one.rounds[-1].selected[0]
        assert one.progress[-1].key == best
        if one.arm == "random":
            assert counts == list(accumulate(one.train[key].n for key in one.rounds[0].scored))
            sofar = [one.train[key].f1 or 0 for key in one.rounds[0].scored]
            assert [one.train[state.key].f1 for state in one.progress] == [
                max(sofar[: n + 1]) for n in range(len(sofar))
            ]
        else:
            assert [state.key for state in one.progress] == [round.selected[0] for round in one.rounds]


def test_held_out_answers_are_recorded_item_by_item() -> None:
    found = iteration(Played(level(scenario(**ALL)), answer).level)
    assert found.positive == {f"{name}-{n}" for name, size in (("dev", 4), ("test", 6)) for n in range(0, size, 2)}
    for one in found.courses:
        assert one.held_out_own.keys() == one.held_out.keys()
        for key, own in one.held_out_own.items():
            counts = one.held_out[key]
            assert len(found.positive & set(own.right)) == counts.true_positive
            assert len(found.positive & set(own.wrong)) == counts.false_negative
            assert len(own.right) == counts.right
            assert len(own.right) + len(own.wrong) == counts.n
