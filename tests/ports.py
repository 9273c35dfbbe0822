"""Ports of this machine for tests whose servers must know theirs before they start."""

import itertools
import os
import socket

FIRST, PAIRS, WORKERS = 20_000, 6_000, 16
"""Below the ports that systems give to connections and to servers that ask for any: nothing takes one of these before
the server that it is chosen for."""
_numbers = itertools.count(os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid())
"""Another run of the tests on this machine begins elsewhere."""


def free_port() -> int:
    """Return a port that nothing uses, with a free one after it. Each process of pytest-xdist has ports of its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for _ in range(PAIRS // WORKERS):
        port = FIRST + 2 * ((WORKERS * next(_numbers) + worker % WORKERS) % PAIRS)
        if _is_free(port) and _is_free(port + 1):
            return port
    raise AssertionError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("", port))
        except OSError:
            return False
    return True
