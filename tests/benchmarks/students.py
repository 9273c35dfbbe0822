"""A thousand simulated students: whether ten times the exams take ten times as long, and how much memory a class takes.

Two classes of the same students run one after the other, the second with ten times the teaching problems: a million
exam answers, or with --quick (200 students) 88,000. The ratio is of the processor time of all processes for an exam
answer, times ten: on a busy machine it varies less than time. The larger class is watched by `run.py watch` on a
terminal; frames with a new number of exams are counted. Processor time begins with the first answer, so that the start
of the processes does not count. Of the classroom, the class, its summary and its page are measured apart.
"""

import json
import os
import pty
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from tests import classes

COPIES, TRS = 20, 4
CODES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
FRAME = re.compile(rb"exam .*?[\d,]+ / ")
WIDTH, HEIGHT = 140, 45


def scenario(folder: Path, kinds: int, problems: int, exams: int, seed: int) -> Path:
    """A class of `kinds` x COPIES students of different abilities; each kind has a process."""
    students = [
        {
            "name": f"kind{n:02}",
            "engine": "simulated",
            "copies": COPIES,
            "engine_args": {"ability": round(3 * n / kinds - 1.5, 3), "tokens_per_second": 1e6},
        }
        for n in range(kinds)
    ]
    written = {
        "name": "students",
        "seed": seed,
        "task": {"family": "gsm_symbolic", "problems": problems},
        "teacher": {"name": "teacher", "engine": "simulated", "engine_args": {"tokens_per_second": 1e6}},
        "students": students,
        "lesson": {"rationales": TRS},
        "exam": {"problems": exams},
    }
    path = folder / f"students-{problems}.yaml"
    path.write_text(json.dumps(written))  # which is YAML, too
    return path


class Watched:
    """The frames that `run.py watch` draws of a class while it runs."""

    def __init__(self, out: Path) -> None:
        self.frames = 0
        self.first = self.last = 0.0
        self._terminal, inner = pty.openpty()
        # Only the variables say how large the terminal is.
        env = {**os.environ, "COLUMNS": str(WIDTH), "LINES": str(HEIGHT), "TERM": "xterm-256color"}
        self._process = subprocess.Popen(
            classes.command("watch", out), cwd=classes.ROOT, stdin=inner, stdout=inner, stderr=inner, env=env
        )
        os.close(inner)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                text = os.read(self._terminal, 1 << 16)
            except OSError:  # the other side is closed
                return
            if not text:
                return
            if found := len(FRAME.findall(CODES.sub(b"", text))):
                self.last = time.monotonic()
                self.first = self.first or self.last
                self.frames += found

    def end(self) -> float:
        """Frames a second, once the class is over."""
        self._process.wait(timeout=classes.WAIT_S)
        self._thread.join(timeout=10)
        os.close(self._terminal)
        return (self.frames - 1) / (self.last - self.first) if self.last > self.first else 0.0


class Phase:
    """What the classroom took while it was at one thing, as far as it was seen."""

    def __init__(self) -> None:
        self._mb = 0.0
        self._begun: tuple[float, float] | None = None
        self._last = 0.0, 0.0

    def add(self, mb: float, cpu: float) -> None:
        """What the process has now: memory, and processor time so far."""
        self._mb = max(self._mb, mb)
        self._last = time.monotonic(), cpu
        self._begun = self._begun or self._last

    def found(self) -> dict[str, float]:
        """Most memory in MB, and seconds of time and of processor time."""
        (began, used), (ended, cpu) = self._begun or self._last, self._last
        return {"peak_mb": round(self._mb), "seconds": ended - began, "cpu_seconds": cpu - used}


