"""The spec of an agent process. run.py writes it, agents/main.py reads it."""

from typing import Any, Literal

import msgspec

from agents.core_sharing import CoreSeat
from broker.engine_args import EXECUTION_ONLY
from broker.protocol import Role, digest


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One agent process. Only the dtype may still be `auto`, which the device decides."""

    name: str
    pool: str
    """Name of the agent in the scenario; replicas share it."""
    role: Role
    endpoint: str
    keys: str = ""
    """Folder with this agent's CURVE keys, or its invitation; empty: an endpoint without encryption."""
    invited: bool = False
    """It joins a class of another host, which neither started its process nor watches it."""
    model: str
    folder: str = ""
    """Folder of the model; empty for engines without a local model."""
    weights: str
    """Digest of the base weights."""
    engine: str
    persona: str = ""
    seed: int
    device: str
    """Device as text."""
    capacity: int = 0
    threads: int = 1
    core_seat: CoreSeat | None = None
    """How it uses the cores of idle agents; None: it does not."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_context: int = 0
    gpus: int = 0
    """Number of visible GPUs."""
    memory_share: float = 0.0
    """Share of the memory of each GPU, without the context of the process; 0: not decided."""
    cache_mb: int = 0
    """MB of each GPU for keys and values; 0: not decided."""
    thoughts: Literal["drop", "keep"] = "drop"
    engine_args: dict[str, Any] = {}
    weights_folder: str = ""
    """Folder of the run with trained weights, in subfolders named by digest; empty: there is none."""
    lora_rank: int = 0
    """Rank of the adapters among them; 0: the agent is not trained, or all its weights are."""
    sleeps: bool = False
    """The engine may stay on its GPU with little memory while the agent trains there."""
    training_folder: str = ""
    """Folder of the run with preference pairs and checkpoints; empty: there is none."""
    lazy_start: bool = False
    """Start the engine only when a request needs it; a training does not."""
    prompts: str
    """Version of the prompts."""

    @property
    def answerer(self) -> str:
        """Digest of everything that decides the agent's answer to a message."""
        args = {k: v for k, v in self.engine_args.items() if k not in EXECUTION_ONLY}
        if self.thoughts == "keep":
            args["thoughts"] = "keep"
        return digest(self.weights, self.persona, self.engine, self.dtype, args, self.prompts)


class SharedProcessSpec(msgspec.Struct, frozen=True):
    """The agents of one process of several: see agents/shared_process.py."""

    agents: tuple[AgentSpec, ...]
