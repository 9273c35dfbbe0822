"""Studies as a user runs them: many classes of real processes, and one comparison."""

import html
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scenarios.report.steering import AFTER_A_LOOK
from tests import classes

STUDY = """
study: trial
base: {base}
set: {{task.problems: 4, lesson.rationales: 3, exam.problems: 1}}
students:
  - {{name: peer-1, engine: simulated}}
  - {{name: peer-2, engine: simulated}}
  - {{name: bold, engine: simulated, engine_args: {{ability: 1.5}}}}
lineups:
  copies: [peer]
  mixed: [peer.1, bold]
cross:
  teacher.engine_args.ability: [-0.5, 1.0]
seeds: [1]
primary: [mixed - copies, mixed - sc]
"""
LOW, HIGH = (f"teacher.engine_args.ability={ability}_seed=1" for ability in (-0.5, 1.0))


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("file") / "trial.yaml"
    file.write_text(STUDY.format(base=classes.ROOT / classes.SMOKE))
    return file


@pytest.fixture(scope="module")
def finished(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    said = classes.say("study", study_file, "--out", out, "--monitor", "off")
    assert "class 2 of 2: teacher.engine_args.ability=1.0, seed=1" in said
    assert "mixed against copies: " in said
    return out


def result(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "study.json").read_text())
    return found


