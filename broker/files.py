"""What other users of this machine could change, and files that are locked. Knows no names of files."""

import os
import stat
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
    if found.st_uid not in (0, os.getuid()):
        return f"belongs to another user (uid {found.st_uid})"
    if found.st_mode & 0o022 and not (sticky and found.st_mode & stat.S_ISVTX):
        return "other users can write there"
    return ""
