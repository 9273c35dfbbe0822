"""Rows of a data set of the Hugging Face hub, by the optional package `datasets`, which is imported only here.

Rows are streamed, so no more is fetched than is read. What they must hold is for labels.py.
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
    """Refuse where `datasets` is not installed; fetches nothing.

    Raises:
        TaskError: it is not.
    """
    if importlib.util.find_spec("datasets") is None:
        raise TaskError(f"needs the package `datasets`, which is not installed: {INSTALL}", key=(*ENTRY, "hub"))


def rows(name: str, config: str | None, label: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The rows of a data set: their place, for messages; the row; whether its split is one held out.

    Class labels are given by name, not by number. Rows whose class label is kept back (-1, as in the test splits of
    competitions) are left out.

    Args:
        name: OWNER/NAME at the hub.
        config: which of its configurations, where it has several.
        label: the column of the label.

    Raises:
        TaskError: `datasets` is not installed, or the data set cannot be had or read, or has no split `train`.
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
    except Exception as error:  # The library passes on whatever its readers, the hub or the network raise.
        why = (str(error).strip().splitlines() or [""])[0][:200]
        raise TaskError(f"{name}: {type(error).__name__}: {why}", key=(*ENTRY, "hub")) from error
