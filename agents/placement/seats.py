"""Who sits where: pure, from what the agents wish and what the machine has, to seats, or why not. MB are 10^6 bytes.

Looking at the real machine is `look` (agents/placement/hardware.py); everything here is tested on described machines.
It starts nothing and imports no torch.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal

import msgspec

from agents.placement import memory
from agents.placement.hardware import Gpu, Machine
from agents.placement.memory import UNKNOWN, Memory, Workload, need_mb
from broker.errors import PlacementError
from broker.protocol import pool_of

USABLE = 0.95
"""Of a GPU's memory; the driver and fragmentation want the rest."""
UNIFIED = 0.75
"""The part of an Apple machine's memory that its GPU may use."""
MPS = "mps"
"""Token of the one GPU of an Apple machine. Nothing that CUDA knows."""
CACHES = ("kv_cache_mb", "kv_cache_memory_bytes")
"""Arguments that bound what keys and values take on a CPU, of transformers and of vLLM."""
GPU_AGENT_THREADS = 4
"""At most, for tokenizing and sampling: the GPU does the work."""


class SeatRequest(msgspec.Struct, frozen=True):
    """What one agent asks for."""

    agent: str
    gpu: Literal["auto", "none"] | int | tuple[int, ...]
    model_mb: int
    """Weights in memory, in the dtype it computes in; 0: needs no model of ours (simulated, a server)."""
    memory_share: float | None = None
    engine: str = "transformers"
    engine_args: dict[str, Any] = {}
    requests: Workload = UNKNOWN

    @property
    def on_cpu(self) -> Memory:
        """What it takes of the machine's memory if it computes there."""
        return memory.on_cpu(self.engine, self.model_mb, self.engine_args, self.requests)

    def takes_less(self, capacity: int = 0, **args: int) -> bool:
        """Whether it takes less there with this capacity, or with these arguments."""
        requests = msgspec.structs.replace(self.requests, capacity=capacity or self.requests.capacity)
        less = memory.on_cpu(self.engine, self.model_mb, self.engine_args | args, requests)
        return less.total_mb < self.on_cpu.total_mb


class Seat(msgspec.Struct, frozen=True):
    """Where one agent sits."""

    agent: str
    gpus: tuple[str, ...]
    """Tokens for CUDA_VISIBLE_DEVICES, or `mps`; empty: no GPU, and it sees none."""
    memory_share: float
    """Of each of its GPUs; 0 without one."""
    cores: tuple[int, ...]
    """The cores it may run on."""
    threads: int
    device: str
    """For people: `GPU 0 (H100, 45 %)`, `CPU, 1 thread`."""
    why: str
    memory: Memory | None = None
    """About; None: no model of ours."""


Seating = Mapping[str, tuple[int, ...]]
"""Indices of GPUs, by agent."""


def place(wishes: Sequence[SeatRequest], machine: Machine) -> list[Seat]:
    """One seat per wish, in the same order. Agents' names differ.

    Raises:
        PlacementError: a named GPU is not there or cannot hold its agents, or the memory cannot.
    """
    gpus = machine.gpus
    if machine.mps and not gpus:
        gpus = (Gpu(MPS, "Apple GPU", int(machine.memory_mb * UNIFIED)),)
    seating: Seating = _named(wishes, gpus)
    if gpus:
        autos = [wish for wish in wishes if wish.gpu == "auto" and wish.model_mb]
        seating = _spread(autos, seating, wishes, gpus)
    shares = _shares(seating, wishes, gpus)
    on_cpu = [wish for wish in wishes if wish.model_mb and wish.agent not in seating]
    if short := _short(on_cpu, machine.usable_mb, f"{_gb(machine.memory_mb)} are there", machine):
        raise PlacementError(short)
    cores, why = _share_cores([wish.agent for wish in on_cpu], machine)
    seats = []
    for wish in wishes:
        if wish.engine == "external":
            seats.append(Seat(wish.agent, (), 0.0, (), 0, "external", "joins by itself"))
        elif chosen := seating.get(wish.agent, ()):
            seats.append(_gpu_seat(wish, [gpus[i] for i in chosen], chosen, shares[wish.agent], machine, len(wishes)))
        elif wish.model_mb:
            own, threads = cores[wish.agent]
            reason = "no GPU, as asked" if wish.gpu == "none" else "no GPU here"
            seats.append(Seat(wish.agent, (), 0.0, own, threads, _cpu(threads), f"{reason}; {why}", wish.on_cpu))
        else:
            seats.append(Seat(wish.agent, (), 0.0, machine.cores, 1, _cpu(1), "needs no GPU and no model here"))
    return seats


