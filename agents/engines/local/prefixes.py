"""Cache of the keys and values of recent prompts, in blocks.

Prompts that begin alike share the blocks of their beginning: the blocks form a tree for each set of weights, and a path
from its root spells a prompt.
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from agents.engines.local.slots import out_of_memory

Tokens = np.ndarray[Any, np.dtype[np.int64]]

BLOCK = 64
"""Most tokens of a block."""


@dataclass(eq=False)
class Block:
    """Successive tokens of prompts. The root of a tree has none."""

    tokens: Tokens
    keys_values: torch.Tensor
    """[layers, 2, heads, tokens, dim]."""
    before: "Block | None"
    used: int
    """Number of the last search that came here; never higher than that of the block before."""
    following: "dict[int, Block]" = field(default_factory=dict)
    """The blocks that follow, by their first token."""


def _root() -> Block:
    return Block(np.empty(0, np.int64), torch.empty(0), None, 0)


class PrefixCache:
    """The cached prompts; forgets the ends of the least recently used."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes; while a block is divided, it takes memory twice."""
        self._limit = limit
        self._searches = 0
        self._roots: defaultdict[str, Block] = defaultdict(_root)
        self.held = 0
        """Bytes of all blocks."""
        self.weights = ""
        """The current weights; prompts of other weights are kept but not found."""

    def find(self, tokens: Sequence[int]) -> tuple[int, list[torch.Tensor]]:
        """Return the length of the longest cached prefix of `tokens`, and its keys and values in successive parts.

        The last part may be longer than the prefix.
        """
        length, path = self._search(np.asarray(tokens, dtype=np.int64))
        return length, [block.keys_values for block in path]

    def add(self, tokens: Sequence[int], keys_values: torch.Tensor) -> None:
        """Keep a copy of what is not cached yet; nothing if the prompt alone exceeds the limit or memory lacks."""
        wanted = np.asarray(tokens, dtype=np.int64)
        length, path = self._search(wanted)
        if length == len(wanted) or keys_values.nbytes > self._limit:
            return
        try:
            last = self._divide(path[-1], length - sum(len(block.tokens) for block in path[:-1])) if path else None
            self._make_room(keys_values[..., length:, :].nbytes, last)
            before = last or self._roots[self.weights]
            for begin in range(length, len(wanted), BLOCK):
                part = slice(begin, begin + BLOCK)
                block = Block(wanted[part], keys_values[..., part, :].clone(), before, self._searches)
                before.following[int(wanted[begin])] = block
                self.held += block.keys_values.nbytes
                before = block
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise

    def drop(self) -> bool:
        """Drop all prompts. Returns whether there were any."""
        found = self.held > 0
        self._roots.clear()
        self.held = 0
        return found

    def _search(self, wanted: Tokens) -> tuple[int, list[Block]]:
        """Return the number of leading tokens that are cached, and their blocks, the last perhaps not wholly."""
        self._searches += 1
        length, path, block = 0, [], self._roots[self.weights]
        while length < len(wanted) and (following := block.following.get(int(wanted[length]))):
            following.used = self._searches
            path.append(following)
            common = shared(following.tokens, wanted[length:])
            length += common
            if common < len(following.tokens):
                break
            block = following
        return length, path

    def _divide(self, block: Block, tokens: int) -> Block:
        """Divide a block after so many of its tokens, if it has more; returns the first part."""
        if tokens == len(block.tokens):
            return block
        # Copies: a view would keep the memory of the whole block, whichever part is dropped.
        first, rest = (block.keys_values[..., part, :].clone() for part in (slice(tokens), slice(tokens, None)))
        assert block.before  # noqa: S101  (a root has no tokens)
        head = Block(block.tokens[:tokens], first, block.before, block.used, {int(block.tokens[tokens]): block})
        block.before.following[int(block.tokens[0])] = head
        block.before, block.tokens, block.keys_values = head, block.tokens[tokens:], rest
        return head

    def _make_room(self, size: int, kept: Block | None) -> None:
        """Drop blocks that nothing follows until `size` bytes are free, but not `kept`."""
        if self.held + size <= self._limit:
            return
        ends: list[tuple[int, int, Block]] = []
        order = itertools.count()

        def note(block: Block) -> None:
            if block.before and not block.following and block is not kept:
                heapq.heappush(ends, (block.used, next(order), block))

        unseen = list(self._roots.values())
        while unseen:
            block = unseen.pop()
            unseen += block.following.values()
            note(block)
        while self.held + size > self._limit:
            *_, block = heapq.heappop(ends)
            assert block.before  # noqa: S101  (`note` lets no root in)
            del block.before.following[int(block.tokens[0])]
            self.held -= block.keys_values.nbytes
            note(block.before)


def shared(a: Tokens, b: Tokens) -> int:
    """Return the number of leading tokens that two prompts share."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length
