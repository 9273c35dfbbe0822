"""The broker process: it turns what peers send into events for `BrokerState`, and performs the actions it returns.

It has one ROUTER for all peers, one PUB for gauges, and one thread (over tcp another one, which checks keys). What a
peer does not read waits in an outbox of that peer alone. All decisions are in broker/state.py.
"""

import gc
import itertools
import logging
import math
import os
import secrets
import signal
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec
import zmq

from broker import auth, batching, child_process, logs
from broker.actions import DiscardOutbox, LogLine, Send
from broker.endpoints import check_endpoint, set_family
from broker.errors import SecurityError
from broker.events import BrokerPaused, Incoming, Malformed, OutboxFull, Revoked, Sender, StateEvent, Tick, key_holder
from broker.flooding import CHECK_S, FloodGuard, allow_many_connections, cut
from broker.members import Member
from broker.processes import process_of
from broker.protocol import MAX_BODY, Envelope, Gauges, WireError, encode, from_frames, pack, to_frames
from broker.state import BrokerState
from broker.version import package_version

log = logging.getLogger("broker")

TICK_S = 0.25
"""Longest time between two ticks, and between two gauges if anything changes."""
STILL_S = 1.0
"""Gauges are published this often even if nothing changes, for monitors that have just connected."""
RETRY_S = 0.02
"""Time until the next attempt to send to a peer that had no room. A ROUTER cannot report which peers have room."""
READS = 256
"""Multipart messages read before anything is sent."""
RECEIVE_HIGH_WATER = 64
"""Sends of one peer that ZeroMQ holds until this process reads them; then the peer must wait."""
MAX_OUTBOX = 1 << 14
"""Envelopes that wait for a peer that does not read; with more the peer is lost."""
SEND_HIGH_WATER = 100
"""Sends that ZeroMQ itself holds per peer."""
LINGER_MS = 500
OVERHEAD = 1024
"""Bytes of memory that an envelope takes beside its body."""
GC_THRESHOLD = 50_000
"""New objects after which Python looks for cycles; its own default is 700."""
MAX_WARNINGS = 10
"""Different warnings that are logged per tick."""
REFUSED = {
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: "refused a connection: it has no key, or the broker.pub of another run",
    # A peer without a key may close its connection before the broker has read what the peer offers.
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: "refused a connection that closed early: it has no key, or the broker.pub of "
    "another run, or its process ended",
}
"""What is logged for each event of a connection that ended before it was accepted."""


class BrokerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of a broker."""

    endpoint: str
    gauges: str
    """Endpoint of the gauges."""
    keys: str = ""
    """Folder with CURVE keys; empty: no encryption, which only ipc allows."""
    heartbeat_s: float = 2.0
    stalled_s: float = 300.0
    supervised: tuple[str, ...] = ()
    """Peers whose processes are watched by the process that started the broker: silence does not end them."""
    members: dict[str, Member] = {}
    """The agents of the class by name; empty: any name may join any pool."""
    classroom: int = 0
    """Pid of the classroom's process, which has also started the supervised agents; 0: unknown."""
    credit: int = 1024
    log: str = ""
    """Path of its log file; empty: standard error."""