# --- GPUs -----------------------------------------------------------------------------------------------


def _named(wishes: Sequence[SeatRequest], gpus: Sequence[Gpu]) -> Seating:
    """Those who named their GPUs, after a check that these are there and hold them."""
    seating: dict[str, tuple[int, ...]] = {}
    for wish in wishes:
        if isinstance(wish.gpu, str):
            continue
        chosen = (wish.gpu,) if isinstance(wish.gpu, int) else wish.gpu
        missing = sorted(i for i in chosen if not 0 <= i < len(gpus))
        if missing:
            there = ", ".join(_label(i, gpus) for i in range(len(gpus))) or "none"
            message = f"asks for GPU {missing[0]}, which is not there. GPUs here: {there}; take gpu: auto or none"
            raise PlacementError(message, agent=wish.agent, key=("gpu",))
        if not chosen or len(set(chosen)) < len(chosen):
            message = f"{list(chosen)} must name each of its GPUs once; `none` is no GPU"
            raise PlacementError(message, agent=wish.agent, key=("gpu",))
        granted = _granted_mb(wish, [gpus[i] for i in chosen])
        if granted < wish.model_mb:
            raise PlacementError(
                f"{wish.memory_share:g} is {_gb(granted)}, less than the weights of its model, {_gb(wish.model_mb)}",
                agent=wish.agent,
                key=("memory_share",),
            )
        if wish.model_mb:
            seating[wish.agent] = chosen
    taken = _taken(seating, wishes, gpus)
    for i in sorted({i for chosen in seating.values() for i in chosen}):
        if taken[i] > USABLE:
            raise PlacementError(_overfull(i, seating, wishes, gpus))
    return seating


def _spread(
    autos: Sequence[SeatRequest], named: Seating, wishes: Sequence[SeatRequest], gpus: Sequence[Gpu]
) -> Seating:
    """Seat the others, the largest first, each where fewest sit and most is free; if that fails, packed tightly."""
    largest_first = sorted(autos, key=lambda wish: -wish.model_mb)
    stuck: PlacementError | None = None
    for tightly in (False, True):
        seating = dict(named)
        for wish in largest_first:
            taken = _taken(seating, wishes, gpus)
            crowd = Counter(i for chosen in seating.values() for i in chosen)
            # Somebody else's program there is one more that computes.
            crowd.update(i for i, gpu in enumerate(gpus) if gpu.used_mb > need_mb(0))
            rooms = [(USABLE - taken[i]) * gpu.memory_mb for i, gpu in enumerate(gpus)]
            fitting = [i for i, gpu in enumerate(gpus) if wish.model_mb <= _granted_mb(wish, [gpu]) <= rooms[i]]
            if not fitting:
                stuck = stuck or PlacementError(_no_room(wish, rooms, gpus), agent=wish.agent, key=("gpu",))
                break
            # Ties go to the first GPU.
            *_, best = min((0, rooms[i], i) if tightly else (crowd[i], -rooms[i], i) for i in fitting)
            seating[wish.agent] = (best,)
        else:
            return seating
    assert stuck is not None  # noqa: S101  (both ways ended at the break)
    raise stuck


def _part(wish: SeatRequest, gpus: Sequence[Gpu]) -> float:
    """The share of each of `gpus` that the agent asks for, or else cannot do without."""
    if wish.memory_share is not None:
        return wish.memory_share
    return max(need_mb(wish.model_mb, len(gpus)) / gpu.memory_mb for gpu in gpus)


def _granted_mb(wish: SeatRequest, gpus: Sequence[Gpu]) -> float:
    """What its part of `gpus` comes to, in all: one share holds for each, so the smallest decides."""
    return _part(wish, gpus) * min(gpu.memory_mb for gpu in gpus) * len(gpus)


