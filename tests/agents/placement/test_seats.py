"""Which agent gets which device, on described machines."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.placement.hardware import (
    CgroupLimits,
    Gpu,
    Machine,
    cgroup_limits,
    computes_in_bfloat16,
    described_machine,
    gpu_is_there,
    hides_all,
    meminfo_mb,
    split_machine,
    this_machine,
    visible_gpus,
)
from agents.placement.memory import CONTEXT_MB, Workload, need_mb
from agents.placement.seats import Seat, SeatRequest, place, short_now
from broker.errors import PlacementError

A10 = 24_000
H100 = 80_000
SIZES = (A10, 40_000, 48_000, H100, 141_000)


def machine(*gpus: int, cores: int = 16, memory_mb: int = 64_000, mps: bool = False, core_quota: int = 0) -> Machine:
    return Machine(
        cores=tuple(range(cores)),
        memory_mb=memory_mb,
        gpus=tuple(Gpu(str(i), "GPU", mb) for i, mb in enumerate(gpus)),
        mps=mps,
        core_quota=core_quota,
    )


def autos(*sizes: int) -> list[SeatRequest]:
    return [SeatRequest(f"a{i}", "auto", mb) for i, mb in enumerate(sizes)]


def refusal(wishes: list[SeatRequest], where: Machine) -> str:
    with pytest.raises(PlacementError) as caught:
        place(wishes, where)
    message = str(caught.value)
    assert len(message.splitlines()) <= 3
    return message


# --- GPUs -----------------------------------------------------------------------------------------------


def test_agents_spread_over_gpus_one_each_while_there_are_enough() -> None:
    seats = place(autos(1000, 1000, 1000), machine(A10, A10, A10))
    assert sorted(seat.gpus for seat in seats) == [("0",), ("1",), ("2",)]


def test_the_largest_takes_the_gpu_with_most_room_whatever_the_order_of_the_wishes() -> None:
    seats = place(autos(1000, 40_000, 2000), machine(A10, H100))
    assert [seat.gpus for seat in seats] == [("1",), ("1",), ("0",)]


def test_agents_spread_over_the_gpus_before_any_two_share_one() -> None:
    assert [seat.gpus for seat in place(autos(1000, 1000, 1000), machine(H100, H100, A10))] == [("0",), ("1",), ("2",)]


def test_room_that_other_programs_hold_is_not_room() -> None:
    busy = Machine(cores=(0,), memory_mb=1, gpus=(Gpu("0", "A10", A10, used_mb=20_000), Gpu("1", "A10", A10)))
    assert [seat.gpus for seat in place(autos(1000, 1000), busy)] == [("1",), ("1",)]
    assert "less 20.0 GB that other programs hold" in refusal([SeatRequest("a", 0, 5000)], busy)


def test_agents_are_packed_tightly_where_spreading_fails() -> None:
    # Spread, the two large ones part and the third small one finds no room; together they leave it a GPU.
    seats = place(autos(7000, 7000, 4500, 4500, 4500), machine(A10, A10))
    assert [seat.gpus for seat in seats] == [("0",), ("0",), ("1",), ("1",), ("1",)]


def test_agents_of_one_gpu_share_what_is_left_evenly_after_their_needs() -> None:
    small, large = place(autos(1000, 10_000), machine(A10))
    assert small.memory_share + large.memory_share == pytest.approx(0.95)
    assert small.memory_share * A10 - need_mb(1000) == pytest.approx(large.memory_share * A10 - need_mb(10_000))


def test_a_memory_share_is_kept_and_the_others_divide_the_rest() -> None:
    seats = place([SeatRequest("a", 0, 1000, 0.5), *autos(1000, 1000)], machine(A10))
    assert [seat.memory_share for seat in seats] == pytest.approx([0.5, 0.225, 0.225])


def test_a_list_of_gpus_seats_one_agent_on_all_of_them() -> None:
    (seat,) = place([SeatRequest("big", (1, 0), 60_000, engine="vllm")], machine(48_000, 48_000))
    assert seat.gpus == ("1", "0")
    assert seat.device == "GPU 1+0 (GPU, 95 %)"


def test_a_list_of_gpus_that_one_engine_cannot_use_is_refused() -> None:
    gpus = machine(48_000, 48_000, 48_000, 48_000)
    assert "computes on one GPU" in refusal([SeatRequest("big", (0, 1), 60_000)], gpus)
    said = refusal([SeatRequest("big", (0, 1, 2, 3), 60_000, engine="vllm", heads=14)], gpus)
    assert "14 attention heads" in said and "4 GPUs" in said
    assert place([SeatRequest("big", (0, 1), 60_000, engine="vllm", heads=14)], gpus)


@pytest.mark.parametrize(("gpu", "agents", "size"), [(24_000, 4, 3_100), (80_000, 8, 3_100), (80_000, 2, 15_000)])
def test_shares_of_the_engines_and_a_context_for_each_fit_a_gpu(gpu: int, agents: int, size: int) -> None:
    seats = place([SeatRequest(f"a{n}", "auto", size, engine="vllm") for n in range(agents)], machine(gpu))
    assert sum(seat.engine_share * gpu + CONTEXT_MB for seat in seats) <= gpu
    for seat in seats:
        assert seat.cache_mb > 0 and size + seat.cache_mb <= seat.engine_share * gpu


def test_more_agents_than_a_gpu_holds_are_refused_with_numbers() -> None:
    said = refusal([SeatRequest(f"a{n}", "auto", 3_100) for n in range(5)], machine(24_000))
    assert "needs about 5.6 GB on one GPU (weights 3.1 GB). Left: 0.5 GB on GPU 0 (GPU, 24.0 GB)" in said
    assert "a smaller model" in said


@pytest.mark.parametrize(
    ("gpu", "agents", "size", "token", "engine"),
    [(24_000, 4, 3_100, 28_672, engine) for engine in ("transformers", "vllm")]
    + [(80_000, 8, size, token, "vllm") for size, token in ((1_000, 12_288), (3_100, 28_672))],
)
def test_agents_of_2k_context_have_a_whole_request_and_more_in_their_share(
    gpu: int, agents: int, size: int, token: int, engine: str
) -> None:
    """Qwen2.5 of 1.5B and of 0.5B, with the bytes of keys and values of one token."""
    workload = Workload(count=500, tokens=2048, token_bytes=token)
    asked = [SeatRequest(f"a{n}", "auto", size, engine=engine, workload=workload) for n in range(agents)]
    for seat in place(asked, machine(gpu)):
        assert seat.memory is not None
        assert seat.memory.total_mb <= seat.memory_share * gpu + 1
        # The transformers engine keeps a fifth of it for recent prompts.
        assert seat.cache_mb * 4 / 5 >= 4 * 2048 * token / 1e6


def alone(*gpus: int) -> Machine:
    return Machine((0,), 64_000, tuple(Gpu(str(i), "H100", mb, exclusive=True) for i, mb in enumerate(gpus)))


def test_a_gpu_that_serves_one_process_gets_one_agent() -> None:
    assert sorted(seat.gpus for seat in place(autos(1000, 1000), alone(H100, A10))) == [("0",), ("1",)]
    for asked in (autos(1000, 1000), [SeatRequest("a", 0, 1000), SeatRequest("b", 0, 1000)]):
        said = refusal(asked, alone(H100))
        assert "serves one process at a time (compute mode Exclusive_Process)" in said and "nvidia-smi -c 0" in said
    busy = Machine((0,), 64_000, (Gpu("0", "H100", H100, used_mb=2000, exclusive=True),))
    assert "Left: 0.0 GB" in refusal(autos(1000), busy)


@pytest.mark.parametrize(
    ("mode", "exclusive"), [("Default", False), ("Exclusive_Process", True), ("[N/A]", False), ("", False)]
)
def test_the_compute_mode_of_a_gpu_is_read(mode: str, exclusive: bool) -> None:
    (gpu,) = visible_gpus(f"0, GPU-ab, NVIDIA H100, 81559, 0, Disabled, 9.0, {mode}\n", None, 64_000)
    assert gpu.exclusive is exclusive


def test_a_gpu_that_is_closed_to_programs_is_refused() -> None:
    with pytest.raises(PlacementError, match="compute mode Prohibited"):
        visible_gpus("0, GPU-ab, NVIDIA H100, 81559, 0, Disabled, 9.0, Prohibited\n", None, 64_000)


def test_a_named_gpu_counts_within_the_visible_ones() -> None:
    where = Machine(cores=(0,), memory_mb=1, gpus=(Gpu("5", "A10", A10), Gpu("GPU-ab", "A10", A10)))
    assert place([SeatRequest("a", 1, 1000)], where)[0].gpus == ("GPU-ab",)


def test_a_named_gpu_that_is_not_there_is_refused_with_what_is_there() -> None:
    assert refusal([SeatRequest("tutor", 2, 10)], machine(A10, H100)) == (
        "tutor: gpu: asks for GPU 2, which is not there. GPUs here: 0 (GPU, 24.0 GB), 1 (GPU, 80.0 GB); "
        "take gpu: auto or none"
    )
    assert "GPUs here: none" in refusal([SeatRequest("tutor", 0, 10)], machine())
    assert "GPUs here: none" in refusal([SeatRequest("simulated", 0, 0)], machine())


@pytest.mark.parametrize("gpu", [(), (0, 0)])
def test_a_list_that_names_no_gpu_or_one_twice_is_refused(gpu: tuple[int, ...]) -> None:
    assert "must name each of its GPUs once" in refusal([SeatRequest("tutor", gpu, 10)], machine(A10, A10))


def test_a_gpu_that_cannot_hold_those_who_name_it_is_refused_with_numbers() -> None:
    message = refusal([SeatRequest("a", 0, 12_000), SeatRequest("b", 0, 8000)], machine(A10))
    assert message.startswith("GPU 0 (GPU, 24.0 GB) cannot hold a 17.1 GB + b 11.9 GB: 22.8 GB may be used.")


def test_an_agent_that_fits_nowhere_is_refused_with_what_is_left_everywhere() -> None:
    message = refusal([SeatRequest("tutor", "auto", 30_000), SeatRequest("peer", 0, 2000)], machine(A10, A10))
    assert message.startswith("tutor: gpu: needs about 40.5 GB on one GPU (weights 30.0 GB). Left: 18.7 GB on GPU 0 ")


def test_a_share_that_does_not_hold_the_weights_is_refused() -> None:
    assert "less than the weights of its model" in refusal([SeatRequest("a", 0, 10_000, 0.2)], machine(A10))


def test_a_share_that_only_the_larger_gpu_makes_enough_seats_the_agent_there() -> None:
    assert place([SeatRequest("a", "auto", 20_000, 0.3)], machine(A10, H100))[0].gpus == ("1",)
    assert "memory_share 0.3" in refusal([SeatRequest("a", "auto", 20_000, 0.3)], machine(A10, A10))


def test_a_gpu_that_others_fill_disturbs_nobody_who_sits_elsewhere() -> None:
    where = Machine(cores=(0,), memory_mb=1, gpus=(Gpu("0", "A10", A10, used_mb=A10), Gpu("1", "A10", A10)))
    assert [seat.gpus for seat in place([SeatRequest("a", 1, 1000), SeatRequest("b", "auto", 1000)], where)] == [
        ("1",),
        ("1",),
    ]


def test_a_second_class_on_a_gpu_gets_what_the_first_leaves_or_is_refused_with_what_that_holds() -> None:
    def after(share: float | None) -> Machine:
        (first,) = place([SeatRequest("a", "auto", 1000, share)], machine(A10))
        return Machine((0,), 64_000, (Gpu("0", "A10", A10, used_mb=int(first.memory_share * A10)),))

    whole, part = after(None), after(0.4)
    assert "Left: 0.0 GB on GPU 0 (A10, 24.0 GB), where other programs hold 22.8 GB.\n" in refusal(autos(1000), whole)
    named = refusal([SeatRequest("b", 0, 1000)], whole)
    assert "22.8 GB may be used, less 22.8 GB that other programs hold" in named
    (second,) = place(autos(1000), part)
    assert second.memory_share == pytest.approx(0.55, abs=0.01)


def test_shares_of_more_than_there_is_are_refused() -> None:
    assert "cannot hold a 12.0 GB + b 12.0 GB" in refusal(
        [SeatRequest("a", 0, 10, 0.5), SeatRequest("b", 0, 10, 0.5)], machine(A10)
    )


def test_a_simulated_agent_takes_no_gpu_from_the_others() -> None:
    seats = place([SeatRequest("a", "auto", 0), SeatRequest("b", 0, 0), SeatRequest("c", "auto", 1000)], machine(A10))
    assert [seat.gpus for seat in seats] == [(), (), ("0",)]
    assert seats[2].memory_share == pytest.approx(0.95)


def test_an_apple_machine_seats_everybody_on_its_one_gpu() -> None:
    seats = place([*autos(1000, 1000), SeatRequest("c", "none", 1000)], machine(mps=True))
    assert [seat.gpus for seat in seats] == [("mps",), ("mps",), ()]
    assert seats[0].device == "MPS (Apple GPU, 48 %)"
    assert "cannot" in refusal([SeatRequest("a", 0, 60_000)], machine(mps=True))


# --- cores and memory -----------------------------------------------------------------------------------


def on_vllm(*sizes: int) -> list[SeatRequest]:
    return [SeatRequest(f"a{i}", "none", mb, engine="vllm") for i, mb in enumerate(sizes)]


def test_agents_whose_threads_are_fixed_get_cores_of_their_own_and_a_thread_per_core() -> None:
    seats = place(on_vllm(1000, 1000, 1000), machine(cores=8))
    assert sorted(core for seat in seats for core in seat.cores) == list(range(8))
    assert sorted(seat.threads for seat in seats) == [2, 3, 3]
    assert all(seat.threads == len(seat.cores) for seat in seats)


def test_agents_that_can_change_their_threads_may_use_all_cores_while_others_are_idle() -> None:
    seats = place(autos(1000, 1000, 1000), machine(cores=8))
    assert {seat.cores for seat in seats} == {tuple(range(8))}
    assert [seat.threads for seat in seats] == [3, 3, 2]
    assert [seat.device for seat in seats] == ["CPU, 3 to 8 threads", "CPU, 3 to 8 threads", "CPU, 2 to 8 threads"]


def test_no_agent_takes_many_threads_of_others_or_fewer_than_its_own() -> None:
    seats = place(autos(1000, 1000), machine(cores=64))
    assert [(len(seat.cores), seat.device) for seat in seats] == [(32, "CPU, 32 threads")] * 2
    seats = place(autos(*[1000] * 12), machine(cores=48))
    assert {(len(seat.cores), seat.device) for seat in seats} == {(48, "CPU, 4 to 8 threads")}
    assert place(autos(1000), machine(cores=4))[0].device == "CPU, 4 threads"


def test_with_more_agents_than_cores_each_has_one_thread_and_may_run_anywhere() -> None:
    seats = place(autos(1000, 1000, 1000, 1000), machine(cores=2))
    assert {(seat.cores, seat.threads) for seat in seats} == {((0, 1), 1)}
    assert seats[0].device == "CPU, 1 to 2 threads"
    assert seats[0].why == "no GPU on the machine; 4 agents share 2 cores"
    assert place(on_vllm(1000, 1000, 1000), machine(cores=2))[0].device == "CPU, 1 thread"


def test_simulated_agents_do_not_count_when_cores_are_shared_out() -> None:
    seats = place([*autos(1000, 0, 0), SeatRequest("d", "none", 1000)], machine(cores=4))
    assert [seat.threads for seat in seats] == [2, 1, 1, 2]


def test_a_quota_limits_threads_and_pins_nobody() -> None:
    seats = place(autos(1000, 1000), machine(cores=64, core_quota=3))
    assert [seat.threads for seat in seats] == [2, 1]
    assert all(seat.cores == tuple(range(64)) for seat in seats)


ASKED = Workload(count=400, tokens=600, token_bytes=10_000)


def on_the_cpu(*sizes: int) -> list[SeatRequest]:
    return [SeatRequest(f"a{i}", "auto", mb, workload=ASKED) for i, mb in enumerate(sizes)]


def test_agents_that_the_memory_cannot_hold_together_are_refused_with_numbers_and_what_to_change() -> None:
    assert refusal(on_the_cpu(3000, 2000, 1000), machine(memory_mb=9000)).splitlines() == [
        "The agents on the CPU need about 9.2 GB of memory, and they may take 8.0 GB: 9.0 GB are there, and 1.0 GB "
        "must stay free.",
        "a0 4.2 GB (3.0 + 0.5 + 0.8), a1 3.1 GB (2.0 + 0.5 + 0.6), a2 1.9 GB (1.0 + 0.5 + 0.5): weights + KV cache "
        "+ engine.",
        "Let them take turns (time_share: true; the largest takes 4.2 GB), leave out a2 (the others take 7.3 GB), "
        "lower capacity, lower engine_args.kv_cache_mb, or take smaller models.",
    ]


def test_only_ways_out_that_would_do_are_offered() -> None:
    together = refusal(on_the_cpu(3000, 3000), machine(memory_mb=6000))
    assert "time_share" in together and "leave out" not in together
    alone = refusal(on_the_cpu(9000), machine(memory_mb=6000))
    assert alone.endswith("\nLower capacity, lower engine_args.kv_cache_mb, or take smaller models.")
    largest = refusal(on_the_cpu(1000, 1000, 9000), machine(memory_mb=6000))
    assert "time_share" not in largest and "eave out a2" in largest
    unknown = refusal([SeatRequest("a", "auto", 9000)], machine(memory_mb=6000))
    assert unknown.endswith("\nLower engine_args.kv_cache_mb, or take smaller models.")
    one = msgspec.structs.replace(ASKED, capacity=1)
    assert refusal([SeatRequest("a", "auto", 9000, workload=one)], machine(memory_mb=6000)).endswith(
        "\nTake smaller models."
    )
    replicas = [SeatRequest(name, "auto", 3000, workload=ASKED) for name in ("a", "a.2")]
    assert "time_share" not in refusal(replicas, machine(memory_mb=6000))


def test_seats_do_not_depend_on_what_other_programs_hold() -> None:
    asked, there = on_the_cpu(3000, 2000, 1000), machine(memory_mb=25_000)
    assert place(asked, there) == place(asked, msgspec.structs.replace(there, free_mb=0))


def test_agents_that_need_more_than_is_free_now_are_told_what_would_fit() -> None:
    # They need 9.2 GB, and 2.5 GB stay free.
    asked, there = on_the_cpu(3000, 2000, 1000), machine(memory_mb=25_000)

    def said(free_mb: int, swap_mb: int = 0) -> str:
        return short_now(asked, msgspec.structs.replace(there, free_mb=free_mb, swap_mb=swap_mb))

    assert short_now(asked, there) == said(11_800) == said(7800, 4000) == ""
    assert said(11_500).splitlines() == [
        "The agents on the CPU need about 9.2 GB of memory, and they may take 9.0 GB: 11.5 GB of 25.0 GB are free, "
        "and 2.5 GB must stay free.",
        "a0 4.2 GB (3.0 + 0.5 + 0.8), a1 3.1 GB (2.0 + 0.5 + 0.6), a2 1.9 GB (1.0 + 0.5 + 0.5): weights + KV cache "
        "+ engine.",
        "Close other programs, let them take turns (time_share: true; the largest takes 4.2 GB), leave out a2 (the "
        "others take 7.3 GB), lower capacity, lower engine_args.kv_cache_mb, or take smaller models.",
    ]
    assert "they may take 1.0 GB: 3.0 GB of 25.0 GB and 0.5 GB of swap are free" in said(3000, 500)
    assert "they may take 0.0 GB" in said(2000)


@pytest.mark.parametrize(("memory_mb", "usable_mb"), [(4000, 3000), (10_000, 9000), (64_000, 57_600)])
def test_a_tenth_of_the_memory_stays_free_and_at_least_a_gigabyte(memory_mb: int, usable_mb: int) -> None:
    assert machine(memory_mb=memory_mb).usable_mb == usable_mb


def test_simulated_agents_and_agents_on_gpus_take_none_of_the_machines_memory() -> None:
    full = msgspec.structs.replace(machine(A10, memory_mb=8000), free_mb=100)
    assert len(place([SeatRequest("a", "auto", 0), SeatRequest("b", "auto", 3000)], full)) == 2


def vllms(*sizes: int, args: dict[str, Any] | None = None) -> list[SeatRequest]:
    return [SeatRequest(f"a{i}", "auto", mb, None, "vllm", args or {}) for i, mb in enumerate(sizes)]


def test_four_vllm_agents_that_filled_a_machine_are_refused() -> None:
    # A teacher of 1.5B and three students of 0.5B took all of such a machine, and the kernel ended the teacher.
    crew, there = vllms(3088, 989, 989, 989), machine(memory_mb=25_276)
    message = refusal(crew, there)
    assert "a0 8.3 GB (3.1 + 2.1 + 3.0), a1 5.1 GB" in message
    assert "time_share: true; the largest takes 8.3 GB" in message and "leave out a3" in message
    assert place(crew[:3], there)


@pytest.mark.parametrize(("memory_gb", "hold"), [(4, 0), (8, 1), (24, 5)])
def test_on_a_cpu_vllm_counts_with_its_processes_and_its_keys_and_values(memory_gb: int, hold: int) -> None:
    where = machine(memory_mb=memory_gb * 1000)
    assert len(place(vllms(*[270] * hold), where)) == hold
    message = refusal(vllms(*[270] * (hold + 1)), where)
    assert "a0 4.1 GB (0.3 + 2.1 + 1.6)" in message
    assert "ower engine_args.kv_cache_memory_bytes" in message


def test_fewer_keys_and_values_let_more_agents_sit_on_a_cpu() -> None:
    assert len(place(vllms(270, 270, 270, args={"kv_cache_memory_bytes": 256 << 20}), machine(memory_mb=8192))) == 3


def test_what_an_agent_takes_is_said_in_its_parts() -> None:
    on_gpu, on_two, on_cpu, none = place(
        [
            SeatRequest("a", 0, 10_000),
            SeatRequest("b", (1, 2), 60_000, engine="vllm"),
            SeatRequest("c", "none", 1000, workload=ASKED),
            SeatRequest("d", "auto", 0),
        ],
        machine(A10, 48_000, 48_000),
    )
    assert on_gpu.memory and on_two.memory and on_cpu.memory and none.memory is None
    assert on_gpu.memory.total_mb == int(0.95 * A10) and on_gpu.memory.weights_mb == 10_000
    assert on_two.memory.total_mb == pytest.approx(0.95 * 96_000, abs=2)
    assert on_two.memory.engine_mb == 18_000 + 2 * 1024
    assert (on_cpu.memory.weights_mb, on_cpu.memory.cache_mb, on_cpu.memory.engine_mb) == (1000, 204 + 256, 450)


# --- on any machine -------------------------------------------------------------------------------------


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    sizes = draw(st.lists(st.sampled_from(SIZES), max_size=8))
    gpus = tuple(Gpu(str(i), "GPU", mb, draw(st.sampled_from([0, 0, 500, mb // 2, mb]))) for i, mb in enumerate(sizes))
    cores = draw(st.integers(1, 32))
    return Machine(
        cores=tuple(range(3, 3 + cores)),
        memory_mb=draw(st.integers(1000, 500_000)),
        free_mb=draw(st.none() | st.integers(0, 500_000)),
        gpus=gpus,
        mps=draw(st.booleans()),
        core_quota=draw(st.integers(0, cores - 1)),
    )


@st.composite
def wishes(draw: st.DrawFn) -> list[SeatRequest]:
    named = st.integers(0, 7) | st.lists(st.integers(0, 7), max_size=3).map(tuple)
    gpu: st.SearchStrategy[Any] = st.sampled_from(["auto", "auto", "none"]) | named
    models = st.sampled_from([0, 270, 1000, 3000, 15_000, 30_000, 140_000])
    share = st.none() | st.floats(0.01, 1.0)
    count = draw(st.integers(1, 6))
    return [SeatRequest(f"a{i}", draw(gpu), draw(models), draw(share)) for i in range(count)]


@given(wishes(), machines())
def test_everybody_is_seated_in_order_or_the_class_is_refused_and_no_gpu_is_over_committed(
    asked: list[SeatRequest], where: Machine
) -> None:
    try:
        seats = place(asked, where)
    except PlacementError as error:
        assert 1 <= len(str(error).splitlines()) <= 3
        return
    assert place(asked, where) == seats
    assert [seat.agent for seat in seats] == [wish.agent for wish in asked]
    memory = {gpu.token: gpu.memory_mb for gpu in where.gpus} | {"mps": int(where.memory_mb * 0.75)}
    taken = {"mps": 0.0} | {gpu.token: gpu.used_mb / gpu.memory_mb for gpu in where.gpus}
    for wish, seat in zip(asked, seats, strict=True):
        assert 1 <= seat.threads <= len(where.cores)
        assert seat.cores
        assert set(seat.cores) <= set(where.cores)
        assert wish.gpu != "none" or not seat.gpus
        assert (seat.memory_share > 0) == bool(seat.gpus)
        for token in seat.gpus:
            taken[token] += seat.memory_share
            needed = (
                need_mb(wish.model_mb, len(seat.gpus)) if wish.memory_share is None else wish.model_mb / len(seat.gpus)
            )
            assert seat.memory_share * memory[token] >= needed * (1 - 1e-9)
        if seat.gpus and seat.memory and wish.memory_share is None:
            granted = seat.memory_share * len(seat.gpus) * min(memory[token] for token in seat.gpus)
            assert seat.memory.total_mb == pytest.approx(granted, abs=2)
            assert seat.memory.cache_mb >= 512 * len(seat.gpus) - 2
        if wish.memory_share and seat.gpus:
            assert seat.memory_share == wish.memory_share
    assert all(share <= 0.95 + 1e-9 for token, share in taken.items() if any(token in seat.gpus for seat in seats))
    on_cpu = [seat.memory.total_mb for seat in seats if seat.memory and not seat.gpus]
    assert sum(on_cpu) <= where.usable_mb
    check_cores([seat for wish, seat in zip(asked, seats, strict=True) if wish.model_mb and not seat.gpus], where)


def check_cores(seats: list[Seat], where: Machine) -> None:
    if not where.core_quota and 0 < len(seats) <= len(where.cores):
        assert sorted(core for seat in seats for core in seat.cores) == list(where.cores)
        assert max(seat.threads for seat in seats) - min(seat.threads for seat in seats) <= 1
    assert sum(seat.threads for seat in seats) <= max(len(seats), where.core_quota or len(where.cores))


@given(st.integers(1, 8), st.sampled_from(SIZES), st.integers(1, 12))
def test_equal_agents_spread_evenly_over_equal_gpus(gpus: int, size: int, agents: int) -> None:
    seats = place(autos(*[270] * agents), machine(*[size] * gpus))
    loads = Counter(seat.gpus for seat in seats)
    assert max(loads.values()) - min([*loads.values(), *[0] * (gpus - len(loads))]) <= 1


# --- looking at the machine -----------------------------------------------------------------------------

SMI = """0, GPU-aaaa-1, NVIDIA H100 80GB HBM3, 81559, 4
1, GPU-aabb-2, NVIDIA A10, 23028, 0
2, GPU-cccc-3, NVIDIA GB10, [N/A], [N/A]
"""


def test_without_the_variable_all_gpus_are_visible() -> None:
    assert visible_gpus(SMI, None, 120_000) == (
        Gpu("0", "H100 80GB HBM3", 85520, 4),
        Gpu("1", "A10", 24146),
        Gpu("2", "GB10", 120_000),
    )


@pytest.mark.parametrize(
    ("variable", "tokens"),
    [
        ("", []),
        ("-1", []),
        ("2,0", ["2", "0"]),
        (" 1 , 0", ["1", "0"]),
        ("1,7,0", ["1"]),
        ("GPU-cccc-3,1", ["GPU-cccc-3", "1"]),
        ("GPU-aab", ["GPU-aabb-2"]),
        ("GPU-aa", []),
        ("NoDevFiles", []),
    ],
)
def test_visible_gpus_follow_the_variable_as_cuda_does(variable: str, tokens: list[str]) -> None:
    assert [gpu.token for gpu in visible_gpus(SMI, variable, 0)] == tokens


def test_a_part_of_a_gpu_is_refused() -> None:
    with pytest.raises(PlacementError, match="name whole GPUs"):
        visible_gpus(SMI, "MIG-1234", 0)


@pytest.mark.parametrize(
    ("visible", "gpu"), [("0,0", "0"), ("1, 0 ,1", "1"), ("GPU-aabb-2,1", "1"), ("GPU-aab,GPU-aabb", "1")]
)
def test_a_gpu_that_the_variable_names_twice_is_refused(visible: str, gpu: str) -> None:
    with pytest.raises(PlacementError, match=f"names GPU {gpu} twice"):
        visible_gpus(SMI, visible, 0)


# As nvidia-smi prints it: index, uuid, name, memory.total, memory.used, mig.mode.current, compute_cap.
MIG = """0, GPU-aaaa-1, NVIDIA A100-SXM4-80GB, 81920, 7, Enabled, 8.0
1, GPU-aabb-2, NVIDIA A100-SXM4-80GB, 81920, 7, Disabled, 8.0
2, GPU-cccc-3, NVIDIA A10, 23028, 0, [N/A], 8.6
"""


def test_a_gpu_that_is_divided_into_parts_is_refused_and_the_others_are_not() -> None:
    for visible in (None, "0", "1,0", "GPU-aaaa"):
        with pytest.raises(PlacementError, match=r"GPU 0 \(NVIDIA A100-SXM4-80GB\) is divided into parts \(MIG\)"):
            visible_gpus(MIG, visible, 0)
    assert [gpu.token for gpu in visible_gpus(MIG, "2,1", 0)] == ["2", "1"]


@pytest.mark.parametrize("said", ["[GPU is lost]", "ERR!", "[Unknown Error]", "[Insufficient Permissions]"])
def test_a_lost_gpu_is_refused_and_the_others_are_not(said: str) -> None:
    rows = f"0, GPU-aaaa-1, NVIDIA A10, 23028, 0, [N/A]\n1, GPU-aabb-2, {said}, {said}, {said}, {said}\n"
    with pytest.raises(PlacementError, match="GPU 1 is lost") as caught:
        visible_gpus(rows, None, 64_000)
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 2
    assert [gpu.token for gpu in visible_gpus(rows, "0", 64_000)] == ["0"]


@pytest.mark.parametrize(("capability", "able"), [("7.5", False), ("8.0", True), ("12.0", True), ("[N/A]", True)])
def test_old_gpus_do_not_compute_in_bfloat16(capability: str, able: bool) -> None:
    (gpu,) = visible_gpus(f"0, GPU-a, Tesla T4, 15360, 0, [N/A], {capability}\n", None, 0)
    assert gpu.bfloat16 == able


def test_a_gpu_that_shares_the_memory_of_the_machine_is_not_lost() -> None:
    for said in ("[N/A]", "[Not Supported]"):
        assert visible_gpus(f"0, GPU-a, NVIDIA GB10, {said}, {said}, [N/A]\n", None, 1000)[0].memory_mb == 1000


@pytest.mark.parametrize(("visible", "hidden"), [("", True), (" ", True), ("-1", True), ("0", False), (None, False)])
def test_a_variable_that_hides_all_gpus_is_known(visible: str | None, hidden: bool) -> None:
    assert hides_all(visible) == hidden


@pytest.mark.parametrize(
    ("said", "there"),
    [
        ("Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.  Reboot the system to recover", True),
        ("Unable to determine the device handle for GPU 0000:05:00.0: Unknown Error", True),
        ("Failed to initialize NVML: Driver/library version mismatch", True),
        ("No devices were found", False),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", False),
    ],
)
def test_what_nvidia_smi_says_tells_a_failing_gpu_from_none(
    said: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(tmp_path, monkeypatch, f'echo "{said}"; exit 15')
    here = this_machine()
    assert here.gpus == () and here.gpu_trouble.startswith(f"nvidia-smi says: {said}")
    assert here.gpu_expected == there


def test_a_gpu_that_nvidia_smi_answers_for_with_a_warning_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = "WARNING: infoROM is corrupted at gpu 0000:3B:00.0"
    answers(tmp_path, monkeypatch, f"echo 0, GPU-a, NVIDIA A10, 24000, 0, [N/A], 8.6; echo {warning}; exit 14")
    here = this_machine()
    assert [gpu.name for gpu in here.gpus] == ["A10"] and not here.gpu_trouble


def test_device_files_tell_that_there_is_a_gpu(tmp_path: Path) -> None:
    for name in ("null", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert not gpu_is_there("No devices were found", tmp_path)
    (tmp_path / "nvidia0").touch()
    assert gpu_is_there("No devices were found", tmp_path)


@pytest.mark.parametrize(
    ("visible", "words"),
    [("0,0", "names GPU 0 twice"), ("MIG-1234", "a part of a GPU"), ("7", "names no GPU"), ("GPU-x", "names no GPU")],
)
def test_a_variable_that_names_no_whole_gpu_is_a_trouble_and_no_machine_without_gpus(
    visible: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(tmp_path, monkeypatch, "echo 0, GPU-a, NVIDIA A10, 24000, 0, [N/A]")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    here = this_machine()
    assert here.gpus == () and here.gpu_expected and words in here.gpu_trouble
    assert not described_machine(["gpus=80"]).gpu_expected  # nothing of that holds for a machine that is described


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_hidden_gpus_are_no_trouble(visible: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(tmp_path, monkeypatch, "echo 0, GPU-a, NVIDIA A10, 24000, 0, Enabled")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    here = this_machine()
    assert (here.gpus, here.gpu_trouble, here.gpu_expected) == ((), "", False)


def answers(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program called nvidia-smi first on the path."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_what_a_driver_says_without_gpus_is_no_gpu() -> None:
    assert visible_gpus("No devices were found\n", None, 0) == ()


def group(root: Path, name: str, **files: str) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file.replace("__", ".")).write_text(text + "\n")


def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    (tmp_path / "self").write_text("0::/user/job\n")
    root = tmp_path / "cgroup"
    group(root, "user", cpu__max="200000 100000", memory__max=str(8 << 30))
    group(root, "user/job", cpu__max="400000 100000", memory__max="max")
    assert cgroup_limits(tmp_path / "self", root) == CgroupLimits(2.0, 8589, 8589)


def test_limits_of_version_1_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "self").write_text("4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n1:name=systemd:/x\n")
    root = tmp_path / "cgroup"
    group(root, "cpu", cpu__cfs_quota_us="150000", cpu__cfs_period_us="100000")
    group(root, "memory", **{"memory.limit_in_bytes": str(2 << 30)})
    assert cgroup_limits(tmp_path / "self", root) == CgroupLimits(1.5, 2147, 2147)


@pytest.mark.parametrize(
    ("files", "cached"),
    [
        ({"memory__max": "8000000000", "memory__current": "5000000000"}, ""),
        ({"memory__limit_in_bytes": "8000000000", "memory__usage_in_bytes": "5000000000"}, "total_"),
    ],
)
def test_a_groups_free_memory_is_its_limit_less_what_its_processes_take(
    tmp_path: Path, files: dict[str, str], cached: str
) -> None:
    stat = "anon 2400000000\nactive_file 1\ninactive_file 2\n"
    if cached:
        stat += f"{cached}active_file 1000000000\n{cached}inactive_file 1500000000"
    else:
        stat = "anon 2400000000\nactive_file 1000000000\ninactive_file 1500000000"
    (tmp_path / "self").write_text("4:memory:/job\n" if cached else "0::/job\n")
    group(tmp_path / "cgroup", "memory/job" if cached else "job", memory__stat=stat, **files)
    assert cgroup_limits(tmp_path / "self", tmp_path / "cgroup") == CgroupLimits(None, 8000, 5500)


def test_the_fullest_group_on_the_way_up_decides_what_is_free(tmp_path: Path) -> None:
    (tmp_path / "self").write_text("0::/user/job\n")
    root = tmp_path / "cgroup"
    group(root, "user", memory__max="8000000000", memory__current="7000000000")
    group(root, "user/job", memory__max="4000000000", memory__current="500000000")
    assert cgroup_limits(tmp_path / "self", root) == CgroupLimits(None, 4000, 1000)


def test_free_memory_is_what_the_kernel_calls_available() -> None:
    text = "MemTotal: 24684000 kB\nMemFree: 1 kB\nMemAvailable:   20000000 kB\nSwapFree: 1000000 kB\n"
    assert (meminfo_mb(text, "MemAvailable"), meminfo_mb(text, "SwapFree")) == (20_480, 1024)
    assert meminfo_mb("", "MemAvailable") is None


@pytest.mark.parametrize(("flags", "able"), [("avx2 avx512_bf16", True), ("amx_bf16 amx_tile", True), ("avx2", False)])
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(tmp_path: Path, flags: str, able: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : fpu {flags} sse\n")
    assert computes_in_bfloat16(tmp_path / "cpuinfo") == able
    assert not computes_in_bfloat16(tmp_path / "no such file")


def test_no_limits_are_none(tmp_path: Path) -> None:
    assert cgroup_limits(tmp_path / "self", tmp_path) == CgroupLimits()
    (tmp_path / "self").write_text("0::/\n")
    group(tmp_path / "cgroup", "", cpu__max="max 100000")
    assert cgroup_limits(tmp_path / "self", tmp_path / "cgroup") == CgroupLimits()


def test_this_machine_has_cores_and_memory_and_no_gpu_where_the_variable_hides_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    here = this_machine()
    assert here.cores
    assert here.memory_mb > 0
    assert here.free_mb is None or 0 < here.free_mb <= here.memory_mb
    assert here.gpus == ()


def test_a_machine_can_be_described() -> None:
    machine = described_machine(["gpus=2x80,24", "cores=64", "memory=512"])
    assert [gpu.memory_mb for gpu in machine.gpus] == [80_000, 80_000, 24_000]
    assert (len(machine.cores), machine.memory_mb) == (64, 512_000)
    assert machine.usable_mb == 460_800  # nothing is known of other programs there


def test_a_described_machine_may_name_its_gpus() -> None:
    machine = described_machine(["gpus=2xH100,h200,24"])
    assert [(gpu.name, gpu.memory_mb) for gpu in machine.gpus] == [
        ("H100", 80_000), ("H100", 80_000), ("H200", 141_000), ("24 GB", 24_000),
    ]  # fmt: skip


def test_a_machine_is_taken_out_of_the_overrides_of_a_scenario() -> None:
    machine, others = split_machine(["task.problems=3", "machine.gpus=2x80", "machine.memory=64"])
    assert machine is not None
    assert (len(machine.gpus), machine.memory_mb, others) == (2, 64_000, ["task.problems=3"])
    assert split_machine(["seed=1"]) == (None, ["seed=1"])


@pytest.mark.parametrize(
    "entry",
    [
        *("gpus=8xX100", "gpus=xH100", "gpus=-1xH100", "gpus=99999999999xH100", "gpus=1000x80,25x80", "gpus=many"),
        *("gpus=", "gpus=2x", "cores=a", "memory=", "disks=4", "gpus=9999x80"),
    ],
)
def test_a_description_that_says_nothing_is_refused_with_what_can_be_said(entry: str) -> None:
    with pytest.raises(PlacementError, match="gpus=8x80"):
        described_machine([entry])
