"""Language models on vLLM: its asynchronous engine in the agent's own process, its core in a child of it.

Prompts go in as tokens, laid out by the same chat as in the transformers engine; vLLM batches, caches prefixes and
streams, one set of weights at a time. On GPUs a request draws with its own seed. On a CPU a seeded request kills the
core as soon as a prompt is prefilled in parts, so all requests draw from one stream. Rounding depends on who shares the
batch either way. What vLLM is told is `arguments`; what its failures mean is `explain`.
"""

import asyncio
import contextlib
import functools
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from agents.engines import vllm_scoring, vllm_weights
from agents.engines.base import Completion, EngineDead, EngineFailure, EngineStartError, Prompt, Scored, Settings
from agents.engines.chat import Chat
from agents.engines.loading import chat_of, first_line, pick_dtype
from agents.engines.rounds import Rounds
from agents.engines.transformers import check_sampling
from agents.engines.vllm_scoring import token_prompt
from agents.fetch import locked
from agents.memory import VLLM_CACHE_MB
from agents.weights import cache_folder
from broker.messages import Usage

log = logging.getLogger(__name__)

T = TypeVar("T")

CAPACITY = {"cpu": 64, "cuda": 256}
"""Requests at once where the scenario names no number."""
BLOCK = 32
"""Tokens per cached block on a CPU, where 128 is the default: a shared prefix is only cached in whole blocks."""
PROGRESS_EVERY = 8
"""Tokens between two reports of progress: each costs time in the process that also feeds the engine."""
SHUTDOWN_S = {"cpu": 0.0, "cuda": 5.0}
"""How long a core may take to tidy up. On a CPU it holds nothing that outlives it, and a training may be waiting."""
FIXED = frozenset({"model", "tokenizer", "trust_remote_code"})
"""Engine arguments that are not free: they would change whose answers are recorded, or run code beside weights."""
ENVIRONMENT = {
    # A forked core would inherit this process's sockets and threads in mid-air.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # The seat has settled cores and threads already; vLLM's own binding knows nothing of other agents.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
ROOT_CAUSE = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception): .+)$")
CONSEQUENCES = ("EngineDeadError", " INFO ", " WARNING ")
"""Marks of lines that name no cause."""
MEMORY = re.compile(r"(?i)out of ?memory|free memory|available memory|memory for the cache|KV cache|can't allocate")


