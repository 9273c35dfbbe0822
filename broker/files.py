"""Files: private folders, what other users of this machine could change, locked files, and files replaced whole."""

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from broker.errors import SecurityError


def private_folder(folder: Path) -> Path:
    """`folder`, created if it is missing. Only this user can enter it.

    Raises:
        SecurityError: it belongs to another user, is open to others, or is no folder.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SecurityError(f"{folder}: cannot be made: {error.strerror}") from error
    check_private(folder, folder=True)
    return folder


def check_private(path: Path, *, folder: bool = False) -> None:
    """Refuse a file or folder that is not this user's alone.

    Raises:
        SecurityError: the reason, and what to do.
        OSError: nothing is there.
    """
    found = path.lstat()
    if stat.S_IFMT(found.st_mode) != (stat.S_IFDIR if folder else stat.S_IFREG):
        raise SecurityError(f"{path}: not a {'folder' if folder else 'file'}, or a link; remove it")
    if found.st_uid != os.getuid():
        raise SecurityError(f"{path}: belongs to another user (uid {found.st_uid}); remove it, or set TMPDIR")
    if found.st_mode & 0o077:
        raise SecurityError(f"{path}: open to others; close it with `chmod {700 if folder else 600} {path}`")


def open_lock(path: Path) -> IO[str]:
    """Open a file for locking and keep its contents; create it if it is missing. Links are not followed.

    Raises:
        OSError: it is a link, or cannot be opened.
    """
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on `path`; call `on_wait` once if another process holds it. A dead process holds no lock.

    Raises:
        OSError: the file cannot be opened, or is a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_lock(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def changeable(path: Path, *, sticky: bool = False) -> str:
    """How users other than this one and root could change `path`; empty: they cannot.

    Args:
        path: links are followed.
        sticky: accept a folder with the sticky bit, such as /tmp, where users cannot touch each other's files.

    Raises:
        OSError: nothing is there.
    """
    found = path.stat()
    if found.st_uid not in (os.getuid(), _root()):
        return f"belongs to another user (uid {found.st_uid})"
    others = 0o002 if _has_no_other_member(found.st_gid) else 0o022
    if found.st_mode & others and not (sticky and found.st_mode & stat.S_ISVTX):
        return "other users can write there"
    return ""


def write_atomically(path: Path, content: bytes, *, sync: bool = True, mode: int = 0o666) -> None:
    """Write a file so that a reader sees the old content or the new, and never a part of it.

    Args:
        path: the file; its folder exists.
        content: the new content.
        sync: whether the new content must survive a power cut. It takes milliseconds.
        mode: of the new file, without the bits of the umask.

    Raises:
        OSError: the file cannot be written; it stays as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Let the names of new files survive a power cut, on file systems that can; the files are written in any case."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some shared and FUSE file systems sync no folders
            raise
    finally:
        os.close(opened)


@contextlib.contextmanager
def if_writable() -> Iterator[None]:
    """Ignore errors that mean that this user may not write here, or that the disk is read-only."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _root() -> int:
    """The uid that owns root's files. In containers that do not map root it is the overflow uid."""
    try:
        mapped = [line.split()[0] for line in Path("/proc/self/uid_map").read_text().splitlines()]
        return 0 if "0" in mapped else int(Path("/proc/sys/kernel/overflowuid").read_text())
    except OSError:
        return 0


def _has_no_other_member(gid: int) -> bool:
    """Whether this user is the only member of a group. Many systems make such a group for each user."""
    try:
        user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(gid)
    except KeyError:
        return False
    return os.getuid() != 0 and group.gr_name == user and set(group.gr_mem) <= {user}
