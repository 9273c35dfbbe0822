"""Bad input gets an error of one to three lines, exit code 2, and starts nothing."""

import contextlib
import json
import sqlite3
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

import run
from agents.models.catalogue import ResolvedModel
from broker.errors import PlacementError, TaskError
from broker.interrupts import INTERRUPTS
from scenarios.config import load
from scenarios.report.console import say
from scenarios.session.conclusion import conclude
from scenarios.session.ending import Ending
from scenarios.session.run_dir import RunFolder
from tests import classes

GOOD = """\
name: small
task: {family: chain_sum, problems: 2}
teacher: {name: teacher, engine: simulated}
students:
  - {name: ada, engine: simulated}
"""


def refused(tmp_path: Path, text: str, *words: str) -> str:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(text)
    out = tmp_path / "run"
    said = classes.say(scenario, "--out", out, *words, code=2)
    assert not out.exists()
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 3, said
    return said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("problems: 2", "problms: 2", "did you mean 'problems'"),
        ("problems: 2", "problems: many", "class.yaml:2"),
        ("name: ada", "name: teacher", "teacher"),
        ("family: chain_sum", "family: chain_summ", "chain_sum"),
        ("family: chain_sum", "file: nowhere.jsonl", "nowhere.jsonl"),
        ("name: ada, engine: simulated", "name: ada, model: smollm2", "smollm2-135m-instruct"),
        ("name: ada, engine: simulated", "name: ada, engine: vlm", "transformers"),
        ("engine: simulated}\nstudents", "engine: simulated, gpu: 7}\nstudents", "GPU"),
        ("name: ada, engine: simulated", "name: ada, engine: simulated, engine_args: {abilty: 1}", "ability"),
        ("students:", "students: [", "class.yaml"),
        ("name: ada, engine: simulated", "name: ada, model: smollm2", "class.yaml:5: students.0.model (ada): "),
        ("name: ada, engine: simulated", "name: ada, model: ./gone", "/gone"),
        ("family: chain_sum", "family: chain_summ", "class.yaml:2: task.family: "),
        ("family: chain_sum", "file: nowhere.jsonl", "class.yaml:2: task.file: "),
        ("engine: simulated}\nstudents", "engine: simulated, gpu: 7}\nstudents", "yaml:3: teacher.gpu (teacher): "),
        ("ada, engine: simulated", "ada, engine: simulated, engine_args: {abilty: 1}",
         "class.yaml:5: students.0.engine_args.abilty (ada): no such argument; did you mean 'ability'?"),
        ("ada, engine: simulated", "ada, engine: simulated, engine_args: {ability: much}",
         "students.0.engine_args.ability (ada): needs a number, has text"),
        ("ada, engine: simulated", "ada, model: /x, engine: transformers, engine_args: {prefix_cach_mb: 1}",
         "yaml:5: students.0.engine_args.prefix_cach_mb (ada): no such argument; did you mean 'prefix_cache_mb'?"),
        ("ada, engine: simulated", "ada, model: m, engine: openai, engine_args: {base_url: x}",
         "class.yaml:5: students.0.engine_args.base_url (ada): no address of a server"),
        ("ada, engine: simulated", "ada, model: m, engine: openai, engine_args: {base_ur: x}",
         "did you mean 'base_url'?"),
        ("ada, engine: simulated", "ada, model: m, engine: vllm, engine_args: {tokenizer: x}",
         "class.yaml:5: students.0.engine_args.tokenizer (ada): cannot be set"),
        ("teacher: {name", "broker: {address: 'tcp://localhost:65535'}\nteacher: {name", "from 1 to 65534"),
        ("teacher: {name", "broker: {address: 'tcp://[::1::2]:5599'}\nteacher: {name", "class.yaml:3: broker.address"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_scenario(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in GOOD
    assert says in refused(tmp_path, GOOD.replace(old, new))


def test_a_malformed_line_of_a_problem_file_is_named(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "1 + 1?", "answer": "2"}\n{"question": "2 + 2?"\n')
    said = refused(tmp_path, GOOD.replace("family: chain_sum", "file: problems.jsonl"))
    assert "problems.jsonl" in said
    assert "2" in said


def test_too_few_problems_are_told_at_the_entry_that_asks_for_them(tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    said = refused(tmp_path, GOOD.replace("family: chain_sum", "file: problems.jsonl"))
    assert "class.yaml:2: task.problems: 2 are asked for" in said


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("task.family=chain_summ", "--set task.family: no family is called"),
        ("teacher.engine_args.abilty=1", "--set teacher.engine_args.abilty (teacher): no such argument"),
        ("students.*.gpu=7", "--set students.*.gpu: students.0.gpu (ada): asks for GPU 7"),
        ("teacher.persona=Be careful # and quick", "YAML reads 'Be careful # and quick' as 'Be careful'"),
        ("seed=1e400", "1e400 is larger than any number"),
    ],
)
def test_a_mistake_in_an_override_names_the_override(override: str, says: str, tmp_path: Path) -> None:
    assert says in refused(tmp_path, GOOD, "--set", override)


def test_an_override_that_names_nothing(tmp_path: Path) -> None:
    assert "lesson" in refused(tmp_path, GOOD, "--set", "lesion.rationales=3")


def test_a_folder_that_holds_a_run_is_not_used_again(tmp_path: Path) -> None:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD)
    classes.say(scenario, "--out", tmp_path / "run", "--monitor", "off")
    assert "holds a run" in classes.say(scenario, "--out", tmp_path / "run", code=2)


def test_a_resumed_class_may_not_ask_otherwise(tmp_path: Path) -> None:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD)
    classes.say(scenario, "--out", tmp_path / "run", "--monitor", "off")
    said = classes.say("resume", tmp_path / "run", "--set", "seed=99", code=2)
    assert "seed" in said and "start a new class: python run.py SCENARIO.yaml --set ..." in said
    before = (tmp_path / "run" / "scenario.yaml").read_text()
    assert "would answer otherwise" in classes.say(
        "resume", tmp_path / "run", "--set", "teacher.engine=external", code=2
    )
    assert (tmp_path / "run" / "scenario.yaml").read_text() == before


