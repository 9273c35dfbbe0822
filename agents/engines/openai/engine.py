"""Engine for models behind an OpenAI-compatible server: OpenAI, Azure, `vllm serve`, Ollama, LM Studio, llama.cpp.

Calls are streamed, so that every chunk shows progress. Transient failures are retried, and unsupported features are
replaced (capabilities.py). The key comes from the environment and appears in no message, log or error. The server
decides model, weights and precision.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from agents.engines import thoughts
from agents.engines.base import (
    Completion,
    EngineDead,
    EngineExhausted,
    EngineFailure,
    EngineSettings,
    EngineStartError,
    Prompt,
    Scored,
    Turn,
)
from agents.engines.openai import probe
from agents.engines.openai.budget import NotesFile, SpendingBudget
from agents.engines.openai.capabilities import FeatureSearch, ServerCapabilities
from agents.engines.openai.client import make_client
from agents.engines.openai.errors import (
    AnswerTooLarge,
    OutOfTokens,
    PromptTooLong,
    QuotaExceeded,
    RequestRefused,
    ServerError,
    TransientError,
    classify,
)
from agents.engines.openai.options import read_key, read_options
from agents.engines.openai.pacing import Pacer, backoff_s
from agents.engines.openai.reply import Reply, chunks
from agents.engines.openai.role_marks import break_role_marks
from broker.work_messages import Usage

log = logging.getLogger(__name__)

TOKENS_PER_TIMEOUT = 16
"""An answer may take `timeout_s`, and again for each so many tokens of `max_tokens`. This allows slow models, but not a
server that sends one character per minute."""
CLOSING_S = 1.0
"""Time for a stream to close after it reports its end; then the connection is dropped."""
KEY_LETTERS = 8
"""Number of letters by which the key is found in a text. Keys of one provider share their first letters."""
SIGN_OF_LIFE_S = 60.0
"""Interval of progress reports while a request waits on the server's demand."""


