"""Attention over the slots of a running batch: registered with transformers, whose models then call `attend`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AttentionInterface

from agents.placement.memory import ROOM

if TYPE_CHECKING:
    from agents.engines.local.batch import BatchRow

ATTENTION = "classroom_slots"
"""Name under which the library's models find `attend`."""
UNSUPPORTED = ("softcap", "s_aux", "position_bias", "cache")
"""Arguments with which the library's models request other kinds of attention."""


class Plan:
    """The attention of one step: the leading rows with one new token run together, the others one by one."""

    def __init__(self, rows: "Sequence[BatchRow]", like: torch.Tensor) -> None:
        """`like`: a tensor with the device and dtype to compute in."""
        device = like.device
        starts = [row.held for row in rows]
        counts = [len(row.tokens) - row.held for row in rows]
        self.single = next((slot for slot, count in enumerate(counts) if count != 1), len(rows))
        self.spans = [
            (slot, counts[slot], causal(starts[slot], counts[slot], device)) for slot in range(self.single, len(rows))
        ]
        """Slot, number of new tokens, and their mask, for each row."""
        slots = np.repeat(np.arange(len(rows)), counts)
        positions = [np.arange(start, start + count) for start, count in zip(starts, counts, strict=True)]
        self.slots = torch.from_numpy(slots).to(device)
        self.positions = torch.from_numpy(np.concatenate(positions)).to(device)
        self.longest = max(starts[: self.single], default=-1) + 1
        if device.type == "cuda":
            # Kernels are chosen, and masks padded, per length; slots are a multiple of it long.
            self.longest = -(-self.longest // ROOM) * ROOM
        seen = torch.arange(self.longest) <= torch.tensor(starts[: self.single]).view(-1, 1)
        mask = torch.zeros(seen.shape, dtype=like.dtype).masked_fill_(~seen, float("-inf"))
        self.mask = mask[:, None, None].to(device)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    slots: torch.Tensor,
    plan: Plan,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer over a flat step: query [1, heads, tokens, dim]; returns [1, tokens, heads, dim].

    The query heads that share a key head are folded into its query positions. The library repeats keys and values
    instead, which on a CPU in bfloat16 takes longer than all the rest of a step.
    """
    if unknown := [name for name in UNSUPPORTED if others.get(name) is not None]:
        raise NotImplementedError(f"attention with {', '.join(unknown)}")
    keys, values = slots[:, module.layer_idx].unbind(1)  # type: ignore[index]  # torch's types do not know the index
    keys[plan.slots, :, plan.positions] = key[0].transpose(0, 1)
    values[plan.slots, :, plan.positions] = value[0].transpose(0, 1)
    heads, dim, groups = query.shape[1], query.shape[3], keys.shape[1]
    out = torch.empty(query.shape[2], heads, dim, dtype=query.dtype, device=query.device)
    if count := plan.single:
        folded = query[0, :, :count].transpose(0, 1).reshape(count, groups, heads // groups, dim)
        seen = slice(0, plan.longest)
        mask = plan.mask.expand(-1, 1, heads // groups, -1)
        out[:count] = functional.scaled_dot_product_attention(
            folded, keys[:count, :, seen], values[:count, :, seen], attn_mask=mask, scale=scaling
        ).reshape(count, heads, dim)
    begin = plan.single
    for slot, count, mask in plan.spans:
        past = slice(0, mask.shape[1])
        new, seen_keys, seen_values = (
            query[:, :, begin : begin + count],
            keys[None, slot, :, past],
            values[None, slot, :, past],
        )
        prefill = without_math_kernel if query.device.type == "cuda" else functional.scaled_dot_product_attention
        out[begin : begin + count] = prefill(
            new, seen_keys, seen_values, attn_mask=mask, scale=scaling, enable_gqa=True
        )[0].transpose(0, 1)
        begin += count
    return out[None], None


def without_math_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    attn_mask: torch.Tensor,
    scale: float,
    enable_gqa: bool,
) -> torch.Tensor:
    """Causal attention of the last tokens of a row, by a fused kernel of CUDA.

    For a mask together with grouped heads torch has only its math kernel there, which writes all scores to memory. A
    row from its beginning needs no mask, and else keys and values are repeated for each head.
    """
    if query.shape[2] == key.shape[2]:
        return functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=enable_gqa
        )
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, scale=scale)


def causal(start: int, count: int, device: torch.device) -> torch.Tensor:
    """Return the causal mask of `count` tokens after `start` others."""
    return torch.ones(count, start + count, dtype=torch.bool, device=device).tril(start)


AttentionInterface.register(ATTENTION, attend)
