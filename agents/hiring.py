"""From the agents that a scenario describes to processes that can be started.

Settles what is still open: which engine, which weights, which seat; then makes each agent's spec and process. It
starts nothing, and takes what a scenario says through the `Wanted` protocol, so that this room knows no scenario.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from agents import engines, models, placement, prompts
from agents.launcher import ChildSpec, agent_env
from agents.spec import AgentSpec

Dtype = Literal["auto", "bfloat16", "float16", "float32"]


class Wanted(Protocol):
    """An agent as a scenario describes it: see scenarios/schema.py for the meaning of each entry."""

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
    def capacity(self) -> int: ...  # noqa: D102
    @property
    def dtype(self) -> Dtype: ...  # noqa: D102
    @property
    def max_context(self) -> int: ...  # noqa: D102
    @property
    def memory_share(self) -> float | None: ...  # noqa: D102
    @property
    def engine_args(self) -> dict[str, Any]: ...  # noqa: D102


class Hired(msgspec.Struct, frozen=True):
    """One agent with all that this machine says of it."""

    wanted: Any
    """A `Wanted`; msgspec knows no protocols."""
    role: Literal["teacher", "student"]
    engine: str
    resolved: models.Resolved | None
    """None: needs no model of ours."""
    seat: placement.Seat

    @property
    def name(self) -> str:
        """The agent's name."""
        return str(self.wanted.name)

    def facts(self) -> dict[str, str]:
        """For the gradebook and for people."""
        return {
            "name": self.name,
            "role": self.role,
            "model": self.wanted.model,
            "engine": self.engine,
            "device": self.seat.device,
        }

    @property
    def size(self) -> str:
        """Of the weights, for people."""
        if self.resolved is None or not self.resolved.size_mb:
            return ""
        gigabytes = f"{self.resolved.size_mb / 1000:.1f} GB"
        return gigabytes if self.resolved.at_hand else f"{gigabytes}, to fetch"


def hire(teacher: Wanted, students: Sequence[Wanted]) -> tuple[Hired, ...]:
    """Engine, model and seat of every agent, teacher first.

    Raises:
        EngineStartError: an engine that is not installed, or an argument that it does not take.
        ModelError: no such model.
        PlacementError: they do not fit on this machine.
    """
    wanted = (teacher, *students)
    machine = placement.look()
    # Where there are GPUs, everybody sits on one who does not say `none`: so the engine can be chosen before the seat.
    on_gpu = [agent.gpu != "none" and bool(machine.gpus) for agent in wanted]
    chosen = [engines.choose(agent.engine, agent.model, gpu=gpu) for agent, gpu in zip(wanted, on_gpu, strict=True)]
    resolved = []
    for agent, engine, gpu in zip(wanted, chosen, on_gpu, strict=True):
        engines.check(engine, agent.engine_args, gpu=gpu)
        resolved.append(models.resolve(agent.model) if engine in engines.WITH_LOCAL_MODEL else None)
    wishes = [
        # A model of unknown size still needs a place: 0 would say that it needs none.
        placement.Wish(agent.name, agent.gpu, max(1, one.size_mb) if one else 0, agent.memory_share)
        for agent, one in zip(wanted, resolved, strict=True)
    ]
    seats = placement.place(wishes, machine)
    roles: list[Literal["teacher", "student"]] = ["teacher", *["student"] * len(students)]  # type: ignore[list-item]
    return tuple(Hired(*each) for each in zip(wanted, roles, chosen, resolved, seats, strict=True))


def fetch(hired: Sequence[Hired], progress: Callable[[str, int, int], None]) -> dict[str, models.Model]:
    """Every model of the class, ready to load, by its name. `progress(label, done_bytes, all_bytes)`.

    Raises:
        ModelError: one cannot be had.
    """
    return {name: models.ensure(name, progress) for name in sorted({h.resolved.name for h in hired if h.resolved})}


def spec(
    one: Hired, held: Mapping[str, models.Model], *, seed: int, endpoint: str, keys: str, answer_key: Path
) -> AgentSpec:
    """What one agent process is told. An external agent has one too: it says how it is expected to answer."""
    agent: Wanted = one.wanted
    model = held[one.resolved.name] if one.resolved else None
    args = {**agent.engine_args, "answer_key": str(answer_key)} if one.engine == "simulated" else agent.engine_args
    return AgentSpec(
        name=agent.name,
        role=one.role,
        endpoint=endpoint,
        keys=keys,
        model=agent.model,
        folder=str(model.folder) if model else "",
        weights=model.digest if model else one.engine,
        engine=one.engine,
        persona=agent.persona,
        seed=seed,
        device=one.seat.device,
        capacity=agent.capacity,
        threads=one.seat.threads,
        dtype=agent.dtype,
        max_context=agent.max_context,
        gpus=len([token for token in one.seat.gpus if token != placement.MPS]),
        memory_share=one.seat.memory_share,
        engine_args=args,
        prompts=prompts.VERSION,
    )


def child(one: Hired, told: AgentSpec, logs: Path) -> ChildSpec:
    """The process of one agent."""
    env = {**agent_env(one.seat), "LBT_AGENT": one.name}
    return ChildSpec(one.name, "agents.agent", told, env, one.seat.cores, logs / f"{one.name}.log")
