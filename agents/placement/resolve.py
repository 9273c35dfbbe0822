"""From the agents that a scenario describes to processes that can be started.

Settles what is still open: which engine, which weights, which seat; then makes each agent's spec and process. It
starts nothing, and takes what a scenario says through the `Wanted` protocol, so that this room knows no scenario.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
from rich.console import Console

from agents import engines, prompts
from agents.engines.base import EngineStartError
from agents.models import catalogue
from agents.models.home import home_env
from agents.models.weights import BYTES, context_of
from agents.placement import hardware, memory, seats
from agents.placement.launcher import ChildSpec, agent_env
from agents.placement.memory import Requests
from agents.placement.server_keys import key_env
from agents.spec import AgentSpec
from agents.training.spec import INSTALL
from broker import server_notes
from broker.errors import LbtError, PlacementError
from broker.protocol import replica

Role = Literal["teacher", "student"]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]


class Wanted(Protocol):
    """An agent as a scenario describes it: see scenarios/config/schema.py for the meaning of each entry."""

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


class Hired(msgspec.Struct, frozen=True):
    """One process of one agent with all that this machine says of it."""

    name: str
    """Of the process: the agent's, or that of a replica."""
    wanted: Any
    """A `Wanted`; msgspec knows no protocols."""
    role: Role
    engine: str
    resolved: catalogue.Resolved | None
    """None: needs no model of ours."""
    wish: seats.Wish
    seat: seats.Seat
    dtype: str = ""
    """It computes in; `auto`: what vLLM takes from the model on a GPU. Empty: it computes nothing here."""

    def facts(self) -> dict[str, str]:
        """For the gradebook and for people."""
        return {
            "name": self.name,
            "role": self.role,
            # An external agent without a model in the scenario has the schema's default, which says nothing of it.
            "model": "" if (self.engine, self.wanted.model) == ("external", "simulated") else self.wanted.model,
            "engine": self.engine,
            "device": "server" if self.engine == "openai" else self.seat.device,
            "dtype": self.dtype,
        }

    @property
    def size(self) -> str:
        """Of the weights, for people."""
        if self.resolved is None or not self.resolved.size_mb:
            return ""
        gigabytes = f"{self.resolved.size_mb / 1000:.1f} GB"
        return gigabytes if self.resolved.at_hand else f"{gigabytes}, to fetch"

    @property
    def needs(self) -> str:
        """Memory it cannot do without, for people. About; on GPUs it may be granted more."""
        if self.resolved is None or self.seat.memory is None or not self.size:
            return ""
        gpus = len(self.seat.gpus)
        least = memory.need_mb(self.resolved.size_mb, gpus) * gpus if gpus else self.seat.memory.total_mb
        return f"{least / 1000:.1f} GB"

    def memory(self) -> dict[str, Any]:
        """What it will take, in its parts, in MB; empty: needs none, or the size of its model is not known."""
        return msgspec.structs.asdict(self.seat.memory) if self.seat.memory and self.size else {}

    def planned(self) -> dict[str, Any]:
        """All that a plan shows of it."""
        share = self.seat.memory_share or None
        words = {"size": self.size, "needs": self.needs, "why": self.seat.why}
        return {**self.facts(), **self.memory(), **words, "memory_share": share}


def hire(
    teacher: Wanted,
    students: Sequence[Wanted],
    machine: hardware.Machine | None = None,
    *,
    in_turn: bool = False,
    asked: Mapping[str, Requests] | None = None,
) -> tuple[Hired, ...]:
    """Engine, model and seat of every agent, teacher first.

    Where `auto` would take vLLM on a CPU whose memory does not hold it, it takes transformers for all such agents.
    All memory counts, not what is free now: the engine is part of what request ids are made of, so it must be the same
    whenever the class is started or resumed.

    Args:
        teacher: as the scenario has it.
        students: likewise.
        machine: in place of this one, for planning.
        in_turn: they take turns, so each agent has the machine to itself.
        asked: what each agent is asked, by its name; where that is not known, agents are counted at their largest.

    Raises:
        EngineStartError: an engine that is not installed, or an argument that it does not take.
        ModelError: no such model.
        PlacementError: they do not fit on this machine.
    """
    agents, there = (teacher, *students), machine or hardware.look()
    # Where there are GPUs, everybody sits on one who does not say `none`: so the engine is chosen before the seat.
    on_gpu = [agent.gpu != "none" and bool(there.gpus) for agent in agents]
    chosen = [engines.choose(one.engine, one.model, gpu=gpu) for one, gpu in zip(agents, on_gpu, strict=True)]
    resolved = []
    for agent, engine, gpu in zip(agents, chosen, on_gpu, strict=True):
        with _concerning(agent.name):
            engines.check_arguments(engine, agent.engine_args, engines.why_auto(agent.engine, engine, gpu=gpu))
            if there.gpu_expected and agent.gpu != "none" and engine in engines.WITH_LOCAL_MODEL:
                raise PlacementError(f"no GPU can be used: {there.gpu_trouble}", key=("gpu",))
            if machine is None:  # what is installed here says nothing of a machine that is described
                engines.check_installed(engine, gpu=gpu)
            resolved.append(catalogue.resolve(agent.model) if engine in engines.WITH_LOCAL_MODEL else None)
            _check_context(agent, engine, resolved[-1])
    try:
        return _seat(agents, chosen, resolved, there, asked or {}, in_turn=in_turn)
    except PlacementError:
        # Arguments are for one engine: an agent that has some keeps the one they were written for.
        spare = [
            engine == "vllm" and agent.engine == "auto" and not gpu and not agent.engine_args
            for agent, engine, gpu in zip(agents, chosen, on_gpu, strict=True)
        ]
        if not any(spare):
            raise
    names = {name for agent, spared in zip(agents, spare, strict=True) if spared for name in process_names(agent)}
    chosen = ["transformers" if spared else engine for engine, spared in zip(chosen, spare, strict=True)]
    hired = _seat(agents, chosen, resolved, there, asked or {}, in_turn=in_turn)
    return tuple(msgspec.structs.replace(one, seat=_noting(one.seat)) if one.name in names else one for one in hired)


