"""How far two right computations of the same model may differ by rounding alone."""

import math

SMOLLM2_LAYERS = 30
SMOLLM2_LOGITS_STD = 3.3
"""Standard deviation of SmolLM2's logits over its vocabulary, after ordinary text."""


def within(dtype: str) -> float:
    """Tolerance for a mean log-probability of SmolLM2 135M, computed twice in `dtype` by different kernels.

    In bfloat16 the residual stream is rounded twice a layer, each time with a relative error of at most 2 ** -9. CPUs
    differ in where else they round. Independent errors add up as a random walk: after all layers a logit is off by
    about `2 ** -9 * sqrt(2 * layers)` times the spread of the logits, 0.05 nats (measured against float32: 0.04 to 0.11
    a token). Both computations err, hence sqrt(2). The tolerance is two standard errors of one token; a mean over the
    tokens of a text is closer. Wrong positions, masks or weights differ by several times as much.

    In float32 the same sum is below 1e-5, and 1e-4 leaves room for the order of summation.
    """
    if dtype == "float32":
        return 1e-4
    assert dtype == "bfloat16", dtype
    one_token = 2**-9 * math.sqrt(2 * SMOLLM2_LAYERS) * SMOLLM2_LOGITS_STD
    return 2 * math.sqrt(2) * one_token
