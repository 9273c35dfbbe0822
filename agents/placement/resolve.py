"""Engine, model and seat of each agent of a scenario on this machine.

Starts nothing. The settings of a scenario come in through the `ScenarioAgent` protocol, so this package knows no
scenario; agents/placement/agent_process.py makes the processes.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
from msgspec.structs import replace
from rich.console import Console

from agents import engines
from agents.engines.base import EngineStartError
from agents.models import catalogue
from agents.models.weights import BYTES, context_of
from agents.placement import hardware, memory, seats
from agents.placement.memory import Workload
from broker.errors import LbtError, PlacementError
from broker.protocol import replica

Role = Literal["teacher", "student"]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]


class ScenarioAgent(Protocol):
    """The settings of an agent in a scenario; scenarios/config/schema.py explains each one."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102
    @property
    def gpu(self) -> Literal["auto", "none"] | int | tuple[int, ...]: ...  # noqa: D102
    @property
    def persona(self) -> str: ...  # noqa: D102
    @property
    def replicas(self) -> int: ...  # noqa: D102
    @property
    def capacity(self) -> int: ...  # noqa: D102
    @property
    def dtype(self) -> Dtype: ...  # noqa: D102
    @property
    def max_context(self) -> int: ...  # noqa: D102
    @property
    def memory_share(self) -> float | None: ...  # noqa: D102
    @property
    def thoughts(self) -> Literal["drop", "keep"]: ...  # noqa: D102
    @property
    def engine_args(self) -> dict[str, Any]: ...  # noqa: D102
    @property
    def elsewhere(self) -> bool: ...  # noqa: D102


class ResolvedAgent(msgspec.Struct, frozen=True):
    """One process of an agent, with its engine, model and seat on this machine."""

    name: str
    """Name of the process: the agent's name, or that of a replica."""
    config: Any
    """A `ScenarioAgent`; msgspec cannot name a protocol."""
    role: Role
    engine: str
    model: catalogue.ResolvedModel | None
    """None: the engine loads no model here."""
    request: seats.SeatRequest
    seat: seats.Seat
    dtype: str = ""
    """The dtype it computes in. `auto`: vLLM on a GPU takes the model's. Empty: it computes nothing here. Weights that
    the engine transformers quantizes are named after it: `float32, weights in int8`."""
    bundle: dict[str, float] = {}
    """What it takes of a node of a Ray cluster, where Ray places it; it is then `elsewhere`. Empty: it does not."""

    @property
    def joins(self) -> bool:
        """Whether it joins by itself: it is a program of the user's, or was invited from another host."""
        return self.engine == "external" or bool(self.config.elsewhere and not self.bundle)

    def facts(self) -> dict[str, str]:
        """Return what class.db and the report say of the agent."""
        return {
            "name": self.name,
            "role": self.role,
            # An external agent without a model in the scenario has the schema's default, which says nothing of it.
            "model": "" if (self.engine, self.config.model) == ("external", "simulated") else self.config.model,
            "engine": self.engine,
            "device": "server" if self.engine == "openai" else self.seat.device,
            "dtype": self.dtype,
        }

    @property
    def size(self) -> str:
        """Size of the weights as text."""
        if self.model is None or not self.model.size_mb:
            return ""
        gigabytes = f"{self.model.size_mb / 1000:.1f} GB"
        return gigabytes if self.model.at_hand else f"{gigabytes}, to fetch"

    @property
    def needs(self) -> str:
        """The least memory it needs, about, as text; on GPUs it may be granted more."""
        if self.model is None or self.seat.memory is None or not self.size:
            return ""
        gpus = len(self.seat.gpus)
        least = memory.need_mb(self.model.size_mb, gpus) * gpus if gpus else self.seat.memory.total_mb
        return f"{least / 1000:.1f} GB"

    def memory(self) -> dict[str, Any]:
        """Return the memory it will take, by part, in MB; empty if it needs none or the model's size is unknown."""
        return msgspec.structs.asdict(self.seat.memory) if self.seat.memory and self.size else {}

    def planned(self) -> dict[str, Any]:
        """Return all that a plan shows of the agent."""
        share = self.seat.memory_share or None
        words = {"size": self.size, "needs": self.needs, "why": self.seat.why}
        return {**self.facts(), **self.memory(), **words, "memory_share": share}


