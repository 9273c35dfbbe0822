"""Who sits where: pure, from what the agents wish and what the machine has, to seats, or why not.

Looking at the real machine is `look`; everything else is tested on described machines. Nothing here imports
torch: an agent must see its own CUDA_VISIBLE_DEVICES before torch does.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec


class PlacementError(ValueError):
    """The agents do not fit this machine: the numbers, and what to change."""


class Gpu(msgspec.Struct, frozen=True):
    """One GPU this process may use."""

    token: str
    """What CUDA_VISIBLE_DEVICES calls it: an index of the machine, or a UUID."""
    name: str
    memory_mb: int


class Machine(msgspec.Struct, frozen=True):
    """What there is to sit on. GPU indices in a scenario count within `gpus`."""

    cores: tuple[int, ...]
    """The cores this process may run on."""
    memory_mb: int
    gpus: tuple[Gpu, ...] = ()
    mps: bool = False


class Wish(msgspec.Struct, frozen=True):
    """What one agent asks for."""

    agent: str
    gpu: Literal["auto", "none"] | int | tuple[int, ...]
    model_mb: int
    """Weights in memory; 0: needs no model (simulated)."""
    memory_share: float | None = None


class Seat(msgspec.Struct, frozen=True):
    """Where one agent sits."""

    agent: str
    gpus: tuple[str, ...]
    """Tokens for CUDA_VISIBLE_DEVICES; empty: no GPU, and it sees none."""
    memory_share: float
    """Of each of its GPUs; 0 without one."""
    cores: tuple[int, ...]
    """The cores it may run on."""
    threads: int
    device: str
    """For people: `GPU 0 (H100, 45 %)`, `CPU, 1 thread`."""
    why: str


def look() -> Machine:
    """The machine this process runs on, within its CUDA_VISIBLE_DEVICES and CPU affinity."""
    raise NotImplementedError


def place(wishes: Sequence[Wish], machine: Machine) -> list[Seat]:
    """One seat per wish, in the same order.

    Raises:
        PlacementError: a named GPU is not there or cannot hold its agents.
    """
    raise NotImplementedError
