"""Ctrl-C and SIGTERM end this program, whatever it does when they come.

No exception is raised: libraries swallow KeyboardInterrupt in callbacks, destructors and imports, and the program would
go on as if nothing had happened. The signal handler itself ends the process, which is safe at any moment: children end
with their parent (broker/child_process.py), and class.db survives the death of its writer. A running class takes the
first signal itself, to finish what is under way. This file imports next to nothing, so that run.py can use it first.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NoReturn

EXIT_CODE = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_TERMINAL = b"\x1b[?1049l\x1b[?25h"
"""Leave the alternate screen and show the cursor, as a terminal was before anything was drawn on it."""


class Interrupts:
    """What Ctrl-C and SIGTERM do in this process."""

    on_alternate_screen: ClassVar[bool] = False
    """Whether a live picture covers the terminal."""

    def __init__(self) -> None:
        self.words = "Interrupted."
        """What is printed at the end; empty: nothing."""
        self._then: Callable[[], None] | None = None
        self._terminal: list[Any] | None = None

    def install(self) -> None:
        """Take the signals over. Call it in the main thread, before anything else is imported."""
        if os.isatty(0):
            import termios

            with contextlib.suppress(termios.error):
                self._terminal = termios.tcgetattr(0)
        for each in SIGNALS:
            if signal.getsignal(each) != signal.SIG_IGN:  # as a shell starts jobs in the background
                signal.signal(each, self._handle)

    @contextlib.contextmanager
    def first(self, then: Callable[[], None]) -> Iterator[None]:
        """Within this context the first signal calls `then`, and the next one ends the process."""
        self._then = then
        try:
            yield
        finally:
            self._then = None

    def _handle(self, number: int, frame: object) -> None:
        then, self._then = self._then, None
        if then is None:
            self.leave()
        then()

    def leave(self) -> NoReturn:
        """End the process now: restore the terminal, say `words`, exit with code 130."""
        with contextlib.suppress(OSError):
            if self.on_alternate_screen:
                os.write(1, SHOW_TERMINAL)  # the descriptor: a live picture redirects sys.stdout
            self._restore_keyboard()
            if self.words:
                os.write(2, f"{self.words}\n".encode(errors="replace"))
        os._exit(EXIT_CODE)

    def _restore_keyboard(self) -> None:
        if self._terminal is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self._terminal)
