"""The broker's requests per CPU-second over those of `zmq.proxy`, every message in a send of its own.

See tests/benchmarks/broker_load.py for what is driven, and for what is unlike.
"""

import statistics
from typing import Any

from broker.protocol import BATCH
from tests.benchmarks.broker_load import BODY, Setup, compare, figures, ratios
from tests.benchmarks.broker_load import __doc__ as unlike

SETUPS = {
    "proxy": Setup("proxy", True, 1),
    "broker": Setup("broker", True, 1),
    "broker as it is": Setup("broker", True, BATCH),
    "proxy over ipc": Setup("proxy", False, 1),
    "broker over ipc": Setup("broker", False, 1),
}


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks broker` prints."""
    found = compare(3 if quick else 9, 2_000 if quick else 10_000, SETUPS)
    rounds = ratios(found, "broker", "proxy")
    return {
        "name": "broker",
        "ratio": statistics.median(rounds),
        "goal": 0.3,
        "better": "higher",
        "detail": {
            "what": "requests per CPU-second of the broker over those of zmq.proxy, one by one, CURVE over tcp",
            "ratios": [round(one, 3) for one in rounds],
            "ratios of the broker as it is, whose sends carry all that waits": [
                round(one, 3) for one in ratios(found, "broker as it is", "proxy")
            ],
            "ratios over ipc": [round(one, 3) for one in ratios(found, "broker over ipc", "proxy over ipc")],
            **figures(found),
            "bytes of a request": len(BODY),
            "unlike": " ".join(str(unlike).split()),
        },
    }
