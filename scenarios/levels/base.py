"""What a level is: a state machine from recorded results to what is due next.

A level does no I/O and sees no socket, no clock and no arrival order: what depends on a set waits for the set
and sorts it by id. Feeding recorded results to a fresh level is resume; feeding them to a level with other
settings is replay.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from broker.messages import Feedback, Sampling


class Request(msgspec.Struct, frozen=True):
    """One completion that is due. References only: the classroom fills in the texts when it sends it."""

    id: str
    """Digest of all that decides the completion; see broker.messages.digest."""
    kind: str
    """Teach or Examine."""
    to: str
    """The agent (pool) that is asked."""
    stage: str
    """For progress: greedy, teach, exam."""
    sampling: Sampling
    tp: str
    tr: str = ""
    """Request id of the TR that is the teaching material."""
    ep: str = ""
    repeat: int = 0
    round: int = 0

    @property
    def affinity(self) -> str:
        """Requests that share teaching material share a prompt prefix."""
        return self.tr or self.tp


class Result(msgspec.Struct, frozen=True):
    """What came of a request, graded."""

    request_id: str
    text: str
    answer: str | None
    """As parsed from the text; None: no answer to find."""
    correct: bool
    failed: str = ""
    """Kind of the failure, or empty."""
    completion_tokens: int = 0
    finish_reason: str = "stop"


class Told(msgspec.Struct, frozen=True):
    """Feedback that is due. Sent at most once, and never again on resume."""

    to: str
    feedback: Feedback


class Step(msgspec.Struct, frozen=True):
    """What a result made due."""

    requests: tuple[Request, ...] = ()
    feedback: tuple[Told, ...] = ()


class Level(Protocol):
    """One of the three levels."""

    def begin(self) -> Step:
        """What is due before anything is known."""

    def receive(self, result: Result) -> Step:
        """What `result` makes due. A result that is not awaited changes nothing."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will be due."""

    def totals(self) -> Mapping[str, int]:
        """Requests per stage, as far as it can be known now: shrinks when TRs turn out alike or unparsable."""
