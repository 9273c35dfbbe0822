"""Score a text with vLLM: the log-probabilities of a prompt's last tokens.

vLLM returns none for cached prompt tokens, so by default it ignores its prefix cache for such requests. Only the end of
the prompt matters here, so the cache is read. If it held part of that end (the same text was scored before), the
request is repeated without the cache.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agents.engines.base import EngineFailure, Prompt


def token_prompt(tokens: Sequence[int], weights: str) -> dict[str, Any]:
    """Return a prompt of tokens that uses only the cache of these weights."""
    prompt = {"type": "token", "prompt_token_ids": tokens}
    return prompt | {"cache_salt": weights} if weights else prompt


async def score(llm: Any, prompt: Prompt, tokens: Sequence[int], start: int) -> tuple[float, int]:
    """Return the mean log-probability in nats of `tokens[start:]`, and the number of cached tokens.

    Raises:
        EngineFailure: vLLM returns no log-probabilities.
    """
    mode = llm.model_config.logprobs_mode
    if not mode.endswith("logprobs"):
        raise EngineFailure("unsupported", f"engine_args: with logprobs_mode: {mode} no log-probability can be given")
    for skip_cache in (False, True):
        found, cached = None, 0
        async for out in llm.generate(
            token_prompt(tokens, prompt.weights), _sampling(skip_cache=skip_cache), prompt.request_id
        ):
            found, cached = out.prompt_logprobs, out.num_cached_tokens or 0
        mean = mean_logprob(found or [], tokens[start:]) if cached < start else None
        if mean is not None:
            return mean, cached
    raise EngineFailure("engine", "vLLM returned no log-probabilities of the solution")


def mean_logprob(positions: Sequence[Mapping[int, Any] | None], given: Sequence[int]) -> float | None:
    """Return the mean log-probability of the last tokens of a prompt; None if vLLM did not compute all of them.

    `positions`: log-probabilities by token for each position, of the whole prompt or of its uncached part. A position
    that vLLM did not compute is empty or uninitialised memory, so a position counts only with the right token.
    """
    last = positions[len(positions) - len(given) :] if len(positions) >= len(given) else []
    values = [
        position[token].logprob for position, token in zip(last, given, strict=False) if position and token in position
    ]
    if len(values) < len(given) or not all(math.isfinite(value) and value <= 0 for value in values):
        return None
    return math.fsum(values) / len(given)


def _sampling(*, skip_cache: bool) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0,
        max_tokens=1,
        prompt_logprobs=0,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_reading_prefix_cache=skip_cache,
    )
