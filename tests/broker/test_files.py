"""What other users could change, and files that are replaced whole."""

import contextlib
import errno
import grp
import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.errors import SecurityError
from broker.files import changeable, private_folder, write_atomically


@pytest.mark.parametrize(
    ("group", "others", "why"),
    [
        ("me", [], ""),
        ("me", ["me"], ""),
        ("me", ["you"], "other users can write"),
        ("staff", [], "other users can write"),
    ],
)
def test_a_group_of_this_user_alone_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, others: list[str], why: str
) -> None:
    """Many systems give each user such a group, and a umask by which it may write."""
    tmp_path.chmod(0o775)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid or 4711)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="me"))
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name=group, gr_mem=others))
    found = changeable(tmp_path)
    assert found.startswith(why) and bool(found) == bool(why)
    tmp_path.chmod(0o777)
    assert changeable(tmp_path)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("uid_map", "why"), [("1000 1000 1", ""), ("0 1000 1", "belongs"), ("0 0 4294967295", "belongs")]
)
def test_in_a_container_that_does_not_know_root_its_files_are_trusted(
    monkeypatch: pytest.MonkeyPatch, uid_map: str, why: str
) -> None:
    texts = {"/proc/self/uid_map": f"{uid_map}\n", "/proc/sys/kernel/overflowuid": "65534\n"}
    monkeypatch.setattr(Path, "read_text", lambda path: texts[str(path)])
    monkeypatch.setattr(Path, "stat", lambda _: SimpleNamespace(st_uid=65534, st_gid=65534, st_mode=0o41777))
    found = changeable(Path("/somewhere"), sticky=True)
    assert found.startswith(why) and bool(found) == bool(why)


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    with pytest.raises(SecurityError, match="chmod 700"):
        private_folder(folder)


def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SecurityError, match="a link"):
        private_folder(tmp_path / "link")


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(SecurityError, match="another user"):
        private_folder(tmp_path / "mine")


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="cannot be made"):
        private_folder(tmp_path / "no" / "such")


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path, sync: bool) -> None:
    file = tmp_path / "file"
    for content in (b"old" * 9, b"new"):
        write_atomically(file, content, sync=sync)
        assert file.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_that_cannot_be_replaced_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*args: object) -> None:
        raise OSError("disk full")

    file = tmp_path / "file"
    file.write_bytes(b"old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, b"new")
    assert (file.read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_cannot_sync_folders_is_no_failure_and_a_broken_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    sync = os.fsync

    def without_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(error, os.strerror(error))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", without_folders)
    expected = contextlib.nullcontext() if error == errno.EINVAL else pytest.raises(OSError, match=os.strerror(error))
    with expected:
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