def resolve_agents(
    teacher: ScenarioAgent,
    students: Sequence[ScenarioAgent],
    machine: hardware.Machine | None = None,
    *,
    in_turn: bool = False,
    workloads: Mapping[str, Workload] | None = None,
) -> tuple[ResolvedAgent, ...]:
    """Choose engine, model and seat of every agent, teacher first.

    Where `auto` would take vLLM on a CPU whose memory does not hold it, all such agents take transformers. The decision
    counts all memory, not what is free now: the engine is part of every request id, so it must be the same whenever
    the class is started or resumed.

    Args:
        teacher: settings of the teacher in the scenario.
        students: settings of the students.
        machine: a described machine to plan for, in place of this one.
        in_turn: the agents take turns, so each agent has the machine to itself.
        workloads: by agent name, what the agent is asked; an agent without one counts at its largest.

    Raises:
        EngineStartError: an engine is not installed or does not take an argument.
        ModelError: there is no such model.
        PlacementError: the agents do not fit on this machine.
    """
    configs, target = (teacher, *students), machine or hardware.this_machine()
    # With GPUs here, every agent sits on one unless it says `none`, so the engine can be chosen before the seat.
    on_gpu = [config.gpu != "none" and bool(target.gpus) and not config.elsewhere for config in configs]
    chosen = [engines.choose(one.engine, one.model, gpu=gpu) for one, gpu in zip(configs, on_gpu, strict=True)]
    models = []
    for config, engine, gpu in zip(configs, chosen, on_gpu, strict=True):
        with _naming(config.name):
            engines.check_arguments(engine, config.engine_args, engines.why_auto(config.engine, engine, gpu=gpu))
            here = not config.elsewhere
            if here and target.gpu_expected and config.gpu != "none" and engine in engines.WITH_LOCAL_MODEL:
                raise PlacementError(f"no GPU can be used: {target.gpu_trouble}", key=("gpu",))
            if here and machine is None:  # what is installed here says nothing about a described machine
                engines.check_installed(engine, gpu=gpu)
            if here and sits_on_gpu(config, target) and engines.quantization(engine, config.engine_args):
                message = "int8 is for CPUs, and this agent runs on a GPU; take it out, or give the agent gpu: none"
                raise EngineStartError(message, key=("engine_args", "quantization"))
            models.append(catalogue.resolve(config.model) if engine in engines.WITH_LOCAL_MODEL else None)
            _check_context(config, engine, models[-1])
    try:
        return _place(configs, chosen, models, target, workloads or {}, in_turn=in_turn)
    except PlacementError:
        # Arguments are written for one engine, so an agent that has some keeps its engine.
        switched = [
            engine == "vllm" and config.engine == "auto" and not gpu and not config.engine_args
            for config, engine, gpu in zip(configs, chosen, on_gpu, strict=True)
        ]
        if not any(switched):
            raise
    names = {name for config, new in zip(configs, switched, strict=True) if new for name in process_names(config)}
    chosen = ["transformers" if new else engine for engine, new in zip(chosen, switched, strict=True)]
    placed = _place(configs, chosen, models, target, workloads or {}, in_turn=in_turn)
    return tuple(replace(one, seat=_explained(one.seat)) if one.name in names else one for one in placed)


@contextlib.contextmanager
def _naming(agent: str) -> Iterator[None]:
    """Add the agent's name to an error, and the key `model` where the error names no key."""
    try:
        yield
    except LbtError as error:
        error.agent, error.key = agent, error.key or ("model",)
        raise


def _place(
    configs: Sequence[ScenarioAgent],
    chosen: Sequence[str],
    models: Sequence[catalogue.ResolvedModel | None],
    machine: hardware.Machine,
    workloads: Mapping[str, Workload],
    *,
    in_turn: bool,
) -> tuple[ResolvedAgent, ...]:
    """Seat all processes of the agents, with the engines `chosen` and their models."""
    processes: list[tuple[str, ScenarioAgent, Role, str, catalogue.ResolvedModel | None]] = []
    requests: list[list[seats.SeatRequest]] = []
    for config, engine, model in zip(configs, chosen, models, strict=True):
        megabytes, workload = 0, workloads.get(config.name, Workload())
        if model and not config.elsewhere:
            dtype = dtype_of(config, machine)
            loaded = model.size_mb
            if not sits_on_gpu(config, machine):
                loaded = memory.weights_mb(
                    model.size_mb,
                    model.shape,
                    dtype,
                    packed=engine == "transformers",
                    int8=bool(engines.quantization(engine, config.engine_args)),
                )
            # A model of unknown size still needs a place: 0 would mean that it needs none.
            megabytes = max(1, loaded)
            workload = replace(
                workload,
                tokens=min(workload.tokens, config.max_context or workload.tokens),
                token_bytes=model.shape.token_values * BYTES[dtype],
                capacity=config.capacity,
            )
        requests.append([])
        for name in process_names(config):
            processes.append((name, config, "teacher" if config is configs[0] else "student", engine, model))
            requests[-1].append(
                seats.SeatRequest(
                    name,
                    config.gpu,
                    megabytes,
                    config.memory_share,
                    "elsewhere" if config.elsewhere else engine,
                    config.engine_args,
                    workload,
                    model.shape.heads if model else 0,
                )
            )
    groups = requests if in_turn else [[request for own in requests for request in own]]
    pairs = [pair for group in groups for pair in zip(group, seats.place(group, machine), strict=True)]
    agents = [ResolvedAgent(*process, *pair) for process, pair in zip(processes, pairs, strict=True)]
    return tuple(replace(agent, dtype=_computes_in(agent, machine)) for agent in agents)


