"""Check before a class starts whether its teacher can be trained, and forecast memory, disk and time.

The teacher's engine is stopped during a training, so the training uses its seat; other agents keep theirs.
"""

import contextlib
import shutil
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
from agents.training.estimate import Estimate, estimate, memory_advice
from agents.training.spec import INSTALL, NO_PADDING
from broker.errors import PlacementError
from broker.work_messages import Recipe

PLAIN_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of tokenizers whose files name all special tokens."""


class TrainingForecast(msgspec.Struct, frozen=True):
    """Upper estimates for one training of a teacher."""

    memory_gb: float
    seconds: float
    pairs: int
    trainings: int
    host_gb: float
    """Memory of the machine beside that of a GPU; 0: the training has no GPU of its own memory."""
    disk_gb: float
    """Of the run's folder: the new weights of all trainings, and two checkpoints while a new one is written."""

    def in_words(self, name: str) -> str:
        """Format the forecast as a sentence."""
        minutes = max(1, round(self.seconds / 60))
        host = f", {self.host_gb:.1f} GB of the machine" if self.host_gb else ""
        takes = (
            f"about {self.memory_gb:.1f} GB in place of its engine{host}, and {minutes} min for {self.pairs:,} pairs"
        )
        return (
            f"{name}: each of {self.trainings} trainings takes {takes}, at most; "
            f"all together take {self.disk_gb:.1f} GB of the run's disk"
        )

    def disk_shortage(self, folder: Path) -> list[str]:
        """Return what to do where the disk of a run's folder, which need not exist, is too small; empty: it is not."""
        there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        free = shutil.disk_usage(there).free / 1e9
        if free >= self.disk_gb:
            return []
        return [
            f"the trainings write up to {self.disk_gb:.1f} GB into the run's folder, and {free:.1f} GB are free on its "
            "disk.\nMake room, name a folder on a larger disk with --out, lower learn.rounds or learn.seeds, or set "
            "learn.training.lora: true."
        ]


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
    """Forecast a training of the first agent; None if it is simulated or the size of its model is unknown.

    Args:
        agents: all agents.
        recipe: recipe of the training.
        trainings: number of trainings.
        pairs: most pairs of one training.
        tokens_per_pair: tokens of both answers, each with the prompt.
        machine: a described machine to plan for, in place of this one.
        in_turn: the other agents are stopped meanwhile.

    Raises:
        EngineStartError: the teacher cannot be trained, packages are not installed, or its tokenizer has no token for
            padding.
        PlacementError: the memory is too small.
    """
    teacher = agents[0]
    if machine is None:
        check_trainable(teacher.engine, teacher.name)
    check_quantization(teacher, recipe)
    if teacher.engine not in engines.WITH_LOCAL_MODEL or teacher.model is None or not teacher.model.size_mb:
        return None
    if teacher.model.folder:
        check_tokenizer(teacher.model.folder, teacher.config.name)
    there = machine or hardware.this_machine()
    check_second_process(teacher, there)
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    if teacher.seat.gpus:
        device = "mps" if seats.MPS in teacher.seat.gpus else "cuda"
    dtype = dtype_of(teacher.config, there)
    parameters = teacher.model.size_mb * MB / (teacher.model.shape.weight_bytes or BYTES["bfloat16"])
    needs = estimate(parameters, recipe, pairs, tokens_per_pair, dtype, device, teacher.seat.threads)
    asleep_gb = 0.0
    if teacher.engine == "vllm" and teacher.seat.memory and teacher.seat.may_sleep(in_turn=in_turn):
        asleep_gb = teacher.seat.memory.weights_mb / 1000
    host_room = _host_room_gb(agents[1:], there, in_turn=in_turn)
    room = _gpu_room_gb(teacher, there) if teacher.seat.gpus else host_room
    _check_memory(teacher.name, recipe, needs, room, host_room, asleep_gb)
    host_gb = needs.host_gb + asleep_gb
    disk_gb = trainings * needs.weights_gb + 2 * needs.checkpoint_gb
    return TrainingForecast(needs.memory_gb, needs.seconds, pairs, trainings, host_gb, disk_gb)


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


