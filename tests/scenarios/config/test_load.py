"""Loading scenario files, and the exact text of its errors."""

import json
from pathlib import Path

import pytest

from broker.errors import EngineError, ScenarioError, TaskError
from scenarios.config.load import asked_differs, difference, dump, located, read
from scenarios.config.schema import Scenario

GOOD = """\
name: good
seed: 7
task:
  family: gsm_symbolic
  problems: 6
teacher:
  name: ada
  model: m
students:
  - name: tiny
  - name: peer
    persona: brief
lesson:
  rationales: 6
exam:
  sampling: {temperature: 0.7, top_k: 20}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "good.yaml"


def error_of(path: Path, text: str | bytes, *overrides: str) -> str:
    """The mistake in `text`, without the folder."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ScenarioError) as caught:
        read(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "")


def good(path: Path, *overrides: str) -> Scenario:
    path.write_text(GOOD)
    return read(path, overrides)


# --- valid files ----------------------------------------------------------------------------------------


def test_a_good_file_is_read_with_its_defaults(path: Path) -> None:
    scenario = good(path)
    assert [a.name for a in scenario.agents] == ["ada", "tiny", "peer"]
    assert (scenario.lesson.rationales, scenario.exam.repeats, scenario.exam.sampling.max_tokens) == (6, 1, 200)


def test_an_agent_without_a_model_is_simulated_and_one_with_a_model_is_not(path: Path) -> None:
    assert [a.engine for a in good(path).agents] == ["auto", "simulated", "simulated"]


def test_a_task_file_is_found_beside_the_scenario_wherever_one_stands(path: Path) -> None:
    path.write_text(GOOD.replace("family: gsm_symbolic", "file: ../problems.jsonl"))
    scenario = read(path)
    assert scenario.task.file == f"{path.parent}/../problems.jsonl"
    copy = path.parent / "elsewhere" / "scenario.yaml"
    copy.parent.mkdir()
    copy.write_text(dump(scenario))
    assert read(copy) == scenario


def test_overrides_reach_into_sections_lists_and_every_one_of_a_list(path: Path) -> None:
    scenario = good(
        path,
        "task.problems=2",
        "students.1.persona=",
        "students.*.engine=external",
        "students.*.engine_args={ability: 1}",
        "students.0.engine_args.ability=2.5",
        "limits.stalled_s=3",
        "exam.sampling.top_k=5",
        "task.templates=[3, 4]",
    )
    assert scenario.task.problems == 2
    assert [s.persona for s in scenario.students] == ["", ""]
    assert [s.engine for s in scenario.students] == ["external", "external"]
    assert [s.engine_args for s in scenario.students] == [{"ability": 2.5}, {"ability": 1}]
    assert (scenario.limits.stalled_s, scenario.exam.sampling.top_k, scenario.exam.sampling.temperature) == (3, 5, 0.7)
    assert scenario.task.templates == (3, 4)


def test_copies_of_a_student_are_students_with_one_pool(path: Path) -> None:
    scenario = good(path, "students.1.copies=3", "students.1.replicas=2")
    assert [student.name for student in scenario.students] == ["tiny", "peer-1", "peer-2", "peer-3"]
    assert scenario.pools == {"ada": "ada", "tiny": "tiny", "peer-1": "peer", "peer-2": "peer", "peer-3": "peer"}
    assert [(one.name, one.copies, one.replicas, one.persona) for one in scenario.agents[1:]] == [
        ("tiny", 1, 1, ""),
        ("peer", 3, 2, "brief"),
    ]
    kept = path.with_name("kept.yaml")
    kept.write_text(dump(scenario))
    assert read(kept) == scenario
    assert difference(scenario, good(path, "students.1.replicas=2")) == ["students.1.copies: 3 -> 1"]


def test_the_last_override_wins(path: Path) -> None:
    assert good(path, "seed=5", "seed=-3").seed == -3


def test_an_override_can_correct_a_mistake_in_the_file(path: Path) -> None:
    path.write_text(GOOD.replace("problems: 6", "problems: ten"))
    assert read(path, ["task.problems=10"]).task.problems == 10


# --- errors --------------------------------------------------------------------------------------------

NAME = "a name (a small letter, then at most 31 small letters, digits, - or _)"
AGENT_KEYS = (
    "name, model, engine, gpu, persona, replicas, capacity, dtype, max_context, memory_share, thoughts, engine_args, "
    "elsewhere, resources, copies, sampling; an argument of its engine belongs in engine_args"
)

