"""The engine for servers at a real one: `transformers serve` with SmolLM2, on a CPU."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")
pytest.importorskip("fastapi", reason="transformers serve needs fastapi")
pytest.importorskip("uvicorn", reason="transformers serve needs uvicorn")

from agents import prompts
from agents.engines.base import Completion, EngineSettings, EngineStartError
from agents.engines.openai.capabilities import INSTEAD
from agents.engines.openai.engine import OpenAIEngine
from agents.models.catalogue import ensure
from broker.work_messages import Examine, Exemplar, Sampling
from tests.agents.engines.openai.at_a_server import answer
from tests.ports import free_port

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of the server, and its name for the model."""
    folder = str(ensure("smollm2-135m-instruct").folder)
    port = free_port()
    words = ["serve", "--device", "cpu", "--dtype", "bfloat16", "--host", "127.0.0.1", "--port", str(port), folder]
    process = subprocess.Popen(
        [sys.executable, "-m", "transformers.cli.transformers", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path_factory.mktemp("hub"))},
    )
    assert process.stderr
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if "Uvicorn running" in line:
            break
    else:
        pytest.fail(f"transformers serve did not start: {''.join(said[-5:])}")
    # What it says later must not fill the pipe.
    reader = threading.Thread(target=process.stderr.read, daemon=True)
    reader.start()
    yield f"http://127.0.0.1:{port}/v1", folder
    process.terminate()
    process.wait(600)
    reader.join()
    process.stderr.close()


def at(served: tuple[str, str], model: str = "") -> OpenAIEngine:
    options = {"base_url": served[0], "retries": 1, "timeout_s": 1200}
    return OpenAIEngine(EngineSettings(model=model or served[1], folder=None, capacity=2, threads=1, options=options))


def test_it_answers_and_what_it_does_not_take_is_found_out(
    served: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    material = (Exemplar("2 + 2?", "2 + 2 = 4\nAnswer: 4"),)
    greedy = Sampling(temperature=0, max_tokens=32)
    asked = [Examine(problem=f"{n} + 3?", answer_form="number", sampling=greedy, material=material) for n in (1, 2, 1)]
    outcomes = answer(at(served), *(prompts.prompt(str(n), request, "") for n, request in enumerate(asked)))
    assert all(isinstance(outcome, Completion) for outcome in outcomes), outcomes
    assert all("Answer:" in outcome.text and "Solution:" not in outcome.text for outcome in outcomes)
    assert outcomes[0].text == outcomes[2].text != outcomes[1].text
    usage = outcomes[0].usage
    assert usage.prompt_tokens > 40 and 4 < usage.completion_tokens <= 32
    given_up = [name for name in INSTEAD if f"takes no {name}," in caplog.text]
    assert given_up == ["continuation", "prefill", "top_k"]


def test_another_model_is_refused_at_the_start(served: tuple[str, str]) -> None:
    with pytest.raises(EngineStartError, match="refuses to answer as 'other'"):
        answer(at(served, "other"))
