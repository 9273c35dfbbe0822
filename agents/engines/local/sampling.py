"""Choose the next token of each row from logits, sampling parameters and the row's random numbers."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch

from broker.work_messages import Sampling


class SamplingRow(Protocol):
    """A completion that needs its next token."""

    sampling: Sampling
    draws: list[float]
    """One uniform number per token of the completion."""

    @property
    def completion(self) -> list[int]:
        """The tokens chosen so far."""


def choose(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[int]:
    """Choose one token per row: the likeliest at temperature 0, else a random one.

    Temperature, top-k and top-p apply in this order, as in the library.
    """
    drawing = [index for index, row in enumerate(rows) if row.sampling.temperature > 0]
    greedy = [index for index, row in enumerate(rows) if row.sampling.temperature <= 0]
    chosen = [0] * len(rows)
    if greedy:
        for index, token in zip(greedy, logits[greedy].float().argmax(-1).tolist(), strict=True):
            chosen[index] = token
    if drawing:
        for index, token in zip(drawing, draw(logits[drawing], [rows[index] for index in drawing]), strict=True):
            chosen[index] = token
    return chosen


def draw(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[int]:
    """Sample one token per row: its next random number falls on the cumulated probabilities of the allowed tokens.

    On a GPU in float32, since only the drawn tokens should be copied to the CPU, and Apple GPUs have no float64.
    """
    device = logits.device
    dtype = torch.float64 if device.type == "cpu" else torch.float32

    def column(values: Iterable[float]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=dtype, device=device)[:, None]

    vocabulary = logits.shape[1]
    kept = [min(row.sampling.top_k or vocabulary, vocabulary) for row in rows]
    values, tokens = logits.topk(max(kept))
    values = values.to(dtype) / column(row.sampling.temperature for row in rows)
    rank = torch.arange(max(kept), device=device)
    shares = values.masked_fill(rank >= column(kept), float("-inf")).softmax(-1)
    before = shares.cumsum(-1) - shares
    shares = shares.masked_fill((before >= column(row.sampling.top_p for row in rows)) & (rank > 0), 0.0)
    below = shares.cumsum(-1)
    draws = column(row.draws[len(row.completion)] for row in rows)
    picked = (below <= draws * below[:, -1:]).sum(-1, keepdim=True)
    # A number next to 1 is 1 in float32, and would fall behind the last allowed token.
    last = (shares > 0).sum(-1, keepdim=True) - 1
    chosen: list[int] = tokens.gather(1, picked.minimum(last))[:, 0].tolist()
    return chosen
