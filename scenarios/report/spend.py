"""What agents have spent at servers, and what these do not take.

Both stand in files that the agents' processes keep in the run's folder: `spent-AGENT` and `server-AGENT`. They are
written with every call, and so know more than the last heartbeat of a class that was killed. Prices and budgets are
the agents' business.
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

    Who pays for nothing is missing; so is whose file holds no number, for which the agent refuses to start.
    """
    found: dict[str, float] = {}
    for file in sorted(folder.glob(f"{PREFIX}*")):
        name = file.name.removeprefix(PREFIX)
        # One that is being written is not there yet.
        if name.endswith(".new"):
            continue
        try:
            spent = float(file.read_text())
        except (OSError, ValueError):
            continue
        if math.isfinite(spent):
            found[name] = spent
    return found


def server_notes_in(folder: Path) -> dict[str, ServerNotes]:
    """What each process at a server noted of it; a file that cannot be read counts as none."""
    found: dict[str, ServerNotes] = {}
    for file in sorted(folder.glob(f"{NOTES}*")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            if file.suffix != ".new":
                found[file.name.removeprefix(NOTES)] = msgspec.json.decode(file.read_bytes(), type=ServerNotes)
    return found
