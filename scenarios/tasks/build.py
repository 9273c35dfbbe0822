"""From the scenario's task to the bank of problems a class draws on: the door to this package.

`check` and `typical_tokens` are cheap, for plans; only `build` draws problems. Where problems come from and how
they are drawn is for gym.py and files.py.
"""

from pathlib import Path

import msgspec

from broker.errors import TaskError
from scenarios.config.schema import Exam, Scenario, Task
from scenarios.tasks.demonstrations import demonstrations
from scenarios.tasks.problems import CHARACTERS_PER_TOKEN, Bank, Labelled
from scenarios.tasks.sources import files, gym, labelled
from scenarios.tasks.sources.families import FAMILIES


def build_class(scenario: Scenario, *, folder: Path) -> Bank:
    """Everything that the levels of a class need; files are relative to `folder`.

    Raises:
        TaskError: one of its tasks cannot be built as asked.
    """
    bank = Bank("", (), ())
    if scenario.solves:
        bank = build(scenario.task, scenario.exam, scenario.seed, folder=folder, held_out=scenario.held_out)
    if scenario.classifies:
        drawn = labelled.build(scenario.iterate.task, scenario.seed, folder=folder)
        _refuse_large_sets(scenario, len(drawn.train))
        texts = Labelled(drawn.source, drawn.description, drawn.train, drawn.dev, drawn.test)
        bank = msgspec.structs.replace(bank, source=bank.source or texts.source, labelled=texts)
    return bank


def check_class(scenario: Scenario, *, folder: Path) -> None:
    """Refuse a class of which a task cannot be built, as far as that is known without drawing from a generator.

    Problems of a file are drawn as the class draws them: a plan reports what the run would report.

    Raises:
        TaskError: one of its tasks cannot be built as asked.
    """
    if scenario.solves and scenario.task.family is None:
        build(scenario.task, scenario.exam, scenario.seed, folder=folder, held_out=scenario.held_out)
    elif scenario.solves:
        check(scenario.task, scenario.exam, folder=folder, held_out=scenario.held_out)
    if scenario.classifies:
        labelled.check(scenario.iterate.task, folder=folder)
        if sizes := labelled.sizes(scenario.iterate.task, folder):
            _refuse_large_sets(scenario, sizes[0])


def _refuse_large_sets(scenario: Scenario, train: int) -> None:
    """A set of training items must leave others to be scored on."""
    exemplars = scenario.iterate.exemplars
    if 2 * exemplars > train:
        raise TaskError(
            f"{exemplars} of a set leave too little of {train} training items to learn from and to score it on;\n"
            f"ask for {train // 2} at most, or for more in iterate.task.train",
            key=("iterate", "exemplars"),
        )


def build(task: Task, exam: Exam, seed: int, *, folder: Path, held_out: int = 0) -> Bank:
    """Draw the problems of a class, and so many that are held out; `task.file` is relative to `folder`.

    Raises:
        TaskError: the task cannot be built as asked.
    """
    if task.family is not None:
        source = check(task, exam, folder=folder, held_out=held_out)
        items = gym.build(task, exam, seed, held_out)
        alone = gym.hold_out(task, seed, held_out, items)
        examples = demonstrations(task.family, task.demonstrations)
    else:
        path = _path(task, folder)
        source, items = path.name, files.build(path, task, exam, seed, held_out)
        alone = files.hold_out(path, seed, held_out)
        examples = demonstrations(items[0].tp.form, task.demonstrations)
    try:
        return Bank(source, items, examples, alone)
    except TaskError as error:
        raise TaskError(f"{source}: {error}") from None


def check(task: Task, exam: Exam, *, folder: Path, held_out: int = 0) -> str:
    """Refuse a task that cannot be built, as far as that is known without building it.

    Returns:
        What to call its source, for people.

    Raises:
        TaskError: the task cannot be built as asked.
    """
    path = _path(task, folder)
    if task.family is not None:
        return gym.check(task, held_out)
    files.check(path, task, exam, held_out)
    return path.name


def typical_tokens(task: Task, folder: Path) -> int:
    """About how many tokens a problem has.

    Raises:
        TaskError: there is no such family, or the file cannot be used.
    """
    path = _path(task, folder)
    if task.family is None:
        return files.typical_characters(path) // CHARACTERS_PER_TOKEN + 1
    gym.check(task)
    return FAMILIES[task.family].tokens


def _path(task: Task, folder: Path) -> Path:
    """Where the task's file is, or `folder` where it has none."""
    if (task.family is None) == (task.file is None):
        both = "both are given" if task.family is not None else "neither is given"
        raise TaskError(f"give a `family` of reasoning-gym or a `file`, and not the other; {both}", key=("task",))
    return folder / (task.file or "")
