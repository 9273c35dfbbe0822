"""What an agent has spent at a server, and whether it may go on. It counts by the scenario's prices, not by bills."""

import os
from pathlib import Path

from agents.engines.base import EngineSpent, EngineStartError
from agents.engines.servers.options import Options

MILLION = 1_000_000


class Ledger:
    """One agent's spending over all sessions of a run; without prices it stays at nothing and writes nothing."""

    def __init__(self, options: Options) -> None:
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
            # Replaced and never rewritten: a crash in between must not forget what was spent.
            new = self._file.with_name(f"{self._file.name}.new")
            new.write_text(repr(self.spent))
            os.replace(new, self._file)

    def check(self) -> None:
        """Raise EngineSpent where the budget is reached; calls under way may still take it somewhat beyond."""
        budget = self._options.budget
        if budget and self.spent >= budget:
            used = f"the budget is spent: {self.spent:.4g} of {budget:g}"
            raise EngineSpent(f"{used}; to go on, resume with a larger engine_args.budget")
