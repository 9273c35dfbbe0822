"""Reads JSON-lines files of bounded size, also packed ones (.gz); every error names the line.

files.py and labels.py, beside this file, check the objects.
"""

import gzip
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from broker.errors import Key, TaskError

MAX_BYTES = 64 << 20
"""Largest file: its content is kept in memory."""
MAX_LINE = 1 << 20
"""Most bytes of one line: its content must fit a message."""
BOM = b"\xef\xbb\xbf"


def objects(path: Path, key: Key) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The objects of a file, each with its line number and, for messages, file and line. Blank lines are skipped.

    Args:
        path: the file.
        key: the scenario's entry that names the file; empty: the command line names it.

    Raises:
        TaskError: the file cannot be read or is too large, or a line is no JSON object.
    """
    _refuse_unreadable(path, key)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            n, left = 0, MAX_BYTES
            while raw := file.readline(MAX_LINE + 1):
                n, left = n + 1, left - len(raw)
                where = f"{path}, line {n}"
                if len(raw) > MAX_LINE:
                    raise TaskError(f"{where}: longer than {MAX_LINE:,} bytes")
                if left < 0:
                    raise TaskError(f"{where}: the file has grown beyond {MAX_BYTES:,} bytes while it was read")
                raw = raw.removeprefix(BOM) if n == 1 else raw
                if raw.strip():
                    yield n, where, _decode(raw, where)
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise TaskError(f"{path}: {why or error}", key=key) from None


def _refuse_unreadable(path: Path, key: Key) -> None:
    """Refuse what is not a plain file before it is opened: opening a pipe could wait forever."""
    try:
        about = path.stat()
    except FileNotFoundError as error:
        hint = "\nthe head of the scenario may say where it is from; docs/your-own-problems.md says what it holds"
        raise TaskError(f"{path}: {error.strerror}{hint if key else ''}", key=key) from None
    except OSError as error:
        raise TaskError(f"{path}: {error.strerror or error}", key=key) from None
    except ValueError as error:
        raise TaskError(f"{str(path)!r}: not a file name: {error}", key=key) from None
    if not stat.S_ISREG(about.st_mode):
        raise TaskError(f"{path} is {'a folder' if stat.S_ISDIR(about.st_mode) else 'no plain file'}", key=key)
    if about.st_size > MAX_BYTES:
        raise TaskError(f"{path} has {about.st_size:,} bytes, and at most {MAX_BYTES:,} are read; cut it", key=key)


def _decode(raw: bytes, where: str) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise TaskError(f"{where}: not UTF-8 text") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise TaskError(f"{where}: a JSON object is wanted, not {type(data).__name__}")
    return data
