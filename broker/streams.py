"""Standard output and standard error that outlive their reader and take any text.

A reader that leaves early (`| head`) is no error: what is written afterwards goes nowhere. Characters that the
stream's encoding lacks become question marks.
"""

import errno
import io
import os
import stat
import sys
from typing import Any, TextIO


class _Pipe(io.FileIO):
    """A file descriptor that turns into /dev/null when it cannot be written any more."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            left = _has_left(error, self.fileno())
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if not left:
                raise OSError(error.errno, error.strerror, f"output {self.fileno()}") from error
            return len(data)


def _has_left(error: OSError, descriptor: int) -> bool:
    """Whether the reader is gone: a pipe is closed, or a terminal is."""
    closed = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(descriptor).st_mode)
    return closed or isinstance(error, BrokenPipeError)


def protect() -> None:
    """Replace this process's standard output and standard error by such streams."""
    sys.stdout = _protected(sys.stdout)
    sys.stderr = _protected(sys.stderr)


def _protected(stream: TextIO) -> TextIO:
    if stream is None:  # closed by the caller (>&-): Python leaves it out
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors="replace", line_buffering=True)
