"""What this machine has: cores, memory and GPUs, as far as this process may use them.

Read from the kernel and from nvidia-smi, never from torch: an agent must see its own CUDA_VISIBLE_DEVICES before
torch does. Who sits where is decided in `agents/placement.py`.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec


class PlacementError(ValueError):
    """The agents do not fit this machine: the numbers, and what to change."""


class Gpu(msgspec.Struct, frozen=True):
    """One GPU this process may use."""

    token: str
    """What CUDA_VISIBLE_DEVICES calls it: an index of the machine, or a UUID."""
    name: str
    memory_mb: int
    used_mb: int = 0
    """By other processes."""


class Machine(msgspec.Struct, frozen=True):
    """What there is to sit on. GPU indices in a scenario count within `gpus`."""

    cores: tuple[int, ...]
    """The cores this process may run on."""
    memory_mb: int
    gpus: tuple[Gpu, ...] = ()
    mps: bool = False
    parallel: int = 0
    """How many cores' worth of time it gets, where a container's quota is less than its cores; 0: all."""


def look() -> Machine:
    """The machine this process runs on, within its CUDA_VISIBLE_DEVICES, CPU affinity and container.

    Raises:
        PlacementError: CUDA_VISIBLE_DEVICES names a part of a GPU.
    """
    cores = tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else tuple(range(os.cpu_count() or 1))
    cpus, limit_mb = cgroup_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    host_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    memory_mb = min(host_mb, limit_mb or host_mb)
    return Machine(
        cores=cores,
        memory_mb=memory_mb,
        gpus=visible_gpus(_nvidia_smi(), os.environ.get("CUDA_VISIBLE_DEVICES"), memory_mb),
        mps=sys.platform == "darwin" and os.uname().machine == "arm64",
        parallel=max(1, int(cpus)) if cpus and cpus < len(cores) else 0,
    )


def described(entries: Sequence[str]) -> Machine:
    """A machine that is not here, for planning: `gpus=8x80` or `gpus=24,80` (GB each), `cores=64`, `memory=512` (GB).

    What is not said is as on this machine; a described machine has only the GPUs that are described.

    Raises:
        PlacementError: an entry that says none of these.
    """
    machine = msgspec.structs.replace(look(), gpus=(), mps=False)
    for entry in entries:
        key, _, value = entry.partition("=")
        try:
            match key:
                case "gpus":
                    machine = msgspec.structs.replace(machine, gpus=_described_gpus(value))
                case "cores":
                    machine = msgspec.structs.replace(machine, cores=tuple(range(int(value))), parallel=0)
                case "memory":
                    machine = msgspec.structs.replace(machine, memory_mb=int(float(value) * 1000))
                case _:
                    raise ValueError(key)
        except ValueError:
            raise PlacementError(
                f"machine.{entry}: describe a machine by machine.gpus=8x80 or =24,80 (GB each), machine.cores=64, "
                "machine.memory=512 (GB)"
            ) from None
    return machine


def _described_gpus(text: str) -> tuple[Gpu, ...]:
    sizes: list[float] = []
    for part in text.split(","):
        count, times, size = part.rpartition("x")
        sizes += [float(size)] * (int(count) if times else 1)
    if len(sizes) > 1024 or any(not 0 < size < 1e4 for size in sizes):
        raise ValueError(text)
    return tuple(Gpu(str(index), f"{size:g} GB", int(size * 1000)) for index, size in enumerate(sizes))


def _nvidia_smi() -> str:
    """One line per GPU of the machine; empty where there is no driver to ask, which `doctor` tells apart."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total,memory.used", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def visible_gpus(csv: str, visible: str | None, host_mb: int) -> tuple[Gpu, ...]:
    """The GPUs of `csv` that CUDA_VISIBLE_DEVICES lets this process use, in its order.

    As in CUDA: no variable is all of them, an empty one none, a UUID may be shortened, and the first entry that is
    not there ends the list.

    Args:
        csv: lines of index, UUID, name, total MB and used MB.
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.
        host_mb: stands for the memory of a GPU that has none of its own, where nvidia-smi says [N/A].

    Raises:
        PlacementError: it names a part of a GPU.
    """
    there: list[tuple[str, Gpu]] = []
    for line in csv.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 5:
            continue
        index, uuid, name, total, used = fields
        memory = (int(total), int(used) if used.isdigit() else 0) if total.isdigit() else (host_mb, 0)
        there.append((uuid, Gpu(index, name.removeprefix("NVIDIA ").removeprefix("GeForce "), *memory)))
    if visible is None:
        return tuple(gpu for _, gpu in there)
    chosen: list[Gpu] = []
    for token in [part.strip() for part in visible.split(",")]:
        if token.startswith("MIG-"):
            raise PlacementError(f"CUDA_VISIBLE_DEVICES names {token}, a part of a GPU: name whole GPUs")
        shortened = token.startswith("GPU-")
        found = [gpu for uuid, gpu in there if (uuid.startswith(token) if shortened else gpu.token == token)]
        if len(found) != 1:
            break
        chosen.append(msgspec.structs.replace(found[0], token=token))
    return tuple(chosen)


def cgroup_limits(membership: Path, root: Path) -> tuple[float | None, int | None]:
    """The tightest limits of the groups this process is in: CPUs, and memory in MB. None: no limit.

    Args:
        membership: /proc/self/cgroup.
        root: /sys/fs/cgroup, of version 1 or 2.
    """
    cpus: list[float] = []
    memory: list[int] = []
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        for base in [root / controller for controller in controllers.split(",")]:
            own = base / path.lstrip("/")
            # In a container the path may be the host's: a folder that is not there is passed over on the way up.
            for folder in [own, *own.parents][: len(own.parts) - len(base.parts) + 1]:
                quota = _text(folder / "cpu.max").split() or [
                    _text(folder / "cpu.cfs_quota_us"),
                    _text(folder / "cpu.cfs_period_us"),
                ]
                if all(number.isdigit() for number in quota):
                    cpus.append(int(quota[0]) / int(quota[1]))
                limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
                if limit.isdigit():
                    memory.append(int(limit) >> 20)
    return min(cpus, default=None), min(memory, default=None)


def _text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""
