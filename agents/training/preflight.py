"""What the training of a teacher will take, and whether it can be had, before anything starts.

The teacher's engine is stopped while it trains, so the training gets its seat; other agents stay where they are.
How much a training takes is agents/training/estimate.py, where agents sit agents/placement/seats.py.
"""

import contextlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from agents import engines
from agents.engines.base import EngineStartError
from agents.models.weights import BYTES
from agents.placement import hardware, seats
from agents.placement.memory import MB
from agents.placement.resolve import ResolvedAgent, dtype_of
from agents.training.estimate import estimate, lower
from agents.training.spec import INSTALL, NO_PADDING
from broker.errors import PlacementError
from broker.work_messages import Recipe

PLAIN_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of tokenizers whose files name all of their special tokens."""


class TrainingForecast(msgspec.Struct, frozen=True):
    """One training of a teacher, about and at most."""

    memory_gb: float
    seconds: float
    pairs: int
    trainings: int

    def in_words(self, name: str) -> str:
        """For people."""
        minutes = max(1, round(self.seconds / 60))
        takes = f"about {self.memory_gb:.1f} GB in place of its engine, and {minutes} min for {self.pairs:,} pairs"
        return f"{name}: each of {self.trainings} trainings takes {takes}, at most"


def forecast(
    agents: Sequence[ResolvedAgent],
    recipe: Recipe,
    *,
    trainings: int,
    pairs: int,
    tokens_per_pair: float,
    machine: hardware.Machine | None = None,
    in_turn: bool = False,
) -> TrainingForecast | None:
    """What a training of the first of `agents` takes; None: it is simulated, or the size of its model is not known.

    Args:
        agents: all agents.
        recipe: how it is trained.
        trainings: how often.
        pairs: of one training, at most.
        tokens_per_pair: of both answers, each with the prompt.
        machine: in place of this one, for planning.
        in_turn: the others are away meanwhile.

    Raises:
        EngineStartError: the teacher cannot be trained, or not without packages that are not installed, or its
            tokenizer has no token to pad with.
        PlacementError: the memory does not hold it.
    """
    teacher = agents[0]
    if machine is None:
        check_trainable(teacher.engine, teacher.name)
    if teacher.engine not in engines.WITH_LOCAL_MODEL or teacher.model is None or not teacher.model.size_mb:
        return None
    if teacher.model.folder:
        check_tokenizer(teacher.model.folder, teacher.config.name)
    there = machine or hardware.look()
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    if teacher.seat.gpus:
        device = "mps" if seats.MPS in teacher.seat.gpus else "cuda"
    dtype = dtype_of(teacher.config, there)
    parameters = teacher.model.size_mb * MB / (teacher.model.shape.weight_bytes or BYTES["bfloat16"])
    needs = estimate(parameters, recipe, pairs, tokens_per_pair, dtype, device, teacher.seat.threads)
    room = _room_gb(agents, there, in_turn=in_turn)
    if needs.memory_gb > room:
        raise PlacementError(
            f"a training needs about {needs.memory_gb:.1f} GB, and {room:.1f} GB are there for it.\n"
            + lower(recipe).replace("recipe.", "learn.training."),
            agent=teacher.name,
        )
    return TrainingForecast(needs.memory_gb, needs.seconds, pairs, trainings)


def missing_for_training(teacher: ResolvedAgent) -> list[str]:
    """Return what keeps a class of level 2 from running here though it can be planned, a sentence each."""
    try:
        check_trainable(teacher.engine, teacher.name)
    except EngineStartError as error:
        return [f"{error.agent}: {error.message}"]
    return []


def check_trainable(engine: str, name: str) -> None:
    """Refuse a teacher that cannot be trained, before anything starts.

    Raises:
        EngineStartError: the teacher is at a server, or packages are not installed.
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


def check_tokenizer(folder: Path, agent: str) -> None:
    """Refuse a model whose tokenizer names neither a padding nor an end token, as far as its files tell.

    Some classes of tokenizers bring tokens of their own; the training itself looks at the tokenizer that it loads.

    Raises:
        EngineStartError: with what to do.
    """
    said: dict[str, object] = {}
    for file in (folder / name for name in ("special_tokens_map.json", "tokenizer_config.json")):
        if file.is_file():
            with contextlib.suppress(msgspec.DecodeError):  # the engine says what is wrong with the file
                said |= msgspec.json.decode(file.read_bytes(), type=dict[str, object])
    if said.get("tokenizer_class") in PLAIN_TOKENIZERS and not any(
        said.get(name) for name in ("pad_token", "eos_token")
    ):
        raise EngineStartError(f"{folder}: {NO_PADDING}", agent=agent, key=("model",))


def _room_gb(agents: Sequence[ResolvedAgent], machine: hardware.Machine, *, in_turn: bool) -> float:
    """The memory that the teacher's training may take: of its first GPU what it is granted, or what others leave."""
    teacher, *others = agents
    if teacher.seat.gpus:
        granted = teacher.seat.memory_share or seats.USABLE
        # One device: what the smallest of its GPUs grants.
        return granted * min((gpu.memory_mb for gpu in machine.gpus), default=machine.memory_mb) / 1000
    taken = 0.0 if in_turn else sum(one.seat.memory.total_mb for one in others if one.seat.memory and not one.seat.gpus)
    return (machine.usable_mb - taken) / 1000
