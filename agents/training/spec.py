"""What the training process is told when it is born, and what it says on its standard output, one JSON object a line.

Read by both sides, so nothing heavy is imported here. Who starts the process is agents/training/process.py.
"""

from typing import Literal

import msgspec

from broker.errors import EngineError
from broker.work_messages import Recipe

INSTALL = 'pip install -e ".[train]"'
NO_PADDING = (
    "a training needs a pad_token or an eos_token, and the tokenizer names neither\nname one in tokenizer_config.json"
)


class TrainingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One training, all settled. Device and visible GPUs are those of the environment, as for an agent."""

    folder: str
    """Of the base model: config, tokenizer, safetensors."""
    base: str
    """Digest of those."""
    adapter: str = ""
    """Folder of the adapter to go on from; empty: from the base model itself. It is also the reference then."""
    pairs: str
    """A file with a `broker.protocol.Pair` as JSON on each line."""
    pairs_digest: str = ""
    """SHA-256 of its bytes: other bytes are refused. Empty: whatever it holds."""
    recipe: Recipe
    persona: str = ""
    """Of the teacher: part of its prompts."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Of frozen weights and of computation; what is trained is float32. float16 is taken for float32."""
    threads: int = 1
    out: str
    """The run's folder of weights: the new ones become a folder in it, named by their digest."""
    work: str
    """Where checkpoints are kept until the end. Another training needs another folder."""
    checkpoint_s: float = 60.0
    """At most one checkpoint in this time; and none before fifty times as long as the last one took."""


class TrainingStep(msgspec.Struct, frozen=True, kw_only=True, tag_field="said", tag="step"):
    """Training has come this far. Said once before the first step too, with the step it goes on from."""

    step: int
    steps: int
    loss: float = 0.0
    reward_margin: float = 0.0
    """Mean over the step's pairs of beta x (log-ratio of the chosen - log-ratio of the rejected answer)."""
    reward_accuracy: float = 0.0
    """Share of the step's pairs in which that is above 0."""
    seconds: float = 0.0
    """Since the first step of this process began."""
    peak_memory_mb: float = 0.0
    """Of the device; on a CPU of this process."""
    loading_s: float = 0.0
    """What it took until then to import libraries and to load tokenizer and weights. In the word before the first step
    alone."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag_field="said", tag="done"):
    """New weights are there."""

    trained: str
    """Their digest."""
    folder: str
    pairs: int
    """Used."""
    too_long: int
    """Left out: with their prompt they are longer than `max_tokens`."""
    steps: int
    seconds: float
    """Of all steps, also of those before a resume."""
    figures: dict[str, float] = {}
    """Of the last step: loss, reward_margin, reward_accuracy; of all: peak_memory_mb, seconds_per_pair. Of all
    weights (no adapter), changed: the share that differs from what it was, both rounded to what the engine computes in.
    """


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag_field="said", tag="failed"):
    """There are no new weights, and why: one to three lines. What was trained on is as it was."""

    failed: str
    for_good: bool = False
    """Another try would end the same way."""


TrainingEvent = TrainingStep | Done | Refused


class TrainingFailed(EngineError):
    """A training that ends without new weights. `for_good`: and would on another try."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good
