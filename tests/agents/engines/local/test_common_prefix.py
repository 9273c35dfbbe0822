"""Completions and scores of requests that attend to a common prefix together."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import torch
import transformers

from agents.engines.base import Prompt, Scored
from agents.engines.local import attention
from agents.engines.local.attention import AttentionPlan
from agents.engines.local.batch import Batch, BatchRow
from agents.engines.local.engine import TransformersEngine
from agents.engines.local.loading import load
from broker.work_messages import Sampling
from tests.agents.engines.local.test_engine import QUESTIONS, WARM, answers, by_the_library, prompt, save, with_engine
from tests.agents.models import trained_weights as make

SYSTEM = "Ada has three apples and gives one of them to Ben, who eats it at once; then both go home. " * 2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("tiny"), "llama", max_position_embeddings=1024)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[AttentionPlan]]:
    """The plans of all steps in which rows attended together."""
    found: list[AttentionPlan] = []
    together = attention.in_groups

    def noted(
        query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: AttentionPlan, scale: float
    ) -> torch.Tensor:
        if not found or found[-1] is not plan:
            found.append(plan)
        return together(query, keys, values, plan, scale)

    monkeypatch.setattr(attention, "in_groups", noted)
    yield found
    assert found, "no rows attended together"


def requests(system: str, limits: Sequence[int], seed: int = 0) -> list[Prompt]:
    """Greedy requests that begin alike, with these numbers of new tokens."""
    draw = random.Random(seed)
    questions = [f"{draw.choice(QUESTIONS)} {draw.randrange(99)} {'more ' * draw.randrange(5)}" for _ in limits]
    return [
        prompt(question, Sampling(temperature=0, max_tokens=limit), system=system)
        for question, limit in zip(questions, limits, strict=True)
    ]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("length", [0, 1, 90, len(SYSTEM)])
def test_greedy_text_is_the_librarys_own_whatever_requests_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plans: list[AttentionPlan], kind: str, length: int
) -> None:
    """Requests join and leave at different times, since their limits differ and five run at once."""
    monkeypatch.setattr(attention, "CALL", 0)
    monkeypatch.setattr(attention, "MERGE", 0)
    folder = save(tmp_path, kind, max_position_embeddings=1024)
    asked = requests(SYSTEM[:length], [3, 12, 5, 9, 14, 7, 4, 11, 6])
    texts = [completion.text for completion in answers(folder, asked, together=True, capacity=5)]
    assert texts == by_the_library(folder, asked)
    assert len({tuple(sorted(map(tuple, plan.groups))) for plan in plans}) > 1
    assert max(plan.common for plan in plans) >= length


@pytest.mark.parametrize("cached", [0, 1, 256])
def test_groups_in_one_batch_each_say_what_the_library_says(
    tiny: Path, plans: list[AttentionPlan], cached: int
) -> None:
    """Two groups whose prompts differ from the first letter on, and requests of neither."""
    first = requests("A" + SYSTEM, [8, 12, 10, 14, 9], seed=1)
    second = requests("B" + SYSTEM, [11, 7, 13, 9, 12], seed=2)
    others = [prompt("Who?", Sampling(temperature=0, max_tokens=10), system=system) for system in ("x", "y" * 500)]
    mixed = [each for pair in zip(first, second, strict=True) for each in pair] + others
    options = {"prefix_cache_mb": cached}
    texts = [each.text for each in answers(tiny, mixed, together=True, capacity=12, options=options)]
    assert texts == by_the_library(tiny, mixed)
    assert max(len(plan.groups) for plan in plans) == 2
    assert any(plan.apart for plan in plans)


def test_samples_of_one_prompt_attend_to_all_of_it_together_and_are_what_they_are_alone(
    tiny: Path, plans: list[AttentionPlan]
) -> None:
    asked = [prompt("Who?", WARM, seed, system=SYSTEM) for seed in range(6)]
    together = answers(tiny, asked, together=True, capacity=6)
    assert max(plan.common for plan in plans) == together[0].usage.prompt_tokens - 1
    assert [each.text for each in together] == [each.text for each in answers(tiny, asked, together=False)]
    assert len({each.text for each in together}) > 4


@pytest.mark.parametrize("kind", ["adapter", "complete"])
def test_requests_for_other_weights_never_attend_together(
    tiny: Path, tmp_path: Path, plans: list[AttentionPlan], kind: str
) -> None:
    adapter, added = make.adapter(tiny, tmp_path, 11)
    complete = make.complete(tiny, tmp_path, added)
    base = requests(SYSTEM, [9] * 6)
    weights = adapter if kind == "adapter" else complete
    trained = [msgspec.structs.replace(each, weights=weights) for each in base]
    mixed = [each for pair in zip(base, trained, strict=True) for each in pair]
    said = [each.text for each in answers(tiny, mixed, together=True, capacity=6, weights_folder=str(tmp_path))]
    assert said[::2] == by_the_library(tiny, base)
    assert said[1::2] == by_the_library(tmp_path / complete, base)
    assert said[::2] != said[1::2]


def test_scores_are_the_same_beside_requests_that_attend_together(tiny: Path, plans: list[AttentionPlan]) -> None:
    solutions = [" 5", " ", " I say: Tom.\nAnswer: Tom"] * 2

    async def use(engine: TransformersEngine, *, together: bool) -> list[Scored]:
        asked = requests(SYSTEM, [20] * 6)
        scores = [engine.logprobs(each, solution) for each, solution in zip(asked, solutions, strict=True)]
        if not together:
            return [await score for score in scores]
        found = await asyncio.gather(*map(engine.generate, asked), *scores)
        return [each for each in found if isinstance(each, Scored)]

    alone = with_engine(tiny, lambda engine: use(engine, together=False))
    beside = with_engine(tiny, lambda engine: use(engine, together=True), capacity=12)
    assert [each.logprob for each in beside] == pytest.approx([each.logprob for each in alone], abs=1e-5, rel=0)


@torch.inference_mode()
def errors(folder: Path, dtype: torch.dtype, system: str) -> tuple[float, float]:
    """Root mean square error of log-probabilities against the library in float32: of rows that attend together in
    `dtype`, and of the library in `dtype`."""
    torch.set_num_threads(1)
    chat, model = load(folder, torch.device("cpu"), dtype)
    asked = [*requests(system, [9] * 4, seed=1), *requests("B" + system, [9] * 4, seed=2)]
    waiting = [BatchRow(chat.encode(each.turns, each.begun), each.sampling, each.seed) for each in asked]
    batch = Batch(model, capacity=len(waiting), memory=1 << 28, prefix_memory=1 << 26)
    while waiting:
        batch.join(waiting)
        batch.step()
    for _ in range(3):
        batch.step()

    def by_the_librarys_attention(dtype: torch.dtype) -> torch.Tensor:
        own = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        logits = [own(torch.tensor([row.tokens])).logits[0, -1].float() for row in batch.rows]
        return torch.stack(logits).log_softmax(-1)

    wanted, library = by_the_librarys_attention(torch.float32), by_the_librarys_attention(dtype)
    off = [float((got - wanted).square().mean().sqrt()) for got in (batch.logits().float().log_softmax(-1), library)]
    return off[0], off[1]


def test_log_probabilities_in_float32_are_the_librarys_own(tiny: Path, plans: list[AttentionPlan]) -> None:
    assert errors(tiny, torch.float32, SYSTEM)[0] < 1e-4


def test_log_probabilities_in_bfloat16_are_off_by_what_rounding_explains(
    tiny: Path, plans: list[AttentionPlan]
) -> None:
    """Rows that attend together round twice more in a layer than the library, of about a dozen times: each of the two
    parts, before they are merged. Both errors follow from the arithmetic of this CPU, so they are compared on it."""
    own, library = errors(tiny, torch.bfloat16, SYSTEM)
    assert own < 2 * library


@pytest.mark.models
def test_log_probabilities_of_smollm2_in_bfloat16_are_off_by_what_rounding_explains(
    smollm2: Path, plans: list[AttentionPlan]
) -> None:
    own, library = errors(smollm2, torch.bfloat16, SYSTEM * 4)
    assert own < 2 * library


@pytest.mark.models
def test_smollm2_says_greedily_what_the_library_says(smollm2: Path, plans: list[AttentionPlan]) -> None:
    asked = requests(SYSTEM * 4, [12, 6, 9, 12, 8, 10, 12, 7])
    said = [each.text for each in answers(smollm2, asked, together=True, capacity=6)]
    assert said == by_the_library(smollm2, asked)
