"""A process that a launcher started: its exit, and its end with all that it started."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import Protocol

from agents import exit_status


class RunningProcess(Protocol):
    """What a launcher needs of a process, on whichever host it runs."""

    @property
    def pid(self) -> int:
        """Process id on this host; 0: it runs on another one."""

    @property
    def returncode(self) -> int | None:
        """Exit code, below 0 the number of a signal; None: it runs."""

    def wait(self) -> None:
        """Wait until it has ended, with all that it started. Called in a thread of its own."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it and all that it started; does nothing once it has ended."""

    def close(self) -> None:
        """Free what is kept of it."""

    def describe_exit(self) -> str:
        """How it ended, where this program did not end it."""


class LocalProcess:
    """A process of this host, in a process group of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", oom_kills: int | None) -> None:
        """Take over a process; `oom_kills`: out-of-memory kills of the kernel before it started."""
        self._process = process
        self._oom_kills = oom_kills
        self._reaping = threading.Lock()
        """Held while the pid is signalled or reaped, so that no signal reaches a reused pid."""
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """See RunningProcess."""
        return self._process.returncode

    def wait(self) -> None:
        """Wait for the exit, kill what the process started, and reap it."""
        if sys.platform == "linux":
            # Until it is reaped, its pid still names its group.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with self._reaping:
            _kill_group(self.pid)
            self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM."""
        with self._reaping:
            if self._process.returncode is None:
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to its group."""
        with self._reaping:
            if self._process.returncode is None:
                _kill_group(self.pid)

    def close(self) -> None:
        """Close the pipe to it."""
        if self._process.stdin:
            self._process.stdin.close()

    def describe_exit(self) -> str:
        """See RunningProcess."""
        return exit_status.describe_exit(self._process.returncode, self._oom_kills)


def _kill_group(group: int) -> None:
    # The group has ended, or (macOS) only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
