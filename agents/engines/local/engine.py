"""Real language models on the `transformers` library, with continuous batching of its own.

One thread owns model, tokenizer and batch (agents/engines/local/batch.py); requests join the running batch as they
come and leave it as they end; those for other weights in rounds of their own. Greedy decoding in float32 gives the
library's own `generate`, token by token, whatever runs beside it (ties aside). A seed fixes the numbers that a request
draws, not its text: in bfloat16 and float16, and for near ties in float32, rounding depends on who shares the batch and
on what was cached, so the same request may be answered differently in another class. One device per engine: the first
of those it sees.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import torch

from agents.engines import arguments, thoughts
from agents.engines.base import Completion, EngineDead, EngineFailure, Prompt, Scored, Settings
from agents.engines.chat import Chat
from agents.engines.local.batch import Batch, BatchRow
from agents.engines.local.loading import context_of, explain, first_line, load, out_of_memory, pick_device, pick_dtype
from agents.engines.local.worker_queue import Outcome, PromptItem, WeightSwitch
from agents.engines.weight_scheduler import WeightScheduler
from agents.engines.weight_switching import SwitchableModel
from agents.placement.memory import CPU_CAPACITY, MB, SLOTS_MB
from broker.work_messages import Sampling, Usage

log = logging.getLogger(__name__)

CAPACITY = {"cpu": CPU_CAPACITY, "mps": 32, "cuda": 64}
"""Requests at once where the scenario names no number."""


class TransformersEngine:
    """See agents.engines.base.Engine."""

    device: str = ""
    capacity: int = 0
    spent: float | None = None

    def __init__(self, settings: Settings) -> None:
        """Check the arguments; loading is `start`.

        Raises:
            EngineStartError: an argument it does not take.
        """
        self._settings = settings
        self._options = arguments.read(settings.options, arguments.TransformersOptions)
        self._queue: SimpleQueue[PromptItem | WeightSwitch | None] = SimpleQueue()
        self._worker: threading.Thread | None = None
        self._gate = threading.Lock()
        self._closed: str = "the engine was not started"
        """Why no request is taken; empty while it takes them. Under the gate, so that none slips in unseen."""
        self._items: dict[BatchRow, PromptItem] = {}
        self._rounds = WeightScheduler(self._swap)

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Load the model in the thread that will run it."""
        loop = asyncio.get_running_loop()
        self._rounds = WeightScheduler(self._swap)
        ready: asyncio.Future[None] = loop.create_future()

        def report(error: Exception | None) -> None:
            if ready.done():
                return
            if error:
                ready.set_exception(error)
            else:
                ready.set_result(None)

        def work() -> None:
            try:
                loaded = self._load()
            except Exception as error:
                loop.call_soon_threadsafe(report, explain(error, self._settings))
                return
            self._closed = ""
            loop.call_soon_threadsafe(report, None)
            self._serve(*loaded, on_progress)

        # What an earlier worker left unread is not for this one.
        self._queue = SimpleQueue()
        self._worker = threading.Thread(target=work, name="engine", daemon=True)
        self._worker.start()
        await ready

    async def generate(self, prompt: Prompt) -> Completion:
        """Complete one prompt, beside those that run already."""
        completion = await self._outcome(PromptItem(prompt))
        assert isinstance(completion, Completion)  # noqa: S101  (what such a item is resolved with)
        return completion

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """Score one text by a forward pass, beside the prompts that are completed."""
        scored = await self._outcome(PromptItem(prompt, solution))
        assert isinstance(scored, Scored)  # noqa: S101
        return scored

    async def _outcome(self, item: PromptItem) -> Outcome:
        async with self._rounds.turn(item.prompt.weights):
            return await self._ordered(item)

    async def _swap(self, weights: str) -> None:
        await self._ordered(WeightSwitch(weights))

    async def _ordered(self, order: PromptItem | WeightSwitch) -> Outcome:
        with self._gate:
            if self._closed:
                raise EngineDead(self._closed)
            self._queue.put(order)
        return await order.future

    async def stop(self) -> None:
        """End the worker; requests under way get an EngineDead."""
        worker, self._worker = self._worker, None
        # Told only where there is somebody to hear it: a worker started later would take it for its own end.
        if worker:
            self._queue.put(None)
            await asyncio.to_thread(worker.join)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _load(self) -> tuple[Chat, SwitchableModel, Batch, int]:
        settings, options = self._settings, self._options
        device = pick_device()
        if device.type == "cpu":
            torch.set_num_threads(max(1, settings.threads))
        dtype = pick_dtype(device) if settings.dtype == "auto" else getattr(torch, settings.dtype)
        chat, model = load(settings.folder, device, dtype)
        memory = options.kv_cache_mb * MB or (
            torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else SLOTS_MB * MB
        )
        self.capacity = settings.capacity or CAPACITY[device.type]
        threads = f"{settings.threads} thread{'s' * (settings.threads > 1)}"
        self.device = f"cpu ({threads})" if device.type == "cpu" else str(device)
        if device.type == "cuda":
            self.device += f" ({torch.cuda.get_device_name(device)})"
        log.info("computes on %s in %s", self.device, str(dtype).removeprefix("torch."))
        batch = Batch(model, capacity=self.capacity, memory=memory, prefix_memory=options.prefix_cache_mb * MB)
        assert settings.folder is not None  # noqa: S101  (`load` refuses that)
        held = SwitchableModel(model, settings.folder, settings.weights_folder)
        return chat, held, batch, context_of(model.config, settings.max_context)

    def _serve(
        self, chat: Chat, held: SwitchableModel, batch: Batch, context: int, on_progress: Callable[[str, int], None]
    ) -> None:
        """Run until stopped or broken, then fail all that wait: never leave one hanging."""
        why = "the engine was stopped"
        try:
            with torch.inference_mode():
                self._run(chat, held, batch, context, on_progress)
        except Exception as error:
            log.exception("the engine broke")
            why = f"the engine broke: {type(error).__name__}: {first_line(error)}"
        with self._gate:
            self._closed = why
            while not self._queue.empty():
                if order := self._queue.get():
                    order.resolve(EngineDead(why))
        for item in self._items.values():
            item.resolve(EngineDead(why))
        self._items.clear()

    def _run(
        self, chat: Chat, held: SwitchableModel, batch: Batch, context: int, on_progress: Callable[[str, int], None]
    ) -> None:
        waiting: list[BatchRow] = []
        while True:
            while not self._queue.empty() or not (batch.rows or waiting):
                order = self._queue.get()
                if order is None:
                    return
                if isinstance(order, PromptItem):
                    self._admit(order, chat, context, waiting)
                else:
                    # None runs but those that nobody waits for any more.
                    self._forget(batch, waiting)
                    take_up(order, held, batch)
            self._forget(batch, waiting)
            batch.join(waiting)
            if not batch.rows:
                continue
            try:
                batch.step()
            except RuntimeError as error:
                if len(batch.rows) > 1 or not out_of_memory(error):
                    raise
                # It ran alone, so it is the request that does not fit, and not the engine that broke.
                self._settle(batch, batch.rows[0], EngineFailure("engine", f"out of memory: {first_line(error)}"))
                continue
            for row in list(batch.rows):
                on_progress(self._items[row].prompt.request_id, 0 if row.given else 1)
                if row.given:
                    self._settle(batch, row, self._scored(row))
                    continue
                ended = row.tokens[-1] in chat.stops
                if ended or len(row.completion) >= row.sampling.max_tokens:
                    self._settle(batch, row, self._completion(row, chat, ended))

    def _admit(self, item: PromptItem, chat: Chat, context: int, waiting: list[BatchRow]) -> None:
        """Turn a prompt into a row that waits to join the batch, or fail it."""
        try:
            row = row_of(item.prompt, item.solution, chat, context)
        except EngineFailure as error:
            item.resolve(error)
            return
        self._items[row] = item
        waiting.append(row)

    def _forget(self, batch: Batch, waiting: list[BatchRow]) -> None:
        """Drop rows whose caller no longer waits."""
        for row in [row for row, item in self._items.items() if item.future.cancelled()]:
            del self._items[row]
            if row in waiting:
                waiting.remove(row)
            else:
                batch.leave(row)

    def _settle(self, batch: Batch, row: BatchRow, outcome: Completion | Scored | EngineFailure) -> None:
        batch.leave(row)
        self._items.pop(row).resolve(outcome)

    def _scored(self, row: BatchRow) -> Scored:
        # The last of the given tokens is one that the model need not read.
        tokens, seconds = row.prompt_tokens + 1, time.monotonic() - self._items[row].taken
        usage = Usage(prompt_tokens=tokens, cached_tokens=row.cached, seconds=seconds)
        return Scored(row.logprob, len(row.given), usage)

    def _completion(self, row: BatchRow, chat: Chat, ended: bool) -> Completion:
        usage = Usage(
            prompt_tokens=row.prompt_tokens,
            cached_tokens=row.cached,
            completion_tokens=len(row.completion),
            seconds=time.monotonic() - self._items[row].taken,
            finish_reason="stop" if ended else "length",
        )
        said = row.completion[:-1] if ended else row.completion
        text = chat.decode(row.tokens[: row.prompt_tokens], said)
        begun = self._items[row].prompt.begun
        return thoughts.completion(text, begun, usage, keep=self._settings.keep_thoughts)


