"""Engine for models of the `transformers` library, with continuous batching.

One thread owns model, tokenizer and batch (agents/engines/local/batch.py). Requests join the running batch and leave it
one by one; requests for other weights run in later rounds. Greedy decoding in float32 equals the library's `generate`,
token by token, whatever else runs in the batch (except for ties). A seed fixes the random numbers of a request, not its
text: in bfloat16, float16 and int8, and for near ties in float32, rounding depends on the other requests of the batch
and on the cache. An engine uses the first device that it sees.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from queue import SimpleQueue

import torch

from agents.engines import arguments, thoughts
from agents.engines.base import Completion, EngineDead, EngineFailure, EngineSettings, Prompt, Scored, first_line
from agents.engines.chat import Chat
from agents.engines.local.batch import Batch, BatchRow
from agents.engines.local.gpu_memory import free_mb, take_share
from agents.engines.local.loading import context_of, explain, load, pick_device, pick_dtype
from agents.engines.local.slots import out_of_memory, release_cached_memory
from agents.engines.local.worker_queue import Outcome, PromptItem, WeightSwitch, WorkItem
from agents.engines.weight_scheduler import WeightScheduler
from agents.engines.weight_switching import SwitchableModel
from agents.placement.memory import MB, PREFIX_CACHE_MB, REQUESTS_AT_ONCE, SLOTS_MB
from broker.work_messages import Sampling, Usage

log = logging.getLogger(__name__)

CAPACITY = REQUESTS_AT_ONCE["transformers"]
"""Requests at once if the scenario sets no capacity."""
PREFIX_PART = 5
"""On CUDA one part in this many of an agent's keys and values is for recent prompts."""


REPORT_S = 0.1
"""Least time between two reports of a running request's progress, since each takes time from the batch."""


