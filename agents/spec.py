"""What an agent process is told when it is born. Made by run.py, read by agents/main.py."""

from typing import Any, Literal

import msgspec

from broker.engine_args import EXECUTION_ONLY
from broker.protocol import Role, digest


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One agent, all settled: nothing here is `auto` any more, but for the dtype, which the device decides."""

    name: str
    pool: str
    """The agent of the scenario that it is, or is a replica of."""
    role: Role
    endpoint: str
    keys: str = ""
    """Folder with this agent's CURVE keys; empty: an endpoint without encryption."""
    model: str
    folder: str = ""
    """Where the model's files are; empty for engines without a local model."""
    weights: str
    """Digest of the weights it is born with."""
    engine: str
    persona: str = ""
    seed: int
    device: str
    """Where it sits, for people."""
    capacity: int = 0
    threads: int = 1
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_context: int = 0
    gpus: int = 0
    """How many it sees."""
    memory_share: float = 0.0
    thoughts: Literal["drop", "keep"] = "drop"
    engine_args: dict[str, Any] = {}
    weights_folder: str = ""
    """Where the run keeps trained weights, in folders named by their digests; empty: it has none."""
    training_folder: str = ""
    """Where the run keeps preference pairs, and trainings what they need to go on; empty: it has none."""
    late: bool = False
    """Its engine starts when something needs it, which a training does not: it comes when there is something to do."""
    prompts: str
    """The version of the prompts it must use."""

    @property
    def answerer(self) -> str:
        """Digest of all that decides what this agent answers to a given message."""
        args = {k: v for k, v in self.engine_args.items() if k not in EXECUTION_ONLY}
        if self.thoughts == "keep":
            args["thoughts"] = "keep"
        return digest(self.weights, self.persona, self.engine, self.dtype, args, self.prompts)
