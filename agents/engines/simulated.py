"""A model of a class, not of a language: item response theory in place of a network.

A TR has a hidden quality, a student an ability, an EP a difficulty; whether an exam answer is right is a draw
with logit(p) = ability + uptake x quality - difficulty. Everything is drawn from the request id and the texts,
so a class repeats exactly. It serves tests, scale and power analysis; its results say nothing about language
models. Right answers come from an answer key that the run hands to simulated agents alone: no message holds one.
"""

import asyncio
import math
import os
import random
import signal
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgpack
import msgspec
from msgspec import Meta

from agents.engines.base import Completion, EngineFailure, EngineStartError, Prompt, Settings
from broker.messages import AnswerForm, Examine, Usage, digest

Logits = Annotated[float, Meta(ge=-50, le=50)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `engine_args` of a simulated agent may hold."""

    ability: Logits = 0.0
    """Logits. At 0, an average problem is solved half of the time; for a student: under average teaching."""
    uptake: Logits = 1.5
    """Logits that an exam answer gains per unit of the TR's hidden quality."""
    separation: Logits = 1.5
    """How far the mean quality of TRs with a right TA lies above that of TRs with a wrong one (unit: their sd)."""
    tokens_per_second: Annotated[float, Meta(gt=0)] = 4000.0
    """Of each request; requests up to the capacity run side by side."""
    failure_rate: Share = 0.0
    """Share of requests that end as Failed."""
    unparsable_rate: Share = 0.02
    """Share of completions without an answer one can find."""
    crash_after: Annotated[int, Meta(ge=0)] = 0
    """The first process of this agent dies by SIGKILL when it takes this request, counted from 1; 0: never."""
    hang_after: Annotated[int, Meta(ge=0)] = 0
    """The first process of this agent makes no progress from this request on; 0: never."""
    answer_key: str = ""
    """File with the gold answers by digest of the problem; set by the run."""


def read_options(args: dict[str, Any]) -> Options:
    """`engine_args` as options.

    Raises:
        EngineStartError: an unknown name or a value out of bounds.
    """
    try:
        return msgspec.convert(args, Options)
    except msgspec.ValidationError as error:
        names = ", ".join(name for name in Options.__struct_fields__ if name != "answer_key")
        raise EngineStartError(f"simulated engine: engine_args: {error}\nit takes: {names}") from error


def write_answer_key(path: Path, answers: dict[str, str]) -> None:
    """Hand the gold answers (by problem text) to simulated agents: a file of this run that only its owner reads."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        msgpack.pack({digest(problem): answer for problem, answer in answers.items()}, file)


class SimulatedEngine:
    """An `Engine` that knows the answer key and the theory."""

    def __init__(self, settings: Settings) -> None:
        self._options = read_options(settings.options)
        self.device = "simulated"
        self.spent: float | None = None
        self.capacity = settings.capacity or 32
        self._seats = asyncio.Semaphore(self.capacity)
        self._taken = 0
        key = Path(self._options.answer_key)
        self._fault_mark = key.with_name(f"{key.name}.fault-{os.environ.get('LBT_AGENT', 'agent')}")
        self._on_progress: Callable[[str, int], None] = lambda request_id, tokens: None

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Nothing to load: the answer key is read with the first request, when it is sure to be there."""
        self._on_progress = on_progress

    async def generate(self, prompt: Prompt) -> Completion:
        """Draw whether the answer is right, and a text to match; takes as long as its tokens would.

        Raises:
            EngineFailure: drawn by `failure_rate`, or there is no answer key.
        """
        self._taken += 1
        await self._faults()
        draw = random.Random(prompt.request_id)  # noqa: S311 - a model of chance, not a secret
        if draw.random() < self._options.failure_rate:
            raise EngineFailure("engine", "simulated failure")
        text = self._answer(prompt, draw)
        wanted, limit = 12 + draw.randrange(36), prompt.sampling.max_tokens
        tokens = min(wanted, limit)
        text = text[: len(text) * tokens // wanted]
        seconds = tokens / self._options.tokens_per_second
        async with self._seats:
            await asyncio.sleep(seconds)
        self._on_progress(prompt.request_id, tokens)
        context = sum(len(turn.text) for turn in prompt.turns) // 4
        usage = Usage(
            prompt_tokens=context,
            completion_tokens=tokens,
            seconds=seconds,
            finish_reason="length" if wanted > limit else "stop",
        )
        return Completion(text, usage)

    @cached_property
    def _answers(self) -> dict[str, str]:
        path = Path(self._options.answer_key)
        try:
            return dict(msgpack.unpackb(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise EngineFailure("engine", f"simulated engine: no answer key at {path}: {error}") from error

    async def stop(self) -> None:
        """Nothing to give back."""

    # --- the theory -------------------------------------------------------------------------------------

    def _answer(self, prompt: Prompt, draw: random.Random) -> str:
        asked, options = prompt.asked, self._options
        if draw.random() < options.unparsable_rate:
            return f"Let me think about it (way {draw.randrange(50)})."
        logit = options.ability - difficulty(asked.problem)
        if isinstance(asked, Examine):
            logit += options.uptake * sum(self._quality(e.problem, e.rationale) for e in asked.material)
        right = draw.random() < 1 / (1 + math.exp(-logit))
        gold = self._answers.get(digest(asked.problem), "0")
        answer = gold if right else wrong_answer(gold, asked.answer_form, draw)
        # A handful of ways to say it: some TRs come out alike, as they do in life.
        return f"This is solved in way {draw.randrange(12)}.\nAnswer: {answer}"

    def _quality(self, problem: str, rationale: str) -> float:
        """Standard normal, drawn from the text; shifted by whether the TR's answer is right."""
        gold = self._answers.get(digest(problem))
        right = gold is not None and rationale.rstrip().endswith(f"Answer: {gold}")
        noise = random.Random(digest("quality", problem, rationale)).gauss(0, 1)  # noqa: S311
        return noise + (self._options.separation / 2 if right else -self._options.separation / 2)

    # --- faults, for the tests of the class -------------------------------------------------------------

    async def _faults(self) -> None:
        options, mark = self._options, self._fault_mark
        if not (options.crash_after or options.hang_after) or mark.exists():
            return
        if options.crash_after and self._taken >= options.crash_after:
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if options.hang_after and self._taken >= options.hang_after:
            mark.touch()
            await asyncio.Event().wait()


def difficulty(problem: str) -> float:
    """Logits; standard normal over problems, drawn from the text."""
    return random.Random(digest("difficulty", problem)).gauss(0, 1)  # noqa: S311


def wrong_answer(gold: str, form: AnswerForm, draw: random.Random) -> str:
    """One of a few wrong answers, the nearer ones more often: so that majorities can be wrong."""
    if form == "yes_no":
        return "No" if gold.strip().casefold() == "yes" else "Yes"
    slip = draw.choice((1, 1, 1, 2, 2, 10))
    try:
        return str(int(gold) + slip)
    except ValueError:
        return f"{gold} + {slip}" if form == "latex" else f"not-{slip}"
