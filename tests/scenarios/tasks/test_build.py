"""The door to the tasks: a scenario's task becomes a bank, or is refused."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import TaskError
from scenarios.config.load import read
from scenarios.config.schema import Exam, Scenario, Task
from scenarios.tasks.build import build, build_class, check, check_class
from scenarios.tasks.demonstrations import WORKED, demonstrations
from scenarios.tasks.grading.answers import parse
from scenarios.tasks.grading.program_text import find_program
from scenarios.tasks.problems import ANSWER_MARK, Bank, Problem, ProblemGroup
from scenarios.tasks.sources.families import FAMILIES, GSM

HERE = Path()
SCENARIOS = Path(__file__).parents[3] / "scenarios"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_becomes_a_bank_of_the_size_asked_for(family: str) -> None:
    task = Task(family=family, problems=3, demonstrations=4)
    bank = build(task, Exam(problems=2), 7, folder=HERE)
    check(task, Exam(problems=2), folder=HERE)
    assert bank.source == f"reasoning-gym {family}"
    assert [len(item.eps) for item in bank.items] == [2, 2, 2]
    assert {p.form for item in bank.items for p in (item.tp, *item.eps)} == {FAMILIES[family].form}
    assert len(bank.demonstrations) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_the_typical_length_is_near_the_real_one(family: str) -> None:
    task = Task(family=family, problems=30)
    items = build(task, Exam(problems=1), 7, folder=HERE).items
    mean = sum(len(item.tp.text) for item in items) / len(items) / 4
    assert 0.7 * mean < check(task, Exam(), folder=HERE) < 1.4 * mean


@pytest.mark.parametrize(
    ("task", "message"),
    [(Task(), "neither is given"), (Task(family=GSM, file="mine.jsonl"), "both are given"),
     (Task(family="no_such"), "no family is called 'no_such'")],
)  # fmt: skip
def test_exactly_one_known_source_must_be_named(task: Task, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        build(task, Exam(), 1, folder=HERE)
    with pytest.raises(TaskError, match=message):
        check(task, Exam(), folder=HERE)


def test_checking_a_task_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from scenarios.config.schema import *;"
        "from scenarios.tasks.build import *;"
        "check(Task(family='gsm_symbolic'), Exam(), folder=Path());"
        "check(Task(family='gcd'), Exam(), folder=Path());"
        "print([m for m in ('reasoning_gym', 'math_verify', 'sympy', 'numpy', 'torch') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"


@pytest.mark.parametrize("kind", [kind for kind in WORKED if kind != "code"])
def test_worked_examples_are_short_and_end_in_an_answer_that_can_be_read(kind: str) -> None:
    form = "number" if kind == "arithmetic" else kind
    assert len(WORKED[kind]) == 4
    for example in WORKED[kind]:
        *work, last = example.rationale.split("\n")
        assert 1 <= len(work) <= 4
        assert max(map(len, work)) <= 50
        assert last.startswith(ANSWER_MARK)
        assert parse(example.rationale, form) is not None  # type: ignore[arg-type]  # A key of WORKED, as above.


def test_worked_programs_pass_the_cases_that_are_shown() -> None:
    assert len(WORKED["code"]) == 4
    for example in WORKED["code"]:
        cases = [line for line in example.problem.splitlines() if " == " in line]
        assert len(cases) == 2
        program = find_program(example.rationale, cases[0].partition("(")[0])
        assert program is not None
        subprocess.run([sys.executable, "-c", "\n".join([program, *(f"assert {case}" for case in cases)])], check=True)


def test_the_calculations_of_worked_examples_come_out() -> None:
    from tests.scenarios.tasks.test_families import calculated

    for example in (*WORKED["number"], *WORKED["arithmetic"]):
        for line in example.rationale.split("\n")[:-1]:
            left, right = line.split(" = ")
            number = parse(f"Answer: {right}", "number")
            if "/" not in left:
                assert str(calculated(left)) == number, line


def test_no_worked_example_is_a_problem_that_families_draw() -> None:
    shown = {example.problem for examples in WORKED.values() for example in examples}
    for family in FAMILIES:
        items = build(Task(family=family, problems=30), Exam(problems=1), 1, folder=HERE).items
        assert not shown & {p.text for item in items for p in (item.tp, *item.eps)}


@pytest.mark.parametrize("count", range(5))
def test_as_many_worked_examples_as_asked_for(count: int) -> None:
    assert len(demonstrations("chain_sum", count)) == len(demonstrations("latex", count)) == count
    assert demonstrations("syllogism", count) == WORKED["yes_no"][:count]


def test_a_bank_with_one_question_twice_is_refused() -> None:
    def problem(id: str, text: str) -> Problem:
        return Problem(id, text, "2", "number")

    with pytest.raises(TaskError, match=r"a and b: two teaching problems"):
        Bank("x", (ProblemGroup(problem("a", "1 + 1?"), ()), ProblemGroup(problem("b", "1  +  1?"), ())), ())
    with pytest.raises(TaskError, match=r"c and d: two exam problems"):
        Bank("x", (ProblemGroup(problem("a", "1 + 1?"), (problem("c", "2 + 2?"), problem("d", "2 + 2?"))),), ())


def iterated(*overrides: str, level: str = "3") -> Scenario:
    return read(SCENARIOS / "smoke_iterate.yaml", [f"level={level}", *overrides])


@pytest.mark.parametrize("family", ["gsm_symbolic", "chain_sum"])
def test_a_larger_bank_of_the_same_seed_begins_with_the_smaller_one(family: str, tmp_path: Path) -> None:
    small = build(Task(family=family, problems=3), Exam(problems=2), 7, folder=tmp_path)
    large = build(Task(family=family, problems=6), Exam(problems=3), 7, folder=tmp_path)
    assert small.grown(large) == large
    assert large.grown(small) == large, "nothing is dropped"
    assert small.grown(large).only(3, 2) == small
    other = build(Task(family=family, problems=6), Exam(problems=3), 8, folder=tmp_path)
    with pytest.raises(TaskError, match="gives other problems for the larger class than this class has"):
        small.grown(other)


def test_a_class_of_level_3_alone_has_labelled_texts_and_no_teaching_problems() -> None:
    bank = build_class(iterated(), folder=HERE)
    assert bank.items == ()
    assert bank.source == "reasoning-gym syllogism"
    assert bank.labelled is not None
    assert [len(part) for part in (bank.labelled.train, bank.labelled.dev, bank.labelled.test)] == [60, 20, 20]


def test_a_class_of_levels_1_and_3_has_both() -> None:
    bank = build_class(iterated("task={family: chain_sum, problems: 3}", level="[1, 3]"), folder=HERE)
    assert len(bank.items) == 3
    assert bank.labelled is not None
    assert bank.source == "reasoning-gym chain_sum"


@pytest.mark.parametrize("door", [build_class, check_class])
def test_sets_that_leave_too_few_training_items_are_refused(door: Callable[..., object]) -> None:
    with pytest.raises(TaskError, match="40 of a set leave too little of 60 training items"):
        door(iterated("iterate.exemplars=40"), folder=HERE)
