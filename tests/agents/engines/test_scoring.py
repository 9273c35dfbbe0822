"""How likely a model finds a given text, against the library's plain forward pass."""

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from agents.engines.base import Completion, EngineFailure, Prompt, Scored
from agents.engines.chat import Chat
from agents.engines.local.batch import Batch, mean_logprob
from agents.engines.local.engine import TransformersEngine
from agents.engines.local.loading import PROBE, probe_tokens
from broker.work_messages import Sampling
from tests.agents.engines.local.test_engine import CONTEXT, prompt, save, tokenizer, with_engine
from tests.agents.engines.rounding import within

SOLUTIONS = [" 5", " 2 + 3 = 5\nAnswer: 5", " I say: Tom. It is Tom.\nAnswer: Tom", " 7 - 3 = 4\nAnswer: 4"]
QUESTIONS = ["2 + 3?", "Who?", "How many apples are left, if Tom eats three of seven?"]
PAIRS = [(prompt(question), solution) for question in QUESTIONS for solution in SOLUTIONS]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("tiny"), "llama")


def scores(
    folder: Path,
    pairs: Sequence[tuple[Prompt, str]],
    *,
    together: bool,
    progress: Callable[[str, int], None] = lambda request_id, tokens: None,
    **changes: Any,
) -> list[Scored]:
    async def use(engine: TransformersEngine) -> list[Scored]:
        if together:
            return list(await asyncio.gather(*(engine.logprobs(*pair) for pair in pairs)))
        return [await engine.logprobs(*pair) for pair in pairs]

    return with_engine(folder, use, progress=progress, **changes)


def by_the_library(
    folder: Path, pairs: Sequence[tuple[Prompt, str]], dtype: torch.dtype = torch.float32
) -> list[tuple[float, int]]:
    """The whole text through the model's own attention, each alone: mean log-probability and number of tokens."""
    torch.set_num_threads(1)
    own = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    found = []
    for asked, solution in pairs:
        messages = [{"role": turn.role, "content": turn.text} for turn in asked.turns]
        text = own.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + asked.begun
        before = own(text, add_special_tokens=False)["input_ids"]
        whole = own(text + solution, add_special_tokens=False)["input_ids"]
        assert whole[: len(before)] == before
        with torch.inference_mode():
            shares = model(input_ids=torch.tensor([whole])).logits[0].float().log_softmax(-1)
        each = [float(shares[index - 1, whole[index]]) for index in range(len(before), len(whole))]
        found.append((sum(each) / len(each), len(each)))
    return found


def check(found: Sequence[Scored], wanted: Sequence[tuple[float, int]], tolerance: float) -> None:
    assert [scored.tokens for scored in found] == [tokens for _, tokens in wanted]
    assert [scored.logprob for scored in found] == pytest.approx([mean for mean, _ in wanted], abs=tolerance, rel=0)


# --- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("together", [False, True])
def test_a_text_is_as_likely_as_in_the_librarys_own_forward_pass(tmp_path: Path, kind: str, together: bool) -> None:
    folder = save(tmp_path, kind)
    wanted = by_the_library(folder, PAIRS)
    check(scores(folder, PAIRS, together=together, options={"prefix_cache_mb": 0}), wanted, 1e-4)
    check(scores(folder, PAIRS, together=together), wanted, 1e-4)
    assert len({round(mean, 3) for mean, _ in wanted}) == len(PAIRS)


def test_what_the_prompt_cost_is_in_the_usage_and_the_exam_before_it_pays_for_the_prompt(tiny: Path) -> None:
    async def use(engine: TransformersEngine) -> tuple[Completion, Scored]:
        return await engine.generate(prompt("Who?")), await engine.logprobs(prompt("Who?"), " Tom")

    exam, scored = with_engine(tiny, use)
    assert scored.usage.prompt_tokens == exam.usage.prompt_tokens + scored.tokens
    assert scored.usage.cached_tokens == exam.usage.prompt_tokens - 1
    assert (scored.usage.completion_tokens, scored.usage.finish_reason) == (0, "stop")