def start(file: Path, out: Path, *overrides: str) -> subprocess.Popen[str]:
    words = classes.command("study", file, "--out", out, "--monitor", "off", *classes.sets(*overrides))
    return subprocess.Popen(words, cwd=classes.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_study_runs_a_class_per_cell_and_pools_them_over_distinct_problems(finished: Path) -> None:
    found = result(finished)
    assert found["status"] == "complete" and found["simulated"] is True
    assert [(run["cell"], run["status"], run["n"]) for run in found["runs"]] == [
        (LOW, "complete", 4),
        (HIGH, "complete", 4),
    ]
    # Both teachers have the problems of one seed: four clusters, not eight.
    assert [one["n"] for one in found["primary"]] == [4, 4]
    assert {(one["a"], one["b"]) for one in found["primary"]} == {("mixed", "copies"), ("mixed", "sc")}
    assert all(one["p_holm"] >= one["p_value"] for one in found["primary"])
    assert [one["name"] for one in found["lineups"]] == ["copies", "mixed"]
    assert [one["name"] for one in found["shapley"]["students"]] == ["peer-1", "peer-2", "bold"]
    assert found["shapley"]["n"] == 4
    names = [f"all without {name}" for name in ("peer-1", "peer-2", "bold")]
    assert [one["b"] for one in found["leave_one_out"]] == [*names, *(f"{name}.sum" for name in names)]
    m1_max = found["methods"]["m1_max"]["accuracy"]
    copies = next(one for one in found["lineups"] if one["name"] == "copies")
    assert found["leave_one_out"][2]["difference"] == pytest.approx(m1_max - copies["m1_max"])
    assert not any(name.startswith("all") for name in found["methods"])
    assert "runs/" in (finished / "report.html").read_text()


def test_a_line_up_of_a_study_is_scored_from_the_records_of_its_class(finished: Path) -> None:
    for run in result(finished)["runs"]:
        summary = json.loads((finished / run["folder"] / "summary.json").read_text())
        by_students = {tuple(one["students"]): one for one in summary["lineups"]}
        for name, members in (("copies", ("peer-1", "peer-2")), ("mixed", ("peer-1", "bold"))):
            for rule in ("m1_max", "m1_sum"):
                assert run["lineups"][name][rule] == by_students[members][rule]
        assert run["methods"]["sc"] == summary["methods"]["sc"]["accuracy"]


def test_a_line_up_is_compared_with_self_consistency_at_its_own_cost(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lineups = "lineups={mixed: [peer.1, bold], everyone: [peer, bold]}"
    primary = "primary=[mixed - sc_at_cost, sc_at_cost - everyone.sum, everyone - shortest]"
    said = classes.finish(start(study_file, out, lineups, primary, "cross={}", "set.lesson.equal_cost=true"))
    found = result(out)
    assert "mixed against SC at the cost of mixed: " in said
    assert [(one["a"], one["b"]) for one in found["primary"]] == [
        ("mixed", "mixed.sc_at_cost"),
        ("everyone.sc_at_cost", "everyone.sum"),
        ("everyone", "shortest"),
    ]
    (run,) = found["runs"]
    summary = json.loads((out / run["folder"] / "summary.json").read_text())
    against = summary["baselines"]["shortest"]["against"]
    assert [found["primary"][2][key] for key in ("difference", "p_value")] == [
        against["difference"],
        against["p_value"],
    ]
    assert run["methods"]["shortest"] == summary["baselines"]["shortest"]["accuracy"]
    of_all = run["methods"]["sc_at_cost"]
    assert run["lineups"]["everyone"]["sc_at_cost"] == of_all == summary["methods"]["sc_at_cost"]["accuracy"]
    assert {one["name"]: one["sc_at_cost"] for one in found["lineups"]}["everyone"] == of_all


def test_report_makes_the_same_study_json_from_the_records_alone(finished: Path) -> None:
    before = result(finished)
    (finished / "study.json").unlink()
    assert json.loads(classes.say("report", finished, "--json")) == before == result(finished)


def test_a_finished_study_resumes_to_itself_without_starting_anything(finished: Path) -> None:
    before = [classes.events(finished / "runs" / cell, "joined") for cell in (LOW, HIGH)]
    assert classes.say("resume", finished).count("complete already") == 2
    assert before == [classes.events(finished / "runs" / cell, "joined") for cell in (LOW, HIGH)]


def test_a_resumed_study_asks_what_it_was_made_for(finished: Path) -> None:
    said = classes.say("resume", finished, "--set", "task.problems=5", code=2)
    assert "task.problems: 4 -> 5" in said


def test_a_study_says_first_that_one_of_its_classes_was_extended_alone(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    assert "The classes differ" not in " ".join(result(out)["answer"])
    classes.say("extend", out / "runs" / LOW, "--set", "exam.repeats=2", "--monitor", "off")
    classes.say("report", out)
    assert result(out)["answer"][0].startswith("The classes differ in exam.repeats, which the study does not vary")


def test_a_study_says_that_study_yaml_is_older_than_classes_that_were_extended_alike(
    finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    for cell in (LOW, HIGH):
        classes.say("extend", out / "runs" / cell, "--set", "lesson.rationales=4", "--monitor", "off")
    said = "The classes were extended, and study.yaml shows the old numbers: lesson.rationales: 3 -> 4."
    assert said in " ".join(classes.say("report", out).split())
    assert result(out)["answer"][-1] == f"{said} {AFTER_A_LOOK}" not in result(finished)["answer"]
    assert said in html.unescape((out / "report.html").read_text())


def test_a_study_interrupted_in_its_second_class_goes_on_there(
    finished: Path, study_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    second = out / "runs" / HIGH
    slow = ("students.0.engine_args={tokens_per_second: 20}", "students.0.capacity=1", "set.limits.drain_s=0.1")
    process = start(study_file, out, *slow)
    classes.wait_until(process, lambda: classes.results(second) > 3)
    process.send_signal(signal.SIGINT)
    said = classes.finish(process, code=130)
    assert f"Go on with: python run.py resume {out}" in said
    assert not (out / "study.json").exists()
    assert "Left out: 1 of 2 classes" in classes.say("report", out)
    kept = classes.gradebook(second)
    progress = json.loads(classes.say("show", out, "--json"))[1]["progress"]
    assert re.fullmatch(rf"{len(kept)} of at most 52 requests", progress)
    plan = json.loads(classes.say("plan", out, "--json"))["measured"]
    assert plan["recorded"]["requests"] == len(kept)
    assert plan["left"]["requests"] == plan["finished"]["requests"] - len(kept)
    said = classes.say("resume", out, "--monitor", "off")
    assert "class 1 of 2: teacher.engine_args.ability=-0.5, seed=1: complete already" in said
    assert kept < classes.gradebook(second) == classes.gradebook(finished / "runs" / HIGH)
    assert result(out)["primary"] == result(finished)["primary"]


def test_no_class_begins_after_an_interrupt_during_the_last_answers_of_another(
    study_file: Path, tmp_path: Path
) -> None:
    out, hold = tmp_path / "out", tmp_path / "hold"
    hold.touch()
    student = f"{{name: ada, engine: simulated, engine_args: {{pause_while: {hold}, pause_after: 1}}}}"
    small = ("set={task.problems: 1, lesson.rationales: 1, exam.problems: 2}", "lineups=all", "primary=[]")
    process = start(study_file, out, f"students=[{student}]", *small)
    first, second = out / "runs" / LOW, out / "runs" / HIGH
    classes.wait_until(process, lambda: classes.results(first) == 3)  # all but an exam answer, which is under way
    classes.interrupt(process, first)
    hold.unlink()
    said = classes.finish(process, code=130)
    assert f"Go on with: python run.py resume {out}" in said
    assert classes.results(first) == 4 and (first / "summary.json").is_file() and classes.results(second) == 0
    assert "class 1 of 2: teacher.engine_args.ability=-0.5, seed=1: complete already" in classes.say(
        "resume", out, "--monitor", "off"
    )
    assert result(out)["status"] == "complete"


def test_a_class_that_fails_is_reported_and_the_others_go_on(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    crash = "cross={teacher: [{engine_args: {crash_after: 2}}, {engine_args: {ability: 1.0}}]}"
    said = classes.finish(start(study_file, out, crash, "set.limits.restarts=0"), code=1)
    assert "failed: agent 'teacher'" in said
    assert f"1 of its classes failed. Go on with: python run.py resume {out}" in said
    found = result(out)
    assert found["status"] == "partial"
    assert [run["status"] for run in found["runs"]] == ["failed", "complete"]
    assert "agent 'teacher'" in found["runs"][0]["reason"]
    assert found["primary"][0]["n"] == 4
    again = json.loads(classes.say("report", out, "--json"))
    assert again == found


def test_a_study_of_students_that_do_not_differ_says_so_first(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    same = ("students=[{name: ada, engine: simulated}, {name: bob, engine: simulated}]", "lineups=all", "primary=[]")
    said = classes.finish(start(study_file, out, *same, "cross={}"))
    assert result(out)["answer"][0].startswith("The students do not differ: ada, bob are the same model")
    assert said.index("The students do not differ") < said.index("Line-ups, over")


def test_show_lists_the_classes_of_a_study_and_how_to_show_one(finished: Path) -> None:
    said = classes.say("show", finished)
    assert re.search(rf"{re.escape(LOW)} +complete +SC ", said)
    assert f"python run.py show {finished}/runs/{LOW}" in said
    found = json.loads(classes.say("show", finished, "--json"))
    assert [(one["cell"], one["status"]) for one in found] == [(LOW, "complete"), (HIGH, "complete")]
    assert "name one of its classes" in classes.say("show", finished, "1", code=2)


def test_a_study_is_exported_as_one_set_of_tables_with_its_factors(finished: Path, tmp_path: Path) -> None:
    said = classes.say("export", finished, "--to", "jsonl", "--out", tmp_path / "tables")
    rows = [json.loads(line) for line in (tmp_path / "tables" / "exams.jsonl").read_text().splitlines()]
    assert f"exams.jsonl: {len(rows)} rows" in said
    places = {(row["run"], row["factor_teacher.engine_args.ability"], row["factor_seed"]) for row in rows}
    assert places == {(LOW, "-0.5", "1"), (HIGH, "1.0", "1")}
    for cell in (LOW, HIGH):
        summary = json.loads((finished / "runs" / cell / "summary.json").read_text())
        assert sum(row["run"] == cell for row in rows) == summary["counts"]["exam_answers"]


def test_a_folder_with_a_study_is_refused(finished: Path, study_file: Path) -> None:
    said = classes.say("study", study_file, "--out", finished, code=2)
    assert f"{finished} holds a study: `python run.py resume {finished}`, or choose another --out" in said


def test_a_study_that_cannot_run_on_this_machine_starts_nothing(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = classes.say(
        "study",
        study_file,
        "--out",
        out,
        "--set",
        "cross={teacher: [{model: /nowhere, engine: auto, engine_args: {}}]}",
        code=2,
    )
    assert "cross" in said and "/nowhere" in said
    assert not out.exists()


def test_the_plan_of_a_study_says_what_sharing_saves(study_file: Path) -> None:
    plan = json.loads(classes.say("plan", study_file, "--json"))
    # A class asks 4 greedy answers, 12 rationales, and one exam answer of each of its students under each.
    assert [cell["requests"] for cell in plan["cells"]] == [4 + 12 + 36] * 2
    assert plan["requests"] == 2 * 52
    assert plan["separate_requests"] == 2 * 2 * (4 + 12 + 24)
    said = classes.say("plan", study_file)
    assert "1.5 times as many" in said and "How long it takes is not known" in said
    assert plan["most_problems"] == 4 and plan["cost"] is None
    plan = json.loads(classes.say("plan", study_file, "--seed", "5", "--json"))
    assert {one["seed"] for one in plan["cells"]} == {5}
    one = ("--set", "lineups={copies: [peer]}", "--set", "primary=[copies - sc]")
    said = " ".join(classes.say("plan", study_file, *one).split())
    assert "times as many" not in said and "Warning: bold takes exams, but is in no line-up." in said
    assert "in no line-up" not in classes.say("plan", study_file)
    unequal = ("--set", "lineups={both: [peer, bold], one: [bold]}", "--set", "primary=[both.sum - one]")
    assert "both has 3 times as many exam answers as one" in " ".join(classes.say("plan", study_file, *unequal).split())


def test_the_plan_of_a_study_that_has_begun_measures_its_finished_classes(finished: Path, tmp_path: Path) -> None:
    plan = json.loads(classes.say("plan", finished, "--json"))
    summaries = [json.loads((finished / "runs" / cell / "summary.json").read_text()) for cell in (LOW, HIGH)]
    took = plan["measured"]["finished"]
    assert took["seconds"] == pytest.approx(sum(one["wall_seconds"] for one in summaries))
    assert took["requests"] == sum(one["counts"]["requests"] for one in summaries)
    assert plan["measured"]["left"]["classes"] == 0
    assert [(one["a"], one["b"]) for one in plan["found"]] == [("mixed", "copies"), ("mixed", "sc")]
    assert "All is done: 2 classes took" in classes.say("plan", finished)
    copy = shutil.copytree(finished, tmp_path / "copy")
    (copy / "runs" / HIGH / "summary.json").unlink()  # interrupted after its last answer
    assert json.loads(classes.say("plan", copy, "--json"))["measured"] == plan["measured"]
    assert "this study has begun" in classes.say("plan", finished, "--set", "seeds=[1]", code=2)


def test_two_classes_are_compared_by_problem(finished: Path) -> None:
    low, high = finished / "runs" / LOW, finished / "runs" / HIGH
    found = json.loads(classes.say("compare", low, high, "--json"))
    methods = [json.loads((run / "summary.json").read_text())["methods"] for run in (low, high)]
    for one in found["paired"]:
        first, later = (method[one["method"]]["accuracy"] for method in methods)
        assert one["accuracy"] == [later, first]
        assert one["difference"]["difference"] == pytest.approx(later - first)
        assert one["difference"]["n"] == 4
    by_name = {one["method"]: one["accuracy"] for one in found["lineups"]}
    assert len(by_name) == 2 * 6
    of_runs = {run["cell"]: run["lineups"]["mixed"] for run in result(finished)["runs"]}
    for rule, term in (("m1_max", "peer-1+bold"), ("m1_sum", "peer-1+bold.sum")):
        assert by_name[term] == [of_runs[HIGH][rule], of_runs[LOW][rule]]
    assert found["runs"][1]["differs"] == ["teacher.engine_args.ability: -0.5 -> 1.0"]
    said = classes.say("compare", low, high)
    assert "M1 MAX" in said and "The same by line-up (MAX)" in said and "peer-1+bold" in said


def test_compare_says_which_part_of_the_problems_is_common_and_refuses_other_tasks(
    finished: Path, tmp_path: Path
) -> None:
    first = finished / "runs" / HIGH
    small = ("lesson.rationales=2", "exam.problems=1", "seed=1")
    classes.finish(classes.start(tmp_path / "fewer", "task.problems=2", *small))
    found = json.loads(classes.say("compare", first, tmp_path / "fewer", "--json"))
    assert {one["n"] for one in found["paired"]} == {2}
    assert "compared are the 2 that both have" in found["notes"][0]
    classes.finish(classes.start(tmp_path / "other", "task.family=chain_sum", "task.problems=2", *small))
    assert "task.family: 'gsm_symbolic' -> 'chain_sum'" in classes.say("compare", first, tmp_path / "other", code=2)
    classes.finish(classes.start(tmp_path / "seed", "task.problems=2", *small[:2], "seed=2"))
    said = classes.say("compare", first, tmp_path / "seed", code=2)
    assert "no teaching problem in common (seeds 1 and 2)" in said
    runs = [first, *(tmp_path / name for name in ("other", "fewer", "seed"))]
    found = json.loads(classes.say("compare", *runs, "--json"))
    assert [one["run"] for one in found["runs"]] == [str(runs[0]), str(runs[2])]
    left_out = f"with {first} (seed 1): {runs[1]} (another task), {runs[3]} (seed 2)."
    assert found["notes"][1] == f"Left out, for no problem in common {left_out}"
    assert "line-ups by MAX and SUM" in classes.say("compare", first, finished / "runs" / LOW)


def test_the_example_in_the_docs_is_what_that_study_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    page = (classes.ROOT / "docs" / "studies.md").read_text()
    shown = page.split("```\nsmoke_study  study of")[1].split("```")[0]
    said = classes.say("study", "scenarios/studies/smoke.yaml", "--out", tmp_path / "out", "--monitor", "off")
    assert shown in said
