"""Starts, watches and restarts the child processes of a class on this machine.

One thread per child waits for its exit and puts it on a queue; all else happens when somebody asks (`ended`, `tick`),
in the asker's thread. A restart waits, twice as long each time up to a limit. What a child started dies with it.
Nothing here knows what the children do; how they are tied to this process is broker/child_process.py.
"""

import contextlib
import errno
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from agents import exit_status
from agents.placement.seats import MPS, Seat
from broker.child_process import NO_RESTART, spawn
from broker.errors import in_words
from broker.printable import printable

UNKILLABLE_S = 10.0
"""How long a process may take to go after SIGKILL; one that hangs in a driver may never go."""
BACKOFF_MAX_S = 30.0
"""The longest wait before a restart."""
STEADY_S = 60.0
"""A process that ran for this long before it died is started again as soon as one that died for the first time."""
TAIL_BYTES = 1 << 16
LINE_CHARS = 300

COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What libraries write for a terminal."""
BACKGROUND = re.compile(
    r"\s|Traceback \(|During handling of|The above exception|(Current thread|Thread) 0x|Extension modules:"
)
"""How lines begin that say where, and not what: of tracebacks, and of Python's own crash reports."""
ROUTINE = re.compile(r"(\(.*?\) )?([\d-]+ [\d:,.]+ )?(INFO|DEBUG|WARNING)\b|\S+:\d+: \w*Warning: ")
"""How lines begin that explain no end: in a log, below errors (of this program and of vLLM); and Python's warnings."""


class ChildSpec(msgspec.Struct, frozen=True):
    """One child: what to run, and where; see broker.child_process.spawn."""

    name: str
    module: str
    spec: msgspec.Struct
    env: dict[str, str]
    cores: tuple[int, ...]
    log: Path
    secrets: tuple[str, ...] = ()


class ChildEnded(msgspec.Struct, frozen=True):
    """A child process ended."""

    name: str
    detail: str
    """For people: `exit code 1`, `ended by this program: ...`; and where no restart is left, that."""
    will_restart: bool
    restarts: int
    """Of this child, the one to come included."""
    left: bool = False
    """It ended with exit code 0."""
    killed: bool = False
    """`LocalLauncher.kill` ended it."""
    pid: int = 0
    """Of the process; 0: it could not be started."""


class _ChildProcess:
    """A child and its current process."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self.watcher: threading.Thread | None = None
        self.restarts = 0
        self.started_at = 0.0
        self.oom_kills: int | None = None
        """How many processes the kernel had killed for lack of memory when the current one was started."""
        self.deaths_in_a_row = 0
        """Of processes that did not run for long."""
        self.killed_for = ""
        """Why this program killed the current process; empty: it did not."""
        self.killed_at: float | None = None
        """When this program first sent SIGKILL to the current process, by the launcher's clock."""
        self.log_from = 0
        """Where in the log the words of the current process, or of the last one, begin."""
        self.due: float | None = None
        """When to start it again, by the launcher's clock."""
        self.resting = False
        """Sent away until it is brought back: its end is no death."""


