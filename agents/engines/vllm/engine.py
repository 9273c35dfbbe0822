"""Engine on vLLM: the asynchronous engine in the agent's process, the core in a child process.

Prompts are tokens from the same chat as in the transformers engine. vLLM batches, caches prefixes and streams, for one
set of complete weights at a time; adapters are beside the base or merged (agents/engines/vllm/weights.py). On GPUs each
request has its own seed. On a CPU a seeded request kills the core when a prompt is prefilled in parts, so all requests
draw from one stream. Rounding depends on the batch on both devices.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from agents.engines import thoughts
from agents.engines.arguments import check_vllm
from agents.engines.base import Completion, EngineDead, EngineFailure, EngineSettings, Prompt, Scored
from agents.engines.chat import Chat
from agents.engines.local.engine import check_sampling
from agents.engines.local.loading import chat_of, check_numbers
from agents.engines.vllm import scoring
from agents.engines.vllm.config import ENVIRONMENT, LORA_KEYS, alone_on, arguments, check_seat, sampling_params
from agents.engines.vllm.errors import LogExcerpt, explain, gist, out_of_memory
from agents.engines.vllm.weights import adaptable, source
from agents.engines.weight_scheduler import WeightScheduler
from agents.models import trained_weights
from agents.placement.memory import CONTEXT_MB, MB
from broker.agent_notes import MERGED_SUFFIX
from broker.files import write_atomically
from broker.work_messages import Usage

log = logging.getLogger(__name__)

T = TypeVar("T")

NO_LORA = "LoRA"
"""Part of vLLM's words about a model beside which it keeps no adapters."""
ADAPTERS = "adapters"
"""Rounds of requests with adapters, whichever they are."""
SHUTDOWN_S = {"cpu": 0.0, "cuda": 5.0}
"""Time for a core to shut down. On a CPU nothing outlives it, and a training may be waiting."""


async def _no_switch(weights: str) -> None:
    """Switch nothing: adapters are beside the base."""


