"""Models behind an OpenAI-compatible server: OpenAI, Azure, `vllm serve`, Ollama, LM Studio, llama.cpp.

Calls are streamed, so that every chunk shows that a request moves on. What fails on the way is asked again; what the
server does not take is said another way (dialect.py); the key is read from the environment and stands in no
message, log or error. The model, its weights and their precision are whatever the server holds.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import openai

from agents.engines import thoughts
from agents.engines.base import (
    Completion,
    EngineDead,
    EngineFailure,
    EngineSpent,
    EngineStartError,
    Prompt,
    Scored,
    Settings,
)
from agents.engines.servers import probe
from agents.engines.servers.dialect import Dialect
from agents.engines.servers.errors import Passing, Quota, Refusal, TooLong, Trouble, trouble
from agents.engines.servers.key import read_key, without_library_variables
from agents.engines.servers.ledger import Ledger
from agents.engines.servers.options import read_options
from agents.engines.servers.pacing import Pace, backoff_s
from agents.engines.servers.reply import Reply, pieces
from broker.messages import Usage

log = logging.getLogger(__name__)

CONNECT_S = 10.0
SIGN_OF_LIFE_S = 60.0
"""While a request waits because the server said so, it counts as moving on this often."""


class OpenAIEngine:
    """See agents.engines.base.Engine. `clock` and `sleep` are handed in by tests."""

    device: str = ""
    capacity: int = 0

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Check the arguments and find the key; nothing is called before `start`.

        Raises:
            EngineStartError: an argument it does not take, no key, or no ledger.
        """
        self._options = options = read_options(settings.options)
        self._model = settings.model
        self._keep_thoughts = settings.keep_thoughts
        self._key = read_key(options)
        self._ledger = Ledger(options)
        self._clock = clock
        self._sleep = sleep
        self._pace = Pace(options.tokens_per_minute, clock, sleep)
        self._dialect = Dialect(options.omit)
        self.device = f"server {options.host}"
        self.capacity = min(settings.capacity or options.max_parallel, options.max_parallel)
        self._seats = asyncio.Semaphore(self.capacity)
        self._client: Any = None
        self._completed = 0
        self._opens_thoughts = False
        """Whether its chat template opens thoughts where no answer is begun: one that is cut off then has no mark."""
        self._counts = True
        """Whether the server counts tokens, for all we know."""
        self._on_progress: Callable[[str, int], None] = lambda request_id, tokens: None

    @property
    def spent(self) -> float | None:
        """What all calls of this run have cost, by the scenario's prices; None without prices."""
        return self._ledger.spent if self._options.priced else None

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Ask the server something short, to find out whether it answers, and what it takes."""
        # The HTTP library tells of every request; with it a log would hold little else.
        for chatty in ("httpx", "httpx2"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        try:
            with without_library_variables():
                self._client = openai.AsyncOpenAI(
                    base_url=self._options.base_url,
                    api_key=self._key or "none",
                    timeout=openai.Timeout(self._options.timeout_s, connect=min(CONNECT_S, self._options.timeout_s)),
                    max_retries=0,
                    # A redirect would take the prompts, and between some hosts the key, to a server nobody named.
                    http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
                )
        except (ImportError, ValueError) as error:  # a proxy of a kind it does not know, or no address at all
            proxies = ", ".join(sorted(name for name in os.environ if name.lower().endswith("_proxy")))
            raise EngineStartError(
                f"the proxy cannot be used: {str(error)[:200]}\n"
                f"change {proxies or 'the proxy'}, or set NO_PROXY to the server's host"
            ) from error
        try:
            await probe.find_out(self._call, self._dialect, retries=self._options.retries, sleep=self._sleep)
        except (Trouble, EngineSpent) as error:
            await self.stop()
            spent = isinstance(error, EngineSpent)
            why = str(error) if spent else probe.explain(error, self._options, self._model)
            raise EngineStartError(why) from error
        self._on_progress = on_progress

    async def generate(self, prompt: Prompt) -> Completion:
        """Complete one prompt, with as many tries as the options allow."""
        if prompt.weights:
            raise EngineFailure("unsupported", f"{self.device} cannot hold trained weights {prompt.weights[:12]}")
        taken = self._clock()
        async with self._seats:
            reply = await self._ask_until_answered(prompt)
        if reply.finish_reason == "content_filter":
            raise EngineFailure("engine", "the server's content filter withheld the answer")
        self._completed += 1
        usage = Usage(
            prompt_tokens=reply.prompt_tokens,
            cached_tokens=reply.cached_tokens,
            completion_tokens=reply.completion_tokens,
            thought_tokens=reply.thought_tokens,
            seconds=self._clock() - taken,
            finish_reason="length" if reply.finish_reason == "length" else "stop",
        )
        said = thoughts.without_begun(reply.text, prompt.begun)
        from_its_beginning = not (prompt.begun and self._dialect.takes("prefill"))
        if self._opens_thoughts and from_its_beginning and reply.finish_reason == "length":
            said = said if thoughts.split(said).thoughts else thoughts.OPENING + said
        return thoughts.completion(said, prompt.begun, usage, keep=self._keep_thoughts)

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """Not over a chat API: it tells log-probabilities of what it says, and none of what it is told."""
        raise EngineFailure(
            "unsupported",
            "a server tells no log-probabilities of a given text: exam.score: logprob needs vllm or transformers",
        )

    async def stop(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None
            if self._options.priced:
                log.info("spent so far in this run: %.6g", self._ledger.spent)

    # --- one request ------------------------------------------------------------------------------------

    async def _ask_until_answered(self, prompt: Prompt) -> Reply:
        attempt, completed = 0, self._completed
        while True:
            body = self._dialect.body(prompt.turns, prompt.begun, prompt.sampling, prompt.seed)
            try:
                return await self._call(body, prompt.request_id)
            except TooLong as error:
                raise EngineFailure("context", str(error)) from error
            except Refusal as error:
                if not self._dialect.learn(body, str(error)):
                    raise EngineFailure("engine", f"the server refuses it: {error}") from error
            except Quota as error:
                raise EngineSpent(f"the server's account is used up: {error}") from error
            except Passing as error:
                attempt += 1
                if attempt > self._options.retries:
                    raise await self._last_word(error, attempt, completed) from error
                log.info("%s: try %d: %s", prompt.request_id, attempt, error)
                await self._wait(prompt.request_id, attempt, error)
            except Trouble as error:
                raise await self._last_word(error, attempt + 1, completed) from error

    async def _wait(self, request_id: str, attempt: int, error: Passing) -> None:
        seconds = backoff_s(request_id, attempt)
        if error.wait_s is not None:
            if error.wait_s > probe.LONGEST_WAIT_S:
                raise EngineSpent(f"the server wants no calls for {error.wait_s:.0f} s: {error}; resume after that")
            # All calls wait as long as the server says; each then comes a little later, and not all at once.
            self._pace.pause(error.wait_s)
            seconds = error.wait_s + seconds / 8
        while seconds > 0:
            if error.limited:
                self._on_progress(request_id, 0)
            await self._sleep(min(seconds, SIGN_OF_LIFE_S))
            seconds -= SIGN_OF_LIFE_S

    async def _last_word(self, error: Trouble, tries: int, completed: int) -> Exception:
        """What to raise when a request was tried often enough: is it the request, or the server?"""
        words = f"{error} (tried {tries} times)" if tries > 1 else str(error)
        if isinstance(error, Passing) and error.limited:
            return EngineSpent(
                f"the server takes no more calls: {words}; lower max_parallel or tokens_per_minute, resume"
            )
        if self._completed > completed or await self._answers():
            return EngineFailure("engine", words)
        return EngineDead(f"{self.device}: {words}")

    async def _answers(self) -> bool:
        """Whether the server answers anything at all."""
        try:
            await self._call(probe.body(self._dialect))
        except Refusal:
            return True
        except Trouble:
            return False
        return True

    # --- one call ---------------------------------------------------------------------------------------

    async def _call(self, body: dict[str, Any], request_id: str = "") -> Reply:
        """Make one call, within pace and budget. Without a request id it is ours, and nobody's progress.

        Raises:
            Trouble: there is no answer.
            EngineSpent: the budget is reached.
        """
        prompt_tokens = sum(len(message["content"]) for message in body["messages"]) // 4
        expected = prompt_tokens + (body.get("max_tokens") or body.get("max_completion_tokens") or 0)
        await self._pace.admit(expected)
        self._ledger.check()
        reply = Reply()
        try:
            async for tokens in self._receive(body, reply):
                if request_id:
                    self._on_progress(request_id, tokens)
        finally:
            # Also for what broke off: it was generated, and is charged.
            if reply.begun and not reply.counted:
                self._note_estimate()
                reply.prompt_tokens = prompt_tokens
            self._ledger.pay(reply.prompt_tokens, reply.completion_tokens)
            self._pace.settle(expected, reply.prompt_tokens + reply.completion_tokens)
        if body["messages"][-1]["role"] == "user" and thoughts.begins_inside(reply.text):
            self._opens_thoughts = True
        return reply

    async def _receive(self, body: dict[str, Any], reply: Reply) -> AsyncIterator[int]:
        """Fill `reply` as it comes; yields how many tokens came each time."""
        own = {name: body[name] for name in ("messages", "stream") if name in body}
        extra = {name: value for name, value in body.items() if name not in own}
        try:
            answer = await self._client.chat.completions.create(model=self._model, **own, extra_body=extra)
            async for piece in pieces(answer):
                if tokens := reply.add(piece):
                    yield tokens
            reply.check()
        except Exception as error:
            known = trouble(error, time.time)
            if known is None:
                raise
            if reply.finish_reason is not None:
                # The answer is whole; what broke is what comes after it.
                return
            raise self._without_key(known) from None

    def _without_key(self, error: Trouble) -> Trouble:
        """Some servers repeat the key they were given."""
        if self._key:
            error.args = tuple(str(arg).replace(self._key, "***") for arg in error.args)
        return error

    def _note_estimate(self) -> None:
        if self._counts:
            self._counts = False
            log.warning("the server did not count the tokens of an answer: such figures are estimates")
