"""Draws the problems of a class from reasoning-gym.

Every draw has its own seed, made from the class's seed, the template and the problem's number, so that more problems
change none of the earlier ones. scenarios/tasks/sources/families.py lists the usable families. reasoning_gym is
imported only when problems are drawn.
"""

import difflib
import hashlib
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Any

from broker.errors import TaskError
from broker.work_messages import AnswerForm
from scenarios.config.schema import Exam, Task
from scenarios.tasks.problems import Problem, ProblemGroup, same_text, worked_out
from scenarios.tasks.sources.families import (
    DEFECTIVE,
    FAMILIES,
    FROM_DIFFICULTY,
    GSM,
    REFUSED,
    TEMPLATES,
    UNCHECKED,
    UP_TO_DIFFICULTY,
    Family,
)

DRAWS = 60
"""Most draws for one problem, where earlier ones repeat a text or are unsound; then the task is refused."""
RANDOM_NUMBERS = 20_000
"""Most random numbers of one draw: some templates search for fitting numbers forever."""

Draw = Callable[[int], tuple[str, str, str]]
"""Takes a seed; returns a problem, its answer, and the family's solution or empty text."""


def suited(difficulty: float) -> list[int]:
    """The templates of gsm_symbolic that work at `difficulty`."""
    return [t for t in range(TEMPLATES) if not _unfit(t, difficulty)]


def check(task: Task, held_out: int = 0) -> None:
    """Refuse a task that cannot be drawn, without drawing it.

    Raises:
        TaskError: the family, a template or the difficulty cannot be used, or no template is left to hold out.
    """
    name = task.family or ""
    if name not in FAMILIES:
        raise TaskError(_unknown(name), key=("task", "family"))
    if name != GSM:
        if task.templates is not None:
            raise TaskError(f"only {GSM} has templates, {name} has none; take the entry out", key=("task", "templates"))
        return
    if task.templates is not None:
        _check_templates(task.templates, task.difficulty)
    elif not suited(task.difficulty):
        raise TaskError(
            f"{task.difficulty:g} is too low for {GSM}: its numbers start at 0.5", key=("task", "difficulty")
        )
    if held_out and len(task.templates or suited(task.difficulty)) < 2:
        raise TaskError(
            "held-out problems (learn.held_out) come from other templates; name two or more",
            key=("task", "templates"),
        )


def build(task: Task, exam: Exam, seed: int, held_out: int = 0) -> tuple[ProblemGroup, ...]:
    """Draw the problems of a task that `check` accepted, and leave templates for `held_out` others.

    Raises:
        TaskError: a template has too few different problems.
    """
    taught, _ = _templates(task, seed, held_out)
    drawn: defaultdict[str, list[Problem]] = defaultdict(list)
    items = []
    for i in range(task.problems):
        tp_id, draw = _numbered(task, i, taught)
        form, before = FAMILIES[task.family or ""].form, drawn[tp_id.rpartition("/")[0]]
        items.append(_item(tp_id, draw, exam.problems, seed, form, before))
    return tuple(items)


def hold_out(task: Task, seed: int, held_out: int, items: Sequence[ProblemGroup]) -> tuple[Problem, ...]:
    """Draw problems that differ from those of `items`, which `build` drew; from other templates, if the family has any.

    Raises:
        TaskError: a template has too few different problems.
    """
    _, kept = _templates(task, seed, held_out)
    seen = [problem for item in items for problem in (item.tp, *item.eps)]
    for i in range(held_out):
        problem_id, draw = _numbered(task, i, kept)
        seen.append(_new(f"held_out/{problem_id}", draw, seed, FAMILIES[task.family or ""].form, seen))
    return tuple(seen[len(seen) - held_out :])


