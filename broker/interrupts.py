"""Handle Ctrl-C and SIGTERM: they end this program at any moment.

The handler raises no exception, since libraries swallow KeyboardInterrupt in callbacks, destructors and imports. It
ends the process, which is always safe: children end with their parent (broker/child_process.py), and class.db survives
the death of its writer. A running class handles the first signal itself, to finish the requests under way. This module
imports very little, so that run.py can install the handler first.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NoReturn

EXIT_CODE = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_TERMINAL = b"\x1b[?1049l\x1b[?25h"
"""Escape codes that leave the alternate screen and show the cursor."""


class Interrupts:
    """The handler of Ctrl-C and SIGTERM in this process."""

    on_alternate_screen: ClassVar[bool] = False
    """Whether the live monitor covers the terminal."""

    def __init__(self) -> None:
        self.words = "Interrupted."
        """Printed when the process ends; empty: nothing."""
        self.left_to_class = False
        """Whether a signal called the function of `on_first_signal`: the class then ended early."""
        self._on_first: Callable[[], None] | None = None
        self._terminal: list[Any] | None = None

    def install(self) -> None:
        """Install the handler. Call it in the main thread, before other modules are imported."""
        if os.isatty(0):
            import termios

            with contextlib.suppress(termios.error):
                self._terminal = termios.tcgetattr(0)
        for each in SIGNALS:
            if signal.getsignal(each) != signal.SIG_IGN:  # shells start background jobs so
                signal.signal(each, self._handle)

    @contextlib.contextmanager
    def on_first_signal(self, then: Callable[[], None]) -> Iterator[None]:
        """In this context the first signal calls `then`, and the next one ends the process."""
        self._on_first = then
        try:
            yield
        finally:
            self._on_first = None

    def _handle(self, number: int, frame: object) -> None:
        then, self._on_first = self._on_first, None
        if then is None:
            self.leave()
        self.left_to_class = True
        then()

    def leave(self) -> NoReturn:
        """Restore the terminal, print `words`, and end the process with exit code 130."""
        with contextlib.suppress(OSError):
            if self.on_alternate_screen:
                os.write(1, SHOW_TERMINAL)  # the live monitor redirects sys.stdout
            self._restore_keyboard()
            if self.words:
                os.write(2, f"{self.words}\n".encode(errors="replace"))
        os._exit(EXIT_CODE)

    def _restore_keyboard(self) -> None:
        if self._terminal is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self._terminal)


INTERRUPTS = Interrupts()
"""Of run.py."""
