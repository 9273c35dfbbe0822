"""What the broker's state machine asks its I/O loop to do: one small frozen struct for each kind of action."""

from typing import Literal

import msgspec

from broker.protocol import Envelope, envelope
from broker.work_messages import Message


class Send(msgspec.Struct, frozen=True):
    """Send the envelope to the peer. It may wait, in order, until the peer reads."""

    peer: bytes
    envelope: Envelope


class DiscardOutbox(msgspec.Struct, frozen=True):
    """Discard the messages that wait for this peer."""

    peer: bytes


class LogLine(msgspec.Struct, frozen=True):
    """Write a line to the log."""

    text: str
    level: Literal["info", "warning", "dropped"] = "info"
    """dropped: a peer sent something that it may not send. Peers can cause any number of these; most are left out."""


Action = Send | DiscardOutbox | LogLine


class ActionList:
    """Collects the actions for one event. It knows which peer is the classroom, and counts dropped messages."""

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.classroom: bytes | None = None
        self.dropped = 0
        """Messages that could not be read, or that their sender may not send."""

    def start(self) -> list[Action]:
        """Begin an empty list, and return it."""
        self.actions = []
        return self.actions

    def forward(self, peer: bytes, envelope: Envelope) -> None:
        """Send an envelope as it came."""
        self.actions.append(Send(peer, envelope))

    def forward_to_classroom(self, envelope: Envelope) -> None:
        """Send an envelope to the classroom, if it is connected."""
        if self.classroom is not None:
            self.actions.append(Send(self.classroom, envelope))

    def send(self, peer: bytes, message: Message) -> None:
        """Send a message of the broker."""
        self.actions.append(Send(peer, envelope(message)))

    def send_to_classroom(self, message: Message) -> None:
        """Send a message of the broker to the classroom, if it is connected."""
        if self.classroom is not None:
            self.send(self.classroom, message)

    def discard_outbox(self, peer: bytes) -> None:
        """Discard the messages that wait for a peer."""
        self.actions.append(DiscardOutbox(peer))

    def log(self, text: str) -> None:
        """Log a line."""
        self.actions.append(LogLine(text))

    def warn(self, text: str) -> None:
        """Log a warning."""
        self.actions.append(LogLine(text, "warning"))

    def drop(self, text: str) -> None:
        """Count a dropped message and log the reason."""
        self.dropped += 1
        self.actions.append(LogLine(text, "dropped"))
