"""Attention over slots, against attention in float64 over each row alone."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.engines.local import attention
from agents.engines.local.attention import AttentionPlan, attend, causal, group_by_prefix, without_math_kernel
from agents.engines.local.batch import BatchRow
from broker.work_messages import Sampling

SCALE = 0.25


def row(tokens: Sequence[int], completion: Sequence[int] = ()) -> BatchRow:
    """A row that has one new token."""
    made = BatchRow(list(tokens), Sampling(max_tokens=8), seed=0)
    made.tokens += completion
    made.held = len(made.tokens) - 1
    return made


def exact(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Of one row in float64: query [heads, new tokens, dim], keys [key heads, tokens, dim]."""
    copies = query.shape[0] // keys.shape[0]
    keys, values = (part.double().repeat_interleave(copies, dim=0) for part in (keys, values))
    scores = query.double() @ keys.transpose(-1, -2) * SCALE
    hidden = ~causal(keys.shape[1] - query.shape[1], query.shape[1], query.device)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ values


def compare(
    rows: Sequence[BatchRow], dtype: torch.dtype, *, key_heads: int = 2, copies: int = 3, dim: int = 16
) -> tuple[AttentionPlan, float]:
    """Attend in one layer; return the plan and the largest error, in units of the largest value."""
    draw = torch.Generator().manual_seed(7)
    longest = max(len(each.tokens) for each in rows)
    vocabulary = 1 + max(max(each.tokens) for each in rows)
    # Keys and values follow from the tokens and their position, so that equal beginnings have equal ones.
    table = torch.randn(2, longest, vocabulary, key_heads, dim, generator=draw).to(dtype)
    slots = torch.zeros(len(rows), 1, 2, key_heads, longest, dim, dtype=dtype)
    whole = []
    for slot, each in enumerate(rows):
        whole.append(table[:, torch.arange(len(each.tokens)), each.tokens].transpose(1, 2))
        slots[slot, 0, ..., : each.held, :] = whole[-1][..., : each.held, :]
    query = torch.randn(
        1, copies * key_heads, sum(len(each.tokens) - each.held for each in rows), dim, generator=draw
    ).to(dtype)
    new = torch.cat([part[..., each.held :, :] for part, each in zip(whole, rows, strict=True)], dim=-2)
    plan = AttentionPlan(rows, slots)
    module: Any = SimpleNamespace(layer_idx=0)
    out, _ = attend(module, query, new[0][None], new[1][None], None, scaling=SCALE, slots=slots, plan=plan)
    assert out.dtype == dtype
    error, begin = 0.0, 0
    for part, each in zip(whole, rows, strict=True):
        end = begin + len(each.tokens) - each.held
        wanted = exact(query[0, :, begin:end], part[0], part[1]).transpose(0, 1)
        error = max(error, float((out[0, begin:end] - wanted).abs().max() / part[1].abs().max()))
        begin = end
    return plan, error


TOLERANCE = {
    torch.float32: 1e-5,
    # Rounded once each: the weights of the values, the two parts, and what is merged. A unit in the last place is 2^-8
    # of a number in bfloat16 and 2^-10 in float16, and rounding errs by half of it.
    torch.bfloat16: 3 * 2**-9 + 1e-4,
    torch.float16: 3 * 2**-11 + 1e-4,
}
COMMON = [*range(40), 3, 1, 4] * 7
"""301 tokens."""


def exams(count: int, beginning: Sequence[int], first: int = 50) -> list[BatchRow]:
    """Rows with this beginning that differ from there on, of different lengths."""
    return [row([*beginning, first + number, *range(number + 1)], range(number % 4)) for number in range(count)]


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(("key_heads", "copies", "dim"), [(3, 3, 64), (2, 7, 64), (4, 1, 80), (1, 8, 24), (2, 2, 13)])
def test_rows_attend_to_what_they_share_as_each_would_alone(
    dtype: torch.dtype, key_heads: int, copies: int, dim: int
) -> None:
    plan, error = compare(exams(8, COMMON), dtype, key_heads=key_heads, copies=copies, dim=dim)
    assert (plan.common, plan.groups, plan.apart) == (301, [list(range(8))], [])
    assert error < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_groups_with_different_beginnings_and_rows_without_a_group_run_together(dtype: torch.dtype) -> None:
    one, two = exams(6, COMMON), exams(6, COMMON[::-1])
    short, long = row([5, 6]), row([9] * 400)
    joined = row([*COMMON, 7, 7, 7])
    joined.held = 301
    rows = [one[0], two[0], short, *one[1:4], long, *two[1:], *one[4:], joined]
    plan, error = compare(rows, dtype)
    assert plan.common == 301
    assert sorted(plan.groups) == [[0, 3, 4, 5, 12, 13], [1, 7, 8, 9, 10, 11]]
    assert plan.apart == [(2, 2), (6, 400)]
    assert [slot for slot, *_ in plan.spans] == [14]
    assert error < TOLERANCE[dtype]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=9))
