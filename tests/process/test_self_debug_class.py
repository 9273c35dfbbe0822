"""A class whose agents repair their programs, with real processes: its figures, its texts, killed and resumed."""

import base64
import json
import shutil
import sqlite3
import zlib
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from scenarios.config import load
from scenarios.monitor.follow import Follower
from scenarios.report.page.texts import REPAIRED, TextPack, keep_packs
from scenarios.scoring.lbt import distinct, lbt_scores
from scenarios.session.run_dir import RunFolder
from scenarios.store.sqlite import Store
from tests import classes
from tests.classes import summary

SCENARIO = """\
name: repaired
task: {file: FILE, problems: 3, sandbox: none}
teacher: {name: teacher, engine: simulated, engine_args: {ability: -1.0, unparsable_rate: 0.1}}
students:
  - {name: ada, engine: simulated}
  - {name: bob, engine: simulated, engine_args: {ability: 1.0, unparsable_rate: 0.2}}
lesson: {rationales: 6, self_debug: true}
exam: {problems: 3, self_debug: true}
"""
FILE = classes.ROOT / "scenarios" / "tasks" / "code" / "game_theory.jsonl"
REPAIRS = ("repair", "exam_repair")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repaired")
    (folder / "class.yaml").write_text(SCENARIO.replace("FILE", str(FILE)))
    classes.finish(classes.start(folder / "run", scenario=folder / "class.yaml"))
    return folder / "run"


def test_repairs_are_counted_and_some_of_them_pass(finished: Path) -> None:
    with Store(finished) as store:
        asked = {stage: list(store.results("stage = ?", stage)) for stage in (*REPAIRS, "greedy", "teach", "exam")}
    counts = summary(finished)["counts"]
    for stage, name in zip(REPAIRS, ("repairs", "exam_repairs"), strict=True):
        right = sum(bool(one.correct) for one in asked[stage])
        assert counts[name] == len(asked[stage]) > counts[f"{name}_right"] == right > 0, stage
        assert all(bool(one.failing) is (one.correct is False and one.answer is not None) for one in asked[stage])
    assert any(one.answer is None for stage in REPAIRS for one in asked[stage]), "it changes nothing"
    assert len(asked["exam_repair"]) == sum(bool(one.failing) for one in asked["exam"])
    said = " ".join(classes.say("report", finished).split())
    assert f"the teacher repaired {counts['repairs']} programs, of which {counts['repairs_right']} then passed" in said
    methods, agents = summary(finished)["methods"], {one["name"]: one for one in summary(finished)["agents"]}
    spent = sum(one["completion_tokens"] for one in agents.values())
    paid = methods["m1_max"]["completion_tokens"] + methods["greedy"]["completion_tokens"]
    assert paid >= spent, "identical rationales share a repair, which counts for each"


def test_a_student_is_right_where_its_repair_is(finished: Path) -> None:
    with Store(finished) as store:
        rows = [one for one in store.results() if one.stage in ("exam", "exam_repair")]
        of_view = {(tr, student): (score, n) for tr, student, score, n in store.rows("SELECT * FROM lbt_score")}
    for student in summary(finished)["students"]:
        own = [one for one in rows if one.agent == student["name"]]
        assert student["exam_answers"] == sum(one.stage == "exam" for one in own)
        right = sum(bool(one.correct) for one in own)
        assert student["exam_accuracy"] == pytest.approx(right / student["exam_answers"])
    folder = RunFolder(finished)
    with folder.recorded(folder.scenario()) as one:
        for lesson in one.outcome.lessons:
            for name in ("ada", "bob"):
                scores = lbt_scores(lesson.rationales, [name], "answers")
                for rationale in (r for r in lesson.rationales if r.exams):
                    assert of_view[rationale.id, name] == (pytest.approx(float(scores[rationale.id])), 3)


def test_the_monitor_sees_what_the_report_says(finished: Path) -> None:
    with Store(finished) as store:
        follower = Follower(store, load.read(finished / "scenario.yaml"))
        follower.look()
        while follower.behind:
            follower.look()
    found = {row.name: row.share for row in follower.standing().methods}
    assert found["greedy"] == summary(finished)["methods"]["greedy"]["accuracy"]
    students = {row.name: row.share for row in follower.standing().students}
    assert students == {one["name"]: pytest.approx(one["exam_accuracy"]) for one in summary(finished)["students"]}
    assert {follower.totals[stage] for stage in REPAIRS} == {
        summary(finished)["counts"][name] for name in ("repairs", "exam_repairs")
    }


