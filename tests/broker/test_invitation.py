"""Invitations: their file, and what is refused."""

import json
import stat
from pathlib import Path

import msgspec
import pytest
import zmq

from broker import auth, invitation
from broker.errors import ProtocolError, SecurityError
from broker.invitation import Invitation
from broker.protocol import PROTOCOL
from broker.version import package_version


def example() -> Invitation:
    public, secret = zmq.curve_keypair()
    return invitation.make(
        "far", "student", {"name": "far", "model": "simulated"},
        run=Path("runs/smoke-1"), address="tcp://10.0.0.1:5599", broker_key=zmq.curve_keypair()[0].decode(),
        own_keys=(public.decode(), secret.decode()), answerer="abc", seed=7,
    )  # fmt: skip


def test_an_invitation_is_its_owners_alone_and_is_read_as_it_was_written(tmp_path: Path) -> None:
    written, file = example(), tmp_path / "far.invite"
    invitation.write(file, written)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert invitation.read(file) == written
    assert (written.run, written.run_folder, written.version) == ("smoke-1", "runs/smoke-1", package_version())
    assert written.secret_key not in repr(written)
    with pytest.raises(SecurityError, match="is there already"):
        invitation.write(file, written)


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"version": "0.0.7"}, "version 0.0.7, protocol"), ({"protocol": PROTOCOL + 1}, f"protocol {PROTOCOL + 1}")],
)
def test_another_version_is_refused_and_both_are_named(changed: dict[str, object], named: str, tmp_path: Path) -> None:
    file = tmp_path / "far.invite"
    invitation.write(file, example())
    # A field that this version does not have, in place of one that it needs.
    plain = json.loads(file.read_text()) | changed | {"seed": "of another type"}
    file.write_text(json.dumps(plain))
    with pytest.raises(ProtocolError, match=named) as refused:
        invitation.read(file)
    assert f"this host has version {package_version()}, protocol {PROTOCOL}" in str(refused.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", "no JSON", '{"protocol": []}', "\udcff"])
def test_a_damaged_invitation_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "far.invite"
    file.touch(0o600)
    file.write_text(content, errors="surrogateescape")
    with pytest.raises(ProtocolError, match=r"far\.invite"):
        invitation.read(file)


@pytest.mark.parametrize("field", ["broker_key", "public_key", "secret_key"])
def test_a_damaged_key_is_refused_without_being_shown(field: str, tmp_path: Path) -> None:
    file, damaged = tmp_path / "far.invite", msgspec.structs.replace(example(), **{field: "not a key at all"})
    invitation.write(file, damaged)
    with pytest.raises(ProtocolError) as refused:
        invitation.read(file)
    assert field in str(refused.value) and "not a key at all" not in str(refused.value)


def test_keys_that_are_none_are_refused_before_a_connection(tmp_path: Path) -> None:
    file = tmp_path / "far.invite"
    invitation.write(file, msgspec.structs.replace(example(), secret_key="~" * 40))
    damaged = pytest.raises(SecurityError, match="a key in it is damaged")
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket, damaged as refused:
        auth.secure_client(socket, file, "far")
    assert "~~" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value"), [("name", "../far"), ("name", "far\n"), ("address", "tcp://h:1\n"), ("address", "ipc://h:1")]
)
def test_a_name_or_an_address_that_is_none_is_refused(field: str, value: str, tmp_path: Path) -> None:
    file = tmp_path / "far.invite"
    invitation.write(file, msgspec.structs.replace(example(), **{field: value}))
    with pytest.raises(ProtocolError, match=rf"\$\.{field}"):
        invitation.read(file)


def test_an_invitation_that_others_can_read_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "far.invite"
    with pytest.raises(SecurityError, match="no invitation to be read"):
        invitation.read(file)
    invitation.write(file, example())
    file.chmod(0o640)
    with pytest.raises(SecurityError, match="chmod 600"):
        invitation.read(file)
