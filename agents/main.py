"""Main of every agent process: connect, load the engine, answer requests, drain, leave.

The client's thread owns the socket and the heartbeats, and the engine reports progress. This loop passes requests to
the handlers (agents/handlers.py) and results to the client.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path

import msgspec

from agents import engines, prompts
from agents.core_sharing import CoreShare
from agents.engines.base import Engine, EngineExhausted, EngineFailure, EngineSettings, EngineStartError
from agents.engines.lazy_engine import LazyEngine
from agents.engines.prefix_stats import PrefixStats
from agents.handlers import HANDLERS
from agents.models import trained_weights
from agents.spec import AgentSpec
from agents.training.coordinator import Postponed, TrainingCoordinator
from broker import child_process, logs
from broker.client import Client
from broker.delivery import Received
from broker.errors import EngineError
from broker.protocol import WORK, Drain, Hello, WireError, digest
from broker.work_messages import Failed, Feedback, Message, Train, Usage

log = logging.getLogger("agent")

POLL_S = 0.5
"""How long the loop waits for messages before it checks whether to end."""
CREDIT_PER_SLOT = 2
"""Requests that an agent holds per request that its engine runs, so that the next one is there when one ends."""
CREDIT_BEFORE_START = 32
"""Requests that an agent with a `lazy_start` engine takes: enough to see all waiting trainings."""
NO_USAGE = Usage()
"""Of a result that says nothing about its tokens."""
PATIENCE_S = 600.0
"""How long an invited agent waits for a broker that does not answer; the class may be resumed meanwhile."""


class AgentProcess:
    """A teacher or student process."""

    def __init__(self, spec: AgentSpec, engine: Engine, client: Client) -> None:
        self._spec = spec
        self._engine: Engine = PrefixStats(engine)
        self._client = client
        own = settings(spec)
        self._core_share = own.core_share
        self._training = TrainingCoordinator(spec, own, self._engine, self._start, client)
        self._started = False
        """Whether the engine has ever started."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._checked: set[str] = set()
        """Digests of trained weights that were checked."""
        self._checking = asyncio.Lock()
        self._broken: BaseException | None = None
        self._draining = False
        self._exhausted: EngineExhausted | None = None
        self._unwanted = False
        """Whether it ends since the broker refuses it or is gone."""

    async def run(self) -> int:
        """Serve until drained; return the exit code of the process."""
        if self._spec.invited:  # Ctrl-C at its host
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._drain)
        try:
            if not self._spec.lazy_start:
                await self._training.ensure_started()
            await self._serve()
        except EngineStartError as error:
            self._broken = error
        finally:
            self._training.cancel()
            await self._engine.stop()
        if isinstance(self._broken, EngineStartError) and not self._started:
            log.error("the engine cannot start: %s", one_line(self._broken))
            self._client.close(goodbye=str(self._broken))
            return child_process.NO_RESTART
        if self._broken:
            reason = one_line(self._broken) if isinstance(self._broken, EngineError) else repr(self._broken)
            log.error("the engine broke: %s", reason)
            return 1
        if self._exhausted:
            log.error("%s", one_line(self._exhausted))
            self._client.close(goodbye=str(self._exhausted))
            return child_process.NO_RESTART
        self._client.close(goodbye="drained")
        return child_process.NO_RESTART if self._unwanted else 0

    async def _start(self) -> None:
        """Start the engine, at first or after a training."""
        if not self._draining:
            self._client.beat(state="loading")
        await self._engine.start(self._progress)
        self._started = True
        log.info("ready on %s, %d requests at once", self._engine.device, self._engine.capacity)
        if not self._draining:
            self._client.beat(state="ready", credit=CREDIT_PER_SLOT * self._engine.capacity, spent=self._engine.spent)

    async def _serve(self) -> None:
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        def notify() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(arrived.set)

        self._client.on_receive(notify)
        arrived.set()  # something may have come before
        while not self._broken and not self._unwanted and not (self._draining and not self._tasks):
            look = loop.call_later(POLL_S, arrived.set)
            await arrived.wait()
            look.cancel()
            arrived.clear()
            for received in self._client.receive(0):
                match received.message:
                    case message if type(message).__name__ in WORK:
                        self._take(received)
                    case Feedback():
                        self._log_feedback(received.message)
                    case Drain(reason=reason):
                        if reason:
                            self._refuse(f"the broker refuses this agent: {reason}")
                        self._drain()
                    case _:
                        log.debug("nothing to do for %s", type(received.message).__name__)
            if self._spec.invited and (trouble := self._client.why_give_up(PATIENCE_S)):
                self._refuse(trouble)

    def _refuse(self, why: str) -> None:
        """The broker refuses this agent or is gone. One that the run started only leaves, as after any drain."""
        log.error("%s", why)
        self._unwanted = self._spec.invited

    def _drain(self) -> None:
        self._draining = True
        self._training.cancel()
        self._client.beat(state="draining", credit=0)

    def _take(self, received: Received) -> None:
        """Start a request, unless it is running already."""
        if received.request_id in self._tasks:
            return
        self._client.working.add(received.request_id)
        self._client.waiting.add(received.request_id)
        self._tasks[received.request_id] = asyncio.create_task(self._work(received))
        self._say_at_work()

    async def _work(self, received: Received) -> None:
        request_id = received.request_id
        result: Message | None = None
        try:
            result = await self._answer(request_id, received.message)
        except EngineExhausted as error:
            # The drain sends a heartbeat with this amount before the goodbye.
            self._client.beat(spent=self._engine.spent)
            # Without a result, the request returns to its pool at the goodbye, for a resumed class.
            self._exhausted = error
            self._drain()
        except Postponed:
            log.info("%s goes back to its pool", request_id)
        except EngineFailure as error:
            log.warning("%s: %s", request_id, error)
            result = Failed(kind=error.kind, detail=str(error)[:500])
        except Exception as error:
            # Any other exception means that the engine is broken: leave, to be restarted.
            if self._broken:  # all running requests fail alike; one traceback is enough
                log.error("%s: %s", request_id, one_line(error))
            else:
                log.exception("%s", request_id)
            self._broken = self._broken or error
            return
        if result is not None:
            self._report(request_id, result)
        self._client.working.discard(request_id)
        self._client.waiting.discard(request_id)
        del self._tasks[request_id]
        self._say_at_work()

    def _say_at_work(self) -> None:
        """Tell other agents on this machine whether this one needs its cores."""
        if self._core_share:
            self._core_share.set_at_work(bool(self._tasks))

    def _report(self, request_id: str, result: Message) -> None:
        usage: Usage = getattr(result, "usage", NO_USAGE)
        self._client.beat(
            spent=self._engine.spent, prompt_tokens=usage.prompt_tokens, cached_tokens=usage.cached_tokens
        )
        try:
            self._client.send(result, request_id=request_id, keep=True)
        except (ValueError, WireError) as error:
            # The result is too large for the wire, or not valid text.
            failed = Failed(kind="engine", detail=f"the completion cannot be sent: {str(error)[:300]}")
            self._client.send(failed, request_id=request_id, keep=True)

    async def _answer(self, request_id: str, request: Message) -> Message | None:
        """Return the result; None if it is reported already."""
        spec = self._spec
        if isinstance(request, Train) and spec.role == "teacher":
            await self._training.train(request_id, request, lambda trained: self._report(request_id, trained))
            return None
        answer = HANDLERS.get((spec.role, type(request)))
        if answer is None:
            raise EngineFailure("unsupported", f"a {spec.role} does not answer {type(request).__name__}")
        await self._training.begin_answering()
        try:
            return await answer(self._engine, spec.persona, request_id, await self._with_weights(request))
        finally:
            self._training.end_answering()

    async def _with_weights(self, request: Message) -> Message:
        """Check the trained weights of a request, and drop the name of base weights."""
        spec, weights = self._spec, getattr(request, "weights", "")
        if weights == spec.weights:
            return _without_weights(request)
        async with self._checking:
            if weights and weights not in self._checked:
                await asyncio.to_thread(trained_weights.find, spec.weights_folder, weights, spec.weights)
                self._checked.add(weights)
        return request

    def _log_feedback(self, feedback: Feedback) -> None:
        scores = ", ".join(f"{name} {score:.2f}" for name, score in feedback.lbt_scores.items())
        log.info("feedback on %s: %s; %d exam problems answered wrongly", feedback.about, scores, len(feedback.failed))

    def _progress(self, request_id: str, tokens: int) -> None:
        self._client.waiting.discard(request_id)
        self._client.beat(progress=(request_id,), completion_tokens=tokens)


