"""Level 2 as lists of stimuli and answers."""

import json
import random
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from broker.protocol import digest
from broker.work_messages import PreferencePair, Recipe, Sampling, Train
from scenarios.config.schema import Exam, Lesson, Scenario, Task
from scenarios.config.schema import Learn as LearnSection
from scenarios.levels import sequence
from scenarios.levels.base import Level, MessageWithFile, Outcome, Request, Result, Setup
from scenarios.levels.learn.level import LearnLevel
from scenarios.levels.learn.trainings import Trainings
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.replay import replay
from scenarios.levels.results import result_of
from scenarios.records.learn import LearnRoundRecord
from scenarios.store.rows import Record
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from tests.scenarios.levels import iterated
from tests.scenarios.levels.played import ANSWERERS, small_scenario

LEARN = LearnSection(held_out=2, samples=2, rationales=1)


def scenario(level: object = 2, **learn: object) -> Scenario:
    return small_scenario(
        level=level,
        seed=3,
        task=Task(family="x", problems=3),
        lesson=Lesson(rationales=4),
        exam=Exam(problems=2),
        learn=replace(LEARN, **learn),
    )


def problem(id: str) -> Problem:
    return Problem(id, f"text of {id}", "1", "number")


BANK = Bank(
    "made up",
    tuple(ProblemGroup(problem(f"tp{n}"), (problem(f"ep{n}0"), problem(f"ep{n}1"))) for n in range(3)),
    (),
    held_out=(problem("held0"), problem("held1")),
)


