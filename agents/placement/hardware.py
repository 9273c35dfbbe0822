"""The cores, memory and GPUs that this process may use. MB are 10^6 bytes.

Read from the kernel and from nvidia-smi, never from torch: the environment of an agent must be set before torch starts.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from agents.placement.memory import MB
from broker.errors import PlacementError

MARGIN = 0.1
"""Share of the memory that stays free: an agent may take a fifth more than planned, and the page cache needs memory."""
MARGIN_MB = 1000
"""Least MB that stay free: run.py and the broker take up to 300 MB, and other programs grow."""
NVIDIA_SMI_TIMEOUT_S = 60
"""Time for nvidia-smi, which can be slow with many idle GPUs."""
BAD_INFOROM = 14
"""Exit code of nvidia-smi with a valid answer and a warning about a GPU's infoROM; such a GPU works."""
NO_OWN_MEMORY = ("[N/A]", "N/A", "[Not Supported]")
"""Output of nvidia-smi for the memory of a GPU that shares the machine's memory."""
GPU_THERE = re.compile(
    r"GPU is lost|fallen off|device handle|version mismatch|Unknown Error|insufficient permissions", re.I
)
"""Errors of nvidia-smi that imply that there is a GPU. `No devices were found` does not."""
NAMED_GPUS = {"H100": 80, "H200": 141}
"""GB of GPUs that a described machine may name."""
MOST_GPUS = 1024
"""Most GPUs of a described machine."""
REPAIR = "repair the driver or restart the machine"
HIDE = "set CUDA_VISIBLE_DEVICES= (empty) to compute on the CPU"


class Gpu(msgspec.Struct, frozen=True):
    """A GPU that this process may use."""

    token: str
    """Its name in CUDA_VISIBLE_DEVICES: an index or a UUID."""
    name: str
    memory_mb: int
    used_mb: int = 0
    """Memory used by other processes."""
    bfloat16: bool = True
    """Whether it computes in bfloat16, which needs compute capability 8.0."""
    exclusive: bool = False
    """Whether it serves one process at a time (compute mode Exclusive_Process)."""


class Machine(msgspec.Struct, frozen=True):
    """The machine. GPU indices in a scenario count within `gpus`."""

    cores: tuple[int, ...]
    """Cores that this process may run on."""
    memory_mb: int
    gpus: tuple[Gpu, ...] = ()
    mps: bool = False
    core_quota: int = 0
    """Number of cores that a container's quota allows; 0: all."""
    free_mb: int | None = None
    """Memory that is free now; None: unknown, or a described machine. Then all memory counts."""
    swap_mb: int = 0
    """Free swap, which counts as free memory; 0 if a container limits the memory."""
    bfloat16: bool = False
    """Whether its CPU computes in bfloat16."""
    gpu_trouble: str = ""
    """Why its GPUs cannot be used, and what to do; then `gpus` is empty. Empty: no trouble."""
    gpu_expected: bool = False
    """Whether there is a GPU in trouble; a driver without a GPU also fails."""

    @property
    def margin_mb(self) -> int:
        """Memory that stays free."""
        return max(MARGIN_MB, int(self.memory_mb * MARGIN))

    @property
    def usable_mb(self) -> int:
        """Memory for all agents on the CPU, without other programs."""
        return max(0, self.memory_mb - self.margin_mb)

    @property
    def usable_now_mb(self) -> int:
        """Memory for all agents on the CPU beside the programs that run now."""
        if self.free_mb is None:
            return self.usable_mb
        return max(0, min(self.usable_mb, self.free_mb + self.swap_mb - self.margin_mb))

    def dtype(self, tokens: Sequence[str]) -> str:
        """Return the best dtype for these GPUs; without GPUs, for the CPU."""
        if not tokens:
            return "bfloat16" if self.bfloat16 else "float32"
        able = not self.mps and all(gpu.bfloat16 for gpu in self.gpus if gpu.token in tokens)
        return "bfloat16" if able else "float16"


def this_machine() -> Machine:
    """Return this machine within CUDA_VISIBLE_DEVICES, CPU affinity and container."""
    cores = tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else tuple(range(os.cpu_count() or 1))
    limits = cgroup_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    host_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MB
    memory_mb = min(host_mb, host_mb if limits.memory_mb is None else limits.memory_mb)
    meminfo = _text(Path("/proc/meminfo"))
    free = [mb for mb in (meminfo_mb(meminfo, "MemAvailable"), limits.free_mb) if mb is not None]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    csv, trouble = ("", "") if hides_all(visible) else nvidia_smi()
    gpus: tuple[Gpu, ...] = ()
    try:
        gpus = visible_gpus(csv, visible, memory_mb)
    except PlacementError as error:
        trouble = str(error)
    if csv and visible and not (gpus or trouble) and re.match(r"\d|GPU-", visible.strip()):
        trouble = f"CUDA_VISIBLE_DEVICES={visible} names no GPU of this machine\ncorrect it, or {HIDE}"
    return Machine(
        cores=cores,
        memory_mb=memory_mb,
        gpus=gpus,
        mps=sys.platform == "darwin" and os.uname().machine == "arm64",
        core_quota=max(1, int(limits.cpus)) if limits.cpus and limits.cpus < len(cores) else 0,
        free_mb=min(free, default=None),
        swap_mb=(meminfo_mb(meminfo, "SwapFree") or 0) if limits.memory_mb is None else 0,
        bfloat16=computes_in_bfloat16(),
        gpu_trouble=trouble,
        gpu_expected=bool(trouble) and (bool(csv) or gpu_is_there(trouble)),
    )