def test_show_and_the_page_have_both_programs(finished: Path) -> None:
    with Store(finished) as store:
        (exam,) = list(store.results("stage = 'exam_repair' AND answer IS NOT NULL"))[:1]
        (repair,) = list(store.results("stage = 'repair' AND answer IS NOT NULL"))[:1]
    of_tr = json.loads(classes.say("show", finished, repair.tp, repair.tr, "--json"))
    assert of_tr["repair"]["text"] == repair.text
    assert of_tr["repair"]["cases"]
    assert of_tr["text"] != repair.text
    said = classes.say("show", finished, repair.tp, repair.tr)
    assert "its program fails visible cases" in said
    assert "Your program fails:" in said
    assert "; gold: " not in said, "the gold program stands at the top"
    of_student = json.loads(classes.say("show", finished, exam.tp, exam.tr, exam.agent, "--json"))
    shown = {(one["ep"], one["repeat"]): one["repair"] for one in of_student["exams"]}
    assert shown[exam.ep, exam.repeat]["text"] == exam.text
    said = classes.say("show", finished, exam.tp, exam.tr, exam.agent)
    assert "[repaired: " in said and "Answer: its " in said and "[gold answer]" in said
    assert (finished / "report.html").is_file()


def test_the_page_has_a_repair_below_every_text_that_shares_it(finished: Path, tmp_path: Path) -> None:
    folder, shared = RunFolder(finished), 0
    with folder.recorded(folder.scenario()) as one:
        packs = keep_packs(tmp_path, one.store, one.outcome.lessons, one.bank, one.asked)
    for pack in packs.inline:
        texts: dict[int, list[str]] = {}
        unpacked = msgspec.json.decode(zlib.decompress(base64.b64decode(pack), wbits=31), type=TextPack)
        for rationale in unpacked.rationales:
            texts.setdefault(rationale.material, []).append(rationale.text)
        assert all(len({*twins}) == 1 for twins in texts.values())
        shared += sum(len(twins) > 1 and REPAIRED in twins[0] for twins in texts.values())
    assert shared, "two rationales share a repair"


def test_repairs_are_exported(finished: Path, tmp_path: Path) -> None:
    classes.say("export", finished, "--to", "jsonl", "--out", tmp_path)
    tables = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("rationales", "exams", "students")
    }
    texts = {one["request_id"]: one for one in tables["rationales"]}
    repairs = [one for one in tables["rationales"] if one["stage"] == "repair"]
    assert len(repairs) == summary(finished)["counts"]["repairs"]
    assert all(texts[one["repairs"]]["failing"] for one in repairs)
    assert all(one["exam_answers"] == 0 for one in repairs)
    exams = {(one["tr"], one["ep"], one["student"], one["repeat"]) for one in tables["exams"] if one["failing"]}
    for one in tables["exams"]:
        if one["stage"] == "exam_repair":
            assert (one["tr"], one["ep"], one["student"], one["repeat"]) in exams
    by_name = {one["name"]: one for one in summary(finished)["students"]}
    for one in tables["students"]:
        assert one["exam_answers"] == by_name[one["student"]]["exam_answers"]
        assert one["accuracy"] == pytest.approx(by_name[one["student"]]["exam_accuracy"])


def test_a_killed_class_goes_on_to_the_same_results_and_asks_nothing_twice(finished: Path, tmp_path: Path) -> None:
    out, scenario = tmp_path / "run", finished.parent / "class.yaml"
    slow = ("teacher.engine_args.tokens_per_second=200", "students.*.engine_args.tokens_per_second=200")

    def repairs() -> int:
        with Store(out) as store:
            return len(list(store.results("stage IN ('repair', 'exam_repair')")))

    process = classes.start(out, *slow, scenario=scenario)
    classes.wait_until(process, lambda: classes.results(out) > 0 and repairs() > 3)
    process.kill()
    process.communicate()
    before = classes.gradebook(out)
    fast = ("teacher.engine_args.tokens_per_second=100000", "students.*.engine_args.tokens_per_second=100000")
    said = classes.finish(classes.resume(out, *fast))
    assert f"{len(before)} results reused" in said
    assert classes.gradebook(out) == classes.gradebook(finished)
    assert summary(out)["methods"] == summary(finished)["methods"]