def test_help_names_the_logs_of_a_class() -> None:
    assert "AGENT.log of each agent, broker.log and run.log" in " ".join(classes.say("--help").split())


def test_the_folder_of_a_run_is_no_scenario(tmp_path: Path) -> None:
    run = tmp_path / "a run"
    run.mkdir()
    (run / "scenario.yaml").write_text(GOOD)
    assert f"is the folder of a run: python run.py resume|report|watch '{run}'" in classes.say(run, code=2)
    said = classes.say("plan", run, code=2)
    assert "`plan` also takes the folder of a study" in said and f"python run.py plan '{run}/scenario.yaml'" in said


def test_commands_on_a_folder_without_a_run(tmp_path: Path) -> None:
    for command in ("resume", "report", "replay", "watch"):
        assert "not the folder of a run" in classes.say(command, tmp_path, code=2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["scenarios/smoke.yaml", "--sed", "7"], "Did you mean --seed?"),
        (
            ["run", "scenarios/smoke.yaml"],
            "there is no command `run`; use python run.py scenarios/smoke.yaml",
        ),
        (["pln", "scenarios/smoke.yaml"], "did you mean plan?"),
        (["scenarios/smoke.yaml", "scenarios/level1.yaml"], "not understood: scenarios/level1.yaml"),
        (["watch", "runs/x", "--foo"], "Unknown option: --foo. python run.py watch --help lists the options."),
        (["--out", "somewhere"], "python run.py needs SCENARIO; python run.py --help explains it"),
        (["export", "runs/x"], "python run.py export needs --to; python run.py export --help explains it"),
        (["plan", "scenarios/smoke.yaml", "--seed", "x"], "--seed: a whole number is wanted, not 'x'"),
        (["study", "scenarios/studies/smoke.yaml", "--seed", "x"], "--seed: a whole number is wanted, not 'x'"),
    ],
)
def test_an_unknown_command_line(words: list[str], says: str) -> None:
    said = classes.say(*words, code=2)
    assert says in said
    assert len(said.strip().splitlines()) == 1


def test_an_option_without_its_value() -> None:
    assert classes.say("plan", classes.SMOKE, "--set", code=2) == "--set needs a value\n"


def test_a_class_that_no_memory_holds(tmp_path: Path) -> None:
    said = refused(tmp_path, GOOD, "--set", "exam.repeats=1000000000")
    assert "10,000,000 are supported" in said and "Lower the numbers" in said


def test_no_command_at_all_prints_the_help() -> None:
    assert "Usage: python run.py SCENARIO.yaml" in classes.say()


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((classes.ROOT / "pyproject.toml").read_text())["project"]
    assert classes.say("--version").strip() == project["version"]


def test_a_plan_with_another_seed() -> None:
    assert json.loads(classes.say("plan", classes.SMOKE, "--seed", "5", "--json"))["seed"] == 5


def test_a_bug_is_one_line_and_a_traceback_only_for_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(path: Path, overrides: object) -> None:
        raise ZeroDivisionError("of no user")

    monkeypatch.setattr("scenarios.config.load.read", broken)
    assert run.main(["plan", classes.SMOKE]) == 1
    assert capsys.readouterr().err.startswith("This is a bug: ZeroDivisionError: of no user\n")
    with pytest.raises(ZeroDivisionError):
        run.main(["plan", classes.SMOKE, "--debug"])


