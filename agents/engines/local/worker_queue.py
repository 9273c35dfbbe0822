"""The items in the queue of an engine's worker thread. Each has a future for its outcome."""

import contextlib
import time
from concurrent.futures import Future, InvalidStateError

from agents.engines.base import Completion, Prompt, Scored

Outcome = Completion | Scored | None


class WorkItem:
    """Work for the worker thread."""

    def __init__(self) -> None:
        self.future: Future[Outcome] = Future()

    def resolve(self, outcome: Outcome | Exception) -> None:
        """Set the outcome, unless the caller has cancelled the future."""
        with contextlib.suppress(InvalidStateError):
            if isinstance(outcome, Exception):
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)


class PromptItem(WorkItem):
    """A prompt to complete or, with `solution`, a text to score after the prompt."""

    def __init__(self, prompt: Prompt, solution: str | None = None) -> None:
        super().__init__()
        self.prompt = prompt
        self.solution = solution
        self.taken = time.monotonic()


class WeightSwitch(WorkItem):
    """A switch to other weights, for all items behind it."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.weights = weights
