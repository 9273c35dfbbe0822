"""Describe how a process ended: exit code, signal, or killed by the kernel for lack of memory."""

import re
import signal
from pathlib import Path

from agents.placement.hardware import cgroup_folders

COUNTERS = ("memory.events", "memory.oom_control")
"""Counter files of control groups, versions 2 and 1."""


def oom_kills(
    membership: Path = Path("/proc/self/cgroup"),
    root: Path = Path("/sys/fs/cgroup"),
    vmstat: Path = Path("/proc/vmstat"),
) -> int | None:
    """Return how many processes the kernel has killed for lack of memory; None if it does not say.

    Counts for this process's control group, or for the machine if no group counts them.
    """
    counters = [folder / name for folder in cgroup_folders(membership, root) for name in COUNTERS]
    for file in [*counters, vmstat]:
        try:
            found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return None


def describe_exit(code: int, kills_before: int | None) -> str:
    """Describe the end of a process that this program did not kill.

    Args:
        code: `Popen.returncode`; a negative number is a signal.
        kills_before: `oom_kills()` before the process ended.
    """
    if code >= 0:
        return f"exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    how = f"signal {-code} ({known.get(-code, 'unknown')})"
    if code != -signal.SIGKILL:
        return how
    kills = oom_kills()
    if kills is None or kills_before is None:
        return f"{how}, not from this program: the kernel may have run out of memory"
    if kills > kills_before:
        return f"{how}: out of memory, the kernel killed it"
    return f"{how}, killed by another program and not for lack of memory"