def test_level_2_is_planned_without_the_packages_that_train(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agents.training.preflight.find_spec", lambda package: None)
    assert run.main(["plan", "scenarios/learn.yaml", "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert len(warnings) == 1
    assert "trl and peft, which are not installed" in warnings[0]


SHORT = "The agents on the CPU need about 9.2 GB\na0 9.2 GB\nClose other programs."


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.placement.resolve.short_now", lambda hired, *, in_turn: SHORT)


@pytest.mark.usefixtures("short_of_memory")
def test_a_plan_and_the_doctor_warn_where_other_programs_leave_too_little_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run.main(["plan", classes.SMOKE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [SHORT]
    assert run.main(["plan", classes.SMOKE]) == 0
    assert capsys.readouterr().err == f"Warning: {SHORT}\n"
    assert run.main(["plan", classes.SMOKE, "--set", "machine.memory=16"]) == 0
    assert not capsys.readouterr().err
    assert run.main(["doctor", classes.SMOKE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agents"] and found["checks"][-1]["ok"] == "partly"
    assert f"{found['checks'][-1]['says']}\n{found['checks'][-1]['do']}" == SHORT


@pytest.mark.usefixtures("short_of_memory")
def test_a_class_that_does_not_fit_now_is_refused_and_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([classes.SMOKE, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"{SHORT}\n"
    assert not (tmp_path / "run").exists()


def test_a_class_is_seated_anew_once_its_models_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = run.agents_of(load.read(Path(classes.SMOKE))), PlacementError("too large")
    to_fetch = msgspec.structs.replace(before[0], model=ResolvedModel("org/a", "hub", False, 0))
    hire = Mock(side_effect=[(to_fetch, *before[1:]), after])
    monkeypatch.setattr(run, "agents_of", hire)
    monkeypatch.setattr("agents.placement.resolve.fetch_models", lambda hired, console: {})
    assert run.main([classes.SMOKE, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "too large\n"
    assert not (tmp_path / "run").exists()


def test_a_resumed_class_needs_memory_only_where_something_is_left_to_ask(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, out = tmp_path / "class.yaml", tmp_path / "run"
    scenario.write_text(GOOD)
    classes.say(scenario, "--out", out, "--monitor", "off")
    request.getfixturevalue("short_of_memory")
    (out / "summary.json").unlink()
    assert run.main(["resume", str(out)]) == 0
    assert (out / "summary.json").exists()
    with contextlib.closing(sqlite3.connect(out / "class.db")) as database, database:
        database.execute("DELETE FROM result WHERE request_id = (SELECT max(request_id) FROM result)")
    begun = classes.events(out, "started")
    capsys.readouterr()
    assert run.main(["resume", str(out)]) == 2
    assert capsys.readouterr().err == f"{SHORT}\n"
    assert classes.events(out, "started") == begun
    assert load.read(out / "scenario.yaml").name == "small"


def test_a_damaged_class_db_is_a_failure_and_no_mistake_of_the_command(tmp_path: Path) -> None:
    scenario, out = tmp_path / "class.yaml", tmp_path / "run"
    scenario.write_text(GOOD)
    classes.say(scenario, "--out", out, "--monitor", "off")
    (out / "class.db").write_bytes(b"no database" * 1000)
    for command in ("report", "resume"):
        said = classes.say(command, out, code=1)
        assert "class.db: it is damaged" in said
        assert len(said.strip().splitlines()) == 1


def test_a_model_folder_is_found_beside_the_scenario_and_resumed_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "sub" / "mine").mkdir(parents=True)
    scenario = tmp_path / "sub" / "class.yaml"
    for name in ("mine", "./mine"):
        scenario.write_text(GOOD.replace("name: ada, engine: simulated", f"name: ada, model: {name}"))
        said = classes.say("plan", scenario, code=2)
        assert f"class.yaml:5: students.0.model (ada): {tmp_path}/sub/mine: no model.safetensors" in said
        assert load.read(scenario).students[0].model == f"{tmp_path}/sub/mine"


def test_a_folder_that_begins_with_a_tilde_is_in_the_home_folder(tmp_path: Path) -> None:
    assert RunFolder(Path("~/x")).path == Path.home() / "x"
    assert not RunFolder(Path("~nobody-of-this-name/x")).used


def test_runs_that_begin_in_one_second_take_different_folders(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    names = [RunFolder.new(tmp_path / "runs", "smoke", at).path.name for _ in range(3)]
    assert names == ["smoke-20260102-030405", "smoke-20260102-030405-2", "smoke-20260102-030405-3"]


def test_a_missing_scenario_file(tmp_path: Path) -> None:
    assert "nowhere.yaml" in classes.say(tmp_path / "nowhere.yaml", code=2)


def test_agents_that_cannot_start_end_the_class_with_the_engines_words(tmp_path: Path) -> None:
    empty = tmp_path / "model"
    empty.mkdir()
    said = refused(tmp_path, GOOD.replace("name: ada, engine: simulated", f"name: ada, model: {empty}"))
    assert "safetensors" in said


def test_replay_of_what_would_be_another_class_is_refused(tmp_path: Path) -> None:
    scenario, out = tmp_path / "class.yaml", tmp_path / "run"
    scenario.write_text(GOOD)
    classes.say(scenario, "--out", out, "--monitor", "off")
    for change in ("students.0.persona=terse", "task.family=gcd", "teacher.engine_args.ability=9"):
        assert "another class" in classes.say("replay", out, "--set", change, code=2)


def test_a_folder_for_the_run_that_cannot_be_one(tmp_path: Path) -> None:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD)
    assert "cannot be made" in classes.say(scenario, "--out", scenario, code=2)
    assert "holds other things" in classes.say(scenario, "--out", tmp_path, code=2)


def test_problems_that_come_twice_are_refused(tmp_path: Path) -> None:
    line = '{"question": "1 + 1?", "answer": "2"}\n'
    (tmp_path / "problems.jsonl").write_text(line * 2 + line.replace("1 +", "3 +") * 2)
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD.replace("family: chain_sum", "file: problems.jsonl"))
    said = classes.say(scenario, "--out", tmp_path / "run", "--set", "task.problems=4", code=2)
    assert len(said.strip().splitlines()) <= 3
    (tmp_path / "problems.jsonl").write_text("".join(line.replace("1 +", f"{n} +") for n in range(4)))
    classes.say(scenario, "--out", tmp_path / "run", "--set", "task.problems=4", "--monitor", "off")


def test_a_class_whose_problems_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, out = tmp_path / "class.yaml", tmp_path / "a run"
    scenario.write_text(GOOD)
    begin = [str(scenario), "--out", str(out), "--monitor", "off"]
    resume = ["resume", str(out), "--monitor", "off"]

    def fails(error: Exception) -> None:
        def bank(*_: object) -> None:
            raise error

        monkeypatch.setattr(RunFolder, "bank", bank)

    fails(TaskError("no such line"))
    assert run.main(begin) == 2
    # The folder is free for another class.
    assert not (out / "class.db").exists() and not (out / "scenario.yaml").exists()
    scenario.write_text(GOOD.replace("name: ada,", "name: ada, persona: Be quick.,"))
    fails(ZeroDivisionError("of no user"))
    capsys.readouterr()
    assert run.main(begin) == 1
    said = capsys.readouterr().err
    assert "This is a bug: ZeroDivisionError: of no user" in said and f"resume '{out}'" in said
    assert "Traceback" in (out / "logs" / "run.log").read_text()
    # A run that began before keeps what it was made with.
    fails(TaskError("no such line"))
    assert run.main(resume) == 1
    assert "no such line" in capsys.readouterr().err
    monkeypatch.undo()
    assert run.main(resume) == 0


def test_how_to_go_on_is_said_though_class_db_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, out = tmp_path / "class.yaml", tmp_path / "run"
    scenario.write_text(GOOD)
    classes.say(scenario, "--out", out, "--monitor", "off")
    (out / "class.db").write_bytes(b"no database" * 1000)
    ended = {"failed": ("disk I/O error", 1), "interrupted": ("", 130), "complete": ("", 1)}
    for status, (reason, code) in ended.items():
        ending = Ending(status, reason)  # type: ignore[arg-type]
        assert conclude(load.read(scenario), RunFolder(out), ending, INTERRUPTS, run.out, run.err) == code
        said = capsys.readouterr().err
        assert reason in said
        assert ("python run.py resume" in said) == (status == "failed")
        assert "Traceback" not in said


def test_names_and_reasons_do_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(run.err, "a\x1b[2Jb\x07\x9b1mc\nd")
    assert capsys.readouterr().err == "a[2Jb1mc\nd\n"


@pytest.mark.parametrize(("gpu", "seats"), [("none", ["CPU, 1 thread", "CPU, 1 thread"]), ("97", [])])
def test_the_doctor_says_whether_a_class_fits_on_this_machine(tmp_path: Path, gpu: str, seats: list[str]) -> None:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD.replace("ada, engine: simulated", f"ada, engine: simulated, gpu: {gpu}"))
    found = json.loads(classes.say("doctor", scenario, "--json"))
    assert [row["device"] for row in found["agents"]] == seats
    assert any("asks for GPU 97" in check["says"] for check in found["checks"]) == (gpu == "97")
