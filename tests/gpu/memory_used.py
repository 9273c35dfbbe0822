"""The memory of the first visible GPU, as nvidia-smi reports it. Imports no torch."""

import os
import subprocess
import threading
from typing import Any


def used_mb() -> float:
    """Return the MB (10^6 bytes) that all processes use on the first visible GPU."""
    return float(_ask("--query-gpu=memory.used").split()[0]) * 1.048576


def by_process() -> dict[int, float]:
    """Return the MB of each process on the GPU; empty where nvidia-smi names none (some containers)."""
    found: dict[int, float] = {}
    for line in _ask("--query-compute-apps=pid,used_memory").splitlines():
        pid, _, mib = (part.strip() for part in line.partition(","))
        if pid.isdigit() and mib.isdigit():
            found[int(pid)] = float(mib) * 1.048576
    return found


def _ask(query: str) -> str:
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits", "-i", first]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


class Peaks:
    """The largest memory of each process while the context is open, polled five times a second."""

    def __init__(self) -> None:
        self.mb: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> "Peaks":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._ended.wait(0.2):
            for pid, mb in by_process().items():
                self.mb[pid] = max(mb, self.mb.get(pid, 0.0))