def others(task: Task, seed: int) -> Iterator[Problem]:
    """Draw problems for exams, each with another text than those before it, for as long as there are any.

    They do not depend on the number of TPs, and may repeat the text of one. Templates come in the opposite order to
    that of the TPs, without those that are held out first.

    Raises:
        TaskError: the family, or one of its templates, has no further problem.
    """
    order, _ = _templates(task, seed, 0)
    templates = order[: max(1, len(order) - len(order) // 5)][::-1]
    seen: list[Problem] = []
    while True:
        problem_id, draw = _numbered(task, len(seen), templates)
        seen.append(_new(f"exam/{problem_id}", draw, seed, FAMILIES[task.family or ""].form, seen))
        yield seen[-1]


def dataset(name: str, settings: Mapping[str, Any]) -> Any:
    """The library's data set of a family; item i is drawn with seed i.

    Imports only the family's module. The packages of the library import all families, matplotlib and sympy, which takes
    longer than everything else before the first request. So empty packages replace them during the import, and are
    removed afterwards, so that a later import of the library gets all of it.

    Raises:
        TaskError: the library is not installed, or its version does not have the family.
    """
    module = f"reasoning_gym.{FAMILIES[name].module}"
    packages = [package for package in accumulate(module.split(".")[:-1], "{}.{}".format) if package not in sys.modules]
    try:
        for package in packages:
            if (spec := importlib.util.find_spec(package)) is None:
                raise ImportError(f"there is no module {package}")
            sys.modules[package] = importlib.util.module_from_spec(spec)
        importlib.import_module("reasoning_gym.coaching")  # The factory and it import each other: it must come first.
        importlib.import_module(module)
        create = importlib.import_module("reasoning_gym.factory").create_dataset
        made = create(name, size=1, seed=0, **settings)
        made[0]  # Some families import their data when they draw.
    except ImportError as error:
        raise TaskError(
            f"{name} of reasoning-gym cannot be drawn: {error}.\n"
            "Install the version of reasoning-gym that this project names: pip install -e ."
        ) from error
    finally:
        for package in packages:
            sys.modules.pop(package, None)
    return made


def _templates(task: Task, seed: int, held_out: int) -> tuple[list[int], list[int]]:
    """The templates of the TPs, and those of the held-out problems; both empty for families without templates.

    The latter are the end of the order, reversed: all that the TPs leave, and at least a fifth. So classes with more or
    fewer TPs are measured on the same problems.
    """
    if task.family != GSM:
        return [], []
    order = list(task.templates or sorted(suited(task.difficulty), key=lambda t: number(seed, GSM, "order", t)))
    if not held_out:
        return order, []
    taught = min(task.problems, len(order) - max(1, len(order) // 5))
    return order[:taught], order[taught:][::-1]


def _numbered(task: Task, i: int, templates: Sequence[int]) -> tuple[str, Draw]:
    """The id of problem `i`, and how it is drawn."""
    if not templates:
        name = task.family or ""
        return f"{name}/{i}", _from_family(FAMILIES[name], name)
    template, nth = templates[i % len(templates)], i // len(templates)
    return f"{GSM}/t{template}/{nth}", _from_template(template, task)


def _from_template(template: int, task: Task) -> Draw:
    generate = _dataset(GSM).generators[template]

    def draw(bits: int) -> tuple[str, str, str]:
        made = generate(BoundedRandom(bits), task.difficulty)
        gold = Fraction(made["answer"])
        if gold < 0 or gold.denominator != 1:
            raise ValueError("no count of anything")
        return made["question"], made["answer"], made["metadata"].get("answer_cot", "")

    return draw


def _from_family(family: Family, name: str) -> Draw:
    items = _dataset(name)

    def draw(bits: int) -> tuple[str, str, str]:
        made = items[bits]  # The library seeds item i with seed + i.
        if made["answer"] in family.unsound:
            raise ValueError("an answer the family gets wrong")
        text = made["question"]
        for sentence in family.without:
            text = text.replace(sentence, "")
        return text, made["answer"], ""

    return draw


@lru_cache(maxsize=1)
def _dataset(name: str) -> Any:
    """The library's data set of a family. Drawing does not change it."""
    settings = {} if name == GSM else FAMILIES[name].settings
    return dataset(name, settings)


def _item(tp_id: str, draw: Draw, eps: int, seed: int, form: AnswerForm, drawn: list[Problem]) -> ProblemGroup:
    """Draw a TP that differs from those in `drawn`, and EPs that differ from it and from each other."""
    tp = _new(tp_id, draw, seed, form, drawn)
    drawn.append(tp)
    exam: list[Problem] = []
    for k in range(1, eps + 1):
        exam.append(_new(f"{tp_id}/ep{k}", draw, seed, form, [tp, *exam], other_than=tp.answer))
    return ProblemGroup(tp, tuple(exam))


def _new(
    problem_id: str,
    draw: Draw,
    seed: int,
    form: AnswerForm,
    unlike: list[Problem],
    other_than: str | None = None,
) -> Problem:
    """Draw a problem with a new text and, if possible, with another answer than `other_than`, which could be copied."""
    second_best: Problem | None = None
    for attempt in range(DRAWS):
        try:
            text, answer, solution = draw(number(seed, problem_id, attempt))
        except (ValueError, Endless):
            continue
        if any(same_text(text, other.text) for other in unlike):
            continue
        problem = Problem(problem_id, text.strip(), answer, form, worked_out(solution, answer))
        if answer != other_than or form == "yes_no":
            return problem
        second_best = second_best or problem
    if second_best is None:
        raise TaskError(
            f"{problem_id}: no new problem in {DRAWS} draws; ask for fewer problems, or choose other templates or "
            "another difficulty",
            key=("task", "problems"),
        )
    return second_best


def number(*parts: object) -> int:
    """63 bits of the hash of `parts`: the seed of one draw, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


class Endless(Exception):
    """A template used too many random numbers."""


class BoundedRandom(Random):
    """The random numbers of `Random`; raises `Endless` after RANDOM_NUMBERS of them."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._left = RANDOM_NUMBERS

    def random(self) -> float:
        """The same as in `Random`."""
        self._count()
        return super().random()

    def getrandbits(self, k: int, /) -> int:
        """The same as in `Random`."""
        self._count()
        return super().getrandbits(k)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Endless


def _unfit(template: int, difficulty: float) -> str:
    """The reason why `template` cannot be used at `difficulty`; empty if it can."""
    if not 0 <= template < TEMPLATES:
        return f"there is none; they are numbered from 0 to {TEMPLATES - 1}"
    if template in DEFECTIVE:
        return f"left out: {DEFECTIVE[template]}"
    low, high = FROM_DIFFICULTY.get(template, 0.5), UP_TO_DIFFICULTY.get(template, 2.0)
    if not low <= difficulty <= high:
        return f"works at a difficulty from {low:g} to {high:g}, not at {difficulty:g}"
    return ""


def _check_templates(templates: tuple[int, ...], difficulty: float) -> None:
    if not templates:
        raise TaskError(
            "the list is empty; take the entry out to have templates drawn by the seed", key=("task", "templates")
        )
    for template in templates:
        why = _unfit(template, difficulty)
        if why:
            raise TaskError(f"{GSM} template {template}: {why}", key=("task", "templates"))
    if len(set(templates)) < len(templates):
        raise TaskError("a template is named twice", key=("task", "templates"))


def _unknown(name: str) -> str:
    listed = "`python run.py doctor` lists the families that can be used"
    if name in REFUSED:
        return f"{name} of reasoning-gym is not fit for a class: it {REFUSED[name]}; {listed}"
    if name in UNCHECKED.split():
        return f"reasoning-gym has {name}, but its answers were not checked yet; {listed}"
    begun = [family for family in FAMILIES if name and family.startswith(name.lower())]
    near = begun or difflib.get_close_matches(name, FAMILIES, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]}?" if near else ""
    file = "; for GSM8K, MATH and your own problems use task.file, docs/your-own-problems.md"
    return f"no family is called {name[:60]!r}{guess} ({listed}{'' if near else file})"