@contextlib.contextmanager
def _concerning(agent: str) -> Iterator[None]:
    """Say which agent an error is about, and that it is about its model where no entry is named."""
    try:
        yield
    except LbtError as error:
        error.agent, error.key = agent, error.key or ("model",)
        raise


def _seat(
    agents: Sequence[Wanted],
    chosen: Sequence[str],
    resolved: Sequence[catalogue.Resolved | None],
    machine: hardware.Machine,
    asked: Mapping[str, Requests],
    *,
    in_turn: bool,
) -> tuple[Hired, ...]:
    """All processes of `agents`, with the engines `chosen` and their models."""
    crew: list[tuple[str, Wanted, Role, str, catalogue.Resolved | None]] = []
    wishes: list[list[seats.Wish]] = []
    for agent, engine, model in zip(agents, chosen, resolved, strict=True):
        megabytes, requests = 0, asked.get(agent.name, Requests())
        if model:
            dtype = dtype_of(agent, machine)
            loaded = model.size_mb
            if not sits_on_gpu(agent, machine):
                loaded = memory.weights_mb(model.size_mb, model.shape, dtype, packed=engine == "transformers")
            # A model of unknown size still needs a place: 0 would say that it needs none.
            megabytes = max(1, loaded)
            requests = msgspec.structs.replace(
                requests,
                tokens=min(requests.tokens, agent.max_context or requests.tokens),
                token_bytes=model.shape.token_values * BYTES[dtype],
                capacity=agent.capacity,
            )
        wishes.append([])
        for name in process_names(agent):
            crew.append((name, agent, "teacher" if agent is agents[0] else "student", engine, model))
            wishes[-1].append(
                seats.Wish(name, agent.gpu, megabytes, agent.memory_share, engine, agent.engine_args, requests)
            )
    together = wishes if in_turn else [[wish for own in wishes for wish in own]]
    pairs = [pair for group in together for pair in zip(group, seats.place(group, machine), strict=True)]
    hired = [Hired(*member, *pair) for member, pair in zip(crew, pairs, strict=True)]
    return tuple(msgspec.structs.replace(one, dtype=_computes_in(one, machine)) for one in hired)


def _computes_in(one: Hired, machine: hardware.Machine) -> str:
    if one.resolved is None or one.wanted.dtype != "auto":
        return one.wanted.dtype if one.resolved else ""
    return "auto" if one.engine == "vllm" and one.seat.gpus else machine.dtype(one.seat.gpus)


def short_now(hired: Sequence[Hired], *, in_turn: bool) -> str:
    """What is wrong where other programs leave too little memory now, and what to do; empty: nothing.

    `in_turn`: the agents take turns, so each has the machine to itself.
    """
    groups: dict[str, list[seats.Wish]] = {}
    for one in hired:
        if one.seat.memory and not one.seat.gpus:
            groups.setdefault(one.wanted.name if in_turn else "", []).append(one.wish)
    if not groups:
        return ""
    machine = hardware.look()
    return next(filter(None, (seats.short_now(group, machine) for group in groups.values())), "")


def _check_context(agent: Wanted, engine: str, model: catalogue.Resolved | None) -> None:
    """Refuse a context beyond the model's, as far as its folder tells. vLLM knows itself what stretches one."""
    if engine == "transformers" and model and model.at_hand and model.folder:
        own = context_of(model.folder)
        if 0 < own < agent.max_context:
            raise EngineStartError(f"the model takes {own} tokens at most; lower it", key=("max_context",))


