"""What the training of a teacher will take, and whether it can be had, before anything starts.

The teacher's engine is away while it trains, so its seat is there for the training; other agents stay where they are.
How much a training takes is agents/training/estimate.py, where agents sit agents/placement/seats.py.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from agents import engines
from agents.engines.base import EngineStartError
from agents.models.weights import BYTES
from agents.placement import hardware, seats
from agents.placement.memory import MB
from agents.placement.resolve import Hired, dtype_of, trainable
from agents.training.estimate import estimate, lower
from agents.training.spec import NO_PADDING
from broker.errors import PlacementError
from broker.work_messages import Recipe

PLAIN_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of tokenizers whose files name all of their special tokens."""


class Tuition(msgspec.Struct, frozen=True):
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


def foresee(
    hired: Sequence[Hired],
    recipe: Recipe,
    *,
    trainings: int,
    pairs: int,
    tokens_per_pair: float,
    machine: hardware.Machine | None = None,
    in_turn: bool = False,
) -> Tuition | None:
    """What a training of the first of `hired` takes; None: it is simulated, or the size of its model is not known.

    Args:
        hired: all agents.
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
    teacher = hired[0]
    if machine is None:
        trainable(teacher.engine, teacher.name)
    if teacher.engine not in engines.WITH_LOCAL_MODEL or teacher.resolved is None or not teacher.resolved.size_mb:
        return None
    if teacher.resolved.folder:
        check_tokenizer(teacher.resolved.folder, teacher.wanted.name)
    there = machine or hardware.look()
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    if teacher.seat.gpus:
        device = "mps" if seats.MPS in teacher.seat.gpus else "cuda"
    dtype = dtype_of(teacher.wanted, there)
    parameters = teacher.resolved.size_mb * MB / (teacher.resolved.shape.weight_bytes or BYTES["bfloat16"])
    needs = estimate(parameters, recipe, pairs, tokens_per_pair, dtype, device, teacher.seat.threads)
    room = _room_gb(hired, there, in_turn=in_turn)
    if needs.memory_gb > room:
        raise PlacementError(
            f"a training needs about {needs.memory_gb:.1f} GB, and {room:.1f} GB are there for it.\n"
            + lower(recipe).replace("recipe.", "learn.training."),
            agent=teacher.name,
        )
    return Tuition(needs.memory_gb, needs.seconds, pairs, trainings)


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


def _room_gb(hired: Sequence[Hired], machine: hardware.Machine, *, in_turn: bool) -> float:
    """The memory that the teacher's training may take: of its first GPU what it is granted, or what others leave."""
    teacher, *others = hired
    if teacher.seat.gpus:
        granted = teacher.seat.memory_share or seats.USABLE
        # One device: what the smallest of its GPUs grants.
        return granted * min((gpu.memory_mb for gpu in machine.gpus), default=machine.memory_mb) / 1000
    taken = 0.0 if in_turn else sum(one.seat.memory.total_mb for one in others if one.seat.memory and not one.seat.gpus)
    return (machine.usable_mb - taken) / 1000
