"""One worker: a supervisor in its sandbox, seen from outside."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from scenarios.tasks.sandbox import seccomp, supervisor
from scenarios.tasks.sandbox.bubblewrap import Command, interpreter
from scenarios.tasks.sandbox.outcome import CallOutcome, ProgramLimits, read

START_S = 600.0
"""Time in which a supervisor must be ready, and by which a call may exceed its limits; a start takes 0.1 s of processor
time."""
STARVED = 60
"""Time of a call, in multiples of its processor time, on a busy machine."""
SOURCE = Path(supervisor.__file__)
FLAGS = ("-s", "-S", "-P", "-B", "-X", "utf8")
"""Of the interpreter: no installed packages, no other folder for modules, no compiled files."""
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""All of it. With one seed, the same program has the same sets."""
OWN_USERS = 1_800_000_000
"""First of the user ids of supervisors that root starts; each has its own, since processes are counted by user."""


class WorkerGone(Exception):
    """The supervisor has ended, or does not answer. The text is what it has written to standard error."""


class Worker:
    """A supervisor, which the first call starts.

    Args:
        command: how to start it; None: without a sandbox.
        number: of this worker.
    """

    def __init__(self, command: Command | None, number: int = 0) -> None:
        self._command = command
        self._user = OWN_USERS + os.getpid() * 64 + number % 64
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._errors: IO[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def call(
        self, code: str, function: str, arguments: Sequence[Any], limits: ProgramLimits, patience: float
    ) -> tuple[CallOutcome, float]:
        """Run one call in a new process inside.

        Args:
            code: as in `Sandbox.run`, like the next two.
            function: its name.
            arguments: of the call.
            limits: of the call.
            patience: seconds that the program may wait before it is found out whether the machine makes it wait.

        Returns:
            What became of it, and for how many seconds it waited.

        Raises:
            WorkerGone: the supervisor ended, or cannot start; the next call starts another.
        """
        task = json.dumps({"code": code, "function": function, "arguments": list(arguments)}).encode()
        try:
            control = self._control or self._start()
            with _file(task) as given, _file(b"") as answer:
                file_bytes = max(limits.file_mb << 20, limits.output_bytes + 1024)
                memory = limits.memory_mb << 20
                wanted = supervisor.CALL.pack(limits.seconds, patience, memory, file_bytes, limits.processes)
                control.settimeout(START_S + STARVED * limits.seconds)
                socket.send_fds(control, [wanted], [given.fileno(), answer.fileno()])
                end = control.recv(supervisor.END.size)
                if len(end) < supervisor.END.size:
                    raise WorkerGone(self._said())
                late, code_of_exit, clean, waited = supervisor.END.unpack(end)
                if not clean:
                    self.close()  # the next program must not find what this one left
                answer.seek(0)
                return read(late, code_of_exit, answer.read(limits.output_bytes + 1), limits), waited
        except (OSError, WorkerGone) as error:
            said = self._said() or str(error)
            self.close()
            raise WorkerGone(said) from None
        except BaseException:  # Ctrl-C, for example: the end of this call must not be read as that of the next one
            self.close()
            raise

    def close(self) -> None:
        """End the supervisor and all that runs inside. Safe to call twice; the next call starts another."""
        if self._control is not None:
            self._control.close()  # the supervisor ends itself
        if self._process is not None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if self._errors is not None:
            self._errors.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._control = self._process = self._errors = self._folder = None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._control, self._errors = ours, tempfile.TemporaryFile()  # noqa: SIM115  (close() closes it)
        drop = self._command.drop if self._command else ""
        run = [interpreter(), *FLAGS, "-c", SOURCE.read_text("utf-8")]
        if self._command is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True)
            run += ["group", "0"]
        else:
            run += ["alone", str(self._user if drop == "inside" else 0)]
        with theirs, _file(seccomp.program()) as rules:
            self._process = subprocess.Popen(
                [*self._confined(rules.fileno()), *run],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[rules.fileno()] if self._command else [],
                cwd=self._folder.name if self._folder else "/",
                env=ENVIRONMENT,
                start_new_session=True,
                user=self._user if drop == "first" else None,
                group=self._user if drop == "first" else None,
                extra_groups=[] if drop == "first" else None,
            )
        ours.settimeout(START_S)
        if ours.recv(len(supervisor.READY)) != supervisor.READY:
            raise WorkerGone
        return ours

    def _confined(self, rules: int) -> list[str]:
        """The part of the command line before the interpreter; `rules`: descriptor of the filter."""
        if self._command is None:
            return []
        return [*self._command.arguments, *(["--seccomp", str(rules)] if seccomp.program() else []), "--"]

    def _said(self) -> str:
        """The last line of standard error."""
        if self._errors is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):  # its end may come before its last words
            if self._process is not None:
                self._process.wait(1)
        self._errors.seek(0)
        lines = self._errors.read(100_000).decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else ""


def _file(body: bytes) -> IO[bytes]:
    """A file without a name that holds `body`, at its start."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("call"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    file.write(body)
    file.seek(0)
    return file
