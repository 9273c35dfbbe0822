"""Score a text with vLLM: the log-probabilities of a prompt's last tokens.

vLLM returns none for cached prompt tokens, so by default it ignores its prefix cache for such requests. Only the end of
the prompt matters here, so the cache is read. If it held part of that end (the same text was scored before), the
request is repeated without the cache.

On GPUs vLLM's model runner V2 scores given tokens alone (`prompt_logprob_token_ids`), so logits exist for these
positions only, not for the whole prompt. This way has not run on a GPU yet: it follows the source of vLLM 0.32.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agents.engines.base import EngineFailure, Prompt


def token_prompt(tokens: Sequence[int], weights: str) -> dict[str, Any]:
    """Return a prompt of tokens that uses only the cache of these weights."""
    prompt = {"type": "token", "prompt_token_ids": tokens}
    return prompt | {"cache_salt": weights} if weights else prompt


def scores_by_id(llm: Any, kind: str) -> bool:
    """Whether this vLLM scores given tokens alone."""
    return kind == "cuda" and bool(llm.vllm_config.use_v2_model_runner)


async def score(
    llm: Any, prompt: Prompt, tokens: Sequence[int], start: int, *, by_id: bool = False, **more: Any
) -> tuple[float, int]:
    """Return the mean log-probability in nats of `tokens[start:]`, and the number of cached tokens.

    `by_id`: see `scores_by_id`. `more`: other arguments of vLLM's `generate`.

    Raises:
        EngineFailure: vLLM returns no log-probabilities.
    """
    mode = llm.model_config.logprobs_mode
    if not mode.endswith("logprobs"):
        raise EngineFailure("unsupported", f"engine_args: with logprobs_mode: {mode} no log-probability can be given")
    for skip_cache in (False, True):
        sampling = _sampling(skip_cache=skip_cache)
        if by_id:
            sampling = _sampling_by_id(tokens[start:], start, skip_cache=skip_cache)
        mean, cached = None, 0
        async for out in llm.generate(token_prompt(tokens, prompt.weights), sampling, prompt.request_id, **more):
            cached = out.num_cached_tokens or 0
            if by_id:
                mean = _mean([] if (rows := out.prompt_token_id_logprobs) is None else rows[:, 0].tolist())
            else:
                mean = mean_logprob(out.prompt_logprobs or [], tokens[start:])
        if mean is not None and cached < start:
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
    return _mean(values) if len(values) == len(given) else None


def _mean(values: Sequence[float]) -> float | None:
    """Return the mean of log-probabilities; None if there are none, or if one cannot be such a number."""
    if not values or not all(math.isfinite(value) and value <= 0 for value in values):
        return None
    return math.fsum(values) / len(values)


def _sampling(*, skip_cache: bool) -> Any:
    return _parameters(skip_cache, prompt_logprobs=0)


def _sampling_by_id(given: Sequence[int], start: int, *, skip_cache: bool) -> Any:
    # Row i has the candidates for the token at `prompt_logprob_start` + i + 1.
    rows = [[token] for token in given]
    return _parameters(skip_cache, prompt_logprob_token_ids=rows, prompt_logprob_start=start - 1)


def _parameters(skip_cache: bool, **scored: Any) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        **scored,
        temperature=0,
        max_tokens=1,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_reading_prefix_cache=skip_cache,
    )
