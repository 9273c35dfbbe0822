"""Engine with an item response model in place of a language model.

A TR has a hidden quality, a student an ability, an EP a difficulty. An exam answer is right with
logit(p) = ability + uptake x quality - difficulty. All random draws come from the request id and the texts, so a class
repeats exactly. Use it for tests, scale and power analysis; its results say nothing about language models. Right
answers come from an answer key that only simulated agents get; no message contains one.
"""

import asyncio
import math
import os
import random
import signal
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path

import msgpack

from agents.engines.base import Completion, EngineExhausted, EngineFailure, EngineSettings, Prompt, Scored
from agents.engines.simulated import responses
from agents.engines.simulated.options import UPTAKE, read_options
from agents.models import trained_weights
from agents.placement.memory import REQUESTS_AT_ONCE
from broker.errors import ModelError
from broker.protocol import digest
from broker.work_messages import (
    AnswerForm,
    Ask,
    Examine,
    Exemplar,
    Explain,
    Invent,
    Judge,
    Reflect,
    Revise,
    Teach,
    Usage,
)

EXPLAINED = 0.5
"""Logits per unit of quality that uptake gains if the student's question about the material was answered."""
MISCONCEPTION = 3.0
"""Logits that a misconception costs."""
OWN = 2.0
"""Logits by which it is easier to label an item that the agent invented than to solve an average problem."""

STEP_S = 0.001
"""Shorter answers take no time."""
PAUSE_S = 0.02
"""Time between two looks for the file of `pause_while`."""


