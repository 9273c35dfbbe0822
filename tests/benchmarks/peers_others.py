"""What people use instead, for `peers`: each way answers the same exams in processes of its own, which then end.

Every way first answers one short exam that does not count, and gets finished prompt texts.
"""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import psutil

from agents import engines
from agents.engines.base import EngineSettings
from agents.engines.vllm.config import BLOCK, CAPACITY, ENVIRONMENT, arguments
from agents.models.catalogue import CATALOGUE
from agents.models.fetch import fetch_gguf
from agents.models.weights import cache_part, no_progress
from agents.placement.memory import VLLM_CACHE_BYTES
from tests.benchmarks.peers_class import PeakMemory
from tests.classes import ROOT, WAIT_S
from tests.ports import free_port

WARM_UP_TOKENS = 4
GRACE_S = 30


class Job(NamedTuple):
    """The exams of one round."""

    folder: Path
    """Of the model."""
    prompts: list[list[str]]
    """By TR."""
    max_tokens: int
    threads: int
    context: int
    """Tokens of the longest prompt and its answer."""

    @property
    def asked(self) -> list[str]:
        """All prompts, TR by TR."""
        return [prompt for prompts in self.prompts for prompt in prompts]


class Outcome(NamedTuple):
    """One round of one way."""

    texts: list[str]
    """In the order of `Job.asked`."""
    start_s: float
    seconds: float
    pss_mb: float


class PeerError(Exception):
    """A way ended before it had answered."""


# --- libraries, in a process of their own ---------------------------------------------------------------------


def reference(job: Job) -> Outcome:
    """The way of the paper's code: one TR after another, all exams of one in a batch of a transformers pipeline."""
    return _in_process(_serve_pipeline, job)


def bare_vllm(job: Job) -> Outcome:
    """vLLM's `LLM`, which gets all exams in one call, with the arguments that this project uses."""
    return _in_process(_serve_vllm, job)


def _serve_pipeline(job: Job, pipe: Connection) -> None:
    import torch
    import transformers

    torch.set_num_threads(job.threads)
    transformers.utils.logging.set_verbosity_error()
    local = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.folder, padding_side="left", **local)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job.folder, dtype=torch.bfloat16, use_safetensors=True, **local
    )
    generate = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")

    def answer(prompts: Sequence[Sequence[str]], max_tokens: int) -> list[str]:
        texts = []
        for batch in prompts:
            found = generate(
                list(batch),
                batch_size=len(batch),
                do_sample=False,
                max_new_tokens=max_tokens,
                return_full_text=False,
            )
            texts += [each[0]["generated_text"] for each in found]
        return texts

    _serve(job, pipe, answer)


def _serve_vllm(job: Job, pipe: Connection) -> None:
    os.environ.update(ENVIRONMENT)
    from vllm import LLM, SamplingParams
    from vllm.platforms import current_platform

    settings = EngineSettings(
        job.folder.name, job.folder, capacity=CAPACITY["cpu"], threads=job.threads, dtype="bfloat16"
    )
    engine = LLM(**arguments(settings, current_platform.device_type))

    def answer(prompts: Sequence[Sequence[str]], max_tokens: int) -> list[str]:
        sampling = SamplingParams(temperature=0, max_tokens=max_tokens)
        found = engine.generate([one for batch in prompts for one in batch], sampling, use_tqdm=False)
        return [each.outputs[0].text for each in found]

    _serve(job, pipe, answer)
    # Else this process waits for the core to end before it tells it to.
    engine.llm_engine.engine_core.shutdown()


def _serve(job: Job, pipe: Connection, answer: Callable[[Sequence[Sequence[str]], int], list[str]]) -> None:
    answer([job.prompts[0][:1]], WARM_UP_TOKENS)
    pipe.send(None)
    pipe.recv()
    pipe.send(answer(job.prompts, job.max_tokens))


def _in_process(serve: Callable[[Job, Connection], None], job: Job) -> Outcome:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(job, theirs))
    begin = time.perf_counter()
    with _threads(job.threads):
        process.start()
    theirs.close()
    assert process.pid
    with PeakMemory(process.pid) as memory:
        try:
            ours.recv()
            ready = time.perf_counter()
            ours.send(None)
            texts = ours.recv()
            end = time.perf_counter()
        except EOFError as error:
            raise PeerError("its process ended before it had answered") from error
        except BaseException:
            _end_all(process.pid)
            raise
        finally:
            process.join()
    return Outcome(texts, ready - begin, end - ready, memory.mb)