class OpenAIEngine:
    """See agents.engines.base.Engine. Tests pass `clock` and `sleep`."""

    device: str = ""
    capacity: int = 0

    def __init__(
        self,
        settings: EngineSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Check the arguments and read the key; `start` makes the first call.

        Raises:
            EngineStartError: an unknown argument, no key, or an unreadable ledger.
        """
        self._options = options = read_options(settings.options)
        self._model = settings.model
        self._keep_thoughts = settings.keep_thoughts
        self._key = read_key(options)
        self._budget = SpendingBudget(options)
        self._notes = NotesFile(options.notes)
        self._clock = clock
        self._sleep = sleep
        self._pace = Pacer(options.tokens_per_minute, clock, sleep)
        self._capabilities = ServerCapabilities(options.omit, lambda feature: self._notes.add(without=feature))
        self.device = f"server {options.host}"
        self.capacity = min(settings.capacity or options.max_parallel, options.max_parallel)
        self._seats = asyncio.Semaphore(self.capacity)
        self._client: Any = None
        self._completed = 0
        self._opens_thoughts = False
        """Whether the chat template opens thoughts if no answer is begun; an answer cut off in them has no mark."""
        self._logged: set[str] = set()
        """Warnings that were logged."""
        self._on_progress: Callable[[str, int], None] = lambda request_id, tokens: None

    @property
    def spent(self) -> float | None:
        """Cost of all calls of this run by the scenario's prices; None without prices."""
        return self._budget.spent if self._options.priced else None

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Make a few short calls to find out whether the server answers and what it supports."""
        self._client = make_client(self._options, self._key)
        try:
            await probe.find_out(self._call, self._capabilities, retries=self._options.retries, sleep=self._sleep)
        except (ServerError, EngineExhausted) as error:
            await self.stop()
            spent = isinstance(error, EngineExhausted)
            why = str(error) if spent else probe.explain(error, self._options, self._model)
            raise EngineStartError(why) from error
        self._on_progress = on_progress

    async def generate(self, prompt: Prompt) -> Completion:
        """Complete one prompt, with retries."""
        if prompt.weights:
            raise EngineFailure("unsupported", f"{self.device} cannot hold trained weights {prompt.weights[:12]}")
        taken = self._clock()
        if self._options.break_role_marks:
            prompt = self._with_broken_marks(prompt)
        async with self._seats:
            reply = await self._ask_until_answered(prompt)
        self._completed += 1
        if why := reply.withheld():
            raise EngineFailure("engine", self._without_key(why))
        if reply.is_cut:
            self._notes.add(answers_cut=1)
            log.warning(
                "%s: cut off after %d characters: no answer should be so long", prompt.request_id, len(reply.text)
            )
        usage = Usage(
            prompt_tokens=reply.prompt_tokens,
            cached_tokens=reply.cached_tokens,
            completion_tokens=reply.completion_tokens,
            thought_tokens=reply.thought_tokens,
            seconds=self._clock() - taken,
            finish_reason="length" if reply.finish_reason == "length" else "stop",
        )
        text = thoughts.without_begun(reply.text, prompt.begun)
        from_its_beginning = not (prompt.begun and self._capabilities.supports("prefill"))
        if self._opens_thoughts and from_its_beginning and reply.finish_reason == "length":
            text = text if thoughts.split(text).thoughts else thoughts.OPENING + text
        return thoughts.completion(text, prompt.begun, usage, keep=self._keep_thoughts)

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """Refuse: a chat API returns no log-probabilities of a given text."""
        raise EngineFailure(
            "unsupported",
            "a server tells no log-probabilities of a given text: exam.score: logprob needs vllm or transformers",
        )

    async def stop(self, *, again: bool = False) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None
            if self._options.priced:
                log.info("spent so far in this run: %.6g", self._budget.spent)

    # --- one request ------------------------------------------------------------------------------------

    async def _ask_until_answered(self, prompt: Prompt) -> Reply:
        tries, completed = 0, self._completed
        attempt = FeatureSearch(self._capabilities)
        while True:
            body = self._capabilities.body(prompt.turns, prompt.begun, prompt.sampling, prompt.seed, attempt.without)
            try:
                reply = await self._call(body, prompt.request_id)
                attempt.answered()
                return reply
            except PromptTooLong as error:
                raise EngineFailure("context", str(error)) from error
            except RequestRefused as error:
                if not attempt.refused(body, str(error)):
                    raise EngineFailure("engine", f"refused: the server refuses the request: {error}") from error
            except QuotaExceeded as error:
                raise EngineExhausted(f"the server's account is used up: {error}") from error
            except TransientError as error:
                tries += 1
                if tries > self._options.retries:
                    raise await self._final_error(error, tries, completed) from error
                log.info("%s: try %d: %s", prompt.request_id, tries, error)
                await self._wait(prompt.request_id, tries, error)
            except ServerError as error:
                raise await self._final_error(error, tries + 1, completed) from error

    async def _wait(self, request_id: str, attempt: int, error: TransientError) -> None:
        seconds = backoff_s(request_id, attempt)
        if error.wait_s is not None:
            if error.wait_s > probe.LONGEST_WAIT_S:
                raise EngineExhausted(f"the server wants no calls for {error.wait_s:.6g} s: {error}; resume after that")
            # All calls wait as long as the server says, and then resume one after another.
            self._pace.pause(error.wait_s)
            seconds = error.wait_s + seconds / 8
        while seconds > 0:
            if error.limited:
                self._on_progress(request_id, 0)
            await self._sleep(min(seconds, SIGN_OF_LIFE_S))
            seconds -= SIGN_OF_LIFE_S

    async def _final_error(self, error: ServerError, tries: int, completed: int) -> Exception:
        """Return what to raise after the last try: does the request fail, or the server?"""
        words = f"{error} (tried {tries} times)" if tries > 1 else str(error)
        if isinstance(error, TransientError) and error.limited:
            return EngineExhausted(
                f"the server takes no more calls: {words}; lower max_parallel or tokens_per_minute, resume"
            )
        if self._completed > completed or await self._answers():
            return EngineFailure("engine", words)
        return EngineDead(f"{self.device}: {words}")

    async def _answers(self) -> bool:
        """Whether the server answers any request."""
        try:
            await self._call(probe.body(self._capabilities, max_tokens=probe.FEWEST_TOKENS))
        except RequestRefused:
            return True
        except ServerError:
            return False
        return True

    # --- one call ---------------------------------------------------------------------------------------

    async def _call(self, body: dict[str, Any], request_id: str = "") -> Reply:
        """Make one call within pace and budget. Without a request id it is a probe and reports no progress.

        Raises:
            ServerError: the call has no answer.
            EngineExhausted: the budget is reached.
        """
        prompt_tokens = sum(len(message["content"]) for message in body["messages"]) // 4
        max_tokens = body.get("max_tokens") or body.get("max_completion_tokens") or 0
        await self._pace.admit(prompt_tokens + max_tokens)
        self._budget.check()
        reply = Reply(max_tokens)
        try:
            await self._receive(body, reply, max_tokens, request_id)
        finally:
            # The server also charges for an answer that broke off.
            if reply.started and not reply.counted:
                self._log_once("the server did not count the tokens of an answer: such figures are estimates")
                reply.prompt_tokens = prompt_tokens
            self._budget.pay(reply.prompt_tokens, reply.completion_tokens)
            self._pace.settle(prompt_tokens + max_tokens, reply.prompt_tokens + reply.completion_tokens)
        if body["messages"][-1]["role"] == "user" and thoughts.begins_inside(reply.text):
            self._opens_thoughts = True
        return reply

    async def _receive(self, body: dict[str, Any], reply: Reply, max_tokens: int, request_id: str) -> None:
        """Fill `reply` from the stream."""
        own = {name: body[name] for name in ("messages", "stream") if name in body}
        extra = {name: value for name, value in body.items() if name not in own}
        silence_s = self._options.timeout_s
        longest_s = silence_s * (1 + max_tokens / TOKENS_PER_TIMEOUT)
        clock = asyncio.get_running_loop().time
        completions = self._client.chat.completions.with_streaming_response
        try:
            async with (
                asyncio.timeout(longest_s) as limit,
                completions.create(model=self._model, **own, extra_body=extra) as answer,
            ):
                async for chunk in chunks(answer.iter_bytes(), reply.most_bytes):
                    if (tokens := reply.add(chunk)) and request_id:
                        self._on_progress(request_id, tokens)
                    if reply.is_cut:
                        return
                    if reply.finish_reason is not None:
                        # Counts may follow, and the end of the stream, after which the connection is reusable.
                        closing = clock() + (CLOSING_S if reply.is_over else silence_s)
                        limit.reschedule(min(limit.when() or closing, closing))
            if not self._capabilities.reports_end:
                reply.end()
            reply.check()
        except Exception as error:
            known = classify(error)
            if known is None:
                raise
            if isinstance(error, TimeoutError):
                known = AnswerTooLarge(f"the answer took longer than {longest_s:.0f} s")
            if isinstance(known, OutOfTokens):
                reply.started, reply.finish_reason, reply.completion_tokens = True, "length", max_tokens
            if reply.finish_reason is not None:
                # The answer is complete; only the rest of the stream is broken.
                return
            known.args = tuple(self._without_key(str(arg)) for arg in known.args)
            raise known from None

    def _without_key(self, words: str) -> str:
        """Mask the key, which some servers repeat; texts are cut, so its first letters must suffice."""
        return re.sub(rf"{re.escape(self._key[:KEY_LETTERS])}\S*", "***", words) if self._key else words

    def _with_broken_marks(self, prompt: Prompt) -> Prompt:
        turns = [(turn.role, *break_role_marks(turn.text)) for turn in prompt.turns]
        if marks := sum(count for _, _, count in turns):
            self._notes.add(role_marks_broken=marks)
            self._log_once(
                "role marks in texts, such as <|im_end|>, get a space; engine_args.break_role_marks: false leaves them"
            )
            prompt = msgspec.structs.replace(prompt, turns=tuple(Turn(role, text) for role, text, _ in turns))
        return prompt

    def _log_once(self, warning: str) -> None:
        if warning not in self._logged:
            self._logged.add(warning)
            log.warning(warning)
