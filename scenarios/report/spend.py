"""What agents have spent at servers, and what these servers do not take.

Both stand in files that the agents' processes keep in the run's folder: `spent-AGENT` and `server-AGENT`. Agents write
them with every call, so they say more than the last heartbeat of a class that was killed.
"""

import contextlib
import math
from pathlib import Path

import msgspec

from broker.server_notes import PREFIX as NOTES
from broker.server_notes import ServerNotes

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