def _end_all(pid: int) -> None:
    """End a process and all that it started; vLLM's engine outlives the process that it serves."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes that start meanwhile compute with so many threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


# --- an asyncio script at an OpenAI-compatible server ---------------------------------------------------------


def transformers_serve(job: Job) -> Outcome:
    """The script at `transformers serve`, which answers one request after another.

    It batches with `--continuous-batching`, but then takes nine tenths of the free memory for keys and values.
    """
    words = ["-m", "transformers.cli.transformers", "serve", "--device", "cpu", "--dtype", "bfloat16"]
    return _at_server(job, [*words, "--host", "127.0.0.1", "--port", "PORT", str(job.folder)])


def vllm_server(job: Job) -> Outcome:
    """The script at vLLM's server, with the arguments that this project gives vLLM where the server has them."""
    words = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(job.folder), "--dtype", "bfloat16"]
    words += ["--enforce-eager", "--max-num-seqs", str(CAPACITY["cpu"]), "--host", "127.0.0.1", "--port", "PORT"]
    words += ["--kv-cache-memory-bytes", str(VLLM_CACHE_BYTES), "--block-size", str(BLOCK)]
    return _at_server(job, words)


def llama_cpp(job: Job) -> Outcome:
    """The script at llama.cpp's server, with the 4-bit file from which the catalogue's model was converted."""
    entry = CATALOGUE[job.folder.name]
    work = cache_part("downloads", f"{job.folder.name}-gguf")
    file = fetch_gguf(entry.sources, entry.size, entry.sha256, work, job.folder.name, no_progress)
    return _at_server(
        job, ["-m", "tests.benchmarks.peers_llama", "PORT", str(file), str(job.threads), str(job.context)]
    )


def _at_server(job: Job, words: Sequence[str]) -> Outcome:
    with tempfile.TemporaryDirectory() as hub, open(Path(hub) / "log", "w+") as log:
        env = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(job.threads), "HF_HUB_OFFLINE": "1", "HF_HOME": hub}
        port = str(free_port())
        command = [sys.executable, *(word.replace("PORT", port) for word in words)]
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            with PeakMemory(process.pid) as memory:
                texts, ready, end = asyncio.run(_ask_server(job, f"http://127.0.0.1:{port}/v1", process))
        except PeerError as error:
            log.seek(0)
            raise PeerError(f"{error}: {log.read().strip()[-300:]}") from error
        finally:
            stop(process)
    return Outcome(texts, ready - begin, end - ready, memory.mb)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server; one that still answers something would wait for that."""
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(WAIT_S)


async def _ask_server(job: Job, url: str, process: subprocess.Popen[bytes]) -> tuple[list[str], float, float]:
    """All answers, when the server was ready, and when it had answered."""
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=WAIT_S) as client:

        async def ask(prompt: str, max_tokens: int) -> str:
            found = await client.completions.create(
                model=str(job.folder), prompt=prompt, temperature=0, max_tokens=max_tokens
            )
            return str(found.choices[0].text)

        begin = time.perf_counter()
        while True:
            try:
                await ask(job.asked[0], WARM_UP_TOKENS)
                break
            except (openai.APIConnectionError, openai.InternalServerError):
                if process.poll() is not None or time.perf_counter() > begin + WAIT_S:
                    raise PeerError("the server ended, or answers nothing") from None
                await asyncio.sleep(0.2)
        ready = time.perf_counter()
        try:
            texts = await asyncio.gather(*(ask(prompt, job.max_tokens) for prompt in job.asked))
        except openai.OpenAIError as error:
            raise PeerError(f"the server refused: {error}") from error
        return texts, ready, time.perf_counter()


class Way(NamedTuple):
    """One of the ways."""

    what: str
    answer: Callable[[Job], Outcome]
    missing: str
    """Why it is left out on this machine; empty: it can run."""


def ways(model: str) -> dict[str, Way]:
    """All ways by name, also those that cannot run here."""
    no_vllm = "" if engines.vllm_build() == "cpu" else "the CPU build of vLLM is not installed (docs/engines.md)"
    no_llama = "" if find_spec("xllamacpp") else "llama.cpp is not installed (pip install xllamacpp)"
    if model not in CATALOGUE:
        no_llama = "the catalogue has no GGUF file of this model"
    served = "a plain asyncio script that asks all exams at once, at"
    return {
        "reference": Way("one TR after another, a transformers pipeline, its exams in one batch", reference, ""),
        "bare vLLM": Way("all exams in one batch", bare_vllm, no_vllm),
        "transformers serve": Way(f"{served} transformers serve", transformers_serve, ""),
        "vLLM server": Way(f"{served} vLLM's server", vllm_server, no_vllm),
        "llama.cpp server": Way(f"{served} llama.cpp's server, 4-bit weights", llama_cpp, no_llama),
    }