@lru_cache(64)
def _without_weights(request: Message) -> Message:
    """The request to base weights. Copies of a student are asked the same, and one prompt is made of one object."""
    return msgspec.structs.replace(request, weights="")


def one_line(error: BaseException) -> str:
    """Return an error as one line for the end of the log, which a failed class prints."""
    return "; ".join(str(error).splitlines())


def connect(spec: AgentSpec) -> Client:
    """Start the client of an agent, so that the broker sees the agent before its engine is there.

    Raises:
        SecurityError: its keys are missing or open to others.
    """
    client = Client(spec.endpoint, hello(spec), keys=Path(spec.keys) if spec.keys else None)
    client.start()
    return client


def hello(spec: AgentSpec) -> Hello:
    """Return the first message of an agent."""
    return Hello(
        name=spec.name,
        role=spec.role,
        pool=spec.pool,
        answerer=spec.answerer,
        model=spec.model,
        engine=spec.engine,
        device=spec.device,
        prompts=spec.prompts,
        pid=os.getpid(),
        state="ready" if spec.lazy_start else "loading",
        credit=CREDIT_BEFORE_START if spec.lazy_start else 0,
    )


def settings(spec: AgentSpec) -> EngineSettings:
    """Return the settings of the agent's engine."""
    return EngineSettings(
        model=spec.model,
        folder=Path(spec.folder) if spec.folder else None,
        capacity=spec.capacity,
        threads=spec.threads,
        core_share=CoreShare(spec.core_seat) if spec.core_seat else None,
        dtype=spec.dtype,
        max_context=spec.max_context,
        gpus=spec.gpus,
        memory_share=spec.memory_share,
        cache_mb=spec.cache_mb,
        seed=prompts.seed_of(digest(spec.seed, spec.name)),
        weights_folder=spec.weights_folder,
        lora_rank=spec.lora_rank,
        sleeps=spec.sleeps,
        keep_thoughts=spec.thoughts == "keep",
        options=spec.engine_args,
    )


def main() -> int:
    """Run the agent of the spec on standard input, or with options join a class of another host."""
    if sys.argv[1:2] and sys.argv[1].startswith("-"):
        from agents.placement import invited

        return invited.main(sys.argv[1:])
    spec = child_process.receive(AgentSpec)
    logs.configure()
    client = connect(spec)  # before any heavy import
    log.info("loading %s", spec.model)

    def make() -> Engine:
        return engines.make(spec.engine, settings(spec))

    try:
        engine: Engine = LazyEngine(make) if spec.lazy_start else make()
    except EngineStartError as error:
        log.error("the engine cannot start: %s", one_line(error))
        client.close(goodbye=str(error))
        return child_process.NO_RESTART
    return asyncio.run(AgentProcess(spec, engine, client).run())


if __name__ == "__main__":
    sys.exit(main())
