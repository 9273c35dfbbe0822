"""Assign agents to GPUs, cores and memory of a described machine. Pure; MB are 10^6 bytes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal

import msgspec

from agents.engines import has_flexible_threads
from agents.placement import memory
from agents.placement.cores import Cores, share_cores
from agents.placement.hardware import Gpu, Machine
from agents.placement.memory import UNKNOWN, Memory, Workload, need_mb
from broker.errors import PlacementError
from broker.protocol import pool_of

USABLE = 0.95
"""Usable share of a GPU's memory; driver and fragmentation need the rest."""
UNIFIED = 0.75
"""Share of an Apple machine's memory that its GPU may use."""
MPS = "mps"
"""Token of the GPU of an Apple machine; not a CUDA device."""
CACHE_ARGUMENTS = ("kv_cache_mb", "kv_cache_memory_bytes")
"""Arguments of transformers and vLLM that limit keys and values on a CPU."""
OPEN = " (compute mode Exclusive_Process). Let several share it: nvidia-smi -c 0"
"""What to do about a GPU in that mode."""
GPU_AGENT_THREADS = 1
"""Threads of an agent on a GPU: with more, those that wait for work take time from the others."""


class SeatRequest(msgspec.Struct, frozen=True):
    """What an agent needs."""

    agent: str
    gpu: Literal["auto", "none"] | int | tuple[int, ...]
    model_mb: int
    """MB of weights in the dtype it computes in; 0: it loads no model (simulated, a server)."""
    memory_share: float | None = None
    engine: str = "transformers"
    engine_args: dict[str, Any] = {}
    workload: Workload = UNKNOWN
    heads: int = 0
    """Attention heads of its model; 0: unknown."""

    @property
    def on_cpu(self) -> Memory:
        """Memory it takes on the CPU."""
        return memory.on_cpu(self.engine, self.model_mb, self.engine_args, self.workload)

    def takes_less(self, capacity: int = 0, **args: int) -> bool:
        """Whether it takes less memory on the CPU with this capacity or these arguments."""
        workload = msgspec.structs.replace(self.workload, capacity=capacity or self.workload.capacity)
        less = memory.on_cpu(self.engine, self.model_mb, self.engine_args | args, workload)
        return less.total_mb < self.on_cpu.total_mb


class Seat(msgspec.Struct, frozen=True):
    """The place of an agent."""

    agent: str
    gpus: tuple[str, ...]
    """Tokens for CUDA_VISIBLE_DEVICES, or `mps`; empty: it sees no GPU."""
    memory_share: float
    """Share of the memory of each of its GPUs; 0 without GPUs."""
    cores: tuple[int, ...]
    """Cores it may run on."""
    threads: int
    device: str
    """Device as text: `GPU 0 (H100, 45 %)`, `CPU, 1 thread`."""
    why: str
    memory: Memory | None = None
    """Estimated memory; None: it loads no model."""
    exclusive: bool = False
    """Whether one of its GPUs serves one process at a time."""
    shared: Cores | None = None
    """What it may use of the cores, of an agent that computes on the CPU."""

    @property
    def engine_share(self) -> float:
        """Share of each GPU without the context of the process, which neither torch nor vLLM counts as its own."""
        if not self.gpus or self.memory is None or not self.memory.total_mb:
            return self.memory_share
        return self.memory_share * (1 - memory.CONTEXT_MB * len(self.gpus) / self.memory.total_mb)

    @property
    def cache_mb(self) -> int:
        """MB of keys and values on each GPU; 0 without GPUs."""
        return self.memory.cache_mb // len(self.gpus) if self.memory and self.gpus else 0

    def may_sleep(self, *, in_turn: bool) -> bool:
        """Whether an engine may stay on its GPUs while its agent trains; `in_turn`: the agents use them in turn."""
        return bool(self.gpus) and not self.exclusive and not in_turn


Seating = Mapping[str, tuple[int, ...]]
"""GPU indices by agent."""