class SimulatedEngine:
    """An `Engine` that knows the answer key and the theory."""

    def __init__(self, settings: EngineSettings) -> None:
        self._options = read_options(settings.options)
        self.device = "simulated"
        self.spent: float | None = None
        self.capacity = settings.capacity or REQUESTS_AT_ONCE["simulated"]["cpu"]
        self._seats = asyncio.Semaphore(self.capacity)
        self._taken = 0
        self._rng = random.Random()  # noqa: S311 - a model of chance, not a secret
        """The random numbers of one request, which draws all of them before another one does."""
        self._weights_folder = settings.weights_folder
        key = Path(self._options.answer_key)
        self._fault_mark = key.with_name(f"{key.name}.fault-{os.environ.get('LBT_AGENT', 'agent')}")
        self._on_progress: Callable[[str, int], None] = lambda request_id, tokens: None
        # Every exam with a set needs its quality.
        self._quality = lru_cache(4096)(self._mean_quality)

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Load nothing: the answer key is read with the first request, when it certainly exists."""
        self._on_progress = on_progress

    async def generate(self, prompt: Prompt) -> Completion:
        """Draw whether the answer is right, and a text to match; sleep for the time of its tokens.

        Raises:
            EngineFailure: a failure drawn with `failure_rate`.
            EngineExhausted: there is no answer key.
        """
        rng = await self._take(prompt)
        text = self._answer(prompt, rng)
        wanted, limit = 12 + rng.randrange(36), prompt.sampling.max_tokens
        if not isinstance(prompt.request, (Teach, Examine)):
            wanted = len(text) // 4 + 1
        tokens = min(wanted, limit)
        text = text[: len(text) * tokens // wanted]
        seconds = tokens / self._options.tokens_per_second
        # The loop's clock has steps of a millisecond, and waiting costs more than the rest of a short answer.
        if seconds >= STEP_S:
            async with self._seats:
                await asyncio.sleep(seconds)
        self._on_progress(prompt.request_id, tokens)
        usage = Usage(
            prompt_tokens=_length(prompt),
            completion_tokens=tokens,
            seconds=seconds,
            finish_reason="length" if wanted > limit else "stop",
        )
        return Completion(text, usage)

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """Return the log-probability of a right answer: a teaching effect without noise.

        Raises:
            EngineFailure: a failure drawn with `failure_rate`, or the request has no right answer.
            EngineExhausted: there is no answer key.
        """
        await self._take(prompt)
        if not isinstance(prompt.request, (Teach, Examine)):
            raise EngineFailure("unsupported", f"there is no right answer to {type(prompt.request).__name__}")
        logit = self._logit(prompt.request)
        tokens = max(1, len(solution) // 4)
        self._on_progress(prompt.request_id, 0)
        usage = Usage(prompt_tokens=_length(prompt) + tokens)
        return Scored(min(logit, 0.0) - math.log1p(math.exp(-abs(logit))), tokens, usage)

    async def _take(self, prompt: Prompt) -> random.Random:
        """Apply injected faults and failures, and return the random numbers of the request."""
        self._taken += 1
        if self._options.pause_while:
            await self._pause(prompt.request_id, self._taken)
        if self._options.crash_after or self._options.hang_after:
            await self._faults()
        rng = self._rng
        rng.seed(prompt.request_id)  # as a new Random, which takes longer to make
        if rng.random() < self._options.failure_rate:
            raise EngineFailure("engine", "simulated failure")
        return rng

    @cached_property
    def _answers(self) -> dict[str, str]:
        path = Path(self._options.answer_key)
        try:
            return dict(msgpack.unpackb(path.read_bytes()))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else f"it is damaged: {error}"
            raise EngineExhausted(f"there is no answer key at {path}: {why}; a resumed class writes it anew") from error

    async def stop(self, *, again: bool = False) -> None:
        """Do nothing: the engine holds no resources."""

    # --- the model --------------------------------------------------------------------------------------

    def _answer(self, prompt: Prompt, rng: random.Random) -> str:
        """Return the text that continues the begun answer."""
        unparsable = rng.random() < self._options.unparsable_rate
        match prompt.request:
            case Revise(problem="") as asked:
                whole = responses.write_set(asked, self._aim(asked, rng), self._share_of_own(asked.weights), rng)
                whole = responses.spoiled(asked, whole, rng) if unparsable else whole
                return whole.removeprefix(prompt.begun)
            case Reflect() as asked:
                return "" if unparsable else responses.reflect(asked, rng).removeprefix(prompt.begun)
            case Ask():
                return f" Why does step {rng.randrange(9) + 1} follow?"
            case Explain():
                return f" It follows from the line before, by rule {rng.randrange(50)}."
            case Invent(problem=problem):
                return "" if unparsable else responses.write_problem(problem, rng)
            case _ if unparsable:
                return f"Let me think about it (way {rng.randrange(50)})."
            case Revise() as asked:
                return self._revised(asked, rng)
            case Judge(solutions=(solution,)) as asked:
                return responses.judged(right=self._right(Exemplar(asked.problem, solution)), rng=rng)
            case Judge() as asked:
                return responses.most_consistent(asked.solutions)
            case Teach() | Examine() as asked:
                return self._solved(asked, rng)

    def _logit(self, asked: Teach | Examine) -> float:
        """Return the logit of a right answer."""
        options = self._options
        logit = self._ability(asked.weights) - difficulty(asked.problem)
        material = asked.material if isinstance(asked, Examine) else ()
        if isinstance(asked, Examine) and material:
            logit += (options.uptake + EXPLAINED * bool(asked.dialogue)) * self._quality(material)
        if responses.misjudged(asked.problem, options.misconception) and not self._corrected(asked.problem, material):
            logit -= MISCONCEPTION
        return logit

    def _solved(self, asked: Teach | Examine, rng: random.Random) -> str:
        sneaky = self._options.sneaky and isinstance(asked, Teach)
        right = rng.random() < sigmoid(self._logit(asked)) and not sneaky
        answer = self._choose_answer(asked, right=right, rng=rng)
        # Few wordings, so that some TRs are identical, as with language models.
        said = responses.marked_answer(answer, asked.answer_form)
        ways = [f"This is solved in way {rng.randrange(12)}.\n{said}" for _ in range(3 if sneaky else 1)]
        if len(ways) == 1:
            return ways[0]
        return min(ways, key=lambda way: responses.noise(asked.problem, way))

    def _revised(self, asked: Revise, rng: random.Random) -> str:
        """Return a new rationale, mostly with the old answer, else with a new solution."""
        kept = rng.random() < responses.KEPT
        right = rng.random() < sigmoid(self._ability(asked.weights) - difficulty(asked.problem))
        old = responses.answer_of(asked.material[0].solution) if asked.material else ""
        answer = self._choose_answer(asked, right=right and not self._options.sneaky, rng=rng)
        return responses.write_rationale(asked, self._aim(asked, rng), old if kept and old else answer, rng)

    def _choose_answer(self, asked: Teach | Examine | Revise, *, right: bool, rng: random.Random) -> str:
        gold = self._answers.get(_key(asked.problem)) or responses.invented_answer(asked.problem, asked.answer_form)
        return gold if right else wrong_answer(gold, asked.answer_form, rng)

    def _aim(self, asked: Revise, rng: random.Random) -> float:
        return (
            responses.SNEAKY
            if self._options.sneaky
            else responses.aim(asked, self._options.revision_gain / UPTAKE, rng)
        )

    def _share_of_own(self, weights: str) -> float:
        """Return the share of invented exemplars with a right answer."""
        return 0.0 if self._options.sneaky else sigmoid(self._ability(weights) + OWN)

    def _ability(self, weights: str) -> float:
        """Return the ability of the agent with these weights; see training.py."""
        if not weights:
            return self._options.ability
        try:
            return self._options.ability + trained_weights.read_simulated(Path(self._weights_folder) / weights).gain
        except ModelError as error:
            raise EngineFailure("unsupported", f"no trained weights of a simulated agent: {error}") from error

    def quality(self, problem: str, rationale: str) -> float:
        """Return how well students learn from a rationale, in standard deviations."""
        return self._quality((Exemplar(problem, rationale),))

    def _mean_quality(self, material: tuple[Exemplar, ...]) -> float:
        """Return the mean quality of a set, in standard deviations of single exemplars; right answers raise it."""
        shift = self._options.separation / 2
        noise = (responses.noise(one.problem, one.solution) for one in material)
        return sum(n + (shift if self._right(one) else -shift) for n, one in zip(noise, material, strict=True)) / len(
            material
        )

    def _right(self, exemplar: Exemplar) -> bool:
        answer = responses.answer_of(exemplar.solution).casefold()
        form: AnswerForm = "yes_no" if answer in ("yes", "no") else "number"
        gold = self._answers.get(digest(exemplar.problem)) or responses.invented_answer(exemplar.problem, form)
        return answer == gold.casefold()

    def _corrected(self, problem: str, material: tuple[Exemplar, ...]) -> bool:
        """Whether the material has a right example of the problem's topic."""
        about = responses.feature(problem)
        return any(responses.feature(one.problem) == about and self._right(one) for one in material)

    # --- injected faults, for tests ----------------------------------------------------------------------

    async def _pause(self, request_id: str, number: int) -> None:
        """Wait while there is a file that says so; to the broker, the request is under way."""
        while number > self._options.pause_after and self._paused():
            self._on_progress(request_id, 0)
            await asyncio.sleep(PAUSE_S)

    def _paused(self) -> bool:
        return Path(self._options.pause_while).exists()

    async def _faults(self) -> None:
        options, mark = self._options, self._fault_mark
        if mark.exists():
            return
        if options.crash_after and self._taken >= options.crash_after:
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if options.hang_after and self._taken >= options.hang_after:
            mark.touch()
            await asyncio.Event().wait()


def _length(prompt: Prompt) -> int:
    """Estimate the tokens of a prompt."""
    return sum([len(turn.text) for turn in prompt.turns]) // 4


@lru_cache(4096)
def _key(problem: str) -> str:
    """The key of a problem in the answer key."""
    return digest(problem)


def sigmoid(logit: float) -> float:
    """Return the probability of a logit."""
    return 1 / (1 + math.exp(-logit))


@lru_cache(65_536)
def difficulty(problem: str) -> float:
    """Return the difficulty in logits: standard normal over problems, drawn from the text."""
    return random.Random(digest("difficulty", problem)).gauss(0, 1)  # noqa: S311


def wrong_answer(gold: str, form: AnswerForm, rng: random.Random) -> str:
    """Return one of a few wrong answers, some more often than others, so that majorities can be wrong."""
    if form == "yes_no":
        return "No" if gold.strip().casefold() == "yes" else "Yes"
    slip = rng.choice((1, 1, 1, 2, 2, 10))
    if form == "code":
        return responses.wrong_program(gold, slip)
    try:
        return str(int(gold) + slip)
    except ValueError:
        return f"{gold} + {slip}" if form == "latex" else f"not-{slip}"
