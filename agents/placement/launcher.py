"""Start, watch and restart the child processes of a class on this machine.

One thread per child waits for its exit and puts it on a queue; everything else happens in the thread that calls `ended`
or `tick`. The delay before a restart doubles each time up to a limit. Processes that a child started die with it.
"""

import errno
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from agents import exit_status
from agents.core_sharing import CoreTable
from agents.placement.process_log import last_error_line
from agents.placement.running_process import LocalProcess, RunningProcess
from broker.child_process import NO_RESTART, spawn
from broker.errors import in_words

UNKILLABLE_S = 10.0
"""Time for a process to end after SIGKILL; one that hangs in a driver may never end."""
BACKOFF_MAX_S = 30.0
"""Longest delay before a restart."""
STEADY_S = 60.0
"""A process that ran for this long resets the delay of its restart."""
REMOTE_PID = -1
"""What `stop_child` returns in place of the pid of a process on another host."""


class ChildSpec(msgspec.Struct, frozen=True):
    """A child process; see broker.child_process.spawn."""

    name: str
    module: str
    spec: msgspec.Struct
    env: dict[str, str]
    cores: tuple[int, ...]
    log: Path
    secrets: tuple[str, ...] = ()
    core_entry: int | None = None
    """Its entry in the launcher's table of agents at work."""


class ChildEnded(msgspec.Struct, frozen=True):
    """A child process ended."""

    name: str
    detail: str
    """Reason as text: `exit code 1`, `ended by this program: ...`, and whether no restart is left."""
    will_restart: bool
    restarts: int
    """Restarts of this child, with the coming one."""
    left: bool = False
    """Whether it ended with exit code 0."""
    killed: bool = False
    """Whether `LocalLauncher.kill` ended it."""
    pid: int = 0
    """Process id; 0: it could not be started."""


class _ChildProcess:
    """A child and its current process."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.process: RunningProcess | None = None
        self.watcher: threading.Thread | None = None
        self.restarts = 0
        self.started_at = 0.0
        self.deaths_in_a_row = 0
        """Consecutive deaths of processes that did not run for long."""
        self.killed_for = ""
        """Why this program killed the current process; empty: it did not."""
        self.killed_at: float | None = None
        """Time of the first SIGKILL to the current process, by the launcher's clock."""
        self.log_from = 0
        """Offset in the log at which the current or last process began."""
        self.due: float | None = None
        """Time of the next start, by the launcher's clock."""
        self.stopped = False
        """Whether `stop_child` ended it, or `start` left it out; its end then counts as no death."""


