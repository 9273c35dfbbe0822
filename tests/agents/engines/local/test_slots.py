"""The memory of slots: one block that is divided anew, and what it takes of the machine."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.engines.local.batch import Batch, BatchRow
from agents.engines.local.slots import Slots
from broker.work_messages import Sampling

TOKEN = 2 * 2 * 2 * 16 * 4
"""Bytes: two layers, keys and values, two heads, 16 numbers of 4 bytes."""
SLOT = 128 * TOKEN


def model(device: str = "cpu", context: int = 8192) -> SimpleNamespace:
    config = SimpleNamespace(
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=context
    )
    return SimpleNamespace(config=config, dtype=torch.float32, device=torch.device(device))


def slots(memory: int, *, capacity: int = 8, device: str = "cpu", context: int = 8192) -> Slots:
    return Slots(model(device, context), capacity, memory)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_is_taken_where_rows_write_and_not_before() -> None:
    before = resident()
    made = slots(1 << 30, capacity=1 << 30)
    made.reserve(128, [])
    assert resident() - before < 64 << 20
    made.all[:1000].fill_(1)
    assert resident() - before > 1000 * SLOT - (16 << 20)


@pytest.mark.parametrize(("capacity", "context", "block"), [(2, 200, 2 * 2 * SLOT), (8, 8192, 64 * SLOT)])
def test_on_a_cpu_no_more_is_allocated_than_the_context_of_the_model_can_need(
    capacity: int, context: int, block: int
) -> None:
    made = slots(64 * SLOT, capacity=capacity, context=context)
    at_first = made.all.untyped_storage().nbytes()
    made.reserve(context, [])
    at_last = made.all.untyped_storage().nbytes()
    assert (at_first, at_last) == (block, block)


@given(st.lists(st.tuples(st.integers(1, 640), st.integers(0, 8)), min_size=1, max_size=12), st.integers(5, 40))
def test_on_a_cpu_slots_grow_and_shrink_within_one_block_and_rows_keep_what_they_hold(
    steps: list[tuple[int, int]], size: int
) -> None:
    """Each step: rows leave until some stay, and one joins that has so many tokens."""
    made = slots(size * SLOT)
    block = made.all.untyped_storage()
    rows: list[torch.Tensor] = []
    for number, (tokens, staying) in enumerate(steps):
        del rows[staying:]
        if not made.fits(len(rows), tokens):
            continue
        made.reserve(tokens, [row.shape[3] for row in rows])
        for slot, row in enumerate(rows):
            assert torch.equal(made.all[slot, ..., : row.shape[3], :], row)
        rows.append(made.all[len(rows), ..., :tokens, :].fill_(number + 1).clone())
        assert (made.all.untyped_storage().data_ptr(), block.nbytes()) == (block.data_ptr(), size * SLOT)


@given(
    st.lists(st.tuples(st.integers(1, 640), st.integers(0, 8), st.sampled_from(["", "relieve", "recover"])), min_size=1)
)
def test_every_row_that_fits_has_a_slot_whatever_was_lowered_and_raised_before(
    steps: list[tuple[int, int, str]],
) -> None:
    made = slots(20 * SLOT)
    rows: list[torch.Tensor] = []
    for number, (tokens, staying, then) in enumerate(steps):
        del rows[staying:]
        if made.fits(len(rows), tokens):
            made.reserve(tokens, [row.shape[3] for row in rows])
            rows.append(made.all[len(rows), ..., :tokens, :].fill_(number + 1).clone())
        for slot, row in enumerate(rows):
            assert torch.equal(made.all[slot, ..., : row.shape[3], :], row)
        if then == "relieve":
            made.capacity = max(1, len(rows) - 1)
        elif then == "recover":
            made.recover()


def test_memory_and_rows_that_were_given_up_come_back() -> None:
    made = slots(8 * SLOT)
    made.halve()
    made.reserve(128, [])
    assert made.all.shape[0] == made.capacity == 4
    made.recover()
    assert made.capacity == 5
    for _ in range(9):
        made.recover()
    assert made.capacity == 8 and not made.fits(4, 128), "beside the old block there is no room for a larger one"
    made.reserve(128, [])
    assert made.all.shape[0] == 8


def test_a_row_that_needs_more_than_all_slots_may_take_runs_alone_and_leaves_nothing_behind() -> None:
    made = slots(4 * SLOT)
    assert made.fits(0, 1000)
    made.reserve(1000, [])
    assert made.all.shape[0] == 1 and not made.fits(1, 10)
    made.reserve(10, [])
    assert made.all.shape[0] == 4 and made.all.untyped_storage().nbytes() == 4 * SLOT


def test_where_memory_is_shared_only_what_is_needed_is_taken_and_old_and_new_slots_stay_within_the_bound() -> None:
    made = slots(16 * SLOT, device="meta")
    made.reserve(100, [])
    assert made.all.untyped_storage().nbytes() == 8 * SLOT
    # Twice as long, eight of them take 16 slots' memory: too much beside the eight that rows hold.
    assert made.fits(2, 128) and not made.fits(2, 129)
    assert made.fits(0, 129)
    made.reserve(129, [])
    assert made.all.untyped_storage().nbytes() == 16 * SLOT

    roomy = slots(64 * SLOT, device="meta")
    roomy.reserve(100, [])
    assert roomy.fits(2, 129)
    roomy.reserve(129, [5, 7])
    assert roomy.all.shape[:1] + roomy.all.shape[4:5] == (8, 256)


def test_running_rows_keep_what_they_hold_where_no_memory_is_left_to_move_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever of the allocations of tensors fails."""

    def allocate_until(limit: int, allocate: Any) -> Any:
        def limited(*args: Any, **more: Any) -> Any:
            made.append(1)
            if len(made) > limit:
                raise torch.OutOfMemoryError("no memory left")
            return allocate(*args, **more)

        return limited

    refused = 0
    for limit in range(4):
        made: list[int] = []
        running = slots(16 * SLOT)
        running.reserve(128, [])
        rows = [running.all[slot, ..., :128, :].fill_(slot + 1).clone() for slot in range(3)]
        with monkeypatch.context() as patched:
            for name in ("clone", "new_empty"):
                patched.setattr(torch.Tensor, name, allocate_until(limit, getattr(torch.Tensor, name)))
            try:
                running.reserve(256, [128] * 3)
            except torch.OutOfMemoryError:
                refused += 1
        for slot, row in enumerate(rows):
            assert torch.equal(running.all[slot, ..., :128, :], row)
    assert refused