def split_machine(overrides: Sequence[str]) -> tuple[Machine | None, list[str]]:
    """Return the machine that overrides describe (`machine.gpus=8x80`), if they do, and the other overrides."""
    prefix = "machine."
    entries = [one.removeprefix(prefix) for one in overrides if one.startswith(prefix)]
    return described_machine(entries) if entries else None, [one for one in overrides if not one.startswith(prefix)]


def described_machine(entries: Sequence[str]) -> Machine:
    """Return a described machine: `gpus=8x80`, `gpus=24,80` (GB each) or `gpus=8xH100`, `cores=64`, `memory=512` (GB).

    Cores and memory default to this machine; it has only the described GPUs.

    Raises:
        PlacementError: an unknown entry.
    """
    here = this_machine()
    machine = Machine(here.cores, here.memory_mb, core_quota=here.core_quota, bfloat16=here.bfloat16)
    for entry in entries:
        key, _, value = entry.partition("=")
        try:
            match key:
                case "gpus":
                    machine = msgspec.structs.replace(machine, gpus=_described_gpus(value))
                case "cores":
                    machine = msgspec.structs.replace(machine, cores=tuple(range(int(value))), core_quota=0)
                case "memory":
                    machine = msgspec.structs.replace(machine, memory_mb=int(float(value) * 1000))
                case _:
                    raise ValueError(key)
        except ValueError:
            raise PlacementError(
                f"machine.{entry}: describe a machine by machine.gpus=8x80 or =24,80 (GB each) or =8xH100 (known: "
                f"{', '.join(NAMED_GPUS)}), machine.cores=64, machine.memory=512 (GB)"
            ) from None
    return machine


def _described_gpus(text: str) -> tuple[Gpu, ...]:
    gpus: list[tuple[str, float]] = []
    for part in text.split(","):
        count, times, size = part.rpartition("x")
        name, number = size.upper(), int(count) if times else 1
        gb = NAMED_GPUS.get(name) or float(size)
        if not (0 <= number <= MOST_GPUS and 0 < gb < 1e4):
            raise ValueError(text)
        gpus += [(name if name in NAMED_GPUS else f"{gb:g} GB", gb)] * number
    if len(gpus) > MOST_GPUS:
        raise ValueError(text)
    return tuple(Gpu(str(index), name, int(gb * 1000)) for index, (name, gb) in enumerate(gpus))


def nvidia_smi() -> tuple[str, str]:
    """Return one line per GPU for `visible_gpus`, and the reason if nvidia-smi fails."""
    fields = "index,uuid,name,memory.total,memory.used,mig.mode.current,compute_cap,compute_mode"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S)
    except FileNotFoundError:
        if not gpu_is_there():
            return "", ""
        says = "nvidia-smi is not installed (a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
    except subprocess.TimeoutExpired:
        says = f"nvidia-smi does not answer within {NVIDIA_SMI_TIMEOUT_S} s"
    except OSError as error:
        says = f"nvidia-smi cannot be run: {error.strerror}"
    else:
        if done.returncode in (0, BAD_INFOROM):
            return done.stdout, ""
        said = (done.stdout + done.stderr).strip().splitlines()
        says = f"nvidia-smi says: {said[0][:200]}" if said else f"nvidia-smi ends with exit code {done.returncode}"
    return "", f"{says}\n{REPAIR}, or {HIDE}"


def gpu_is_there(said: str = "", devices: Path = Path("/dev")) -> bool:
    """Whether the error of nvidia-smi or the device files show that there is an NVIDIA GPU."""
    return GPU_THERE.search(said) is not None or any(
        re.fullmatch(r"nvidia\d+", file.name) for file in devices.glob("*")
    )


def hides_all(visible: str | None) -> bool:
    """Whether a value of CUDA_VISIBLE_DEVICES hides all GPUs: an index below 0, or an empty text."""
    return visible is not None and (not visible.strip() or visible.strip().startswith("-"))


