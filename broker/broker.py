"""The broker process: frames become events, the state says what to do, envelopes go out without waiting.

One ROUTER for everybody, one PUB for gauges, one thread. What a peer does not read waits in an outbox of its own
and holds up nobody else. What to do is broker/state.py; who may speak is broker/security.py.
"""

import logging
import math
import secrets
import signal
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Self

import msgspec
import zmq

from broker import batching, lifeline, logs, security
from broker.events import Action, Clogged, Event, Forget, Greeted, Note, Send, Tick, Woke, event_of
from broker.messages import MAX_BODY, Envelope, Gauges, WireError, encode, from_frames, to_frames
from broker.state import BrokerState

log = logging.getLogger("broker")

TICK_S = 0.25
"""Longest time between two looks at the clock; also between two pictures for the monitor."""
STILL_S = 1.0
"""A picture is published this often even if nothing changed, for who has just come."""
RETRY_S = 0.02
"""How soon a peer that took no more is tried again. A ROUTER cannot say which of its peers has room."""
READS = 256
"""Multipart messages read before anything is sent."""
MAX_FRAMES = 5 * 1024
OUTBOX = 1 << 14
"""Envelopes that wait for one peer that does not read; with more it is lost."""
HIGH_WATER = 100
"""Sends that ZeroMQ itself holds per peer."""
LINGER_MS = 500


class BrokerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All a broker is told when it is born."""

    endpoint: str
    gauges: str
    """Endpoint of the gauges."""
    keys: str = ""
    """Folder with CURVE keys; empty: no encryption, which only ipc allows."""
    heartbeat_s: float = 2.0
    stalled_s: float = 300.0
    supervised: tuple[str, ...] = ()
    """Peers whose processes are watched by the one that started the broker: silence alone does not end them."""
    credit: int = 1024
    log: str = ""
    """Path of its log file; empty: standard error."""


class Broker:
    """The sockets and the state between them.

    Raises:
        SecurityError: it would be open to strangers.
        zmq.ZMQError: an endpoint cannot be bound.
    """

    def __init__(self, spec: BrokerSpec) -> None:
        security.check_endpoint(spec.endpoint, spec.keys)
        security.check_endpoint(spec.gauges, spec.keys)
        epoch = secrets.token_hex(8)
        self._state = BrokerState(spec.heartbeat_s, spec.stalled_s, spec.credit, epoch, spec.supervised)
        self._keys = Path(spec.keys) if spec.keys else None
        self._outboxes: dict[bytes, deque[Envelope]] = {}
        self._complaints = Counter[str]()
        self._published: Gauges | None = None
        self._published_at = self._tick_at = 0.0
        self._tick_s = min(TICK_S, spec.heartbeat_s / 2)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            if self._keys:
                self._zap = self._context.socket(zmq.REP)
                self._zap.bind(security.ZAP_ENDPOINT)
            self._router = self._context.socket(zmq.ROUTER)
            self._router.router_mandatory = True
            # A peer whose connection broke comes back under its old identity before we notice that it was gone.
            self._router.router_handover = True
            self._router.sndhwm = HIGH_WATER
            self._pub = self._context.socket(zmq.PUB)
            self._pub.sndhwm = 4
            for socket, endpoint in ((self._router, spec.endpoint), (self._pub, spec.gauges)):
                socket.linger = LINGER_MS
                security.set_family(socket, endpoint)
                socket.maxmsgsize = MAX_BODY + 1024
                if self._keys:
                    security.secure_server(socket, self._keys)
                socket.bind(endpoint)
        except BaseException:
            self._context.destroy(0)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush(time.monotonic())
        self._context.destroy(LINGER_MS)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        if self._keys:
            poller.register(self._zap, zmq.POLLIN)
        self._tick_at = time.monotonic()
        while not stop.is_set():
            wait_s = max(0.0, self._tick_at - time.monotonic())
            ready = dict(poller.poll(math.ceil(1000 * (min(wait_s, RETRY_S) if self._outboxes else wait_s))))
            if self._keys and self._zap in ready:
                self._let_in(self._keys)
            now = time.monotonic()
            if self._router in ready:
                self._read(now)
            if now >= self._tick_at:
                late = now - self._tick_at
                self._tick_at = now + self._tick_s
                if late > self._state.heartbeat_s:
                    # Peers that spoke while this process did not run are heard first, and are not lost.
                    self._handle(Woke(seconds=late), now)
                self._handle(Tick(), now)
                self._publish(now)
                self._report()
            self._flush(now)

    def _let_in(self, keys: Path) -> None:
        """Say whether a new connection may stay. Keys are read anew: some may be added while a class goes on."""
        try:
            allowed = security.allow_list(keys)
        except security.SecurityError as error:
            self._complain(f"nobody is let in: {error}")
            allowed = {}
        self._zap.send_multipart(security.zap_reply(self._zap.recv_multipart(), allowed))

    # --- in ---------------------------------------------------------------------------------------------

    def _read(self, now: float) -> None:
        for _ in range(READS):
            try:
                peer, *frames = batching.receive(self._router)
            except zmq.Again:
                return
            # The name whose key the connection was opened with.
            user = str(peer.get("User-Id")) if self._keys else None
            for event in self._events(peer.bytes, user, [frame.bytes for frame in frames]):
                self._handle(event, now)

    def _events(self, peer: bytes, user: str | None, frames: list[bytes]) -> list[Event]:
        """What came of one peer in one send. What cannot be read is counted and dropped, and the rest is taken."""
        events: list[Event] = []
        try:
            if len(frames) > MAX_FRAMES:
                raise WireError(f"{len(frames)} frames in one send: at most {MAX_FRAMES} are taken")
            envelopes = list(from_frames(frames))
        except WireError as error:
            self._complain(f"dropped: {error}")
            return events
        for envelope in envelopes:
            try:
                event = event_of(peer, envelope)
                if user is not None and isinstance(event, Greeted) and event.hello.name != user:
                    raise WireError(f"Hello from {event.hello.name} with the key of {user}")
                events.append(event)
            except WireError as error:
                self._complain(f"dropped: {error}")
        return events

    def _complain(self, text: str) -> None:
        """Count it; one line of each kind goes to the log per tick, however many came."""
        self._state.dropped += 1
        self._complaints[text[:60]] += 1
        if self._complaints[text[:60]] == 1 and len(self._complaints) < 10:
            log.warning("%s", text)

    def _report(self) -> None:
        repeated = sum(self._complaints.values()) - len(self._complaints)
        if repeated:
            log.warning("and %d more like these", repeated)
        self._complaints.clear()

    # --- out --------------------------------------------------------------------------------------------

    def _handle(self, event: Event, now: float) -> None:
        for action in self._state.handle(event, now):
            self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case Send(peer, envelope):
                self._outboxes.setdefault(peer, deque()).append(envelope)
            case Forget(peer):
                self._outboxes.pop(peer, None)
            case Note(text, "warning"):
                log.warning("%s", text)
            case Note(text):
                log.info("%s", text)

    def _flush(self, now: float) -> None:
        """Give every peer what it takes now, up to the first send that finds no room."""
        for peer, outbox in list(self._outboxes.items()):
            while outbox:
                batch = batching.first(outbox)
                try:
                    batching.send(self._router, [peer, *to_frames(batch)])
                except zmq.Again:
                    break
                except zmq.ZMQError as error:
                    if error.errno != zmq.EHOSTUNREACH:
                        raise
                    # Its connection is gone: it comes back, or is lost.
                    break
                batching.drop(outbox, len(batch))
            if not outbox or not self._state.knows(peer):
                self._outboxes.pop(peer, None)
            elif len(outbox) > OUTBOX:
                self._handle(Clogged(peer), now)

    def _publish(self, now: float) -> None:
        gauges = self._state.gauges()
        if gauges == self._published and now - self._published_at < STILL_S:
            return
        self._published, self._published_at = gauges, now
        try:
            self._pub.send(encode(gauges), zmq.NOBLOCK)
        except WireError as error:
            self._complain(f"no gauges: {error}")


def serve(spec: BrokerSpec, stop: threading.Event | None = None) -> None:
    """Be the broker until `stop` is set.

    Raises:
        SecurityError: it would be open to strangers.
        zmq.ZMQError: an endpoint cannot be bound.
    """
    with Broker(spec) as broker:
        log.info("serving at %s", spec.endpoint)
        broker.run(stop or threading.Event())


def main() -> int:
    """Become the broker that the parent describes on standard input."""
    spec = lifeline.receive(BrokerSpec)
    logs.configure(spec.log)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C is for the classroom, which drains; the broker must be there until it has.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        serve(spec, stop)
    except (security.SecurityError, zmq.ZMQError) as error:
        log.error("cannot serve at %s: %s", spec.endpoint, error)
        return lifeline.NO_RESTART if isinstance(error, security.SecurityError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