def test_requests_run_in_a_smaller_block_where_others_took_the_memory_of_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allocate = Slots._zeros

    def limited(self: Slots, size: int) -> torch.Tensor:
        if size > 8 * SLOT:
            raise torch.OutOfMemoryError("no memory left")
        return allocate(self, size)

    batch = Batch(model(), capacity=8, memory=16 * SLOT, prefix_memory=0)
    batch.join([BatchRow([0] * 3000, Sampling(max_tokens=8), 0)])  # alone, in a larger block
    batch.leave(batch.rows[0])
    monkeypatch.setattr(Slots, "_zeros", limited)
    waiting = [BatchRow([0] * 50, Sampling(max_tokens=8), 0) for _ in range(2)]
    with pytest.raises(torch.OutOfMemoryError):
        batch.join(waiting)
    assert batch.relieve(waiting) is None
    assert len(batch.join(waiting)) == 2


def test_a_row_that_joins_again_needs_no_more_memory_than_before() -> None:
    batch = Batch(model(), capacity=1, memory=16 * SLOT, prefix_memory=0)
    row = BatchRow([0] * 100, Sampling(max_tokens=100), 0)
    rooms = []
    for _ in range(2):
        batch.join([row])
        rooms.append(batch._slots.all.shape[4])
        batch.leave(row)
        row.tokens += [0] * 90
    assert rooms == [256, 256]
