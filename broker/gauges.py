"""Receive the broker's gauges: always the newest, older ones are skipped."""

import logging
import math
from pathlib import Path
from typing import Self

import zmq

from broker import auth
from broker.endpoints import set_family
from broker.members import MONITOR
from broker.protocol import MAX_BODY, Gauges, WireError, decode

log = logging.getLogger("gauges")


class Subscriber:
    """Reads the broker's gauges.

    Args:
        endpoint: of the gauges, see `broker.endpoints`.
        keys: folder with the CURVE keys of the broker and of `name`; None: no encryption.
        name: of the key to use.
    """

    def __init__(self, endpoint: str, keys: Path | None = None, name: str = MONITOR) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.conflate = True
        self._socket.maxmsgsize = MAX_BODY + 1024
        if keys is not None:
            auth.secure_client(self._socket, keys, name)
        set_family(self._socket, endpoint)
        self._socket.subscribe(b"")
        self._socket.connect(endpoint)

    def latest(self, timeout: float = 0.0) -> Gauges | None:
        """The newest gauges that were not returned yet; None: none came within `timeout` seconds."""
        if not self._socket.poll(math.ceil(timeout * 1000)):
            return None
        try:
            gauges = decode("Gauges", self._socket.recv(zmq.NOBLOCK))
        except WireError as error:
            log.warning("dropped: %s", error)
            return None
        return gauges if isinstance(gauges, Gauges) else None

    def close(self) -> None:
        """Close the socket."""
        self._context.destroy(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
