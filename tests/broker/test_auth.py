"""CURVE keys: their files, and which keys the broker accepts."""

import asyncio
import os
import stat
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from broker import auth
from broker.authenticator import KeyFolderAuthenticator
from broker.errors import SecurityError


def test_keys_are_made_once_and_no_other_user_can_read_them(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    auth.make_keys(keys, ["ann"])
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    auth.make_keys(keys, ["ann", "bob"])
    assert sorted(path.name for path in keys.iterdir()) == [
        "ann.key", "ann.pub", "bob.key", "bob.pub", "broker.key", "broker.pub",
    ]  # fmt: skip
    assert all((keys / name).read_bytes() == text for name, text in before.items())
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys.iterdir())


def test_a_key_pair_that_is_half_made_is_made_anew(tmp_path: Path) -> None:
    auth.make_keys(tmp_path / "keys", ["ann"])
    (tmp_path / "keys" / "ann.key").unlink()
    auth.make_keys(tmp_path / "keys", ["ann"])
    secret = (tmp_path / "keys" / "ann.key").read_bytes().strip()
    assert zmq.curve_public(secret) == (tmp_path / "keys" / "ann.pub").read_bytes().strip()


@pytest.mark.parametrize("name", ["", "../ann", "a b", ".ann", "x" * 65])
def test_a_name_that_is_no_file_name_gets_no_key(name: str, tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="cannot name"):
        auth.make_keys(tmp_path / "keys", [name])


def test_the_broker_itself_is_not_on_the_list(tmp_path: Path) -> None:
    auth.make_keys(tmp_path / "keys", ["ann"])
    assert list(auth.allow_list(tmp_path / "keys").values()) == ["ann"]


def test_a_ring_names_keys_and_reports_those_that_were_withdrawn_once(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    auth.make_keys(keys, ["bob"])
    public, secret = auth.admit(keys, "ann")
    assert zmq.curve_public(secret.encode()).decode() == public == auth.public_key(keys, "ann")
    assert not (keys / "ann.key").exists(), "the secret key is kept with the invitation alone"
    ring = auth.KeyRing(keys)
    assert (ring.reload(), ring.name_of(public), ring.name_of(secret)) == ([], "ann", "")
    assert auth.revoke(keys, "ann") and not auth.revoke(keys, "ann")
    assert (ring.reload(), ring.reload(), ring.name_of(public)) == (["ann"], [], "")
    again, _ = auth.admit(keys, "ann")
    assert (ring.reload(), ring.name_of(again), ring.name_of(public)) == ([], "ann", "")
    auth.admit(keys, "ann")
    assert ring.reload() == ["ann"], "another key took the place of the one before"


def test_a_ring_notices_two_changes_at_one_time_of_a_coarse_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "SETTLED_NS", 10**18)
    keys = tmp_path / "keys"
    auth.make_keys(keys, [])
    auth.admit(keys, "ann")
    ring, before = auth.KeyRing(keys), keys.stat()
    assert ring.reload() == []
    auth.revoke(keys, "ann")
    os.utime(keys, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ring.reload() == ["ann"]


def test_a_peer_that_is_invited_keeps_no_secret_key_of_before(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    auth.make_keys(keys, ["ann"])
    invited, _ = auth.admit(keys, "ann")
    assert not (keys / "ann.key").exists()
    auth.make_keys(keys, ["ann"])  # it is started by the class again
    assert zmq.curve_public((keys / "ann.key").read_bytes().strip()).decode() == auth.public_key(keys, "ann") != invited


def test_a_ring_keeps_its_keys_while_a_file_is_damaged(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    auth.make_keys(keys, ["ann"])
    public, ring = auth.public_key(keys, "ann"), auth.KeyRing(keys)
    assert ring.reload() == []
    (keys / "bad.pub").write_text("short")
    with pytest.raises(SecurityError, match=r"bad\.pub"):
        ring.reload()
    assert ring.name_of(public) == "ann"
    (keys / "bad.pub").unlink()
    assert (ring.reload(), ring.name_of(public)) == ([], "ann")


@pytest.mark.parametrize("damage", ["missing", "open", "short"])
def test_a_key_that_is_missing_open_or_damaged_is_refused(damage: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    auth.make_keys(keys, ["ann"])
    path = keys / "ann.key"
    match damage:
        case "missing":
            path.unlink()
        case "open":
            path.chmod(0o644)
        case _:
            path.write_text("short")
    refused = pytest.raises(SecurityError, match=r"ann\.key")
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket, refused:
        auth.secure_client(socket, keys, "ann")


class ReplyRecorder:
    """Stands for the ZAP socket; keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []

    def send_multipart(self, frames: list[bytes]) -> None:
        self.sent.append(frames)

    def close(self) -> None:
        pass


def test_only_keys_in_the_folder_are_accepted(tmp_path: Path) -> None:
    folder, recorder = tmp_path / "keys", ReplyRecorder()
    auth.make_keys(folder, ["ann"])
    known, unknown = z85.decode((folder / "ann.pub").read_bytes().strip()), z85.decode(zmq.curve_keypair()[0])
    refused: list[str] = []
    with zmq.Context() as context:
        authenticator = KeyFolderAuthenticator(context, folder, refused.append)
        authenticator.zap_socket = recorder  # type: ignore[assignment]

        def replies(request: list[bytes]) -> list[list[bytes]]:
            recorder.sent.clear()
            asyncio.run(authenticator.handle_zap_message(request))
            return list(recorder.sent)

        question = [b"1.0", b"7", b"class", b"10.0.0.2", b"", b"CURVE", known]
        assert replies(question) == [[b"1.0", b"7", b"200", b"OK", z85.encode(known), b""]]
        [reply] = replies([*question[:2], b"gauges", *question[3:]])
        assert reply[2] == b"400", "agents do not read the gauges"
        assert refused == []
        [reply] = replies([*question[:6], unknown])
        assert (reply[2], reply[4]) == (b"400", b"")
        assert refused == ["refused a connection from 10.0.0.2: unknown key"]
        broken = [[], [b"1.0"], question[:6], [b"2.0", *question[1:]], [*question[:5], b"NULL", known]]
        for request in (*broken, [*question[:2], b"another domain", *question[3:]]):
            assert all(reply[2] == b"400" for reply in replies(request)), request
        (folder / "bad.pub").write_text("short")
        [reply] = replies(question)
        assert reply[2] == b"400"
        assert "rejecting all connections: " in refused[-2]
        (folder / "bad.pub").unlink()
        (folder / "ann.pub").unlink()
        [reply] = replies(question)
        assert reply[2] == b"400", "the key was removed"
