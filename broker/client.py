"""A peer's end of the wire: a thread that owns the socket, and calls that are safe from any other.

What must be remembered, held back and said again is broker/delivery.py; this file moves bytes, keeps the
heartbeat, and wakes whoever waits. Gauges are read with broker/gauges.py, whose `Subscriber` is at hand here too.
"""

import logging
import math
import os
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from broker import auth, batching
from broker.delivery import DeliverySession, Received
from broker.errors import ProtocolError
from broker.protocol import (
    MAX_BODY,
    AgentState,
    Envelope,
    Goodbye,
    Hello,
    Welcome,
    WireError,
    envelope,
    from_frames,
    to_frames,
)
from broker.work_messages import Message

log = logging.getLogger("client")

GREET_EVERY_S = 1.0
"""How often Hello is said again to a broker that does not answer."""
FLUSH_S = 2.0
"""How long `close` waits for what is still to be sent."""
LINGER_MS = 500
HOST_BEAT_MS = 5000
HOST_GONE_MS = 30_000
READS = 256
"""Multipart messages read before anything else is looked at."""
MONITORED = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH


class ClientError(ProtocolError):
    """The client cannot go on, or was closed, or holds as much unsent as it may."""


class Client:
    """The connection of one peer. Messages that are sent before the broker is there wait for it.

    Args:
        endpoint: of the broker, see `security.endpoints`.
        hello: who this peer is; state and credit are those of the start, `beat` changes them.
        keys: folder with the CURVE keys of the broker and of `hello.name`; None: no encryption.
        queue: how many messages may wait, in each direction.
    """

    def __init__(self, endpoint: str, hello: Hello, *, keys: Path | None = None, queue: int = 1 << 16) -> None:
        self.endpoint = endpoint
        self._keys = keys
        self._queue = queue
        self._session = DeliverySession(hello)
        self._inbox: deque[Received] = deque()
        # Guards the session, the inbox and the flags; notified when any of them may interest a waiting caller.
        self._changed = threading.Condition()
        self._heard = 0
        self._connected = False
        """Else nothing is sent: it stays here, where it can be counted, ordered and said again.

        ZMQ_IMMEDIATE would do the same, but libzmq 4.3 then aborts the process when the broker dies while it is read.
        """
        self._beat_now = False
        self._closing = False
        self._goodbye = ""
        self._error: Exception | None = None
        self._woken = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._thread = threading.Thread(target=self._run, name=f"client-{hello.name}", daemon=True)

    def start(self) -> None:
        """Begin to say Hello, and go on until the broker answers.

        Raises:
            SecurityError: keys are missing or open to others.
            OSError: this process may open no more files.
        """
        try:
            self._connect()
        except zmq.ZMQError as error:
            self.close()
            raise OSError(error.errno, error.strerror) from error
        except BaseException:
            self.close()
            raise
        self._thread.start()

    def _connect(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        name = self._session.hello.name
        self._socket.identity = f"{name}-{secrets.token_hex(16)}".encode()
        self._socket.linger = LINGER_MS
        self._socket.maxmsgsize = MAX_BODY + 1024
        self._socket.reconnect_ivl_max = 1000
        if self.endpoint.startswith("tcp://"):
            # ZeroMQ's own heartbeats find a host that is gone. They would also close the connection to a broker that is
            # only starved, so it gets half a minute; over ipc a process that ends closes its connections by itself.
            self._socket.heartbeat_ivl = HOST_BEAT_MS
            self._socket.heartbeat_timeout = HOST_GONE_MS
        if self._keys is not None:
            auth.secure_client(self._socket, self._keys, name)
        auth.set_family(self._socket, self.endpoint)
        self._monitor = self._socket.get_monitor_socket(MONITORED)
        self._socket.connect(self.endpoint)

    def close(self, goodbye: str = "") -> None:
        """Send what waits and Goodbye, if the broker is there; at most some seconds. Safe to call twice."""
        with self._changed:
            first, self._closing = not self._closing, True
            self._goodbye = self._goodbye or goodbye
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._wake()
            self._thread.join()
        if first:
            self._context.destroy(LINGER_MS)
            self._wake_reader.close()
            self._wake_writer.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close(repr(error)[:200] if error else "")

    @property
    def working(self) -> set[str]:
        """What the owner works on, for Hello; work that `receive` handed out counts in any case."""
        return self._session.working

    @working.setter
    def working(self, request_ids: Iterable[str]) -> None:
        self._session.working = set(request_ids)

    @property
    def welcome(self) -> Welcome | None:
        """What the broker said last to our Hello; None: nothing yet."""
        return self._session.welcome

    @property
    def unsettled(self) -> int:
        """How many kept messages are not settled."""
        return len(self._session.kept)

    @property
    def dropped(self) -> int:
        """How many messages came that could not be read."""
        return self._session.dropped

    @property
    def heard(self) -> int:
        """How many messages have come from the broker."""
        return self._heard

    @property
    def missing_socket(self) -> str:
        """The path of the broker's socket, if this peer is connected over it and the file is gone; else empty."""
        path = self.endpoint.removeprefix("ipc://")
        gone = self.endpoint.startswith("ipc://") and self._session.greeted and not os.path.exists(path)
        return path if gone else ""

    def wait_welcome(self, timeout: float | None = None) -> Welcome | None:
        """Wait until the broker knows us; None: it did not answer in time."""
        return self.welcome if self._wait(lambda: self._session.greeted, timeout) else None

    def wait_settled(self, timeout: float | None = None) -> bool:
        """Wait until nothing kept is left; False: it did not come to that in time."""
        return self._wait(lambda: not self._session.kept, timeout)

    def send(
        self, message: Message, *, to: str = "", request_id: str = "", affinity: str = "", keep: bool = False
    ) -> None:
        """Send a message, now or when the broker is there.

        Args:
            message: what to say.
            to: the pool it is for (requests), or pool or agent (feedback); empty for anything else.
            request_id: of the request, also when this is its result.
            affinity: requests of one affinity share a long prompt prefix.
            keep: say it again to every broker that may not know it, until it is settled: for a request by its
                result, for a result by the classroom's acknowledgement, and for either by `settle`.

        Raises:
            WireError: it is too large.
            ClientError: the client is closed or broken, or too much waits already.
        """
        ready = envelope(message, peer=to, request_id=request_id, affinity=affinity)
        with self._changed:
            self._check()
            if len(self._session.outbox) >= self._queue:
                raise ClientError(f"{self._queue} messages wait for the broker at {self.endpoint}: is it there?")
            self._session.post(ready, keep=keep)
        self._wake()

    def settle(self, request_ids: Collection[str]) -> None:
        """Forget kept messages."""
        with self._changed:
            self._session.settle(request_ids)
            self._changed.notify_all()

    def receive(self, timeout: float | None = None) -> list[Received]:
        """All that came, once there is anything; nothing at the timeout, or when the client is closed.

        Raises:
            ClientError: its thread broke.
        """
        self._wait(lambda: self._inbox, timeout)
        with self._changed:
            full = len(self._inbox) >= self._queue
            received = list(self._inbox)
            self._inbox.clear()
            if not received and self._error:
                self._check()
        if full:
            self._wake()
        return received

    def beat(
        self,
        state: AgentState | None = None,
        credit: int | None = None,
        progress: Collection[str] = (),
        completion_tokens: int = 0,
        prompt_tokens: int = 0,
        cached_tokens: int = 0,
        spent: float | None = None,
    ) -> None:
        """Note figures for the next heartbeat, which is sent at once if state or credit changed.

        Args:
            state: None: as it was.
            credit: how many requests this peer takes at once; None: as it was.
            progress: ids of requests that moved on.
            completion_tokens: since the last call; likewise the other two.
            prompt_tokens: see there.
            cached_tokens: see there.
            spent: in this run, in all; None: as it was.
        """
        with self._changed:
            self._session.count(progress, completion_tokens, prompt_tokens, cached_tokens)
            if spent is not None:
                self._session.spent = spent
            changed = self._session.change(state, credit)
            self._beat_now |= changed
        if changed:
            self._wake()

    # --- any thread -------------------------------------------------------------------------------------

    def _wait(self, reached: Callable[[], object], timeout: float | None) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: reached() or self._closing or self._error, timeout)
            return bool(reached())

    def _check(self) -> None:
        if self._error:
            raise ClientError(f"the connection to {self.endpoint} broke: {self._error!r}") from self._error
        if self._closing:
            raise ClientError(f"the connection to {self.endpoint} is closed")

    def _wake(self) -> None:
        if not self._woken and self._wake_writer.fileno() >= 0:
            self._woken = True
            self._wake_writer.send(b"!")

    # --- the client's own thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._converse()
        except Exception as error:
            log.exception("the client's thread ends")
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            self._socket.disable_monitor()
            self._monitor.close()
            self._socket.close()

    def _converse(self) -> None:
        poller = zmq.Poller()
        poller.register(self._monitor, zmq.POLLIN)
        wake = self._wake_reader.fileno()
        poller.register(wake, zmq.POLLIN)
        self._greet_at = self._beat_at = time.monotonic()
        give_up_at: float | None = None
        while True:
            with self._changed:
                blocked = not self._say_all()
                if self._closing:
                    give_up_at = give_up_at or time.monotonic() + FLUSH_S
                    if not blocked or not self._session.greeted or time.monotonic() > give_up_at:
                        break
                full = len(self._inbox) >= self._queue
                due_at = self._beat_at if self._session.greeted else self._greet_at
            flags = (0 if full else zmq.POLLIN) | (zmq.POLLOUT if blocked and self._connected else 0)
            poller.register(self._socket, flags)
            until = min(due_at, give_up_at or due_at)
            events = dict(poller.poll(math.ceil(1000 * max(0.0, until - time.monotonic()))))
            if wake in events:
                self._woken = False
                self._wake_reader.recv(4096)
            if self._monitor in events:
                self._hear_of_connection()
            if events.get(self._socket, 0) & zmq.POLLIN:
                self._hear()
        self._try_to_send([envelope(Goodbye(reason=self._goodbye[:500]))])

    def _say_all(self) -> bool:
        """Say what is due; False: the connection takes no more now."""
        session, now = self._session, time.monotonic()
        if session.greet_now or (not session.greeted and now >= self._greet_at):
            if not self._try_to_send([session.greeting()]):
                session.greet_now = True
                self._greet_at = now + GREET_EVERY_S
                return False
            self._greet_at = now + GREET_EVERY_S
        if not session.greeted or session.welcome is None:
            return True
        if self._beat_now or now >= self._beat_at:
            self._beat_at = now + session.welcome.heartbeat_s
            self._beat_now = not self._try_to_send([session.heartbeat(memory_mb())])
            if not self._beat_now:
                session.beaten()
        while batch := batching.first(session.outbox):
            if not self._try_to_send(batch):
                return False
            batching.drop(session.outbox, len(batch))
        return not self._beat_now

    def _try_to_send(self, envelopes: list[Envelope]) -> bool:
        if not self._connected:
            return False
        try:
            batching.send(self._socket, to_frames(envelopes))
        except zmq.Again:
            return False
        return True

    def _hear(self) -> None:
        came: list[Envelope] = []
        unreadable = 0
        for _ in range(READS):
            try:
                came += from_frames([frame.bytes for frame in batching.receive(self._socket)])
            except zmq.Again:
                break
            except WireError as error:
                log.warning("dropped: %s", error)
                unreadable += 1
        with self._changed:
            self._heard += len(came)
            self._session.dropped += unreadable
            self._inbox += filter(None, map(self._session.take, came))
            self._changed.notify_all()

    def _hear_of_connection(self) -> None:
        event = int.from_bytes(self._monitor.recv_multipart()[0][:2], sys.byteorder)
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            log.error("the broker at %s does not know the key of %s", self.endpoint, self._session.hello.name)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._connected = True
        elif event == zmq.EVENT_DISCONNECTED:
            self._connected = False
            with self._changed:
                self._session.lost_connection()


def memory_mb() -> float:
    """Resident memory of this process, in MB; 0 where the system does not say it in /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
