"""The broker process: frames become events, the state says what to do, envelopes go out without waiting.

One ROUTER for everybody, one PUB for gauges, one thread. What a peer does not read waits in an outbox of its own
and holds up nobody else. What to do is broker/state.py; who may speak is broker/auth.py.
"""

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
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
import zmq

from broker import auth, batching, child_process, logs
from broker.auth import Member
from broker.events import Clogged, Forget, Greeted, Note, Reaped, Send, StateEvent, Tick, Woke, event_of
from broker.flooding import CHECK_S, FloodGuard, allow_many_connections
from broker.protocol import MAX_BODY, Envelope, Gauges, WireError, encode, from_frames, to_frames
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
QUEUE = 64
"""Sends of one peer that ZeroMQ holds for this process to read; then the peer must wait."""
OUTBOX = 1 << 14
"""Envelopes that wait for one peer that does not read; with more it is lost."""
HIGH_WATER = 100
"""Sends that ZeroMQ itself holds per peer."""
LINGER_MS = 500
OVERHEAD = 1024
"""Bytes of memory that an envelope takes beside its body."""


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
    """Peers whose processes are watched by the one that started the broker: silence alone does not end them."""
    members: dict[str, Member] = {}
    """The agents of the class by name; empty: any name may join any pool."""
    classroom: int = 0
    """The pid of the classroom's process, which has also started the supervised agents; 0: unknown."""
    credit: int = 1024
    log: str = ""
    """Path of its log file; empty: standard error."""


