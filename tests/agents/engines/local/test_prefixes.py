"""The cache of prompts: what is found, what is dropped, and what it takes."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.engines.local import prefixes as module
from agents.engines.local.prefixes import Block, PrefixCache

TOKEN = 4
"""Bytes of a token's keys and values here."""


def keys_values(tokens: Sequence[int]) -> torch.Tensor:
    """One number for each token, which depends on it and on all tokens before it, like keys and values."""
    number, numbers = 1, []
    for token in tokens:
        number = (number * 31 + token + 1) % 1_000_003
        numbers.append(float(number))
    return torch.tensor(numbers).view(1, 1, 1, -1, 1)


def add(prefixes: PrefixCache, tokens: Sequence[int]) -> None:
    prefixes.add(tokens, keys_values(tokens))


def found(prefixes: PrefixCache, tokens: Sequence[int]) -> int:
    """The length of the prefix that is found; its keys and values are the right ones."""
    length, parts = prefixes.find(tokens)
    together = torch.cat([*parts, keys_values([])], dim=-2)[..., :length, :]
    assert torch.equal(together, keys_values(tokens[:length]))
    return length


def blocks(prefixes: PrefixCache) -> Iterator[Block]:
    unseen = list(prefixes._roots.values())
    while unseen:
        block = unseen.pop()
        for first, following in block.following.items():
            assert following.before is block
            assert first == following.tokens[0]
            assert following.used <= block.used or block.before is None
            unseen.append(following)
        if block.before:
            yield block


def check_memory(prefixes: PrefixCache, limit: int) -> None:
    """What is counted is what the storage of all blocks takes, and within the limit."""
    stored = [block.keys_values.untyped_storage() for block in blocks(prefixes)]
    assert len({storage.data_ptr() for storage in stored}) == len(stored)
    assert prefixes.held == sum(storage.nbytes() for storage in stored) <= limit


def test_the_longest_prefix_is_found_and_the_least_recently_used_is_dropped() -> None:
    prefixes = PrefixCache(limit=TOKEN * 7)
    assert prefixes.find([1, 2]) == (0, [])
    add(prefixes, [1, 2, 3])
    add(prefixes, [1, 2, 9, 9])
    assert found(prefixes, [1, 2, 3, 4]) == 3
    assert found(prefixes, [1, 2, 9]) == 3
    assert found(prefixes, [1, 2, 3]) == 3
    add(prefixes, [7, 7, 7])
    assert found(prefixes, [1, 2, 9, 9]) == 2
    assert found(prefixes, [7, 7, 7, 7]) == 3
    assert found(prefixes, [1, 2, 3]) == 3


def test_a_prompt_that_goes_on_from_another_takes_only_what_it_adds() -> None:
    prefixes = PrefixCache(limit=TOKEN * 5)
    add(prefixes, [1, 2, 3])
    add(prefixes, [1, 2, 3, 4, 5])
    assert prefixes.held == TOKEN * 5
    add(prefixes, [0] * 6)
    assert found(prefixes, [1, 2, 3, 4, 5]) == 5


def test_prompts_share_the_memory_of_their_beginning() -> None:
    beginning = [*range(500), 0]
    prompts = [[*beginning, 1000 + number, *range(99)] for number in range(20)]
    limit = TOKEN * (501 + 20 * 100)
    prefixes = PrefixCache(limit)
    for prompt in prompts:
        add(prefixes, prompt)
        check_memory(prefixes, limit)
    assert prefixes.held == limit
    assert [found(prefixes, prompt) for prompt in prompts] == [601] * 20, "of whole prompts four would fit"


def test_what_many_prompts_begin_with_outlives_their_ends() -> None:
    beginning = list(range(300))
    limit = TOKEN * 500
    prefixes = PrefixCache(limit)
    prompts = [[*beginning, 1000 + number, *range(70)] for number in range(40)]
    for prompt in prompts:
        add(prefixes, prompt)
        check_memory(prefixes, limit)
    assert [found(prefixes, prompt) for prompt in prompts[:30]] == [300] * 30
    assert [found(prefixes, prompt) for prompt in prompts[-2:]] == [371] * 2


