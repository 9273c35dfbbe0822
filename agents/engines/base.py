"""The `Engine` protocol: complete prompts, and score given texts.

One engine per process. An engine batches internally: the agent calls `generate` or `logprobs` once per request, many at
a time, and requests join and leave the running batch. An engine knows nothing of brokers, classes or grades.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from agents.core_sharing import CoreShare
from broker.errors import EngineError
from broker.work_messages import Ask, Examine, Explain, Invent, Judge, Reflect, Revise, Sampling, Teach, Usage

CompletionRequest = Teach | Examine | Reflect | Revise | Ask | Explain | Judge | Invent
"""Requests that an engine answers by completing a prompt."""


class Turn(msgspec.Struct, frozen=True):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    text: str


class Prompt(msgspec.Struct, frozen=True):
    """A chat to complete.

    Prompts with the same teaching material share everything but the last user turn, so an engine that caches prefixes
    computes the material once.
    """

    request_id: str
    turns: tuple[Turn, ...]
    begun: str
    """Beginning of the assistant's answer; the completion continues it and does not repeat it."""
    sampling: Sampling
    seed: int
    """Derived from the request id: the same request draws the same numbers, as far as the engine allows."""
    request: CompletionRequest
    """The request itself, for the simulated engine."""
    structure: str | None = None
    """A regular expression that the whole completion should match. Engines without structured output ignore it, so
    the reader of the text checks it as well."""
    weights: str = ""
    """Digest of the trained weights that must complete it; empty: the agent's base weights."""


class Completion(msgspec.Struct, frozen=True):
    """The answer to a prompt."""

    text: str
    """Without `Prompt.begun`, special tokens and, unless they are kept, thoughts."""
    usage: Usage


class Scored(msgspec.Struct, frozen=True):
    """Log-probability of a given text as the continuation of a prompt."""

    logprob: float
    """Mean over the text's tokens, in nats, of the model's own distribution: temperature 1, no token left out."""
    tokens: int
    """Number of tokens of the text."""
    usage: Usage
    """The text counts as part of the prompt."""


class EngineFailure(EngineError):
    """The engine cannot complete this request but continues with others. Becomes `Failed(kind, detail)`."""

    def __init__(self, kind: Literal["context", "engine", "unsupported"], detail: str) -> None:
        super().__init__(detail)
        self.kind: Literal["context", "engine", "unsupported"] = kind


class EngineDead(EngineError):
    """The engine is broken and completes nothing more: the agent's process ends and is restarted."""


class EngineExhausted(EngineError):
    """A budget or quota is used up, or a file of the run is missing; the text is one line with what to do.

    The agent finishes its running requests and leaves. It is not restarted, and the class can be resumed.
    """


class EngineStartError(EngineError):
    """The engine cannot start, and a retry would not help; the text says in one to three lines what to do."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, at most 200 characters, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class EngineSettings(msgspec.Struct, frozen=True):
    """Configuration of an engine."""

    model: str
    """The model's name in the scenario."""
    folder: Path | None
    """Folder with safetensors, config and tokenizer; None for engines without a local model."""
    capacity: int
    """Number of requests that run at once; 0: the engine chooses."""
    threads: int
    """CPU threads this agent may use."""
    core_share: CoreShare | None = None
    """Says how many threads it may use while other agents are idle; None: as many as ever."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_context: int = 0
    """Tokens of prompt and completion together; 0: the model's own limit."""
    gpus: int = 0
    """Number of visible GPUs."""
    memory_share: float = 0.0
    """Share of the memory of each GPU, without the context of the process; 0: not decided."""
    cache_mb: int = 0
    """MB of each GPU for keys and values; 0: not decided."""
    seed: int = 0
    """For engines that draw from one stream; differs between the agents of a class."""
    weights_folder: str = ""
    """Folder of the run with trained weights, in subfolders named by digest; empty: there is none."""
    lora_rank: int = 0
    """Rank of the adapters among them; 0: the agent is not trained, or all its weights are."""
    sleeps: bool = False
    """The engine may stay on its GPU with little memory while the agent trains there."""
    keep_thoughts: bool = False
    """Leave the thoughts of reasoning models in the text: see agents/engines/thoughts.py."""
    options: dict[str, Any] = {}
    """`engine_args` of the scenario, unchanged."""


class Engine(Protocol):
    """The interface of all engines. An engine calls `on_progress(request_id, new_tokens)` from any thread."""

    @property
    def device(self) -> str:
        """Device as text, such as `cpu (1 thread)` or `cuda:0`; known after `start`."""

    @property
    def capacity(self) -> int:
        """Number of requests that run at once; known after `start`."""

    @property
    def spent(self) -> float | None:
        """Cost of its calls in this run, in the currency of its prices; None: it has no prices."""

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Load the model.

        Raises:
            EngineStartError: it cannot start.
        """

    async def generate(self, prompt: Prompt) -> Completion:
        """Complete one prompt. Calls run concurrently; beyond `capacity` they wait inside the engine.

        Raises:
            EngineFailure: this prompt has no completion; others continue.
            EngineDead: the engine completes nothing more.
            EngineExhausted: the engine may complete nothing more in this session.
        """

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """Score `solution` as the continuation of `prompt.begun`, with nothing in between; sample nothing.

        The tokens of `solution` are those in which the prompt with it differs from the prompt without it.
        `prompt.sampling` and `prompt.seed` have no effect.

        Raises:
            EngineFailure: as in `generate`; `unsupported` if the engine cannot score texts.
            EngineDead: the engine computes nothing more.
        """

    async def stop(self, *, again: bool = False) -> None:
        """Free the device's memory and end all threads. Safe to call twice.

        `again`: the engine starts again soon, and may keep a little memory and a process if this makes it faster.
        """
