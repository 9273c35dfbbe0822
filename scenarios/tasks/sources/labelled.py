"""From `iterate.task` to the labelled texts of a class at level 3: the door to syllogisms, files and data sets.

`check` and `typical_tokens` are for plans: they read files, but draw and fetch nothing. How rows are read is for
labels.py, how they are split for splits.py.
"""

from pathlib import Path

import msgspec

from broker.errors import TaskError
from scenarios.config.schema import LabelledTask
from scenarios.tasks.problems import CHARACTERS_PER_TOKEN, Problem
from scenarios.tasks.sources import hub, jsonlines, syllogisms
from scenarios.tasks.sources.labels import ENTRY, Text, TextPool
from scenarios.tasks.sources.splits import Quotas, Split, quotas, split

UNKNOWN_TOKENS = 60
"""Taken for a typical text of a data set that was not fetched yet."""


class LabelledSource(msgspec.Struct, frozen=True):
    """Texts with a question of yes and no, and its gold answers. The gold answers never leave the classroom."""

    source: str
    """For people: `reasoning-gym syllogism`, or the files' names, or the data set's."""
    description: str
    """What the texts are and what Yes and No mean, in one or two sentences; for teacher and students."""
    train: tuple[Problem, ...]
    dev: tuple[Problem, ...]
    test: tuple[Problem, ...]
    repeated: int = 0
    """Rows left out because another had the same text."""
    contradicting: int = 0
    """Texts left out because they had both labels."""


def build(task: LabelledTask, seed: int, *, folder: Path) -> LabelledSource:
    """Draw the texts of a class. Files are relative to `folder`.

    Problems are named by split and place, `train-0` and so on; no text is in two splits. The same data and seed give
    the same problems, whatever the order of the file.

    Raises:
        TaskError: the task cannot be built as asked.
    """
    if _from_family(task):
        splits = syllogisms.build(_sizes(task), seed)
        return _labelled(_source(task), task.description.strip() or syllogisms.DESCRIPTION, splits)
    pool, sizes = _counted(task, folder)
    made = _labelled(_source(task), task.description.strip(), split(pool.texts, sizes, seed))
    return msgspec.structs.replace(made, repeated=pool.repeated, contradicting=pool.contradicting)


def check(task: LabelledTask, *, folder: Path) -> str:
    """Refuse a task that cannot be built. A data set of the hub is not fetched for it, so not all is known of it.

    Returns:
        What to call its source, for people.

    Raises:
        TaskError: the task cannot be built as asked.
    """
    if _from_family(task):
        syllogisms.check(_sizes(task))
    elif task.hub is None:
        _counted(task, folder)
    else:
        hub.check()
        TextPool(task)
    return _source(task)


def sizes(task: LabelledTask, folder: Path) -> tuple[int, int] | None:
    """How many texts train, and dev and test together, will have; None: a data set would have to be fetched for it.

    Raises:
        TaskError: the task cannot be built as asked.
    """
    if task.hub is not None:
        return None if not (task.train and task.test) else (task.train, task.dev + task.test)
    if _from_family(task):
        return task.train, task.dev + task.test
    _, found = _counted(task, folder)
    return found.train.total, found.dev.total + found.test.total


def typical_tokens(task: LabelledTask, folder: Path) -> int:
    """About how many tokens a text has.

    Raises:
        TaskError: the task's entries do not fit together, or a file cannot be used.
    """
    if _from_family(task):
        return syllogisms.TOKENS
    if task.hub is not None:
        return UNKNOWN_TOKENS
    lengths = sorted(len(text.text) for text in _pool(task, folder).texts.values())
    return lengths[len(lengths) // 2] // CHARACTERS_PER_TOKEN + 1


def _from_family(task: LabelledTask) -> bool:
    """Whether the texts come from a family; refuses entries that do not go together."""
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
    """Refuse what a family does not have."""
    if task.family not in (None, syllogisms.NAME):
        raise TaskError(
            f"no family of labelled texts is called {task.family!r}; there is syllogism", key=(*ENTRY, "family")
        )
    for key in ("positive", "negative"):
        if getattr(task, key) is not None:
            raise TaskError(f"is for files and data sets; {syllogisms.NAME} has labels of its own", key=(*ENTRY, key))
    if not task.balanced:
        raise TaskError(f"{syllogisms.NAME} is always half positive; take the entry out", key=(*ENTRY, "balanced"))


def _sizes(task: LabelledTask) -> dict[str, int]:
    return {"train": task.train, "dev": task.dev, "test": task.test}


def _counted(task: LabelledTask, folder: Path) -> tuple[TextPool, Quotas]:
    """All texts of a task, and how many go where."""
    pool = _pool(task, folder)
    try:
        return pool, quotas(pool.texts.values(), task)
    except TaskError as error:
        raise TaskError(f"{error.message}\n{_source(task)}: {_told(pool)}", key=error.key) from None


def _pool(task: LabelledTask, folder: Path) -> TextPool:
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


def _source(task: LabelledTask) -> str:
    if task.hub is not None:
        return f"hub {task.hub}" + (f" {task.hub_config}" if task.hub_config else "")
    names = [Path(name).name for name in (task.file, task.test_file) if name is not None]
    return " and ".join(names) or f"reasoning-gym {syllogisms.NAME}"


def _told(pool: TextPool) -> str:
    positive = sum(text.positive for text in pool.texts.values())
    told = f"{len(pool.texts)} texts, {positive} of them positive"
    if pool.repeated or pool.contradicting:
        told += f"; left out: {pool.repeated} that come again, {pool.contradicting} that have both labels"
    return told


def _labelled(source: str, description: str, splits: Split) -> LabelledSource:
    train, dev, test = splits
    return LabelledSource(
        source, description, _problems("train", train), _problems("dev", dev), _problems("test", test)
    )


def _problems(name: str, texts: tuple[Text, ...]) -> tuple[Problem, ...]:
    return tuple(Problem(f"{name}-{n}", t.text, "Yes" if t.positive else "No", "yes_no") for n, t in enumerate(texts))