def place(requests: Sequence[SeatRequest], machine: Machine) -> list[Seat]:
    """One seat per request, in the same order. Agents' names differ.

    Raises:
        PlacementError: a named GPU is not there or cannot hold its agents, or the memory cannot.
    """
    gpus = machine.gpus
    if machine.mps and not gpus:
        gpus = (Gpu(MPS, "Apple GPU", int(machine.memory_mb * UNIFIED)),)
    seating: Seating = _named(requests, gpus)
    if gpus:
        autos = [request for request in requests if request.gpu == "auto" and request.model_mb]
        seating = _spread(autos, seating, requests, gpus)
    shares = _shares(seating, requests, gpus)
    on_cpu = [request for request in requests if request.model_mb and request.agent not in seating]
    if short := _short(on_cpu, machine.usable_mb, f"{_gb(machine.memory_mb)} are there", machine):
        raise PlacementError(short)
    flexible = {one.agent: has_flexible_threads(one.engine, one.engine_args) for one in on_cpu}
    cores, why = share_cores(flexible, machine)
    seats = []
    for request in requests:
        if request.engine in ("external", "elsewhere"):  # it takes nothing here
            seats.append(Seat(request.agent, (), 0.0, (), 0, request.engine, "joins by itself"))
        elif chosen := seating.get(request.agent, ()):
            at = [gpus[i] for i in chosen]
            seats.append(_gpu_seat(request, at, chosen, shares[request.agent], machine, len(requests)))
        elif request.model_mb:
            seats.append(_cpu_seat(request, cores[request.agent], why))
        else:
            seats.append(Seat(request.agent, (), 0.0, machine.cores, 1, "CPU, 1 thread", "no model to load here"))
    return seats


def _cpu_seat(request: SeatRequest, own: Cores, sharing: str) -> Seat:
    why = f"{'no GPU, as asked' if request.gpu == 'none' else 'no GPU on the machine'}; {sharing}"
    return Seat(request.agent, (), 0.0, own.cores, own.threads, own.device, why, request.on_cpu, shared=own)


# --- GPUs -----------------------------------------------------------------------------------------------


def _named(requests: Sequence[SeatRequest], gpus: Sequence[Gpu]) -> Seating:
    """Seat the agents that name their GPUs, after checking that these exist and have enough memory."""
    seating: dict[str, tuple[int, ...]] = {}
    for request in requests:
        if isinstance(request.gpu, str) or request.engine == "elsewhere":  # its own host checks them
            continue
        chosen = (request.gpu,) if isinstance(request.gpu, int) else request.gpu
        missing = sorted(i for i in chosen if not 0 <= i < len(gpus))
        if missing:
            there = ", ".join(_label(i, gpus) for i in range(len(gpus))) or "none"
            message = f"asks for GPU {missing[0]}, which is not there. GPUs here: {there}; take gpu: auto or none"
            raise PlacementError(message, agent=request.agent, key=("gpu",))
        if not chosen or len(set(chosen)) < len(chosen):
            message = f"{list(chosen)} must name each of its GPUs once; `none` is no GPU"
            raise PlacementError(message, agent=request.agent, key=("gpu",))
        if len(chosen) > 1 and request.model_mb and request.engine != "vllm":
            message = f"{list(chosen)}: the engine {request.engine} computes on one GPU; name one, or take engine: vllm"
            raise PlacementError(message, agent=request.agent, key=("gpu",))
        if request.heads % len(chosen):
            message = (
                f"{list(chosen)}: {request.heads} attention heads of its model cannot be divided among {len(chosen)} "
                "GPUs; take another number of GPUs"
            )
            raise PlacementError(message, agent=request.agent, key=("gpu",))
        granted = _granted_mb(request, [gpus[i] for i in chosen])
        least = request.model_mb + memory.CONTEXT_MB * len(chosen) if request.model_mb else 0
        if granted < least:
            raise PlacementError(
                f"{request.memory_share:g} is {_gb(granted)}, less than the weights of its model and the context of "
                f"its process, {_gb(least)}",
                agent=request.agent,
                key=("memory_share",),
            )
        if request.model_mb:
            seating[request.agent] = chosen
    taken = _taken(seating, requests, gpus)
    crowd = Counter(i for chosen in seating.values() for i in chosen)
    for i in sorted(crowd):
        if gpus[i].exclusive and crowd[i] > 1:
            here = ", ".join(agent for agent, chosen in seating.items() if i in chosen)
            raise PlacementError(f"GPU {_label(i, gpus)} is named by {here}, and it serves one process at a time{OPEN}")
        if taken[i] > USABLE:
            raise PlacementError(_overfull(i, seating, requests, gpus))
    return seating