def sits_on_gpu(agent: Wanted, machine: hardware.Machine) -> bool:
    """Whether an agent with a model sits on a GPU, CUDA's or Apple's."""
    return agent.gpu != "none" and (machine.mps or bool(machine.gpus))


def dtype_of(agent: Wanted, machine: hardware.Machine) -> Literal["bfloat16", "float16", "float32"]:
    """The dtype that an agent computes in."""
    if agent.dtype != "auto":
        return agent.dtype
    return "bfloat16" if sits_on_gpu(agent, machine) or machine.bfloat16 else "float32"


def _noting(seat: seats.Seat) -> seats.Seat:
    return msgspec.structs.replace(seat, why=f"{seat.why}; transformers, as the memory does not hold vLLM")


def process_names(agent: Wanted) -> tuple[str, ...]:
    """The names of an agent's processes."""
    return tuple(replica(agent.name, number) for number in range(1, agent.replicas + 1))


def fetch(hired: Sequence[Hired], console: Console) -> dict[str, catalogue.Model]:
    """Every model of the class, ready to load, by its name; shows progress where something must be fetched.

    Raises:
        ModelError: one cannot be had.
    """
    wanted = {one.resolved.name: one.resolved for one in hired if one.resolved}
    names = sorted(wanted)
    agents = {one.resolved.name: one.wanted.name for one in hired if one.resolved}
    quick = all(model.at_hand and model.digest for model in wanted.values())
    held = {}
    with contextlib.nullcontext() if quick else catalogue.progress_bars(console) as progress:
        for name in names:
            with _concerning(agents[name]):
                held[name] = catalogue.ensure(name, progress)
    return held


def spec(
    one: Hired,
    held: Mapping[str, catalogue.Model],
    *,
    seed: int,
    endpoint: str,
    keys: str,
    answer_key: Path,
    run: Path,
    in_turn: bool = False,
) -> AgentSpec:
    """What one agent process is told. An external agent has one too: it says how it is expected to answer.

    `run`: the run's folder; `in_turn`: agents come when something is asked of them.
    """
    agent: Wanted = one.wanted
    model = held[one.resolved.name] if one.resolved else None
    args = dict(agent.engine_args)
    if one.engine == "simulated":
        args["answer_key"] = str(answer_key)
    elif one.engine == "openai":
        args["ledger"] = str(answer_key.with_name(f"spent-{one.name}"))
        args["notes"] = str(answer_key.with_name(f"{server_notes.PREFIX}{one.name}"))
    return AgentSpec(
        name=one.name,
        pool=agent.name,
        role=one.role,
        endpoint=endpoint,
        keys=keys,
        model=agent.model,
        folder=str(model.folder) if model else "",
        # Of weights at a server nothing is known but their name there; two names are two answerers.
        weights=model.digest if model else f"openai:{agent.model}" if one.engine == "openai" else one.engine,
        engine=one.engine,
        persona=agent.persona,
        seed=seed,
        device=one.seat.device,
        capacity=agent.capacity,
        threads=one.seat.threads,
        dtype=agent.dtype,
        max_context=agent.max_context,
        gpus=len([token for token in one.seat.gpus if token != seats.MPS]),
        memory_share=one.seat.memory_share,
        thoughts=agent.thoughts,
        engine_args=args,
        weights_folder=str(run / "weights"),
        training_folder=str(run / "training"),
        late=in_turn and one.role == "teacher" and one.engine in engines.WITH_LOCAL_MODEL,
        prompts=prompts.VERSION,
    )


def missing_for_training(teacher: Hired) -> list[str]:
    """What keeps a class of level 2 from running here though it can be planned, a sentence each."""
    try:
        trainable(teacher.engine, teacher.name)
    except EngineStartError as error:
        return [f"{error.agent}: {error.message}"]
    return []


def trainable(engine: str, name: str = "teacher") -> None:
    """Refuse a teacher that cannot be trained, before anything starts.

    Args:
        engine: a settled one, not `auto`.
        name: of the agent.

    Raises:
        EngineStartError: with what to do.
    """
    if engine == "openai":
        raise EngineStartError(
            "a teacher at a server cannot be trained: its weights are not here\n"
            "take engine: transformers or vllm with a model of your own, or level: 1",
            agent=name,
            key=("engine",),
        )
    if engine in engines.WITH_LOCAL_MODEL and any(find_spec(package) is None for package in ("trl", "peft")):
        message = f"training needs trl and peft, which are not installed\n{INSTALL}"
        raise EngineStartError(message, agent=name, key=("engine",))


def child(one: Hired, told: AgentSpec, logs: Path) -> ChildSpec:
    """The process of one agent."""
    env = {**agent_env(one.seat), **(home_env() if told.folder else {}), "LBT_AGENT": one.name}
    secrets = tuple(filter(None, [key_env(one)]))
    return ChildSpec(one.name, "agents.main", told, env, one.seat.cores, logs / f"{one.name}.log", secrets)
