"""What agents have spent at servers, what these servers do not take, and which adapters vLLM merged.

All stand in files that the agents' processes keep in the run's folder: `spent-AGENT`, `server-AGENT`, and
`weights/DIGEST.merged`. Agents write them as it happens, so they say more than the last heartbeat of a class that was
killed.
"""

import contextlib
import math
from pathlib import Path

import msgspec

from broker.agent_notes import MERGED_SUFFIX, SERVER_PREFIX, SPENT_PREFIX, ServerNotes


def spent_in(folder: Path) -> dict[str, float]:
    """What each agent's process has spent in the run, all sessions together, in the currency of its prices.

    Processes that pay for nothing are missing, and so are those whose file holds no number.
    """
    found: dict[str, float] = {}
    for file in sorted(folder.glob(f"{SPENT_PREFIX}*")):
        with contextlib.suppress(OSError, ValueError):
            if math.isfinite(spent := float(file.read_text())):
                found[file.name.removeprefix(SPENT_PREFIX)] = spent
    return found


def server_notes_in(folder: Path) -> dict[str, ServerNotes]:
    """The notes of each process at a server; files that cannot be read are left out."""
    found: dict[str, ServerNotes] = {}
    for file in sorted(folder.glob(f"{SERVER_PREFIX}*")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found[file.name.removeprefix(SERVER_PREFIX)] = msgspec.json.decode(file.read_bytes(), type=ServerNotes)
    return found


def merged_in(folder: Path) -> dict[str, str]:
    """The dtype of the weights that an adapter was merged into, by the adapter's digest."""
    found: dict[str, str] = {}
    for file in sorted((folder / "weights").glob(f"*{MERGED_SUFFIX}")):
        with contextlib.suppress(OSError):
            found[file.name.removesuffix(MERGED_SUFFIX)] = file.read_text("utf-8", "replace")
    return found