REPLACED = [
    ("  rationales: 6", "  rationals: 6", "good.yaml:14: lesson.rationals: no such key; did you mean 'rationales'?"),
    ("    persona", "    xyz", f"good.yaml:12: students.1.xyz (peer): no such key; there are {AGENT_KEYS}"),
    ("seed: 7", '"a\\nb": 7', "good.yaml:2: 'a\\nb': no such key; there are name, level, seed, task, teacher, "
     "students, time_share, lesson, exam, learn, scoring, iterate, baselines, limits, broker, published, "
     "metrics"),
    ("  name: ada\n", "", f"good.yaml:6: teacher.name: is missing; it needs {NAME}"),
    ("students:", "learners:", "good.yaml:9: learners: no such key; did you mean 'learn'?"),
    ("problems: 6", "problems: ten", "good.yaml:5: task.problems: needs a whole number, at least 1, has 'ten'"),
    ("problems: 6", "problems: 0", "good.yaml:5: task.problems: needs a whole number, at least 1, has 0"),
    ("problems: 6", "problems: 1.5", "good.yaml:5: task.problems: needs a whole number, at least 1, has 1.5"),
    ("problems: 6", "problems:", "good.yaml:5: task.problems: needs a whole number, at least 1, has nothing (null)"),
    ("problems: 6", "problems: yes",
     "good.yaml:5: task.problems: needs a whole number, at least 1, has true; 'yes' is read as true"),
    ("problems: 6", "difficulty: 3", "good.yaml:5: task.difficulty: needs a number from 0 to 2, has 3"),
    ("seed: 7", "level: [2, 1]",
     "good.yaml:2: level: [2, 1]: levels follow one another as 1, 2, 3, each at most once"),
    ("name: tiny", "name: no",
     f"good.yaml:10: students.0.name: needs {NAME}, has false; 'no' is read as false: write it in quotes"),
    ("name: tiny", "name: 5",
     f"good.yaml:10: students.0.name: needs {NAME}, has 5; if it is meant as text, write it in quotes"),
    ("name: tiny", "name: Tiny", f"good.yaml:10: students.0.name: needs {NAME}, has 'Tiny'"),
    ("name: tiny", 'name: "tiny\\n"', "good.yaml:10: students.0.name: ends in a line break"),
    ("name: good", 'name: "good\\n"', "good.yaml:1: name: ends in a line break"),
    ("name: tiny", "on: tiny", "good.yaml:10: the key 'on' is read as true: write it in quotes"),
    ("name: tiny", "7: tiny", "good.yaml:10: the key '7' is read as 7: write it in quotes"),
    ("name: tiny", "name: 2020-01-01", "good.yaml:10: '2020-01-01' is read as a date: write it in quotes"),
    ("name: tiny", "just text", "good.yaml:10: students.0: needs a section, has 'just text'"),
    ("persona: brief", "persona: {a: b}",
     "good.yaml:12: students.1.persona (peer): needs text, has a section (key: value); "
     "if it is meant as text, write it in quotes"),
    ("0.7", "1e-1", "good.yaml:16: exam.sampling.temperature: needs a number, has '1e-1'; "
     "YAML reads 1e-1 as text: write 1.0e-1"),
    ("0.7", "1.5e3", "good.yaml:16: exam.sampling.temperature: needs a number, has '1.5e3'; "
     "YAML reads 1.5e3 as text: write 1500"),
    ("0.7", "-1", "good.yaml:16: exam.sampling.temperature: needs a number, at least 0, has -1.0"),
    ("0.7", ".inf", "good.yaml:16: '.inf' is no number that can be used here: it is infinite, or none at all"),
    ("0.7", "!!float x", "good.yaml:16: 'x' cannot be read as float: write it in quotes"),
    ("seed: 7", "seed: 010", "good.yaml:2: '010' is read as 8: write the number plainly, or text in quotes"),
    ("seed: 7", "seed: 1:30", "good.yaml:2: '1:30' is read as 90: write the number plainly, or text in quotes"),
    ("seed: 7", "seed: 99999999999999999999",
     "good.yaml:2: '99999999999999999999' is too large: at most 9223372036854775807"),
    ("top_k: 20", "top_k: -1", "good.yaml:16: exam.sampling.top_k: needs a whole number, at least 0, has -1"),
    ("top_k: 20", "top_p: 0", "good.yaml:16: exam.sampling.top_p: needs a number above 0 and at most 1, has 0.0"),
    ("top_k: 20", "max_tokens: 0",
     "good.yaml:16: exam.sampling.max_tokens: needs a whole number, at least 1, has 0"),
    ("{temperature: 0.7, top_k: 20}", "{temperature: 0}\n  repeats: 3",
     "good.yaml:16: exam.sampling.temperature: 0 always draws the same text, but exam.repeats asks 3 times; "
     "set exam.repeats to 1 or raise the temperature"),
    ("  rationales: 6", "  rationales: 6\n  sampling: {top_k: 1}",
     "good.yaml:15: lesson.sampling.top_k: 1 always draws the same text, but lesson.rationales asks 6 times; "
     "set lesson.rationales to 1 or raise top_k"),
    ("name: peer", "name: tiny",
     "good.yaml:11: students.1.name: 'tiny' is taken by students.0; give each agent its own name"),
    ("name: peer", "name: ada",
     "good.yaml:11: students.1.name: 'ada' is taken by teacher; give each agent its own name"),
    ("name: peer", "name: classroom",
     "good.yaml:11: students.1.name: 'classroom' is the name of a part of the program; choose another"),
    ("name: peer", "name: broker",
     "good.yaml:11: students.1.name: 'broker' is the name of a part of the program; choose another"),
    ("  family: gsm_symbolic\n", "", "good.yaml:3: task: needs either family or file, has neither"),
    ("family: gsm_symbolic", "family: x\n  file: y", "good.yaml:3: task: needs either family or file, has both"),
    ("family: gsm_symbolic", "file: ''", "good.yaml:4: task.file: is empty; name one, or leave the key out"),
    ("model: m", "model: ''", "good.yaml:8: teacher.model (ada): is empty; name one, or leave the key out"),
    ("model: m", "model: Simulatd",
     "good.yaml:8: teacher.model (ada): no model is called 'Simulatd'; did you mean simulated?"),
    ("model: m", "engine: simulated\n  model: simulate",
     "good.yaml:9: teacher.model (ada): no model is called 'simulate'; did you mean simulated?"),
    ("model: m", "engine: transformers",
     "good.yaml:6: teacher.model (ada): is missing; the engine transformers needs a model's name or folder"),
    ("model: m", "engine: vlm",
     "good.yaml:8: teacher.engine (ada): needs auto, external, openai, simulated, transformers or vllm, has 'vlm'; "
     "did you mean vllm?"),
    ("model: m", "gpu: [0, 0]", "good.yaml:8: teacher.gpu (ada): names one GPU twice"),
    ("model: m", "gpu: []", "good.yaml:8: teacher.gpu (ada): is an empty list; write none for no GPU"),
    ("model: m", "gpu: [0, x]", "good.yaml:8: teacher.gpu.1 (ada): needs a whole number, at least 0, has 'x'"),
    ("model: m", "gpu: cpu", "good.yaml:8: teacher.gpu (ada): needs auto or none, or a whole number, at least 0, "
     "or a list, each a whole number, at least 0, has 'cpu'"),
    ("model: m", "memory_share: 2",
     "good.yaml:8: teacher.memory_share (ada): needs a number, above 0 and at most 1, has 2"),
    ("model: m", "max_context: 200",
     "good.yaml:8: teacher.max_context (ada): 200 tokens leave no room: lesson.sampling.max_tokens is 200"),
    ("model: m", "engine_args: 5",
     "good.yaml:8: teacher.engine_args (ada): needs a section with keys of its own, has 5"),
    ("model: m", "resources: two CPUs",
     "good.yaml:8: teacher.resources (ada): needs {NAME: VALUE}, each value a number, above 0, has 'two CPUs'"),
    ("model: m", "resources: {CPU: 2, fpga: some}",
     "good.yaml:8: teacher.resources.fpga (ada): needs a number, above 0, has 'some'"),
    ("model: m", "resources: {CPU: 0}", "good.yaml:8: teacher.resources.CPU (ada): needs a number, above 0, has 0"),
    ("model: m", "resources: {memory: 2e9}",
     "good.yaml:8: teacher.resources.memory (ada): needs a number, above 0, has '2e9'; YAML reads 2e9 as text: "
     "write 2000000000"),
    ("seed: 7", "broker: {address: 'tcp://*:99'}",
     "good.yaml:2: broker.address: needs ipc or tcp://HOST:PORT, the port from 1 to 65534, has 'tcp://*:99'"),
    ("seed: 7", "broker: {address: 'tcp://host:70000'}",
     "good.yaml:2: broker.address: needs ipc or tcp://HOST:PORT, the port from 1 to 65534, has 'tcp://host:70000'"),
    ("seed: 7", "broker: {address: inproc}",
     "good.yaml:2: broker.address: needs ipc or tcp://HOST:PORT, has 'inproc'"),
    ("seed: 7", "name: again", "good.yaml:2: 'name' is in this section twice (first in line 1)"),
    ("seed: 7", "seed: &s 7\nlevel: *s", "good.yaml:2: anchors (&s) are not accepted here; "
     "take it out, or write text in quotes"),
    ("seed: 7", "<<: {seed: 7}", "good.yaml:2: merge keys (<<) are not accepted here; write the entries out"),
    ("seed: 7", "? [a]\n: b", "good.yaml:2: a key must be a word, not a list or a section"),
    ("seed: 7", "seed: !!python/object/apply:os.system [ls]",
     "good.yaml:2: the tag 'tag:yaml.org,2002:python/object/apply...' is not accepted here"),
    ("persona: brief", "persona: =", "good.yaml:12: '=' means something else in YAML: write it in quotes"),
    ("persona: brief", 'persona: "a\\0b"', "good.yaml:12: text with a NUL or half a character (a surrogate)"),
    ("persona: brief", 'persona: "\\ud800"', "good.yaml:12: text with a NUL or half a character (a surrogate)"),
    ("persona: brief", 'persona: "\\UFFFFFFFF"', "good.yaml:12: not YAML: an escape or a number that cannot be"),
    ("persona: brief", "persona: a\x07b", "good.yaml:12: not YAML: the character U+0007 is not allowed here"),
    ("persona: brief", "persona: a: b", "good.yaml:12: not YAML: mapping values are not allowed here"),
    ("seed: 7", "seed: [7", "good.yaml:3: not YAML: expected ',' or ']', but got ':'"),
    ("seed: 7", "\tseed: 7",
     "good.yaml:2: not YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), REPLACED, ids=[message[:60] for _, _, message in REPLACED])
def test_a_mistake_in_the_file_is_reported_with_its_line(path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert error_of(path, GOOD.replace(old, new)) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task", "--set 'task': needs KEY.PATH=VALUE, such as task.problems=4"),
        ("a..b=1", "--set 'a..b=1': needs KEY.PATH=VALUE, such as task.problems=4"),
        ("task.problem=1", "--set task.problem: no such key; did you mean 'problems'?"),
        ("lessons.rationales=3", "--set lessons.rationales: lessons: no such key; did you mean 'lesson'?"),
        ("scoring.ties=coin", "--set scoring.ties: needs first or votes, has 'coin'"),
        ("students.0.foo=1", f"--set students.0.foo (tiny): no such key; there are {AGENT_KEYS}"),
        (
            "students.7.model=x",
            "--set students.7.model: students: no number '7' in this list; there are 0 to 1, and * for all",
        ),
        (
            "students.-1.model=x",
            "--set students.-1.model: students: no number '-1' in this list; there are 0 to 1, and * for all",
        ),
        ("name.x=1", "--set name.x: name: has no entries; it is 'good'"),
        (
            "students.*.engine=x",
            "--set students.*.engine: students.0.engine (tiny): needs auto, external, openai, simulated, transformers "
            "or vllm, has 'x'",
        ),
        (
            "students=[]",
            "--set students: is empty; a class needs at least one, except level 3 alone with iterate.itself: true",
        ),
        (
            "students.*.name=x",
            "--set students.*.name: students.1.name: 'x' is taken by students.0; give each agent its own name",
        ),
        ("seed=*x", "--set seed: aliases (*name) are not accepted here; write the value out, or text in quotes"),
        ("seed=[", "--set seed: not YAML: expected the node content, but found '<stream end>'; write text in quotes"),
        (
            "teacher.persona=off",
            "--set teacher.persona (ada): needs text, has false; 'off' is read as false: write it in quotes",
        ),
        ("teacher={nme: x}", "--set teacher: teacher.nme: no such key; did you mean 'name'?"),
        ("teacher={}", f"--set teacher: teacher.name: is missing; it needs {NAME}"),
        ("seed=!!int", "--set seed: '' cannot be read as int: write it in quotes"),
        ("seed={a: 1, b: [x, {c: 2}]}", "--set seed: needs a whole number, has a section (key: value)"),
        ("exam=null", "--set exam: needs a section, has nothing (null)"),
    ],
)
def test_a_mistake_in_an_override_is_reported_with_its_path(path: Path, override: str, message: str) -> None:
    assert error_of(path, GOOD, override) == message


def test_a_star_for_the_items_of_an_empty_list_is_refused(path: Path) -> None:
    mistake = error_of(path, GOOD, "students=[]", "students.*.engine=simulated")
    assert mistake == "--set students.*.engine: students: the list is empty"


def test_a_missing_section_is_reported_with_the_first_line(path: Path) -> None:
    assert error_of(path, "name: good\n") == "good.yaml:1: teacher: is missing; it needs a section"


def test_a_seed_too_large_for_the_wire_is_refused(path: Path) -> None:
    mistake = error_of(path, GOOD, f"seed={1 << 63}")
    assert mistake == "--set seed: '9223372036854775808' is too large: at most 9223372036854775807"


@pytest.mark.parametrize(
    ("overrides", "mistake"),
    [
        (["teacher.engine=openai", "teacher.model=gpt"],
         "--set teacher.engine (ada): openai: level 2 trains the teacher, and cannot train one at a server"),
        (["teacher.engine=external"],
         "--set teacher.engine (ada): external: level 2 trains the teacher, and cannot train one of a program "
         "of yours"),
        (["learn.arms=[m2, m2]"], "--set learn.arms: names an arm twice"),
        (["learn.arms=[]"], "--set learn.arms: needs a list of at least 1, each correctness, dense, m2 or "
         "shuffled, has an empty list"),
        (["learn.gap=1"], "--set learn.gap: needs a number, at least 0 and below 1, has 1"),
        (["learn.training.batch=0"], "--set learn.training.batch: needs a whole number, at least 1, has 0"),
        (["lesson.rationales=1"], "--set lesson.rationales: 1 makes no pairs; level 2 compares two or more rationales "
         "of a problem"),
    ],
)  # fmt: skip
def test_entries_that_level_2_cannot_use_are_refused(path: Path, overrides: list[str], mistake: str) -> None:
    assert error_of(path, GOOD, "level=2", *overrides) == mistake


@pytest.mark.parametrize(
    ("overrides", "mistake"),
    [
        (["students.1.engine=transformers"],
         "broker.address: ipc is for this host alone, and peer runs "
         "elsewhere; take tcp://HOST:PORT, an address of this host that the other one can reach"),
        (["broker.address=tcp://h:1"],
         "students.1.engine (peer): auto depends on the host, which is another one; name it: transformers or vllm"),
        (["broker.address=tcp://h:1", "students.1.engine=external"],
         "a program of yours (engine: external) joins by itself from any host; take this out"),
        (["broker.address=tcp://h:1", "students.1.engine=openai"],
         "a server (engine: openai) can be called from this host as well; take this out"),
        (["broker.address=tcp://h:1", "students.1.engine=transformers", "exam.score=logprob"],
         "exam.score: logprob would send the gold solutions to another host; take one of them out"),
        (["broker.address=tcp://h:1", "students.1.engine=transformers", "teacher.elsewhere=true",
          "teacher.engine=transformers", "level=2"],
         "level 2 trains the teacher on the host of the class; take this out"),
    ],
)  # fmt: skip
def test_what_an_agent_elsewhere_cannot_do_or_needs_is_named(path: Path, overrides: list[str], mistake: str) -> None:
    text = GOOD.replace("persona: brief", "model: m\n    elsewhere: true")
    assert mistake in error_of(path, text, *overrides)


def test_an_agent_elsewhere_goes_with_tcp_and_a_named_engine_and_may_be_moved_on_resume(path: Path) -> None:
    far = ["broker.address=tcp://h:1", "students.1.engine=transformers", "students.1.model=m"]
    here, there = good(path, *far), good(path, *far, "students.1.elsewhere=true")
    assert [one.elsewhere for one in there.students] == [False, True]
    assert asked_differs(here, there) == []


def test_entries_that_only_level_2_cannot_use_are_accepted_at_level_1(path: Path) -> None:
    assert good(path, "teacher.engine=external", "learn.arms=[m2, m2]").levels == (1,)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("Be careful # and quick", "YAML reads 'Be careful # and quick' as 'Be careful'"),
        ("#quick", "YAML leaves out '#quick', a comment"),
        ("'Be careful' # and quick", "YAML leaves out '# and quick', a comment"),
        ("--- Be careful", "YAML leaves out '---'"),
        ("&me Be careful", "anchors (&me) are not accepted here"),
        ("!!str 5", "YAML reads '!!str 5' as '5'"),
        (" Be careful", "YAML reads ' Be careful' as 'Be careful'"),
        ("Be\ncareful", "YAML reads 'Be\\ncareful' as 'Be careful'"),
        ("Be: careful: now", "not YAML: mapping values are not allowed here; write text in quotes"),
        ("~", "needs text, has nothing (null); if it is meant as text, write it in quotes"),
        ("null", "needs text, has nothing (null); if it is meant as text, write it in quotes"),
        ("2026-01-02", "'2026-01-02' is read as a date: write it in quotes"),
        ("010", "'010' is read as 8: write the number plainly, or text in quotes"),
        ("1_000", "needs text, has 1000; if it is meant as text, write it in quotes"),
    ],
)
def test_an_override_is_refused_if_yaml_would_drop_a_part_of_it(path: Path, written: str, message: str) -> None:
    path.write_text(GOOD)
    with pytest.raises(ScenarioError) as caught:
        read(path, [f"teacher.persona={written}"])
    assert str(caught.value).startswith("--set teacher.persona")
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["Be careful # and quick", " a ", "~", "010", "&x", "a: b: c", "two\nlines", "'"])
def test_text_in_quotes_is_not_changed(path: Path, text: str) -> None:
    assert good(path, f"teacher.persona={json.dumps(text)}").teacher.persona == text
    assert good(path, "teacher.persona=a#b  c").teacher.persona == "a#b  c"


