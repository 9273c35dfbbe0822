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
        seen, shared = self._seen, 0
        beginnings = _beginnings(weights, tuple(turns))
        as_before = True
        for key, length in beginnings:
            if key in seen:
                seen.move_to_end(key)
                shared = length if as_before else shared
            else:
                seen[key] = None
                as_before = False
        while len(seen) > MAX_PREFIXES:
            seen.popitem(last=False)
        return shared / max(1, beginnings[-1][1]) if beginnings else 0.0


@lru_cache(256)  # equal prompts come one after the other: the repeats of an exam, and those of copies
def _beginnings(weights: str, turns: tuple[Turn, ...]) -> tuple[tuple[str, int], ...]:
    """A key for each beginning of a prompt, the shortest first, and its length in characters."""
    key, length = weights, 0
    found: list[tuple[str, int]] = []
    for turn in turns:
        key, length = digest(key, turn), length + len(turn.text)
        found.append((key, length))
    return tuple(found)


def _cacheable(usage: Usage, tokens: float) -> Usage:
    return msgspec.structs.replace(usage, cacheable_tokens=round(tokens))