def take_up(swap: WeightSwitch, held: SwitchableModel, batch: Batch) -> None:
    """Make the batch compute with other weights; where that fails, it computes nothing before the next swap."""
    batch.use(None, swap.weights)
    try:
        batch.use(held.use(swap.weights), swap.weights)
    except EngineFailure as error:
        swap.resolve(error)
    except Exception as error:
        swap.resolve(EngineDead(f"the engine broke: {first_line(error)}"))
        raise
    else:
        swap.resolve(None)


def row_of(prompt: Prompt, solution: str | None, chat: Chat, context: int) -> BatchRow:
    """A row that completes the prompt; with a solution, one that scores it.

    Raises:
        EngineFailure: longer than the context, nothing to draw, or nothing to score.
    """
    if solution is not None:
        tokens, start = chat.encode_with(prompt.turns, prompt.begun, solution)
        if len(tokens) > context:
            raise EngineFailure("context", f"{len(tokens)} tokens with the solution: the context holds {context}")
        return BatchRow(tokens[:start], Sampling(max_tokens=0), prompt.seed, given=tokens[start:])
    check_sampling(prompt.sampling)
    tokens = chat.encode(prompt.turns, prompt.begun)
    if len(tokens) + prompt.sampling.max_tokens > context:
        raise EngineFailure(
            "context",
            f"{len(tokens)} prompt tokens and up to {prompt.sampling.max_tokens} new ones: the context holds {context}",
        )
    return BatchRow(tokens, prompt.sampling, prompt.seed)


def check_sampling(sampling: Sampling) -> None:
    """Raise EngineFailure where there is nothing to draw."""
    if sampling.max_tokens < 1 or sampling.top_k < 0 or sampling.top_p <= 0 or not 0 <= sampling.temperature < 1e6:
        raise EngineFailure("unsupported", f"cannot sample with {sampling}")