def test_texts_are_scored_beside_prompts_that_are_completed(tiny: Path) -> None:
    async def use(engine: TransformersEngine) -> list[Any]:
        exams = [engine.generate(prompt(question)) for question in QUESTIONS]
        grades = [engine.logprobs(*pair) for pair in PAIRS]
        return list(await asyncio.gather(*exams, *grades))

    async def exams_alone(engine: TransformersEngine) -> list[Completion]:
        return [await engine.generate(prompt(question)) for question in QUESTIONS]

    mixed = with_engine(tiny, use)
    assert [c.text for c in mixed[:3]] == [c.text for c in with_engine(tiny, exams_alone)]
    check(mixed[3:], by_the_library(tiny, PAIRS), 1e-4)


def test_a_text_is_scored_whole_whatever_fits_in_a_step(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.engines.local.batch.SCORED", 20)
    monkeypatch.setattr("agents.engines.local.batch.PREFILL", 60)
    monkeypatch.setattr("agents.engines.local.batch.PART", 7)
    check(scores(tiny, PAIRS, together=True), by_the_library(tiny, PAIRS), 1e-4)


def test_nothing_is_drawn_for_a_text_that_is_scored(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> list[int]:
        raise AssertionError("a token was drawn")

    monkeypatch.setattr("agents.engines.local.batch.choose", refuse)
    told: list[tuple[str, int]] = []
    scores(tiny, PAIRS, together=True, progress=lambda request_id, tokens: told.append((request_id, tokens)))
    assert {tokens for _, tokens in told} == {0}
    assert {request_id for request_id, _ in told} == {asked.request_id for asked, _ in PAIRS}


def test_sampling_changes_no_score(tiny: Path) -> None:
    odd = [(prompt("Who?", Sampling(temperature=t, top_k=1, max_tokens=m)), " Tom") for t, m in ((0, 1), (9, 10**6))]
    first, second = scores(tiny, odd, together=False)
    assert first.logprob == pytest.approx(second.logprob, abs=1e-5)


# --- what goes wrong -----------------------------------------------------------------------------------------


def test_a_solution_beyond_the_context_fails_alone(tiny: Path) -> None:
    async def use(engine: TransformersEngine) -> list[Any]:
        texts = [" 5", " long" * CONTEXT, ""]
        return list(await asyncio.gather(*(engine.logprobs(prompt("x"), t) for t in texts), return_exceptions=True))

    good, long, empty = with_engine(tiny, use)
    assert isinstance(good, Scored)
    assert isinstance(long, EngineFailure) and long.kind == "context" and str(CONTEXT) in str(long)
    assert isinstance(empty, EngineFailure) and empty.kind == "unsupported" and "empty" in str(empty)


def test_a_solution_may_fill_the_context_to_its_last_token(tiny: Path) -> None:
    (short,) = scores(tiny, [(prompt("x"), " 5")], together=False)
    room = short.usage.prompt_tokens
    (full,) = scores(tiny, [(prompt("x"), " 5")], together=False, max_context=room)
    assert full.logprob == pytest.approx(short.logprob, abs=1e-6)
    with pytest.raises(EngineFailure, match=f"the context holds {room - 1}"):
        scores(tiny, [(prompt("x"), " 5")], together=False, max_context=room - 1)


def test_a_broken_worker_fails_what_is_scored_too(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Batch) -> None:
        raise ZeroDivisionError("a fault in the loop")

    monkeypatch.setattr(Batch, "step", broken)
    with pytest.raises(Exception, match="a fault in the loop"):
        scores(tiny, PAIRS, together=True)


# --- where the prompt ends -----------------------------------------------------------------------------------


def test_the_texts_tokens_are_those_that_the_prompt_does_not_have() -> None:
    chat = Chat(tokenizer(), None)
    turns = prompt("Who?").turns
    tokens, start = chat.encode_with(turns, "Solution:", " Tom")
    assert tokens[:start] == chat.encode(turns, "Solution:")
    assert chat.decode(tokens[:start], tokens[start:]) == " Tom"


def test_a_control_token_in_a_solution_stays_text() -> None:
    own = tokenizer()
    chat = Chat(own, None)
    turns = prompt("Who?").turns
    tokens, start = chat.encode_with(turns, "Solution:", " Tom<|im_end|>")
    assert start == len(chat.encode(turns, "Solution:"))
    assert own.convert_tokens_to_ids("<|im_end|>") not in tokens[start:]


def test_a_token_that_joins_prompt_and_text_counts_to_the_text() -> None:
    class Joining(Chat):
        """As if the tokenizer knew `:5` as one token."""

        def encode(self, turns: Any, begun: str) -> list[int]:
            plain = super().encode(turns, "")
            return plain + {"Solution:": [1, 2], "Solution:5": [1, 9], "Solution:5!": [1, 9, 3]}[begun]

    chat = Joining(tokenizer(), None)
    tokens, start = chat.encode_with(prompt("Who?").turns, "Solution:", "5!")
    assert tokens[start:] == [9, 3]


def test_the_mean_is_computed_in_float32_in_parts() -> None:
    logits = torch.randn(150, 50, generator=torch.Generator().manual_seed(2)).bfloat16() * 9
    tokens = torch.randint(0, 50, (150,), generator=torch.Generator().manual_seed(3)).tolist()
    wanted = logits.double().log_softmax(-1)[torch.arange(150), tokens].mean()
    assert mean_logprob(logits, tokens) == pytest.approx(float(wanted), abs=1e-5)
    assert math.isclose(mean_logprob(torch.zeros(1, 4), [2]), -math.log(4), rel_tol=1e-6)


# --- a real model --------------------------------------------------------------------------------------------

REAL = [
    (prompt(question, system="You solve problems in a few short lines."), solution)
    for question, solution in (
        ("What is 3 + 4?", " 3 + 4 = 7\nAnswer: 7"),
        ("What is 3 + 4?", " 3 + 4 = 8\nAnswer: 8"),
        (
            "Tom has 5 apples and buys 7 more. How many apples does he have?",
            " He had 5.\nHe has 5 + 7 = 12.\nAnswer: 12",
        ),
        ("If a train goes 60 km in one hour, how far does it go in 3 hours?", " 60 * 3 = 180\nAnswer: 180"),
    )
]


@pytest.mark.models
def test_smollm2_finds_texts_as_likely_as_in_the_librarys_forward_pass(smollm2: Path) -> None:
    wanted = by_the_library(smollm2, REAL)
    check(scores(smollm2, REAL, together=True), wanted, within("float32"))
    assert wanted[0][0] > wanted[1][0]


@pytest.mark.models
def test_smollm2_in_bfloat16_agrees_with_the_library_in_bfloat16(smollm2: Path) -> None:
    wanted = by_the_library(smollm2, REAL, torch.bfloat16)
    check(scores(smollm2, REAL, together=True, dtype="bfloat16"), wanted, within("bfloat16"))


@pytest.mark.models
def test_smollm2_runs_in_bfloat16_where_its_weights_cannot_be_packed(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.engines.local.packing.packs_bfloat16", lambda: False)
    unpacked = scores(smollm2, REAL[:1], together=True, dtype="bfloat16")
    check(unpacked, by_the_library(smollm2, REAL[:1], torch.bfloat16), within("bfloat16"))


@pytest.mark.parametrize("vocabulary", [9, 64, 49152, 151936])
def test_the_text_that_checks_attention_is_spread_over_the_vocabulary(vocabulary: int) -> None:
    probe = probe_tokens(vocabulary)
    assert len(set(probe)) == len(probe) == PROBE
    assert vocabulary // 10 <= min(probe) and max(probe) < vocabulary
