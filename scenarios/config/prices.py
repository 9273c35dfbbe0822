"""The prices that `engine_args` of agents at servers name."""

from typing import NamedTuple

from scenarios.config.schema import Agent


class Prices(NamedTuple):
    """What one token costs, in the currency of the scenario."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, prompt: float, completion: float) -> float:
        """The price of so many tokens."""
        return self.prompt * prompt + self.completion * completion


def prices(agent: Agent) -> Prices:
    """The prices of an agent; 0 where it has none."""
    named = (agent.engine_args.get(f"price_per_million_{of}") or 0 for of in ("prompt", "completion"))
    return Prices(*(float(price) / 1_000_000 for price in named))
