"""Files: what other users of this machine could change, files that are locked, and files that are replaced whole."""

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def open_lock(path: Path) -> IO[str]:
    """Open a file for locking, made if it is missing: never through a link, and without a change to what is in it.

    Raises:
        OSError: it is a link, or cannot be opened.
    """
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")


def changeable(path: Path, *, sticky: bool = False) -> str:
    """How others than this user and root could change what lies at `path`; empty: they cannot.

    Args:
        path: a link stands for what it leads to.
        sticky: a folder in which each user may touch only what is theirs is good enough, such as /tmp.

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


def write_atomically(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file so that a reader sees the old content or the new, and never a part of it.

    Args:
        path: the file; its folder exists.
        content: the new content.
        sync: whether the new content must survive a power cut. It takes milliseconds.

    Raises:
        OSError: the file cannot be written; it stays as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if sync:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name must survive, too
        finally:
            os.close(folder)


@contextlib.contextmanager
def if_writable() -> Iterator[None]:
    """Leave it out where this user may not write, or where the disk is read-only."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _root() -> int:
    """The uid of root. Some containers do not know root; there root's files belong to the overflow uid."""
    try:
        mapped = [line.split()[0] for line in Path("/proc/self/uid_map").read_text().splitlines()]
        return 0 if "0" in mapped else int(Path("/proc/sys/kernel/overflowuid").read_text())
    except OSError:
        return 0


def _has_no_other_member(gid: int) -> bool:
    """Whether a group is this user's alone: many systems make one for each user but root, and let it write."""
    try:
        user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(gid)
    except KeyError:
        return False
    return os.getuid() != 0 and group.gr_name == user and set(group.gr_mem) <= {user}
