"""What is said of level 2 at its end, from rounds worked out by hand."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from scenarios.config.schema import Agent, Exam, Learn, Scenario, Task
from scenarios.config.schema import Lesson as LessonSection
from scenarios.records.learn import Gaps, LearnRoundRecord, Likelihood, Measured, Preference, Training
from scenarios.records.observe import ExamAnswer, Rationale, TeachingProblemRecord
from scenarios.report.build import summarize
from scenarios.report.learn import LearnComparison, LearnRoundSummary, TeacherSummary, summarize_rounds
from scenarios.report.learn_tables import teachers
from scenarios.report.summary import Summary
from scenarios.report.tables import summary_tables
from scenarios.report.training_records import TrainingRecords
from scenarios.scoring.teacher_metrics import standings
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from tests import printing
from tests.scenarios.report.test_build import FACTS, as_json, same

SCENARIO = Scenario(
    name="pair",
    level=2,
    task=Task(family="gsm_symbolic", problems=2),
    teacher=Agent(name="tess"),
    students=(Agent(name="ada"),),
    lesson=LessonSection(rationales=2),
    exam=Exam(problems=2),
    learn=Learn(held_out=3, samples=2, rationales=1, arms=("m2", "correctness")),
)


def answer(repeat: int, mark: str, tokens: int = 10, exams: str = "") -> Rationale:
    """1: right, 0: wrong, -: without an answer."""
    sat = tuple(ExamAnswer("ada", f"ep{n}", 0, one == "1") for n, one in enumerate(exams))
    return Rationale(
        f"{repeat}", repeat, None if mark == "-" else "7", mark == "1", tokens, sat, f"text {repeat} {exams}"
    )


def held_out(*rows: str) -> tuple[TeachingProblemRecord, ...]:
    """Of each problem the greedy answer, then two samples."""
    return tuple(
        TeachingProblemRecord(
            f"held{n}", "number", answer(-1, row[0]), tuple(answer(k, mark) for k, mark in enumerate(row[1:]))
        )
        for n, row in enumerate(rows)
    )


def taught(*exams: str) -> tuple[TeachingProblemRecord, ...]:
    """Of each TP one TR, with these exams; empty: it has no answer."""
    return tuple(
        TeachingProblemRecord(f"tp{n}", "number", None, (answer(0, "1" if row else "-", exams=row),))
        for n, row in enumerate(exams)
    )


def pairs(count: int) -> tuple[Preference, ...]:
    return tuple(Preference("tp0", f"a{n}", f"b{n}", 1.0, 0.5, f"a{n}", f"b{n}") for n in range(count))


DRIFT = (
    Likelihood("w-m2", "held0", 10, -1.0, -1.5),
    Likelihood("w-m2", "held1", 30, -1.0, -1.1),
    Likelihood("w-m2", "held2", 99, -1.0, None),
)
GAPS = Gaps(pairs=6, above=4, problems=2, largest=1.0)
M2 = Training("m2", pairs(2), 4, GAPS, "r-m2", "w-m2", figures={"pairs": 2, "steps": 1, "loss": 0.25})
CORRECTNESS = Training("correctness", pairs(2), 2, GAPS, "r-c", "w-c", figures={"pairs": 1, "steps": 1})
ROUND = LearnRoundRecord(
    number=1,
    weights="",
    lessons=taught("11", "00"),
    trainings=(M2, CORRECTNESS),
    measured=(
        Measured("", held_out("111", "000", "00-")),
        Measured("w-m2", held_out("111", "110", "00-"), taught("11", "11"), DRIFT),
        Measured("w-c", held_out("000", "000", "011"), taught("10", "")),
    ),
    finished=True,
)


def summary(
    one: LearnRoundRecord = ROUND,
    *,
    complete: bool = True,
    scenario: Scenario = SCENARIO,
    merged: dict[str, str] | None = None,
) -> LearnRoundSummary:
    curves = {"r-m2": [{"step": 1.0, "loss": 0.25, "peak_memory_mb": 512.0}]}
    records = TrainingRecords(curves, {"r-m2": 60.0})
    (found,) = summarize_rounds(scenario, [one], records, complete=complete, merged=merged)
    return found


def row(found: LearnRoundSummary, name: str) -> TeacherSummary:
    return next(one for one in found.teachers if one.teacher == name)


def compared(found: LearnRoundSummary, a: str, b: str, measure: str) -> LearnComparison:
    return next(one for one in found.paired if (one.a, one.b, one.measure) == (a, b, measure))


def test_every_teacher_is_measured_on_the_same_problems() -> None:
    found = summary()
    assert [one.teacher for one in found.teachers] == ["original", "m2", "correctness_dpo"]
    assert [one.n for one in found.teachers] == [3, 3, 3]
    assert [one.greedy for one in found.teachers] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 0.0]
    assert [one.sampled for one in found.teachers] == [pytest.approx(1 / 3), pytest.approx(1 / 2), pytest.approx(1 / 3)]
    assert [one.answered for one in found.teachers] == [pytest.approx(5 / 6), pytest.approx(5 / 6), 1.0]
    assert {one.length for one in found.teachers} == {10.0}


def test_the_lbt_score_is_of_new_rationales_and_one_without_an_answer_teaches_nothing() -> None:
    found = summary()
    assert [one.lbt for one in found.teachers] == [0.5, 1.0, 0.25]
    assert [one.lbt_problems for one in found.teachers] == [2, 2, 2]


def test_an_original_teacher_with_fewer_rationales_than_are_new_is_measured_by_all_of_them() -> None:
    more = replace(SCENARIO, learn=replace(SCENARIO.learn, rationales=3), lesson=LessonSection(rationales=1))
    assert row(summary(complete=False, scenario=more), "original").lbt == 0.5


def test_a_rationale_whose_exams_all_failed_says_nothing_of_its_teacher() -> None:
    unsat = TeachingProblemRecord("tp1", "number", None, (answer(0, "1"),))
    found = summary(replace(ROUND, lessons=(*taught("11"), unsat)))
    assert (row(found, "original").lbt, row(found, "original").lbt_problems) == (1.0, 1)


def sat(tp: str, repeat: int, **marks: bool) -> TeachingProblemRecord:
    """A TP with one TR, and what ada answered to each EP."""
    exams = tuple(ExamAnswer("ada", ep, 0, right) for ep, right in marks.items())
    return TeachingProblemRecord(tp, "number", None, (Rationale(f"{tp} {repeat}", repeat, "7", True, 10, exams),))


def test_teachers_are_compared_on_the_exams_that_all_their_rationales_have() -> None:
    lessons = (sat("tp0", 0, easy=True, hard=False), sat("tp1", 0, easy=True))
    trained = (sat("tp0", 0, easy=True), sat("tp1", 0, hard=True))
    measured = (ROUND.measured[0], Measured("w-m2", held_out("111", "110", "00-"), trained))
    one = replace(ROUND, lessons=lessons, trainings=(M2,), measured=measured)
    found = summary(one)
    assert [(t.teacher, t.lbt, t.lbt_problems) for t in found.teachers] == [("original", 1.0, 1), ("m2", 1.0, 1)]
    compared_on = compared(found, "m2", "original", "lbt")
    assert (compared_on.difference, compared_on.n) == (0.0, 1)
    assert found.lbt_left_out == 3, "one of tp0, and the two of tp1, which has none in common"
    assert [standing.lbt for standing in standings(SCENARIO, [one], complete=True)] == [1.0, 1.0]
    assert "LbT scores leave out 3 exam answers" in " ".join(printing.printed(teachers(found)).split())
    assert summary().lbt_left_out == 0


def test_exams_that_rationales_of_one_teacher_do_not_share_are_left_out_too() -> None:
    written = sat("tp0", 0, easy=True, hard=False).rationales + sat("tp0", 1, easy=False).rationales
    two = replace(SCENARIO, learn=replace(SCENARIO.learn, rationales=2))
    one = replace(ROUND, lessons=(TeachingProblemRecord("tp0", "number", None, written),), trainings=(), measured=())
    found = summary(one, scenario=two)
    assert (row(found, "original").lbt, found.lbt_left_out) == (0.5, 1)


def test_drift_is_per_token_with_an_interval_over_problems() -> None:
    drifts = {one.teacher: (one.drift, one.drift_ci95) for one in summary().teachers}
    assert drifts["original"] == drifts["correctness_dpo"] == (None, None)
    ratio = (10 * 0.5 + 30 * 0.1) / 40
    # Student's t with 1 degree of freedom, and the linearised standard error of a ratio of sums.
    reach = 12.7062 * (2 * ((5 - 10 * ratio) ** 2 + (3 - 30 * ratio) ** 2)) ** 0.5 / 40
    assert drifts["m2"][0] == pytest.approx(ratio)
    assert drifts["m2"][1] == pytest.approx((ratio - reach, ratio + reach), rel=1e-4)


def test_a_drift_below_0_is_called_an_estimate(tmp_path: Path) -> None:
    below = (Likelihood("w-m2", "held0", 10, -1.5, -1.0), Likelihood("w-m2", "held1", 10, -1.2, -1.0))
    measured = (ROUND.measured[0], replace(ROUND.measured[1], drift=below), ROUND.measured[2])
    text = " ".join(printed(whole(tmp_path, replace(ROUND, measured=measured))).split())
    assert "-0.350" in text
    assert "an estimate may be below 0. Its 95 % intervals: M2 -2.256 to 1.556." in text


def test_comparisons_are_paired_and_count_what_flipped() -> None:
    found = summary()
    one = compared(found, "m2", "original", "greedy")
    assert (one.wins, one.losses, one.n) == (1, 0, 3)
    assert one.difference == pytest.approx(1 / 3)
    other = compared(found, "m2", "correctness_dpo", "greedy")
    assert (other.wins, other.losses) == (2, 0)
    sampled = compared(found, "correctness_dpo", "original", "sampled")
    assert (sampled.wins, sampled.losses) == (1, 1)
    assert compared(found, "m2", "original", "lbt").difference == 0.5


AGAIN = replace(M2, seed=1, request="r-m2-again", weights="w-again")
SEEDS = replace(
    ROUND,
    trainings=(M2, AGAIN, CORRECTNESS),
    measured=(
        *ROUND.measured,
        Measured("w-again", held_out("111", "011", "00-"), taught("11", "00"), (Likelihood("", "held0", 40, -1, -2),)),
    ),
)


def test_figures_of_an_arm_are_means_over_its_seeds() -> None:
    found = summary(SEEDS)
    m2 = row(found, "m2")
    assert m2.n == 3
    assert [m2.greedy, m2.sampled] == pytest.approx([1 / 2, 7 / 12])
    assert [m2.lbt, m2.drift] == pytest.approx([3 / 4, (10 * 0.5 + 30 * 0.1 + 40) / 80])
    assert m2.ci95[0] < 0.5 < m2.ci95[1]
    assert [(one.seed, one.weights, one.lbt) for one in m2.by_seed] == [(0, "w-m2", 1.0), (1, "w-again", 0.5)]
    assert [one.greedy for one in m2.by_seed] == pytest.approx([2 / 3, 1 / 3])
    against = compared(found, "m2", "original", "greedy")
    assert against.difference == pytest.approx(1 / 6)
    assert (against.wins, against.losses) == (1, 0)
    assert list(against.by_seed) == pytest.approx([1 / 3, 0.0])
    assert list(compared(found, "m2", "correctness_dpo", "greedy").by_seed) == pytest.approx([2 / 3, 1 / 3])
    assert compared(found, "correctness_dpo", "original", "greedy").by_seed == ()
    assert row(found, "correctness_dpo").by_seed == ()


def test_a_problem_counts_once_every_seed_is_measured_on_it() -> None:
    unmeasured = replace(SEEDS, measured=SEEDS.measured[:-1])
    assert row(summary(unmeasured, complete=False), "m2").n == 0


def test_of_an_unfinished_class_only_what_is_whole_counts() -> None:
    measured = Measured(
        "w-m2", (*held_out("111", "11"), TeachingProblemRecord("held2", "number", None, ())), taught("1", "11")
    )
    found = summary(replace(ROUND, measured=(*ROUND.measured[:1], measured)), complete=False)
    one = row(found, "m2")
    assert (one.n, one.greedy, one.lbt_problems) == (1, 1.0, 1)
    assert compared(found, "m2", "original", "greedy").n == 1
    assert row(found, "correctness_dpo").n == 0
    assert row(found, "correctness_dpo").greedy is None
    assert row(summary(replace(ROUND, measured=(measured,))), "m2").n == 3


def test_an_arm_says_what_it_was_trained_on_and_how_that_went() -> None:
    m2, correctness = summary().arms
    assert (m2.status, m2.pairs, m2.available, m2.mean_gap, m2.gaps.largest) == ("trained", 2, 4, 0.5, 1.0)
    assert m2.figures == {"pairs": 2, "steps": 1, "loss": 0.25, "seconds": 60.0, "peak_memory_mb": 512.0}
    assert m2.curve == [{"step": 1.0, "loss": 0.25, "peak_memory_mb": 512.0}]
    assert correctness.curve == []


NONE = Training("m2", (), 0, Gaps(pairs=6, above=0, problems=0, largest=0.25))


@pytest.mark.parametrize(
    ("trainings", "note"),
    [
        ((), "Its pairs are not chosen yet: TRs, exams, or answers of the original teacher are still missing."),
        ((NONE,), "M2 has no preference pairs and is not trained: of 6 pairs of rationales the largest gap is 0.25, "
         "not above 0.3."),
        ((replace(NONE, gaps=Gaps(0, 0, 0, None)),), "M2 has no preference pairs and is not trained: no problem has "
         "two different rationales that were examined."),
        ((M2, CORRECTNESS), "Pairs by the rule: M2 4, correctness 2. All were cut to 2, so that arms can be compared."),
        ((M2, CORRECTNESS), "correctness: 1 of 2 pairs was too long and left out, so other arms may have had more."),
        ((M2, replace(CORRECTNESS, request="r-m2")), "M2 and correctness chose the same pairs: one training stands for "
         "both."),
        ((replace(M2, figures={"changed": 0.0042}),), "M2: once rounded to what its engine computes in, 0.42 % of its "
         "weights differ from those before, which hides most of the training: raise learn.training.learning_rate, or "
         "set teacher.dtype to float32."),
        ((replace(M2, weights="", failed="engine"),), "The training of M2 failed (engine): its teacher is not there to "
         "measure."),
    ],
)  # fmt: skip
def test_what_the_reader_should_know_is_said(trainings: tuple[Training, ...], note: str) -> None:
    assert note in summary(replace(ROUND, trainings=trainings)).notes


def test_with_one_training_seed_the_chance_in_training_is_named() -> None:
    once = "Every arm is trained once"
    assert any(note.startswith(once) for note in summary().notes)
    several = replace(SCENARIO, learn=replace(SCENARIO.learn, seeds=2))
    assert not any(note.startswith(once) for note in summary(SEEDS, scenario=several).notes)


def test_a_training_that_its_engine_sees_needs_no_note() -> None:
    assert not any("rounded" in note for note in summary().notes)
    seen = replace(M2, figures={"pairs": 2, "changed": 0.01})
    assert not any("rounded" in note for note in summary(replace(ROUND, trainings=(seen,))).notes)


def test_a_teacher_whose_adapter_was_merged_is_named() -> None:
    note = (
        "M2: vLLM merged its adapter into bfloat16 weights, which rounds small trainings away: set teacher.dtype to "
        "float32, or teacher.engine to transformers."
    )
    told = summary(merged={M2.weights: "bfloat16", "of another run": "bfloat16"}).notes
    assert [one for one in told if "merged" in one] == [note]


def test_every_arm_without_pairs_is_told_of_once_and_so_is_a_round_that_never_comes() -> None:
    several = replace(SCENARIO, learn=replace(SCENARIO.learn, rounds=3, seeds=2))
    none = replace(ROUND, trainings=(NONE, replace(NONE, seed=1), CORRECTNESS))
    told = summary(none, scenario=several).notes
    assert sum("no preference pairs" in note for note in told) == 1
    missing = "M2 made no new teacher, so rounds 2 to 3 would be the same again."
    assert missing in told
    assert missing not in summary(replace(none, finished=False), scenario=several).notes
    assert not [note for note in summary(scenario=several).notes if "no new teacher" in note]


def test_a_failed_training_is_told_as_such() -> None:
    failed = replace(M2, weights="", failed="engine", figures={})
    assert summary(replace(ROUND, trainings=(failed,))).arms[0].status == "failed"
    assert summary(replace(ROUND, trainings=(NONE,))).arms[0].status == "no pairs"
    assert summary(replace(ROUND, trainings=(replace(M2, weights=""),))).arms[0].status == "training"


def test_in_a_later_round_the_teacher_before_it_is_measured_too() -> None:
    later = replace(ROUND, number=2, weights="w-m2", lessons=taught("11", "10"), trainings=(), measured=())
    _, found = summarize_rounds(SCENARIO, [ROUND, later], TrainingRecords({}, {}), complete=True)
    assert [one.teacher for one in found.teachers] == ["original", "before"]
    assert row(found, "before").greedy == pytest.approx(2 / 3)
    assert row(found, "before").lbt == 0.75


# --- in the summary, and printed ------------------------------------------------------------------------


def whole(
    tmp_path: Path, *learnt: LearnRoundRecord, complete: bool = True, scenario: Scenario = SCENARIO
) -> dict[str, Any]:
    facts = FACTS if complete else replace(FACTS, status="interrupted")
    taken = Record(request_id="r-m2", kind="Train", agent="tess", stage="train", tp="", seconds=60.0)
    with Store(tmp_path, write=True) as store:
        store.record([taken], grader="", version="")
        store.note("tess", "progress", '["r-m2", 1, 2, {"loss": 0.5}]')
        store.note("tess", "progress", '["r-m2", 2, 2, {"loss": 0.3}]')
        store.note("tess", "progress", '["r-m2", 2, 2, {"loss": 0.25}]')
        lessons = learnt[0].lessons if learnt else ()
        return as_json(summarize(scenario, lessons, same, store, facts, learnt=learnt))


def printed(told: dict[str, Any]) -> str:
    return printing.printed(summary_tables(msgspec.convert(told, Summary)))


def test_the_summary_has_the_methods_of_level_2(tmp_path: Path) -> None:
    told = whole(tmp_path, ROUND)
    assert msgspec.convert(told, Summary).methods["m2"].accuracy == pytest.approx(2 / 3)
    assert {"original", "correctness_dpo", "m2", "shuffled"} <= told["methods"].keys()
    assert (told["methods"]["m2"]["n"], told["methods"]["m2"]["completion_tokens"]) == (3, 30)
    assert told["methods"]["shuffled"]["accuracy"] is None
    (one,) = told["levels"]["2"]["rounds"]
    assert one["arms"][0]["curve"] == [{"step": 1.0, "loss": 0.5}, {"step": 2.0, "loss": 0.25}]
    greedy = {(pair["a"], pair["b"]) for pair in told["paired"]}
    assert {("m2", "original"), ("m2", "correctness_dpo"), ("correctness_dpo", "original")} <= greedy
    assert "3 held-out problems can show no difference between two methods" in told["caution"]


def test_a_class_without_level_2_says_nothing_of_it(tmp_path: Path) -> None:
    told = whole(tmp_path)
    assert told["levels"]["2"]["rounds"] == []
    assert "m2" not in told["methods"]
    assert "Level 2" not in printed(told)


def test_a_class_that_holds_no_problems_out_is_not_waited_for(tmp_path: Path) -> None:
    without = replace(SCENARIO, learn=replace(SCENARIO.learn, held_out=0))
    one = replace(ROUND, measured=tuple(replace(one, held_out=()) for one in ROUND.measured))
    assert "held-out" not in whole(tmp_path, one, scenario=without)["caution"]


def test_what_is_trained_fits_80_columns_while_some_of_it_is_not(tmp_path: Path) -> None:
    waiting = replace(CORRECTNESS, weights="", figures={}, seed=9)
    lines = printed(whole(tmp_path, replace(ROUND, trainings=(M2, waiting)), complete=False)).splitlines()
    assert any(line.split()[:2] == ["M2", "2"] and line.split()[-1] == "60" for line in lines), "seconds are not lost"


def test_a_seed_that_is_not_measured_yet_has_no_row(tmp_path: Path) -> None:
    learn = replace(SCENARIO.learn, seeds=2)
    for measured, seen in ((SEEDS.measured[:1], []), (SEEDS.measured[:2], ["M2"]), (SEEDS.measured, ["M2", "M2 #2"])):
        one = replace(SEEDS, measured=measured)
        text = printed(whole(tmp_path, one, complete=False, scenario=replace(SCENARIO, learn=learn)))
        _, _, rows = text.partition("The same, seed by seed")
        assert re.findall(r"^(M2(?: #2)?)  ", rows.partition("The same problems, one")[0], re.MULTILINE) == seen


def test_where_nobody_was_trained_no_empty_comparison_is_printed(tmp_path: Path) -> None:
    text = printed(whole(tmp_path, replace(ROUND, trainings=(NONE,))))
    assert "The teachers, measured" in text
    assert "one teacher less another" not in text


def test_what_is_printed_fits_80_columns_and_names_teachers_and_intervals(tmp_path: Path) -> None:
    text = printed(whole(tmp_path, ROUND))
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    for part in (
        "Level 2, round 1", "What the teacher was trained on", "The teachers, measured on 3 held-out problems",
        "M2 - original greedy +33.3 -42 to +79 1 0 3 1", "M2 - correctness LbT +75.0", "Pairs by the rule: M2 4",
        "p is not corrected",
    ):  # fmt: skip
        assert part in flat, text
    assert "correctness_dpo" not in text


@pytest.mark.parametrize(
    "one",
    [
        replace(ROUND, trainings=(), measured=(), finished=False),
        replace(ROUND, trainings=(NONE, replace(NONE, arm="correctness")), measured=ROUND.measured[:1]),
        replace(ROUND, trainings=(replace(M2, weights="", failed="engine", figures={}),), measured=()),
        replace(ROUND, lessons=(), trainings=(), measured=(), finished=False),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_whatever_is_missing_the_report_works(tmp_path: Path, one: LearnRoundRecord, complete: bool) -> None:
    assert "Level 2, round 1" in printed(whole(tmp_path, one, complete=complete))
