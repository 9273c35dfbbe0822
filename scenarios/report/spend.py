"""What agents have spent at servers, what these servers do not take, and which adapters vLLM merged.

All stand in files that the agents' processes keep in the run's folder: `spent-AGENT`, `server-AGENT`, and
`weights/DIGEST.merged`. Agents write them as it happens, so they say more than the last heartbeat of a class that was
killed.
"""

import contextlib
import math
from pathlib import Path

import msgspec

from broker.server_notes import MERGED, ServerNotes
from broker.server_notes import PREFIX as NOTES

PREFIX = "spent-"


def spent_in(folder: Path) -> dict[str, float]:
    """What each agent's process has spent in the run, all sessions together, in the currency of its prices.

    Processes that pay for nothing are missing, and so are those whose file holds no number.
    """
    found: dict[str, float] = {}
    for file in sorted(folder.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError, ValueError):
            if math.isfinite(spent := float(file.read_text())):
                found[file.name.removeprefix(PREFIX)] = spent
    return found


def server_notes_in(folder: Path) -> dict[str, ServerNotes]:
    """The notes of each process at a server; files that cannot be read are left out."""
    found: dict[str, ServerNotes] = {}
    for file in sorted(folder.glob(f"{NOTES}*")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found[file.name.removeprefix(NOTES)] = msgspec.json.decode(file.read_bytes(), type=ServerNotes)
    return found


def merged_in(folder: Path) -> dict[str, str]:
    """The dtype of the weights that an adapter was merged into, by the adapter's digest."""
    found: dict[str, str] = {}
    for file in sorted((folder / "weights").glob(f"*{MERGED}")):
        with contextlib.suppress(OSError):
            found[file.name.removesuffix(MERGED)] = file.read_text("utf-8", "replace")
    return found
