"""What goes through an engine's worker thread, and how the caller hears what came of it."""

import asyncio
import logging
import time

from agents.engines.base import Completion, Prompt, Scored

log = logging.getLogger(__name__)

Outcome = Completion | Scored | None


class WorkItem:
    """Something for the worker thread to do, and the future that awaits what comes of it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Outcome] = self._loop.create_future()

    def resolve(self, outcome: Outcome | Exception) -> None:
        """Hand the outcome over; called from the worker thread."""

        def settle() -> None:
            if self.future.done():
                return
            if isinstance(outcome, Exception):
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)

        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:
            log.info("nobody waits for %s any more", outcome)


class PromptItem(WorkItem):
    """A prompt that awaits its completion, or its score."""

    def __init__(self, prompt: Prompt, solution: str | None = None) -> None:
        """`solution`: score this text after the prompt, and complete nothing."""
        super().__init__()
        self.prompt = prompt
        self.solution = solution
        self.taken = time.monotonic()


class WeightSwitch(WorkItem):
    """From here on compute with other weights."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.weights = weights