def _spread(
    autos: Sequence[SeatRequest], named: Seating, requests: Sequence[SeatRequest], gpus: Sequence[Gpu]
) -> Seating:
    """Seat the other agents, the largest first, on the emptiest GPUs; if that fails, pack them tightly."""
    largest_first = sorted(autos, key=lambda request: -request.model_mb)
    stuck: PlacementError | None = None
    for tightly in (False, True):
        seating = dict(named)
        for request in largest_first:
            taken = _taken(seating, requests, gpus)
            crowd = Counter(i for chosen in seating.values() for i in chosen)
            # Another program on a GPU counts like an agent.
            crowd.update(i for i, gpu in enumerate(gpus) if gpu.used_mb > need_mb(0))
            rooms = [(USABLE - taken[i]) * gpu.memory_mb for i, gpu in enumerate(gpus)]
            # A GPU that serves one process has no room beside another.
            rooms = [0.0 if gpu.exclusive and crowd[i] else rooms[i] for i, gpu in enumerate(gpus)]
            fitting = [i for i, gpu in enumerate(gpus) if request.model_mb <= _granted_mb(request, [gpu]) <= rooms[i]]
            if not fitting:
                stuck = stuck or PlacementError(_no_room(request, rooms, gpus), agent=request.agent, key=("gpu",))
                break
            # Ties go to the first GPU.
            *_, best = min((0, rooms[i], i) if tightly else (crowd[i], -rooms[i], i) for i in fitting)
            seating[request.agent] = (best,)
        else:
            return seating
    assert stuck is not None  # noqa: S101  (both ways ended at the break)
    raise stuck


def _part(request: SeatRequest, gpus: Sequence[Gpu]) -> float:
    """Return the share of each GPU that the agent requests, or else its least share."""
    if request.memory_share is not None:
        return request.memory_share
    return max(need_mb(request.model_mb, len(gpus)) / gpu.memory_mb for gpu in gpus)


def _granted_mb(request: SeatRequest, gpus: Sequence[Gpu]) -> float:
    """Return the MB of its share on all GPUs; one share applies to each GPU, so the smallest decides."""
    return _part(request, gpus) * min(gpu.memory_mb for gpu in gpus) * len(gpus)


def _taken(seating: Seating, requests: Sequence[SeatRequest], gpus: Sequence[Gpu]) -> list[float]:
    """Return the assigned share of each GPU."""
    taken = [gpu.used_mb / gpu.memory_mb for gpu in gpus]
    for request in requests:
        chosen = seating.get(request.agent, ())
        for i in chosen:
            taken[i] += _part(request, [gpus[j] for j in chosen])
    return taken


def _shares(seating: Seating, requests: Sequence[SeatRequest], gpus: Sequence[Gpu]) -> dict[str, float]:
    """Return memory shares: the requested share, or the least share and an even part of the rest."""
    taken = _taken(seating, requests, gpus)
    here = [[w for w in requests if i in seating.get(w.agent, ()) and w.memory_share is None] for i in range(len(gpus))]
    shares: dict[str, float] = {}
    for request in requests:
        if chosen := seating.get(request.agent, ()):
            part = _part(request, [gpus[i] for i in chosen])
            # One share applies to all GPUs of an agent, so the fullest one decides.
            extra = 0.0 if request.memory_share else min((USABLE - taken[i]) / len(here[i]) for i in chosen)
            shares[request.agent] = part + extra
    return shares


def _gpu_seat(
    request: SeatRequest, gpus: Sequence[Gpu], chosen: tuple[int, ...], share: float, machine: Machine, agents: int
) -> Seat:
    where = "MPS" if gpus[0].token == MPS else f"GPU {'+'.join(str(i) for i in chosen)}"
    need = f"needs about {_gb(need_mb(request.model_mb, len(gpus)))}" + (" on each" if len(gpus) > 1 else "")
    why = f"{'auto' if request.gpu == 'auto' else 'named'}; {need}"
    tokens = tuple(gpu.token for gpu in gpus)
    device = f"{where} ({gpus[0].name}, {share * 100:.0f} %)"
    granted = share * min(gpu.memory_mb for gpu in gpus) * len(gpus)
    taken = memory.on_gpus(request.model_mb, granted, len(gpus))
    alone = any(gpu.exclusive for gpu in gpus)
    return Seat(request.agent, tokens, share, machine.cores, GPU_AGENT_THREADS, device, why, taken, alone)


def _label(i: int, gpus: Sequence[Gpu]) -> str:
    return f"{i} ({gpus[i].name}, {_gb(gpus[i].memory_mb)})"


