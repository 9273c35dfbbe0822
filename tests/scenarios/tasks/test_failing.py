"""What is said of the visible cases that a program fails, and where a repaired program stands in a text."""

from collections.abc import Iterator

import msgspec
import pytest

from broker.work_messages import Answered, Sampling
from scenarios.levels.base import Request
from scenarios.levels.results import record_of
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.grading.program_text import find_program, with_program
from scenarios.tasks.problems import Problem
from scenarios.tasks.programs import Case, ProgramTask, count_failing

CASES = (Case([2], 4), Case([0], 0), Case(["é"], "éé"))
SHOWN = "Double n.\n\ndouble(2) == 4\ndouble(0) == 0\ndouble('é') == 'éé'"
DOUBLE = "def double(n):\n    return 2 * n"


@pytest.fixture(scope="module")
def grader() -> Iterator[ClassGrader]:
    with ClassGrader(sandbox="none", self_debug=True) as one:
        yield one


def problem(text: str = SHOWN, **fields: object) -> Problem:
    task = msgspec.structs.replace(ProgramTask("double", visible=CASES, seconds=0.5), **fields)
    return Problem("p", text, DOUBLE, "code", program=msgspec.json.encode(task).decode())


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("return 2 * n", []),
        ("return n + n if n else 1", ["double(0) returned 1; right is 0"]),
        ("return 4", ["double(0) returned 4; right is 0", "double('é') returned 4; right is 'éé'"]),
        ("return 2 * n if n else {}['k']", ["double(0) raised KeyError: 'k'; right is 0"]),
        ("raise ValueError('a\\nb\\x1b[31m')", None),
        ("return {1, 2}", None),
        ("return 'x' * 5000", None),
        ("return missing", None),
    ],
)  # fmt: skip
def test_every_failing_case_has_one_bounded_line(grader: ClassGrader, body: str, lines: list[str] | None) -> None:
    one = problem()
    program = grader.read(f"```python\ndef double(n):\n    {body}\n```", one)
    assert program is not None
    found = grader.failing(one, program)
    assert count_failing(found) == len(found.splitlines()) == (3 if lines is None else len(lines))
    assert grader.correct(one, program) is (not found)
    assert all(len(line) < 400 and line.isprintable() for line in found.splitlines())
    if lines is not None:
        assert found.splitlines() == lines


def test_what_comes_after_an_endless_call_is_not_run(grader: ClassGrader) -> None:
    found = grader.failing(problem(), "def double(n):\n    while n != 2:\n        pass\n    return 4").splitlines()
    assert found == [
        "double(0) ran out of time; right is 0",
        "double('é') was not run, since the call before it ran out of time; right is 'éé'",
    ]


def test_a_case_that_the_problem_does_not_show_is_not_shown(grader: ClassGrader) -> None:
    hidden = problem("Double n.")
    found = grader.failing(hidden, "def double(n):\n    return 77 if n else 1 // n").splitlines()
    assert found == [
        "a test that is not shown fails",
        "a test that is not shown raised ZeroDivisionError",
        "a test that is not shown fails",
    ]
    assert "é" not in grader.failing(hidden, "def double(n):\n    raise ValueError(n)")
    check = problem("Double n.", visible=(), check="def check(f):\n    assert f(2) == 4, 'SECRET'")
    assert grader.failing(check, "def double(n):\n    return n") == "a test that is not shown raised AssertionError"
    assert grader.failing(check, DOUBLE) == ""


def test_a_problem_may_write_its_cases_in_other_quotes_and_brackets(grader: ClassGrader) -> None:
    one = problem('Double n.\nassert double((1,2)) == 3\nassert double("a") == "aa"', visible=(
        Case([[1, 2]], [1, 2, 1, 2]), Case(["a"], "aa")))  # fmt: skip
    assert [line.partition(" ")[0] for line in grader.failing(one, "def double(n):\n    return 0").split("\n")] == [
        "double([1,",
        "double('a')",
    ]


def test_without_self_debugging_nothing_is_said() -> None:
    with ClassGrader(sandbox="none") as grader:
        assert grader.failing(problem(), "def double(n):\n    return 4") == ""
        assert not grader.correct(problem(), "def double(n):\n    return 4")


@pytest.mark.parametrize(
    "text",
    [
        "I see no mistake.",
        "```python\ndef double(n) return n\n```",
        "```python\ndef twice(n):\n    return n\n```",
        "é\ud800",
        "",
    ],
)
def test_a_repair_without_a_program_is_recorded_without_an_answer(grader: ClassGrader, text: str) -> None:
    one = problem()
    request = Request("r", "Examine", "ada", "exam_repair", Sampling(), tp="tp", tr="t", ep="p")
    record = record_of(request, Answered(text=text), {"p": one}, grader)
    assert (record.answer, record.correct, record.failing) == (None, False, "")


def test_half_a_character_in_a_value_is_recorded_as_its_escape(grader: ClassGrader) -> None:
    found = grader.failing(problem(), "def double(n):\n    return '\\ud800é'").split("\n")
    assert found[0] == r"double(2) returned '\ud800é'; right is 4"
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        (f"Add it to itself.\n```python\n{DOUBLE}\n```", "Add it to itself."),
        (f"Add ünits.\n```\n{DOUBLE}\n```\nIt works.", "Add ünits."),
        (f"First:\n```python\n{DOUBLE}\n```\nBetter:\n```python\n{DOUBLE}\n```", "First:"),
        (f"See:\n```\n2 * n\n```\nSo:\n```python\n{DOUBLE}\n```", "See:\n```\n2 * n\n```\nSo:"),
        (f"1. So\n   ```py\n{DOUBLE}", "1. So"),
        (DOUBLE, ""),
    ],
)
def test_the_strategy_stays_and_the_program_is_another(text: str, strategy: str) -> None:
    repaired = "def double(n):\n    return n + n"
    found = with_program(text, "double", repaired)
    assert found == f"{strategy}\n```python\n{repaired}\n```".strip()
    assert find_program(found, "double") == repaired
