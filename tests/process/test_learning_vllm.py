"""A whole class of level 2 whose teacher is a real model on vLLM; its student is simulated, which saves a start."""

import asyncio
import contextlib
import json
from pathlib import Path

import psutil
import pytest

from agents import engines, handlers
from scenarios.store.sqlite import Store
from tests import classes
from tests.agents.engines.rounding import within

SCENARIO = """\
name: learn_on_vllm
level: 2
seed: 3
task: {family: chain_sum, problems: 3, demonstrations: 1}
teacher:
  name: teacher
  model: smollm2-135m-instruct
  engine: vllm
  gpu: none
  max_context: 1024
  engine_args: {kv_cache_memory_bytes: 268435456}
students:
  # Her exams tell even wrong rationales apart: what vLLM samples, and if any of it is right, differs from CPU to CPU.
  - {name: ada, engine: simulated, engine_args: {ability: 2, uptake: 4}}
lesson: {rationales: 8, greedy: false, sampling: {temperature: 1.0, max_tokens: 24}}
exam: {problems: 5}
learn:
  gap: 0
  pairs_per_tp: 1
  arms: [m2]
  held_out: 2
  samples: 1
  rationales: 1
  training: {batch: 1, learning_rate: 2.0e-3}
"""


def cores(process: psutil.Process) -> list[psutil.Process]:
    """Of vLLM, below this process."""
    found = []
    for one in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if one.name().startswith("VLLM") and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def likely(out: Path, weights: str) -> list[tuple[float, float]]:
    """What the class says of how likely some texts are under these weights, and what transformers says of them."""
    from agents.engines.base import EngineSettings
    from agents.engines.local.engine import TransformersEngine
    from agents.models.catalogue import ensure
    from broker.work_messages import Exemplar, Grade

    with Store(out) as store:
        shown = tuple(Exemplar(*map(str, row)) for row in store.query("SELECT problem, rationale FROM demonstration"))
        rows = store.query(
            "SELECT p.text, t.text, r.score FROM result r JOIN problem p ON p.id = r.tp "
            "JOIN result t ON t.request_id = r.tr WHERE r.kind = 'Grade' AND r.weights = ?",
            weights,
        )

    async def by_transformers() -> list[tuple[float, float]]:
        engine = TransformersEngine(
            EngineSettings("smollm2", ensure("smollm2-135m-instruct").folder, 4, 1, weights_folder=str(out / "weights"))
        )
        await engine.start(lambda request_id, tokens: None)
        try:
            found = []
            for problem, text, score in rows:
                asked = Grade(
                    problem=str(problem),
                    answer_form="number",
                    solution=str(text),
                    material=(),
                    demonstrations=shown,
                    weights=weights,
                )
                graded = await handlers.grade(engine, "", f"{problem}{text}{weights}", asked)
                found.append((float(str(score)), graded.logprob))
            return found
        finally:
            await engine.stop()

    return asyncio.run(by_transformers())


@pytest.mark.models
@pytest.mark.vllm
@pytest.mark.skipif(engines.vllm_build() != "cpu", reason="the CPU build of vLLM is not installed (docs/engines.md)")
def test_a_teacher_on_vllm_makes_room_learns_and_answers_with_what_it_learnt(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    scenario, out = tmp_path / "learn.yaml", tmp_path / "run"
    scenario.write_text(SCENARIO)
    process = classes.start(out, scenario=scenario)
    classes.wait_until(process, lambda: classes.results(out) > 0)
    teacher = classes.child(process, "teacher")
    assert len(cores(teacher)) == 1
    classes.wait_until(process, lambda: bool(classes.events(out, "progress")))
    assert cores(teacher) == []
    classes.finish(process)

    summary = json.loads((out / "summary.json").read_text())
    (one,) = summary["levels"]["2"]["rounds"]
    (arm,) = one["arms"]
    assert (summary["status"], summary["counts"]["failed"], arm["status"]) == ("complete", 0, "trained")
    assert [row["teacher"] for row in one["teachers"]] == ["original", "m2"]
    # Once at its birth, and once after the training; by one process.
    ready = [event for event in classes.events(out, "ready") if event.startswith("teacher")]
    assert (len(ready), classes.events(out, "restart")) == (2, [])
    under_new, under_old = likely(out, arm["weights"]), likely(out, "")
    assert len(under_new) == len(under_old) > 0
    for said, wanted in (*under_new, *under_old):
        assert said == pytest.approx(wanted, abs=within("bfloat16"))
    # How much more or less likely a sampled text becomes differs from CPU to CPU; the trained weights say it best.
    far = [
        sum(abs(said - wanted) for (said, _), (_, wanted) in zip(under_new, of, strict=True))
        for of in (under_new, under_old)
    ]
    assert far[0] < far[1]