class TransformersEngine:
    """See agents.engines.base.Engine."""

    device: str = ""
    capacity: int = 0
    spent: float | None = None

    def __init__(self, settings: EngineSettings) -> None:
        """Check the arguments; `start` loads the model.

        Raises:
            EngineStartError: an unknown argument.
        """
        self._settings = settings
        self._options = arguments.read(settings.options, arguments.TransformersOptions)
        self._queue: SimpleQueue[PromptItem | WeightSwitch | None] = SimpleQueue()
        self._worker: threading.Thread | None = None
        self._gate = threading.Lock()
        self._closed: str = "the engine was not started"
        """Why the engine takes no requests; empty while it does. Guarded by the gate, so that no request is lost."""
        self._items: dict[BatchRow, PromptItem] = {}
        self._rounds = WeightScheduler(self._switch)

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Load the model in the thread that will run it."""
        self._rounds = WeightScheduler(self._switch)
        ready = WorkItem()

        def work() -> None:
            try:
                loaded = self._load()
            except Exception as error:
                ready.resolve(explain(error, self._settings))
                return
            self._closed = ""
            ready.resolve(None)
            self._serve(*loaded, on_progress)

        # The new worker must not read what an earlier one left in its queue.
        self._queue = SimpleQueue()
        self._worker = threading.Thread(target=work, name="engine", daemon=True)
        self._worker.start()
        await asyncio.wrap_future(ready.future)

    async def generate(self, prompt: Prompt) -> Completion:
        """Complete one prompt in the running batch."""
        completion = await self._outcome(PromptItem(prompt))
        assert isinstance(completion, Completion)  # noqa: S101  (the outcome of such an item)
        return completion

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """Score one text in a step of the running batch."""
        scored = await self._outcome(PromptItem(prompt, solution))
        assert isinstance(scored, Scored)  # noqa: S101
        return scored

    async def _outcome(self, item: PromptItem) -> Outcome:
        async with self._rounds.turn(item.prompt.weights):
            return await self._submit(item)

    async def _switch(self, weights: str) -> None:
        await self._submit(WeightSwitch(weights))

    async def _submit(self, item: PromptItem | WeightSwitch) -> Outcome:
        with self._gate:
            if self._closed:
                raise EngineDead(self._closed)
            self._queue.put(item)
        return await asyncio.wrap_future(item.future)

    async def stop(self, *, again: bool = False) -> None:
        """End the worker; requests under way get an EngineDead."""
        worker, self._worker = self._worker, None
        # Only if a worker runs: a worker that starts later would end at once.
        if worker:
            self._queue.put(None)
            await asyncio.to_thread(worker.join)
        release_cached_memory()

    @torch.inference_mode()
    def _load(self) -> tuple[Chat, SwitchableModel, Batch, int]:
        settings, options = self._settings, self._options
        device = pick_device()
        if device.type == "cpu":
            torch.set_num_threads(max(1, settings.threads))
        dtype = pick_dtype(device) if settings.dtype == "auto" else getattr(torch, settings.dtype)
        take_share(device, settings.memory_share)
        int8 = options.quantization == "int8"
        chat, model = load(settings.folder, device, dtype, int8=int8)
        slots_mb, prefixes_mb = cache_sizes(device, settings.cache_mb, options, settings.memory_share)
        self.capacity = settings.capacity or CAPACITY[device.type]
        threads = f"{settings.threads} thread{'s' * (settings.threads > 1)}"
        self.device = f"cpu ({threads})" if device.type == "cpu" else str(device)
        if device.type == "cuda":
            self.device += f" ({torch.cuda.get_device_name(device)})"
        together = ", requests that begin alike attend to that beginning together" if device.type == "cpu" else ""
        weights = ", linear layers in int8" if int8 else ""
        log.info("computes on %s in %s%s%s", self.device, str(dtype).removeprefix("torch."), weights, together)
        batch = Batch(model, capacity=self.capacity, memory=slots_mb * MB, prefix_memory=prefixes_mb * MB)
        assert settings.folder is not None  # noqa: S101  (`load` refuses that)
        switchable = SwitchableModel(model, settings.folder, settings.weights_folder, int8=int8)
        return chat, switchable, batch, context_of(model.config, settings.max_context)

    def _serve(
        self, chat: Chat, model: SwitchableModel, batch: Batch, context: int, on_progress: Callable[[str, int], None]
    ) -> None:
        """Run until stopped or broken, then fail all waiting requests."""
        why = "the engine was stopped"
        try:
            with torch.inference_mode():
                self._run(chat, model, batch, context, on_progress)
        except Exception as error:
            log.exception("the engine broke")
            why = f"the engine broke: {type(error).__name__}: {first_line(error)}"
        with self._gate:
            self._closed = why
            while not self._queue.empty():
                if item := self._queue.get():
                    item.resolve(EngineDead(why))
        for waiting in self._items.values():
            waiting.resolve(EngineDead(why))
        self._items.clear()

    def _run(
        self, chat: Chat, model: SwitchableModel, batch: Batch, context: int, on_progress: Callable[[str, int], None]
    ) -> None:
        waiting: list[BatchRow] = []
        unreported: Counter[str] = Counter()
        reported = 0.0
        while True:
            while not self._queue.empty() or not (batch.rows or waiting):
                item = self._queue.get()
                if item is None:
                    return
                if isinstance(item, PromptItem):
                    self._admit(item, chat, context, waiting)
                else:
                    # Only cancelled requests can still run at this point.
                    self._forget(batch, waiting)
                    switch_weights(item, model, batch)
            self._forget(batch, waiting)
            self._set_threads()
            try:
                batch.join(waiting)
                if batch.rows:
                    batch.step()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                log.warning("out of memory with %d requests at once: %s", len(batch.rows), first_line(error))
                if row := batch.relieve(waiting):
                    self._settle(batch, row, EngineFailure("engine", f"out of memory: {first_line(error)}"))
                continue
            now = time.monotonic()
            due = now - reported >= REPORT_S
            reported = now if due else reported
            for row in list(batch.rows):
                request_id = self._items[row].prompt.request_id
                unreported[request_id] += 0 if row.given else 1
                ended = not row.given and row.tokens[-1] in chat.stops
                complete = bool(row.given) or ended or len(row.completion) >= row.sampling.max_tokens
                if due or complete:
                    on_progress(request_id, unreported.pop(request_id))
                if complete:
                    self._settle(batch, row, self._scored(row) if row.given else self._completion(row, chat, ended))
            if not batch.rows:
                unreported.clear()

    def _set_threads(self) -> None:
        """Take the threads of agents that have nothing to do, and give them back."""
        share = self._settings.core_share
        if share and (threads := share.threads()) != torch.get_num_threads():
            torch.set_num_threads(threads)

    def _admit(self, item: PromptItem, chat: Chat, context: int, waiting: list[BatchRow]) -> None:
        """Turn a prompt into a row that waits for the batch, or fail it."""
        try:
            row = row_of(item.prompt, item.solution, chat, context)
        except EngineFailure as error:
            item.resolve(error)
            return
        self._items[row] = item
        waiting.append(row)

    def _forget(self, batch: Batch, waiting: list[BatchRow]) -> None:
        """Drop rows whose caller has cancelled."""
        for row in [row for row, item in self._items.items() if item.future.cancelled()]:
            del self._items[row]
            if row in waiting:
                waiting.remove(row)
            else:
                batch.leave(row)

    def _settle(self, batch: Batch, row: BatchRow, outcome: Completion | Scored | EngineFailure) -> None:
        if row in batch.rows:
            batch.leave(row)
        self._items.pop(row).resolve(outcome)

    def _scored(self, row: BatchRow) -> Scored:
        # The model does not read the last of the given tokens.
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
        tokens = row.completion[:-1] if ended else row.completion
        text = chat.decode(row.tokens[: row.prompt_tokens], tokens)
        begun = self._items[row].prompt.begun
        return thoughts.completion(text, begun, usage, keep=self._settings.keep_thoughts)


def cache_sizes(
    device: torch.device, cache_mb: int, options: arguments.TransformersOptions, share: float = 0.0
) -> tuple[int, int]:
    """Return the MB for the keys and values of running requests, and those for recent prompts.

    Args:
        device: where the model is, after it was loaded.
        cache_mb: MB that the plan gives to both on CUDA; 0: it does not say.
        options: of the scenario; they go before.
        share: see `take_share`.
    """
    if device.type == "cuda":
        cache_mb = cache_mb or free_mb(device, share) // 2
        prefixes = cache_mb // PREFIX_PART if options.prefix_cache_mb is None else options.prefix_cache_mb
        return options.kv_cache_mb or max(0, cache_mb - prefixes), prefixes
    prefixes = PREFIX_CACHE_MB if options.prefix_cache_mb is None else options.prefix_cache_mb
    return options.kv_cache_mb or SLOTS_MB, prefixes


def switch_weights(item: WeightSwitch, model: SwitchableModel, batch: Batch) -> None:
    """Make the batch compute with other weights; if that fails, it computes nothing until the next switch."""
    batch.use(None, item.weights)
    try:
        batch.use(model.use(item.weights), item.weights)
    except EngineFailure as error:
        item.resolve(error)
    except Exception as error:
        item.resolve(EngineDead(f"the engine broke: {first_line(error)}"))
        raise
    else:
        item.resolve(None)


def row_of(prompt: Prompt, solution: str | None, chat: Chat, context: int) -> BatchRow:
    """Return a row that completes the prompt or scores the solution.

    Raises:
        EngineFailure: it is longer than the context, or there is nothing to sample or to score.
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
    """Raise EngineFailure for parameters that allow no sampling."""
    if sampling.max_tokens < 1 or sampling.top_k < 0 or sampling.top_p <= 0 or not 0 <= sampling.temperature < 1e6:
        raise EngineFailure("unsupported", f"cannot sample with {sampling}")
