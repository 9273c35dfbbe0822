"""What agents have spent at servers, from the files `spent-AGENT` that their processes keep in the run's folder.

They are written with every call, and so know more than the last heartbeat of a class that was killed. Prices and
budgets are the agents' business.
"""

import math
from pathlib import Path

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
