"""A peer's DEALER socket: it connects to the broker, sends without waiting, and notices when the connection breaks."""

import logging
import secrets
import sys
from pathlib import Path

import zmq

from broker import auth, batching
from broker.endpoints import set_family
from broker.protocol import MAX_BODY, Envelope, WireError, from_frames, pack

log = logging.getLogger("client")

LINGER_MS = 500
HOST_BEAT_MS = 5000
HOST_GONE_MS = 30_000
READS = 256
"""Multipart messages read at once."""
MONITORED = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH


class PeerSocket:
    """The socket, and the monitor socket that reports its connection.

    Args:
        context: owns the sockets.
        endpoint: of the broker.
        name: of the peer.
        keys: folder with the CURVE keys of the broker and of the peer, or an invitation; None: no encryption.

    Raises:
        SecurityError: keys are missing or open to others.
        zmq.ZMQError: this process may open no more files.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, name: str, keys: Path | None) -> None:
        self._endpoint = endpoint
        self._name = name
        self.connected = False
        """Nothing is sent while this is false: the owner keeps it, can count it, and sends it again.

        ZMQ_IMMEDIATE would do the same, but libzmq 4.3 then aborts the process when the broker dies while it is read.
        """
        self.rejected = False
        """Whether the broker refused the key at the last attempt to connect."""
        self.data = context.socket(zmq.DEALER)
        self.data.identity = f"{name}-{secrets.token_hex(16)}".encode()
        self.data.linger = LINGER_MS
        self.data.maxmsgsize = MAX_BODY + 1024
        self.data.reconnect_ivl_max = 1000
        if endpoint.startswith("tcp://"):
            # ZeroMQ's heartbeats find a host that is gone. They would also close the connection to a broker that is
            # only starved, so the timeout is long; over ipc a process that ends closes its connections anyway.
            self.data.heartbeat_ivl = HOST_BEAT_MS
            self.data.heartbeat_timeout = HOST_GONE_MS
        if keys is not None:
            auth.secure_client(self.data, keys, name)
        set_family(self.data, endpoint)
        self.monitor = self.data.get_monitor_socket(MONITORED)
        self.data.connect(endpoint)

    def try_to_send(self, envelopes: list[Envelope]) -> bool:
        """Send envelopes in one multipart message. Returns whether there was room for it."""
        if not self.connected:
            return False
        try:
            batching.send(self.data, pack(envelopes))
        except zmq.Again:
            return False
        return True

    def receive(self) -> tuple[list[Envelope], int]:
        """What has come, and how many messages of it could not be read."""
        received: list[Envelope] = []
        unreadable = 0
        for _ in range(READS):
            try:
                received += from_frames(batching.receive(self.data)[1])
            except zmq.Again:
                break
            except WireError as error:
                log.warning("dropped: %s", error)
                unreadable += 1
        return received, unreadable

    def read_monitor(self) -> bool:
        """Read one report about the connection. Returns whether the connection broke."""
        event = int.from_bytes(self.monitor.recv_multipart()[0][:2], sys.byteorder)
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            log.error("the broker at %s does not know the key of %s", self._endpoint, self._name)
            self.rejected = True
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.connected, self.rejected = True, False
        elif event == zmq.EVENT_DISCONNECTED:
            self.connected = False
            return True
        return False

    def close(self) -> None:
        """Close the sockets; what was sent may still leave for a moment."""
        self.data.disable_monitor()
        self.monitor.close()
        self.data.close()
