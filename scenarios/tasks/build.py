"""Builds the bank of problems of a class from its scenario.

`check_class` is for plans: it reads files, but draws nothing from a generator and fetches nothing. The modules of
scenarios/tasks/sources know how problems are drawn.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from broker.errors import TaskError
from broker.work_messages import Exemplar
from scenarios.config.schema import Exam, Scenario, Task
from scenarios.tasks.demonstrations import demonstrations
from scenarios.tasks.grading.code import check_sandbox
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from scenarios.tasks.sources import files, gym, labelled
from scenarios.tasks.sources.code_files import HUMAN_EVAL, human_eval
from scenarios.tasks.sources.families import FAMILIES


class TaskSizes(NamedTuple):
    """How large the tasks of a class are; 0 where it has no such task."""

    problem_tokens: int
    """Estimated tokens of a typical problem."""
    train: int
    """Labelled texts for training."""
    held_out: int
    """Labelled texts that are held out."""
    text_tokens: int
    """Estimated tokens of a typical labelled text."""


def build_class(scenario: Scenario, *, folder: Path) -> Bank:
    """Build everything that the levels of a class need; file names are relative to `folder`.

    Raises:
        TaskError: one of its tasks cannot be built.
    """
    bank = Bank("", (), ())
    if scenario.solves:
        bank = build(scenario.task, scenario.exam, scenario.seed, folder=folder, held_out=scenario.held_out)
    if scenario.classifies:
        texts = labelled.build(scenario.iterate.task, scenario.seed, folder=folder)
        _refuse_large_sets(scenario, len(texts.train))
        bank = msgspec.structs.replace(bank, source=bank.source or texts.source, labelled=texts)
    return bank


def check_class(scenario: Scenario, *, folder: Path) -> TaskSizes:
    """Refuse a class whose tasks cannot be built, as far as that is known without a generator or the hub.

    Problems of a file are drawn as the class draws them: a plan reports what the run would report.

    Raises:
        TaskError: one of its tasks cannot be built.
    """
    problem_tokens, texts = 0, labelled.TextSizes(0, 0, 0)
    if scenario.solves:
        task, exam, path = scenario.task, scenario.exam, _path(scenario.task, folder)
        if task.family is None:
            entries = files.check(path, task, exam, scenario.held_out)
            if entries[0].problems[0].form == "code":
                _check_code(task, exam)
            _from_file(entries, path, task, exam, scenario.seed, scenario.held_out)
            problem_tokens = files.typical_tokens(entries)
        else:
            problem_tokens = check(task, exam, folder=folder, held_out=scenario.held_out)
    if scenario.classifies:
        texts = labelled.check(scenario.iterate.task, folder=folder)
        if texts.train is not None:
            _refuse_large_sets(scenario, texts.train)
    train = texts.train
    if train is None:
        train = scenario.iterate.task.train or scenario.iterate.score_items
    return TaskSizes(problem_tokens, train, texts.held_out, texts.tokens)


def _check_code(task: Task, exam: Exam) -> None:
    if exam.score == "logprob":
        raise TaskError(
            "logprob shows students the reference solutions, and those of code problems stay in the classroom; leave "
            "exam.score out",
            key=("exam", "score"),
        )
    check_sandbox(task.sandbox)


def _refuse_large_sets(scenario: Scenario, train: int) -> None:
    """Refuse sets of exemplars that leave too few training items to score them on."""
    exemplars = scenario.iterate.exemplars
    if 2 * exemplars > train:
        raise TaskError(
            f"{exemplars} of a set leave too little of {train} training items to learn from and to score it on;\n"
            f"ask for {train // 2} at most, or for more in iterate.task.train",
            key=("iterate", "exemplars"),
        )


def build(task: Task, exam: Exam, seed: int, *, folder: Path, held_out: int = 0) -> Bank:
    """Draw the problems of a class and `held_out` more; `task.file` is relative to `folder`.

    Raises:
        TaskError: the task cannot be built.
    """
    path = _path(task, folder)
    if task.family is None:
        return _from_file(files.check(path, task, exam, held_out), path, task, exam, seed, held_out)
    gym.check(task, held_out)
    items = gym.build(task, exam, seed, held_out)
    alone = gym.hold_out(task, seed, held_out, items)
    return _bank(f"reasoning-gym {task.family}", items, alone, demonstrations(task.family, task.demonstrations))


def check(task: Task, exam: Exam, *, folder: Path, held_out: int = 0) -> int:
    """Refuse a task that cannot be built, as far as that is known without building it.

    Returns:
        The estimated tokens of a typical problem.

    Raises:
        TaskError: the task cannot be built.
    """
    path = _path(task, folder)
    if task.family is None:
        return files.typical_tokens(files.check(path, task, exam, held_out))
    gym.check(task, held_out)
    return FAMILIES[task.family].tokens


def _from_file(entries: list[files.Entry], path: Path, task: Task, exam: Exam, seed: int, held_out: int) -> Bank:
    items, alone = files.draw(entries, path, task, exam, seed, held_out)
    return _bank(path.name, items, alone, demonstrations(items[0].tp.form, task.demonstrations))


def _bank(
    source: str, items: tuple[ProblemGroup, ...], alone: tuple[Problem, ...], examples: tuple[Exemplar, ...]
) -> Bank:
    try:
        return Bank(source, items, examples, alone)
    except TaskError as error:
        raise TaskError(f"{source}: {error}") from None


def _path(task: Task, folder: Path) -> Path:
    """The path of the task's file; `folder` for a family."""
    if (task.family is None) == (task.file is None):
        both = "both are given" if task.family is not None else "neither is given"
        raise TaskError(f"give a `family` of reasoning-gym or a `file`, and not the other; {both}", key=("task",))
    path = folder / (task.file or "")
    return human_eval() if path.name == HUMAN_EVAL and not path.exists() else path