class Class:
    """The teacher, the students and the gradebook in one: answers what is asked, the same to the same."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.requests: dict[str, Request] = {}
        self.sent: dict[str, MessageWithFile] = {}
        """By request, of the trainings."""
        self.asked: list[Request] = []
        self.fails: Callable[[Request], bool] = lambda request: False

    def answer(self, request: Request) -> Result:
        """The new teachers are better than the original one, so that they write other TRs."""
        draw = random.Random(request.id)
        if self.fails(request):
            return Result(request.id, "", None, False, failed="engine")
        if request.kind == "Train":
            return Result(request.id, json.dumps({"pairs": 3, "steps": 1}), f"trained {request.id[:6]}", False)
        if request.kind == "Grade":
            return Result(request.id, "", None, False, score=-1.0 if request.weights else -1.5)
        text = f"way {draw.randrange(6)} by {request.weights}" if request.kind == "Teach" else request.id
        answer = None if draw.random() < 0.1 else "1"
        return Result(request.id, text, answer, draw.random() < 0.6, completion_tokens=5)

    def play(self, level: Level, order: random.Random | None = None, stop: int = -1) -> Outcome:
        """Answer everything that is due, in the order it came or in a random one; at most `stop` answers."""
        step, _ = replay(level, level.begin(), lambda ids: {id: self.records[id] for id in ids if id in self.records})
        due = list(step.requests)
        while due and stop:
            stop -= 1
            request = due.pop(order.randrange(len(due)) if order else 0)
            if request.kind == "Train":
                enclosed = level.message(request, self.text)
                assert isinstance(enclosed, MessageWithFile)
                self.sent[request.id] = enclosed
            else:
                assert level.message(request, self.text)
            self.asked.append(request)
            result = self.answer(request)
            assert request.id not in self.records, "asked twice"
            self.records[request.id] = record(request, result)
            more = list(level.receive(result).requests)
            while more:
                new = more.pop(0)
                if (known := self.records.get(new.id)) is None:
                    assert all(new.id != one.id for one in due), "asked twice"
                    due.append(new)
                else:
                    more += level.receive(result_of(known)).requests
        return level.outcome()

    def fail_first_training(self) -> list[str]:
        """Let the first training fail; returns the list that its request id will be in."""
        failed: list[str] = []

        def fails(request: Request) -> bool:
            if request.kind == "Train" and not failed:
                failed.append(request.id)
            return request.id in failed

        self.fails = fails
        return failed

    def text(self, id: str) -> str:
        return self.records[id].text


def record(request: Request, result: Result) -> Record:
    return Record(
        request_id=request.id,
        kind=request.kind,
        agent=request.to,
        stage=request.stage,
        tp=request.tp,
        text=result.text,
        answer=result.answer,
        failed=result.failed,
        correct=result.correct,
        completion_tokens=result.completion_tokens,
        score=result.score,
    )


def level(scenario: Scenario, retried: frozenset[str] = frozenset(), bank: Bank = BANK) -> Level:
    return sequence.make(Setup(scenario, bank, ANSWERERS, retried))


def pairs_of(enclosed: MessageWithFile) -> list[PreferencePair]:
    return [msgspec.json.decode(line, type=PreferencePair) for line in enclosed.content.splitlines()]


def stages(requests: list[Request]) -> Counter[str]:
    return Counter(request.stage for request in requests)


def test_a_round_is_a_class_of_level_1_then_trainings_then_a_measurement() -> None:
    school = Class()
    school.play(level(scenario()))
    order = list(dict.fromkeys(request.stage for request in school.asked))
    assert order == ["greedy", "teach", "measure", "exam", "train", "probe", "drift", "probe_exam"]
    counted = stages(school.asked)
    assert (counted["greedy"], counted["teach"], counted["train"]) == (3, 12, 3)
    assert counted["measure"] == 4 * 2 * (1 + 2)  # four teachers, two problems, greedy and two samples
    assert counted["probe"] == 3 * 3 * 1
    assert counted["drift"] == 3 * 2 * 3  # of three teachers a text on two problems, its likelihood, and the original's


def test_the_first_round_asks_what_level_1_asks() -> None:
    school, other = Class(), Class()
    school.play(level(scenario()))
    other.play(ObserveLevel(Setup(scenario(), BANK, ANSWERERS)))
    taught = {r.id for r in school.asked if r.stage in ("greedy", "teach", "exam")}
    assert taught == {r.id for r in other.asked}


def test_after_level_1_its_exams_are_the_first_rounds() -> None:
    school, other = Class(), Class()
    after = school.play(level(scenario((1, 2))))
    alone = other.play(level(scenario(2)))
    assert {r.id for r in school.asked} == {r.id for r in other.asked}
    assert (after.learnt, after.lessons, after.weights) == (alone.learnt, alone.lessons, alone.weights)
    assert {r.stage for r in school.asked if r.level == 1} == {"greedy", "teach", "exam"}


def test_trainings_wait_for_every_exam_and_for_the_original_teachers_measurement() -> None:
    school = Class()
    school.play(level(scenario()), random.Random(1))
    first = next(n for n, r in enumerate(school.asked) if r.stage == "train")
    assert all(r.stage in ("greedy", "teach", "exam", "measure") for r in school.asked[:first])
    assert all(r.stage not in ("greedy", "teach", "exam") for r in school.asked[first:])


def test_one_teacher_is_measured_after_the_other() -> None:
    school = Class()
    school.play(level(scenario()), random.Random(2))
    asked = [r.weights for r in school.asked if r.stage in ("measure", "probe", "drift")]
    changes = [a for a, b in zip(asked, [*asked[1:], "end"], strict=True) if a != b]
    assert len(changes) == 5, "the original, three others, and the original again on what they wrote"


def test_drift_is_of_texts_from_the_whole_distribution_under_both_weights() -> None:
    school = Class()
    outcome = school.play(level(scenario()))
    first, *others = outcome.learnt[0].measured
    assert first.drift == ()
    for measured in others:
        assert [(one.tp, one.own, one.original, one.tokens) for one in measured.drift] == [
            ("held0", -1.0, -1.5, 5), ("held1", -1.0, -1.5, 5),
        ]  # fmt: skip
    texts = [r for r in school.asked if r.stage == "drift" and r.kind == "Teach"]
    assert {(r.sampling.temperature, r.sampling.top_k, r.sampling.top_p) for r in texts} == {(1.0, 0, 1.0)}
    grades = [r for r in school.asked if r.kind == "Grade"]
    assert {r.tr for r in grades} == {r.id for r in texts}


def test_drift_is_known_where_samples_are_drawn_from_the_whole_distribution_too() -> None:
    lesson = Lesson(rationales=4, sampling=Sampling(temperature=1.0, top_k=0, top_p=1.0))
    school, one = Class(), level(replace(scenario(), lesson=lesson))
    outcome = school.play(one)
    assert {stage: n for stage, n in one.totals().items() if n} == stages(school.asked), "each text counts once"
    assert not [r for r in school.asked if r.stage == "drift" and r.kind == "Teach"], "its texts are samples"
    for measured in outcome.learnt[0].measured[1:]:
        assert [(one.tp, one.own, one.original) for one in measured.drift] == [
            ("held0", -1.0, -1.5), ("held1", -1.0, -1.5),
        ]  # fmt: skip


def test_every_teacher_is_asked_the_same_with_its_own_weights() -> None:
    school = Class()
    outcome = school.play(level(scenario()))
    weights = ["", *(t.weights for t in outcome.learnt[0].trainings)]
    for each in weights:
        asked = [r for r in school.asked if r.stage == "measure" and r.weights == each]
        assert sorted((r.tp, r.sampling.temperature, r.repeat) for r in asked) == sorted(
            [(tp, 0.0, 0) for tp in ("held0", "held1")]
            + [(tp, 0.7, repeat) for tp in ("held0", "held1") for repeat in (0, 1)]
        )


def test_the_pairs_file_holds_texts_scores_and_no_gold_answer() -> None:
    school = Class()
    outcome = school.play(level(scenario()))
    for training in outcome.learnt[0].trainings:
        enclosed = school.sent[training.request]
        assert isinstance(enclosed.message, Train)
        assert enclosed.name == enclosed.message.pairs == f"pairs-{enclosed.message.pairs_digest}.jsonl"
        for row, pair in zip(pairs_of(enclosed), training.pairs, strict=True):
            assert (row.chosen, row.rejected) == (school.text(pair.chosen), school.text(pair.rejected))
            assert (row.score_chosen, row.score_rejected, row.tp) == (pair.score_chosen, pair.score_rejected, pair.tp)
            assert row.prompt == f"text of {pair.tp}"
            assert row.score_chosen - row.score_rejected > 0.3 + 1e-9
        keys = {"prompt", "chosen", "rejected", "score_chosen", "score_rejected", "tp", "answer_form", "demonstrations"}
        assert all(keys <= json.loads(line).keys() for line in enclosed.content.splitlines())


def test_all_arms_learn_from_as_many_pairs_of_the_same_rationales() -> None:
    outcome = Class().play(level(scenario()))
    trainings = outcome.learnt[0].trainings
    assert [t.arm for t in trainings] == ["m2", "correctness", "shuffled"]
    assert len({len(t.pairs) for t in trainings}) == 1
    assert all(len(t.pairs) <= t.available for t in trainings)
    assert min(t.available for t in trainings) == len(trainings[0].pairs)


def test_every_arm_is_trained_with_every_seed() -> None:
    one = Class()
    trainings = one.play(level(scenario(seeds=2))).learnt[0].trainings
    assert [(t.arm, t.seed) for t in trainings] == [
        (arm, seed) for arm in ("m2", "correctness", "shuffled") for seed in (0, 1)
    ]
    assert len({len(t.pairs) for t in trainings}) == 1, "as many pairs everywhere"
    m2, m2_again, _, _, shuffled, shuffled_again = trainings
    assert m2.pairs == m2_again.pairs
    assert shuffled.pairs != shuffled_again.pairs, "another seed is another shuffle"
    recipes = [one.sent[t.request].message.recipe.seed for t in (m2, m2_again)]  # type: ignore[attr-defined]
    assert recipes[0] != recipes[1]
    assert {r.weights for r in one.asked if r.stage == "measure"} == {"", *(t.weights for t in trainings)}
    alone = Class().play(level(scenario())).learnt[0].trainings
    assert [t.request for t in alone[:2]] == [t.request for t in trainings if not t.seed][:2], "the first is as it was"


def test_if_the_training_of_a_seed_fails_the_next_seed_teaches() -> None:
    one = Class()
    one.fail_first_training()
    outcome = one.play(level(scenario(seeds=2, rounds=2)))
    first, second, *_ = outcome.learnt[0].trainings
    assert (first.weights, first.failed) == ("", "engine")
    assert outcome.learnt[1].weights == second.weights != ""


def test_best_of_n_trains_every_arm_on_its_best_rationale_of_each_problem() -> None:
    school = Class()
    outcome = school.play(level(scenario(training=Recipe(method="sft"))))
    for training in outcome.learnt[0].trainings:
        (rows,) = [pairs_of(school.sent[training.request])]
        assert rows and len({row.tp for row in rows}) == len(rows)
        message = school.sent[training.request].message
        assert isinstance(message, Train) and message.recipe.method == "sft"
    m2, correctness, _ = outcome.learnt[0].trainings
    best = {lesson.tp: [tr for tr in lesson.rationales if tr.answer is not None] for lesson in outcome.lessons}
    right = {tr.id for trs in best.values() for tr in trs if tr.correct}
    assert {pair.chosen for pair in (*m2.pairs, *correctness.pairs)} <= right


def test_best_of_n_is_trained_once_for_arms_that_have_the_same_best_rationales() -> None:
    def trained(method: str) -> list[str]:
        described = scenario(training=Recipe(method=method))  # type: ignore[arg-type]
        level_2, school = Trainings(Setup(described, BANK, ANSWERERS), 1), Class()
        lessons = school.play(level(scenario())).lessons
        level_2.choose(lessons)
        worse = [replace(pair, rejected_material="another") for pair in level_2.all[0].pairs]
        one, other = level_2.all[0], replace(level_2.all[0], pairs=tuple(worse))
        return [level_2.request(each).id for each in (one, other)]

    assert len(set(trained("sft"))) == 1
    assert len(set(trained("dpo"))) == 2


def test_the_teacher_of_the_leading_arm_teaches_on() -> None:
    outcome = Class().play(level(scenario()))
    assert outcome.weights == outcome.learnt[0].trainings[0].weights != ""
    other = Class().play(level(scenario(arms=("shuffled", "correctness"))))
    assert other.weights == other.learnt[0].trainings[0].weights != ""


def test_level_3_continues_with_the_teacher_of_level_2() -> None:
    school = Class()
    bank = replace(BANK, labelled=iterated.bank().labelled)
    described = replace(scenario((1, 2, 3)), iterate=iterated.scenario().iterate)
    one, due = level(described, bank=bank), list[Request]()
    requests = list(one.begin().requests)
    while requests:
        request = requests.pop(0)
        if request.level == 3:
            due.append(request)
            continue
        result = school.answer(request)
        school.records[request.id] = record(request, result)
        requests += one.receive(result).requests
    outcome = one.outcome()
    assert outcome.weights == outcome.learnt[0].trainings[0].weights != ""
    assert due
    assert {r.weights for r in due if r.to == "teacher"} == {outcome.weights}
    assert {r.weights for r in due if r.to != "teacher"} <= {""}


def test_the_next_round_is_taught_by_the_new_teacher_and_asks_nothing_twice() -> None:
    school = Class()
    outcome = school.play(level(scenario(rounds=2)))
    first, second = outcome.learnt
    assert (first.number, second.number, second.weights) == (1, 2, first.trainings[0].weights)
    taught = [r for r in school.asked if r.round == 2 and r.stage == "teach"]
    assert {r.weights for r in taught} == {second.weights}
    # One of its four TRs per TP was written for the measurement of the first round.
    assert len(taught) == 3 * (4 - 1)
    assert len(second.lessons[0].rationales) == 4
    assert {r.weights for r in school.asked if r.stage == "train" and r.round == 2} == {second.weights}
    assert outcome.weights == second.trainings[0].weights


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_arrival_decides_nothing(seed: int) -> None:
    first, second = Class(), Class()
    one = first.play(level(scenario((1, 2), rounds=2)))
    other = second.play(level(scenario((1, 2), rounds=2)), random.Random(seed))
    assert first.records.keys() == second.records.keys()
    assert first.sent == second.sent
    assert one == other


def test_a_resumed_class_continues_with_the_same_files() -> None:
    whole = Class()
    wanted = whole.play(level(scenario(rounds=2)))
    for stop in range(0, len(whole.asked), 7):
        school = Class()
        school.play(level(scenario(rounds=2)), random.Random(stop), stop)
        assert school.play(level(scenario(rounds=2))) == wanted
        assert school.sent == whole.sent


def test_the_totals_equal_the_requests_in_the_end() -> None:
    school, one = Class(), LearnLevel(Setup(scenario(rounds=2), BANK, ANSWERERS))
    expected = one.totals()
    school.play(one)
    asked = stages(school.asked)
    assert {stage for stage in expected if expected[stage]} == asked.keys()
    assert {stage: one.totals()[stage] for stage in ("greedy", "measure", "train")} == {
        stage: asked[stage] for stage in ("greedy", "measure", "train")
    }
    assert all(expected[stage] >= asked[stage] for stage in asked)
    assert one.totals()["drift"] == asked["drift"]
    assert one.totals()["probe"] == asked["probe"]


# --- what can go wrong ----------------------------------------------------------------------------------


def always(correct: bool) -> Callable[[Request], Result]:
    return lambda r: Result(r.id, r.id, "1", correct)


def test_where_no_gap_is_large_enough_nothing_is_trained_and_the_class_is_over() -> None:
    school, one = Class(), level(scenario(rounds=3))
    school.answer = always(True)  # type: ignore[assignment,method-assign]
    outcome = school.play(one)
    assert one.finished
    assert stages(school.asked).keys() == {"greedy", "teach", "exam", "measure"}
    assert [(t.pairs, t.request, t.gaps.largest) for t in outcome.learnt[0].trainings] == [((), "", 0.0)] * 3
    assert outcome.weights == ""
    assert one.totals() == stages(school.asked) | {"train": 0, "drift": 0}


def test_equal_rationales_make_no_pairs() -> None:
    school, one = Class(), level(scenario())
    school.answer = lambda r: Result(r.id, "alike", "1", r.to == "ada")  # type: ignore[assignment,method-assign]
    outcome = school.play(one)
    assert one.finished
    assert [t.gaps.largest for t in outcome.learnt[0].trainings] == [None] * 3


def test_one_teaching_problem_is_enough() -> None:
    one = level(scenario(), bank=replace(BANK, items=BANK.items[:1]))
    outcome = Class().play(one)
    assert one.finished
    assert outcome.learnt[0].trainings[0].pairs


def test_a_training_that_failed_leaves_the_others_and_the_old_teacher() -> None:
    school, one = Class(), level(scenario(rounds=2))
    m2 = school.fail_first_training()
    outcome = school.play(one)
    assert one.finished
    trainings = outcome.learnt[0].trainings
    assert [(t.arm, t.failed, bool(t.weights)) for t in trainings] == [
        ("m2", "engine", False), ("correctness", "", True), ("shuffled", "", True),
    ]  # fmt: skip
    assert len(outcome.learnt) == 1, "another round would be the same again"
    assert outcome.weights == ""
    assert len(outcome.learnt[0].measured) == 3
    again = level(scenario(rounds=2), frozenset(m2))
    school.fails = lambda request: False
    assert len(school.play(again).learnt) == 2


def test_figures_of_a_training_that_are_not_a_number_are_left_out() -> None:
    school = Class()
    answer = school.answer

    def told(request: Request) -> Result:
        figures = msgspec.json.encode({"steps": 1, "reward_margin": float("nan")}).decode()
        return replace(answer(request), text=figures) if request.kind == "Train" else answer(request)

    school.answer = told  # type: ignore[method-assign]
    assert [t.figures for t in school.play(level(scenario())).learnt[0].trainings] == [{"steps": 1.0}] * 3


def test_arms_with_the_same_pairs_are_trained_and_measured_once() -> None:
    # Exams of right TRs are right and of wrong ones wrong: both scores say the same.
    school = Class()

    def answer(request: Request) -> Result:
        if request.kind == "Train":
            return Result(request.id, "{}", f"trained {request.id}", False)
        # Half of the sampled TRs are right, and with them every exam under them.
        right = request.repeat % 2 == 0
        if request.tr:
            right = bool(school.records[request.tr].correct)
        return Result(request.id, request.id, "1", right)

    school.answer = answer  # type: ignore[method-assign]
    outcome = school.play(level(scenario(arms=("m2", "correctness"))))
    m2, correctness = outcome.learnt[0].trainings
    assert m2.request == correctness.request
    assert m2.weights == correctness.weights != ""
    assert stages(school.asked)["train"] == 1
    assert len(outcome.learnt[0].measured) == 2


def test_without_held_out_problems_or_new_rationales_there_is_only_training() -> None:
    school = Class()
    bank = replace(BANK, held_out=())
    one = level(scenario(held_out=0, samples=0, rationales=0), bank=bank)
    school.play(one)
    assert one.finished
    assert stages(school.asked).keys() == {"greedy", "teach", "exam", "train"}


def test_another_recipe_is_another_training_of_the_same_pairs() -> None:
    first, second = Class(), Class()
    first.play(level(scenario()))
    second.play(level(scenario(training=replace(LEARN.training, epochs=2))))
    assert {r.id for r in first.asked if r.stage == "train"}.isdisjoint(
        r.id for r in second.asked if r.stage == "train"
    )
    names = [{one.name for one in school.sent.values()} for school in (first, second)]
    assert names[0] == names[1]


def test_a_result_that_is_not_awaited_changes_nothing() -> None:
    one = LearnLevel(Setup(scenario(), BANK, ANSWERERS))
    one.begin()
    before: tuple[LearnRoundRecord, ...] = one.outcome().learnt
    assert one.receive(Result(digest("unheard of"), "x", None, False)).requests == ()
    assert one.outcome().learnt == before