class BrokerServer:
    """The sockets and the state between them.

    Raises:
        SecurityError: it would be open to strangers.
        zmq.ZMQError: an endpoint cannot be bound.
    """

    def __init__(self, spec: BrokerSpec) -> None:
        auth.check_endpoint(spec.endpoint, spec.keys)
        auth.check_endpoint(spec.gauges, spec.keys)
        epoch = secrets.token_hex(8)
        self._state = BrokerState(
            spec.heartbeat_s, spec.stalled_s, spec.credit, epoch, spec.supervised, spec.members, spec.classroom
        )
        self._keys = Path(spec.keys) if spec.keys else None
        self._guard = FloodGuard(spec.endpoint, self._kept_mb)
        self._sender = "User-Id" if self._keys else "Peer-Address"
        """What the transport knows of who sent a frame: the name of the key, or over ipc the process."""
        self._owners: dict[bytes, str] = {}
        """Which sender each routing id belongs to."""
        self._outboxes: defaultdict[bytes, deque[Envelope]] = defaultdict(deque)
        self._complaints = Counter[str]()
        self._published: Gauges | None = None
        self._published_at = self._tick_at = 0.0
        self._tick_s = min(TICK_S, spec.heartbeat_s / 2)
        self._refusals: list[zmq.Socket[bytes]] = []
        """Where ZeroMQ tells of connections that never reach the ZAP handler; it does not tell their addresses."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            if self._keys:
                self._zap = self._context.socket(zmq.REP)
                self._zap.bind(auth.ZAP_ENDPOINT)
            self._router = self._context.socket(zmq.ROUTER)
            self._router.router_mandatory = True
            # A peer whose connection broke comes back under its old identity before we notice that it was gone.
            self._router.router_handover = True
            self._router.sndhwm, self._router.rcvhwm = HIGH_WATER, QUEUE
            self._pub = self._context.socket(zmq.PUB)
            self._pub.sndhwm = 4
            for socket, endpoint in ((self._router, spec.endpoint), (self._pub, spec.gauges)):
                socket.linger = LINGER_MS
                auth.set_family(socket, endpoint)
                socket.maxmsgsize = MAX_BODY + 1024
                if self._keys:
                    auth.secure_server(socket, self._keys)
                    self._refusals.append(socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL))
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
            for socket in (self._zap, *self._refusals):
                poller.register(socket, zmq.POLLIN)
        self._tick_at = time.monotonic()
        while not stop.is_set():
            wait_s = min(CHECK_S, max(0.0, self._tick_at - time.monotonic()))
            ready = dict(poller.poll(math.ceil(1000 * (min(wait_s, RETRY_S) if self._outboxes else wait_s))))
            if self._keys and self._zap in ready:
                self._let_in(self._keys)
            for socket in self._refusals:
                if socket in ready:
                    socket.recv_multipart()
                    self._warn("refused a connection: it has no key, or the broker.pub of another run")
            now = time.monotonic()
            if self._router in ready:
                self._read(now)
            for flooding in self._guard.look(now):
                self._warn(f"cut the connection of {flooding}: it used too much memory or too many connections")
            if now >= self._tick_at:
                late = now - self._tick_at
                self._tick_at = now + self._tick_s
                if late > self._state.heartbeat_s:
                    # Peers that spoke while this process did not run are heard first, and are not lost.
                    self._handle(Woke(seconds=late), now)
                self._handle(Tick(), now)
                self._publish(now)
                self._report()
                self._owners = {peer: owner for peer, owner in self._owners.items() if self._state.remembers(peer)}
            self._flush(now)

    def _let_in(self, keys: Path) -> None:
        """Say whether a new connection may stay. Keys are read anew: some may be added while a class goes on."""
        try:
            allowed = auth.allow_list(keys)
        except auth.SecurityError as error:
            self._complain(f"nobody is let in: {error}")
            allowed = {}
        request = self._zap.recv_multipart()
        reply = auth.zap_reply(request, allowed)
        if reply[2] != b"200" and len(request) > 3:
            self._warn(f"refused a connection from {request[3].decode(errors='replace')}: unknown key")
        self._zap.send_multipart(reply)

    # --- in ---------------------------------------------------------------------------------------------

    def _read(self, now: float) -> None:
        for _ in range(READS):
            try:
                peer, *frames = batching.receive(self._router)
            except zmq.Again:
                return
            except WireError as error:
                self._complain(f"dropped: {error}")
                continue
            identity, sender = peer.bytes, str(peer.get(self._sender))
            if not self._owns(identity, sender, now):
                continue
            for event in self._events(identity, [frame.bytes for frame in frames]):
                self._handle(self._introduced(event, sender, now) if isinstance(event, Greeted) else event, now)

    def _owns(self, identity: bytes, sender: str, now: float) -> bool:
        """Whether a routing id is this sender's. It belongs to its first sender, over ipc until that process ends."""
        owner = self._owners.setdefault(identity, sender)
        if owner == sender:
            return True
        process = auth.process_of(owner)
        if self._keys or not process or identity == self._state.out.classroom or auth.is_running(process):
            self._complain(f"dropped: a message of {sender} over the routing id of {owner}")
            return False
        before = self._state.agents.get(identity)
        self._handle(Reaped(identity, before.name if before else "", process, f"process {process} has ended"), now)
        self._owners[identity] = sender
        return True

    def _events(self, peer: bytes, frames: Sequence[bytes]) -> list[StateEvent]:
        """What came of one peer in one send. What cannot be read is counted and dropped, and the rest is taken."""
        events: list[StateEvent] = []
        try:
            envelopes = list(from_frames(frames))
        except WireError as error:
            self._complain(f"dropped: {error}")
            return events
        for envelope in envelopes:
            try:
                events.append(event_of(peer, envelope))
            except WireError as error:
                self._complain(f"dropped: {error}")
        return events

    def _introduced(self, event: Greeted, sender: str, now: float) -> Greeted:
        """`event` with what the transport knows of its sender, once no ended process has that name any more."""
        hello, parent = event.hello, 0
        if self._keys:  # a supervised process is of this machine
            process = hello.pid if hello.name in self._state.supervised else 0
        else:
            process = auth.process_of(sender, hello.pid)
            parent = auth.parent_of(process)
            hello = msgspec.structs.replace(hello, pid=process)
        holder = self._state.members.process(hello.name)
        if holder not in (0, process) and not auth.is_running(holder):
            self._handle(Reaped(event.peer, hello.name, holder, f"process {holder} has ended"), now)
        return Greeted(event.peer, hello, user=sender if self._keys else "", process=process, parent=parent)

    def _complain(self, text: str) -> None:
        """Count it, and warn."""
        self._state.dropped += 1
        self._warn(text)

    def _warn(self, text: str) -> None:
        """One line of each kind goes to the log per tick, however many came."""
        self._complaints[text[:60]] += 1
        if self._complaints[text[:60]] == 1 and len(self._complaints) < 10:
            log.warning("%s", text)

    def _report(self) -> None:
        repeated = sum(self._complaints.values()) - len(self._complaints)
        if repeated:
            log.warning("and %d more like these", repeated)
        self._complaints.clear()

    # --- out --------------------------------------------------------------------------------------------

    def _handle(self, event: StateEvent, now: float) -> None:
        for action in self._state.handle(event, now):
            if isinstance(action, Send):  # nearly always, and quicker than a pattern
                self._outboxes[action.peer].append(action.envelope)
            else:
                self._do(action)

    def _do(self, action: Forget | Note) -> None:
        match action:
            case Forget(peer):
                self._outboxes.pop(peer, None)
            case Note(text, "dropped"):
                self._warn(text)
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

    def _kept_mb(self) -> float:
        """About how much memory requests, results and unsent envelopes take."""
        work = self._state.work
        requests = (request.envelope for request in work.requests.values())
        results = (finished.result for finished in work.finished.values())
        envelopes = itertools.chain(requests, results, *self._outboxes.values())
        return sum(len(one.body) + OVERHEAD for one in envelopes) / 1e6

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
    with BrokerServer(spec) as broker:
        log.info("serving at %s", spec.endpoint)
        broker.run(stop or threading.Event())


def main() -> int:
    """Become the broker that the parent describes on standard input."""
    spec = child_process.receive(BrokerSpec)
    logs.configure(spec.log)
    allow_many_connections()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C is for the classroom, which drains; the broker must be there until it has.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        serve(spec, stop)
    except (auth.SecurityError, zmq.ZMQError) as error:
        log.error("cannot serve at %s: %s", spec.endpoint, error)
        return child_process.NO_RESTART if isinstance(error, auth.SecurityError) else 1
    # It served until SIGTERM: end by that signal, so that run.py, if it did not send it, starts another broker.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    return 1


if __name__ == "__main__":
    sys.exit(main())