def test_failed_repairs_are_asked_again(finished: Path, tmp_path: Path) -> None:
    out, scenario = tmp_path / "run", finished.parent / "class.yaml"
    failing = ("students.*.engine_args.failure_rate=0.3", "teacher.engine_args.failure_rate=0.3")
    classes.finish(classes.start(out, *failing, scenario=scenario), code=3)
    classes.say("resume", out, "--retry-failed", "--monitor", "off", code=3)
    with Store(out) as store:
        given_up = store.given_up()
        repairs = list(store.results("stage IN ('repair', 'exam_repair')"))
    failed = {one.stage for one in repairs if one.request_id in given_up}
    assert failed == {*REPAIRS}
    places = [(one.agent, one.tr, one.ep, one.repeat) for one in repairs if one.request_id not in given_up and one.ep]
    assert {(one.agent, one.tr, one.ep, one.repeat) for one in repairs if one.ep} == {*places}
    assert summary(out)["status"] == "complete"


def test_exams_from_before_a_failed_repair_succeeded_are_not_shown(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    with Store(out) as store:
        taught = {one.request_id for one in store.results("stage = 'teach'")}
        repair = next(one for one in store.results("stage = 'repair'") if one.correct and one.tr in taught)
    db = sqlite3.connect(out / "class.db")
    with db:
        failed = "UPDATE result SET failed = 'engine', text = '', answer = NULL, failing = '' WHERE request_id = ?"
        db.execute(failed, [repair.request_id])
        db.execute("DELETE FROM grade WHERE request_id = ?", [repair.request_id])
    db.close()
    classes.finish(classes.resume(out), code=3)
    before = classes.results(out)
    classes.say("resume", out, "--retry-failed", "--monitor", "off")
    assert classes.results(out) > before
    shown = json.loads(classes.say("show", out, repair.tp, repair.tr, "--json"))
    tally = {name: of["n"] for name, of in shown["rationale"]["exams"].items()}
    assert Counter(one["student"] for one in shown["exams"]) == tally
    folder = RunFolder(out)
    with folder.recorded(folder.scenario()) as one:
        packs = keep_packs(tmp_path, one.store, one.outcome.lessons, one.bank, one.asked)
        exams = sum(len(rationale.exams) for lesson in one.outcome.lessons for rationale in distinct(lesson))
    unpacked = [msgspec.json.decode(zlib.decompress(base64.b64decode(p), 31), type=TextPack) for p in packs.inline]
    assert sum(len(one.exams) for one in unpacked) == exams


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("level=2",), "goes with level 1 alone"),
        (("level=3", "iterate.material=rationale"), "goes with level 1 alone"),
        (("lesson.equal_cost=true",), "goes without lesson.equal_cost"),
        (("baselines=[students_alone]",), "goes without the baseline students_alone"),
        (("exam.score=logprob",), "leave exam.score out"),
        (("exam.self_debug=maybe",), "needs true or false"),
    ],
)
def test_what_it_does_not_go_with_is_refused(finished: Path, overrides: tuple[str, ...], why: str) -> None:
    said = classes.say("plan", finished.parent / "class.yaml", *classes.sets(*overrides), code=2)
    assert why in " ".join(said.split())


@pytest.mark.parametrize("key", ["lesson.self_debug", "exam.self_debug"])
def test_problems_without_programs_are_refused(key: str) -> None:
    said = classes.say("plan", classes.ROOT / classes.SMOKE, "--set", f"{key}=true", code=2)
    assert f"--set {key}" in said
    assert "is for code problems" in said


def test_the_plan_is_an_upper_bound(finished: Path) -> None:
    planned = json.loads(classes.say("plan", finished.parent / "class.yaml", "--json"))["counts"]
    counts = summary(finished)["counts"]
    assert planned["repairs"] == 3 + 18 + 18 * 3 * 2
    assert counts["repairs"] + counts["exam_repairs"] <= planned["repairs"]
    assert counts["requests"] <= planned["requests"]
    assert sum(one["prompt_tokens"] for one in summary(finished)["agents"]) <= planned["prompt_tokens"]
