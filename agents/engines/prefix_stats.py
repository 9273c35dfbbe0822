"""An engine wrapper that counts how much of each prompt a perfect prefix cache would have served.

A cache could serve the turns that a prompt shares with an earlier prompt of this process. Tokens are estimated from
characters, alike for every engine. The engines themselves report how much they really cached.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from agents.engines.base import Completion, Engine, Prompt, Scored, Turn
from broker.protocol import digest
from broker.work_messages import Usage

MAX_PREFIXES = 50_000
"""Number of prompt beginnings that are remembered."""


class PrefixStats:
    """Wrap an engine and fill in `Usage.cacheable_tokens`."""

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

    async def stop(self, *, again: bool = False) -> None:
        """See Engine."""
        await self._engine.stop(again=again)

    def shared(self, turns: Sequence[Turn], weights: str = "") -> float:
        """Remember `turns`; return their share, in characters, with which an earlier prompt of these weights began."""
        shared, before = 0, True
        for key, turn in zip(_beginnings(weights, tuple(turns)), turns, strict=True):
            before = before and key in self._seen
            shared += len(turn.text) if before else 0
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > MAX_PREFIXES:
            self._seen.popitem(last=False)
        return shared / max(1, sum(len(turn.text) for turn in turns))


@lru_cache(256)  # equal prompts come one after the other: the repeats of an exam, and those of copies
def _beginnings(weights: str, turns: tuple[Turn, ...]) -> tuple[str, ...]:
    """A key for each beginning of a prompt, the shortest first."""
    keys = [weights]
    for turn in turns:
        keys.append(digest(keys[-1], turn))
    return tuple(keys[1:])


def _cacheable(usage: Usage, tokens: float) -> Usage:
    return msgspec.structs.replace(usage, cacheable_tokens=round(tokens))