class BrokerServer:
    """The sockets of a broker, and its I/O loop.

    Raises:
        SecurityError: strangers could reach it, or its keys are missing.
        zmq.ZMQError: an endpoint cannot be bound.
    """

    def __init__(self, spec: BrokerSpec) -> None:
        check_endpoint(spec.endpoint, spec.keys)
        check_endpoint(spec.gauges, spec.keys)
        epoch = secrets.token_hex(8)
        self._state = BrokerState(
            spec.heartbeat_s,
            spec.stalled_s,
            spec.credit,
            epoch,
            spec.supervised,
            spec.members,
            spec.classroom,
            version=package_version(),
        )
        self._heartbeat_s = spec.heartbeat_s
        self._keys = Path(spec.keys) if spec.keys else None
        self._ring = auth.KeyRing(self._keys) if self._keys else None
        self._heard: dict[str, zmq.Frame] = {}
        """The last routing frame of each name, with keys: it knows the descriptor of the connection."""
        self._guard = FloodGuard(spec.endpoint, self._kept_mb)
        self._outboxes: defaultdict[bytes, deque[Envelope]] = defaultdict(deque)
        self._warnings = Counter[str]()
        self._refusals: deque[str] = deque(maxlen=MAX_WARNINGS)
        """Warnings of the authenticator's thread, to be logged by this one."""
        self._published: Gauges | None = None
        self._published_at = self._tick_at = 0.0
        self._tick_s = min(TICK_S, spec.heartbeat_s / 2)
        self._monitors: list[zmq.Socket[bytes]] = []
        """They report connections that fail before their key is checked; ZeroMQ does not report the addresses."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stop_authenticator: Callable[[], None] = lambda: None
        try:
            if self._keys:
                from broker.authenticator import KeyFolderAuthenticator  # loads asyncio, which ipc does not need

                authenticator = KeyFolderAuthenticator(self._context, self._keys, self._refusals.append)
                authenticator.start()
                self._stop_authenticator = authenticator.stop
            self._router = self._context.socket(zmq.ROUTER)
            self._router.router_mandatory = True
            # A peer whose connection broke comes back under its old identity before the broker notices the break.
            self._router.router_handover = True
            self._router.sndhwm, self._router.rcvhwm = SEND_HIGH_WATER, RECEIVE_HIGH_WATER
            self._pub = self._context.socket(zmq.PUB)
            self._pub.sndhwm = 4
            for socket, endpoint, domain in (
                (self._router, spec.endpoint, auth.MESSAGES),
                (self._pub, spec.gauges, auth.GAUGES),
            ):
                socket.linger = LINGER_MS
                set_family(socket, endpoint)
                socket.maxmsgsize = MAX_BODY + 1024
                if self._keys:
                    auth.secure_server(socket, self._keys, domain)
                    self._monitors.append(socket.get_monitor_socket(sum(REFUSED)))
                socket.bind(endpoint)
        except BaseException:
            self._close(0)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush(time.monotonic())
        self._close(LINGER_MS)

    def _close(self, linger_ms: int) -> None:
        self._stop_authenticator()
        self._context.destroy(linger_ms)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""
        poller = zmq.Poller()
        for socket in (self._router, *self._monitors):
            poller.register(socket, zmq.POLLIN)
        self._tick_at = time.monotonic()
        while not stop.is_set():
            wait_s = min(CHECK_S, max(0.0, self._tick_at - time.monotonic()))
            ready = dict(poller.poll(math.ceil(1000 * (min(wait_s, RETRY_S) if self._outboxes else wait_s))))
            for socket in self._monitors:
                if socket in ready:
                    event = int.from_bytes(socket.recv_multipart()[0][:2], sys.byteorder)
                    self._warn(REFUSED[zmq.Event(event)])
            while self._refusals:
                self._warn(self._refusals.popleft())
            now = time.monotonic()
            if self._router in ready:
                self._read(now)
            for flooding in self._guard.cut_flooding(now):
                self._warn(f"cut the connection of {flooding}: it used too much memory or too many connections")
            if now >= self._tick_at:
                late = now - self._tick_at
                self._tick_at = now + self._tick_s
                self._check_keys(now)
                if late > self._heartbeat_s:
                    # Messages that came while this process did not run are read before silent peers are ended.
                    self._handle(BrokerPaused(late), now)
                self._handle(Tick(), now)
                self._publish(now)
                self._report_repeated()
            self._flush(now)

    # --- in ---------------------------------------------------------------------------------------------

    def _read(self, now: float) -> None:
        """Handle what has come; a message that cannot be read is dropped, and those after it are handled."""
        for _ in range(READS):
            try:
                route, (peer, *frames) = batching.receive(self._router)
                sender = self._sender(route, now)
                if sender is None:
                    continue
                for envelope in from_frames(frames):
                    self._handle(Incoming(peer, envelope, sender), now)
            except zmq.Again:
                return
            except WireError as error:
                self._handle(Malformed(str(error)), now)

    def _sender(self, frame: zmq.Frame, now: float) -> Sender | None:
        """Who sent a message; None: the holder of a key that is not accepted any more, whose connection is cut."""
        if self._ring is None:
            return Sender(process=process_of(str(frame.get("Peer-Address"))))
        key = str(frame.get("User-Id"))
        name = self._ring.name_of(key)
        if not name:
            self._check_keys(now)  # it may be new
            name = self._ring.name_of(key)
        if name:
            self._heard[name] = frame
            return key_holder(name)
        self._warn("dropped: a message of a peer whose key was revoked")
        cut(int(frame.get(zmq.SRCFD)))
        return None

    def _check_keys(self, now: float) -> None:
        """End the agents whose keys were revoked, and their connections."""
        try:
            revoked = self._ring.reload() if self._ring else []
        except (SecurityError, OSError) as error:
            self._warn(f"the keys stay as they were: {error}")
            return
        for name in revoked:
            self._handle(Revoked(name), now)
            if name in self._heard:
                cut(int(self._heard.pop(name).get(zmq.SRCFD)))

    # --- out --------------------------------------------------------------------------------------------

    def _handle(self, event: StateEvent, now: float) -> None:
        for action in self._state.handle(event, now):
            if isinstance(action, Send):  # nearly always, and faster than a pattern
                self._outboxes[action.peer].append(action.envelope)
            else:
                self._perform(action)

    def _perform(self, action: DiscardOutbox | LogLine) -> None:
        match action:
            case DiscardOutbox(peer):
                self._outboxes.pop(peer, None)
            case LogLine(text, "dropped"):
                self._warn(text)
            case LogLine(text, "warning"):
                log.warning("%s", text)
            case LogLine(text):
                log.info("%s", text)

    def _warn(self, text: str) -> None:
        """Log a warning that peers can cause any number of: one of each kind per tick."""
        self._warnings[text[:60]] += 1
        if self._warnings[text[:60]] == 1 and len(self._warnings) < MAX_WARNINGS:
            log.warning("%s", text)

    def _report_repeated(self) -> None:
        repeated = sum(self._warnings.values()) - len(self._warnings)
        if repeated:
            log.warning("and %d more like these", repeated)
        self._warnings.clear()

    def _flush(self, now: float) -> None:
        """Send each peer what it has room for."""
        for peer, outbox in list(self._outboxes.items()):
            frames = pack if self._state.reads_packed(peer) else to_frames
            while outbox:
                batch = batching.next_batch(outbox)
                try:
                    batching.send(self._router, [peer, *frames(batch)])
                except zmq.Again:
                    break
                except zmq.ZMQError as error:
                    if error.errno != zmq.EHOSTUNREACH:
                        raise
                    # Its connection is gone: it comes back, or is lost.
                    break
                batching.remove_sent(outbox, len(batch))
            if not outbox or not self._state.knows(peer):
                self._outboxes.pop(peer, None)
            elif len(outbox) > MAX_OUTBOX:
                self._handle(OutboxFull(peer), now)

    def _kept_mb(self) -> float:
        """Approximate memory of requests, results and unsent envelopes, in MB."""
        envelopes = itertools.chain(self._state.kept(), *self._outboxes.values())
        return sum(len(envelope.body) + OVERHEAD for envelope in envelopes) / 1e6

    def _publish(self, now: float) -> None:
        gauges = self._state.gauges()
        if gauges == self._published and now - self._published_at < STILL_S:
            return
        self._published, self._published_at = gauges, now
        try:
            self._pub.send(encode(gauges), zmq.NOBLOCK)
        except WireError as error:
            self._warn(f"no gauges: {error}")


def serve(spec: BrokerSpec, stop: threading.Event) -> None:
    """Run a broker until `stop` is set.

    Raises:
        SecurityError: strangers could reach it, or its keys are missing.
        zmq.ZMQError: an endpoint cannot be bound.
    """
    with BrokerServer(spec) as broker:
        log.info("serving at %s", spec.endpoint)
        broker.run(stop)


def main() -> int:
    """Run the broker that the parent process describes on standard input."""
    spec = child_process.receive(BrokerSpec)
    logs.configure(spec.log)
    allow_many_connections()
    # Requests and results are many objects without cycles: searching them for cycles took 5 % of the time.
    gc.set_threshold(GC_THRESHOLD)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C is for the classroom, which drains; the broker must run until it has.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        serve(spec, stop)
    except (SecurityError, zmq.ZMQError) as error:
        log.error("cannot serve at %s: %s", spec.endpoint, error)
        return child_process.NO_RESTART if isinstance(error, SecurityError) else 1
    # It served until SIGTERM. It ends by that signal, so that run.py starts another broker if it did not send it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    return 1


if __name__ == "__main__":
    sys.exit(main())
