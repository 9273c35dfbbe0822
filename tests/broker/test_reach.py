"""Whether a broker can be reached: each reason why not is named."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import auth
from broker.errors import ProtocolError
from broker.reach import check_reachable
from broker.server import BrokerSpec
from tests.broker.running import PATIENCE_S, serving

TRY_S = 3.0
"""Time of checks that fail at its end; a busy machine needs some of it to connect at all."""


@pytest.fixture
def spec(tmp_path: Path, free_ports: tuple[str, str]) -> BrokerSpec:
    auth.make_keys(tmp_path / "keys", ["classroom", "ann"])
    return BrokerSpec(endpoint=free_ports[0], gauges=free_ports[1], keys=str(tmp_path / "keys"))


@pytest.fixture
def listening(free_ports: tuple[str, str]) -> Iterator[None]:
    """Something that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", int(free_ports[0].rpartition(":")[2]))):
        yield


def test_a_broker_that_accepts_the_key_is_reached(spec: BrokerSpec) -> None:
    with serving(spec):
        check_reachable(spec.endpoint, "ann", Path(spec.keys), PATIENCE_S)


def test_a_broker_that_starts_a_moment_later_is_reached(spec: BrokerSpec) -> None:
    errors: list[BaseException] = []

    def check() -> None:
        try:
            check_reachable(spec.endpoint, "ann", Path(spec.keys), PATIENCE_S)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=check)
    thread.start()
    with serving(spec):
        thread.join(PATIENCE_S)
    assert not thread.is_alive() and not errors


def test_a_closed_port_is_named(spec: BrokerSpec) -> None:
    with pytest.raises(ProtocolError, match=f"{spec.endpoint}: no broker can be reached there .*: Connection refused"):
        check_reachable(spec.endpoint, "ann", Path(spec.keys), TRY_S)


def test_a_host_without_an_address_is_named(spec: BrokerSpec) -> None:
    with pytest.raises(ProtocolError, match=r"tcp://no-such-host\.invalid:5599: no broker can be reached there"):
        check_reachable("tcp://no-such-host.invalid:5599", "ann", Path(spec.keys), 0.5)


@pytest.mark.usefixtures("listening")
def test_a_server_that_is_no_broker_is_named(spec: BrokerSpec) -> None:
    with pytest.raises(ProtocolError, match="is not the broker of this invitation"):
        check_reachable(spec.endpoint, "ann", Path(spec.keys), TRY_S)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:99999", f"tcp://{'a' * 70}:5599"])
def test_an_address_that_cannot_be_one_is_named(endpoint: str, spec: BrokerSpec) -> None:
    with pytest.raises(ProtocolError, match=f"{endpoint}: no broker can be reached there"):
        check_reachable(endpoint, "ann", Path(spec.keys), 0.5)


def test_a_key_that_was_revoked_is_named(spec: BrokerSpec, tmp_path: Path) -> None:
    auth.make_keys(tmp_path / "old", ["ann"])
    (tmp_path / "old" / "broker.pub").write_bytes((Path(spec.keys) / "broker.pub").read_bytes())
    with serving(spec), pytest.raises(ProtocolError, match="does not accept the key of ann"):
        check_reachable(spec.endpoint, "ann", tmp_path / "old", PATIENCE_S)
