"""The ZAP handler of the broker: it decides which CURVE keys may connect. It imports asyncio, which only tcp needs."""

from collections.abc import Callable
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from broker.auth import GAUGES, MESSAGES, READERS, allow_list
from broker.errors import SecurityError


class KeyFolderAuthenticator(ThreadAuthenticator):
    """ZAP handler (ZeroMQ RFC 27) that accepts the keys in a folder; a connection's user id is its public key.

    Args:
        context: of the server's sockets.
        folder: read anew for each connection, since keys may be added while a class runs.
        refused: called in the handler's thread with the reason for each refused connection.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", folder: Path, refused: Callable[[str], None]) -> None:
        super().__init__(context)
        self._folder = folder
        self._refused = refused
        self._names: dict[bytes, str] = {}
        for domain in (MESSAGES, GAUGES):
            self.configure_curve_callback(domain, self)

    async def handle_zap_message(self, msg: list[bytes]) -> None:
        """Answer one ZAP request. Mechanisms other than CURVE are refused; the base class would accept NULL."""
        if len(msg) < 7 or msg[5] != b"CURVE":
            msg = [*msg[:5], b"refused"]
        elif not self._is_allowed(msg[6]):
            self._refused(f"refused a connection from {msg[3].decode(errors='replace')}: unknown key")
        await super().handle_zap_message(msg)

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a public key is accepted; called by the base class."""
        return key in self._names and (domain != GAUGES or self._names[key] in READERS)

    def _is_allowed(self, key: bytes) -> bool:
        try:
            self._names = allow_list(self._folder)
        except SecurityError as error:
            self._refused(f"rejecting all connections: {error}")
            self._names = {}
        return z85.encode(key) in self._names
