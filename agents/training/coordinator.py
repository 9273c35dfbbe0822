"""The teacher learns: a `Train` request, from the moment its engine must make room until it is back.

Requests that run end first, and those that come meanwhile wait. The engine gives its memory back, and a process of its
own trains (agents/training), one training after the other; what that says goes out as `Progress`. However they end, the
engine starts again with the weights it was born with: the new ones lie in the run's folder, and requests name them. A
training that dies goes on at its checkpoint, here or in the next process of this agent.
"""

import asyncio
import contextlib
import logging
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from agents.engines.base import Engine, EngineFailure, Settings
from agents.models import trained_weights
from agents.spec import AgentSpec
from agents.training import process
from agents.training.spec import Done, Refused, TrainingEvent, TrainingSpec, TrainingStep
from broker.client import Client
from broker.protocol import digest
from broker.work_messages import Progress, Train, Trained

log = logging.getLogger("agent")

TRIES = 3
"""Times that a training which dies is started, if it came further each time; the first time in any case."""
FIGURES = ("loss", "reward_margin", "reward_accuracy", "seconds", "peak_memory_mb")


class Postponed(Exception):
    """The agent leaves before this is done: no result, so the request goes back to its pool."""


class Trainee:
    """The engine of one teacher, shared between answering and training. At first it is not started.

    Args:
        spec: who it is.
        settings: what its engine was told.
        engine: stopped before a training.
        start: starts it, for the first time and again.
        client: hears how the training goes.
    """

    def __init__(
        self, spec: AgentSpec, settings: Settings, engine: Engine, start: Callable[[], Awaitable[None]], client: Client
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._engine = engine
        self._start = start
        self._client = client
        self._open = asyncio.Event()
        """Clear from the moment that a training wants the engine's memory until nobody wants it any more."""
        self._open.set()
        self._idle = asyncio.Event()
        """Set while nothing is being answered."""
        self._idle.set()
        self._answering = 0
        self._lessons = 0
        """Trainings that run or wait."""
        self._queue = 0
        """Those of them that need nothing more to begin."""
        self._one_at_a_time = asyncio.Lock()
        """Of trainings and starts of the engine."""
        self._away = True
        """Whether the engine is stopped."""
        self._process: subprocess.Popen[bytes] | None = None
        """That trains, or trained last."""
        self._given_up = False

    async def bring(self) -> None:
        """Have the engine there, unless a training wants its memory or nothing is to be done any more.

        Raises:
            Exception: it does not start.
        """
        async with self._one_at_a_time:
            if self._away and not self._lessons and not self._given_up:
                try:
                    await self._start()
                except Exception:
                    self._given_up = True
                    raise
                self._away = False

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """While this lasts, the engine is there and no training begins. Waits for the end of those that were asked for.

        Raises:
            Postponed: the engine will not come back.
            Exception: it does not start.
        """
        while self._away or not self._open.is_set():
            await self._open.wait()
            if self._away and self._given_up:
                raise Postponed
            await self.bring()
        self._answering += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._answering -= 1
            if not self._answering:
                self._idle.set()

    def give_up(self) -> None:
        """Train no more. What trains is killed, and goes on at its checkpoint when it is asked for again."""
        self._given_up = True
        if self._process:
            self._process.kill()

    async def train(self, request_id: str, request: Train, report: Callable[[Trained], None]) -> None:
        """Train as asked, `report` the new weights, and have the engine back.

        Raises:
            EngineFailure: there are no new weights, and why; what was trained on is as it was.
            Postponed: it was given up.
            Exception: the engine does not start again.
        """
        self._lessons += 1
        self._open.clear()
        try:
            told = await asyncio.to_thread(self._told, request_id, request)
            said = await self._alone(request_id, told)
            if isinstance(said, Done):
                # Before the engine is back: what comes next can be made ready meanwhile.
                report(_trained(said))
        finally:
            self._lessons -= 1
            # Where another training waits, the engine need not come back for the moment between the two.
            if not self._lessons:
                self._open.set()
                await self.bring()
        if said is None:
            raise Postponed
        if isinstance(said, Refused):
            # Who reads it knows the recipe by its place in a scenario.
            raise EngineFailure("engine", said.failed.replace("recipe.", "learn.training."))

    async def _alone(self, request_id: str, told: TrainingSpec) -> Done | Refused | None:
        """One training after the other, while nothing is answered and the engine is stopped; None: given up."""
        self._queue += 1
        async with self._one_at_a_time:
            self._queue -= 1
            await self._idle.wait()
            if not self._given_up:
                if not self._away:
                    self._away = True
                    await self._engine.stop()
                return await self._learn(request_id, told)
            if self._process and self._process.poll() is None:  # kept for this one
                await asyncio.to_thread(process.end, self._process)
            return None

    def _told(self, request_id: str, request: Train) -> TrainingSpec:
        spec = self._spec
        if spec.engine == "openai":
            raise EngineFailure("unsupported", f"{spec.name} is at a server, and cannot be trained")
        if not (spec.training_folder and spec.weights_folder):
            raise EngineFailure("unsupported", f"{spec.name} has no folder to train in")
        if Path(request.pairs).name != request.pairs:
            raise EngineFailure("unsupported", f"pairs: {request.pairs[:100]} is no name of a file")
        folder, base, adapter = spec.folder, spec.weights, ""
        if request.weights not in ("", spec.weights):
            on = trained_weights.find(spec.weights_folder, request.weights, spec.weights)
            if not trained_weights.is_complete(on):
                adapter = str(on)
            elif request.recipe.lora:
                raise EngineFailure("unsupported", "weights that were trained as a whole are trained on as a whole")
            else:
                folder, base = str(on), request.weights
        training = Path(spec.training_folder)
        return TrainingSpec(
            folder=folder,
            base=base,
            adapter=adapter,
            pairs=str(training / request.pairs),
            pairs_digest=request.pairs_digest,
            recipe=request.recipe,
            persona=spec.persona,
            dtype=spec.dtype,
            threads=spec.threads,
            out=spec.weights_folder,
            # By what is trained: asked again after a death or a failure, it finds its checkpoint.
            work=str(training / digest(request.weights, request.pairs_digest or request_id, request.recipe)[:32]),
        )

    async def _learn(self, request_id: str, told: TrainingSpec) -> Done | Refused | None:
        """One training, started again where it died on its way; None: given up."""
        # Said no sooner: who is loading gets no more requests, and a training that is asked for right after this one
        # must find the engine away, and not have to wait until it was started in between.
        if not self._given_up:
            self._client.beat(state="loading")
        reached = -2  # before its first step a training is at -1
        for tries in range(1, TRIES + 1):
            step, said = await asyncio.to_thread(self._listen, request_id, told)
            if isinstance(said, Done):
                return said
            if self._given_up:
                return None
            died = self._process is not None and (self._process.returncode or 0) < 0
            log.warning("the training ended after step %d: %s", step, said.failed)
            if not died or step <= reached or tries == TRIES:
                return said
            reached = step
        raise AssertionError("the last try returns")

    def _listen(self, request_id: str, told: TrainingSpec) -> tuple[int, Done | Refused]:
        """Pass on what one process says, up to its end; the step it came to, and its last word."""
        step = -1
        end: Done | Refused = Refused(failed="given up")
        try:
            for said in self._lesson(told):
                if isinstance(said, TrainingStep):
                    step = said.step
                    self._client.beat(state=None if self._given_up else "training", progress=(request_id,))
                    # The word before the first step says how long loading took, and has no loss to tell of.
                    names = ("loading_s",) if said.loading_s else FIGURES
                    figures = {name: float(getattr(said, name)) for name in names}
                    self._client.send(Progress(step=step, steps=said.steps, figures=figures), request_id=request_id)
                else:
                    end = said
                if self._given_up and not self._process:
                    break
        except OSError as error:
            return step, Refused(failed=f"the training cannot be started: {error}")
        return step, end

    def _lesson(self, told: TrainingSpec) -> Iterator[TrainingEvent]:
        """What a new process says, or for a simulated agent what it would say."""
        if self._spec.engine == "simulated":
            from agents.engines.simulated import training

            return training.train(told, self._settings)
        if self._process and self._process.poll() is None:
            process.go_on(self._process, told)
        else:
            self._process = process.start(told, Path(self._spec.training_folder) / f"{self._spec.name}.log")
        if self._given_up:
            self._process.kill()
        return process.hear(self._process, keep=lambda: self._queue > 0)


def _trained(said: Done) -> Trained:
    figures = said.figures | {"pairs_too_long": float(said.too_long)}
    return Trained(trained=said.trained, pairs=said.pairs, steps=said.steps, seconds=said.seconds, figures=figures)