def test_a_prompt_that_exceeds_the_limit_drops_nothing() -> None:
    prefixes = PrefixCache(limit=TOKEN * 5)
    add(prefixes, [1, 2, 3])
    add(prefixes, [7] * 6)
    assert (found(prefixes, [7] * 6), found(prefixes, [1, 2, 3])) == (0, 3)
    nothing = PrefixCache(limit=0)
    add(nothing, [1])
    assert found(nothing, [1]) == nothing.held == 0


def test_prompts_of_other_weights_are_not_found_and_make_room_too() -> None:
    prefixes = PrefixCache(limit=TOKEN * 6)
    add(prefixes, [1, 2, 3])
    prefixes.weights = "trained"
    assert found(prefixes, [1, 2, 3]) == 0
    add(prefixes, [1, 2, 5])
    prefixes.weights = ""
    assert (found(prefixes, [1, 2, 5]), found(prefixes, [1, 2, 3])) == (2, 3)
    add(prefixes, [4, 4])
    prefixes.weights = "trained"
    assert found(prefixes, [1, 2, 5]) == 0
    assert prefixes.drop() and not prefixes.drop()
    assert found(prefixes, [1]) == prefixes.held == 0


PROMPT = st.lists(st.integers(0, 2), min_size=1, max_size=12)


@given(st.lists(st.tuples(st.sampled_from(["", "a"]), PROMPT), max_size=30), st.integers(1, 40), st.integers(1, 5))
def test_whatever_is_added_the_bound_holds_and_the_last_prompt_is_there(
    added: list[tuple[str, list[int]]], room: int, size: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "BLOCK", size)
        prefixes, limit = PrefixCache(room * TOKEN), room * TOKEN
        for weights, prompt in added:
            prefixes.weights = weights
            add(prefixes, prompt)
            check_memory(prefixes, limit)
            assert found(prefixes, prompt) == len(prompt) or len(prompt) > room
        for weights, prompt in added:
            prefixes.weights = weights
            found(prefixes, prompt)


@given(st.lists(PROMPT, max_size=30), PROMPT, st.integers(1, 5))
def test_with_memory_for_all_every_beginning_is_found_and_kept_once(
    added: list[list[int]], wanted: list[int], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "BLOCK", size)
        prefixes = PrefixCache(1 << 20)
        for prompt in added:
            add(prefixes, prompt)
        beginnings = {tuple(prompt[: end + 1]) for prompt in added for end in range(len(prompt))}
        assert prefixes.held == TOKEN * len(beginnings)
        assert found(prefixes, wanted) == sum(tuple(wanted[: end + 1]) in beginnings for end in range(len(wanted)))


@pytest.mark.parametrize("copies", range(5))
def test_a_prompt_for_which_there_is_no_memory_is_kept_as_far_as_there_was(
    monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    """The copies of a prompt: two halves of a block that is divided, then each new block."""
    clone, made = torch.Tensor.clone, []

    def limited(self: torch.Tensor) -> Any:
        made.append(self)
        if len(made) > copies:
            raise torch.OutOfMemoryError("no memory left")
        return clone(self)

    monkeypatch.setattr(module, "BLOCK", 4)
    prefixes = PrefixCache(limit=TOKEN * 100)
    add(prefixes, [1, 2, 3, 4])
    prompt = [1, 2, *range(10, 20)]
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "clone", limited)
        add(prefixes, prompt)
    check_memory(prefixes, TOKEN * 100)
    assert found(prefixes, [1, 2, 3, 4]) == 4
    assert found(prefixes, prompt) == 2 + 4 * max(0, copies - 2)
    add(prefixes, prompt)
    assert found(prefixes, prompt) == len(prompt)


def test_another_error_than_a_lack_of_memory_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: torch.Tensor) -> Any:
        raise RuntimeError("the device is lost")

    prefixes = PrefixCache(limit=TOKEN * 5)
    monkeypatch.setattr(torch.Tensor, "clone", broken)
    with pytest.raises(RuntimeError, match="lost"):
        add(prefixes, [1])
