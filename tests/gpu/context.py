"""The memory that a process takes on a GPU before it holds a model."""

import subprocess
import sys

from agents.placement.memory import CONTEXT_MB
from tests.gpu.checks import Setting, check, info, phase
from tests.gpu.memory_used import used_mb

PROCESSES = 4
TENSOR = "import torch; a = torch.ones(8, device='cuda'); torch.cuda.synchronize(); print('ready', flush=True); input()"
PRODUCT = (
    "import torch; a = torch.ones(512, 512, device='cuda', dtype=torch.bfloat16); b = a @ a; torch.cuda.synchronize(); "
    "print('ready', flush=True); input()"
)


def run(setting: Setting) -> None:
    info("a process with one tensor", held(TENSOR, 1), "MB")
    one = held(PRODUCT, 1)
    check("a process after a matrix product", one <= CONTEXT_MB, one, "MB", f"at most {CONTEXT_MB} MB")
    four = held(PRODUCT, PROCESSES) / PROCESSES
    check(f"each of {PROCESSES} processes", four <= CONTEXT_MB, four, "MB", f"at most {CONTEXT_MB} MB")


def held(code: str, count: int) -> float:
    """Return the MB that `count` processes with this code take together."""
    before = used_mb()
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    after = used_mb()
    for child in children:
        child.communicate("\n", timeout=30)
    return after - before


if __name__ == "__main__":
    phase(run)
