"""Input and events of the training process, one JSON object per line. Imports nothing heavy."""

from typing import Literal

import msgspec

from broker.errors import EngineError
from broker.work_messages import Recipe

INSTALL = 'pip install -e ".[train]"'
NO_PADDING = (
    "a training needs a pad_token or an eos_token, and the tokenizer names neither\nname one in tokenizer_config.json"
)


class TrainingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One training. Device and visible GPUs come from the environment, as for an agent."""

    folder: str
    """Folder of the base model: config, tokenizer, safetensors."""
    base: str
    """Digest of the base model."""
    adapter: str = ""
    """Folder of the adapter to train further, which is also the reference; empty: train the base model."""
    pairs: str
    """File with a `PreferencePair` as JSON on each line."""
    pairs_digest: str = ""
    """SHA-256 of that file; other contents are refused. Empty: any contents."""
    recipe: Recipe
    persona: str = ""
    """Persona of the teacher, part of its prompts."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """dtype of frozen weights and of computation; trained weights are float32, and float16 counts as float32."""
    threads: int = 1
    memory_share: float = 0.0
    """Share of the GPU's memory, without the context of the process; 0: not decided."""
    out: str
    """The run's folder of weights; the new weights become a subfolder named by their digest."""
    work: str
    """Folder for checkpoints; each training needs its own."""
    checkpoint_s: float = 60.0
    """Least time between checkpoints, which is also at least fifty times the duration of the last one."""


class TrainingStep(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="step"):
    """A step is done. Also sent once before the first step, with the step from which the training continues."""

    step: int
    steps: int
    loss: float = 0.0
    reward_margin: float = 0.0
    """Mean over the step's pairs of beta x (log-ratio of the chosen - log-ratio of the rejected answer)."""
    reward_accuracy: float = 0.0
    """Share of the step's pairs in which that is above 0."""
    seconds: float = 0.0
    """Seconds since the first step of this process began."""
    peak_memory_mb: float = 0.0
    """Peak memory of the device; on a CPU of this process."""
    loading_s: float = 0.0
    """Time to import libraries and to load tokenizer and weights. Only in the event before the first step."""


class TrainingDone(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="done"):
    """The training has new weights."""

    trained: str
    """Digest of the new weights."""
    folder: str
    pairs: int
    """Number of pairs used."""
    too_long: int
    """Number of pairs left out because they exceed `max_tokens` with their prompt."""
    steps: int
    seconds: float
    """Seconds of all steps, with those before a resume."""
    figures: dict[str, float] = {}
    """Of the last step: loss, reward_margin, reward_accuracy; of all steps: peak_memory_mb, seconds_per_pair. Without
    an adapter also changed: the share of weights that differ from the base, both rounded to the engine's dtype."""


class TrainingAborted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="failed"):
    """The training ended without new weights; `failed` says why in one to three lines. Its input is unchanged."""

    failed: str
    for_good: bool = False
    """Whether another try would fail, too."""


TrainingEvent = TrainingStep | TrainingDone | TrainingAborted


class TrainingFailed(EngineError):
    """A training ends without new weights. `for_good`: another try would fail, too."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good
