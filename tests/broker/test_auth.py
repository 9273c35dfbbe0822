"""Folders that only their owner can enter, and keys."""

import contextlib
import fcntl
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import zmq
from zmq.utils import z85

from broker import auth, files
from broker.auth import SecurityError
from broker.errors import ProtocolError
from tests.broker.running import short_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's folder for temporary files, for this test; pytest's own `tmp_path` is elsewhere."""
    with short_folder() as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield folder


def test_a_run_finds_its_sockets_by_its_folder_alone(temporary: Path, tmp_path: Path) -> None:
    one, gauges = auth.endpoints("ipc", tmp_path / "run")
    assert (one, gauges) == auth.endpoints("ipc", tmp_path / "elsewhere" / ".." / "run")
    assert one != gauges
    assert one != auth.endpoints("ipc", tmp_path / "other")[0]


def test_folders_that_a_cleaner_removed_are_made_anew_by_the_next_broker(temporary: Path, tmp_path: Path) -> None:
    endpoint, _ = auth.endpoints("ipc", tmp_path)
    folder = auth.ipc_folder(tmp_path)
    folder.rmdir()
    folder.parent.rmdir()
    auth.check_endpoint(endpoint, "")
    for each in (folder, folder.parent):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700


def test_the_folder_of_the_sockets_is_private_and_its_path_short(temporary: Path, tmp_path: Path) -> None:
    folder = auth.ipc_folder(tmp_path / ("long" * 50))
    assert folder.is_relative_to(temporary)
    for each in (folder, folder.parent):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700
    assert len(str(folder)) - len(str(temporary)) < 40


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    with pytest.raises(SecurityError, match="chmod 700"):
        auth.private_folder(folder)


def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SecurityError, match="a link"):
        auth.private_folder(tmp_path / "link")


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(SecurityError, match="another user"):
        auth.private_folder(tmp_path / "mine")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="cannot be made"):
        auth.private_folder(tmp_path / "no" / "such")


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o773])
def test_a_temporary_folder_where_others_could_exchange_the_sockets_is_refused(
    temporary: Path, tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_has_no_other_member", lambda gid: False)
    temporary.chmod(mode)
    with pytest.raises(SecurityError, match=r"other users can write there, .*\n.*TMPDIR .*chmod \+t"):
        auth.endpoints("ipc", tmp_path)
    assert list(temporary.iterdir()) == []
    temporary.chmod(mode | stat.S_ISVTX)
    auth.endpoints("ipc", tmp_path)
    temporary.chmod(0o700)


def test_the_folder_of_the_sockets_goes_with_its_class(temporary: Path, tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), auth.sockets(tmp_path):
        folder = auth.ipc_folder(tmp_path)
        for name in ("work", "gauges"):
            (folder / name).touch()
        raise KeyboardInterrupt
    assert list(folder.parent.iterdir()) == []


def test_what_killed_classes_left_is_removed_and_what_is_in_use_stays(temporary: Path, tmp_path: Path) -> None:
    dead, fresh, mine, older, other = (auth.ipc_folder(tmp_path / name) for name in ("1", "2", "3", "4", "5"))
    (dead / "lock").touch()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(dead / "work"))
    (other / "precious").touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(older / "work"))  # of a version that took no lock
        listening.listen()
        with auth.sockets(tmp_path / "3"), auth.sockets(tmp_path / "6"):
            assert not dead.exists() and not fresh.exists()
            assert mine.exists() and older.exists() and (other / "precious").exists()


def test_a_stopped_broker_does_not_stop_the_start_of_a_class(temporary: Path, tmp_path: Path) -> None:
    older = auth.ipc_folder(tmp_path / "older")
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(older / "work"))
        listening.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:  # until it has no room for another connection
                waiting = opened.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(older / "work"))
        with auth.sockets(tmp_path / "new"):
            assert older.exists()


def test_a_class_that_is_about_to_take_its_folder_does_not_lose_it(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another class removes it between the making of the folder and the lock."""
    real, times = fcntl.flock, iter(["now"])

    def late(file: IO[str], operation: int) -> None:
        if next(times, ""):
            auth._remove(auth.ipc_folder(tmp_path))
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with auth.sockets(tmp_path):
        assert (auth.ipc_folder(tmp_path) / "lock").exists()


def test_a_temporary_folder_that_is_too_deep_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(SecurityError, match="TMPDIR"):
        auth.endpoints("ipc", tmp_path)
    with pytest.raises(SecurityError, match="too long"):
        auth.check_endpoint(f"ipc://{deep}/work", "")


def test_gauges_are_on_the_next_port(tmp_path: Path) -> None:
    assert auth.endpoints("tcp://10.0.0.1:5555", tmp_path) == ("tcp://10.0.0.1:5555", "tcp://10.0.0.1:5556")


@pytest.mark.parametrize("address", ["", "udp://x:1", "tcp://x", "tcp://:5", "tcp://x:0", "tcp://x:65535", "tcp://x:y"])
def test_what_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="no address"):
        auth.endpoints(address, tmp_path)


def test_keys_are_made_once_and_can_be_read_by_nobody_else(tmp_path: Path) -> None:
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


def test_a_process_runs_until_it_has_ended_though_nobody_has_reaped_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert auth.is_running(process.pid)
    assert auth.parent_of(process.pid) in (os.getpid(), 0)
    process.kill()
    if sys.platform == "linux":
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not auth.is_running(process.pid)
    process.communicate()
    assert not auth.is_running(process.pid)
    assert auth.parent_of(process.pid) == 0


def test_a_process_may_have_any_name_and_the_broker_any_number_of_connections() -> None:
    if sys.platform != "linux":
        pytest.skip("processes are looked up in /proc")
    rename = r"import ctypes; ctypes.CDLL(None).prctl(15, b'\xff) \xfe'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        assert auth.parent_of(process.pid) == os.getpid()
        many = [os.dup(0) for _ in range(min(1100, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200))]
        assert auth.is_running(process.pid)
        for one in many:
            os.close(one)
        process.kill()


@pytest.mark.parametrize("address", ["", "127.0.0.1:5", "localhost:0:0", "::1"])
def test_an_address_without_a_process_names_none(address: str) -> None:
    assert auth.process_of(address) == 0


def test_only_known_keys_are_let_in() -> None:
    public, _ = zmq.curve_keypair()
    raw = z85.decode(public)
    question = [b"1.0", b"7", b"class", b"10.0.0.2", b"", b"CURVE", raw]
    assert auth.zap_reply(question, {public: "ann"}) == [b"1.0", b"7", b"200", b"OK", b"ann", b""]
    for refused in ({}, {public[::-1]: "ann"}):
        assert auth.zap_reply(question, refused)[2] == b"400"
    for broken in ([], [b"1.0"], question[:6], [b"2.0", *question[1:]], [*question[:5], b"NULL", raw]):
        assert auth.zap_reply(broken, {public: "ann"})[2] == b"400"