def check_quantization(teacher: ResolvedAgent, recipe: Recipe) -> None:
    """Refuse to train all weights of a teacher whose engine holds them in int8.

    Raises:
        EngineStartError: the teacher would answer as before.
    """
    if engines.quantization(teacher.engine, teacher.config.engine_args) and not recipe.lora:
        raise EngineStartError(
            "a training changes weights by less than a step of int8, so the teacher would answer as before\n"
            "set learn.training.lora: true, whose adapter is not quantized, or take quantization out",
            agent=teacher.name,
            key=("engine_args", "quantization"),
        )


def check_second_process(teacher: ResolvedAgent, machine: hardware.Machine) -> None:
    """Refuse a training on a GPU that serves one process, beside an engine whose process stays on it when it stops.

    Raises:
        PlacementError: the GPU would refuse the training. vLLM's core ends before a training begins.
    """
    if teacher.engine != "transformers" or not teacher.seat.gpus:
        return
    if any(gpu.exclusive for gpu in machine.gpus if gpu.token == teacher.seat.gpus[0]):
        raise PlacementError(
            "a training is a second process on the teacher's GPU, and that serves one process at a time (compute mode "
            "Exclusive_Process)\nlet several share it (nvidia-smi -c 0), or take engine: vllm",
            agent=teacher.name,
            key=("gpu",),
        )


def check_tokenizer(folder: Path, agent: str) -> None:
    """Refuse a model whose tokenizer files name neither a padding nor an end token.

    Some classes of tokenizers have tokens of their own; the training checks the loaded tokenizer again.

    Raises:
        EngineStartError: there is no such token.
    """
    settings: dict[str, object] = {}
    for file in (folder / name for name in ("special_tokens_map.json", "tokenizer_config.json")):
        if file.is_file():
            with contextlib.suppress(msgspec.DecodeError):  # the engine reports the error of the file
                settings |= msgspec.json.decode(file.read_bytes(), type=dict[str, object])
    if settings.get("tokenizer_class") in PLAIN_TOKENIZERS and not any(
        settings.get(name) for name in ("pad_token", "eos_token")
    ):
        raise EngineStartError(f"{folder}: {NO_PADDING}", agent=agent, key=("model",))


def _check_memory(
    agent: str, recipe: Recipe, needs: Estimate, room_gb: float, host_room_gb: float, asleep_gb: float
) -> None:
    """Refuse a training that needs more memory than there is, on its device or beside it on the machine.

    Args:
        agent: name of the teacher.
        recipe: of the training.
        needs: of the training alone.
        room_gb: memory of the device for it.
        host_room_gb: memory of the machine for it.
        asleep_gb: weights of the teacher's engine, which it moves to the machine's memory while it sleeps.

    Raises:
        PlacementError: with what to do.
    """
    copied = "its checkpoints and the engine's weights" if asleep_gb else "its checkpoints"
    host_advice = f"{copied} are copied there: set learn.training.lora: true, or take a smaller teacher"
    for need, free, of, advice in (
        (needs.memory_gb, room_gb, "", memory_advice(recipe).replace("recipe.", "learn.training.")),
        (needs.host_gb + asleep_gb, host_room_gb, " of the machine's memory", host_advice),
    ):
        if need > free:
            raise PlacementError(
                f"a training needs about {need:.1f} GB{of}, and {free:.1f} GB are there for it.\n{advice}", agent=agent
            )


def _gpu_room_gb(teacher: ResolvedAgent, machine: hardware.Machine) -> float:
    """Return the GB for the teacher's training on its GPU: its share of the memory."""
    if seats.MPS in teacher.seat.gpus:
        return teacher.seat.memory_share * machine.memory_mb * seats.UNIFIED / 1000
    # A training computes on the first of the agent's GPUs.
    first = next(gpu for gpu in machine.gpus if gpu.token == teacher.seat.gpus[0])
    return teacher.seat.memory_share * first.memory_mb / 1000


def _host_room_gb(others: Sequence[ResolvedAgent], machine: hardware.Machine, *, in_turn: bool) -> float:
    """Return the GB of the machine's memory that the other agents leave."""
    taken = 0.0 if in_turn else sum(one.seat.memory.total_mb for one in others if one.seat.memory and not one.seat.gpus)
    return (machine.usable_mb - taken) / 1000