class VllmEngine:
    """See agents.engines.base.Engine."""

    device: str = ""
    capacity: int = 0
    spent: float | None = None

    def __init__(self, settings: Settings) -> None:
        """Note the settings; loading, and with it vLLM's own check of its arguments, is `start`.

        Raises:
            EngineStartError: an argument that is not free.
        """
        if taken := sorted(FIXED & settings.options.keys()):
            raise EngineStartError(f"engine_args: {', '.join(taken)} cannot be set: the agent's model settles it")
        self._settings = settings
        self._llm: Any = None
        self._chat: Chat | None = None
        self._context = 0
        self._kind = "cpu"
        self._structured = False
        self._closed = "the engine was not started"
        """Why no request is taken; empty while they are taken."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._progress: Callable[[str, int], None] = lambda request_id, tokens: None
        self._said = Said()
        self._rounds = Rounds(self._switch)

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Load the model in a child process. Takes half a minute, most of it vLLM's own imports."""
        self._progress = on_progress
        self._rounds = Rounds(self._switch)
        await asyncio.to_thread(self._load)
        self._said = Said()
        self._closed = ""

    async def generate(self, prompt: Prompt) -> Completion:
        """Complete one prompt, beside those that run already."""
        return await self._endable(self._complete(prompt))

    async def _endable(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it, unless the engine is closed before or meanwhile."""
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
        """Score one text, beside the prompts that are completed."""
        return await self._endable(self._score(prompt, solution))

    async def stop(self) -> None:
        """End the core; requests under way get an EngineDead."""
        self._closed = self._closed or "the engine was stopped"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        llm, self._llm = self._llm, None
        if llm:
            if llm.output_handler:
                # Before its core ends, which it would log as a failure.
                llm.output_handler.cancel()
            await asyncio.to_thread(llm.shutdown, SHUTDOWN_S["cpu" if self._kind == "cpu" else "cuda"])

    def _load(self) -> None:
        settings = self._settings
        try:
            self._chat = chat_of(settings.folder)
            os.environ.update({"OMP_NUM_THREADS": str(max(1, settings.threads)), **ENVIRONMENT})
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.async_llm import AsyncLLM

            kind = current_platform.device_type
            check_seat(kind, settings)
            told = arguments(settings, kind)
            with alone_on(os.environ.get("CUDA_VISIBLE_DEVICES", "") if kind == "cuda" else ""):
                self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**told))
        except Exception as error:
            raise explain(error, self._said.root_cause(), settings) from error
        self._context = self._llm.model_config.max_model_len
        self._kind = kind
        self._structured = not told["skip_tokenizer_init"]
        self.capacity = told["max_num_seqs"]
        threads = f"{settings.threads} thread{'s' * (settings.threads > 1)}"
        self.device = f"cpu ({threads})" if kind == "cpu" else f"{max(1, settings.gpus)} GPU{'s' * (settings.gpus > 1)}"

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
        said: list[int] = []
        cached, reason = 0, None
        async with self._rounds.turn(prompt.weights):
            with self._failures():
                sampling = self._sampling(prompt, chat)
                async for out in self._llm.generate(token_prompt(tokens, prompt.weights), sampling, prompt.request_id):
                    (delta,) = out.outputs
                    said += delta.token_ids
                    cached = max(cached, out.num_cached_tokens or 0)
                    reason = delta.finish_reason
                    if delta.token_ids:
                        self._progress(prompt.request_id, len(delta.token_ids))
        if reason not in ("stop", "length"):
            raise EngineFailure("engine", f"vLLM ended the request: {reason}")
        usage = Usage(
            prompt_tokens=len(tokens),
            cached_tokens=cached,
            completion_tokens=len(said),
            seconds=time.monotonic() - taken,
            finish_reason="stop" if reason == "stop" else "length",
        )
        return Completion(chat.decode(tokens, said[:-1] if said and said[-1] in chat.stops else said), usage)

    async def _score(self, prompt: Prompt, solution: str) -> Scored:
        taken = time.monotonic()
        chat = self._chat
        assert chat is not None  # noqa: S101
        tokens, start = chat.encode_with(prompt.turns, prompt.begun, solution)
        if len(tokens) + 1 > self._context:
            # vLLM draws one token at the least; nobody reads it.
            raise EngineFailure(
                "context", f"{len(tokens)} tokens with the solution, and one more: the context holds {self._context}"
            )
        async with self._rounds.turn(prompt.weights):
            with self._failures():
                logprob, cached = await vllm_scoring.score(self._llm, prompt, tokens, start)
        self._progress(prompt.request_id, 0)
        usage = Usage(prompt_tokens=len(tokens), cached_tokens=cached, seconds=time.monotonic() - taken)
        return Scored(logprob, len(tokens) - start, usage)

    async def _switch(self, weights: str) -> None:
        """Make the core compute with other weights. What it has cached is told apart by the weights in each prompt."""
        settings, begun = self._settings, time.monotonic()
        assert settings.folder is not None  # noqa: S101  (start ended well)
        source = vllm_weights.source(settings.folder, settings.weights_folder, weights)
        try:
            with self._failures():
                await self._llm.collective_rpc("take_up_weights", args=tuple(source))
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
        """What vLLM raises for a request, in this project's terms."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            yield
        except EngineDeadError as error:
            why = self._said.root_cause() or "its core process is gone, and left no word why"
            self._closed = self._closed or f"the engine died: {why}"
            raise EngineDead(self._closed) from error
        except (VLLMClientError, ValueError) as error:
            raise EngineFailure("unsupported", f"vLLM refuses the request: {gist(error)}") from error
        except EngineGenerateError as error:
            raise EngineFailure("engine", f"vLLM failed on the request: {gist(error.__cause__ or error)}") from error

    def _sampling(self, prompt: Prompt, chat: Chat) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        sampling = prompt.sampling
        structure = prompt.structure if self._structured else None
        return SamplingParams(
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=None if self._kind == "cpu" else prompt.seed,
            structured_outputs=StructuredOutputsParams(regex=structure) if structure else None,
            stop_token_ids=sorted(chat.stops),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            stream_interval=PROGRESS_EVERY,
        )


def arguments(settings: Settings, kind: str) -> dict[str, Any]:
    """What vLLM is told on a device of that kind (`cpu`, `cuda`); `engine_args` of the scenario have the last word."""
    told: dict[str, Any] = {
        "model": str(settings.folder),
        # Only for structured outputs: prompts go in as tokens, and completions come out as tokens.
        "skip_tokenizer_init": False,
        "load_format": "safetensors",
        "dtype": settings.dtype,
        # -1: the model's own limit, or less where the memory for keys and values holds less.
        "max_model_len": settings.max_context or -1,
        "max_num_seqs": settings.capacity or CAPACITY["cpu" if kind == "cpu" else "cuda"],
        "enable_prefix_caching": True,
        "seed": settings.seed % (1 << 31),
        "disable_log_stats": True,
        "worker_extension_cls": vllm_weights.EXTENSION,
    }
    if kind == "cpu":
        told |= {
            "enforce_eager": True,
            "kv_cache_memory_bytes": VLLM_CACHE_MB << 20,
            "block_size": BLOCK,
            # One worker lives in the core itself: half the start, 700 MB less, and no core kept busy by waiting.
            "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
        }
        if settings.dtype == "auto":
            # vLLM would take the model's bfloat16 on any CPU, however slowly it computes in it.
            told["dtype"] = cpu_dtype()
    else:
        told["tensor_parallel_size"] = max(1, settings.gpus)
        if settings.memory_share:
            told["gpu_memory_utilization"] = settings.memory_share
    return told | settings.options


def cpu_dtype() -> str:
    """The dtype that this machine's CPU is best at."""
    import torch

    return str(pick_dtype(torch.device("cpu"))).removeprefix("torch.")


def check_seat(kind: str, settings: Settings) -> None:
    """Refuse a build of vLLM that is not for the device this agent sits on.

    Raises:
        EngineStartError: with what to do.
    """
    if kind == "cpu" and settings.gpus:
        raise EngineStartError("this vLLM is built for CPUs, and the agent sits on a GPU\ninstall vllm, or gpu: none")
    if kind != "cpu" and (not kind or os.environ.get("LBT_DEVICE") == "cpu"):
        raise EngineStartError(
            "this vLLM is built for GPUs, and the agent sits on the CPU\n"
            "install the CPU build (docs/engines.md), or take engine: transformers"
        )


@contextlib.contextmanager
def alone_on(gpus: str) -> Iterator[None]:
    """Load while no other agent loads on these GPUs: vLLM takes what others allocate meanwhile for its own."""
    with contextlib.ExitStack() as held:
        # In one order for all, so that two agents never wait for each other.
        for gpu in sorted(set(filter(None, gpus.split(",")))):
            wait = functools.partial(log.info, "waiting for another agent to load on GPU %s", gpu)
            held.enter_context(locked(cache_folder() / "locks" / f"gpu-{gpu.replace('/', '-')}.lock", wait))
        yield


class Said:
    """What this process and its children have written since: the core tells the cause of its death to the log alone."""

    def __init__(self) -> None:
        self._from = {fd: os.fstat(fd).st_size for fd in (1, 2) if stat.S_ISREG(os.fstat(fd).st_mode)}

    def root_cause(self) -> str:
        """The first error in it; empty: none, or the output is no file that can be read."""
        for fd, start in self._from.items():
            with contextlib.suppress(OSError), Path(f"/proc/self/fd/{fd}").open("rb") as file:
                file.seek(start)
                for line in file.read().decode(errors="replace").splitlines():
                    if (found := ROOT_CAUSE.search(line)) and not any(mark in line for mark in CONSEQUENCES):
                        return found[1][:300]
        return ""


def explain(error: Exception, root_cause: str, settings: Settings) -> EngineStartError | EngineDead:
    """Why it did not start, and what to do. An EngineDead: another try may go well."""
    if isinstance(error, EngineStartError):
        return error
    if isinstance(error, ImportError):
        return EngineStartError(
            f"vLLM cannot be imported: {first_line(error)}\n"
            "install it as docs/engines.md says, or take engine: transformers"
        )
    says = root_cause if root_cause and "initialization failed" in str(error) else gist(error)
    if "Error in memory profiling" in says:
        # Another program gave memory back while it was measured.
        return EngineDead(says)
    if isinstance(error, TypeError) and "argument" in says:
        return EngineStartError(f"engine_args: {says}")
    says = f"{settings.model}: vLLM cannot start: {says}"
    if "'EngineCore': -9" in says or MEMORY.search(says):
        lower = "memory_share, max_context or capacity" if settings.gpus else "engine_args.kv_cache_memory_bytes"
        return EngineStartError(f"{says}\nlower {lower}, seat fewer agents here, or take a smaller model")
    return EngineStartError(says)


def gist(error: BaseException) -> str:
    """The gist of an error's text; of a failed validation, what failed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        return re.sub(r" \[type=.*", "", " ".join(lines[1:]))[:300]
    return first_line(error)
