"""Code problems: their programs are found in texts, run on cases, and grouped by what they do."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.config.schema import Scoring
from scenarios.records.observe import ExamAnswer, Rationale, TeachingProblemRecord
from scenarios.scoring.lbt import Sheet
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.grading.code import equal
from scenarios.tasks.grading.program_text import BLOCK, find_program
from scenarios.tasks.problems import Problem
from scenarios.tasks.programs import Case, ProgramTask
from scenarios.tasks.sources import files
from tests import code_cases

DOUBLE = "def double(n):\n    return 2 * n"
MAIN = "def main():\n    n = int(input())\n    double(n)"
TRY = "def try_it():\n    main()"
TABLE = "table = []\n\ndef fill():\n    table.append(1)\nfill()"


@pytest.fixture(scope="module")
def grader() -> Iterator[ClassGrader]:
    with ClassGrader(sandbox="none") as one:  # its own tests are about the sandbox
        yield one


def problem(**fields: object) -> Problem:
    task = ProgramTask("double", visible=(Case([2], 4), Case([0], 0)))
    task = msgspec.structs.replace(task, **fields)
    return Problem("p", "Double n.", DOUBLE, "code", program=msgspec.json.encode(task).decode())


def fenced(code: str, mark: str = "python") -> str:
    return f"```{mark}\n{code}\n```\n"


# --- the families that are shipped ----------------------------------------------------------------------


@pytest.mark.parametrize("family", code_cases.FAMILIES)
def test_every_case_of_a_shipped_family_comes_from_its_slow_reference(family: str) -> None:
    assert (code_cases.FOLDER / f"{family}.jsonl").read_bytes() == code_cases.lines(code_cases.FAMILIES[family])


@pytest.mark.parametrize("family", code_cases.FAMILIES)
def test_every_shipped_solution_passes_its_own_cases(family: str, grader: ClassGrader) -> None:
    entries = files.read(code_cases.FOLDER / f"{family}.jsonl")
    assert len(entries) == 6
    for entry in entries:
        (one,) = entry.problems
        program = grader.read(f"Strategy: as usual.\n{fenced(one.answer)}", one)
        assert program is not None
        assert grader.correct(one, program), one.id
        assert grader.behaviour(one, program).hidden == 1.0, one.id
        task = msgspec.json.decode(one.program, type=ProgramTask)
        assert len(task.hidden) >= 20
        assert 2 <= len(task.visible) <= 3
        assert not grader.correct(one, f"def {task.called}(*args):\n    return {task.visible[0].value!r}"), one.id


# --- the program in a text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"Strategy: twice.\n{fenced(DOUBLE)}", DOUBLE),
        (fenced("def double(n): return n") + "Better:\n" + fenced(DOUBLE), DOUBLE),
        (fenced(DOUBLE) + "It is used like this:\n" + fenced("print(double(2))"), DOUBLE),
        (fenced(DOUBLE, "") + "Done.", DOUBLE),
        ("1. So:\n   ```py\n   def double(n):\n       return 2 * n\n   ```", DOUBLE),
        (DOUBLE, DOUBLE),
        (f"```python\n{DOUBLE}\n", DOUBLE),  # the fence is missing, the answer is not cut off
        (fenced(f"{DOUBLE}\n\nprint(double(int(input())))\nassert double(1) == 2"), DOUBLE),
        (fenced(f"{DOUBLE}\nif __name__ == '__main__':\n    import sys\n    sys.exit(1)"), DOUBLE),
        (fenced("def double(n):\n    print(n)\n    return 2 * n"), "def double(n):\n    print(n)\n    return 2 * n"),
        (fenced("def double(größe):\n    return 2 * größe"), "def double(größe):\n    return 2 * größe"),
        (fenced("x = 1\ndef double(n):\n    return 2 * n"), "x = 1\n\ndef double(n):\n    return 2 * n"),
        (fenced(f"{DOUBLE}\ndef main():\n    n = int(input())\n    double(n)\nmain()"), f"{DOUBLE}\n\n{MAIN}"),
        (fenced(f"{DOUBLE}\n\n{MAIN}\n\n{TRY}\ntry_it()"), f"{DOUBLE}\n\n{MAIN}\n\n{TRY}"),
        (fenced(f"{DOUBLE}\nimport sys\nn = int(sys.stdin.readline())"), f"{DOUBLE}\nimport sys"),
        (fenced(f"{DOUBLE}\n\n{TABLE}"), f"{DOUBLE}\n{TABLE}"),  # the function may need what it fills
        ("", None),
        ("The answer is 4.", None),
        (fenced("def twice(n):\n    return 2 * n"), None),
        (fenced("def double(n)\n    return 2 * n"), None),
        (fenced("double = lambda n: 2 * n"), None),
        (fenced(f"{DOUBLE}\nreturn 5"), None),
        (fenced("def double(n):\n    return '\x00'"), None),
        (fenced(f"{DOUBLE}\nx = '\ud800'"), None),
        (fenced(f"def double(n):\n    return {'(' * 5000}n{')' * 5000}"), None),
    ],
)  # fmt: skip
def test_the_last_block_that_defines_the_function_counts(text: str, found: str | None) -> None:
    assert find_program(text, "double") == found


def test_a_program_that_was_cut_off_is_none() -> None:
    cut = f"Twice.\n```python\n{DOUBLE}"
    assert find_program(cut, "double", ended=True) == DOUBLE
    assert find_program(cut, "double", ended=False) is None
    assert find_program(DOUBLE, "double", ended=False) is None
    assert find_program(f"{fenced(DOUBLE)}And so on and", "double", ended=False) == DOUBLE


@pytest.mark.parametrize("line", ["```" + "a" * 2_000_000 + "`", "~" * 2_000_000 + "`"])
def test_a_long_line_that_opens_no_block_is_read_once(line: str) -> None:
    assert BLOCK.search(line) is None  # read for each of its characters, it would take hours


def test_a_method_counts_where_the_problem_asks_for_one() -> None:
    method = "class Solution:\n\n    def double(self, n):\n        return 2 * n"
    assert find_program(fenced(method), "Solution.double") == method
    assert find_program(fenced(DOUBLE), "Solution.double") == DOUBLE
    assert find_program(fenced(method), "double") is None


@given(st.text() | st.text("`~pydef ouble(n):\n retu2*'\"", max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_parser(text: str) -> None:
    program = find_program(text, "double")
    assert program is None or find_program(fenced(program), "double") == program


# --- verdicts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (4, 4, True), (True, True, True), (1.0, 1, True), (0.1 + 0.2, 0.3, True), ([1, [2.0]], [1, [2]], True),
        ({"a": 1}, {"a": 1.0}, True), (None, None, True), ("4", 4, False), ([1], [1, 1], False), (None, 0, False),
        ({"a": 1}, {"b": 1}, False), (10**400, 1.5, False), (3, 3.1, False), ("a", "A", False),
    ],
)  # fmt: skip
def test_values_are_compared_as_data(one: object, other: object, same: bool) -> None:
    assert equal(one, other) == equal(other, one) == same


@pytest.mark.parametrize(
    ("code", "right"),
    [
        (DOUBLE, True),
        ("def double(n):\n    return n + n", True),
        ("def double(n):\n    return n", False),
        ("def double(n):\n    return str(2 * n)", False),
        ("def double(n):\n    raise ValueError", False),
        ("def double():\n    return 4", False),
        ("def double(n):\n    return int(input())", False),
        ("import nowhere\n\ndef double(n):\n    return 2 * n", False),
        ("def double(n):\n    while n:\n        pass\n    return 0", False),
    ],
)
def test_a_program_is_right_if_all_visible_cases_pass(code: str, right: bool, grader: ClassGrader) -> None:
    assert grader.correct(problem(seconds=0.5), code) == right


def test_a_program_that_imports_from_the_future_runs_behind_what_the_problem_gives(grader: ClassGrader) -> None:
    code = f'"""Twice."""\nfrom __future__ import annotations\n\n{DOUBLE.replace("(n)", "(n: List[Unknown])")}'
    assert grader.correct(problem(before="from typing import List"), code)
    assert grader.correct(problem(function="Solution.double", before="import math"), code)


def test_a_wrong_program_is_not_run_on_further_cases(grader: ClassGrader, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    code = f"def double(n):\n    open({str(seen)!r}, 'a').write('x')\n    return 0"
    assert not grader.correct(problem(), code)
    assert seen.read_text() == "x"


def test_the_s_score_is_the_share_of_hidden_cases_and_none_without_any(grader: ClassGrader) -> None:
    hidden = tuple(Case([n], 2 * n) for n in (5, 6, 7, 8))
    half = "def double(n):\n    return 2 * n if n < 7 else 0"
    assert grader.behaviour(problem(hidden=hidden), half).hidden == 0.5
    assert grader.correct(problem(hidden=hidden), half)
    assert grader.behaviour(problem(), half).hidden is None


def test_programs_are_the_same_if_they_do_the_same_on_all_inputs(grader: ClassGrader) -> None:
    one = problem(inputs=([7], [-1]))
    programs = {
        "double": DOUBLE,
        "sum": "def double(n):\n    return float(n) + n",
        "square": "def double(n):\n    return n * n",  # right on the visible cases
        "error": "def double(n):\n    return n / 0",
        "other error": "def double(n):\n    return 1 // 0",
    }
    behaviour = {name: grader.behaviour(one, code).behaviour for name, code in programs.items()}
    assert grader.correct(one, programs["square"])
    assert behaviour["double"] == behaviour["sum"] != behaviour["square"]
    assert behaviour["error"] == behaviour["other error"]
    assert len(set(behaviour.values())) == 3


def test_sum_adds_up_programs_that_do_the_same_and_max_takes_the_best_one() -> None:
    def rationale(repeat: int, code: str, behaviour: str, right: int, hidden: float) -> Rationale:
        exams = tuple(ExamAnswer("s", f"e{n}", 0, n < right) for n in range(4))
        return Rationale(f"r{repeat}", repeat, code, hidden == 1, 1, exams, behaviour=behaviour, hidden=hidden)

    trs = (rationale(0, "a", "x", 2, 1.0), rationale(1, "b", "x", 2, 1.0), rationale(2, "c", "y", 3, 0.25))
    sheet = Sheet(TeachingProblemRecord("tp", "code", None, trs), ClassGrader().same)
    assert [len(group.members) for group in sheet.groups] == [2, 1]
    assert sheet.choose("sum", ("s",), Scoring()).hidden == 1.0
    assert sheet.choose("max", ("s",), Scoring()).hidden == 0.25
    assert sheet.choose("sc", ("s",), Scoring()).answer == "program x"


def test_a_check_program_runs_beside_the_program(grader: ClassGrader) -> None:
    check = "def check(candidate):\n    assert abs(candidate(2) - 4) < 1e-6"
    one = problem(visible=(), check=check)
    assert grader.correct(one, DOUBLE)
    assert not grader.correct(one, "def double(n):\n    return n")
    again = grader.behaviour(one, "def double(n):\n    return n")
    assert again.hidden is None
    assert again.behaviour != grader.behaviour(one, DOUBLE).behaviour
