"""Problems that nothing is learnt from."""

from pathlib import Path

import pytest

from broker.errors import TaskError
from scenarios.config.schema import Exam, Task
from scenarios.tasks.build import build, check
from scenarios.tasks.problems import Bank
from scenarios.tasks.sources.families import FAMILIES, GSM
from tests.scenarios.tasks.test_files import functional, of, plain, write

HERE = Path()
TWO = Exam(problems=2)


def bank(task: Task, held_out: int, seed: int = 7, folder: Path = HERE) -> Bank:
    return build(task, TWO, seed, folder=folder, held_out=held_out)


def texts(one: Bank) -> set[str]:
    return {problem.text for item in one.items for problem in (item.tp, *item.eps)}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_problems_to_hold_out_unlike_those_that_are_taught(family: str) -> None:
    one = bank(Task(family=family, problems=3), 5)
    assert len({problem.text for problem in one.held_out} - texts(one)) == 5
    assert {problem.form for problem in one.held_out} == {FAMILIES[family].form}


def templates(one: Bank) -> tuple[set[str], set[str]]:
    taught = {item.tp.id.split("/")[1] for item in one.items}
    return taught, {problem.id.split("/")[2] for problem in one.held_out}


@pytest.mark.parametrize("problems", [1, 6, 60, 181])
def test_held_out_problems_come_from_other_templates(problems: int) -> None:
    taught, held_out = templates(bank(Task(family=GSM, problems=problems), 20))
    assert not taught & held_out
    assert len(held_out) >= 13


def test_a_class_that_holds_nothing_out_is_drawn_as_before() -> None:
    with_some, without = (bank(Task(family=GSM, problems=9), n) for n in (20, 0))
    assert with_some.items == without.items
    assert without.held_out == ()


@pytest.mark.parametrize("family", [GSM, "chain_sum"])
def test_classes_of_other_sizes_are_measured_on_the_same_problems(family: str) -> None:
    small, large = bank(Task(family=family, problems=3), 5), bank(Task(family=family, problems=12), 8)
    assert small.held_out == large.held_out[:5]


def test_a_single_template_cannot_be_taught_and_held_out() -> None:
    with pytest.raises(TaskError, match=r"learn\.held_out.*come from other templates; name two or more"):
        check(Task(family=GSM, templates=(43,)), TWO, folder=HERE, held_out=1)
    assert templates(bank(Task(family=GSM, templates=(43, 30), problems=2), 2)) == ({"t43"}, {"t30"})


def test_held_out_problems_of_a_file_are_those_that_are_left(tmp_path: Path) -> None:
    task = of(write(tmp_path, *map(functional, range(6))), 4)
    one = bank(task, 2, folder=tmp_path)
    assert {item.tp.id for item in one.items} | {problem.id for problem in one.held_out} == {
        f"algebra/{n}" for n in range(6)
    }
    fewer = bank(of(task, 3), 2, folder=tmp_path)
    assert fewer.held_out == one.held_out
    assert fewer.items == one.items[:3]


def test_held_out_problems_of_a_file_are_in_no_exam(tmp_path: Path) -> None:
    one = bank(of(write(tmp_path, *map(plain, range(8))), 5), 3, folder=tmp_path)
    assert not texts(one) & {problem.text for problem in one.held_out}


def test_a_file_too_small_to_hold_problems_out_is_refused(tmp_path: Path) -> None:
    task = of(write(tmp_path, *map(functional, range(4))), 3)
    with pytest.raises(TaskError, match=r"learn\.held_out: 2 problems besides the 3 of task\.problems .* has 4"):
        check(task, TWO, folder=tmp_path, held_out=2)
