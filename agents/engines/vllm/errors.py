"""What vLLM's failures mean: the cause that its core left in the log, and what people can do about it."""

import contextlib
import os
import re
import signal
import stat
from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

from agents import exit_status
from agents.engines.base import EngineDead, EngineStartError, Settings, first_line
from agents.engines.local.loading import REPAIR_GPU, device_failed

WORKER = re.compile(r"(\S+) died unexpectedly \(exit code: (-\d+)\)")
"""Of one of several processes that compute together; only its core knows how it ended."""
FAILED_CORE = re.compile(r"'(EngineCore\w*)': (-\d+)")
"""Of one that did not come up."""
REAP_S = 2.0
"""How long to wait until a process that has ended can say how."""
ROOT_CAUSE = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception): .+)$")
CONSEQUENCES = ("EngineDeadError", " INFO ", " WARNING ")
"""Marks of lines that name no cause."""
MEMORY = re.compile(r"(?i)out of ?memory|free memory|available memory|memory for the cache|KV cache|can't allocate")


class LogExcerpt:
    """What this process and its children have written since: the core tells the cause of its death to the log alone."""

    def __init__(self) -> None:
        self._oom_kills = exit_status.oom_kills()
        self._from = {fd: os.fstat(fd).st_size for fd in (1, 2) if stat.S_ISREG(os.fstat(fd).st_mode)}

    def root_cause(self) -> str:
        """The first error in it; empty: none, or the output is no file that can be read."""
        for line in self._lines():
            if found := WORKER.search(line):
                return self._ended(found[1], int(found[2]))
            if (found := ROOT_CAUSE.search(line)) and not any(mark in line for mark in CONSEQUENCES):
                return found[1][:300]
        return ""

    def cause_of_death(self, cores: Iterable[BaseProcess]) -> str:
        """Why vLLM's core ended: by which signal, or what it said; `cores` are its processes."""
        for core in cores:
            core.join(REAP_S)
            if core.exitcode is not None and core.exitcode < 0:
                said = self.root_cause() if core.exitcode != -signal.SIGKILL else ""
                return "; ".join(filter(None, (self._ended(core.name, core.exitcode), said)))
        return self.root_cause() or "its core process has ended, and its log does not say why"

    def failed_core(self, says: str) -> str:
        """The core that vLLM says did not come up, if a signal ended it; else empty."""
        found = FAILED_CORE.search(says)
        return self._ended(found[1], int(found[2])) if found else ""

    def _ended(self, name: str, code: int) -> str:
        return f"its process {name} ended: {exit_status.in_words(code, self._oom_kills)}"

    def _lines(self) -> Iterator[str]:
        for fd, start in self._from.items():
            with contextlib.suppress(OSError), Path(f"/proc/self/fd/{fd}").open("rb") as file:
                file.seek(start)
                yield from file.read().decode(errors="replace").splitlines()


def explain(error: Exception, root_cause: str, settings: Settings) -> EngineStartError | EngineDead:
    """Why it did not start, and what to do. An EngineDead: another try may go well."""
    if isinstance(error, EngineStartError):
        return error
    if isinstance(error, ImportError):
        return EngineStartError(
            f"vLLM cannot be imported: {first_line(error)}\n"
            "install it as docs/engines.md says, or take engine: transformers"
        )
    says = root_cause if root_cause and "initialization failed" in str(error) else gist(error)
    if "Error in memory profiling" in says:
        # Another program gave memory back while it was measured.
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


def gist(error: BaseException) -> str:
    """The gist of an error's text; of a failed validation, what failed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        return re.sub(r" \[type=.*", "", " ".join(lines[1:]))[:300]
    return first_line(error)
