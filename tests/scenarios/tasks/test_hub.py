"""Labelled texts by a name at the Hugging Face hub: with a stand-in for the library, and with the library itself."""

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from broker.errors import TaskError
from scenarios.config.iterate_schema import LabelledTask
from scenarios.tasks.sources.labelled import build, check

HERE = Path()
TASK = LabelledTask(hub="owner/name", positive="spam", description="Is it spam?", train=4, dev=2, test=2)
NAMES = ["ham", "spam"]


class Split:
    """A split of a streamed data set."""

    def __init__(self, rows: list[dict[str, Any]], names: list[str] | None) -> None:
        self.features = {"text": SimpleNamespace(), "label": SimpleNamespace(names=names) if names else object()}
        self._rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)


def rows(name: str, count: int) -> list[dict[str, Any]]:
    return [{"text": f"{name} {n}", "label": n % 2} for n in range(count)]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the stand-in gives; `asked` is what it was asked for."""
    given: dict[str, Any] = {"splits": {"train": Split(rows("train", 20), NAMES)}}

    def load_dataset(*asked: Any, **how: Any) -> Any:
        given["asked"] = (*asked, how)
        if isinstance(given["splits"], Exception):
            raise given["splits"]
        return given["splits"]

    stand_in = ModuleType("datasets")
    stand_in.__spec__ = ModuleSpec("datasets", None)
    stand_in.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return given


def test_class_labels_go_by_their_names(loaded: dict[str, Any]) -> None:
    made = build(TASK, 1, folder=HERE)
    assert made.source == "hub owner/name"
    assert (len(made.train), len(made.dev), len(made.test)) == (4, 2, 2)
    assert all((p.answer == "Yes") == (int(p.text.split()[1]) % 2 == 1) for p in (*made.train, *made.dev, *made.test))
    assert loaded["asked"] == ("owner/name", None, {"streaming": True})


def test_plain_numbers_stay_numbers_and_the_configuration_is_passed_on(loaded: dict[str, Any]) -> None:
    loaded["splits"] = {"train": Split(rows("train", 20), None)}
    task = LabelledTask(hub="x/y", hub_config="en", positive=1, description="?", train=4, dev=0, test=4)
    made = build(task, 1, folder=HERE)
    assert made.source == "hub x/y en"
    assert loaded["asked"][1] == "en"


def test_dev_and_test_come_from_the_splits_held_out(loaded: dict[str, Any]) -> None:
    loaded["splits"] |= {name: Split(rows(name, 4), NAMES) for name in ("validation", "test", "other")}
    made = build(LabelledTask(hub="x/y", positive="spam", description="?", train=0, dev=4, test=0), 1, folder=HERE)
    assert {p.text.split()[0] for p in made.train} == {"train"}
    assert {p.text.split()[0] for p in (*made.dev, *made.test)} == {"validation", "test"}
    assert (len(made.train), len(made.dev), len(made.test)) == (20, 4, 4)


def test_rows_whose_label_is_kept_back_are_left_out(loaded: dict[str, Any]) -> None:
    hidden = [{"text": f"hidden {n}", "label": -1} for n in range(5)]
    loaded["splits"]["test"] = Split(hidden, NAMES)
    made = build(TASK, 1, folder=HERE)
    assert {p.text.split()[0] for p in (*made.train, *made.dev, *made.test)} == {"train"}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": Split([], None)}, "hub: owner/name has no split train; it has test"),
        ({"train": Split([], None)}, "hub owner/name holds no texts that can be used$"),
        ({"train": Split([{"text": "a"}], None)}, "owner/name, train row 0: no `label`; there: text"),
        ({"train": Split([{"text": "a", "label": 1}], None)}, "no text of hub owner/name has the label 'spam'"),
        (ConnectionError("no network\nand more"), "hub: owner/name: ConnectionError: no network$"),
        (RuntimeError(), "hub: owner/name: RuntimeError: $"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_refused(loaded: dict[str, Any], splits: Any, message: str) -> None:
    loaded["splits"] = splits
    with pytest.raises(TaskError, match=message):
        build(TASK, 1, folder=HERE)


def test_a_plan_fetches_nothing_but_checks_the_entries(loaded: dict[str, Any]) -> None:
    assert check(TASK, folder=HERE).tokens > 0
    assert "asked" not in loaded
    with pytest.raises(TaskError, match="positive: is missing"):
        check(LabelledTask(hub="owner/name", description="?"), folder=HERE)


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for call in (lambda: check(TASK, folder=HERE), lambda: build(TASK, 1, folder=HERE)):
        with pytest.raises(TaskError, match=r"needs the package `datasets`.*pip install -e .\.\[datasets\]"):
            call()


def test_the_library_itself_reads_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the optional package datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=NAMES)})
    for name in ("train", "test"):
        datasets.Dataset.from_list(rows(name, 12), features=features).to_parquet(tmp_path / f"{name}.parquet")
    made = build(
        LabelledTask(hub=str(tmp_path), positive="spam", description="?", train=6, dev=4, test=4), 1, folder=HERE
    )
    assert {p.text.split()[0] for p in made.train} == {"train"}
    assert {p.text.split()[0] for p in (*made.dev, *made.test)} == {"test"}
    assert sum(p.answer == "Yes" for p in made.train) == 3
    with pytest.raises(TaskError, match="no-such: "):
        build(LabelledTask(hub=str(tmp_path / "no-such"), positive="spam", description="?"), 1, folder=HERE)