def _computes_in(agent: ResolvedAgent, machine: hardware.Machine) -> str:
    if agent.model is None:
        return ""
    quantized = engines.quantization(agent.engine, agent.config.engine_args)
    return _dtype_in(agent, machine) + (f", weights in {quantized}" if quantized else "")


def _dtype_in(agent: ResolvedAgent, machine: hardware.Machine) -> str:
    if agent.config.dtype != "auto" or agent.joins:
        return str(agent.config.dtype)
    return "auto" if agent.engine == "vllm" and agent.seat.gpus else machine.dtype(agent.seat.gpus)


def _explained(seat: seats.Seat) -> seats.Seat:
    return replace(seat, why=f"{seat.why}; transformers, as the memory does not hold vLLM")


def short_now(agents: Sequence[ResolvedAgent], *, in_turn: bool) -> str:
    """Return why other programs leave too little memory now, and what to do; empty if there is enough.

    `in_turn`: the agents take turns, so each agent has the machine to itself.
    """
    groups: dict[str, list[seats.SeatRequest]] = {}
    for agent in agents:
        if agent.seat.memory and not agent.seat.gpus:
            groups.setdefault(agent.config.name if in_turn else "", []).append(agent.request)
    if not groups:
        return ""
    machine = hardware.this_machine()
    return next(filter(None, (seats.short_now(group, machine) for group in groups.values())), "")


def _check_context(config: ScenarioAgent, engine: str, model: catalogue.ResolvedModel | None) -> None:
    """Refuse a context beyond the model's, as far as its folder says. vLLM itself knows what extends a context."""
    if engine == "transformers" and model and model.at_hand and model.folder:
        longest = context_of(model.folder)
        if 0 < longest < config.max_context:
            raise EngineStartError(f"the model takes {longest} tokens at most; lower it", key=("max_context",))


def sits_on_gpu(config: ScenarioAgent, machine: hardware.Machine) -> bool:
    """Whether an agent with a model sits on a GPU, NVIDIA's or Apple's."""
    return config.gpu != "none" and (machine.mps or bool(machine.gpus))


def dtype_of(config: ScenarioAgent, machine: hardware.Machine) -> Literal["bfloat16", "float16", "float32"]:
    """Return the dtype that an agent computes in."""
    if config.dtype != "auto":
        return config.dtype
    return "bfloat16" if sits_on_gpu(config, machine) or machine.bfloat16 else "float32"


def process_names(config: ScenarioAgent) -> tuple[str, ...]:
    """Return the names of an agent's processes."""
    return tuple(replica(config.name, number) for number in range(1, config.replicas + 1))


def fetch_models(agents: Sequence[ResolvedAgent], console: Console) -> dict[str, catalogue.Model]:
    """Fetch every model of the class and return them by name; show progress while something is fetched.

    Of a model that only agents elsewhere load, this host needs nothing but the digest, which the catalogue has.

    Raises:
        ModelError: a model cannot be fetched.
    """
    models = {agent.model.name: (agent.config.name, agent.model) for agent in agents if agent.model}
    loaded = {agent.model.name for agent in agents if agent.model and not agent.config.elsewhere}
    fetched = {
        name: catalogue.Model(name, model.folder, model.digest, parameters_mb=0, context=0)
        for name, (_, model) in models.items()
        if name not in loaded and model.kind == "catalogue" and model.folder
    }
    models = {name: found for name, found in models.items() if name not in fetched}
    quick = all(model.at_hand and model.digest for _, model in models.values())
    with contextlib.nullcontext() if quick else catalogue.progress_bars(console) as progress:
        for name, (agent_name, _) in sorted(models.items()):
            with _naming(agent_name):
                fetched[name] = catalogue.ensure(name, progress)
    return fetched
