"""The monitor without a terminal: a line per event, per quarter of a stage or a training, and per measured teacher.

The results so far have a line when another quarter of the teaching problems is finished.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import IO

from scenarios.monitor.header import NO_SANDBOX, task
from scenarios.monitor.results import in_words
from scenarios.monitor.state import EventRow, Snapshot, TeacherRow, TrainingRow
from scenarios.monitor.texts import duration, roughly
from scenarios.report.formatting import harmless, many, percent

SILENT = frozenset({"started", "session", "ready", "progress"})
"""Events without a line."""
LAST = frozenset({"finished", "left"})
"""Events at the end of a class."""
READ_S = 5.0
"""Seconds between two lines on how much is read."""


class PlainLines:
    """Prints what is new in each snapshot."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._begun = False
        self._seq = 0
        self._quarters: dict[str, int] = {}
        """By stage or training."""
        self._measured: set[str] = set()
        self._states: dict[str, str] = {}
        self._failures = Counter[tuple[str, str]]()
        """By agent and reason."""
        self._told = time.monotonic()
        self._making = False

    def read(self, share: float) -> None:
        """Tell every few seconds how much of the gradebook is read."""
        if time.monotonic() - self._told > READ_S:
            self._told = time.monotonic()
            print(f"{100 * share:.0f} % of class.db is read", file=self._stream, flush=True)

    def draw(self, snapshot: Snapshot) -> None:
        """Print what is new since the last snapshot."""
        for line in self.lines(snapshot):
            print(f"{duration(snapshot.elapsed_s):>7}  {harmless(line)}", file=self._stream, flush=True)

    def lines(self, snapshot: Snapshot) -> list[str]:
        """What is new since the last snapshot."""
        lines = [] if self._begun else self._beginning(snapshot)
        self._begun = True
        new = [event for event in snapshot.events if event.seq > self._seq and event.kind not in SILENT]
        self._seq = snapshot.events[-1].seq if snapshot.events else 0
        # The order of events and results within a snapshot is not known, but a class ends after its last result.
        end = next((n for n, event in enumerate(new) if event.kind in LAST), len(new))
        lines += self._events(new[:end]) + self._loading(snapshot)
        lines += self._stages(snapshot) + self._results(snapshot)
        lines += self._trainings(snapshot) + self._teachers(snapshot)
        if end < len(new) or snapshot.over:
            lines += [f"{agent} failed {n} times: {reason}" for (agent, reason), n in self._failures.items() if n > 1]
            self._failures.clear()
        return lines + self._events(new[end:])

    def _beginning(self, snapshot: Snapshot) -> list[str]:
        numbers = ", ".join(map(str, snapshot.course))
        level = f"levels {numbers}" if numbers else f"level {snapshot.level}"
        lines = [f"{snapshot.scenario}, {level}: {task(snapshot, ', ')}"]
        if snapshot.cells:
            complete = sum(one.status == "complete" for one in snapshot.cells)
            lines.append(f"study: {complete} of {many(len(snapshot.cells), 'class', 'classes')} complete")
        if snapshot.simulated:
            lines.append(f"simulated, no language model: {', '.join(snapshot.simulated)}")
        lines += [NO_SANDBOX] * snapshot.unprotected
        started = [event.seq for event in snapshot.events if event.kind == "started"]
        if snapshot.over and snapshot.events:  # all events are an earlier session's
            self._seq = snapshot.events[-1].seq
        elif started:
            self._seq = started[-1]
        if any(stage.done for stage in snapshot.stages):
            lines.append("so far: " + ", ".join(f"{s.name} {s.done:,} of {s.total:,}" for s in snapshot.stages))
            self._quarters = {stage.name: stage.done * 4 // stage.total for stage in snapshot.stages}
            self._results(snapshot)
            self._trainings(snapshot)
            self._teachers(snapshot)
        return lines

    def _events(self, new: Sequence[EventRow]) -> list[str]:
        """A line per event. Of failures for the same reason only the first has one; the end reports their number."""
        lines = []
        for event in new:
            if event.kind == "failed":
                alike = event.agent, event.detail.partition(" ")[2]  # without the request's id
                self._failures[alike] += 1
                if self._failures[alike] > 1:
                    continue
            lines.append(" ".join(part for part in (event.agent, event.kind, event.detail) if part))
        return lines

    def _loading(self, snapshot: Snapshot) -> list[str]:
        """What happens before the first answer: problems are made, and agents load their models."""
        lines = []
        making = any(row.name == "problems" and not row.done for row in snapshot.start)
        if making != self._making:
            self._making = making
            lines.append("problems are being made" if making else f"problems: {task(snapshot, ', ')}")
        for agent in snapshot.agents:
            before = self._states.get(agent.name)
            self._states[agent.name] = agent.state
            if agent.engine == "simulated":
                continue
            if agent.state == "loading" and before != "loading":
                model = f" {agent.model}" if agent.model else " its model"
                lines.append(f"{agent.name} loads{model}{f' on {agent.device}' if agent.device else ''}")
            elif agent.state == "ready" and before == "loading":
                lines.append(f"{agent.name} is ready")
        return lines

    def _reached(self, name: str, done: int, total: int) -> bool:
        """Whether another quarter is done since the last call."""
        quarter = done * 4 // total if total else 0
        if quarter <= self._quarters.get(name, 0):
            return False
        self._quarters[name] = quarter
        return True

    def _stages(self, snapshot: Snapshot) -> list[str]:
        lines = []
        for stage in snapshot.stages:
            if self._reached(stage.name, stage.done, stage.total):
                left_s = snapshot.left_s if stage.left_s is None else stage.left_s
                left = f", about {roughly(left_s)} left" if left_s and stage.done < stage.total else ""
                spent = f", spent {snapshot.spent}" if snapshot.spent else ""
                failed = f", {snapshot.failed:,} failed" if snapshot.failed else ""
                lines.append(f"{stage.name} {stage.percent} % ({stage.done:,} of {stage.total:,}){left}{spent}{failed}")
        return lines

    def _results(self, snapshot: Snapshot) -> list[str]:
        standing = snapshot.standing
        return [in_words(standing)] if self._reached("results so far", standing.finished, standing.tps) else []

    def _trainings(self, snapshot: Snapshot) -> list[str]:
        lines = []
        for row in snapshot.learning.trainings:
            name = f"round {row.round}: training of {', '.join(row.arms)}"
            if row.steps and not row.step and name not in self._quarters:
                self._quarters[name] = 0
                lines.append(f"{name} begins: {many(row.pairs, 'pair')} in {many(row.steps, 'step')}")
            if self._reached(name, row.step, row.steps):
                done = 100 * row.step // row.steps
                lines.append(f"{name} {done} % (step {row.step:,} of {row.steps:,}){_figures(row)}")
        return lines

    def _teachers(self, snapshot: Snapshot) -> list[str]:
        lines = []
        for row in snapshot.learning.teachers:
            name = f"round {row.round}: {row.name}"
            if row.problems == row.of and name not in self._measured:
                self._measured.add(name)
                lines.append(f"{name}{_shares(row)} of {many(row.of, 'held-out problem')}")
        return lines


def _figures(row: TrainingRow) -> str:
    figures = [f"loss {row.losses[-1]:.3f}"] if row.losses else []
    figures += [f"reward margin {row.margin:+.3f}"] if row.margin is not None else []
    figures += [f"chosen preferred {percent(row.accuracy, 0)}"] if row.accuracy is not None else []
    figures += [f"about {roughly(row.left_s)} left"] if row.left_s else []
    return "".join(f", {figure}" for figure in figures)


def _shares(row: TeacherRow) -> str:
    shares = (("greedy", row.greedy), ("sampled", row.sampled))
    return ",".join(f" {name} {percent(share)} right" for name, share in shares if share is not None)
