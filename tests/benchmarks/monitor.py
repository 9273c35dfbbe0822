"""What the live monitor costs beside a class: its share of one core.

It draws a class of the paper's size that changes several times a second: every frame differs, and another process
goes on writing into the gradebook that it follows. The first reading of the gradebook is told apart: it is paid once.
A class of level 3 is measured, too (monitor_course.py); the ratio is the larger one.
"""

import io
import multiprocessing
import random
import re
import tempfile
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from broker.protocol import Gauges, PeerGauge, Role
from scenarios.config.schema import Agent, Exam, Lesson, Scenario, Task
from scenarios.levels.base import Request, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.results import result_of
from scenarios.monitor.monitor import Monitor
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from tests.benchmarks import monitor_course

EPS, REPEATS = 3, 3
GROUPS_PER_S = 5
TRS_PER_GROUP = 3
MORE = 10
"""TPs that are taught while it is measured, at most."""


def scenario(tps: int, trs: int) -> Scenario:
    """A class of one student: `tps` x `trs` x 9 exam answers."""
    return Scenario(
        name="benchmark",
        task=Task(family="gsm_symbolic", problems=tps),
        teacher=Agent(name="teacher"),
        students=(Agent(name="student"),),
        lesson=Lesson(rationales=trs, greedy=False),
        exam=Exam(problems=EPS, repeats=REPEATS),
    )


def bank(tps: int) -> Bank:
    """So many made-up TPs."""

    def problem(id: str) -> Problem:
        return Problem(id, f"text of {id}", "4", "number")

    items = (ProblemGroup(problem(f"tp-{n}"), tuple(problem(f"tp-{n}-{ep}") for ep in range(EPS))) for n in range(tps))
    return Bank("made up", tuple(items), ())


