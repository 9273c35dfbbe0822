"""What tests of the wire share."""

import pytest

from tests.broker.broker_under_test import Broker
from tests.ports import free_port


@pytest.fixture
def free_ports() -> tuple[str, str]:
    port = free_port()
    return f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port + 1}"


@pytest.fixture
def broker() -> Broker:
    """A broker state that the classroom has joined."""
    broker = Broker()
    broker.classroom()
    return broker
