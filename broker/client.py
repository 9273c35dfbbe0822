"""A peer's connection to the broker: a thread that owns the socket, and methods that are safe to call from any thread.

The thread says Hello, sends heartbeats and moves messages. What is kept, held back and sent again is decided in
broker/delivery.py; the socket is in broker/peer_socket.py.
"""

import logging
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from broker import batching
from broker.delivery import DeliverySession, Received
from broker.errors import ProtocolError
from broker.peer_socket import LINGER_MS, PeerSocket
from broker.processes import memory_mb
from broker.protocol import AgentState, Goodbye, Hello, Welcome, envelope
from broker.work_messages import Message

log = logging.getLogger("client")

GREET_EVERY_S = 1.0
"""Time between two Hellos to a broker that does not answer."""
REJECTED_S = 5.0
"""How long a broker may refuse the key of an agent of another host before the agent ends."""
FLUSH_S = 2.0
"""How long `close` waits for unsent messages to leave."""
BUSY_S, GATHER_S = 0.01, 0.001
"""A message that comes so soon after the last one waits for so long, so that several share one send."""


class ClientError(ProtocolError):
    """The client broke, was closed, or holds as many unsent messages as it may."""


class Client:
    """The connection of one peer. Messages that are sent before the broker runs wait for it.

    Args:
        endpoint: of the broker, see `broker.endpoints`.
        hello: who this peer is, with its first state and credit; `beat` changes them.
        keys: folder with the CURVE keys of the broker and of `hello.name`, or an invitation; None: no encryption.
        queue: how many messages may wait, in each direction.
    """

    def __init__(self, endpoint: str, hello: Hello, *, keys: Path | None = None, queue: int = 1 << 16) -> None:
        self.endpoint = endpoint
        self._keys = keys
        self._queue = queue
        self._session = DeliverySession(hello)
        self._inbox: deque[Received] = deque()
        # Guards the session, the inbox and the flags; notified when any of them changes in a way a caller may wait for.
        self._changed = threading.Condition()
        self._heard = 0
        self._greeted_at = time.monotonic()
        """When the broker was last seen to know this peer; at first, when the client was made."""
        self._beat_now = False
        self._closing = False
        self._goodbye = ""
        self._error: Exception | None = None
        self._woken = False
        self._notify: Callable[[], None] = lambda: None
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._thread = threading.Thread(target=self._run, name=f"client-{hello.name}", daemon=True)

    def start(self) -> None:
        """Start the thread, which says Hello until the broker answers.

        Raises:
            SecurityError: keys are missing or open to others.
            OSError: this process may open no more files.
        """
        try:
            self._socket = PeerSocket(self._context, self.endpoint, self._session.hello.name, self._keys)
        except zmq.ZMQError as error:
            self.close()
            raise OSError(error.errno, error.strerror) from error
        except BaseException:
            self.close()
            raise
        self._thread.start()

    def close(self, goodbye: str = "") -> None:
        """Send what waits and Goodbye, if the broker runs; it takes a few seconds at most. Safe to call twice."""
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
        """Ids of requests that the owner works on, for Hello; those that `receive` returned are included anyway."""
        return self._session.working

    @property
    def waiting(self) -> set[str]:
        """Those of `working` that the engine has not begun: they count as progressing while any request does."""
        return self._session.waiting

    @property
    def welcome(self) -> Welcome | None:
        """The last Welcome; None: none has come yet."""
        return self._session.welcome

    @property
    def dropped(self) -> int:
        """How many received messages could not be read."""
        return self._session.dropped

    @property
    def heard(self) -> int:
        """How many messages the broker has sent."""
        return self._heard

    def why_give_up(self, patience_s: float) -> str:
        """Why this peer, which joined by an invitation, should wait for the broker no longer; empty: it should wait.

        Args:
            patience_s: how long a broker may be missing; one that refuses the key may do so for REJECTED_S.
        """
        alone_s = 0.0 if self._session.greeted else time.monotonic() - self._greeted_at
        if self._socket.rejected and alone_s > REJECTED_S:
            return (
                f"the broker at {self.endpoint} does not accept the key of {self._session.hello.name}: it was revoked. "
                "Ask for a new invitation."
            )
        if alone_s > patience_s:
            return f"the broker at {self.endpoint} has not answered for {patience_s:g} s: has the class ended?"
        return ""

    @property
    def missing_socket(self) -> str:
        """The path of the broker's ipc socket, if this peer is connected and the file was removed; else empty."""
        path = self.endpoint.removeprefix("ipc://")
        gone = self.endpoint.startswith("ipc://") and self._session.greeted and not os.path.exists(path)
        return path if gone else ""

    def wait_welcome(self, timeout: float | None = None) -> Welcome | None:
        """Wait for the broker's Welcome; None: it did not answer in time."""
        return self.welcome if self._wait(lambda: self._session.greeted, timeout) else None

    def send(
        self, message: Message, *, to: str = "", request_id: str = "", affinity: str = "", keep: bool = False
    ) -> None:
        """Send a message, now or when the broker answers.

        Args:
            message: to be sent.
            to: the pool of a request, or the pool or agent of feedback; empty for anything else.
            request_id: of the request, also for its result.
            affinity: requests of one affinity share a long prompt prefix.
            keep: send it again to every broker that may not know it, until it is settled: a request by its result,
                a result by the classroom's acknowledgement, either by `settle`.

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
        """Wait for messages and return all that have come; none after the timeout, or when the client is closed.

        Raises:
            ClientError: the thread broke.
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

    def on_receive(self, notify: Callable[[], None]) -> None:
        """Call `notify`, from the client's thread, whenever `receive` has something to return."""
        self._notify = notify

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
            credit: how many requests this peer accepts at once; None: as it was.
            progress: ids of requests that made progress.
            completion_tokens: since the last call.
            prompt_tokens: since the last call.
            cached_tokens: since the last call.
            spent: total of this run; None: as it was.
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
            self._serve()
        except Exception as error:
            log.exception("the client's thread ends")
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            self._socket.close()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket.monitor, zmq.POLLIN)
        wake = self._wake_reader.fileno()
        poller.register(wake, zmq.POLLIN)
        self._greet_at = self._beat_at = woke_at = time.monotonic()
        give_up_at: float | None = None
        while True:
            with self._changed:
                if self._session.greeted:
                    self._greeted_at = time.monotonic()
                blocked = not self._send_all()
                if self._closing:
                    give_up_at = give_up_at or time.monotonic() + FLUSH_S
                    flushed = not blocked or not self._session.greeted
                    said = flushed and self._socket.try_to_send([envelope(Goodbye(reason=self._goodbye[:500]))])
                    if said or not self._socket.connected or time.monotonic() > give_up_at:
                        break
                    blocked = True
                full = len(self._inbox) >= self._queue
                due_at = self._beat_at if self._session.greeted else self._greet_at
            flags = (0 if full else zmq.POLLIN) | (zmq.POLLOUT if blocked and self._socket.connected else 0)
            poller.register(self._socket.data, flags)
            until = min(due_at, give_up_at or due_at)
            events = dict(poller.poll(math.ceil(1000 * max(0.0, until - time.monotonic()))))
            if wake in events:
                before, woke_at = woke_at, time.monotonic()
                if woke_at - before < BUSY_S:
                    time.sleep(GATHER_S)
                # In this order: else a byte written in between is read, and nobody wakes the thread any more.
                self._wake_reader.recv(4096)
                self._woken = False
            if self._socket.monitor in events and self._socket.read_monitor():
                with self._changed:
                    self._session.lost_connection()
            if events.get(self._socket.data, 0) & zmq.POLLIN:
                self._receive_all()

    def _send_all(self) -> bool:
        """Send what is due. Returns whether there was room for it."""
        session, now = self._session, time.monotonic()
        if session.greet_now or (not session.greeted and now >= self._greet_at):
            if not self._socket.try_to_send([session.greeting()]):
                session.greet_now = True
                self._greet_at = now + GREET_EVERY_S
                return False
            self._greet_at = now + GREET_EVERY_S
        if not session.greeted or session.welcome is None:
            return True
        if self._beat_now or now >= self._beat_at:
            self._beat_at = now + session.welcome.heartbeat_s
            self._beat_now = not self._socket.try_to_send([session.heartbeat(memory_mb())])
            if not self._beat_now:
                session.beaten()
        while batch := batching.next_batch(session.outbox):
            if not self._socket.try_to_send(batch):
                return False
            batching.remove_sent(session.outbox, len(batch))
        return not self._beat_now

    def _receive_all(self) -> None:
        envelopes, unreadable = self._socket.receive()
        with self._changed:
            self._heard += len(envelopes)
            self._session.dropped += unreadable
            self._inbox += filter(None, map(self._session.take, envelopes))
            self._changed.notify_all()
        self._notify()