def test_an_error_of_an_agent_or_a_task_gets_the_line_of_its_entry(path: Path) -> None:
    path.write_text(GOOD)
    with pytest.raises(ScenarioError, match=r"good.yaml:12: students.1.persona \(peer\): too long"), located(path):
        raise EngineError("too long", agent="peer.2", key=("persona",))
    with pytest.raises(ScenarioError, match=r"--set task.problems: too many"), located(path, ["task.problems=9"]):
        raise TaskError("too many", key=("task", "problems"))
    with pytest.raises(TaskError, match=r"problems.jsonl, line 3: no JSON"), located(path):
        raise TaskError("problems.jsonl, line 3: no JSON")


def test_a_model_folder_is_relative_to_the_file_and_a_name_is_not_touched(path: Path) -> None:
    (path.parent / "org" / "mine").mkdir(parents=True)
    absolute = str(path.parent / "org" / "mine")
    names = {"./org/mine": absolute, "org/mine": absolute, "org/other": "org/other", "smollm2": "smollm2", "/m": "/m"}
    for name, meant in names.items():
        assert good(path, f"students.1.model={name}").students[1].model == meant
    assert good(path, "students.1.model=./org/mine", "students.1.engine=openai").students[1].model == "./org/mine"


def test_more_than_a_thousand_students_are_refused(path: Path) -> None:
    many = "".join(f"  - name: s{i}\n" for i in range(1000))
    text = GOOD.replace("students:\n", "students:\n" + many)
    assert error_of(path, text) == "good.yaml:9: students: 1,002 students; at most 1,000 fit a class"


