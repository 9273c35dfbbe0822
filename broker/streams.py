"""Standard output and standard error that accept any text and ignore the end of their reader.

If the reader closes the pipe early (`| head`), further output is discarded. Characters that the stream's encoding lacks
become question marks.
"""

import errno
import io
import os
import stat
import sys
from typing import Any, TextIO


class _Pipe(io.FileIO):
    """A file descriptor that is replaced by /dev/null when writing to it fails."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            closed = _is_closed(error, self.fileno())
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if not closed:
                raise OSError(error.errno, error.strerror, f"output {self.fileno()}") from error
            return len(data)


def _is_closed(error: OSError, descriptor: int) -> bool:
    """Whether the error means that the reader closed the pipe, or that the terminal was closed."""
    terminal = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(descriptor).st_mode)
    return terminal or isinstance(error, BrokenPipeError)


def protect() -> None:
    """Replace standard output and standard error of this process."""
    sys.stdout = _protected(sys.stdout)
    sys.stderr = _protected(sys.stderr)


def _protected(stream: TextIO) -> TextIO:
    if stream is None:  # the caller closed it (>&-)
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors="replace", line_buffering=True)
