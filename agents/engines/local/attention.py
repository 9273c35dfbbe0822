"""Attention over the slots of a running batch: registered with transformers, whose models then call `attend`.

On a CPU, rows whose prompts begin alike attend to that beginning in one call, which reads its keys and values once for
all of them. Each row attends to the rest by itself, and the two parts are merged by the logarithms of their sums of
exponentials.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AttentionInterface

from agents.engines.local.prefixes import shared
from agents.placement.memory import slot_length

if TYPE_CHECKING:
    from agents.engines.local.batch import BatchRow

ATTENTION = "classroom_slots"
"""Name under which the library's models find `attend`."""
FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""Attention that also returns the logarithm of the sum of exponentials, per head and query in float32."""
CALL, MERGE = 200, 40
"""The cost of one more call of attention, and of merging the two parts of one row: as much as attending to so many
keys takes (measured in bfloat16 with AMX)."""
UNSUPPORTED = ("softcap", "s_aux", "position_bias", "cache")
"""Arguments with which the library's models request other kinds of attention."""


class AttentionPlan:
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
            self.longest = slot_length(self.longest)
        seen = torch.arange(self.longest) <= torch.tensor(starts[: self.single]).view(-1, 1)
        mask = torch.zeros(seen.shape, dtype=like.dtype).masked_fill_(~seen, float("-inf"))
        self.mask = mask[:, None, None].to(device)
        self.common, self.groups = group_by_prefix(rows[: self.single]) if device.type == "cpu" else (0, [])
        """Number of tokens that the rows of each group begin with, and the slots of each group; 0: no groups."""
        grouped = {slot for group in self.groups for slot in group}
        self.apart = [(slot, starts[slot] + 1) for slot in range(self.single) if self.common and slot not in grouped]
        """Slot and length of the rows that are in no group, if there are groups."""


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    slots: torch.Tensor,
    plan: AttentionPlan,
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
        together = in_groups if plan.common else one_by_one
        out[:count] = together(folded, keys, values, plan, scaling).reshape(count, heads, dim)
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


def one_by_one(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: AttentionPlan, scale: float
) -> torch.Tensor:
    """Attention of each row's new token to all of the row: query [rows, key heads, query heads of each, dim]."""
    count, seen = len(query), slice(0, plan.longest)
    mask = plan.mask.expand(-1, 1, query.shape[2], -1)
    return functional.scaled_dot_product_attention(
        query, keys[:count, :, seen], values[:count, :, seen], attn_mask=mask, scale=scale
    )


def in_groups(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: AttentionPlan, scale: float
) -> torch.Tensor:
    """The same as `one_by_one`, where the rows of a group attend to their common beginning in one call."""
    count, key_heads, heads, dim = query.shape
    own = slice(plan.common, plan.longest)
    rest, rest_sum = FLASH(
        query, keys[:count, :, own], values[:count, :, own], attn_mask=plan.mask[..., own], scale=scale
    )
    begun, begun_sum = torch.zeros_like(query), rest_sum.new_full(rest_sum.shape, float("-inf"))
    for group in plan.groups:
        # Any of the group's slots has the keys.
        index = group if len(group) < count else slice(None)
        queries = query[index].transpose(0, 1).reshape(1, key_heads, len(group) * heads, dim)
        first, beginning = slice(group[0], group[0] + 1), slice(0, plan.common)
        out, out_sum = FLASH(queries, keys[first, :, beginning], values[first, :, beginning], scale=scale)
        begun[index] = out.view(key_heads, len(group), heads, dim).transpose(0, 1)
        begun_sum[index] = out_sum.view(key_heads, len(group), heads).transpose(0, 1)
    merged = torch.lerp(rest.float(), begun.float(), torch.sigmoid(begun_sum - rest_sum)[..., None]).to(query.dtype)
    for slot, length in plan.apart:
        row = slice(slot, slot + 1)
        merged[row] = functional.scaled_dot_product_attention(
            query[row], keys[row, :, :length], values[row, :, :length], scale=scale
        )
    return merged


def group_by_prefix(rows: "Sequence[BatchRow]") -> tuple[int, list[list[int]]]:
    """Return the length of prefix that saves most if the rows with an equal prefix attend to it together.

    Returns:
        The length in tokens, and the indices of the rows of each group; 0 and no groups if nothing is saved.
    """
    order = sorted(range(len(rows)), key=lambda index: rows[index].known.tobytes())
    alike = np.array([shared(rows[a].known, rows[b].known) for a, b in pairwise(order)], dtype=np.int64)
    """Length of the prefix that each row in this order shares with the next; equal prefixes are neighbours."""
    best, most = 0, 0
    for length in set(alike.tolist()):
        joined = alike >= length
        # Each group reads the prefix once. It begins with a row that is joined to the next but not to the one before.
        fewer = int(np.count_nonzero(joined))
        groups = int(np.count_nonzero(joined & ~np.concatenate([[False], joined[:-1]])))
        apart = len(rows) - groups - fewer
        saved = length * fewer - CALL * (groups + apart) - MERGE * len(rows)
        if (saved, length) > (most, best):
            best, most = length, saved
    if not best:
        return 0, []
    cuts = np.flatnonzero(alike < best) + 1
    return best, [sorted(group.tolist()) for group in np.split(np.array(order), cuts) if len(group) > 1]


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