class LocalLauncher:
    """The processes of one class. All work except waiting for exits happens in the calling thread."""

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        restarts: int,
        table: CoreTable | None = None,
        backoff_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Configure the launcher without starting a process.

        Args:
            children: children with different names.
            restarts: most restarts of each child.
            table: of the agents at work, which children with an entry inherit.
            backoff_s: delay before the first restart; doubles with each death of a process that did not run for long.
            clock: clock for delays, in seconds.
        """
        self._children = {spec.name: _ChildProcess(spec) for spec in children}
        self._max_restarts = restarts
        self._table = table
        self._backoff_s = backoff_s
        self._clock = clock
        self._exits: queue.SimpleQueue[tuple[_ChildProcess, RunningProcess]] = queue.SimpleQueue()

    def start(self, later: Collection[str] = ()) -> None:
        """Start all children at once, except those in `later`.

        Raises:
            OSError: a child cannot be started; the others are stopped.
        """
        try:
            for name, child in self._children.items():
                child.stopped = name in later
                if not child.stopped:
                    self._start(child)
        except OSError:
            self.stop(0.0)
            raise

    def ended(self, timeout_s: float = 0.0) -> list[ChildEnded]:
        """Return what ended since the last call, waiting at most `timeout_s` for the first; start what is due."""
        happened = self.tick()
        wait_s = 0.0 if happened else timeout_s
        while True:
            try:
                child, process = self._exits.get(timeout=wait_s) if wait_s else self._exits.get_nowait()
            except queue.Empty:
                return happened
            wait_s = 0.0
            if child.process is process:
                process.close()
                child.process = None
                if not child.stopped and child.due is None:
                    happened.append(msgspec.structs.replace(self._event(child, process), pid=process.pid))

    def tick(self) -> list[ChildEnded]:
        """Start what is due; return what could not be started."""
        failed: list[ChildEnded] = []
        for child in self._due():
            child.due = None
            try:
                self._start(child)
            except OSError as error:
                failed.append(self._after(child, f"cannot be started: {'; '.join(in_words(error).splitlines())}"))
        return failed

    def is_due(self) -> bool:
        """Whether `tick` would start a process."""
        return bool(self._due())

    def start_child(self, name: str) -> None:
        """Start a child that does not run by intent, as soon as its old process has ended."""
        child = self._children[name]
        if child.stopped:
            child.stopped, child.due = False, self._clock()

    def stop_child(self, name: str) -> int:
        """End a child's process to free its memory, without an entry in `ended` or a restart.

        Returns:
            The pid of the process; 0: none runs; REMOTE_PID: it runs on another host.
        """
        child = self._children[name]
        child.stopped, child.due = True, None
        if child.process is None:
            return 0
        self._kill(child, child.process)
        return child.process.pid or REMOTE_PID

    def kill(self, name: str, why: str, pid: int = 0) -> None:
        """Kill a child and all it started. Counts as a death; `ended` reports it with `why`.

        Ignores names that are no running children of this launcher, such as external agents.

        Args:
            name: name of the child.
            why: reason as text.
            pid: kill only this process; 0: any process of the child.
        """
        child = self._children.get(name)
        if child and child.process and (pid in (0, child.process.pid) or not child.process.pid):
            child.killed_for = why
            self._kill(child, child.process)

    def stop(self, grace_s: float) -> list[str]:
        """End all children with SIGTERM, and with SIGKILL after `grace_s`, without restarts.

        Returns:
            Names of children whose processes hang in the kernel.
        """
        running: list[tuple[_ChildProcess, RunningProcess, threading.Thread]] = []
        for child in self._children.values():
            child.due = None
            if child.process and child.watcher:
                running.append((child, child.process, child.watcher))
                child.process.terminate()
        deadline = time.monotonic() + grace_s
        for _, _, watcher in running:
            watcher.join(max(0.0, deadline - time.monotonic()))
        for _, process, _ in running:
            process.kill()
        deadline = time.monotonic() + UNKILLABLE_S
        for child, process, watcher in running:
            watcher.join(max(0.0, deadline - time.monotonic()))
            process.close()
            if not watcher.is_alive():
                child.process = None
        return sorted(self.alive())

    def alive(self) -> set[str]:
        """Return the names of running children."""
        return {name for name, child in self._children.items() if child.process and child.process.returncode is None}

    def unkillable(self) -> set[str]:
        """Return the names of children that still run more than UNKILLABLE_S after a SIGKILL."""
        since = self._clock() - UNKILLABLE_S
        killed = {name: child.killed_at for name, child in self._children.items() if child.killed_at is not None}
        return {name for name in self.alive() & killed.keys() if killed[name] < since}

    def starved(self, name: str) -> bool:
        """Whether a child waits for a processor or the disk; False if the system does not say."""
        process = self._children[name].process
        try:
            stat = Path(f"/proc/{process.pid}/stat").read_text() if process else ""
        except OSError:
            return False
        return stat.rpartition(") ")[2][:1] in ("R", "D")

    def last_error(self, name: str) -> str:
        """Return the last log line about an error of the child's newest process, and the path of the log.

        Raises:
            KeyError: there is no such child.
        """
        child = self._children[name]
        line = last_error_line(child.spec.log, since=child.log_from)
        return f"{line or 'its log tells of no error'} (log: {child.spec.log})"

    def _due(self) -> list[_ChildProcess]:
        now = self._clock()
        return [one for one in self._children.values() if one.due is not None and now >= one.due and not one.process]

    def _start(self, child: _ChildProcess) -> None:
        spec = child.spec
        child.started_at, child.killed_for, child.killed_at = self._clock(), "", None
        child.log_from = spec.log.stat().st_size if spec.log.is_file() else 0
        process = self._spawn(spec)
        watcher = threading.Thread(target=self._watch, args=(child, process), name=f"watch-{spec.name}", daemon=True)
        try:
            watcher.start()
        except RuntimeError as error:
            process.kill()
            process.wait()
            process.close()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        child.process, child.watcher = process, watcher

    def _spawn(self, spec: ChildSpec) -> RunningProcess:
        return start_here(spec, self._table)

    def _watch(self, child: _ChildProcess, process: RunningProcess) -> None:
        """Wait for the exit, and queue it."""
        process.wait()
        if self._table and child.spec.core_entry is not None:
            self._table.set_idle(child.spec.core_entry)
        self._exits.put((child, process))

    def _kill(self, child: _ChildProcess, process: RunningProcess) -> None:
        if child.killed_at is None:
            child.killed_at = self._clock()
        process.kill()

    def _event(self, child: _ChildProcess, process: RunningProcess) -> ChildEnded:
        """Return the event of an exit."""
        code = process.returncode
        match code:
            case 0:
                return ChildEnded(child.spec.name, "left (exit code 0)", False, child.restarts, left=True)
            case _ if code == NO_RESTART:
                useless = f"{process.describe_exit()}; starting it again would not help"
                return ChildEnded(child.spec.name, useless, False, child.restarts)
        if code == -signal.SIGKILL and child.killed_for:
            return self._after(child, f"ended by this program: {child.killed_for}", killed=True)
        return self._after(child, process.describe_exit())

    def _after(self, child: _ChildProcess, detail: str, *, killed: bool = False) -> ChildEnded:
        """Return the event of a death; schedule a restart if one is left."""
        now = self._clock()
        if child.restarts >= self._max_restarts:
            used_up = f"{detail}; no restart is left (limits.restarts: {self._max_restarts})"
            return ChildEnded(child.spec.name, used_up, False, child.restarts, killed=killed)
        if now - child.started_at >= STEADY_S:
            child.deaths_in_a_row = 0
        child.due = now + min(self._backoff_s * 2**child.deaths_in_a_row, BACKOFF_MAX_S)
        child.deaths_in_a_row += 1
        child.restarts += 1
        return ChildEnded(child.spec.name, detail, True, child.restarts, killed=killed)


def start_here(spec: ChildSpec, table: CoreTable | None = None) -> LocalProcess:
    """Start a child on this host; `table`: of the agents at work, for a child with an entry.

    Raises:
        OSError: it cannot be started.
    """
    kills = exit_status.oom_kills()
    process = spawn(
        spec.module,
        spec.spec,
        env=spec.env,
        log=spec.log,
        cores=spec.cores,
        name=spec.name,
        secrets=spec.secrets,
        descriptors=() if table is None or spec.core_entry is None else (table.descriptor,),
    )
    return LocalProcess(process, kills)