def _taken(seating: Seating, wishes: Sequence[SeatRequest], gpus: Sequence[Gpu]) -> list[float]:
    """How much of each GPU is spoken for, as a share."""
    taken = [gpu.used_mb / gpu.memory_mb for gpu in gpus]
    for wish in wishes:
        chosen = seating.get(wish.agent, ())
        for i in chosen:
            taken[i] += _part(wish, [gpus[j] for j in chosen])
    return taken


def _shares(seating: Seating, wishes: Sequence[SeatRequest], gpus: Sequence[Gpu]) -> dict[str, float]:
    """Memory shares: what an agent asked for, or what it needs and an even part of what is left."""
    taken = _taken(seating, wishes, gpus)
    here = [[w for w in wishes if i in seating.get(w.agent, ()) and w.memory_share is None] for i in range(len(gpus))]
    shares: dict[str, float] = {}
    for wish in wishes:
        if chosen := seating.get(wish.agent, ()):
            part = _part(wish, [gpus[i] for i in chosen])
            # One share holds for all GPUs of an agent, so the fullest of them decides.
            extra = 0.0 if wish.memory_share else min((USABLE - taken[i]) / len(here[i]) for i in chosen)
            shares[wish.agent] = part + extra
    return shares


def _gpu_seat(
    wish: SeatRequest, gpus: Sequence[Gpu], chosen: tuple[int, ...], share: float, machine: Machine, agents: int
) -> Seat:
    threads = max(1, min(GPU_AGENT_THREADS, _at_once(machine) // agents))
    where = "MPS" if gpus[0].token == MPS else f"GPU {'+'.join(str(i) for i in chosen)}"
    need = f"needs about {_gb(need_mb(wish.model_mb, len(gpus)))}" + (" on each" if len(gpus) > 1 else "")
    why = f"{'auto' if wish.gpu == 'auto' else 'named'}; {need}"
    tokens = tuple(gpu.token for gpu in gpus)
    device = f"{where} ({gpus[0].name}, {share * 100:.0f} %)"
    granted = share * min(gpu.memory_mb for gpu in gpus) * len(gpus)
    taken = memory.on_gpus(wish.model_mb, granted, len(gpus))
    return Seat(wish.agent, tokens, share, machine.cores, threads, device, why, taken)


def _label(i: int, gpus: Sequence[Gpu]) -> str:
    return f"{i} ({gpus[i].name}, {_gb(gpus[i].memory_mb)})"


def _overfull(i: int, seating: Seating, wishes: Sequence[SeatRequest], gpus: Sequence[Gpu]) -> str:
    here = [(wish, [gpus[j] for j in seating[wish.agent]]) for wish in wishes if i in seating.get(wish.agent, ())]
    asked = [f"{wish.agent} {_gb(_part(wish, own) * gpus[i].memory_mb)}" for wish, own in here]
    others = f", less {_gb(gpus[i].used_mb)} that other programs hold" if gpus[i].used_mb else ""
    return (
        f"GPU {_label(i, gpus)} cannot hold {' + '.join(asked) or 'anything'}: "
        f"{_gb(gpus[i].memory_mb * USABLE)} may be used{others}.\n"
        "Give an agent another GPU, several GPUs (gpu: [0, 1]), a smaller model or a smaller memory_share."
    )


def _no_room(wish: SeatRequest, rooms: Sequence[float], gpus: Sequence[Gpu]) -> str:
    share = "" if wish.memory_share is None else f", memory_share {wish.memory_share:g}"
    left = ", ".join(f"{_gb(max(room, 0))} on GPU {_label(i, gpus)}" for i, room in enumerate(rooms))
    return (
        f"needs about {_gb(need_mb(wish.model_mb))} on one GPU (weights {_gb(wish.model_mb)}{share}). "
        f"Left: {left}.\n"
        "Give it several GPUs (gpu: [0, 1]), a smaller model, another memory_share, or gpu: none."
    )


# --- cores ----------------------------------------------------------------------------------------------


def _at_once(machine: Machine) -> int:
    """How many threads really run at one moment."""
    return machine.parallel or len(machine.cores)


def _share_cores(agents: Sequence[str], machine: Machine) -> tuple[dict[str, tuple[tuple[int, ...], int]], str]:
    """Cores and threads of each agent that computes on the CPU, and why so."""
    count, at_once = len(agents), _at_once(machine)
    if not count:
        return {}, ""
    if count > at_once:
        # Whoever has work gets a core: teacher and students are seldom all busy, so a fixed core each would stand
        # idle half the time, and more threads than cores would wait for each other inside every matrix product.
        return dict.fromkeys(agents, (machine.cores, 1)), _sharing(count, at_once)
    if machine.parallel:
        # A quota is time, not cores: pinned, all containers of the host would meet on its first cores.
        threads = [len(range(i, at_once, count)) for i in range(count)]
        return (
            {agent: (machine.cores, threads[i]) for i, agent in enumerate(agents)},
            _sharing(count, at_once, "a quota of "),
        )
    ends = [round(len(machine.cores) * i / count) for i in range(count + 1)]
    own = {agent: machine.cores[ends[i] : ends[i + 1]] for i, agent in enumerate(agents)}
    return {agent: (cores, len(cores)) for agent, cores in own.items()}, _sharing(count, at_once)


def _sharing(agents: int, cores: int, quota: str = "") -> str:
    """Who has which cores, in words."""
    who = "1 agent has" if agents == 1 else f"{agents} agents share"
    return f"{who} {quota}{cores} core{'' if cores == 1 else 's'}"


def short_now(wishes: Sequence[SeatRequest], machine: Machine) -> str:
    """What is wrong where agents on the CPU need more than other programs leave now, and what to do; empty: nothing."""
    swap = f" and {_gb(machine.swap_mb)} of swap" if machine.swap_mb else ""
    there = f"{_gb(machine.free_mb or 0)} of {_gb(machine.memory_mb)}{swap} are free"
    return _short(wishes, machine.usable_now_mb, there, machine, ["close other programs"])


def _short(wishes: Sequence[SeatRequest], usable: float, there: str, machine: Machine, ways: Sequence[str] = ()) -> str:
    """What is wrong where weights, keys and values, and engines need more than is usable; empty: nothing."""
    total = sum(wish.on_cpu.total_mb for wish in wishes)
    if total <= usable:
        return ""
    each = ", ".join(f"{wish.agent} {_gb(wish.on_cpu.total_mb)} ({_parts(wish.on_cpu)})" for wish in wishes)
    return (
        f"The agents on the CPU need about {_gb(total)} of memory, and they may take {_gb(usable)}: {there}, and "
        f"{_gb(machine.margin_mb)} must stay free.\n{each}: weights + keys and values + engine.\n"
        + _what_fits(wishes, usable, ways)
    )


def _what_fits(on_cpu: Sequence[SeatRequest], usable: float, others: Sequence[str]) -> str:
    """What to change, with numbers, where `on_cpu` need more than is usable; `others` are ways that come first."""
    pools: Counter[str] = Counter()
    for wish in on_cpu:
        pools[pool_of(wish.agent)] += wish.on_cpu.total_mb
    ways = [*others]
    if len(pools) > 1 and (largest := max(pools.values())) <= usable:
        ways.append(f"let them take turns (time_share: true; the largest takes {_gb(largest)})")
    together = list(accumulate(wish.on_cpu.total_mb for wish in on_cpu))
    fitting = sum(total <= usable for total in together)
    if fitting > 1:
        rest = ", ".join(wish.agent for wish in on_cpu[fitting:])
        ways.append(f"leave out {rest} (the others take {_gb(together[fitting - 1])})")
    if any(wish.takes_less(capacity=1) for wish in on_cpu):
        ways.append("lower capacity")
    if arguments := [name for name in CACHES if any(wish.takes_less(**{name: 1}) for wish in on_cpu)]:
        ways.append(f"lower {' or '.join(f'engine_args.{name}' for name in arguments)}")
    if any(wish.engine == "vllm" for wish in on_cpu):
        ways.append("take engine: transformers")
    *first, last = (*ways, "take smaller models")
    advice = f"{', '.join(first)}, or {last}." if first else f"{last}."
    return advice[0].upper() + advice[1:]


def _parts(taken: Memory) -> str:
    return " + ".join(f"{mb / 1000:.1f}" for mb in (taken.weights_mb, taken.cache_mb, taken.engine_mb))


def _cpu(threads: int) -> str:
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def _gb(mb: float) -> str:
    return f"{mb / 1000:.1f} GB"