def measured(out: Path, described: Path, *, watch: bool) -> dict[str, float]:
    """Run a class; what it took."""
    process = classes.start(out, scenario=described)
    run = psutil.Process(process.pid)
    cpu: dict[int, float] = {}
    kinds: dict[int, str] = {}
    peaks = {"classroom": 0.0, "broker": 0.0, "agents": 0.0}
    watched: Watched | None = None
    begun: dict[str, float] | None = None
    over = dict.fromkeys(peaks, 0.0)
    phases = {"class": Phase()}
    """Of the classroom: the class, then its summary, then its page."""
    while process.poll() is None:
        now = dict.fromkeys(peaks, 0.0)
        for one, line in [(run, ["classroom"]), *_children(process.pid)]:
            kind = next((k for k, module in MODULES.items() if module in line), None)
            if kind is None:
                continue
            try:
                now[kind] += one.memory_info().rss / 1e6
                cpu[one.pid], kinds[one.pid] = sum(one.cpu_times()[:2]), kind
            except psutil.Error:
                continue
        peaks = {kind: max(most, now[kind]) for kind, most in peaks.items()}
        if begun is None and classes.results(out):
            begun = _by_kind(cpu, kinds)
            watched = Watched(out) if watch else None
        if now["agents"]:
            over = _by_kind(cpu, kinds)
        elif begun and (out / "summary.json").exists():
            phases.setdefault("page", Phase())
        elif begun:
            phases.setdefault("summary", Phase())
        phases[[*phases][-1]].add(now["classroom"], cpu.get(process.pid, 0.0))
        psutil.wait_procs([run], timeout=0.2)
    classes.finish(process)
    frames = watched.end() if watched else 0.0
    begun = begun or dict.fromkeys(peaks, 0.0)
    exams = classes.summary(out)["counts"]["exam_answers"]
    found = {
        "exams": exams,
        "seconds": classes.last_answered(out) - classes.first_asked(out),
        "class_cpu": sum(over.values()) - sum(begun.values()),
        "start_cpu": sum(begun.values()),
        "summary_and_page_cpu": sum(cpu.values()) - sum(over.values()),
        **{f"{name}_{what}": value for name, one in phases.items() for what, value in one.found().items()},
        **{f"{kind}_ms_per_ea": round(1000 * (over[kind] - begun[kind]) / exams, 4) for kind in peaks},
        **{f"{kind}_mb": round(most) for kind, most in peaks.items()},
        "frames_per_s": round(frames, 2),
        "processes": sum(kind == "agents" for kind in kinds.values()),
    }
    return {name: round(value, 4) for name, value in found.items()}


def _by_kind(cpu: dict[int, float], kinds: dict[int, str]) -> dict[str, float]:
    """Processor time so far of the classroom, the broker and all agents."""
    return {kind: sum(seconds for pid, seconds in cpu.items() if kinds[pid] == kind) for kind in MODULES}


MODULES = {"classroom": "classroom", "broker": "broker.server", "agents": "agents.main"}


def _children(pid: int) -> list[tuple[psutil.Process, list[str]]]:
    try:
        return classes.children(pid)
    except psutil.NoSuchProcess:
        return []


def run(quick: bool, seed: int) -> dict[str, Any]:
    kinds, few, exams = (10, 4, 3) if quick else (50, 5, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = (
            measured(folder / f"run{n}", scenario(folder, kinds, n, exams, seed), watch=n > few)
            for n in (few, 10 * few)
        )
    ratio = 10 * (large["class_cpu"] / large["exams"]) / (small["class_cpu"] / small["exams"])
    return {
        "name": "students",
        "ratio": round(ratio, 2),
        "goal": 10.5,
        "better": "lower",
        "detail": {
            "what": f"processor time of a class of {kinds * COPIES:,} students with ten times the exams",
            "time_ratio": round(10 * (large["seconds"] / large["exams"]) / (small["seconds"] / small["exams"]), 2),
            "exams_per_s": round(large["exams"] / large["seconds"]),
            "cpu_ms_per_ea": round(1000 * large["class_cpu"] / large["exams"], 3),
            "summary_and_page_ratio": round(large["summary_and_page_cpu"] / small["summary_and_page_cpu"], 2),
            "small": small,
            "large": large,
        },
    }
