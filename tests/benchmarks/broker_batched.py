"""The broker's requests per CPU-second, many in a send, over those of `zmq.proxy`, which passes them one by one.

Batching adapts to the queue without a timer: a send carries what waits. So the second figure is what batching adds to
the round trip of a request while no other waits. See tests/benchmarks/broker_load.py for what is driven.
"""

import statistics
from typing import Any

from broker.protocol import BATCH
from tests.benchmarks.broker_load import BODY, Setup, compare, figures, ratios
from tests.benchmarks.broker_load import __doc__ as unlike

MANY = {
    "proxy, one by one": Setup("proxy", True, 1),
    "broker, batched": Setup("broker", True, BATCH, peers=BATCH),
    "proxy over ipc, one by one": Setup("proxy", False, 1),
    "broker over ipc, batched": Setup("broker", False, BATCH, peers=BATCH),
}
FEW = {
    "proxy, one request at a time": Setup("proxy", True, 1, window=1),
    "broker that does not batch, one request at a time": Setup("broker", True, 1, window=1),
    "broker that batches, one request at a time": Setup("broker", True, BATCH, peers=BATCH, window=1),
}


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks broker-batched` prints."""
    found = compare(3 if quick else 9, 2_000 if quick else 20_000, MANY)
    few = compare(3 if quick else 9, 100 if quick else 500, FEW)
    rounds = ratios(found, "broker, batched", "proxy, one by one")
    alone, batching = (few[f"broker that {does}, one request at a time"] for does in ("does not batch", "batches"))
    added = [b.round_trip_ms - a.round_trip_ms for a, b in zip(alone, batching, strict=True)]
    over_ipc = ratios(found, "broker over ipc, batched", "proxy over ipc, one by one")
    return {
        "name": "broker-batched",
        "ratio": statistics.median(rounds),
        "goal": 3.0,
        "better": "higher",
        "detail": {
            "what": "requests per CPU-second of the broker, many in a send, over those of zmq.proxy, one by one",
            "ratios": [round(one, 3) for one in rounds],
            "ratios over ipc": [round(one, 3) for one in over_ipc],
            "ms that batching adds to a round trip while the queue is short (goal: under 2)": [
                round(one, 3) for one in sorted(added)
            ],
            **figures({**found, **few}),
            "bytes of a request": len(BODY),
            "unlike": " ".join(str(unlike).split()),
        },
    }
