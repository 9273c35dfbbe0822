"""Commands to a class that runs: files in the folder `control` of its run, which only its owner can enter.

`run.py ctl` writes a command there. The classroom's loop takes the commands one after the other, in the order of their
names, and writes an answer beside each. Commands that a class did not get to before it ended are removed.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from broker.errors import ScenarioError
from broker.files import check_private, private_folder, write_atomically
from scenarios.session.running import is_running

FOLDER = "control"
COMMAND, ANSWER = ".command", ".answer"
VERSION = 1
"""Of the commands: a class that is run by another version of the program refuses those that it does not know."""
POLL_S = 0.05
"""How often `ask` looks for the answer."""
PROBE_POLLS = 20
"""After so many looks it checks whether the class still runs."""
NOTICE_POLLS = 100
"""After so many looks it says that it waits."""


class ClassCommand(msgspec.Struct, frozen=True):
    """What a class is asked to do."""

    verb: str
    argument: str = ""
    version: int = VERSION


class CommandAnswer(msgspec.Struct, frozen=True):
    """What the class says to a command."""

    done: bool
    text: str
    """What was done, or why not."""


class ControlFolder:
    """The classroom's side; the folder is there while the class runs.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / FOLDER

    def __enter__(self) -> Self:
        self._remove("")  # of a class that was killed
        private_folder(self.path)
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._remove(ANSWER)

    def _remove(self, kept: str) -> None:
        """Remove the folder; answers that nobody has read yet stay until the next session where they are `kept`."""
        with contextlib.suppress(OSError):
            for path in self.path.iterdir():
                if not kept or path.suffix != kept:
                    path.unlink()
            self.path.rmdir()

    def take(self) -> Iterator[tuple[ClassCommand, Path]]:
        """The commands that have come, each with the file to give to `answer`.

        Raises:
            SecurityError: another user could have written them.
        """
        try:
            names = sorted(name for name in os.listdir(self.path) if name.endswith(COMMAND))
        except OSError:
            return
        if names:
            check_private(self.path, folder=True)
        for name in names:
            path = self.path / name
            with contextlib.suppress(OSError):  # its sender may have given up
                content = path.read_bytes()
                try:
                    command = msgspec.json.decode(content, type=ClassCommand)
                except msgspec.DecodeError:
                    command = ClassCommand("", version=0)
                yield command, path

    def answer(self, path: Path, answer: CommandAnswer) -> None:
        """Answer the command in this file, and remove it."""
        with contextlib.suppress(OSError):
            write_atomically(path.with_suffix(ANSWER), msgspec.json.encode(answer), sync=False)
            path.unlink(missing_ok=True)


def ask(run: Path, command: ClassCommand, said: str, waits: Callable[[], None]) -> CommandAnswer | None:
    """Give a command to the class that runs in a folder, and wait for its answer.

    Args:
        run: the run's folder.
        command: the command.
        said: the folder as the user would type it, for errors.
        waits: called once, where the answer takes a while.

    Returns:
        The answer; None: the class ended before it answered.

    Raises:
        ScenarioError: the class takes no commands.
        SecurityError: the folder of commands is open to other users.
    """
    folder = run / FOLDER
    try:
        check_private(folder, folder=True)
        path = folder / f"{time.time_ns():020}-{os.getpid()}{COMMAND}"
        write_atomically(path, msgspec.json.encode(command), sync=False)
    except FileNotFoundError as error:
        raise ScenarioError(
            f"{said}: its class takes no commands now: it is about to begin or to end, or an earlier version of this "
            "program runs it. Try again in a moment."
        ) from error
    answered = path.with_suffix(ANSWER)
    try:
        for poll in range(1, 1 << 62):
            # Looked at first, and the answer last: what is answered in between is found.
            ended = not path.exists() or (poll % PROBE_POLLS == 0 and not is_running(run))
            with contextlib.suppress(FileNotFoundError):
                return msgspec.json.decode(answered.read_bytes(), type=CommandAnswer)
            if ended:
                break
            if poll == NOTICE_POLLS:
                waits()
            time.sleep(POLL_S)
    finally:
        for one in (path, answered):
            with contextlib.suppress(OSError):
                one.unlink()
        with contextlib.suppress(OSError):  # the class has ended, and this was the last answer in it
            if not is_running(run):
                folder.rmdir()
    return None
