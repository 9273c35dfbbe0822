"""The broker under load, beside a process that runs `zmq.proxy` and passes the same frames.

Both are driven by the same two sockets: one asks as a classroom does, one answers as a student does. What is counted
is the processor time of the process between them, all its threads, over the requests that were asked and answered.
Unlike the broker, the proxy keeps no requests, leases and results, checks no message and no sender, does not choose an
agent and cannot be restarted without a loss. Only the broker gets `Ack`s and heartbeats.
"""

import contextlib
import itertools
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
import zmq

from broker import auth, batching, child_process
from broker.protocol import BATCH, Ack, Envelope, Hello, encode, envelope, from_frames, pack, to_frames
from broker.server import BrokerSpec
from broker.work_messages import Answered, Examine, Exemplar, Sampling, Usage
from tests.ports import free_port

ASKED, HELD = 1024, 256
"""Unfinished requests: of the classroom, as many as a broker takes for a pool; and at the student."""
ACKNOWLEDGED = 256
"""Results that an Ack names."""
PATIENCE_MS = 600_000
NAMES = ("classroom", "ann")
WORDS = "Ada has 12 boxes of pencils and gives 3 of them to each of her friends, who like to draw houses and trees. "
EXAM = Examine(
    problem=2 * WORDS,
    answer_form="number",
    sampling=Sampling(),
    material=(Exemplar(2 * WORDS, 3 * WORDS + "\nAnswer: 42"),),
    demonstrations=(Exemplar(2 * WORDS, 2 * WORDS + "\nAnswer: 7"),),
)
"""About 370 tokens of prompt, as in a class of word problems with one demonstration."""
BODY = encode(EXAM)
RESULT = Answered(
    text=3 * WORDS + "\nAnswer: 42",
    usage=Usage(prompt_tokens=371, cached_tokens=320, cacheable_tokens=322, completion_tokens=88, seconds=1.234),
)


class Middle(msgspec.Struct, frozen=True):
    """Configuration of the process between the peers."""

    kind: str
    """proxy or broker."""
    spec: BrokerSpec
    answers: str = ""
    """Endpoint of the proxy for the student."""
    batch: int = BATCH
    """Envelopes that the broker may put into one send."""


class Load(NamedTuple):
    """What the process between the peers did."""

    cpu_us: float
    """Processor time of one request with its result, in microseconds."""
    per_s: float
    """Requests a second of time."""
    per_send: float
    """Messages in one send that came from it."""
    round_trip_ms: float
    """Median."""


class Setup(NamedTuple):
    """One process between the peers, and how it is driven."""

    kind: str
    """proxy or broker."""
    encrypted: bool
    """CURVE over tcp; else ipc."""
    batch: int
    """Most messages in one send of the broker."""
    peers: int = 1
    """Most messages in one send of the peers; with more than one they read packed sends."""
    window: int = ASKED
    """Most unfinished requests."""


class Peer:
    """One driving socket: what it has no room for waits in its outbox."""

    def __init__(self, socket: "zmq.Socket[bytes]", batch: int) -> None:
        self.socket = socket
        self.batch = batch
        self.outbox: deque[Envelope] = deque()
        self.route: list[bytes] = []
        """The routing id that the proxy puts in front, to find the way back."""
        self.sends = self.messages = 0
        """That came."""

    def flush(self) -> None:
        while self.outbox:
            some = batching.next_batch(self.outbox)[: self.batch]
            try:
                batching.send(self.socket, [*self.route, *pack(some)])
            except zmq.Again:
                return
            batching.remove_sent(self.outbox, len(some))

    def read(self) -> Iterator[Envelope]:
        """The messages that have come."""
        while True:
            try:
                _, frames = batching.receive(self.socket)
            except zmq.Again:
                return
            if len(frames) == 6:
                self.route, frames = frames[:1], frames[1:]
            self.sends += 1
            came = from_frames(frames)
            self.messages += len(came)
            yield from came


def cpu_s(pid: int) -> float:
    """Processor time of a process with all its threads; Linux counts it in nanoseconds."""
    if sys.platform == "linux":
        return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid makes it
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def running(setup: Setup) -> "Iterator[Rig]":
    """A proxy or a broker in a process, and the two peers connected to it."""
    with tempfile.TemporaryDirectory(prefix="lbt") as place:
        folder = Path(place)
        kind, encrypted = setup.kind, setup.encrypted
        keys = folder / "keys"
        auth.make_keys(keys, NAMES)
        if encrypted:
            ends = [f"tcp://127.0.0.1:{free_port()}" for _ in range(3)]
        else:
            ends = [f"ipc://{folder}/{end}" for end in ("work", "gauges", "answers")]
        spec = BrokerSpec(
            endpoint=ends[0],
            gauges=ends[1],
            keys=str(keys) if encrypted else "",
            supervised=NAMES,
            stalled_s=1e6,
        )
        middle = Middle(kind, spec, ends[2], setup.batch)
        process = child_process.spawn("tests.benchmarks.broker_middle", middle, env={}, log=folder / "log")
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            peers = []
            for name, end in zip(NAMES, (ends[0], ends[0] if kind == "broker" else ends[2]), strict=True):
                socket = context.socket(zmq.DEALER)
                socket.linger = 0
                if encrypted:
                    auth.secure_client(socket, keys, name)
                socket.connect(end)
                peers.append(Peer(socket, setup.peers))
            if kind == "broker":
                hellos = (
                    Hello(name="classroom", role="classroom", packed=setup.peers > 1),
                    Hello(name="ann", role="student", state="ready", credit=HELD, packed=setup.peers > 1),
                )
                for peer, hello in zip(peers, hellos, strict=True):
                    peer.socket.send_multipart(to_frames([envelope(hello)]))
                    if not peer.socket.poll(PATIENCE_MS):
                        raise RuntimeError(f"the broker does not answer: {(folder / 'log').read_text()}")
            yield Rig(process.pid, *peers, acknowledge=kind == "broker")
        finally:
            context.destroy(0)
            process.kill()
            process.wait()
            assert process.stdin
            process.stdin.close()