def test_files_that_are_no_scenario_at_all(path: Path) -> None:
    empty = "good.yaml: the file is empty; docs/scenarios.md shows a small one"
    assert error_of(path, "") == empty
    assert error_of(path, "# nothing but words\n") == empty
    assert error_of(path, "- a\n- b\n") == "good.yaml: needs sections (key: value), has a list"
    assert error_of(path, "hello") == "good.yaml: needs sections (key: value), has 'hello'"
    assert error_of(path, b"name: x\nseed: \xff\n") == "good.yaml:2: not UTF-8 text; save the file as UTF-8"
    assert error_of(path, "a: 1\n---\nb: 2\n") == "good.yaml:2: not YAML: but found another document"
    assert error_of(path, "a" * 1_000_001) == "good.yaml: larger than 1000000 bytes; that is not a scenario"


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.yaml", f"{tmp_path}/none.yaml: no such file"),
        (tmp_path, f"{tmp_path} is a folder; this needs a scenario file or a study file"),
        (Path("a\0b"), "'a\\x00b': not a file name: embedded null byte"),
    ):
        with pytest.raises(ScenarioError) as caught:
            read(path)
        assert str(caught.value) == message


def test_a_bomb_of_aliases_is_refused_before_it_expands(path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    said = "good.yaml:1: anchors (&a) are not accepted here; take it out, or write text in quotes"
    assert error_of(path, bomb) == said


def test_too_deep_and_too_large_documents_are_refused_early(path: Path) -> None:
    assert error_of(path, "[" * 900_000) == "good.yaml:1: more than 20 levels deep"
    assert error_of(path, "[" + "a," * 30_000 + "]") == "good.yaml:1: more than 20000 values; that is not a scenario"


@pytest.mark.parametrize(
    "number", ["1" + ":1" * 400_000, "1" + ":1" * 400_000 + ".5", "9" * 900_000, "0x" + "f" * 900_000, "1." + "1" * 50]
)
@pytest.mark.parametrize("written", ["seed: {}\n", 'seed: !!int "{}"\n', 'seed: !!float "{}"\n', "{}: 1\n", "- {}\n"])
@pytest.mark.timeout(60)
def test_a_number_that_pyyaml_needs_hours_for_is_refused_at_once(path: Path, number: str, written: str) -> None:
    error = error_of(path, written.format(number))
    assert (
        "is too long for a number" in error or "not YAML: mapping values" in error
    )  # as a key: too long for that, too
    assert len(error) < 200


def test_students_at_a_server_cannot_score_log_probabilities(path: Path) -> None:
    at_a_server = ("students.1.engine=openai", "students.1.model=m", "exam.score=logprob")
    mistake = error_of(path, GOOD, *at_a_server)
    assert mistake.startswith("--set students.1.engine (peer): openai: a server does not tell how likely")
    assert good(path, *at_a_server[:2]).students[1].engine == "openai"
    assert good(path, "teacher.engine=openai", "teacher.model=m", "exam.score=logprob").exam.score == "logprob"


def test_external_students_get_no_solutions_to_score(path: Path) -> None:
    external = ("students.1.engine=external", "exam.score=logprob")
    mistake = error_of(path, GOOD, *external)
    assert mistake.startswith("--set students.1.engine (peer): external: exam.score: logprob would send the gold")
    assert good(path, "teacher.engine=external", "exam.score=logprob").exam.score == "logprob"


LEVEL_3 = GOOD.replace("task:\n  family: gsm_symbolic\n  problems: 6\n", "level: 3\n")


def test_level_3_alone_takes_its_texts_from_its_own_section_and_files_beside_the_scenario(path: Path) -> None:
    path.write_text(LEVEL_3)
    named = read(path, ["iterate.task.file=a.jsonl", "iterate.task.test_file=/b.jsonl", "iterate.task.positive=1"])
    assert named.iterate.task.file == f"{path.parent}/a.jsonl"
    assert named.iterate.task.test_file == "/b.jsonl"
    assert named.levels == (3,)
    assert read(path, ["students=[]", "iterate.itself=true"]).students == ()


@pytest.mark.parametrize(
    ("override", "mistake"),
    [
        ("task={family: x}", "--set task: is for levels 1 and 2; level 3 has its texts from iterate.task: take this "
         "one out"),
        ("level=[1, 3]", "good.yaml:1: task: needs either family or file, has neither"),
        ("students=[]", "--set students: is empty; a class needs at least one, except level 3 alone with "
         "iterate.itself: true"),
        ("iterate={curriculum: weak_first, rounds: 1}", "--set iterate: iterate.curriculum: has students join round by "
         "round; set iterate.rounds to 2 or more"),
        ("exam.questions=1", "--set exam.questions: are asked about rationales; this class has none, so take it out"),
        ("iterate.baselines=[self, self]", "--set iterate.baselines: names one baseline twice"),
        ("iterate.exemplars=1", "--set iterate.exemplars: needs a whole number from 2 to 64, has 1"),
        ("iterate.writing.temperature=0", "--set iterate.writing.temperature: 0 always draws the same text, but "
         "iterate.revisions asks 8 times; set iterate.revisions to 1 or raise the temperature"),
        ("iterate={revisions: 1, writing: {temperature: 0}}", "--set iterate: iterate.writing.temperature: 0 always "
         "draws the same text, but 4 first sets are asked for; set iterate.beam to 1, iterate.start to training, or "
         "raise the temperature"),
    ],
)  # fmt: skip
def test_mistakes_of_level_3(path: Path, override: str, mistake: str) -> None:
    assert error_of(path, LEVEL_3, override) == mistake


@pytest.mark.parametrize(
    ("override", "mistake"),
    [
        ("level=[1, 3]", "--set level: with iterate.material: rationale, level 3 begins with level 1's exams; write "
         "level: 3"),
        ("iterate.originals=7", "--set iterate.originals: 7 are more than the 6 of lesson.rationales"),
        ("iterate.curriculum=weak_first", "--set iterate.curriculum: is for sets of exemplars; with material: "
         "rationale take it out"),
        ("iterate.itself=true", "--set iterate.itself: is for sets of exemplars; with material: rationale take it out"),
        ("task.family=null", "good.yaml:3: task: needs either family or file, has neither"),
        ("students=[]", "--set students: is empty; a class needs at least one, except level 3 alone with "
         "iterate.itself: true"),
    ],
)  # fmt: skip
def test_mistakes_of_level_3_with_rationales(path: Path, override: str, mistake: str) -> None:
    assert error_of(path, GOOD + "level: 3\niterate: {material: rationale}\n", override) == mistake


@pytest.mark.parametrize(
    ("overrides", "mistake"),
    [
        (["students.1.sampling.temperature=-1"], "--set students.1.sampling.temperature (peer): needs a number, at "
         "least 0, has -1.0"),
        (["exam.repeats=2", "students.1.sampling.temperature=0"], "--set students.1.sampling.temperature (peer): 0 "
         "always draws the same text, but exam.repeats asks 2 times; set exam.repeats to 1 or raise the temperature"),
        (["students.1.sampling.top=1"], "--set students.1.sampling.top (peer): no such key; did you mean 'top_p'?"),
        (["teacher.sampling.top_k=5"], "--set teacher.sampling.top_k: teacher.sampling (ada): is for students; the "
         "teacher's is lesson.sampling"),
        (["students.1.max_context=300", "students.1.sampling.max_tokens=300"], "--set students.1.max_context (peer): "
         "300 tokens leave no room: students.1.sampling.max_tokens is 300"),
    ],
)  # fmt: skip
def test_mistakes_in_the_sampling_of_one_student(path: Path, overrides: list[str], mistake: str) -> None:
    assert error_of(path, GOOD, *overrides) == mistake


@pytest.mark.parametrize(
    ("overrides", "mistake"),
    [
        (["students.1.copies=0"], "--set students.1.copies (peer): needs a whole number from 1 to 1000, has 0"),
        (["teacher.copies=2"], "--set teacher.copies (ada): is for students; a class has one teacher"),
        (["students.1.copies=1000"], "good.yaml:9: students: 1,001 students; at most 1,000 fit a class"),
        (["students.0.name=peer-2", "students.1.copies=2"], "--set students.1.copies (peer): a copy would have the "
         "name 'peer-2', which another agent has; give each agent its own name"),
        (["teacher.name=peer-1", "students.1.copies=2"], "--set students.1.copies (peer): a copy would have the "
         "name 'peer-1', which another agent has; give each agent its own name"),
        (["students.1.name=" + "a" * 31, "students.1.copies=2"], f"--set students.1.copies ({'a' * 31}): the name "
         f"'{'a' * 31}-2' is longer than 32 characters; choose a shorter one for the student"),
        (["students.1.copies=2", "students.1.sampling.top_k=1"], "--set students.1.copies (peer): copies differ in "
         "what they draw, and exam.sampling with top_k 1 draws nothing; raise it"),
    ],
)  # fmt: skip
def test_mistakes_in_the_copies_of_a_student(path: Path, overrides: list[str], mistake: str) -> None:
    assert error_of(path, GOOD, *overrides) == mistake


def test_further_rationales_for_sc_are_refused_where_they_have_no_effect(path: Path) -> None:
    assert error_of(path, GOOD, "lesson.equal_cost=true", "lesson.sampling.temperature=0", "lesson.rationales=1") == (
        "--set lesson.equal_cost: asks for further draws, and lesson.sampling always draws the same text"
    )
    alone = error_of(path, LEVEL_3, "lesson.equal_cost=true")
    assert "goes with levels 1 and 2; this class has level 3 alone, so take it out" in alone


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["exam.bank=b.jsonl"], "--set exam.bank: is for exam.maker: fixed or retrieval, not variants; take it out"),
        (
            ["exam.abstain_below=0.5"],
            "--set exam.abstain_below: is for exam.maker: retrieval, not variants; take it out",
        ),
        (
            ["exam.maker=fixed", "exam.embedding=x/y"],
            "--set exam.embedding: is for exam.maker: retrieval, not fixed; take it out",
        ),
        (["exam.maker=retrieval", "exam.bank="], "--set exam.bank: is empty; name one, or leave the key out"),
    ],
)
def test_entries_that_the_exam_maker_does_not_use_are_refused(path: Path, overrides: list[str], message: str) -> None:
    assert error_of(path, GOOD, *overrides) == message


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["level=2"], "level 2 makes its pairs from every exam"),
        (["level=[1, 2]"], "level 2 makes its pairs from every exam"),
        (["exam.score=logprob"], "exam.score: logprob compares the scores of every exam"),
        (["lesson.equal_cost=true"], "lesson.equal_cost samples as many rationales as every exam costs"),
        (["exam.questions=1"], "exam.questions asks about every rationale before its first exam"),
        (
            ["level=3", "iterate.material=rationale"],
            "level 3 with iterate.material: rationale rewrites by the mistakes",
        ),
    ],
)
def test_fewer_exams_are_refused_with_what_needs_all(path: Path, overrides: list[str], why: str) -> None:
    for how in ("lossless", "halving"):
        mistake = error_of(path, GOOD, f"exam.allocation={how}", *overrides)
        assert f"--set exam.allocation: {how}: {why}" in mistake