class VllmEngine:
    """See agents.engines.base.Engine."""

    device: str = ""
    capacity: int = 0
    spent: float | None = None

    def __init__(self, settings: EngineSettings) -> None:
        """Check the arguments; `start` loads the model, and vLLM checks the values.

        Raises:
            EngineStartError: an argument that is not accepted.
        """
        check_vllm(settings.options)
        self._settings = settings
        self._llm: Any = None
        self._chat: Chat | None = None
        self._context = 0
        self._kind = "cpu"
        self._structured = False
        self._closed = "the engine was not started"
        """Why the engine takes no requests; empty while it does."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._progress: Callable[[str, int], None] = lambda request_id, tokens: None
        self._log = LogExcerpt()
        self._cores: list[BaseProcess] = []
        """The core processes."""
        self._rounds = WeightScheduler(self._switch)
        self._apart = WeightScheduler(_no_switch)
        """On a CPU: keeps requests with an adapter out of batches with requests without one; switches no weights."""
        self._gpu_mb = 0  # memory of its GPU; 0 on the CPU
        self._sleeps = False
        """Whether the core can sleep during a training."""
        self._beside = False
        """Whether vLLM keeps adapters beside the base."""
        self._adapters: dict[str, Any] = {}
        """vLLM's request for each adapter beside the base; None: the weights replace the base."""
        self._numbers = itertools.count(1)  # none is used twice: vLLM keeps the adapter that it has under a number
        self._adding = asyncio.Lock()

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Load the model in a child process; takes half a minute, most of it imports of vLLM. If it sleeps, wake it."""
        self._progress = on_progress
        if not await self._wake():
            self._rounds = WeightScheduler(self._switch)
            self._adapters.clear()
            self._log = LogExcerpt()
            await asyncio.to_thread(self._load)
            self._log = LogExcerpt()
        self._closed = ""

    async def generate(self, prompt: Prompt) -> Completion:
        """Complete one prompt in the running batch."""
        return await self._until_closed(self._complete(prompt))

    async def _until_closed(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; raise EngineDead if the engine is closed before or meanwhile."""
        if self._closed:
            work.close()
            raise EngineDead(self._closed)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and self._closed:
                raise EngineDead(self._closed) from None
            raise

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """Score one text in the running batch."""
        return await self._until_closed(self._score(prompt, solution))

    async def stop(self, *, again: bool = False) -> None:
        """End the core; requests under way get an EngineDead. With `again` the core sleeps where it may."""
        self._closed = self._closed or "the engine was stopped"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if again and await self._sleep():
            return
        llm, self._llm = self._llm, None
        if llm:
            if llm.output_handler:
                # Else the handler would log the end of the core as a failure.
                llm.output_handler.cancel()
            await asyncio.to_thread(llm.shutdown, SHUTDOWN_S["cpu" if self._kind == "cpu" else "cuda"])

    async def _sleep(self) -> bool:
        """Move the weights from the GPU to the machine's memory. Returns whether that leaves room for a training."""
        if not (self._llm and self._sleeps):
            return False
        try:
            await self._llm.sleep(level=1)
            free = min(await self._llm.collective_rpc("free_mb"))
        except Exception as error:
            log.warning("vLLM cannot sleep, so it ends: %s", gist(error))
            return False
        need = self._settings.memory_share * self._gpu_mb + CONTEXT_MB
        log.info("vLLM sleeps: %.1f GB of its GPU are free; a training may need %.1f GB", free / 1000, need / 1000)
        return bool(free >= need)

    async def _wake(self) -> bool:
        """Wake a core that sleeps; it has the weights and adapters that it had before. Returns whether it is awake."""
        if not self._llm:
            return False
        try:
            if await self._llm.wake_up():
                return True
            log.warning("vLLM did not wake up, so it starts anew")
        except Exception as error:
            log.warning("vLLM cannot wake up, so it starts anew: %s", gist(error))
        await self.stop()
        return False

    def _load(self) -> None:
        settings = self._settings
        try:
            self._chat = chat_of(settings.folder)
            check_numbers(settings.folder)
            os.environ.update({"OMP_NUM_THREADS": str(max(1, settings.threads)), **ENVIRONMENT})
            from vllm.platforms import current_platform

            kind = current_platform.device_type
            check_seat(kind, settings)
            self._gpu_mb = current_platform.get_device_total_memory() // MB if kind == "cuda" else 0
            args = arguments(settings, kind, self._gpu_mb)
            with alone_on(os.environ.get("CUDA_VISIBLE_DEVICES", "") if kind == "cuda" else ""):
                self._llm = self._loaded(args)
        except Exception as error:
            why = self._log.failed_core(str(error)) or self._log.root_cause()
            raise explain(error, why, settings) from error
        # Kept here, since vLLM drops the list when one of them dies.
        self._cores = list(getattr(self._llm.engine_core.resources.engine_manager, "processes", ()))
        self._context = self._llm.model_config.max_model_len
        self._kind = kind
        self._structured = not args["skip_tokenizer_init"]
        self._sleeps = bool(args.get("enable_sleep_mode"))
        self._beside = self._llm.vllm_config.lora_config is not None
        self.capacity = args["max_num_seqs"]
        threads = f"{settings.threads} thread{'s' * (settings.threads > 1)}"
        self.device = f"cpu ({threads})" if kind == "cpu" else f"{max(1, settings.gpus)} GPU{'s' * (settings.gpus > 1)}"

    def _loaded(self, args: dict[str, Any]) -> Any:
        """Start vLLM; without adapters beside the base if it cannot keep any beside this model."""
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        try:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**args))
        except Exception as error:
            if "enable_lora" not in args or NO_LORA not in f"{error} {self._log.root_cause()}":
                raise
        log.warning("vLLM cannot keep adapters beside this model, so it merges them")
        self._log = LogExcerpt()
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**{key: args[key] for key in args if key not in LORA_KEYS}))

    async def _complete(self, prompt: Prompt) -> Completion:
        taken = time.monotonic()
        chat = self._chat
        assert chat is not None  # noqa: S101  (start ended well)
        check_sampling(prompt.sampling)
        tokens = chat.encode(prompt.turns, prompt.begun)
        if len(tokens) + prompt.sampling.max_tokens > self._context:
            raise EngineFailure(
                "context",
                f"{len(tokens)} prompt tokens and up to {prompt.sampling.max_tokens} new ones: "
                f"the context holds {self._context}",
            )
        completion: list[int] = []
        cached, reason = 0, None
        async with self._turn(prompt.weights) as adapter:
            with self._failures():
                sampling = sampling_params(prompt, chat.stops, self._kind, structured=self._structured)
                async for out in self._llm.generate(
                    scoring.token_prompt(tokens, prompt.weights), sampling, prompt.request_id, lora_request=adapter
                ):
                    (delta,) = out.outputs
                    completion += delta.token_ids
                    cached = max(cached, out.num_cached_tokens or 0)
                    reason = delta.finish_reason
                    if delta.token_ids:
                        self._progress(prompt.request_id, len(delta.token_ids))
        if reason not in ("stop", "length"):
            raise EngineFailure("engine", f"vLLM ended the request: {reason}")
        usage = Usage(
            prompt_tokens=len(tokens),
            cached_tokens=cached,
            completion_tokens=len(completion),
            seconds=time.monotonic() - taken,
            finish_reason="stop" if reason == "stop" else "length",
        )
        text = chat.decode(tokens, completion[:-1] if completion and completion[-1] in chat.stops else completion)
        return thoughts.completion(text, prompt.begun, usage, keep=self._settings.keep_thoughts)

    async def _score(self, prompt: Prompt, solution: str) -> Scored:
        taken = time.monotonic()
        chat = self._chat
        assert chat is not None  # noqa: S101
        tokens, start = chat.encode_with(prompt.turns, prompt.begun, solution)
        if len(tokens) + 1 > self._context:
            # vLLM generates at least one token, which is ignored.
            raise EngineFailure(
                "context", f"{len(tokens)} tokens with the solution, and one more: the context holds {self._context}"
            )
        by_id = scoring.scores_by_id(self._llm, self._kind)
        async with self._turn(prompt.weights) as adapter:
            with self._failures():
                logprob, cached = await scoring.score(
                    self._llm, prompt, tokens, start, by_id=by_id, lora_request=adapter
                )
        self._progress(prompt.request_id, 0)
        usage = Usage(prompt_tokens=len(tokens), cached_tokens=cached, seconds=time.monotonic() - taken)
        return Scored(logprob, len(tokens) - start, usage)

    @contextlib.asynccontextmanager
    async def _turn(self, weights: str) -> AsyncIterator[Any]:
        """Hold the engine at these weights; yields vLLM's request for an adapter, or None."""
        if self._beside and weights and weights not in self._adapters:
            async with self._adding:
                if weights not in self._adapters:
                    self._adapters[weights] = await self._add(weights)
        adapter = self._adapters.get(weights)
        # On a CPU, vLLM adds the adapter of its last slot to requests without one (index -1) in a batch with others:
        # https://github.com/vllm-project/vllm/pull/48421
        apart = ADAPTERS if adapter and self._kind == "cpu" else ""
        async with self._rounds.turn("" if adapter else weights), self._apart.turn(apart):
            yield adapter

    async def _add(self, weights: str) -> Any:
        """Load an adapter beside the base and return vLLM's request for it; None: the weights must replace the base.

        Raises:
            EngineFailure: the weights do not fit this model, or now there is no memory for the adapter.
        """
        from vllm.lora.request import LoRARequest

        settings = self._settings
        assert settings.folder is not None  # noqa: S101  (start ended well)
        folder = Path(settings.weights_folder) / weights
        if (adapter := trained_weights.read_adapter(folder, settings.folder)) is None:
            return None
        request = LoRARequest(weights, next(self._numbers), str(folder))
        try:
            # vLLM would leave others out without a word.
            if others := {name.split(".")[-1] for name in adapter.modules}.difference(adaptable(settings.folder)):
                raise ValueError(f"it changes {', '.join(sorted(others))}")
            with self._failures():
                await self._llm.add_lora(request)
        except EngineDead:
            raise
        except Exception as error:
            if out_of_memory(error):  # the next request for it may find memory; a merge would stay
                why = f"out of memory: cannot load the adapter {weights[:12]}: {gist(error)}"
                raise EngineFailure("engine", why) from error
            log.warning("merges the adapter %s, since vLLM cannot keep it beside: %s", weights[:12], gist(error))
            return None
        log.info("keeps the adapter %s beside the base", weights[:12])
        return request

    async def _switch(self, weights: str) -> None:
        """Make the core compute with other weights. Prompts name their weights, so its cache stays correct."""
        settings, begun = self._settings, time.monotonic()
        assert settings.folder is not None  # noqa: S101  (start ended well)
        tensors = source(settings.folder, settings.weights_folder, weights)
        try:
            with self._failures():
                await self._llm.collective_rpc("load_weights_from", args=tuple(tensors))
            dtype = str(self._llm.model_config.dtype).removeprefix("torch.")
            if tensors.adapter and dtype != "float32":
                note = Path(settings.weights_folder, f"{weights}{MERGED_SUFFIX}")
                write_atomically(note, dtype.encode(), sync=False)
        except EngineDead:
            raise
        except Exception as error:
            if weights:
                raise EngineFailure("engine", f"the weights {weights[:12]} cannot be loaded: {gist(error)}") from error
            self._closed = self._closed or f"the base weights cannot be loaded again: {gist(error)}"
            raise EngineDead(self._closed) from error
        log.info("computes with the weights %s; it took %.2f s", weights[:12] or "base", time.monotonic() - begun)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Convert the exceptions of vLLM for a request into those of this project."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            yield
        except EngineDeadError as error:
            self._closed = self._closed or f"the engine died: {self._log.cause_of_death(self._cores)}"
            raise EngineDead(self._closed) from error
        except (VLLMClientError, ValueError) as error:
            raise EngineFailure("unsupported", f"vLLM refuses the request: {gist(error)}") from error
        except EngineGenerateError as error:
            raise EngineFailure("engine", f"vLLM failed on the request: {gist(error.__cause__ or error)}") from error