def visible_gpus(csv: str, visible: str | None, host_mb: int) -> tuple[Gpu, ...]:
    """Return the GPUs of `csv` that CUDA_VISIBLE_DEVICES names, in its order.

    As in CUDA: without the variable all GPUs are visible, with an empty one none; a UUID may be shortened, and the
    first missing entry ends the list.

    Args:
        csv: lines of index, UUID, name, total and used memory in units of 2^20 bytes, and perhaps MIG mode, compute
            capability and compute mode.
        visible: CUDA_VISIBLE_DEVICES; None if it is not set.
        host_mb: memory of a GPU without its own, for which nvidia-smi prints [N/A].

    Raises:
        PlacementError: a GPU is named twice, lost, closed to programs, or divided into MIG instances, or the variable
            names an instance.
    """
    rows = [[field.strip() for field in line.split(",")] for line in csv.splitlines()]
    rows = [row for row in rows if 5 <= len(row) <= 8]
    if visible is None:
        return tuple(_gpu(row, row[0], host_mb) for row in rows)
    chosen: list[list[str]] = []
    gpus: list[Gpu] = []
    for token in [part.strip() for part in visible.split(",")]:
        if token.startswith("MIG-"):
            raise PlacementError(
                f"CUDA_VISIBLE_DEVICES names {token}, a part of a GPU (MIG)\nname whole GPUs, or {HIDE}"
            )
        shortened = token.startswith("GPU-")
        found = [row for row in rows if (row[1].startswith(token) if shortened else row[0] == token)]
        if len(found) != 1:
            break
        if found[0] in chosen:
            raise PlacementError(
                f"CUDA_VISIBLE_DEVICES={visible} names GPU {found[0][0]} twice: CUDA then uses none\nname each GPU once"
            )
        chosen += found
        # vLLM wants the whole UUID.
        gpus.append(_gpu(found[0], found[0][1] if shortened else token, host_mb))
    return tuple(gpus)


def _gpu(row: Sequence[str], token: str, host_mb: int) -> Gpu:
    index, _, name, total, used, mig, capability, mode = (*row, "", "", "")[:8]
    others = f"or let CUDA_VISIBLE_DEVICES name the others, or {HIDE}"
    if not total.isdigit() and total not in NO_OWN_MEMORY:
        raise PlacementError(f"GPU {index} is lost: nvidia-smi says {total} of its memory\n{REPAIR}, {others}")
    if mig == "Enabled":
        raise PlacementError(
            f"GPU {index} ({name}) is divided into parts (MIG), which are not supported\n"
            f"take whole GPUs: nvidia-smi -i {index} -mig 0, {others}"
        )
    if mode == "Prohibited":
        raise PlacementError(
            f"GPU {index} ({name}) is closed to programs (compute mode Prohibited)\n"
            f"open it: nvidia-smi -i {index} -c 0, {others}"
        )
    memory = (_mb(int(total)), _mb(int(used)) if used.isdigit() else 0) if total.isdigit() else (host_mb, 0)
    able = not re.fullmatch(r"[0-7]\.\d+", capability)
    return Gpu(
        token, name.removeprefix("NVIDIA ").removeprefix("GeForce "), *memory, able, mode.startswith("Exclusive")
    )


class CgroupLimits(msgspec.Struct, frozen=True):
    """Limits of the control groups of a process; None: no limit."""

    cpus: float | None = None
    memory_mb: int | None = None
    free_mb: int | None = None


def cgroup_limits(membership: Path, root: Path) -> CgroupLimits:
    """Return the tightest limits of the groups of this process.

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
    return CgroupLimits(min(cpus, default=None), min(memory, default=None), max(0, min(free)) if free else None)


def cgroup_folders(membership: Path, root: Path) -> Iterator[Path]:
    """Yield the folders of the groups of this process, inner groups first.

    In a container a path may be that of the host, so some folders may be missing.
    """
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        for base in [root / controller for controller in controllers.split(",")]:
            own = base / path.lstrip("/")
            yield from [own, *own.parents][: len(own.parts) - len(base.parts) + 1]


def _in_use(group: Path) -> int:
    """Return the bytes of a group's processes without the page cache, which the kernel frees for others."""
    used = _text(group / "memory.current") or _text(group / "memory.usage_in_bytes")
    stat = dict(line.split() for line in _text(group / "memory.stat").splitlines())
    # Version 1 counts a group without its subgroups, and with them under names that begin with total.
    cached = [int(stat.get(f"total_{kind}") or stat.get(kind, "0")) for kind in ("active_file", "inactive_file")]
    return max(0, int(used or 0) - sum(cached))


def meminfo_mb(meminfo: str, name: str) -> int | None:
    """Return a value of /proc/meminfo, such as `MemAvailable`; None if it is missing."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 // MB if found else None


def computes_in_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has bfloat16 instructions; otherwise models compute in float32."""
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", _text(cpuinfo)) is not None


def _mb(mebibytes: int) -> int:
    return mebibytes * (1 << 20) // MB


def _text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""