class LocalLauncher:
    """The processes of one class. All but the waiting for exits happens in the calling thread."""

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        restarts: int,
        backoff_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet.

        Args:
            children: names differ.
            restarts: how often each child is started again.
            backoff_s: before the first restart; doubles with each death of a process that had not run for long.
            clock: for the back-off, in seconds.
        """
        self._children = {spec.name: _ChildProcess(spec) for spec in children}
        self._budget = restarts
        self._backoff_s = backoff_s
        self._clock = clock
        self._exits: queue.SimpleQueue[tuple[_ChildProcess, subprocess.Popen[bytes]]] = queue.SimpleQueue()
        self._reaping = threading.Lock()
        """Held while a pid is signalled, or given back to the kernel: it must not be another's by then."""

    def start(self, later: Collection[str] = ()) -> None:
        """Start all at once, but for those who are brought `later`.

        Raises:
            OSError: one cannot be started (a log that cannot be written); the others are ended again.
        """
        try:
            for name, child in self._children.items():
                child.resting = name in later
                if not child.resting:
                    self._start(child)
        except OSError:
            self.stop(0.0)
            raise

    def ended(self, timeout_s: float = 0.0) -> list[ChildEnded]:
        """What ended since the last call; starts again what is due. Waits at most `timeout_s` for a first one."""
        happened = self.tick()
        wait_s = 0.0 if happened else timeout_s
        while True:
            try:
                child, process = self._exits.get(timeout=wait_s) if wait_s else self._exits.get_nowait()
            except queue.Empty:
                return happened
            wait_s = 0.0
            if child.process is process:
                _close(process)
                child.process = None
                if not child.resting and child.due is None:
                    happened.append(msgspec.structs.replace(self._judge(child, process.returncode), pid=process.pid))

    def tick(self) -> list[ChildEnded]:
        """Start again what is due; returns what could not be started."""
        now = self._clock()
        failed: list[ChildEnded] = []
        for child in self._children.values():
            if child.due is None or now < child.due or child.process:
                continue
            child.due = None
            try:
                self._start(child)
            except OSError as error:
                failed.append(self._after(child, f"cannot be started: {'; '.join(in_words(error).splitlines())}"))
        return failed

    def bring(self, name: str) -> None:
        """Start a child that rests; one that was sent away only now, as soon as it is gone."""
        child = self._children[name]
        if child.resting:
            child.resting, child.due = False, self._clock()

    def send_away(self, name: str) -> int:
        """Let a child rest: its process ends and gives its memory back. Nothing is said of it in `ended`.

        Returns:
            The pid of the process that ends; 0: none runs.
        """
        child = self._children[name]
        child.resting, child.due = True, None
        if child.process is None:
            return 0
        self._kill(child, child.process)
        return child.process.pid

    def kill(self, name: str, why: str, pid: int = 0) -> None:
        """End a child and all it started, now, even if it is stopped. Counts as a death; `ended` says it, with `why`.

        A name that is not a running child of this launcher is left alone: external agents are killed by nobody.

        Args:
            name: of the child.
            why: for people.
            pid: the process that is meant: another one of this name is left alone. 0: whichever runs.
        """
        child = self._children.get(name)
        if child and child.process and pid in (0, child.process.pid):
            child.killed_for = why
            self._kill(child, child.process)

    def stop(self, grace_s: float) -> list[str]:
        """Ask all to leave (SIGTERM), kill those that are there after `grace_s`, and restart nobody any more.

        Returns:
            Who is there all the same: processes that hang in the kernel.
        """
        running: list[tuple[_ChildProcess, subprocess.Popen[bytes], threading.Thread]] = []
        for child in self._children.values():
            child.due = None
            if child.process and child.watcher:
                running.append((child, child.process, child.watcher))
                with self._reaping:
                    if child.process.returncode is None:
                        os.kill(child.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for _, _, watcher in running:
            watcher.join(max(0.0, deadline - time.monotonic()))
        for _, process, _ in running:
            self._signal_group(process)
        deadline = time.monotonic() + UNKILLABLE_S
        for child, process, watcher in running:
            watcher.join(max(0.0, deadline - time.monotonic()))
            _close(process)
            if not watcher.is_alive():
                child.process = None
        return sorted(self.alive())

    def alive(self) -> set[str]:
        """Whose process runs."""
        return {name for name, child in self._children.items() if child.process and child.process.returncode is None}

    def unkillable(self) -> set[str]:
        """Whose process still runs although this program sent it SIGKILL more than UNKILLABLE_S ago."""
        since = self._clock() - UNKILLABLE_S
        killed = {name: child.killed_at for name, child in self._children.items() if child.killed_at is not None}
        return {name for name in self.alive() & killed.keys() if killed[name] < since}

    def starved(self, name: str) -> bool:
        """Whether its process waits for a processor or for the disk; False where the system does not say so."""
        process = self._children[name].process
        try:
            stat = Path(f"/proc/{process.pid}/stat").read_text() if process else ""
        except OSError:
            return False
        return stat.rpartition(") ")[2][:1] in ("R", "D")

    def last_words(self, name: str) -> str:
        """The last line in which the child's newest process told of a trouble, and where its log is.

        Raises:
            KeyError: it is no child of this launcher.
        """
        child = self._children[name]
        said = last_words(child.spec.log, 1, since=child.log_from)
        return f"{said or 'its log tells of no error'} (log: {child.spec.log})"

    def _start(self, child: _ChildProcess) -> None:
        spec = child.spec
        child.started_at, child.killed_for, child.killed_at = self._clock(), "", None
        child.oom_kills = exit_status.oom_kills()
        child.log_from = spec.log.stat().st_size if spec.log.is_file() else 0
        process = spawn(
            spec.module,
            spec.spec,
            env=spec.env,
            log=spec.log,
            cores=spec.cores,
            name=spec.name,
            secrets=spec.secrets,
        )
        watcher = threading.Thread(target=self._watch, args=(child, process), name=f"watch-{spec.name}", daemon=True)
        try:
            watcher.start()
        except RuntimeError as error:
            _kill_group(process.pid)
            process.wait()
            _close(process)
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        child.process, child.watcher = process, watcher

    def _watch(self, child: _ChildProcess, process: subprocess.Popen[bytes]) -> None:
        """Wait for the exit, sweep up what the child started, reap it, and tell."""
        if sys.platform == "linux":
            # Unreaped, its pid is still the name of its group and nobody else's.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()
        with self._reaping:
            _kill_group(process.pid)
            process.wait()
        self._exits.put((child, process))

    def _kill(self, child: _ChildProcess, process: subprocess.Popen[bytes]) -> None:
        if child.killed_at is None:
            child.killed_at = self._clock()
        self._signal_group(process)

    def _signal_group(self, process: subprocess.Popen[bytes]) -> None:
        with self._reaping:
            if process.returncode is None:
                _kill_group(process.pid)

    def _judge(self, child: _ChildProcess, code: int) -> ChildEnded:
        """What an exit means."""
        match code:
            case 0:
                return ChildEnded(child.spec.name, "left (exit code 0)", False, child.restarts, left=True)
            case _ if code == NO_RESTART:
                return ChildEnded(
                    child.spec.name, f"exit code {code}; starting it again would not help", False, child.restarts
                )
        if code == -signal.SIGKILL and child.killed_for:
            return self._after(child, f"ended by this program: {child.killed_for}", killed=True)
        return self._after(child, exit_status.in_words(code, child.oom_kills))

    def _after(self, child: _ChildProcess, detail: str, *, killed: bool = False) -> ChildEnded:
        """A death, and a restart if the budget has one left."""
        now = self._clock()
        if child.restarts >= self._budget:
            used_up = f"{detail}; no restart is left (limits.restarts: {self._budget})"
            return ChildEnded(child.spec.name, used_up, False, child.restarts, killed=killed)
        if now - child.started_at >= STEADY_S:
            child.deaths_in_a_row = 0
        child.due = now + min(self._backoff_s * 2**child.deaths_in_a_row, BACKOFF_MAX_S)
        child.deaths_in_a_row += 1
        child.restarts += 1
        return ChildEnded(child.spec.name, detail, True, child.restarts, killed=killed)


def agent_env(seat: Seat) -> dict[str, str]:
    """What an agent's environment says before its Python starts, so that every library finds it in time."""
    threads = str(seat.threads)
    cuda = [token for token in seat.gpus if token != MPS]
    return {
        "LBT_AGENT": seat.agent,
        "LBT_DEVICE": "cuda" if cuda else MPS if seat.gpus else "cpu",
        "CUDA_VISIBLE_DEVICES": ",".join(cuda),
        # Indices as nvidia-smi counts them, by which the agents were seated: CUDA's own order is by speed.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def last_words(log: Path, lines: int = 3, since: int = 0) -> str:
    """The last lines of a log that may explain an end, without tracebacks, routine and terminal controls.

    Args:
        log: the file; one that is missing says nothing.
        lines: how many at most.
        since: bytes at its beginning that are left out.
    """
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - TAIL_BYTES))
        tail = file.read().decode(errors="replace")
    said = [
        line
        for line in map(printable, re.split(r"[\r\n]+", COLOUR.sub("", tail)))
        if line.strip() and not BACKGROUND.match(line) and not ROUTINE.match(line)
    ]
    return "\n".join(line.strip()[:LINE_CHARS] for line in said[-lines:])


def _kill_group(group: int) -> None:
    # Gone already, or (macOS) nothing but a zombie: there is nobody left to kill.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
