"""Reads rows of a data set of the Hugging Face hub with the optional package `datasets`, which only this file imports.

Rows are streamed: nothing is fetched that is not read. scenarios/tasks/sources/labels.py checks the rows.
"""

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from broker.errors import TaskError
from scenarios.tasks.sources.labels import ENTRY

TRAIN = "train"
HELD_OUT = ("validation", "test")
INSTALL = 'pip install -e ".[datasets]"'


def check() -> None:
    """Check that `datasets` is installed; fetches nothing.

    Raises:
        TaskError: it is not installed.
    """
    if importlib.util.find_spec("datasets") is None:
        raise TaskError(f"needs the package `datasets`, which is not installed: {INSTALL}", key=(*ENTRY, "hub"))


def rows(name: str, config: str | None, label: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The rows of a data set: the position for messages, the row, and whether its split is held out.

    Class labels are names, not numbers. Rows without a class label (-1, as in the test splits of competitions) are
    skipped.

    Args:
        name: OWNER/NAME at the hub.
        config: the name of the configuration, if it has several.
        label: the column of the label.

    Raises:
        TaskError: `datasets` is not installed, or the data set cannot be fetched or read, or has no split `train`.
    """
    check()
    datasets = importlib.import_module("datasets")
    try:
        splits = datasets.load_dataset(name, config, streaming=True)
        if TRAIN not in splits:
            raise TaskError(f"{name} has no split {TRAIN}; it has {', '.join(map(str, splits))}", key=(*ENTRY, "hub"))
        for split in (TRAIN, *HELD_OUT):
            if split not in splits:
                continue
            names = getattr((splits[split].features or {}).get(label), "names", None)
            for n, row in enumerate(splits[split]):
                if names is not None:
                    if row[label] is None or row[label] < 0:
                        continue
                    row = row | {label: names[row[label]]}
                yield f"{name}, {split} row {n}", row, split != TRAIN
    except TaskError:
        raise
    except Exception as error:  # The library raises whatever its readers, the hub or the network raise.
        why = (str(error).strip().splitlines() or [""])[0][:200]
        raise TaskError(f"{name}: {type(error).__name__}: {why}", key=(*ENTRY, "hub")) from error
