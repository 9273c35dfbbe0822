"""An engine that also says how much of each prompt a perfect prefix cache would have served.

The turns that a prompt shares with an earlier one of this process are what could be cached; tokens are shared out
by characters, so the figure is an estimate, and the same for every engine. What was cached, engines say themselves.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from agents.engines.base import Completion, Engine, Prompt, Scored, Turn
from broker.protocol import digest
from broker.work_messages import Usage

MAX_PREFIXES = 50_000
"""How many beginnings of prompts are remembered."""


class PrefixStats:
    """`engine`, with `Usage.cacheable_tokens` filled in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: OrderedDict[str, None] = OrderedDict()

    @property
    def device(self) -> str:
        """See Engine."""
        return self._engine.device

    @property
    def capacity(self) -> int:
        """See Engine."""
        return self._engine.capacity

    @property
    def spent(self) -> float | None:
        """See Engine."""
        return self._engine.spent

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """See Engine."""
        self._seen.clear()
        await self._engine.start(on_progress)

    async def generate(self, prompt: Prompt) -> Completion:
        """See Engine."""
        share = self.shared(prompt.turns, prompt.weights)
        completion = await self._engine.generate(prompt)
        usage = _cacheable(completion.usage, share * completion.usage.prompt_tokens)
        return msgspec.structs.replace(completion, usage=usage)

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """See Engine."""
        share = self.shared(prompt.turns, prompt.weights)
        scored = await self._engine.logprobs(prompt, solution)
        usage = _cacheable(scored.usage, share * (scored.usage.prompt_tokens - scored.tokens))
        return msgspec.structs.replace(scored, usage=usage)

    async def stop(self) -> None:
        """See Engine."""
        await self._engine.stop()

    def shared(self, turns: Sequence[Turn], weights: str = "") -> float:
        """The share of `turns`, in characters, that an earlier prompt of these weights began with; remembers them."""
        key, shared, before = weights, 0, True
        for turn in turns:
            key = digest(key, turn)
            before = before and key in self._seen
            shared += len(turn.text) if before else 0
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > MAX_PREFIXES:
            self._seen.popitem(last=False)
        return shared / max(1, sum(len(turn.text) for turn in turns))


def _cacheable(usage: Usage, tokens: float) -> Usage:
    return msgspec.structs.replace(usage, cacheable_tokens=round(tokens))
