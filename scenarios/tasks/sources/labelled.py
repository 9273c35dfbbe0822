"""Builds the labelled texts of a class at level 3 from `iterate.task`: from a family, files or the Hugging Face hub.

`check` is for plans: it reads files, but draws and fetches nothing. scenarios/tasks/sources/labels.py reads the rows,
and splits.py splits the texts.
"""

from pathlib import Path
from typing import NamedTuple

from broker.errors import TaskError
from scenarios.config.iterate_schema import LabelledTask
from scenarios.tasks.problems import CHARACTERS_PER_TOKEN, Labelled, Problem
from scenarios.tasks.sources import hub, jsonlines, syllogisms
from scenarios.tasks.sources.labels import ENTRY, Text, TextPool
from scenarios.tasks.sources.splits import Quotas, quotas, split

UNKNOWN_TOKENS = 60
"""Estimate for a text of a data set that is not fetched yet."""


class TextSizes(NamedTuple):
    """How many texts a class has, and how long they are."""

    train: int | None
    """None: unknown until a data set is fetched."""
    held_out: int
    """dev and test together."""
    tokens: int
    """Estimated tokens of a typical text."""


def build(task: LabelledTask, seed: int, *, folder: Path) -> Labelled:
    """Draw the texts of a class; file names are relative to `folder`.

    The ids of problems are split and position: `train-0` and so on. No text is in two splits. The same data and seed
    give the same problems, whatever the order of the file.

    Raises:
        TaskError: the task cannot be built.
    """
    if _from_family(task):
        splits, description = syllogisms.build(_sizes(task), seed), task.description.strip() or syllogisms.DESCRIPTION
    else:
        pool, sizes = _counted(task, folder)
        splits, description = split(pool.texts, sizes, seed), task.description.strip()
    train, dev, test = (_problems(name, texts) for name, texts in zip(("train", "dev", "test"), splits, strict=True))
    return Labelled(_source(task), description, train, dev, test)


def check(task: LabelledTask, *, folder: Path) -> TextSizes:
    """Refuse a task that cannot be built, as far as that is known without fetching a data set of the hub.

    Raises:
        TaskError: the task cannot be built.
    """
    if _from_family(task):
        syllogisms.check(_sizes(task))
        return TextSizes(task.train, task.dev + task.test, syllogisms.TOKENS)
    if task.hub is not None:
        hub.check()
        TextPool(task)
        return TextSizes(task.train if task.train and task.test else None, task.dev + task.test, UNKNOWN_TOKENS)
    pool, sizes = _counted(task, folder)
    lengths = sorted(len(text.text) for text in pool.texts.values())
    tokens = lengths[len(lengths) // 2] // CHARACTERS_PER_TOKEN + 1
    return TextSizes(sizes.train.total, sizes.dev.total + sizes.test.total, tokens)


def gather(task: LabelledTask, folder: Path) -> TextPool:
    """Read all texts of a task that has files or a data set.

    Raises:
        TaskError: a row cannot be used, or a class has no text.
    """
    pool = TextPool(task)
    if task.hub is not None:
        for where, row, held_out in hub.rows(task.hub, task.hub_config, task.label):
            pool.add(row, where, held_out=held_out)
    for key in ("file", "test_file"):
        if (name := getattr(task, key)) is not None:
            for _, where, row in jsonlines.objects(folder / name, (*ENTRY, key)):
                pool.add(row, where, held_out=key == "test_file")
    pool.finish(_source(task))
    return pool


def _from_family(task: LabelledTask) -> bool:
    """Return whether the texts come from a family; refuse entries that contradict each other."""
    for key in ("family", "file", "test_file", "hub", "hub_config", "label"):
        if getattr(task, key) == "":
            raise TaskError("is empty; name one, or leave the key out", key=(*ENTRY, key))
    named = [key for key in ("family", "file", "hub") if getattr(task, key) is not None] or ["family"]
    if len(named) > 1:
        raise TaskError(f"needs one of family, file and hub, has {' and '.join(named)}", key=ENTRY)
    for key, source in (("test_file", "file"), ("hub_config", "hub")):
        if getattr(task, key) is not None and named != [source]:
            raise TaskError(f"goes with {source}, and the texts come from a {named[0]}; take it out", key=(*ENTRY, key))
    if named == ["family"]:
        _refuse_foreign(task)
        return True
    if task.file is not None and task.file == task.test_file:
        raise TaskError("is the file itself; leave it out to have it split", key=(*ENTRY, "test_file"))
    if not task.description.strip():
        raise TaskError("is empty; say what the texts are and what Yes and No mean", key=(*ENTRY, "description"))
    return False


def _refuse_foreign(task: LabelledTask) -> None:
    """Refuse entries that a family does not have."""
    if task.family not in (None, syllogisms.NAME):
        raise TaskError(
            f"no family of labelled texts is called {task.family!r}; there is syllogism", key=(*ENTRY, "family")
        )
    for key in ("positive", "negative"):
        if getattr(task, key) is not None:
            raise TaskError(f"is for files and data sets; {syllogisms.NAME} has its own labels", key=(*ENTRY, key))
    if not task.balanced:
        raise TaskError(f"{syllogisms.NAME} is always half positive; take the entry out", key=(*ENTRY, "balanced"))


def _sizes(task: LabelledTask) -> dict[str, int]:
    return {"train": task.train, "dev": task.dev, "test": task.test}


def _counted(task: LabelledTask, folder: Path) -> tuple[TextPool, Quotas]:
    """All texts of a task, and the sizes of its splits."""
    pool = gather(task, folder)
    try:
        return pool, quotas(pool.texts.values(), task)
    except TaskError as error:
        raise TaskError(f"{error.message}\n{_source(task)}: {_summary(pool)}", key=error.key) from None


def _source(task: LabelledTask) -> str:
    if task.hub is not None:
        return f"hub {task.hub}" + (f" {task.hub_config}" if task.hub_config else "")
    names = [Path(name).name for name in (task.file, task.test_file) if name is not None]
    return " and ".join(names) or f"reasoning-gym {syllogisms.NAME}"


def _summary(pool: TextPool) -> str:
    positive = sum(text.positive for text in pool.texts.values())
    summary = f"{len(pool.texts)} texts, {positive} of them positive"
    if pool.repeated or pool.contradicting:
        summary += f"; left out: {pool.repeated} that come again, {pool.contradicting} that have both labels"
    return summary


def _problems(name: str, texts: tuple[Text, ...]) -> tuple[Problem, ...]:
    return tuple(Problem(f"{name}-{n}", t.text, "Yes" if t.positive else "No", "yes_no") for n, t in enumerate(texts))
