"""The summary of a class: its shape is the contract's, its figures those of a class worked out by hand."""

import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from broker.agent_notes import ServerNotes
from broker.errors import StoreError
from broker.work_messages import AnswerForm
from scenarios.config.published import PublishedFigures
from scenarios.config.schema import Agent, Exam, Scenario, Task
from scenarios.config.schema import Lesson as LessonSection
from scenarios.records.iterate import Answers, ArmRun, IterateRoundRecord, Iteration, OwnAnswers
from scenarios.records.observe import (
    AloneAnswers,
    ExamAnswer,
    ExamCost,
    ExamGrade,
    ExplanationCost,
    Rationale,
    TeachingProblemRecord,
    Tokens,
    UniversalChoice,
)
from scenarios.report.build import summarize, write_summary
from scenarios.report.run_info import AgentFacts, RunFacts, facts_from
from scenarios.report.spend import server_notes_in
from scenarios.report.summary import Summary
from scenarios.report.tables import summary_tables
from scenarios.scoring.statistics import clustered, wilson
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from tests.printing import printed
from tests.scenarios.levels import iterated

SAMPLE = """
{"scenario": "multi_student", "level": 1, "seed": 7, "status": "complete", "wall_seconds": 0.0, "simulated": false,
 "agents": [{"name": "", "role": "teacher|student", "model": "", "engine": "", "device": "", "requests": 0,
             "prompt_tokens": 0, "cached_prompt_tokens": 0, "completion_tokens": 0, "busy_seconds": 0.0, "restarts": 0,
             "failed": 0}],
 "counts": {"teaching_problems": 0, "teaching_rationales": 0, "exam_answers": 0, "requests": 0, "failed": 0,
            "reused": 0},
 "methods": {"greedy": {"accuracy": 0.0, "ci95": [0.0, 0.0], "n": 0, "completion_tokens": 0, "tie_share": 0.0,
             "accuracy_random_ties": 0.0}, "sc": {}, "m1_max": {}, "m1_sum": {}},
 "paired": [{"a": "m1_sum", "b": "sc", "difference": 0.0, "ci95": [0.0, 0.0], "wins": 0, "losses": 0, "p_value": 1.0}],
 "students": [{"name": "", "exam_accuracy": 0.0, "ci95": [0.0, 0.0], "m1_max": 0.0, "m1_sum": 0.0}],
 "lineups": [{"students": [""], "m1_max": 0.0, "m1_sum": 0.0, "m1_max_ci95": [0.0, 0.0]}],
 "assumption": {"right_beats_wrong": 0.0, "ties": 0.0, "pairs": 0},
 "levels": {"2": {"rounds": []}, "3": {"rounds": []}},
 "failures": [{"request": "", "agent": "", "kind": "", "detail": ""}]}
"""
"""As it stands in the contract."""

SCENARIO = Scenario(
    name="pair",
    seed=7,
    task=Task(family="gsm_symbolic", problems=2),
    teacher=Agent(name="tess"),
    students=(Agent(name="ada", engine="transformers"), Agent(name="bob", engine="transformers")),
    lesson=LessonSection(rationales=3),
    exam=Exam(problems=2),
)
FACTS = RunFacts(
    agents=(
        AgentFacts("tess", "teacher", "m", "transformers", "cpu"),
        AgentFacts("ada", "student", "m", "transformers", "cpu", restarts=1),
        AgentFacts("bob", "student", "m", "transformers", "cpu"),
    ),
    wall_seconds=12.5,
    status="complete",
    reused=3,
)


def same(a: str, b: str, form: AnswerForm) -> bool:
    return a == b


def as_json(summary: Summary) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(summary), type=dict[str, Any])


class Class:
    """Two TPs, three TRs each, two EPs; writes down in the gradebook what its lessons say."""

    def __init__(self, store: Store) -> None:
        self.store = store
        # roses: SC says 5 (wrong), SUM and MAX say 7. Of the three TRs the two with 5 are one text.
        self.lessons = [
            self.lesson("roses", "5", [("5", "five", "00", "00"), ("5", "five", "00", "00"), ("7!", "", "11", "10")]),
            self.lesson("coins", "9!", [("9!", "nine", "11", "01"), ("8", "eight", "00", "00"), (None, "hm", "", "")]),
        ]

    def lesson(self, tp: str, greedy: str, rows: list[tuple[str | None, str, str, str]]) -> TeachingProblemRecord:
        first = self.rationale(tp, -1, greedy, "greedy", {})
        rationales, seen = [], set[str]()
        for repeat, (answer, text, ada, bob) in enumerate(rows):
            rationales.append(
                self.rationale(tp, repeat, answer, text, {} if text in seen else {"ada": ada, "bob": bob})
            )
            if text in seen:
                rationales[-1] = replace(rationales[-1], exams=rationales[0].exams)
            seen.add(text)
        return TeachingProblemRecord(tp, "number", first, tuple(rationales), exam_tokens=80)

    def rationale(self, tp: str, repeat: int, answer: str | None, text: str, marks: Mapping[str, str]) -> Rationale:
        """Answers that end in ! are right."""
        right = bool(answer and answer.endswith("!"))
        stage = "greedy" if repeat < 0 else "teach"
        id = f"{tp}-{repeat}"
        record = Record(
            request_id=id,
            kind="Teach",
            agent="tess",
            stage=stage,
            tp=tp,
            repeat=repeat,
            text=text,
            answer=answer,
            prompt_tokens=50,
            completion_tokens=20,
            seconds=1.5,
            correct=right,
        )
        self.write(record)
        exams = []
        for student, row in marks.items():
            for ep, mark in enumerate(row):
                exams.append(ExamAnswer(student, f"{tp}-ep{ep}", 0, mark == "1"))
                self.write(
                    Record(
                        request_id=f"{id}-{student}-{ep}",
                        kind="Examine",
                        agent=student,
                        stage="exam",
                        tp=tp,
                        tr=id,
                        ep=f"{tp}-ep{ep}",
                        text="so",
                        answer=mark,
                        prompt_tokens=100,
                        cached_tokens=60,
                        completion_tokens=10,
                        seconds=0.5,
                        correct=mark == "1",
                    )
                )
        return Rationale(id, repeat, answer, right, 20, tuple(exams), material=f"{tp} {text}")

    def write(self, *records: Record) -> None:
        self.store.record(records, grader="test", version="1")

    def exam(self, request_id: str = "x", *, agent: str = "ada", stage: str = "exam", **columns: Any) -> None:
        """Write down one more exam answer, a wrong one."""
        given: dict[str, Any] = {"kind": "Examine", "tp": "roses", "text": "and so", "correct": False, **columns}
        self.write(Record(request_id=request_id, agent=agent, stage=stage, **given))

    def summary(self, scenario: Scenario = SCENARIO, facts: RunFacts = FACTS, **more: Any) -> dict[str, Any]:
        """As it stands in summary.json."""
        return as_json(summarize(scenario, self.lessons, same, self.store, facts, **more))


