"""Coordinates trainings with the engine of a teacher, which must free its memory for them.

Running requests end first, and new ones wait. The engine stops, and the training process runs one training after the
other; its events go out as `Progress`. Then the engine starts again with its base weights: the new weights are in the
run's folder, and requests name them. A training that dies continues from its checkpoint, in this process of the agent
or in the next one.
"""

import asyncio
import logging
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from agents.engines.base import Engine, EngineFailure, EngineSettings
from agents.models import trained_weights
from agents.spec import AgentSpec
from agents.training import process
from agents.training.spec import TrainingAborted, TrainingDone, TrainingEvent, TrainingSpec, TrainingStep
from broker import child_process
from broker.client import Client
from broker.protocol import digest
from broker.work_messages import Progress, Train, Trained

log = logging.getLogger("agent")

TRIES = 3
"""How often a dying training is started, as long as it makes progress."""
FIGURES = ("loss", "reward_margin", "reward_accuracy", "seconds", "peak_memory_mb")


class Postponed(Exception):
    """The agent leaves before the request is done; the request returns to its pool."""


class TrainingCoordinator:
    """Shares a teacher's engine between answering and training. At first the engine is stopped.

    Args:
        spec: spec of the agent.
        settings: settings of its engine.
        engine: the engine, which is stopped before a training.
        start: starts the engine.
        client: sends the progress of trainings.
    """

    def __init__(
        self,
        spec: AgentSpec,
        settings: EngineSettings,
        engine: Engine,
        start: Callable[[], Awaitable[None]],
        client: Client,
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._engine = engine
        self._start = start
        self._client = client
        self._available = asyncio.Event()
        """Clear while a training needs the engine's memory."""
        self._available.set()
        self._idle = asyncio.Event()
        """Set while no request is being answered."""
        self._idle.set()
        self._answering = 0
        self._trainings = 0
        """Number of trainings that run or wait."""
        self._ready = 0
        """Number of those that could begin at once."""
        self._exclusive = asyncio.Lock()
        """Held by a training or a start of the engine."""
        self._stopped = True
        """Whether the engine is stopped."""
        self._process: subprocess.Popen[bytes] | None = None
        """The current or last training process."""
        self._cancelled = False

    async def ensure_started(self) -> None:
        """Start the engine, unless it runs, a training needs its memory, or the agent leaves.

        Raises:
            Exception: the engine does not start.
        """
        async with self._exclusive:
            if self._stopped and not self._trainings and not self._cancelled:
                try:
                    await self._start()
                except Exception:
                    self._cancelled = True
                    raise
                self._stopped = False

    async def begin_answering(self) -> None:
        """Wait for all trainings, then hold the engine ready until `end_answering`; no training begins meanwhile.

        Raises:
            Postponed: the engine will not start again.
            Exception: the engine does not start.
        """
        while self._stopped or not self._available.is_set():
            await self._available.wait()
            if self._stopped and self._cancelled:
                raise Postponed
            await self.ensure_started()
        self._answering += 1
        self._idle.clear()

    def end_answering(self) -> None:
        """One request less is being answered."""
        self._answering -= 1
        if not self._answering:
            self._idle.set()

    def cancel(self) -> None:
        """Kill a running training and begin no other. A later request continues from the checkpoint."""
        self._cancelled = True
        if self._process:
            self._process.kill()

    async def train(self, request_id: str, request: Train, report: Callable[[Trained], None]) -> None:
        """Train, `report` the new weights, and start the engine again.

        Raises:
            EngineFailure: there are no new weights; pairs and old weights are unchanged.
            Postponed: the training was cancelled.
            Exception: the engine does not start again.
        """
        self._trainings += 1
        self._available.clear()
        try:
            spec = await asyncio.to_thread(self._training_spec, request_id, request)
            outcome = await self._train_exclusively(request_id, spec)
            if isinstance(outcome, TrainingDone):
                # Before the engine starts, so that the class can prepare the next requests.
                report(_trained(outcome))
        finally:
            self._trainings -= 1
            # If another training waits, the engine need not start in between.
            if not self._trainings:
                self._available.set()
                await self.ensure_started()
        if outcome is None:
            raise Postponed
        if isinstance(outcome, TrainingAborted):
            # Users know the recipe by its key in the scenario.
            raise EngineFailure("engine", outcome.failed.replace("recipe.", "learn.training."))

    async def _train_exclusively(self, request_id: str, spec: TrainingSpec) -> TrainingDone | TrainingAborted | None:
        """Run a training while no other runs, no request is answered and the engine is stopped; None: cancelled."""
        self._ready += 1
        async with self._exclusive:
            self._ready -= 1
            await self._idle.wait()
            if not self._cancelled:
                if not self._stopped:
                    self._stopped = True
                    await self._engine.stop(again=True)
                return await self._train_with_restarts(request_id, spec)
            if self._process and self._process.poll() is None:  # it was kept for this training
                await asyncio.to_thread(process.end, self._process)
            return None

    def _training_spec(self, request_id: str, request: Train) -> TrainingSpec:
        spec = self._spec
        if spec.engine == "openai":
            raise EngineFailure("unsupported", f"{spec.name} is at a server, and cannot be trained")
        if not (spec.training_folder and spec.weights_folder):
            raise EngineFailure("unsupported", f"{spec.name} has no folder to train in")
        if Path(request.pairs).name != request.pairs:
            raise EngineFailure("unsupported", f"pairs: {request.pairs[:100]} is not a file name")
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
            memory_share=spec.memory_share,
            out=spec.weights_folder,
            # Named by the input of the training, so that a repeated request finds its checkpoint.
            work=str(training / digest(request.weights, request.pairs_digest or request_id, request.recipe)[:32]),
        )

    async def _train_with_restarts(self, request_id: str, spec: TrainingSpec) -> TrainingDone | TrainingAborted | None:
        """Run a training, restarting it if it dies; None: cancelled."""
        # Not earlier: an agent that is loading gets no requests, and the next training must arrive while the engine is
        # stopped, so that it need not start in between.
        if not self._cancelled:
            self._client.beat(state="loading")
        reached = -2  # before its first step a training is at -1
        for tries in range(1, TRIES + 1):
            step, outcome = await asyncio.to_thread(self._follow, request_id, spec)
            if isinstance(outcome, TrainingDone):
                return outcome
            if self._cancelled:
                return None
            died = self._process is not None and (self._process.returncode or 0) < 0
            log.warning("the training ended after step %d: %s", step, outcome.failed)
            if not died or step <= reached or tries == TRIES:
                return outcome
            reached = step
        raise AssertionError("the last try returns")

    def _follow(self, request_id: str, spec: TrainingSpec) -> tuple[int, TrainingDone | TrainingAborted]:
        """Report the events of one training; return its last step and its result."""
        step = -1
        end: TrainingDone | TrainingAborted = TrainingAborted(failed="given up")
        try:
            for event in self._events(spec):
                if isinstance(event, TrainingStep):
                    step = event.step
                    self._client.beat(state=None if self._cancelled else "training", progress=(request_id,))
                    # The event before the first step has the loading time, and no loss.
                    names = ("loading_s",) if event.loading_s else FIGURES
                    figures = {name: float(getattr(event, name)) for name in names}
                    self._client.send(Progress(step=step, steps=event.steps, figures=figures), request_id=request_id)
                else:
                    end = event
                if self._cancelled and not self._process:
                    break
        except OSError as error:
            return step, TrainingAborted(failed=f"the training cannot be started: {error}")
        return step, end

    def _events(self, spec: TrainingSpec) -> Iterator[TrainingEvent]:
        """Start a training and return its events; a simulated agent simulates them."""
        if self._spec.engine == "simulated":
            from agents.engines.simulated import training

            return training.train(spec, self._settings)
        if self._process and self._process.poll() is None:
            child_process.send(self._process, spec)
        else:
            self._process = process.start(spec, Path(self._spec.training_folder) / f"{self._spec.name}.log")
        if self._cancelled:
            self._process.kill()
        return process.events(self._process, keep=lambda: self._ready > 0)


def _trained(done: TrainingDone) -> Trained:
    figures = done.figures | {"pairs_too_long": float(done.too_long)}
    return Trained(trained=done.trained, pairs=done.pairs, steps=done.steps, seconds=done.seconds, figures=figures)