def _overfull(i: int, seating: Seating, requests: Sequence[SeatRequest], gpus: Sequence[Gpu]) -> str:
    here = [
        (request, [gpus[j] for j in seating[request.agent]])
        for request in requests
        if i in seating.get(request.agent, ())
    ]
    asked = [f"{request.agent} {_gb(_part(request, own) * gpus[i].memory_mb)}" for request, own in here]
    others = f", less {_gb(gpus[i].used_mb)} that other programs hold" if gpus[i].used_mb else ""
    return (
        f"GPU {_label(i, gpus)} cannot hold {' + '.join(asked) or 'anything'}: "
        f"{_gb(gpus[i].memory_mb * USABLE)} may be used{others}.\n"
        "Give an agent another GPU, several GPUs (gpu: [0, 1]), a smaller model or a smaller memory_share."
    )


def _no_room(request: SeatRequest, rooms: Sequence[float], gpus: Sequence[Gpu]) -> str:
    share = "" if request.memory_share is None else f", memory_share {request.memory_share:g}"
    closed = f"A GPU here serves one process at a time{OPEN}\n" if any(gpu.exclusive for gpu in gpus) else ""
    held = [f", where other programs hold {_gb(gpu.used_mb)}" if gpu.used_mb else "" for gpu in gpus]
    left = ", ".join(f"{_gb(max(room, 0))} on GPU {_label(i, gpus)}{held[i]}" for i, room in enumerate(rooms))
    return (
        f"needs about {_gb(need_mb(request.model_mb))} on one GPU (weights {_gb(request.model_mb)}{share}). "
        f"Left: {left}.\n{closed}"
        "Give it several GPUs (gpu: [0, 1]), a smaller model, another memory_share, or gpu: none."
    )


def short_now(requests: Sequence[SeatRequest], machine: Machine) -> str:
    """Return what to do if agents on the CPU need more memory than is free now; empty if it suffices."""
    swap = f" and {_gb(machine.swap_mb)} of swap" if machine.swap_mb else ""
    there = f"{_gb(machine.free_mb or 0)} of {_gb(machine.memory_mb)}{swap} are free"
    return _short(requests, machine.usable_now_mb, there, machine, ["close other programs"])


def _short(
    requests: Sequence[SeatRequest], usable: float, there: str, machine: Machine, ways: Sequence[str] = ()
) -> str:
    """Return what to do if agents need more memory than is usable; empty if it suffices."""
    total = sum(request.on_cpu.total_mb for request in requests)
    if total <= usable:
        return ""
    each = ", ".join(
        f"{request.agent} {_gb(request.on_cpu.total_mb)} ({_parts(request.on_cpu)})" for request in requests
    )
    return (
        f"The agents on the CPU need about {_gb(total)} of memory, and they may take {_gb(usable)}: {there}, and "
        f"{_gb(machine.margin_mb)} must stay free.\n{each}: weights + KV cache + engine.\n"
        + _what_fits(requests, usable, ways)
    )


def _what_fits(on_cpu: Sequence[SeatRequest], usable: float, others: Sequence[str]) -> str:
    """Return what to change if agents need more than is usable; `others` come first."""
    pools: Counter[str] = Counter()
    for request in on_cpu:
        pools[pool_of(request.agent)] += request.on_cpu.total_mb
    ways = [*others]
    if len(pools) > 1 and (largest := max(pools.values())) <= usable:
        ways.append(f"let them take turns (time_share: true; the largest takes {_gb(largest)})")
    together = list(accumulate(request.on_cpu.total_mb for request in on_cpu))
    fitting = sum(total <= usable for total in together)
    if fitting > 1:
        rest = ", ".join(request.agent for request in on_cpu[fitting:])
        ways.append(f"leave out {rest} (the others take {_gb(together[fitting - 1])})")
    if any(request.takes_less(capacity=1) for request in on_cpu):
        ways.append("lower capacity")
    if arguments := [name for name in CACHE_ARGUMENTS if any(request.takes_less(**{name: 1}) for request in on_cpu)]:
        ways.append(f"lower {' or '.join(f'engine_args.{name}' for name in arguments)}")
    if any(request.engine == "vllm" for request in on_cpu):
        ways.append("take engine: transformers")
    *first, last = (*ways, "take smaller models")
    advice = f"{', '.join(first)}, or {last}." if first else f"{last}."
    return advice[0].upper() + advice[1:]


def _parts(taken: Memory) -> str:
    return " + ".join(f"{mb / 1000:.1f}" for mb in (taken.weights_mb, taken.cache_mb, taken.engine_mb))


def _gb(mb: float) -> str:
    return f"{mb / 1000:.1f} GB"
