"""How likely a text is, asked of vLLM: the log-probabilities of a prompt's last tokens.

vLLM computes them for those prompt tokens alone that it does not have from its prefix cache, so by itself it leaves the
cache unread for such a request. Here only the end of the prompt matters: the cache is read, and where it held some of
that end too (the same text was scored before), the request is made once more without it. Engine and agent are
agents/engines/vllm/engine.py.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agents.engines.base import EngineFailure, Prompt


def token_prompt(tokens: Sequence[int], weights: str) -> dict[str, Any]:
    """A prompt that needs no work of vLLM's own tokenizer, and finds what is cached of these weights alone."""
    asked = {"type": "token", "prompt_token_ids": tokens}
    return asked | {"cache_salt": weights} if weights else asked


async def score(llm: Any, prompt: Prompt, tokens: Sequence[int], start: int) -> tuple[float, int]:
    """Mean log-probability in nats of `tokens[start:]`, and how many tokens came from the prefix cache.

    Raises:
        EngineFailure: vLLM does not tell.
    """
    mode = llm.model_config.logprobs_mode
    if not mode.endswith("logprobs"):
        raise EngineFailure("unsupported", f"engine_args: with logprobs_mode: {mode} no log-probability can be told")
    for anew in (False, True):
        found, cached = None, 0
        async for out in llm.generate(token_prompt(tokens, prompt.weights), _sampling(anew=anew), prompt.request_id):
            found, cached = out.prompt_logprobs, out.num_cached_tokens or 0
        mean = mean_logprob(found or [], tokens[start:]) if cached < start else None
        if mean is not None:
            return mean, cached
    raise EngineFailure("engine", "vLLM told no log-probabilities of the solution")


def mean_logprob(told: Sequence[Mapping[int, Any] | None], given: Sequence[int]) -> float | None:
    """Mean log-probability of the last tokens of a prompt; None where vLLM did not compute each of them.

    `told`: for each position, by token, as vLLM returns them: for the whole prompt, or for what was not cached. Where
    it did not compute one there is nothing, or memory that nobody wrote to: a position counts if its token is right.
    """
    last = told[len(told) - len(given) :] if len(told) >= len(given) else []
    values = [
        position[token].logprob for position, token in zip(last, given, strict=False) if position and token in position
    ]
    if len(values) < len(given) or not all(math.isfinite(value) and value <= 0 for value in values):
        return None
    return math.fsum(values) / len(given)


def _sampling(*, anew: bool) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0,
        max_tokens=1,
        prompt_logprobs=0,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_reading_prefix_cache=anew,
    )
