"""Programs per second in the sandbox, with several workers: small ones, with one call and with twenty."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scenarios.tasks.sandbox.pool import Sandbox

PROGRAM = "def total(n):\n    return sum(i * i for i in range(n))"


def rate(sandbox: Sandbox, workers: int, programs: int, calls: int) -> float:
    """Programs per second."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(lambda n: sandbox.run(PROGRAM, "total", [[n + k] for k in range(calls)]), range(programs)))
    return programs / (time.perf_counter() - begun)


def run(quick: bool, seed: int) -> dict[str, Any]:
    detail: dict[str, Any] = {"what": "programs per second with as many workers as cores"}
    cores = len(os.sched_getaffinity(0))
    programs = 100 if quick else 1000
    best = 0.0
    for workers in sorted({1, 2, cores, 2 * cores}):
        begun = time.perf_counter()
        with Sandbox(workers=workers) as sandbox:
            detail["kind"], detail["seconds to start"] = sandbox.kind, round(time.perf_counter() - begun, 2)
            rate(sandbox, workers, 4 * workers, 1)  # all workers have started
            found = rate(sandbox, workers, programs, 1), rate(sandbox, workers, programs // 10, 20)
        detail[f"{workers} workers"] = f"{found[0]:.0f} with one call, {found[1]:.1f} with twenty"
        best = found[0] if workers == cores else best
    return {"name": "sandbox", "ratio": best, "goal": 50, "better": "higher", "detail": detail}
