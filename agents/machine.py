"""What this machine has: cores, memory and GPUs, as far as this process may use them. MB are 10^6 bytes.

Read from the kernel and from nvidia-smi, never from torch: an agent must see its own CUDA_VISIBLE_DEVICES before
torch does. Who sits where is decided in `agents/placement.py`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from agents.memory import MB
from broker.errors import PlacementError

MARGIN = 0.1
"""Of the machine's memory: an agent may take a fifth more than planned, and files want some of it as their cache."""
MARGIN_MB = 1000
"""At least: run.py and the broker take up to 300 MB, and other programs grow."""


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
    free_mb: int | None = None
    """What other programs leave of the memory now; None: not known, or the machine is not here. Then all counts."""
    swap_mb: int = 0
    """Free swap, which counts as free; none where a container limits the memory."""
    bfloat16: bool = False
    """Whether its CPU computes in bfloat16."""

    @property
    def margin_mb(self) -> int:
        """What no agent may take."""
        return max(MARGIN_MB, int(self.memory_mb * MARGIN))

    @property
    def usable_mb(self) -> int:
        """What agents on the CPU may take together, with no other program beside them."""
        return max(0, self.memory_mb - self.margin_mb)

    @property
    def usable_now_mb(self) -> int:
        """What of that other programs leave them now."""
        if self.free_mb is None:
            return self.usable_mb
        return max(0, min(self.usable_mb, self.free_mb + self.swap_mb - self.margin_mb))


def look() -> Machine:
    """The machine this process runs on, within its CUDA_VISIBLE_DEVICES, CPU affinity and container.

    Raises:
        PlacementError: CUDA_VISIBLE_DEVICES names a part of a GPU.
    """
    cores = tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else tuple(range(os.cpu_count() or 1))
    limits = cgroup_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    cpus = limits.cpus
    host_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MB
    memory_mb = min(host_mb, host_mb if limits.memory_mb is None else limits.memory_mb)
    meminfo = _text(Path("/proc/meminfo"))
    free = [mb for mb in (meminfo_mb(meminfo, "MemAvailable"), limits.free_mb) if mb is not None]
    return Machine(
        cores=cores,
        memory_mb=memory_mb,
        gpus=visible_gpus(_nvidia_smi(), os.environ.get("CUDA_VISIBLE_DEVICES"), memory_mb),
        mps=sys.platform == "darwin" and os.uname().machine == "arm64",
        parallel=max(1, int(cpus)) if cpus and cpus < len(cores) else 0,
        free_mb=min(free, default=None),
        swap_mb=(meminfo_mb(meminfo, "SwapFree") or 0) if limits.memory_mb is None else 0,
        bfloat16=computes_in_bfloat16(),
    )


def described(entries: Sequence[str]) -> Machine:
    """A machine that is not here, for planning: `gpus=8x80` or `gpus=24,80` (GB each), `cores=64`, `memory=512` (GB).

    What is not said is as on this machine; a described machine has only the GPUs that are described.

    Raises:
        PlacementError: an entry that says none of these.
    """
    machine = msgspec.structs.replace(look(), gpus=(), mps=False, free_mb=None, swap_mb=0)
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
        csv: lines of index, UUID, name, total and used memory in units of 2^20 bytes.
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
        memory = (_mb(int(total)), _mb(int(used)) if used.isdigit() else 0) if total.isdigit() else (host_mb, 0)
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


class Limits(msgspec.Struct, frozen=True):
    """What control groups leave a process; None: they set no limit."""

    cpus: float | None = None
    memory_mb: int | None = None
    free_mb: int | None = None


def cgroup_limits(membership: Path, root: Path) -> Limits:
    """The tightest limits of the groups this process is in.

    Args:
        membership: /proc/self/cgroup.
        root: /sys/fs/cgroup, of version 1 or 2.
    """
    cpus: list[float] = []
    memory: list[int] = []
    free: list[int] = []
    for folder in cgroup_folders(membership, root):
        quota = _text(folder / "cpu.max").split() or [
            _text(folder / "cpu.cfs_quota_us"),
            _text(folder / "cpu.cfs_period_us"),
        ]
        if all(number.isdigit() for number in quota):
            cpus.append(int(quota[0]) / int(quota[1]))
        limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
        if limit.isdigit():
            memory.append(int(limit) // MB)
            free.append((int(limit) - _in_use(folder)) // MB)
    return Limits(min(cpus, default=None), min(memory, default=None), max(0, min(free)) if free else None)


def cgroup_folders(membership: Path, root: Path) -> Iterator[Path]:
    """The folders of the groups this process is in, each before the groups around it.

    In a container a path may be the host's: some of the folders may not be there.
    """
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        for base in [root / controller for controller in controllers.split(",")]:
            own = base / path.lstrip("/")
            yield from [own, *own.parents][: len(own.parts) - len(base.parts) + 1]


def _in_use(group: Path) -> int:
    """Bytes that a group's processes take, less the files' cache, which the kernel frees for others."""
    used = _text(group / "memory.current") or _text(group / "memory.usage_in_bytes")
    stat = dict(line.split() for line in _text(group / "memory.stat").splitlines())
    # Version 1 counts a group without the groups in it, and with them under names that begin with total.
    cached = [int(stat.get(f"total_{kind}") or stat.get(kind, "0")) for kind in ("active_file", "inactive_file")]
    return max(0, int(used or 0) - sum(cached))


def meminfo_mb(meminfo: str, name: str) -> int | None:
    """A figure of /proc/meminfo, such as `MemAvailable`, what programs may take without swapping; None: not there."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 // MB if found else None


def computes_in_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has instructions for bfloat16. Without them models compute in float32."""
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", _text(cpuinfo)) is not None


def _mb(mebibytes: int) -> int:
    return mebibytes * (1 << 20) // MB


def _text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""
