"""Files of an agent at a server in the run's folder: the amount spent, and notes for the summary.

Amounts follow from the scenario's prices, not from bills.
"""

import logging
from pathlib import Path

import msgspec

from agents.engines.base import EngineExhausted, EngineStartError
from agents.engines.openai.options import ServerOptions
from broker.agent_notes import ServerNotes
from broker.files import write_atomically

log = logging.getLogger(__name__)

MILLION = 1_000_000


class SpendingBudget:
    """The amount that an agent spends over all sessions of a run. Without prices it writes nothing."""

    def __init__(self, options: ServerOptions) -> None:
        """Read the amount of earlier sessions.

        Raises:
            EngineStartError: the file cannot be read, so the budget cannot be kept.
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
        """Add the price of a call.

        Raises:
            OSError: the file cannot be written.
        """
        options = self._options
        if not options.priced:
            return
        prompt = prompt_tokens * options.price_per_million_prompt
        self.spent += (prompt + completion_tokens * options.price_per_million_completion) / MILLION
        if self._file:
            write_atomically(self._file, repr(self.spent).encode(), sync=False)

    def check(self) -> None:
        """Raise EngineExhausted if the budget is reached; running calls may still exceed it slightly."""
        budget = self._options.budget
        if budget and self.spent >= budget:
            used = f"the budget is spent: {self.spent:.4g} of {budget:g}"
            raise EngineExhausted(f"{used}; to go on, resume with a larger engine_args.budget")


class NotesFile:
    """The notes on a server for the summary, over all sessions of a run; see ServerNotes."""

    def __init__(self, file: str) -> None:
        """`file`: where to keep the notes; empty: nowhere. A damaged file counts as empty, with a warning."""
        self._file = Path(file) if file else None
        self.notes = ServerNotes()
        if self._file and self._file.exists():
            try:
                self.notes = msgspec.json.decode(self._file.read_bytes(), type=ServerNotes)
            except (OSError, msgspec.DecodeError) as error:
                log.warning("the notes of earlier sessions in %s are lost: %s", self._file, error)

    def add(self, *, without: str = "", role_marks_broken: int = 0, answers_cut: int = 0) -> None:
        """Add to the notes.

        Raises:
            OSError: the file cannot be written.
        """
        old = self.notes
        self.notes = ServerNotes(
            tuple(sorted({*old.without, without} - {""})),
            old.role_marks_broken + role_marks_broken,
            old.answers_cut + answers_cut,
        )
        if self._file and self.notes != old:
            write_atomically(self._file, msgspec.json.encode(self.notes), sync=False)
