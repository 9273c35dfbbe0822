"""What one peer must remember to be understood by a broker that may forget or die. No socket, no thread.

A session says Hello until it is welcomed and again when it must, holds back all else until then, keeps what is
not acknowledged and says it anew to a broker that may not have heard it. broker/client.py moves its envelopes.
"""

import os
from collections import deque
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from broker.protocol import (
    RESULTS,
    WORK,
    Ack,
    AgentState,
    Envelope,
    Heartbeat,
    Hello,
    Unknown,
    Welcome,
    WireError,
    decode,
    envelope,
)
from broker.work_messages import MAX_COUNT, Failed, Message


class Received(NamedTuple):
    """A message, decoded, and how it was addressed."""

    message: Message
    peer: str
    """Of a result: the agent that made it (or the pool that was asked, if the broker made it)."""
    request_id: str
    affinity: str


class DeliverySession:
    """One peer's side of the conversation.

    Args:
        hello: who the peer is; its state and credit are those of the start.
    """

    def __init__(self, hello: Hello) -> None:
        self.hello = hello if hello.pid else msgspec.structs.replace(hello, pid=os.getpid())
        self.welcome: Welcome | None = None
        """The last one."""
        self.greeted = False
        """Whether the broker knows the peer, as far as the peer knows."""
        self.greet_now = True
        """Whether a Hello is due at once."""
        self.working: set[str] = set()
        """What the peer's owner says it works on; beside what was handed to it and has no result yet."""
        self.kept: dict[str, Envelope] = {}
        """What must be said again to a broker that may not know it."""
        self.outbox: deque[Envelope] = deque()
        self.dropped = 0
        """Messages that could not be read."""
        self._held: set[str] = set()
        self._say_all_again = True
        self._progress: set[str] = set()
        self._completion_tokens = 0
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self.spent: float | None = None
        """What the peer's owner has paid so far."""

    # --- out --------------------------------------------------------------------------------------------

    def greeting(self) -> Envelope:
        """The Hello of now."""
        self.greet_now = False
        working = tuple(sorted((self._held | set(self.working)) - self.kept.keys()))
        return envelope(msgspec.structs.replace(self.hello, working=working))

    def heartbeat(self, memory_mb: float = 0.0) -> Envelope:
        """How the peer is doing."""
        return envelope(
            Heartbeat(
                state=self.hello.state,
                credit=self.hello.credit,
                progress=tuple(sorted(self._progress)),
                completion_tokens=self._completion_tokens,
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached_tokens,
                memory_mb=memory_mb,
                spent=self.spent,
            )
        )

    def beaten(self) -> None:
        """The heartbeat is on its way: its progress is told."""
        self._progress.clear()

    def post(self, envelope: Envelope, *, keep: bool) -> None:
        """Send it when the broker knows us; `keep`: until it is settled, again to every broker that may not know it."""
        if envelope.kind in RESULTS:
            self._held.discard(envelope.request_id)
        if keep:
            self.kept[envelope.request_id or envelope.kind] = envelope
        if self.greeted or not keep:
            self.outbox.append(envelope)

    def settle(self, keys: Iterable[str]) -> None:
        """These need not be kept any more."""
        for key in keys:
            self.kept.pop(key, None)

    def change(self, state: AgentState | None, credit: int | None) -> bool:
        """Note state and credit; whether either is another now."""
        before = self.hello
        state = before.state if state is None else state
        credit = before.credit if credit is None else credit
        if (state, credit) == (before.state, before.credit):
            return False
        self.hello = msgspec.structs.replace(before, state=state, credit=credit)
        return True

    def count(self, progress: Collection[str], completion: int, prompt: int, cached: int) -> None:
        """Note what the engine did."""
        self._progress.update(progress)
        self._completion_tokens = min(self._completion_tokens + completion, MAX_COUNT)
        self._prompt_tokens = min(self._prompt_tokens + prompt, MAX_COUNT)
        self._cached_tokens = min(self._cached_tokens + cached, MAX_COUNT)

    # --- in ---------------------------------------------------------------------------------------------

    def lost_connection(self) -> None:
        """What was on its way, in either direction, may never arrive."""
        self.greeted = False
        self.greet_now = True
        self._say_all_again = True

    def take(self, came: Envelope) -> Received | None:
        """Hear `came`; what the peer's owner must see of it, if anything."""
        try:
            message = decode(came.kind, came.body)
        except WireError as error:
            self.dropped += 1
            return self._unreadable(came, str(error))
        match message:
            case Welcome():
                self._welcomed(message)
                return None
            case Unknown():
                self.lost_connection()
                return None
            case Ack(request_ids=request_ids):
                self.settle(request_ids)
                return None
        if came.kind in WORK and not self._is_new(came.request_id):
            return None
        if came.kind in RESULTS:
            self.settle((came.request_id,))
        return Received(message, came.peer, came.request_id, came.affinity)

    def _welcomed(self, welcome: Welcome) -> None:
        again = self._say_all_again or self.welcome is None or self.welcome.epoch != welcome.epoch
        self.welcome, self.greeted, self._say_all_again = welcome, True, False
        if again:
            kept = set(map(id, self.kept.values()))
            self.outbox = deque([*self.kept.values(), *(e for e in self.outbox if id(e) not in kept)])

    def _is_new(self, request_id: str) -> bool:
        """Whether this work is not under way or done already; what is done is said again."""
        if request_id in self.kept:
            self.outbox.append(self.kept[request_id])
            return False
        if request_id in self._held or request_id in self.working:
            return False
        self._held.add(request_id)
        return True

    def _unreadable(self, came: Envelope, why: str) -> Received | None:
        """Somebody waits for the end of a request, readable or not."""
        if came.kind in RESULTS:
            self.settle((came.request_id,))
            return Received(Failed(kind="engine", detail=why), came.peer, came.request_id, came.affinity)
        if came.kind in WORK:
            failed = Failed(kind="unsupported", detail=why)
            self.post(envelope(failed, request_id=came.request_id, affinity=came.affinity), keep=True)
        return None
