"""Which GPUs hold which classes, as the table of docs/gpu.md: `python -m tests.gpu.cards` prints it.

Each cell is the answer of `plan` for a described machine. The test of docs/gpu.md compares the page with it.
"""

from collections.abc import Sequence

from agents.placement.hardware import described_machine
from broker.errors import PlacementError
from run import place
from scenarios.config import load
from tests import classes

MACHINES = ("24", "48", "80", "141", "2x24", "4x24", "8x24", "2x80", "4x80", "8x80", "8x141")
CLASSES: dict[str, tuple[str, str, Sequence[str]]] = {
    "4 agents of 0.5B": ("0.5b", "0.5b", ()),
    "4 agents of 1.5B": ("1.5b", "1.5b", ()),
    "8 agents of 1.5B": ("1.5b", "1.5b", ("students.0.replicas=5",)),
    "teacher of 7B, 3 students of 1.5B": ("7b", "1.5b", ()),
    "4 agents of 7B": ("7b", "7b", ()),
    "teacher of 14B, 3 students of 7B": ("14b", "7b", ()),
    "teacher of 32B on 2 GPUs (vLLM), 3 students of 7B": (
        "32b",
        "7b",
        ("teacher.engine=vllm", "teacher.gpu=[0, 1]"),
    ),
    "teacher of 70B on 4 GPUs (vLLM), 3 students of 7B": (
        "70b",
        "7b",
        ("teacher.engine=vllm", "teacher.gpu=[0, 1, 2, 3]"),
    ),
}
"""Sizes of teacher and students, and other settings."""


def cell(teacher: str, students: str, others: Sequence[str], gpus: str) -> str:
    """Return the levels that a machine can run: `1, 2`, `1` if only the training does not fit, `-` for none."""
    settings = [f"teacher.model=org/model-{teacher}", "teacher.engine=transformers", "learn.training.lora=true"]
    for number in range(3):
        settings += [f"students.{number}.model=org/model-{students}", f"students.{number}.engine=transformers"]
    fits = []
    for level in ("1", "2"):
        path = classes.ROOT / "scenarios" / "multi_student.yaml"
        scenario = load.read(path, [*settings, *others, f"level={level}", "task.problems=20"])
        try:
            place(scenario, described_machine([f"gpus={gpus}", "memory=2000", "cores=64"]))
        except PlacementError:
            continue
        fits.append(level)
    return ", ".join(fits) or "-"


def table() -> str:
    """Return the table in markdown."""
    rows = [["class", *(f"{machine.replace('x', ' x ')} GB" for machine in MACHINES)], ["---"] * (len(MACHINES) + 1)]
    rows += [[name, *(cell(*told, gpus=gpus) for gpus in MACHINES)] for name, told in CLASSES.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(table(), end="")