class Class:
    """A class that is answered TP by TP."""

    def __init__(self, tps: int, trs: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self.bank = bank(tps)
        self.answerers = {"teacher": "teacher", "student": "student"}
        self._level = ObserveLevel(Setup(scenario(tps, trs), self.bank, self.answerers))
        self._rationales = {(request.tp, request.repeat): request for request in self._level.begin().requests}

    def lesson(self, number: int, first: int, trs: int) -> list[Record]:
        """TRs `first` and on of one TP, with all their exams."""
        records = []
        for repeat in range(first, first + trs):
            request = self._rationales[f"tp-{number}", repeat]
            text = f"{repeat} " + "It takes some steps. " * 15
            records.append(self._record(request, text, "18", self._rng.random() < 0.4))
            exams = self._level.receive(result_of(records[-1])).requests
            records += [self._record(exam, "So it is 4. " * 20, "4", self._rng.random() < 0.5) for exam in exams]
        return records

    def _record(self, request: Request, text: str, answer: str, correct: bool) -> Record:
        return Record(
            request_id=request.id, kind=request.kind, agent=request.to, stage=request.stage, tp=request.tp,
            tr=request.tr, ep=request.ep, repeat=request.repeat, text=text, answer=answer, correct=correct,
            prompt_tokens=400, cached_tokens=250, completion_tokens=60,
        )  # fmt: skip


def fill(folder: Path, tps: int, trs: int, seed: int) -> None:
    """A gradebook with `tps` whole lessons, of a class with `MORE` others."""
    played = Class(tps + MORE, trs, seed)
    with Store(folder, write=True) as store:
        store.keep_bank(played.bank)
        store.keep_answerers(played.answerers)
        for number in range(tps):
            store.record(played.lesson(number, 0, trs), grader="benchmark", version="1")


def grow(folder: Path, tps: int, trs: int, seed: int) -> None:
    """Go on with further lessons until this process is ended."""
    played = Class(tps + MORE, trs, seed)
    with Store(folder, write=True) as store:
        for number in range(tps, tps + MORE):
            for first in range(0, trs, TRS_PER_GROUP):
                records = played.lesson(number, first, min(TRS_PER_GROUP, trs - first))
                store.record(records, grader="benchmark", version="1")
                time.sleep(1 / GROUPS_PER_S)


class Screen(io.StringIO):
    """A terminal that keeps nothing but how far the exams are."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0
        self.bytes = 0
        self.exams = 0
        self.drawn = threading.Condition()

    def write(self, text: str) -> int:
        """One frame, as rich writes it."""
        if found := re.search(r"exam .*?([\d,]+) / ", re.sub(r"\x1b\[[0-9;]*m", "", text)):
            with self.drawn:
                self.frames += 1
                self.bytes += len(text.encode())
                self.exams = int(found[1].replace(",", ""))
                self.drawn.notify_all()
        return len(text)


class Busy:
    """Gauges that differ each time."""

    def __init__(self) -> None:
        self._asked = 0

    def latest(self) -> Gauges:
        """Another picture."""
        self._asked += 1
        agents: tuple[tuple[str, Role], ...] = (("teacher", "teacher"), ("student", "student"))
        peers = tuple(
            PeerGauge(
                name=name, role=role, pool=name, model="qwen2.5-coder-0.5b-instruct", engine="transformers",
                device="cpu (1 core)", state="ready", credit=16, leases=self._asked % 17, finished=self._asked,
                prompt_tokens=self._asked * 100, cached_tokens=self._asked * 60, completion_tokens=self._asked * 40,
                memory_mb=900.0,
            )
            for name, role in agents
        )  # fmt: skip
        return Gauges(epoch="benchmark", peers=peers, queues={"teacher": self._asked % 50, "student": 7})

    def __call__(self) -> AbstractContextManager["Busy"]:
        """As a factory of itself."""
        return nullcontext(self)


def run(quick: bool, seed: int) -> dict[str, Any]:
    """The share of one core, and what it was measured on."""
    tps, trs, window = (20, 256, 12.0) if quick else (180, 256, 40.0)
    there = tps * trs * EPS * REPEATS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, tps, trs, seed)
        writer = multiprocessing.get_context("spawn").Process(target=grow, args=(folder, tps, trs, seed), daemon=True)
        writer.start()
        screen = Screen()
        console = Console(file=screen, force_terminal=True, color_system="256", width=120, height=40)
        try:
            before = usage()
            with Monitor(folder, scenario(tps + MORE, trs), Busy(), "live", console=console), screen.drawn:
                if not screen.drawn.wait_for(lambda: screen.exams >= there, timeout=300):
                    raise RuntimeError("the monitor did not catch up with the gradebook within 300 s")
                first = usage() - before
                frames, size, exams, start = screen.frames, screen.bytes, screen.exams, usage()
                screen.drawn.wait_for(lambda: (usage() - start).wall >= window)
                spent = usage() - start
                frames, size, exams = screen.frames - frames, screen.bytes - size, screen.exams - exams
        finally:
            writer.terminate()
            writer.join()
    observe, iterate = spent.cpu / spent.wall, monitor_course.share(usage, 4_000 if quick else 20_000, window)
    return {
        "name": "monitor",
        "ratio": round(max(observe, iterate), 4),
        "goal": 0.05,
        "better": "lower",
        "detail": {
            "observe": round(observe, 4),
            "iterate": round(iterate, 4),
            "exam_answers": there,
            "followed_per_s": round(exams / spent.wall),
            "frames_per_s": round(frames / spent.wall, 2),
            "kb_per_frame": round(size / frames / 1000, 1),
            "window_s": round(spent.wall, 1),
            "first_reading_wall_s": round(first.wall, 2),
            "first_reading_cpu_s": round(first.cpu, 2),
        },
    }


class Usage(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.wall - other.wall, self.cpu - other.cpu)


def usage() -> Usage:
    """Of this process, which is the monitor's while it measures."""
    return Usage(time.monotonic(), time.process_time())
