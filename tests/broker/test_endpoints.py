"""Addresses of the broker, and the private folder of its sockets."""

import contextlib
import fcntl
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from broker import files
from broker.endpoints import check_endpoint, endpoints, ipc_folder, lock_ipc_folder, remove_ipc_folder
from broker.errors import ProtocolError, SecurityError
from tests.broker.running import short_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's folder for temporary files, for this test; pytest's own `tmp_path` is elsewhere."""
    with short_folder() as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield folder


def test_a_run_finds_its_sockets_by_its_folder_alone(temporary: Path, tmp_path: Path) -> None:
    one, gauges = endpoints("ipc", tmp_path / "run")
    assert (one, gauges) == endpoints("ipc", tmp_path / "elsewhere" / ".." / "run")
    assert one != gauges
    assert one != endpoints("ipc", tmp_path / "other")[0]


def test_folders_that_a_cleaner_removed_are_made_anew_by_the_next_broker(temporary: Path, tmp_path: Path) -> None:
    endpoint, _ = endpoints("ipc", tmp_path)
    folder = ipc_folder(tmp_path)
    folder.rmdir()
    folder.parent.rmdir()
    check_endpoint(endpoint, "")
    for each in (folder, folder.parent):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700


def test_the_folder_of_the_sockets_is_private_and_its_path_short(temporary: Path, tmp_path: Path) -> None:
    folder = ipc_folder(tmp_path / ("long" * 50))
    assert folder.is_relative_to(temporary)
    for each in (folder, folder.parent):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700
    assert len(str(folder)) - len(str(temporary)) < 40


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o773])
def test_a_temporary_folder_where_others_could_exchange_the_sockets_is_refused(
    temporary: Path, tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_has_no_other_member", lambda gid: False)
    temporary.chmod(mode)
    with pytest.raises(SecurityError, match=r"other users can write there, .*\n.*TMPDIR .*chmod \+t"):
        endpoints("ipc", tmp_path)
    assert list(temporary.iterdir()) == []
    temporary.chmod(mode | stat.S_ISVTX)
    endpoints("ipc", tmp_path)
    temporary.chmod(0o700)


def test_the_folder_of_the_sockets_goes_with_its_class(temporary: Path, tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), lock_ipc_folder(tmp_path):
        folder = ipc_folder(tmp_path)
        for name in ("work", "gauges"):
            (folder / name).touch()
        raise KeyboardInterrupt
    assert list(folder.parent.iterdir()) == []


def test_folders_that_killed_classes_left_are_removed_and_those_in_use_stay(temporary: Path, tmp_path: Path) -> None:
    dead, fresh, mine, older, other = (ipc_folder(tmp_path / name) for name in ("1", "2", "3", "4", "5"))
    (dead / "lock").touch()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(dead / "work"))
    (other / "precious").touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(older / "work"))  # of a version that took no lock
        listening.listen()
        with lock_ipc_folder(tmp_path / "3"), lock_ipc_folder(tmp_path / "6"):
            assert not dead.exists() and not fresh.exists()
            assert mine.exists() and older.exists() and (other / "precious").exists()


def test_a_stopped_broker_does_not_stop_the_start_of_a_class(temporary: Path, tmp_path: Path) -> None:
    older = ipc_folder(tmp_path / "older")
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(older / "work"))
        listening.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:  # until it has no room for another connection
                waiting = opened.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(older / "work"))
        with lock_ipc_folder(tmp_path / "new"):
            assert older.exists()


def test_a_class_that_is_about_to_take_its_folder_does_not_lose_it(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another class removes it between the making of the folder and the lock."""
    real, times = fcntl.flock, iter(["now"])

    def late(file: IO[str], operation: int) -> None:
        if next(times, ""):
            remove_ipc_folder(ipc_folder(tmp_path))
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with lock_ipc_folder(tmp_path):
        assert (ipc_folder(tmp_path) / "lock").exists()


def test_a_temporary_folder_that_is_too_deep_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(SecurityError, match="TMPDIR"):
        endpoints("ipc", tmp_path)
    with pytest.raises(SecurityError, match="too long"):
        check_endpoint(f"ipc://{deep}/work", "")


def test_gauges_are_on_the_next_port(tmp_path: Path) -> None:
    assert endpoints("tcp://10.0.0.1:5555", tmp_path) == ("tcp://10.0.0.1:5555", "tcp://10.0.0.1:5556")


@pytest.mark.parametrize("address", ["", "udp://x:1", "tcp://x", "tcp://:5", "tcp://x:0", "tcp://x:65535", "tcp://x:y"])
def test_an_invalid_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="no address"):
        endpoints(address, tmp_path)
