"""Reads JSON-lines files, also packed ones (.gz), and folders of JSON files, all of bounded size.

Every error names file and line.

files.py and labels.py, beside this file, check the objects.
"""

import gzip
import re
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
DEPTHS = ("*.json", "*/*.json", "*/*/*.json")
"""Where the problems of a folder are: MATH has `test/algebra/10.json`."""


def objects(path: Path, key: Key) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The objects of a file, each with its line number and, for messages, file and line. Blank lines are skipped.

    Args:
        path: the file.
        key: the scenario's entry that names the file; empty: the command line names it.

    Raises:
        TaskError: the file cannot be read or is too large, or a line is no JSON object.
    """
    for n, where, raw in lines(path, key):
        yield n, where, _decode(raw, where)


def lines(path: Path, key: Key) -> Iterator[tuple[int, str, bytes]]:
    """The lines of a file that are not blank, as `objects` has them.

    Raises:
        TaskError: the file cannot be read or is too large.
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
                    yield n, where, raw
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise TaskError(f"{path}: {why or error}", key=key) from None


def folder(path: Path, key: Key) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The objects in the JSON files of a folder, in the order of their paths.

    Raises:
        TaskError: there is none, a file cannot be read or is no JSON object, or all of them are too large.
    """
    left = MAX_BYTES
    files = sorted(file for depth in DEPTHS for file in path.glob(depth))
    for file in files:
        _refuse_unreadable(file, key)
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise TaskError(f"{file}: {error.strerror or error}", key=key) from None
        left -= len(raw)
        if left < 0 or len(raw) > MAX_LINE:
            what = f"{file} is longer than {MAX_LINE:,}" if left >= 0 else f"{path} has more than {MAX_BYTES:,}"
            raise TaskError(f"{what} bytes; take large files out", key=key)
        yield file, _decode(raw.removeprefix(BOM), str(file), whole=True)
    if not files:
        hint = "; name one of its .jsonl files instead" if any(path.glob("*.jsonl")) else ""
        raise TaskError(f"{path}: a folder without problems (SUBJECT/NUMBER.json){hint}", key=key)


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


def decoded(raw: bytes, where: str) -> str:
    """`raw` as text.

    Raises:
        TaskError: it is not UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise TaskError(f"{where}: not UTF-8 text") from None


def _decode(raw: bytes, where: str, *, whole: bool = False) -> dict[str, Any]:
    """The object in a line, or in a `whole` file; a mistake there is named with its line."""
    text = decoded(raw, where)
    try:
        data = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        if whole:
            at = re.search(r"\(byte (\d+)\)$", str(error))
            line = raw.rstrip().count(b"\n", 0, int(at[1]) if at else len(raw)) + 1
            where += f", line {line}"
        raise TaskError(f"{where}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise TaskError(f"{where}: a JSON object is wanted, not {type(data).__name__}")
    return data
