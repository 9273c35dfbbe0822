"""A peer's side of delivery: what it keeps, holds back and sends again. No socket, no thread.

A session says Hello until the broker welcomes it, and again after the connection broke. It holds back all other
messages until then, keeps those that are not acknowledged, and sends them again to a broker that may not have received
them. broker/client.py moves its envelopes.
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
from broker.version import package_version
from broker.work_messages import MAX_COUNT, Failed, Message


class Received(NamedTuple):
    """A decoded message, and how it was addressed."""

    message: Message
    peer: str
    """Of a result: the agent that made it, or the pool of the request if the broker made it."""
    request_id: str
    affinity: str


class DeliverySession:
    """One peer's side of the conversation.

    Args:
        hello: who the peer is, with its first state and credit.
    """

    def __init__(self, hello: Hello) -> None:
        self.hello = msgspec.structs.replace(
            hello, pid=hello.pid or os.getpid(), version=hello.version or package_version(), packed=True
        )
        self.welcome: Welcome | None = None
        """The last one."""
        self.greeted = False
        """Whether the broker has welcomed the peer over this connection."""
        self.greet_now = True
        """Whether a Hello is due at once."""
        self.working: set[str] = set()
        """Requests that the peer's owner works on, beside those that it received and has not answered."""
        self.waiting: set[str] = set()
        """Those of `working` that have made no progress yet; they progress while any request does."""
        self.kept: dict[str, Envelope] = {}
        """Messages to be sent again to a broker that may not have them, by request id or kind."""
        self.outbox: deque[Envelope] = deque()
        self.dropped = 0
        """Received messages that could not be read."""
        self._unanswered: set[str] = set()
        self._send_kept_again = True
        self._progress: set[str] = set()
        """Requests without a result that made progress since the last heartbeat."""
        self._progressed = False
        """Whether any request did."""
        self._completion_tokens = 0
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self.spent: float | None = None
        """What the peer's owner has paid in this run."""

    # --- out --------------------------------------------------------------------------------------------

    def greeting(self) -> Envelope:
        """The Hello to send now."""
        self.greet_now = False
        working = tuple(sorted((self._unanswered | set(self.working)) - self.kept.keys()))
        return envelope(msgspec.structs.replace(self.hello, working=working))

    def heartbeat(self, memory_mb: float = 0.0) -> Envelope:
        """The heartbeat to send now."""
        progress = self._progress | self.waiting if self._progressed else ()
        return envelope(
            Heartbeat(
                state=self.hello.state,
                credit=self.hello.credit,
                progress=tuple(sorted(progress)),
                completion_tokens=self._completion_tokens,
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached_tokens,
                memory_mb=memory_mb,
                spent=self.spent,
            )
        )

    def beaten(self) -> None:
        """Note that the heartbeat was sent, so its progress need not be sent again."""
        self._progress.clear()
        self._progressed = False

    def post(self, envelope: Envelope, *, keep: bool) -> None:
        """Send an envelope once the broker has welcomed the peer.

        Args:
            envelope: to be sent.
            keep: send it again to every broker that may not have it, until it is settled.
        """
        if envelope.kind in RESULTS:
            self._unanswered.discard(envelope.request_id)
            self._progress.discard(envelope.request_id)
        if keep:
            self.kept[envelope.request_id or envelope.kind] = envelope
        if self.greeted or not keep:
            self.outbox.append(envelope)

    def settle(self, keys: Iterable[str]) -> None:
        """Forget kept messages."""
        for key in keys:
            self.kept.pop(key, None)

    def change(self, state: AgentState | None, credit: int | None) -> bool:
        """Set state and credit; None: as it was. Returns whether either changed."""
        before = self.hello
        state = before.state if state is None else state
        credit = before.credit if credit is None else credit
        if (state, credit) == (before.state, before.credit):
            return False
        self.hello = msgspec.structs.replace(before, state=state, credit=credit)
        return True

    def count(self, progress: Collection[str], completion: int, prompt: int, cached: int) -> None:
        """Add progress and token counts to the next heartbeat."""
        if progress:
            self._progress.update(progress)
            self._progressed = True
        self._completion_tokens = min(self._completion_tokens + completion, MAX_COUNT)
        self._prompt_tokens = min(self._prompt_tokens + prompt, MAX_COUNT)
        self._cached_tokens = min(self._cached_tokens + cached, MAX_COUNT)

    # --- in ---------------------------------------------------------------------------------------------

    def lost_connection(self) -> None:
        """Note that messages under way, in either direction, may never arrive."""
        self.greeted = False
        self.greet_now = True
        self._send_kept_again = True

    def take(self, sent: Envelope) -> Received | None:
        """Process an envelope from the broker. Returns the message if it is for the peer's owner."""
        try:
            message = decode(sent.kind, sent.body)
        except WireError as error:
            self.dropped += 1
            return self._unreadable(sent, str(error))
        if sent.kind in RESULTS:
            self.kept.pop(sent.request_id, None)
        elif sent.kind in WORK:
            if not self._is_new(sent.request_id):
                return None
        else:
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
        return Received(message, sent.peer, sent.request_id, sent.affinity)

    def _welcomed(self, welcome: Welcome) -> None:
        again = self._send_kept_again or self.welcome is None or self.welcome.epoch != welcome.epoch
        self.welcome, self.greeted, self._send_kept_again = welcome, True, False
        if again:
            kept = set(map(id, self.kept.values()))
            self.outbox = deque([*self.kept.values(), *(e for e in self.outbox if id(e) not in kept)])

    def _is_new(self, request_id: str) -> bool:
        """Whether a request is neither under way nor answered. If it is answered, its result is sent again."""
        if request_id in self.kept:
            self.outbox.append(self.kept[request_id])
            return False
        if request_id in self._unanswered or request_id in self.working:
            return False
        self._unanswered.add(request_id)
        return True

    def _unreadable(self, sent: Envelope, detail: str) -> Received | None:
        """Make a failure of a request or result that cannot be read, since the classroom waits for its result."""
        if sent.kind in RESULTS:
            self.settle((sent.request_id,))
            return Received(Failed(kind="engine", detail=detail), sent.peer, sent.request_id, sent.affinity)
        if sent.kind in WORK:
            failed = Failed(kind="unsupported", detail=detail)
            self.post(envelope(failed, request_id=sent.request_id, affinity=sent.affinity), keep=True)
        return None
