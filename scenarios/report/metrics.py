"""The figures of levels 1 to 3 step by step, as JSON lines and as event files of TensorBoard.

They are those of the summary, so `run.py report` makes the same files again, and a resumed class has no step twice.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from broker.errors import ScenarioError
from broker.files import write_atomically
from scenarios.config.schema import Scenario
from scenarios.report.methods import DENSE_METHODS, METHODS

if TYPE_CHECKING:
    from scenarios.report.summary import Summary

FILE = "metrics.jsonl"
FOLDER = "metrics"
INSTALL = 'pip install -e ".[metrics]"'


class Metrics(msgspec.Struct, frozen=True):
    """Some figures at one step of one series."""

    level: int
    series: dict[str, str | int]
    """What they are about: a round, an arm, a seed, a run, a teacher, a strategy."""
    step: int
    """Of a training: its step. Of level 3: requests until then. Of figures that come once: 0, or the round."""
    figures: dict[str, float]

    @property
    def line(self) -> bytes:
        """A line of JSON: level, what it is about, step, figures."""
        return msgspec.json.encode({"level": self.level, **self.series, "step": self.step, **self.figures}) + b"\n"

    @property
    def run(self) -> str:
        """The folder of its series for TensorBoard: `level_2/round_1/arm_m2/seed_0`."""
        return "/".join(f"{key}_{value}" for key, value in ({"level": self.level} | self.series).items())


def check_installed(scenario: Scenario) -> None:
    """Raises ScenarioError if a package that `metrics` needs is missing."""
    if scenario.metrics == "tensorboard" and find_spec("tensorboard") is None:
        raise ScenarioError(f"tensorboard is not installed: {INSTALL}", key=("metrics",))


def write_metrics(folder: Path, scenario: Scenario, summary: "Summary") -> None:
    """Write metrics.jsonl, and with `metrics: tensorboard` the folder `metrics`, in place of earlier ones.

    Raises:
        OSError: they cannot be written.
        ScenarioError: TensorBoard is missing; metrics.jsonl is written.
    """
    rows = list(metrics(summary))
    write_atomically(folder / FILE, b"".join(row.line for row in rows))
    check_installed(scenario)
    if scenario.metrics == "tensorboard":
        partial = folder / f".{FOLDER}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        _write_events(partial, rows)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        partial.rename(folder / FOLDER)


def _write_events(folder: Path, rows: Iterable[Metrics]) -> None:
    from tensorboard.summary import Writer

    folder.mkdir()
    by_run: dict[str, list[Metrics]] = {}
    for row in rows:
        by_run.setdefault(row.run, []).append(row)
    for run, of_run in by_run.items():
        writer = Writer(str(folder / run))
        for row in of_run:
            for name, value in row.figures.items():
                writer.add_scalar(name, value, row.step)
        writer.close()


def metrics(summary: "Summary") -> Iterator[Metrics]:
    """All figures, level by level."""
    yield from _level_1(summary)
    yield from _level_2(summary)
    yield from _level_3(summary)


def _level_1(summary: "Summary") -> Iterator[Metrics]:
    accuracies = {
        name: method.accuracy for name, method in summary.methods.items() if name in METHODS or name in DENSE_METHODS
    }
    if figures := _known(accuracies):
        yield Metrics(1, {}, 0, figures | {"teaching_problems": summary.counts.teaching_problems})


def _level_2(summary: "Summary") -> Iterator[Metrics]:
    for one in summary.levels.learn.rounds:
        for arm in one.arms:
            series: dict[str, str | int] = {"round": one.round, "arm": arm.arm, "seed": arm.seed}
            for figures in arm.curve:
                yield Metrics(2, series, int(figures["step"]), _known(figures, leave_out="step"))
        for teacher in one.teachers:
            measured = {name: getattr(teacher, name) for name in ("greedy", "sampled", "lbt", "drift")}
            if figures := _known(measured):
                yield Metrics(2, {"teacher": teacher.teacher}, one.round, figures)


def _level_3(summary: "Summary") -> Iterator[Metrics]:
    iterate = summary.levels.iterate
    students = {(one.run, one.round): one.students for one in iterate.rounds}
    for state in iterate.progress:
        figures: dict[str, float | None] = {
            "round": state.round,
            "teacher_f1_train": state.teacher_f1_train,
            "teacher_f1_test": state.teacher_f1_test,
        }
        if state.arm == "class":
            figures |= {f"student_f1.{name}": f1 for name, f1 in students[state.run, state.round].items()}
        yield Metrics(3, {"arm": state.arm, "run": state.run}, state.requests, _known(figures))
    for way in iterate.rationales.ways if iterate.rationales else ():
        if choices := _known({"m1_max": way.m1_max, "m1_sum": way.m1_sum, "completions": way.completions}):
            yield Metrics(3, {"strategy": way.name}, 0, choices)


def _known(figures: Mapping[str, float | None], leave_out: str = "") -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None and name != leave_out}