@pytest.fixture
def held(tmp_path: Path) -> Any:
    with Store(tmp_path, write=True) as store:
        yield Class(store)


def missing(expected: Any, found: Any, where: str = "") -> list[str]:
    """The names of `expected` that `found` lacks; every entry of a list must have those of the sample's first."""
    if isinstance(expected, dict):
        absent = [f"{where}.{name}" for name in expected if name not in found]
        return absent + [m for k, v in expected.items() if k in found for m in missing(v, found[k], f"{where}.{k}")]
    if isinstance(expected, list) and expected and isinstance(expected[0], dict):
        return [m for one in found for m in missing(expected[0], one, f"{where}[]")]
    return []


def test_the_summary_has_every_name_of_the_contract(held: Class) -> None:
    held.exam(failed="engine")
    summary = held.summary()
    sample = json.loads(SAMPLE)
    sample["methods"] = dict.fromkeys(sample["methods"], sample["methods"]["greedy"])
    assert missing(sample, summary) == []
    assert all(summary[name] for name in ("agents", "paired", "students", "lineups", "failures"))
    assert msgspec.convert(summary, Summary).scenario == "pair"


def test_the_methods_of_the_class_worked_out_by_hand(held: Class) -> None:
    summary = held.summary()
    assert {name: m["accuracy"] for name, m in summary["methods"].items()} == {
        "greedy": 0.5, "sc": 0.5, "m1_max": 1.0, "m1_sum": 1.0, "m1_avg": 1.0,
    }  # fmt: skip
    # SC on coins: one vote each for 9 and 8.
    assert (summary["methods"]["sc"]["tie_share"], summary["methods"]["sc"]["accuracy_random_ties"]) == (0.5, 0.25)
    assert summary["methods"]["m1_sum"]["tie_share"] == 0.0
    assert {m["n"] for m in summary["methods"].values()} == {2}
    assert summary["methods"]["sc"]["ci95"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    assert summary["best_possible"] == {"accuracy": 1.0, "n": 2, "ci95": pytest.approx(wilson(2, 2))}


def test_the_baselines_stand_beside_the_rule_that_they_are_a_control_for(held: Class) -> None:
    found = held.summary()["baselines"]
    # A random rationale: 1 of 3 right on roses; on coins 1 of the 2 with an answer. All are as long.
    assert {name: one["accuracy"] for name, one in found.items()} == pytest.approx(
        {"random_pick": 5 / 12, "shortest": 5 / 12, "length_matched": 0.0}
    )
    assert {name: one["completion_tokens"] for name, one in found.items()} == {
        "random_pick": 40, "shortest": 120, "length_matched": 280,
    }  # fmt: skip
    pair = found["random_pick"]["against"]
    assert (pair["a"], pair["b"], pair["difference"]) == ("m1_max", "random_pick", pytest.approx(7 / 12))
    held.lessons = [
        replace(one, rationales=tuple(replace(r, exams=()) for r in one.rationales)) for one in held.lessons
    ]
    assert {name: one["against"] for name, one in held.summary()["baselines"].items()} == {
        "random_pick": None, "shortest": None,
    }  # fmt: skip


def test_the_baselines_that_the_scenario_asks_for_have_their_figures_and_costs(held: Class) -> None:
    def judged(one: Rationale, says: str) -> Rationale:
        return replace(one, ratings=tuple(ExamAnswer("tess", "", n, yes == "1") for n, yes in enumerate(says)))

    said = {"roses": ("11", "11", "00"), "coins": ("10", "01", "")}  # roses: for the wrong answer; coins: a tie
    held.lessons = [
        replace(
            one,
            rationales=tuple(judged(*pair) for pair in zip(one.rationales, said[one.tp], strict=True)),
            alone=tuple(
                AloneAnswers(
                    name, tuple(Rationale(f"{name}{n}", n, a, a == "7!", 5, ()) for n, a in enumerate(answers))
                )
                for name, answers in (("ada", ("7!", "7!")), ("bob", ("5", "5", "5")))
            ),
            rating_tokens=Tokens(30, 300),
            universal=UniversalChoice(one.rationales[0].id, Tokens(10)),
        )
        for one in held.lessons
    ]
    wanted = replace(SCENARIO, baselines=("students_alone", "self_evaluation", "universal"))
    found = held.summary(wanted)["baselines"]
    own = {name: found[name] for name in found if name not in ("random_pick", "shortest", "length_matched")}
    assert {name: (one["accuracy"], one["completion_tokens"]) for name, one in own.items()} == {
        "students_alone": (0.0, 50), "students_alone.ada": (1.0, 20), "students_alone.bob": (0.0, 30),
        "self_evaluation_max": (0.5, 180), "self_evaluation_sum": (0.5, 180), "universal_sc": (0.5, 140),
    }  # fmt: skip
    assert (own["self_evaluation_max"]["tie_share"], own["self_evaluation_max"]["accuracy_random_ties"]) == (0.5, 0.25)
    assert own["students_alone.ada"]["against"]["a"] == "m1_sum"
    assert "ada alone" in written(held.summary(wanted))


def test_a_method_costs_what_it_needs(held: Class) -> None:
    costs = {name: m["completion_tokens"] for name, m in held.summary()["methods"].items()}
    assert costs == {"greedy": 40, "sc": 120, "m1_max": 280, "m1_sum": 280, "m1_avg": 280}


def test_the_money_of_a_method_is_that_of_its_tokens_and_left_out_where_no_price_is_known(held: Class) -> None:
    paid = (ExamCost("ada", 200, 40), ExamCost("bob", 150, 40))
    held.lessons = [replace(lesson, exam_costs=paid) for lesson in held.lessons]
    assert not any("cost" in method for method in held.summary()["methods"].values())
    tess, ada, bob = SCENARIO.teacher, *SCENARIO.students
    dear = {"price_per_million_prompt": 2.0, "price_per_million_completion": 20.0}
    priced = replace(
        SCENARIO,
        teacher=replace(tess, engine_args={"price_per_million_completion": 10.0}),
        students=(replace(ada, engine_args=dear), bob),
    )
    costs = {name: 1e6 * method["cost"] for name, method in held.summary(priced)["methods"].items()}
    # 10 for each of 40 and 120 completion tokens of the teacher; 2 x 1,200 for ada's exams, nothing for bob's.
    assert costs == pytest.approx({"greedy": 400, "sc": 1200, "m1_max": 3600, "m1_sum": 3600, "m1_avg": 3600})
    answers = (ExplanationCost(("ada", "bob"), 300, 30),)
    held.lessons[0] = replace(held.lessons[0], explanation_costs=answers)
    costs = {name: 1e6 * method["cost"] for name, method in held.summary(priced)["methods"].items()}
    # The teacher is paid for its answers to questions.
    assert costs == pytest.approx({"greedy": 400, "sc": 1200, "m1_max": 3900, "m1_sum": 3900, "m1_avg": 3900})


def test_self_consistency_at_m1s_cost_has_as_many_votes_as_m1s_tokens_buy(held: Class) -> None:
    # Each TP: 60 completion tokens of three TRs and 80 of exams buy 7 TRs; with 150 + 350 of prompts, 9.
    for n, lesson in enumerate(held.lessons):
        votes = [replace(held.rationale(lesson.tp, 3 + k, "7!", f"vote {k}", {}), prompt_tokens=50) for k in range(6)]
        trs = tuple(replace(one, prompt_tokens=50) for one in lesson.rationales)
        held.lessons[n] = replace(lesson, rationales=trs, votes=tuple(votes), exam_prompt_tokens=350)
    scenario = replace(SCENARIO, lesson=replace(SCENARIO.lesson, equal_cost=True))
    summary = held.summary(scenario)
    methods = summary["methods"]
    assert (methods["sc_at_completion_cost"]["rationales"], methods["sc_at_cost"]["rationales"]) == (14, 18)
    assert (methods["sc_at_cost"]["completion_tokens"], methods["sc_at_cost"]["prompt_tokens"]) == (360, 900)
    assert (methods["m1_sum"]["completion_tokens"], methods["m1_sum"]["prompt_tokens"]) == (280, 1000)
    assert (methods["sc"]["accuracy"], methods["sc_at_cost"]["accuracy"]) == (0.5, 1.0)
    assert summary["counts"]["further_rationales"] == 12
    assert [(p["a"], p["difference"]) for p in summary["paired"] if p["b"] == "sc_at_cost"] == [
        ("m1_sum", 0.0), ("m1_max", 0.0),
    ]  # fmt: skip
    assert "sc_at_cost" not in held.summary()["methods"]
    held.lessons[0] = replace(held.lessons[0], votes=())
    unfinished = held.summary(scenario, replace(FACTS, status="interrupted"))
    assert unfinished["methods"]["sc"]["n"] == 1, "a problem counts once its further rationales are there"


def test_the_paired_comparisons(held: Class) -> None:
    paired = held.summary()["paired"]
    assert [(p["a"], p["b"], p["difference"], p["wins"], p["losses"], p["p_value"], p["n"]) for p in paired] == [
        ("m1_sum", "sc", 0.5, 1, 0, 1.0, 2),
        ("m1_sum", "greedy", 0.5, 1, 0, 1.0, 2),
        ("m1_max", "sc", 0.5, 1, 0, 1.0, 2),
        ("m1_max", "greedy", 0.5, 1, 0, 1.0, 2),
        ("m1_sum", "m1_max", 0.0, 0, 0, 1.0, 2),
    ]


def test_students_line_ups_and_the_assumption(held: Class) -> None:
    summary = held.summary()
    ada, bob = summary["students"]
    # Each distinct TR with an answer was sat once: two texts of roses, two of coins, two EPs each.
    assert (ada["name"], ada["exam_accuracy"], ada["exam_answers"]) == ("ada", 4 / 8, 8)
    assert (bob["exam_accuracy"], bob["m1_max"], bob["m1_sum"]) == (2 / 8, 1.0, 1.0)
    assert ada["ci95"][0] < 0.5 < ada["ci95"][1]
    assert [up["students"] for up in summary["lineups"]] == [["ada"], ["bob"], ["ada", "bob"]]
    assert [up["exams_per_rationale"] for up in summary["lineups"]] == [2.0, 2.0, 4.0]
    assert {up["m1_sum"] for up in summary["lineups"]} == {1.0}
    assert summary["lineups"][0]["m1_max_equal"] == summary["lineups"][0]["m1_max"]
    # roses: 7 against 5, twice; coins: 9 against 8.
    low, high = summary["assumption"].pop("ci95")
    assert summary["assumption"] == {"right_beats_wrong": 1.0, "ties": 0.0, "pairs": 3}
    assert (low, high) == wilson(2, 2), "three pairs of two problems are worth two trials where all came out alike"


def test_the_students_are_analysed(held: Class) -> None:
    summary = held.summary()
    adds = summary["shapley"]
    assert (adds["sc"], adds["gain_max"], adds["n"], adds["orders"]) == (0.5, 0.5, 2, None)
    assert [one["m1_max"]["value"] for one in adds["students"]] == [0.25, 0.25]  # each alone chooses right on coins
    (pair,) = summary["agreement"]["pairs"]
    assert (pair["a"], pair["b"], pair["n"]) == ("ada", "bob", 8)
    assert [one["exam_answers"] for one in summary["abilities"]["students"]] == [8, 8]
    assert summary["curves"]["rationales"][-1]["methods"]["m1_max"]["accuracy"] == 1.0
    # Ada and bob have the same settings.
    assert summary["fidelity"] == {"to_base": [], "smallest_p": 1.0, "pairs": 0, "n": 2}
    assert summary["equal_up"] == []
    terse = replace(SCENARIO.students[1], persona="You answer in one line.")
    summary = held.summary(replace(SCENARIO, students=(SCENARIO.students[0], terse)))
    assert (summary["fidelity"]["pairs"], summary["fidelity"]["to_base"][0]["base"]) == (1, "ada")
    assert [one["needs_repeats"] for one in summary["equal_up"]] == [2, 2]


def test_results_are_broken_down_by_level_and_subject_where_the_problems_name_them(held: Class) -> None:
    assert (held.summary()["by_level"], held.summary()["by_subject"]) == ([], [])
    levels = ["Level 10", "Level 9", *[""] * len(held.lessons)]
    tps = [
        Problem(lesson.tp, f"{lesson.tp}?", "1", "number", level=level, subject="Algebra")
        for lesson, level in zip(held.lessons, levels, strict=False)
    ]
    held.store.keep_bank(Bank("made up", tuple(ProblemGroup(tp, ()) for tp in tps), ()))
    found = held.summary()
    assert [part["name"] for part in found["by_level"]] == ["Level 9", "Level 10", ""][: len(held.lessons)]
    (algebra,) = found["by_subject"]
    for method in ("sc", "m1_max"):
        of_class = found["methods"][method]
        assert (algebra[method], algebra[f"{method}_ci95"], algebra["n"]) == (
            of_class["accuracy"], of_class["ci95"], of_class["n"],
        )  # fmt: skip
        assert sum(part[method] * part["n"] for part in found["by_level"]) == of_class["accuracy"] * of_class["n"]


def test_published_figures_are_in_the_summary_by_method(held: Class) -> None:
    assert held.summary()["published"] is None
    published = PublishedFigures(source="the paper", sc=0.5, max=0.75, m2=0.3)
    assert held.summary(replace(SCENARIO, published=published))["published"] == {
        "source": "the paper", "methods": {"sc": 0.5, "m1_max": 0.75, "m2": 0.3},
    }  # fmt: skip


def test_a_class_without_exams_has_no_analysis_of_students(held: Class) -> None:
    held.lessons = [
        replace(
            lesson, rationales=tuple(replace(one, answer=None, correct=False, exams=()) for one in lesson.rationales)
        )
        for lesson in held.lessons
    ]
    summary = held.summary()
    names = ("shapley", "agreement", "abilities", "curves", "fidelity", "equal_up")
    assert [summary[name] for name in names] == [None] * 5 + [[]]


def test_agents_and_counts_come_from_the_gradebook(held: Class) -> None:
    summary = held.summary()
    tess, ada, _ = summary["agents"]
    assert (tess["requests"], tess["completion_tokens"], tess["busy_seconds"]) == (8, 160, 12.0)
    assert (ada["requests"], ada["prompt_tokens"], ada["cached_prompt_tokens"]) == (8, 800, 480)
    assert (ada["restarts"], ada["failed"], ada["role"]) == (1, 0, "student")
    assert summary["counts"] == {
        "teaching_problems": 2, "teaching_rationales": 6, "exam_answers": 16, "requests": 24, "failed": 0, "reused": 3,
        "unparsable_rationales": 1, "identical_rationales": 1, "cut_off": 0, "unparsable_exam_answers": 0,
        "mixed_grades": 0, "questions_and_answers": 0, "without_dialogue": 0, "exam_answers_left_out": 0,
        "problems_without_common_exams": 0, "problems_without_exams": 0, "further_rationales": 0,
        "problems_with_most_further": 0,
        "later_exam_answers": 0, "unparsable_later_exam_answers": 0,
        "teacher_exam_answers": 0, "unparsable_teacher_exam_answers": 0,
        "formulas_not_compared": 0, "training_answers": 0, "unparsable_training_answers": 0,
        "held_out_answers": 0, "unparsable_held_out_answers": 0, "solutions": 0, "solution_tokens": 0,
        "alone_answers": 0, "unparsable_alone_answers": 0, "judgements": 0, "unparsable_judgements": 0,
        "repairs": 0, "repairs_right": 0, "exam_repairs": 0, "exam_repairs_right": 0,
    }  # fmt: skip
    assert (summary["wall_seconds"], summary["status"], summary["simulated"]) == (12.5, "complete", False)


def test_what_was_spent_is_added_over_replicas_and_null_where_nothing_is_known(held: Class) -> None:
    facts = msgspec.structs.replace(FACTS, spent={"ada": 0.5, "ada.2": 0.25, "ada.3": 0.0})
    assert [agent["spent"] for agent in held.summary(facts=facts)["agents"]] == [None, 0.75, None]
    assert {agent["spent"] for agent in held.summary()["agents"]} == {None}


def test_what_servers_did_not_take_is_added_up_over_replicas(held: Class, tmp_path: Path) -> None:
    (tmp_path / "server-ada").write_bytes(msgspec.json.encode(ServerNotes(("seed", "top_k"), 3)))
    (tmp_path / "server-ada.2").write_bytes(msgspec.json.encode(ServerNotes(("seed",), 4, 5)))
    (tmp_path / "server-ada.3").write_text("cut o")
    (tmp_path / ".server-ada.4.99.partial").write_bytes(msgspec.json.encode(ServerNotes(("stream",))))
    facts = msgspec.structs.replace(FACTS, server_notes=server_notes_in(tmp_path))
    tess, ada, _ = held.summary(facts=facts)["agents"]
    assert (ada["without"], ada["role_marks_broken"], ada["answers_cut"]) == (["seed", "top_k"], 7, 5)
    assert (tess["without"], tess["role_marks_broken"], tess["answers_cut"]) == ([], 0, 0)


def test_cut_off_and_unparsable_answers_are_counted(held: Class) -> None:
    held.exam(answer=None, finish_reason="length")
    counts = held.summary()["counts"]
    assert (counts["cut_off"], counts["unparsable_exam_answers"], counts["exam_answers"]) == (1, 1, 16)


def test_unparsable_answers_to_a_replaced_exam_problem_are_requests_but_no_exam_answers(held: Class) -> None:
    answer = Record(
        request_id="x", kind="Examine", agent="ada", stage="exam", tp="roses", tr="roses-0", ep="roses-ep0",
        text="and so", answer=None, correct=False,
    )  # fmt: skip
    before = held.summary()["counts"]
    held.write(answer, *(replace(answer, request_id=f"{tr} {ep}", tr=tr, ep=ep) for tr, ep in REPLACED))
    counts = held.summary()["counts"]
    assert counts["requests"] == before["requests"] + 4
    assert (counts["exam_answers"], counts["unparsable_exam_answers"]) == (before["exam_answers"], 1)


REPLACED = (("roses-0", "roses-ep2"), ("roses-2", "roses-ep2"), ("coins-2", "coins-ep0"))
"""TRs and EPs that are not asked of them."""


def lose_exams(held: Class, *lost: tuple[str, str]) -> None:
    """Take exams, by student and EP, from the second TR of coins, as if the requests had failed."""
    roses, coins = held.lessons
    rows = list(coins.rationales)
    rows[1] = replace(rows[1], exams=tuple(exam for exam in rows[1].exams if (exam.student, exam.ep) not in lost))
    held.lessons = [roses, replace(coins, rationales=tuple(rows))]


def test_exams_that_another_rationale_lacks_are_left_out_and_counted(held: Class) -> None:
    lose_exams(held, ("ada", "coins-ep0"))
    summary = held.summary()
    counts = summary["counts"]
    assert (counts["exam_answers"], counts["exam_answers_left_out"], counts["problems_without_common_exams"]) == (
        15, 1, 0,
    )  # fmt: skip
    # Per TR with an answer: roses 3 x 2 and coins 2 x 1 for ada, 3 x 2 and 2 x 2 for bob, of 5 TRs.
    assert [up["exams_per_rationale"] for up in summary["lineups"]] == [8 / 5, 2.0, 18 / 5]
    assert "left out of the scores" in " ".join(written(summary).split())


def test_a_problem_without_a_common_exam_is_decided_by_votes_and_counted(held: Class) -> None:
    lose_exams(held, ("ada", "coins-ep0"), ("ada", "coins-ep1"), ("bob", "coins-ep0"))
    roses, coins = held.lessons
    first = replace(coins.rationales[0], exams=coins.rationales[0].exams[:3])  # without bob's EP 1
    held.lessons = [roses, replace(coins, rationales=(first, *coins.rationales[1:]))]
    summary = held.summary()
    counts = summary["counts"]
    assert (counts["exam_answers_left_out"], counts["problems_without_common_exams"]) == (4, 1)
    assert summary["methods"]["m1_max"]["tie_share"] == 0.5
    assert summary["assumption"]["pairs"] == 2  # those of roses
    assert "without an exam under all rationales" in " ".join(written(summary).split())


@pytest.mark.parametrize("without", [("bob",), ("ada", "bob")])
def test_a_student_without_an_exam_has_no_figures_and_without_exams_m1_has_none(
    held: Class, without: tuple[str, ...]
) -> None:
    lost = [(name, f"{tp}-ep{n}") for name in without for tp in ("roses", "coins") for n in range(2)]
    held.lessons = [
        replace(
            lesson,
            rationales=tuple(
                replace(row, exams=tuple(exam for exam in row.exams if (exam.student, exam.ep) not in lost))
                for row in lesson.rationales
            ),
        )
        for lesson in held.lessons
    ]
    summary = held.summary()
    figures = {student["name"]: (student["m1_max"], student["m1_sum"]) for student in summary["students"]}
    assert {name for name, shares in figures.items() if shares == (None, None)} == {*without}
    examined = len(without) < 2
    assert (summary["methods"]["m1_max"]["n"] > 0) == (summary["methods"]["m1_sum"]["n"] > 0) == examined
    assert summary["methods"]["sc"]["n"] == 2


def test_answers_without_an_answer_are_counted_where_they_were_asked_for(held: Class) -> None:
    for number, stage in enumerate(("exam", "probe_exam", "probe_exam")):
        held.exam(f"x{number}", stage=stage, level=2, answer=None if number < 2 else "1")
    counts = held.summary()["counts"]
    assert counts["unparsable_exam_answers"] == 1, "those that measure a trained teacher are others"
    assert (counts["later_exam_answers"], counts["unparsable_later_exam_answers"]) == (2, 1)


def test_what_reading_solutions_takes_is_counted(held: Class) -> None:
    read = Record(request_id="g", kind="Grade", agent="ada", stage="grade", tp="roses", prompt_tokens=251, score=-1.0)
    held.write(read)
    counts = held.summary()["counts"]
    assert (counts["solutions"], counts["solution_tokens"]) == (1, 251)


def test_at_level_3_students_answers_are_counted_apart_from_the_teachers_own(held: Class) -> None:
    answers = (
        Answers("ada", "exam", 40, 1, {"tess": 16}), Answers("bob", "exam", 40, 2, {}),
        Answers("tess", "exam", 16, 1, {}), Answers("tess", "score", 1680, 33, {}), Answers("tess", "test", 400, 6, {}),
    )  # fmt: skip
    counts = held.summary(iteration=Iteration((), answers))["counts"]
    without = held.summary()["counts"]
    assert counts["exam_answers"] == without["exam_answers"] + 80
    assert counts["unparsable_exam_answers"] == 3
    assert (counts["teacher_exam_answers"], counts["unparsable_teacher_exam_answers"]) == (16, 1)
    assert (counts["training_answers"], counts["unparsable_training_answers"]) == (1680, 33)
    assert (counts["held_out_answers"], counts["unparsable_held_out_answers"]) == (400, 6)
    shared = {agent["name"]: agent["shared"] for agent in held.summary(iteration=Iteration((), answers))["agents"]}
    assert shared == {"tess": {}, "ada": {"tess": 16}, "bob": {}}


def test_at_level_3_alone_an_item_that_a_student_answered_several_times_is_one_problem(held: Class) -> None:
    def sat(number: int, *sets: str) -> IterateRoundRecord:
        answers = {key: {"ada": OwnAnswers(("i1", "i2", "i3"), ("i4", "i5", "i6"))} for key in sets}
        return IterateRoundRecord(number, sets, {}, (), 0, {}, (), (), answers=answers)

    first = ArmRun("class", 0, (sat(1, "a", "b"), sat(2, "b")), {}, {}, {}, 0)
    held.lessons = []
    iteration = Iteration((first, replace(first, run=1), replace(first, arm="self")))
    found = held.summary(iterated.scenario(("ada", "bob")), iteration=iteration)
    ada, bob = found["students"]
    assert (ada["exam_accuracy"], ada["exam_answers"]) == (0.5, 36)
    assert tuple(ada["ci95"]) == clustered([(6, 6)] * 3 + [(0, 6)] * 3)
    assert (bob["exam_accuracy"], bob["exam_answers"], bob["ci95"]) == (None, 0, [0.0, 1.0])


def test_failures_are_listed_until_they_are_asked_again(held: Class) -> None:
    held.exam(agent="bob", failed="context", detail="too long")
    summary = held.summary()
    assert summary["failures"] == [{"request": "x", "agent": "bob", "kind": "context", "detail": "too long"}]
    assert (summary["counts"]["failed"], summary["agents"][2]["failed"]) == (1, 1)
    retried = held.summary(given_up=frozenset({"x"}))
    assert (retried["failures"], retried["counts"]["failed"], retried["agents"][2]["failed"]) == ([], 0, 0)


def test_empty_answers_and_failures_are_counted_by_agent_stage_and_reason(held: Class) -> None:
    exams = [r for r in held.store.results() if r.stage == "exam" and r.agent == "ada"]
    refused: dict[str, Any] = {
        "failed": "engine",
        "detail": "refused: the model declines to answer: I cannot do that",
        "answer": None,
    }
    more: list[dict[str, Any]] = [
        {"text": ""},
        {"text": " \n\t", "thought_tokens": 7},
        refused,
        refused | {"detail": "refused: the model declines to answer: no"},
        {"failed": "context", "detail": "too long"},
        {"failed": "engine", "detail": "again"},
    ]
    records = [replace(exams[0], request_id=f"more{n}", **one) for n, one in enumerate(more)]
    grade = replace(exams[0], request_id="grade", kind="Grade", stage="grade", text="", correct=None)
    held.write(*records, grade)
    summary = held.summary(given_up=frozenset({"more5"}))
    assert [one for one in summary["unanswered"] if one["agent"] == "ada"] == [
        {
            "agent": "ada",
            "stage": "exam",
            "requests": len(exams) + 5,
            "empty": 2,
            "empty_after_thoughts": 1,
            "failed": 3,
            "reasons": {"context": 1, "refused: the model declines to answer": 2},
        }
    ]
    assert [(agent["thoughts"], agent["thought_tokens"]) for agent in summary["agents"]] == [(0, 0), (1, 7), (0, 0)]
    said = " ".join(written(summary).split())
    assert (
        f"ada: of {len(exams) + 5} exam answers, 2 were empty (1 of them thoughts and nothing else: raise "
        "exam.sampling.max_tokens, or iterate.answering.max_tokens where sets of exemplars are examined) "
        "and 3 failed (1 context, 2 refused: the model declines to answer)."
    ) in said
    assert "ada: 1 answer came with thoughts, which are left out" in said


def test_an_agent_that_only_the_results_know_is_still_there(held: Class) -> None:
    summary = held.summary(facts=replace(FACTS, agents=()))
    assert [(a["name"], a["role"]) for a in summary["agents"]] == [
        ("ada", "student"), ("bob", "student"), ("tess", "teacher"),
    ]  # fmt: skip


def test_a_class_with_a_simulated_agent_says_so(held: Class) -> None:
    simulated = replace(SCENARIO, teacher=Agent(name="tess", engine="simulated"))
    assert held.summary(simulated)["simulated"]
    agents = (AgentFacts("tess", "teacher", "simulated", "simulated", "cpu"),)
    assert held.summary(facts=replace(FACTS, agents=agents))["simulated"]


# --- unfinished classes ---------------------------------------------------------------------------------


def test_of_a_complete_class_every_problem_counts_whatever_failed(held: Class) -> None:
    held.lessons[0] = replace(held.lessons[0], greedy=None, rationales=())
    methods = held.summary()["methods"]
    assert {name: (m["accuracy"], m["n"]) for name, m in methods.items()} == dict.fromkeys(methods, (0.5, 2))


@pytest.mark.parametrize("lost", ["greedy", "rationale", "exam"])
def test_of_an_interrupted_class_only_whole_problems_count(held: Class, lost: str) -> None:
    roses = held.lessons[0]
    fewer = {
        "greedy": replace(roses, greedy=None),
        "rationale": replace(roses, rationales=roses.rationales[:2]),
        "exam": replace(
            roses,
            rationales=(*roses.rationales[:2], replace(roses.rationales[2], exams=roses.rationales[2].exams[1:])),
        ),
    }
    held.lessons[0] = fewer[lost]
    summary = held.summary(facts=replace(FACTS, status="interrupted"))
    assert {m["n"] for m in summary["methods"].values()} == {1}
    assert summary["counts"]["teaching_problems"] == 2
    assert "cover 1 of 2 teaching problems" in summary["caution"]


def test_a_class_that_was_stopped_at_once_has_a_summary(held: Class) -> None:
    held.lessons = [TeachingProblemRecord("roses", "number", None, ())]
    summary = held.summary(facts=replace(FACTS, status="interrupted"))
    assert summary["methods"]["m1_sum"] == {
        "accuracy": None, "ci95": [0.0, 1.0], "n": 0, "completion_tokens": 0, "tie_share": None,
        "prompt_tokens": 0, "cached_prompt_tokens": 0, "rationales": 0,
        "accuracy_random_ties": None, "s_score": None,
    }  # fmt: skip
    assert (summary["paired"], summary["assumption"]["pairs"]) == ([], 0)
    assert "nothing to compare" in summary["caution"]


def test_a_class_without_the_greedy_baseline_keeps_its_name(held: Class) -> None:
    summary = held.summary(replace(SCENARIO, lesson=LessonSection(rationales=3, greedy=False)))
    assert (summary["methods"]["greedy"]["n"], summary["methods"]["sc"]["n"]) == (0, 2)
    assert [(p["a"], p["b"]) for p in summary["paired"]] == [("m1_sum", "sc"), ("m1_max", "sc"), ("m1_sum", "m1_max")]


def test_few_problems_come_with_a_caution_and_many_do_not(held: Class) -> None:
    assert "2 teaching problems can show no difference between two methods" in held.summary()["caution"]
    held.lessons = [replace(held.lessons[0], tp=f"roses{i}") for i in range(20)]
    assert held.summary()["caution"] is None


# --- what the events say --------------------------------------------------------------------------------

STARTED = json.dumps([{"name": "ada", "role": "student", "model": "m", "engine": "transformers", "device": "cpu"}])


def test_the_facts_come_from_the_events_alone(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        store.note("", "started", "[]")
        store.note("ada", "restart")
        store.note("", "session", json.dumps({"wall_seconds": 10.0, "reused": 0, "status": "interrupted"}))
        store.note("", "stopped")
        store.note("", "not_compared", "3")
        assert facts_from(store) == RunFacts((), 10.0, "interrupted", 0, not_compared=3)
        store.note("", "started", STARTED)
        store.note("ada", "restart")
        store.note("broker", "restart")
        store.note("", "session", json.dumps({"wall_seconds": 2.5, "reused": 7}))
        store.note("", "not_compared", "2")
        store.note("", "complete")
        ada = AgentFacts("ada", "student", "m", "transformers", "cpu", restarts=2)
        assert facts_from(store) == RunFacts((ada,), 12.5, "complete", 7, not_compared=5)


def test_programs_that_ran_without_a_sandbox_are_told_whatever_the_last_session_did(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        store.note("", "started", STARTED)
        store.note("", "unprotected", "programs of models run without a sandbox")
        store.note("", "started", STARTED)
        store.note("", "complete")
        assert facts_from(store).unprotected


def test_a_failed_session_is_no_interruption(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        store.note("", "started", STARTED)
        store.note("", "session", json.dumps({"wall_seconds": 1.0, "status": "failed"}))
        store.note("", "stopped", "nobody came")
        assert facts_from(store).status == "failed"
        store.note("", "started", STARTED)
        assert facts_from(store).status == "interrupted"


def test_a_killed_session_counts_up_to_the_last_thing_it_wrote(tmp_path: Path) -> None:
    with Store(tmp_path, write=True):
        pass
    rows = [
        ("2026-01-01T10:00:00.000+00:00", "", "started", STARTED),
        ("2026-01-01T10:00:20.500+00:00", "ada", "joined", ""),
        ("2026-01-01T11:59:59.000+00:00", "", "retry", "x"),
        ("2026-01-01T12:00:00.000+00:00", "", "started", STARTED),
        ("2026-01-01T12:00:03.000+00:00", "", "session", '{"wall_seconds": 3.25}'),
        ("2026-01-01T13:00:00.000+00:00", "", "started", STARTED),
        ("2026-01-01T13:00:01.000+00:00", "ada", "joined", ""),
    ]
    db = sqlite3.connect(tmp_path / "class.db", isolation_level=None)
    db.executemany("INSERT INTO event(at, agent, kind, detail) VALUES (?, ?, ?, ?)", rows)
    db.close()
    with Store(tmp_path) as store:
        assert facts_from(store).wall_seconds == 20.5 + 3.25 + 1.0


def test_a_gradebook_without_events_has_no_facts_and_a_broken_event_is_named(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        assert facts_from(store) == RunFacts((), 0.0, "interrupted", 0)
        store.note("", "started", "{")
        with pytest.raises(StoreError, match=r"event 1 \(started\)"):
            facts_from(store)


# --- the file -------------------------------------------------------------------------------------------


def test_the_file_holds_the_summary_and_nothing_is_left_beside_it(held: Class, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    summary = summarize(SCENARIO, held.lessons, same, held.store, FACTS)
    (folder / "summary.json").write_text("{}")
    write_summary(folder / "summary.json", summary)
    assert json.loads((folder / "summary.json").read_text()) == as_json(summary)
    assert os.listdir(folder) == ["summary.json"]


def test_a_summary_that_cannot_be_written_leaves_the_old_one(held: Class, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "summary.json").mkdir(parents=True)
    with pytest.raises(OSError, match=r"summary\.json"):
        write_summary(folder / "summary.json", summarize(SCENARIO, held.lessons, same, held.store, FACTS))
    assert os.listdir(folder) == ["summary.json"]


def test_the_same_class_has_the_same_summary(held: Class) -> None:
    one = held.summary()
    held.lessons = [replace(lesson, rationales=lesson.rationales[::-1]) for lesson in held.lessons]
    assert held.summary() == one


# --- with log-probabilities ------------------------------------------------------------------------------

DENSE = replace(SCENARIO, exam=Exam(problems=2, score="logprob"))


def graded(held: Class, by_answer: Mapping[str | None, float]) -> None:
    """Every TR gets the same log-probability from both students on both EPs, by its answer."""
    held.lessons = [
        replace(
            lesson,
            rationales=tuple(
                replace(
                    r,
                    grades=tuple(
                        ExamGrade(s, f"{lesson.tp}-ep{n}", by_answer[r.answer]) for s in ("ada", "bob") for n in (0, 1)
                    ),
                )
                for r in lesson.rationales
                if r.answer is not None
            ),
        )
        for lesson in held.lessons
    ]


def test_log_probabilities_choose_beside_the_ordinary_methods(held: Class) -> None:
    ordinary = held.summary()["methods"]
    graded(held, {"5": -0.1, "7!": -2.0, "9!": -0.3, "8": -4.0})
    summary = held.summary(DENSE)
    methods = summary["methods"]
    assert {name: m["accuracy"] for name, m in methods.items() if name in ordinary} == {
        name: m["accuracy"] for name, m in ordinary.items()
    }
    assert {name: m["accuracy"] for name, m in methods.items() if name not in ordinary} == {
        "m1_max_logprob": 0.5, "m1_sum_logprob": 0.5, "m1_avg_logprob": 0.5,
    }  # fmt: skip
    assert methods["m1_sum_logprob"]["completion_tokens"] == methods["sc"]["completion_tokens"]
    assert ("m1_max_logprob", "m1_max") in [(p["a"], p["b"]) for p in summary["paired"]]
    # On roses the exams prefer 7 and the log-probabilities 5, on coins both prefer 9.
    assert summary["dense"]["kendall_tau_b"] == pytest.approx(0.0)
    assert (summary["dense"]["same_max"], summary["dense"]["grades"], summary["dense"]["n"]) == (0.5, 16, 2)


def test_without_log_probabilities_nothing_is_said_of_them(held: Class) -> None:
    summary = held.summary()
    assert summary["dense"] is None
    assert not any("logprob" in name for name in summary["methods"])


def test_log_probabilities_that_were_never_asked_choose_nothing(held: Class) -> None:
    summary = held.summary(DENSE)
    assert summary["methods"]["m1_max_logprob"]["n"] == 0
    assert summary["methods"]["m1_max_logprob"]["accuracy"] is None
    assert (summary["dense"]["grades"], summary["dense"]["same_max"]) == (0, None)
    assert "never asked" in written(summary)


def test_of_an_unfinished_class_only_problems_with_all_their_grades_count(held: Class) -> None:
    stopped = replace(FACTS, status="interrupted")
    assert held.summary(DENSE, stopped)["best_possible"]["n"] == 0
    graded(held, {"5": -0.1, "7!": -2.0, "9!": -0.3, "8": -4.0})
    # The third TR of coins has no answer, and `graded` left it out: that TP is not whole.
    assert held.summary(DENSE, stopped)["best_possible"]["n"] == 1


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_agreement_is_told_to_people(held: Class, width: int) -> None:
    graded(held, {"5": -0.1, "7!": -2.0, "9!": -0.3, "8": -4.0})
    told = written(held.summary(DENSE), width)
    assert "M1 SUM log p" in told
    assert "tau-b within a problem is 0.00" in " ".join(told.split())


def written(summary: Mapping[str, Any], width: int = 80) -> str:
    return printed(summary_tables(msgspec.convert(summary, Summary)), width=width)
