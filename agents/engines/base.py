"""What an engine is: prompts in, completions out, each as it ends; and how likely it finds a text it is given.

One engine per process. An engine batches inside: the agent calls `generate` or `logprobs` once per request, many at
a time, and requests join and leave the running batch. An engine knows nothing of brokers, classes or grades.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from broker.errors import EngineError
from broker.work_messages import Ask, Examine, Explain, Reflect, Revise, Sampling, Teach, Usage

Question = Teach | Examine | Reflect | Revise | Ask | Explain
"""Requests that are answered by completing a prompt."""


class Turn(msgspec.Struct, frozen=True):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    text: str


class Prompt(msgspec.Struct, frozen=True):
    """What an engine completes.

    The turns are laid out so that prompts of one TR share everything but the last user turn: an engine that
    caches prefixes pays for the teaching material once.
    """

    request_id: str
    turns: tuple[Turn, ...]
    begun: str
    """How the assistant's answer begins; the completion goes on from there and does not repeat it."""
    sampling: Sampling
    seed: int
    """From the request id: the same request draws the same numbers, as far as the engine allows."""
    asked: Question
    """The request itself, for engines that model a class and not a language (simulated)."""
    structure: str | None = None
    """A regular expression that the whole completion should match, for engines that can keep to one; others ignore
    it, so whoever reads the text checks it all the same."""
    weights: str = ""
    """Digest of the trained weights that must complete it; empty: those that the agent was born with."""


class Completion(msgspec.Struct, frozen=True):
    """What came of a prompt."""

    text: str
    """Without the begun part, without special tokens, and, unless they are kept, without thoughts."""
    usage: Usage


class Scored(msgspec.Struct, frozen=True):
    """How likely a model finds a given text, to go on with after a prompt."""

    logprob: float
    """Mean over the text's tokens of their log-probability, in nats: of the model's own distribution, at temperature 1
    and with no token left out."""
    tokens: int
    """How many the text has."""
    usage: Usage
    """The text counts to the prompt: nothing is completed."""


class EngineFailure(EngineError):
    """This request cannot be completed; the engine itself goes on. Becomes `Failed(kind, detail)`."""

    def __init__(self, kind: Literal["context", "engine", "unsupported"], detail: str) -> None:
        super().__init__(detail)
        self.kind: Literal["context", "engine", "unsupported"] = kind


class EngineDead(EngineError):
    """The engine is broken and will complete nothing more: the agent's process ends and is restarted."""


class EngineExhausted(EngineError):
    """A budget or a quota is used up, or a file of the run is gone: one line, what it is and what to do to go on.

    The agent finishes what is under way and leaves; it is not restarted, and the class can be resumed.
    """


class EngineStartError(EngineError):
    """The engine cannot start, and would not on another try: one to three lines, what is wrong and what to do."""


class Settings(msgspec.Struct, frozen=True):
    """All an engine is told when it is made."""

    model: str
    """The name the user gave."""
    folder: Path | None
    """Where its safetensors, config and tokenizer are; None for engines without a local model."""
    capacity: int
    """How many requests are run at once; 0: the engine chooses."""
    threads: int
    """CPU threads this agent may use."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_context: int = 0
    """Tokens of prompt and completion together; 0: the model's own limit."""
    gpus: int = 0
    """How many GPUs it sees; 0: none."""
    memory_share: float = 0.0
    """Of each of its GPUs; 0: not settled."""
    seed: int = 0
    """For engines that draw from one stream: differs between the agents of a class."""
    weights_folder: str = ""
    """Where the run keeps trained weights, in folders named by their digests; empty: it has none."""
    keep_thoughts: bool = False
    """Leave the thoughts of reasoning models in the text: see agents/engines/thoughts.py."""
    options: dict[str, Any] = {}
    """`engine_args` of the scenario, passed on as they are."""


class Engine(Protocol):
    """The engines' common face. `on_progress(request_id, new_tokens)` is called from any thread as tokens come."""

    @property
    def device(self) -> str:
        """What it runs on, for people: `cpu (1 thread)`, `cuda:0`; known after `start`."""

    @property
    def capacity(self) -> int:
        """How many requests it runs at once; known after `start`."""

    @property
    def spent(self) -> float | None:
        """What its calls have cost in this run, in the currency of its prices; None: nothing costs anything."""

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Load the model.

        Raises:
            EngineStartError: it cannot start, and why.
        """

    async def generate(self, prompt: Prompt) -> Completion:
        """Complete one prompt. Called concurrently, also more than `capacity` times: then some wait inside.

        Raises:
            EngineFailure: this prompt has no completion; other prompts go on.
            EngineDead: nothing will be completed any more.
            EngineExhausted: nothing may be completed any more in this session.
        """

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """How likely the model finds it that the begun answer goes on with `solution`; draws nothing.

        `solution` follows on `prompt.begun` with nothing in between. Its tokens are those by which the prompt with it
        differs from the prompt without it. `prompt.sampling` and `prompt.seed` do not matter. Called like `generate`.

        Raises:
            EngineFailure: as in `generate`; `unsupported` where the engine cannot tell.
            EngineDead: nothing will be completed any more.
        """

    async def stop(self) -> None:
        """Give back the device's memory and end every thread. Safe to call twice."""