def exam(number: int) -> Envelope:
    """An exam with an id of its own; three share a TR."""
    return Envelope("Examine", "ann", f"{number:032x}", f"{number // 3:032x}", BODY)


class Rig:
    """A proxy or a broker, and the two peers that drive it.

    Args:
        pid: of the proxy or the broker.
        classroom: asks.
        ann: answers.
        acknowledge: whether the classroom acknowledges results.
    """

    def __init__(self, pid: int, classroom: Peer, ann: Peer, *, acknowledge: bool) -> None:
        self._pid = pid
        self._classroom = classroom
        self._ann = ann
        self._acknowledge = acknowledge
        self._asked = itertools.count()
        self._poller = zmq.Poller()
        for peer in (classroom, ann):
            self._poller.register(peer.socket, zmq.POLLIN)

    def measure(self, count: int, window: int) -> Load:
        """Ask and answer `count` requests, at most `window` of them unfinished."""
        peers = self._classroom, self._ann
        for peer in peers:
            peer.sends = peer.messages = 0
        before, since = cpu_s(self._pid), time.perf_counter()
        trips = self._drive(count, window)
        took, cpu = time.perf_counter() - since, cpu_s(self._pid) - before
        per_send = sum(peer.messages for peer in peers) / sum(peer.sends for peer in peers)
        return Load(1e6 * cpu / count, count / took, per_send, statistics.median(trips))

    def _drive(self, count: int, window: int) -> list[float]:
        """Ask and answer requests; returns their round trips in ms."""
        classroom, ann, body, answered = self._classroom, self._ann, encode(RESULT), 0
        todo = (exam(next(self._asked)) for _ in range(count))
        asked_at: dict[str, float] = {}
        trips: list[float] = []
        done: list[str] = []
        while answered < count:
            while len(asked_at) < window and (asked := next(todo, None)):
                asked_at[asked.request_id] = time.perf_counter()
                classroom.outbox.append(asked)
            classroom.flush()
            ann.flush()
            waits = bool(classroom.outbox or ann.outbox)
            if not self._poller.poll(5 if waits else PATIENCE_MS) and not waits:
                raise RuntimeError(f"{len(asked_at)} requests have no result")
            for came in ann.read():
                if came.kind == "Examine":
                    ann.outbox.append(Envelope("Answered", "", came.request_id, came.affinity, body))
            for came in classroom.read():
                if came.kind == "Answered":
                    trips.append(1000 * (time.perf_counter() - asked_at.pop(came.request_id)))
                    answered += 1
                    done.append(came.request_id)
            if self._acknowledge and done and (len(done) >= min(ACKNOWLEDGED, window) or answered == count):
                classroom.outbox.append(envelope(Ack(request_ids=tuple(done))))
                done.clear()
        classroom.flush()
        return trips


def compare(rounds: int, count: int, setups: Mapping[str, Setup]) -> dict[str, list[Load]]:
    """Rounds of `count` requests through each of these, in turn; all of them run all the time."""
    found: dict[str, list[Load]] = {name: [] for name in setups}
    with contextlib.ExitStack() as stack:
        rigs = {name: stack.enter_context(running(setup)) for name, setup in setups.items()}
        order = list(setups)
        for name in order:
            rigs[name].measure(setups[name].window, setups[name].window)
        for number in range(rounds):
            for name in order:
                load = rigs[name].measure(count, setups[name].window)
                found[name].append(load)
                print(f"round {number + 1}: {name}: {load.cpu_us:.1f} µs of CPU a request", file=sys.stderr)
            order = order[1:] + order[:1]
    return found


def ratios(found: Mapping[str, list[Load]], broker: str, proxy: str) -> list[float]:
    """Requests per CPU-second of the broker over those of the proxy, in each round, sorted."""
    return sorted(p.cpu_us / b.cpu_us for b, p in zip(found[broker], found[proxy], strict=True))


def figures(found: Mapping[str, list[Load]]) -> dict[str, dict[str, object]]:
    """The figures of each process between the peers: median, least and greatest of the rounds."""
    return {
        name: {
            "requests per CPU-second": spread([1e6 / one.cpu_us for one in loads], 0),
            "µs of CPU a request": spread([one.cpu_us for one in loads], 1),
            "messages in a send": round(loads[-1].per_send, 1),
            "median round trip, ms": spread([one.round_trip_ms for one in loads], 2),
        }
        for name, loads in found.items()
    }


def spread(values: Sequence[float], digits: int) -> str:
    """A median with its range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
