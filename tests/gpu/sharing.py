"""Four agents on one GPU of which 24 GB are free, each within its share, with full slots; none loses a request."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from agents.placement.agent_process import agent_env
from agents.placement.hardware import this_machine
from agents.placement.memory import CONTEXT_MB
from agents.placement.seats import USABLE, Seat, SeatRequest, place
from tests.gpu import models
from tests.gpu.checks import Setting, check, info, phase
from tests.gpu.memory_used import Peaks

LEFT_MB = 24_000
WITHIN = 0.03
"""Share of the GPU by which an agent may exceed its own."""
HOG = (
    "import sys, torch; a = torch.empty(int(sys.argv[1]), dtype=torch.uint8, device='cuda'); "
    "print('ready', flush=True); input()"
)


def run(setting: Setting) -> None:
    share(setting, "transformers", models.size(setting, "1.5B", "tiny"), models.size(setting, 4, 2))


def share(setting: Setting, engine: str, shape: str, agents: int) -> None:
    """Let `agents` agents answer at once, in the shares that placement gives them."""
    folder = setting.folder / "model"
    parameters = models.save(folder, shape, setting.device)
    hog = None
    if setting.cuda:
        gpu = this_machine().gpus[0]
        # As much may be used of the rest as of a GPU of 24 GB.
        too_much = int(USABLE * (gpu.memory_mb - LEFT_MB)) - gpu.used_mb - CONTEXT_MB
        hog = subprocess.Popen(
            [sys.executable, "-c", HOG, str(max(1, too_much) * 10**6)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert hog.stdout is not None
        assert hog.stdout.readline() == "ready\n", "the memory beyond 24 GB cannot be taken"
    try:
        machine = this_machine()
        requests = [
            SeatRequest(f"a{n}", "auto" if setting.cuda else "none", 2 * parameters // 10**6 or 1, engine=engine)
            for n in range(agents)
        ]
        seats = place(requests, machine)
        answered(setting, engine, seats, machine.gpus[0].memory_mb if setting.cuda else 0)
    finally:
        if hog:
            hog.communicate("\n", timeout=30)


def answered(setting: Setting, engine: str, seats: Sequence[Seat], total_mb: int) -> None:
    requests, length, new = models.size(setting, (64, 1800, 100), (6, 80, 8))
    children = []
    for number, seat in enumerate(seats):
        told = {
            "engine": engine,
            "folder": str(setting.folder / "model"),
            "gpus": len(seat.gpus),
            "share": seat.engine_share,
            "cache_mb": seat.cache_mb,
            "dtype": "bfloat16" if setting.cuda else "float32",
            "requests": requests,
            "length": length,
            "new": new,
            "seed": number,
        }
        command = [sys.executable, "-m", "tests.gpu.one_engine", json.dumps(told)]
        env = os.environ | (agent_env(seat) if setting.cuda else {})
        children.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    if setting.cuda:
        with Peaks() as peaks:
            said = [child.communicate()[0] for child in children]
    else:
        said = [child.communicate()[0] for child in children]
    for child, seat, text in zip(children, seats, said, strict=True):
        found = next((json.loads(row[6:]) for row in text.splitlines() if row.startswith("FOUND ")), None)
        if found is None:
            check(f"{engine} {seat.agent}: starts", False, note=f"exit code {child.returncode}; gpu.log says why")
            continue
        check(f"{engine} {seat.agent}: lives", not found["dead"], float(not found["dead"]), note=found["why"])
        count, bound = found["answered"], f"all {requests}"
        check(f"{engine} {seat.agent}: answers", count == requests, count, "requests", bound, found["why"])
        if setting.cuda and engine == "transformers":
            # Some containers do not tell which process takes what.
            peak = peaks.mb.get(child.pid, found["reserved_mb"] + CONTEXT_MB)
            most = (seat.memory_share + WITHIN) * total_mb
            bound = f"at most {most / 1000:.1f} GB"
            check(f"{engine} {seat.agent}: memory", peak <= most, peak / 1000, "GB", bound)
            info(f"{engine} {seat.agent}: share", seat.memory_share)


if __name__ == "__main__":
    phase(run)