def test_whatever_rows_share_the_result_is_the_same(prompts: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attention, "CALL", 0)
        patched.setattr(attention, "MERGE", 0)
        plan, error = compare([row(tokens) for tokens in prompts], torch.float32)
    known = [tuple(tokens[:-1]) for tokens in prompts]
    shared_once = {
        length: sum(map(len, groups)) - len(groups)
        for length in range(1, 9)
        if (groups := [group for group in grouped(known, length) if len(group) > 1])
    }
    best = max((length * fewer for length, fewer in shared_once.items()), default=0)
    assert plan.common * shared_once.get(plan.common, 0) == best
    assert sorted(plan.groups) == [group for group in grouped(known, plan.common) if len(group) > 1 and plan.common]
    assert error < TOLERANCE[torch.float32]


def grouped(known: Sequence[tuple[int, ...]], length: int) -> list[list[int]]:
    """The indices of the prompts of at least `length` tokens, by their first `length` tokens."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, tokens in enumerate(known):
        if len(tokens) >= length:
            groups.setdefault(tokens[:length], []).append(index)
    return sorted(groups.values())


@pytest.mark.parametrize(
    ("rows", "length", "sizes"),
    [
        ([], 0, []),
        (exams(1, COMMON), 0, []),
        (exams(8, COMMON[:20]), 0, []),
        (exams(2, COMMON), 301, [2]),
        ([row(COMMON) for _ in range(5)], 300, [5]),
        ([*exams(4, COMMON[:150], 50), *exams(4, COMMON[:150], 60)], 150, [8]),
        # Reading more in one call costs less than as many calls as there are TRs.
        ([each for tr in range(4) for each in exams(4, [*COMMON, 45 + tr, *COMMON[:90]], 60)], 301, [16]),
        ([*exams(4, [*COMMON[:150], 45, *COMMON], 50), *exams(4, [*COMMON[:150], 46, *COMMON], 60)], 452, [4, 4]),
    ],
)
def test_rows_attend_together_where_it_saves_more_than_it_costs(
    rows: list[BatchRow], length: int, sizes: list[int]
) -> None:
    common, groups = group_by_prefix(rows)
    assert (common, [len(group) for group in groups]) == (length, sizes)
    assert len({tuple(rows[slot].known[:common]) for group in groups for slot in group}) == len(groups)


def test_what_a_row_is_known_to_hold_is_all_but_the_last_token_of_what_it_was_given() -> None:
    scored = BatchRow([1, 2, 3], Sampling(max_tokens=0), seed=0, given=[4, 5])
    for each, known in ((row([1, 2, 3], [9, 9]), [1, 2]), (scored, [1, 2, 3]), (row([1]), [])):
        assert np.array_equal(each.known, known)


def test_elsewhere_than_on_a_cpu_rows_attend_one_by_one() -> None:
    plan = AttentionPlan(exams(8, COMMON), torch.empty(0, device="meta"))
    assert (plan.common, plan.groups, plan.apart) == (0, [], [])


@pytest.mark.parametrize("start", [0, 5])
def test_prefill_without_the_math_kernel_is_the_same_attention(start: int) -> None:
    torch.manual_seed(0)
    count, heads, key_heads, dim = 7, 6, 2, 8
    query = torch.randn(1, heads, count, dim)
    key, value = torch.randn(2, 1, key_heads, start + count, dim)
    mask = causal(start, count, query.device)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True
    )
    got = without_math_kernel(query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(got, expected)
