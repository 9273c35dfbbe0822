"""Explain failures of vLLM: find the cause in the log of its core, and say what to do."""

import contextlib
import os
import re
import signal
import stat
from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

from agents import exit_status
from agents.engines.base import EngineDead, EngineSettings, EngineStartError, first_line
from agents.engines.local.loading import REPAIR_GPU, device_failed

WORKER = re.compile(r"(\S+) died unexpectedly \(exit code: (-\d+)\)")
"""Log line of a core about the end of one of its worker processes."""
FAILED_CORE = re.compile(r"'(EngineCore\w*)': (-\d+)")
"""Text of vLLM about a core that did not start."""
REAP_S = 2.0
"""How long to wait for the exit code of a process that has ended."""
ROOT_CAUSE = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception): .+)$")
CONSEQUENCES = ("EngineDeadError", " INFO ", " WARNING ")
"""Marks of log lines that name no cause."""
PASSING = re.compile(r"(?i)address already in use|NCCL (error|init)|busy or unavailable|Error in memory profiling")
"""Failures of a start that another try may not meet: a port was taken, a GPU was busy, memory changed meanwhile."""
MEMORY = re.compile(r"(?i)out of ?memory|free memory|available memory|memory for the cache|KV cache|can't allocate")


class LogExcerpt:
    """The log of this process and its children from now on; the core writes the cause of its death only there."""

    def __init__(self) -> None:
        self._oom_kills = exit_status.oom_kills()
        self._from = {fd: os.fstat(fd).st_size for fd in (1, 2) if stat.S_ISREG(os.fstat(fd).st_mode)}

    def root_cause(self) -> str:
        """Return the first error in the excerpt; empty if there is none or the output is no readable file."""
        for line in self._lines():
            if found := WORKER.search(line):
                return self._ended(found[1], int(found[2]))
            if (found := ROOT_CAUSE.search(line)) and not any(mark in line for mark in CONSEQUENCES):
                return found[1][:300]
        return ""

    def cause_of_death(self, cores: Iterable[BaseProcess]) -> str:
        """Return why vLLM's core ended: the signal, or its error; `cores` are its processes."""
        for core in cores:
            core.join(REAP_S)
            if core.exitcode is not None and core.exitcode < 0:
                cause = self.root_cause() if core.exitcode != -signal.SIGKILL else ""
                return "; ".join(filter(None, (self._ended(core.name, core.exitcode), cause)))
        return self.root_cause() or "its core process has ended, and its log does not say why"

    def failed_core(self, says: str) -> str:
        """Return how the core ended that vLLM could not start, if a signal ended it; else empty."""
        found = FAILED_CORE.search(says)
        return self._ended(found[1], int(found[2])) if found else ""

    def _ended(self, name: str, code: int) -> str:
        return f"its process {name} ended: {exit_status.describe_exit(code, self._oom_kills)}"

    def _lines(self) -> Iterator[str]:
        for fd, start in self._from.items():
            with contextlib.suppress(OSError), Path(f"/proc/self/fd/{fd}").open("rb") as file:
                file.seek(start)
                yield from file.read().decode(errors="replace").splitlines()


def explain(error: Exception, root_cause: str, settings: EngineSettings) -> EngineStartError | EngineDead:
    """Return why vLLM did not start, and what to do; EngineDead if another try may succeed."""
    if isinstance(error, EngineStartError):
        return error
    if isinstance(error, ImportError):
        return EngineStartError(
            f"vLLM cannot be imported: {first_line(error)}\n"
            "install it as docs/engines.md says, or take engine: transformers"
        )
    says = root_cause if root_cause and "initialization failed" in str(error) else gist(error)
    if PASSING.search(says):
        return EngineDead(says)
    if isinstance(error, TypeError) and "argument" in says:
        return EngineStartError(f"engine_args: {says}")
    says = f"{settings.model}: vLLM cannot start: {says}"
    if "'EngineCore': -9" in str(error) or MEMORY.search(says):
        lower = "memory_share, max_context or capacity" if settings.gpus else "engine_args.kv_cache_memory_bytes"
        return EngineStartError(f"{says}\nlower {lower}, seat fewer agents here, or take a smaller model")
    if device_failed(says):
        return EngineStartError(f"{says}\n{REPAIR_GPU}")
    return EngineStartError(says)


def out_of_memory(error: BaseException) -> bool:
    """Return whether a request failed for lack of memory, which another one may not meet."""
    return isinstance(error, MemoryError) or bool(MEMORY.search(str(error)))


def gist(error: BaseException) -> str:
    """Return the first line of an error's text; for a failed validation, the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        return re.sub(r" \[type=.*", "", " ".join(lines[1:]))[:300]
    return first_line(error)
