"""Memory for the keys and values of running rows, one slot per row.

All slots have the same length and lie in one block. A batch that needs longer slots divides the block anew. The block
is allocated once (not on Apple GPUs); on a CPU a page of it takes memory when a row first writes to it.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from agents.placement.memory import slot_length

NO_MEMORY = "can't allocate memory"


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine ran out of memory."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in text or NO_MEMORY in text


def release_cached_memory() -> None:
    """Give the memory of a GPU that torch keeps for later back to other processes."""
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


class Slots:
    """The slots of one model; slot i belongs to row i.

    Args:
        model: the model.
        capacity: number of rows that may run together.
        memory: bytes that all slots may take. A single row is accepted even if it needs more.
    """

    def __init__(self, model: Any, capacity: int, memory: int) -> None:
        config = model.config
        heads = config.num_attention_heads
        layers: int = config.num_hidden_layers
        key_heads: int = getattr(config, "num_key_value_heads", None) or heads
        dim: int = getattr(config, "head_dim", None) or config.hidden_size // heads
        self._sizes = layers, key_heads, dim
        self._dtype, self._device = model.dtype, model.device
        self.capacity, self._memory = self._granted = capacity, memory
        self.per_token: int = 2 * layers * key_heads * dim * model.dtype.itemsize
        """Bytes of keys and values of one token."""
        longest = slot_length(config.max_position_embeddings)
        once = self._device.type in ("cpu", "cuda")
        self._least = min(memory, capacity * longest * self.per_token) if once else 0
        """Least bytes of the block: all that rows within the model's context can need. An Apple GPU shares the memory
        of the machine, so there the block grows with the rows."""
        self._block = self._zeros(self._least)
        self.all = self._divide(0, 0)
        """[slots, layers, 2, heads, tokens, dim]; keys are 0, values are 1."""

    def fits(self, rows: int, tokens: int) -> bool:
        """Whether a row that will grow to `tokens` can join `rows` others now."""
        if not rows or (rows < min(self.capacity, len(self.all)) and slot_length(tokens) <= self.all.shape[4]):
            return True
        room = max(slot_length(tokens), self.all.shape[4])
        needed, there = self._bytes(room), self._block.nbytes
        # When rows move to a new block, both blocks exist for a moment.
        return rows < self._limit(room) and (needed <= there or needed + there <= self._memory)

    def reserve(self, tokens: int, held: Sequence[int]) -> None:
        """Make every slot hold `tokens`, and keep the first `held` tokens of each running row.

        Raises:
            RuntimeError, MemoryError: memory lacks; the slots of running rows are as they were.
        """
        room = slot_length(tokens)
        if held:
            room = max(room, self.all.shape[4])
            if room == self.all.shape[4] and len(held) < len(self.all):
                return
        old, needed = self.all, self._bytes(room)
        # Allocated before anything changes: where memory lacks, the running rows stay whole.
        moved = old.new_empty((*old.shape[1:4], max(held), old.shape[5])) if held else old
        if not needed <= self._block.nbytes <= max(needed, self._memory):
            if not held:
                # No row has to move, so the old block is freed before the new one is allocated.
                self._block = self.all = old = self._zeros(0)
            self._block = self._zeros(max(needed, self._least))
        self.all = self._divide(self._limit(room), room)
        # Longer slots begin further back in the block. From the last row on, none overwrites a row that has not moved.
        for slot in reversed(range(len(held))):
            part = moved[..., : held[slot], :].copy_(old[slot, ..., : held[slot], :])
            self.all[slot, ..., : held[slot], :] = part

    def write(self, slot: int, parts: Sequence[torch.Tensor], tokens: int) -> None:
        """Write the first `tokens` of keys and values that come in successive parts to the beginning of a slot."""
        begin = 0
        for part in parts:
            end = min(begin + part.shape[-2], tokens)
            self.all[slot, ..., begin:end, :] = part[..., : end - begin, :]
            begin = end

    def keep_block(self) -> None:
        """Allocate no larger block while rows run, until `recover`: there was no memory for one."""
        self._memory = self._block.nbytes

    def halve(self) -> None:
        """Take half of the memory and of the rows, until `recover`: there was none for the block. No row may run."""
        self.capacity = max(1, self.capacity // 2)
        self._memory //= 2
        self._least = min(self._least, self._memory)

    def recover(self) -> None:
        """Allow the memory of the beginning again, and one more row, up to the capacity of the beginning.

        A larger block is allocated once no row runs, if the old one leaves no room beside it.
        """
        capacity, self._memory = self._granted
        self.capacity = min(capacity, self.capacity + 1)

    def _limit(self, room: int) -> int:
        return max(1, min(self.capacity, self._memory // (self.per_token * room)))

    def _bytes(self, room: int) -> int:
        return self._limit(room) * room * self.per_token

    def _divide(self, slots: int, room: int) -> torch.Tensor:
        layers, heads, dim = self._sizes
        shape = (slots, layers, 2, heads, room, dim)
        return self._block[: math.prod(shape)].view(shape)

    def _zeros(self, size: int) -> torch.Tensor:
        """A block of `size` bytes. Zeros, since what lies behind a mask must not be NaN."""
        count = size // self._dtype.itemsize
        if count and self._device.type == "cpu":
            # torch.zeros would write to all of it.
            return torch.from_numpy(np.zeros(count * self._dtype.itemsize, np.uint8)).view(self._dtype)
        return torch.zeros(count, dtype=self._dtype, device=self._device)
