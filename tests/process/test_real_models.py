"""A whole class on a real language model, once with each engine: SmolLM2 teaches itself."""

import json
from pathlib import Path

import pytest

from agents import engines
from tests import classes

SCENARIO = """\
name: real
seed: 3
task: {family: chain_sum, problems: 2}
teacher: {name: teacher, model: smollm2-135m-instruct}
students:
  - {name: ada, model: smollm2-135m-instruct}
  - {name: ben, model: smollm2-135m-instruct, persona: You are brief.}
lesson: {rationales: 2, sampling: {max_tokens: 48}}
exam: {problems: 1, sampling: {max_tokens: 48}}
"""


@pytest.mark.models
@pytest.mark.parametrize(
    "engine",
    [
        "transformers",
        pytest.param(
            "vllm",
            marks=[
                pytest.mark.vllm,
                pytest.mark.skipif(
                    engines.vllm_build() != "cpu", reason="the CPU build of vLLM is not installed (docs/engines.md)"
                ),
            ],
        ),
    ],
)
def test_a_class_with_a_real_model_runs_and_resumes_to_itself(tmp_path: Path, engine: str) -> None:
    scenario, out = tmp_path / "real.yaml", tmp_path / "run"
    # Little room for keys and values: three of these engines fit beside other work.
    args = ", engine_args: {kv_cache_memory_bytes: 268435456}" if engine == "vllm" else ""
    scenario.write_text(SCENARIO.replace("instruct", f"instruct, engine: {engine}, gpu: none{args}"))
    said = classes.say(scenario, "--out", out, "--monitor", "plain")
    assert "SmolLM2" in said or "smollm2-135m-instruct" in said
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["status"], summary["simulated"]) == ("complete", False)
    assert {agent["engine"] for agent in summary["agents"]} == {engine}
    assert all(agent["completion_tokens"] > 0 for agent in summary["agents"] if agent["requests"])
    before = classes.gradebook(out)
    assert len({text for _, text, _, _ in before}) > 1
    assert "reused from earlier sessions" in classes.say("resume", out)
    assert classes.gradebook(out) == before