def test_answers_alone_are_taught_at_level_1_alone(path: Path) -> None:
    assert "goes with level 1 alone" in error_of(path, GOOD, "lesson.material=answer", "level=[1, 2]")
    assert "nothing to ask about" in error_of(path, GOOD, "lesson.material=answer", "exam.questions=1")


def test_baselines_are_named_once_and_belong_to_level_1(path: Path) -> None:
    assert error_of(path, GOOD, "baselines=[universal, universal]") == "--set baselines: names one baseline twice"
    assert "goes with levels 1 and 2" in error_of(path, LEVEL_3, "baselines=[universal]")


def test_the_sampling_of_one_student_is_refused_where_it_has_no_effect(path: Path) -> None:
    mistake = error_of(path, LEVEL_3, "students.0.sampling.top_k=5")
    assert "is for exams on rationales; level 3 draws all answers with iterate.answering: take it out" in mistake


def test_exam_sampling_may_be_greedy_where_no_student_draws_with_it(path: Path) -> None:
    overrides = ("exam.sampling.temperature=0", "exam.repeats=2")
    assert "always draws the same text" in error_of(path, GOOD, *overrides, "students.0.sampling.temperature=1")
    path.write_text(GOOD)
    warm = read(path, [*overrides, "students.*.sampling.temperature=1"])
    assert {warm.sampling_of(student).temperature for student in warm.students} == {1.0}


def test_level_2_refuses_questions_before_exams(path: Path) -> None:
    assert error_of(path, GOOD, "level=[1, 2]", "exam.questions=1") == (
        "--set exam.questions: goes with level 1, and level 3 for rationales; level 2 examines without"
    )
