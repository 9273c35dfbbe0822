"""A named pipe that children write to and hold open: what they say, and the moment the last of them is gone."""

import os
import select
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_S = 600.0


class Witness:
    """The reading end. End of file means that no process holds the writing end any more: nobody is left."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "witness")
        os.mkfifo(self.path)
        self._fd = self._open()
        self._heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def line(self) -> str:
        """The next line that somebody said."""
        while b"\n" not in self._heard:
            data = self._read()
            assert data, "everybody left without a word"
            self._heard += data
        line, self._heard = self._heard.split(b"\n", 1)
        return line.decode()

    def everybody_left(self) -> bool:
        """Whether the last holder goes within the time of patience."""
        while True:
            try:
                data = self._read()
            except TimeoutError:
                return False
            if not data:
                # Once ended, a pipe says so until it is opened anew: others may still come.
                os.close(self._fd)
                self._fd = self._open()
                return True
            self._heard += data

    def _open(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def _read(self) -> bytes:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(PATIENCE_S * 1000):
            raise TimeoutError(f"nothing heard for {PATIENCE_S:.0f} s")
        return os.read(self._fd, 1 << 16)
