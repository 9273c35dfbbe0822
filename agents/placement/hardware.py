"""What this machine has: cores, memory and GPUs, as far as this process may use them. MB are 10^6 bytes.

Read from the kernel and from nvidia-smi, never from torch: an agent must see its own CUDA_VISIBLE_DEVICES before
torch does. Who sits where is decided in `agents/placement/seats.py`.
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
"""Of the machine's memory: an agent may take a fifth more than planned, and files want some of it as their cache."""
MARGIN_MB = 1000
"""At least: run.py and the broker take up to 300 MB, and other programs grow."""
ANSWER_S = 60
"""How long nvidia-smi may take: with many GPUs, and none of them in use, it does not answer at once."""
BAD_INFOROM = 14
"""Exit code of nvidia-smi where it answers, and warns of a GPU's own records: such a GPU computes."""
NO_OWN_MEMORY = ("[N/A]", "N/A", "[Not Supported]")
"""What nvidia-smi says of the memory of a GPU that shares that of the machine."""
GPU_THERE = re.compile(
    r"GPU is lost|fallen off|device handle|version mismatch|Unknown Error|insufficient permissions", re.I
)
"""In what nvidia-smi says where it fails although there is a GPU. `No devices were found` may mean just that."""
REPAIR = "repair the driver or restart the machine"
HIDE = "set CUDA_VISIBLE_DEVICES= (empty) to compute on the CPU"


class Gpu(msgspec.Struct, frozen=True):
    """One GPU this process may use."""

    token: str
    """What CUDA_VISIBLE_DEVICES calls it: an index of the machine, or a UUID."""
    name: str
    memory_mb: int
    used_mb: int = 0
    """By other processes."""
    bfloat16: bool = True
    """Whether it computes in bfloat16: of NVIDIA's GPUs those since compute capability 8.0."""


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
    gpu_trouble: str = ""
    """Why its GPUs cannot be used, and what to do; then `gpus` is empty. Empty: they can, or there are none."""
    gpu_expected: bool = False
    """Whether that is surely a trouble: a driver without a GPU fails, too."""

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

    def dtype(self, tokens: Sequence[str]) -> str:
        """The dtype that torch is best at on these GPUs; without any, on the CPU."""
        if not tokens:
            return "bfloat16" if self.bfloat16 else "float32"
        able = not self.mps and all(gpu.bfloat16 for gpu in self.gpus if gpu.token in tokens)
        return "bfloat16" if able else "float16"


def look() -> Machine:
    """The machine this process runs on, within its CUDA_VISIBLE_DEVICES, CPU affinity and container."""
    cores = tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else tuple(range(os.cpu_count() or 1))
    limits = cgroup_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    cpus = limits.cpus
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
        parallel=max(1, int(cpus)) if cpus and cpus < len(cores) else 0,
        free_mb=min(free, default=None),
        swap_mb=(meminfo_mb(meminfo, "SwapFree") or 0) if limits.memory_mb is None else 0,
        bfloat16=computes_in_bfloat16(),
        gpu_trouble=trouble,
        gpu_expected=bool(trouble) and (bool(csv) or gpu_is_there(trouble)),
    )


def described(entries: Sequence[str]) -> Machine:
    """A machine that is not here, for planning: `gpus=8x80` or `gpus=24,80` (GB each), `cores=64`, `memory=512` (GB).

    What is not said is as on this machine; a described machine has only the GPUs that are described.

    Raises:
        PlacementError: an entry that says none of these.
    """
    machine = msgspec.structs.replace(
        look(), gpus=(), mps=False, free_mb=None, swap_mb=0, gpu_trouble="", gpu_expected=False
    )
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


def nvidia_smi() -> tuple[str, str]:
    """One line per GPU of the machine, as `visible_gpus` reads them; and why there is none, where that is a failure."""
    fields = "index,uuid,name,memory.total,memory.used,mig.mode.current,compute_cap"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except FileNotFoundError:
        if not gpu_is_there():
            return "", ""
        says = "nvidia-smi is not installed (a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
    except subprocess.TimeoutExpired:
        says = f"nvidia-smi does not answer within {ANSWER_S} s"
    except OSError as error:
        says = f"nvidia-smi cannot be run: {error.strerror}"
    else:
        if done.returncode in (0, BAD_INFOROM):
            return done.stdout, ""
        said = (done.stdout + done.stderr).strip().splitlines()
        says = f"nvidia-smi says: {said[0][:200]}" if said else f"nvidia-smi ends with exit code {done.returncode}"
    return "", f"{says}\n{REPAIR}, or {HIDE}"


def gpu_is_there(said: str = "", devices: Path = Path("/dev")) -> bool:
    """Whether this machine has an NVIDIA GPU though nvidia-smi lists none: by what it says, or by the device files."""
    return GPU_THERE.search(said) is not None or any(
        re.fullmatch(r"nvidia\d+", file.name) for file in devices.glob("*")
    )


def hides_all(visible: str | None) -> bool:
    """Whether this CUDA_VISIBLE_DEVICES hides all GPUs: an index below 0, or no text at all."""
    return visible is not None and (not visible.strip() or visible.strip().startswith("-"))


def visible_gpus(csv: str, visible: str | None, host_mb: int) -> tuple[Gpu, ...]:
    """The GPUs of `csv` that CUDA_VISIBLE_DEVICES lets this process use, in its order.

    As in CUDA: no variable is all of them, an empty one none, a UUID may be shortened, and the first entry that is
    not there ends the list.

    Args:
        csv: lines of index, UUID, name, total and used memory in units of 2^20 bytes, and perhaps MIG mode and compute
            capability.
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.
        host_mb: stands for the memory of a GPU that has none of its own, where nvidia-smi says [N/A].

    Raises:
        PlacementError: one of them is named twice, or is lost or divided into MIG instances; or the variable names such
            an instance.
    """
    rows = [[field.strip() for field in line.split(",")] for line in csv.splitlines()]
    rows = [row for row in rows if 5 <= len(row) <= 7]
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
        gpus.append(_gpu(found[0], token, host_mb))
    return tuple(gpus)


def _gpu(row: Sequence[str], token: str, host_mb: int) -> Gpu:
    index, _, name, total, used, mig, capability = (*row, "", "")[:7]
    others = f"or let CUDA_VISIBLE_DEVICES name the others, or {HIDE}"
    if not total.isdigit() and total not in NO_OWN_MEMORY:
        raise PlacementError(f"GPU {index} is lost: nvidia-smi says {total} of its memory\n{REPAIR}, {others}")
    if mig == "Enabled":
        raise PlacementError(
            f"GPU {index} ({name}) is divided into parts (MIG), which are not supported\n"
            f"take whole GPUs: nvidia-smi -i {index} -mig 0, {others}"
        )
    memory = (_mb(int(total)), _mb(int(used)) if used.isdigit() else 0) if total.isdigit() else (host_mb, 0)
    able = not re.fullmatch(r"[0-7]\.\d+", capability)
    return Gpu(token, name.removeprefix("NVIDIA ").removeprefix("GeForce "), *memory, bfloat16=able)


class CgroupLimits(msgspec.Struct, frozen=True):
    """What control groups leave a process; None: they set no limit."""

    cpus: float | None = None
    memory_mb: int | None = None
    free_mb: int | None = None


def cgroup_limits(membership: Path, root: Path) -> CgroupLimits:
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
    return CgroupLimits(min(cpus, default=None), min(memory, default=None), max(0, min(free)) if free else None)


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
