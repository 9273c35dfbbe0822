"""The errors of the program; run.py catches the root and prints it in one to three lines.

    LbtError            a mistake or a failure that the user can act on
      ScenarioError     the command, the scenario file or an override is wrong
      TaskError         the problems of a class cannot be built or graded as asked
      ModelError        a model cannot be found, fetched or loaded
      PlacementError    the agents do not fit this machine
      EngineError       an engine cannot start, or cannot answer a request
      StoreError        class.db cannot be read or written
      ProtocolError     a message, a connection or a key is not as the wire needs it
        SecurityError   a folder or file is open to other users, or a key is missing

An exception of any other kind is a bug, and so is a traceback without --debug.
"""

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

KEPT = "; nothing recorded was lost"
DATABASE = {
    "SQLITE_FULL": f"the disk is full{KEPT}",
    "SQLITE_IOERR_WRITE": f"it cannot be written: is the disk full, over a quota, or failing?{KEPT}",
    "SQLITE_READONLY": f"it cannot be written: the disk or the file has become read-only{KEPT}",
    "SQLITE_BUSY": f"another program keeps it locked{KEPT}",
    "SQLITE_LOCKED": f"another program keeps it locked{KEPT}",
    "SQLITE_IOERR": "the disk fails, or has become read-only; the last results may be lost, and are then asked again",
    "SQLITE_CORRUPT": "it is damaged, and some of what was recorded may be lost; copy it before anything else",
    "SQLITE_NOTADB": "it is damaged, or another file was put in its place",
}
"""What SQLite's errors mean for a user, by the beginning of their names; the first match is used."""

TOO_FEW = "this user or container may have no more processes and threads: raise ulimit -u, or its limit of pids"
HINTS = {
    errno.EMFILE: "raise the limit of this shell: ulimit -n 4096",
    errno.EAGAIN: TOO_FEW,
}
"""What to do about errors of the operating system whose text does not say it."""

Key = tuple[str | int, ...]
"""The path of an entry in a scenario: names of sections, numbers in lists."""


class LbtError(Exception):
    """Base of the program's errors.

    Args:
        message: what is wrong and what to do, in one to three lines.
        agent: the name of the agent that has the error, or of one of its replicas.
        key: the path of the entry that is wrong: within the agent's section if an agent is named, else from the top of
            the scenario. `scenarios.config.load.located` adds the file and the line.
    """

    def __init__(self, message: str, *, agent: str = "", key: Key = ()) -> None:
        super().__init__(message)
        self.agent = agent
        self.key = key

    @property
    def message(self) -> str:
        """The message without agent and entry."""
        return str(self.args[0])

    def __str__(self) -> str:
        entry = ".".join(map(str, self.key))
        return ": ".join(part for part in (self.agent, entry, self.message) if part)


def in_words(error: Exception) -> str:
    """The text of any error for the user: with the file, and without error numbers of the operating system."""
    import sqlite3  # agents do not need it

    if isinstance(error, sqlite3.Error):
        return f"class.db: {database_in_words(error)}"
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename  # of two, the one that was to be replaced
        says = f"{file}: {error.strerror}" if file else error.strerror
        return f"{says}\n{HINTS[error.errno]}" if error.errno in HINTS else says
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return TOO_FEW
    if isinstance(error, LbtError | OSError):
        return str(error)
    return f"This is a bug: {type(error).__name__}: {error}"


def database_in_words(error: "sqlite3.Error") -> str:
    """What an error of SQLite means, whether results were lost, and SQLite's own message."""
    name = _database_error_name(error)
    words = next((words for start, words in DATABASE.items() if name.startswith(start)), "")
    said = str(error).partition(" with text ")[0]  # a whole text of class.db follows
    return f"{words} ({said})" if words else said


def is_damaged_database(error: Exception) -> bool:
    """Whether the error, or its cause, says that a database is damaged: not locked, closed, or of another version."""
    return _database_error_name(error.__cause__ or error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _database_error_name(error: BaseException) -> str:
    """SQLite's name of an error. That of text which is not UTF-8 has none, since Python finds it."""
    undecodable = str(error).startswith("Could not decode to UTF-8")
    return "SQLITE_CORRUPT" if undecodable else getattr(error, "sqlite_errorname", "")


class ScenarioError(LbtError):
    """The command, the scenario file or an override is wrong."""


class TaskError(LbtError):
    """The problems of a class cannot be built or graded as asked."""


class ModelError(LbtError):
    """A model cannot be found, fetched or loaded."""


class PlacementError(LbtError):
    """The agents do not fit this machine."""


class EngineError(LbtError):
    """An engine cannot start, or cannot answer a request."""


class StoreError(LbtError):
    """class.db cannot be read or written."""


class ProtocolError(LbtError):
    """A message, a connection or a key is not as the wire needs it."""


class SecurityError(ProtocolError):
    """A folder, file or endpoint is open to others, or a key is missing: what, where, and what to do."""
