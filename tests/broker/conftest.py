"""What tests of the wire share."""

import socket

import pytest

from tests.broker.broker_under_test import Broker


@pytest.fixture
def free_ports() -> tuple[str, str]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return tuple(f"tcp://127.0.0.1:{one.getsockname()[1]}" for one in (first, second))  # type: ignore[return-value]


@pytest.fixture
def broker() -> Broker:
    """A broker state that the classroom has joined."""
    broker = Broker()
    broker.classroom()
    return broker
