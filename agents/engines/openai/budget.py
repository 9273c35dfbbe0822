"""What an agent has spent at a server, and what it asked otherwise than the scenario says; kept in the run's folder.

Money is counted by the scenario's prices, not by bills.
"""

import contextlib
import os
from pathlib import Path

import msgspec

from agents.engines.base import EngineExhausted, EngineStartError
from agents.engines.openai.options import ServerOptions
from broker.server_notes import ServerNotes

MILLION = 1_000_000


class SpendingBudget:
    """One agent's spending over all sessions of a run; without prices it stays at nothing and writes nothing."""

    def __init__(self, options: ServerOptions) -> None:
        """Read what earlier sessions spent.

        Raises:
            EngineStartError: the file cannot be read: a budget that is not known cannot be kept.
        """
        self._options = options
        self._file = Path(options.ledger) if options.ledger and options.priced else None
        self.spent = 0.0
        if self._file and self._file.exists():
            try:
                self.spent = float(self._file.read_text())
            except (OSError, ValueError) as error:
                raise EngineStartError(f"cannot read what was spent so far from {self._file}: {error}") from error

    def pay(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a call.

        Raises:
            OSError: it cannot be written down.
        """
        options = self._options
        if not options.priced:
            return
        prompt = prompt_tokens * options.price_per_million_prompt
        self.spent += (prompt + completion_tokens * options.price_per_million_completion) / MILLION
        if self._file:
            _replace(self._file, repr(self.spent).encode())

    def check(self) -> None:
        """Raise EngineExhausted where the budget is reached; calls under way may still take it somewhat beyond."""
        budget = self._options.budget
        if budget and self.spent >= budget:
            used = f"the budget is spent: {self.spent:.4g} of {budget:g}"
            raise EngineExhausted(f"{used}; to go on, resume with a larger engine_args.budget")


class NotesFile:
    """What the summary says of the agent's server, over all sessions of a run; see ServerNotes."""

    def __init__(self, file: str) -> None:
        """`file`: where they are kept; empty: nowhere. A file that cannot be read counts as none."""
        self._file = Path(file) if file else None
        self.notes = ServerNotes()
        if self._file:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                self.notes = msgspec.json.decode(self._file.read_bytes(), type=ServerNotes)

    def add(self, *, without: str = "", role_marks_broken: int = 0, answers_cut: int = 0) -> None:
        """Add to the notes.

        Raises:
            OSError: they cannot be written.
        """
        old = self.notes
        self.notes = ServerNotes(
            tuple(sorted({*old.without, without} - {""})),
            old.role_marks_broken + role_marks_broken,
            old.answers_cut + answers_cut,
        )
        if self._file and self.notes != old:
            _replace(self._file, msgspec.json.encode(self.notes))


def _replace(file: Path, content: bytes) -> None:
    """Write a file by replacing it: a crash in between must not lose what it said."""
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(content)
    os.replace(new, file)
