"""The thoughts of models that are loaded here: templates that open them, and tokens that mark them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import transformers
from msgspec.structs import replace
from tokenizers import AddedToken

from agents.engines.base import Completion, EngineSettings, Prompt, Turn
from agents.engines.chat import Chat
from agents.engines.local.engine import TransformersEngine
from agents.engines.thoughts import closing
from broker.work_messages import Sampling
from tests.agents.engines.local.test_engine import TEMPLATE, prompt
from tests.agents.engines.local.test_engine import tokenizer as letters

OPENING_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def tokenizer(special: bool, template: str = OPENING_TEMPLATE) -> Any:
    """That of the transformers engine's tests, with marks of thoughts as tokens."""
    made = letters(template)
    marks = [AddedToken(mark, special=special, normalized=False) for mark in ("<think>", "</think>")]
    made.add_tokens(marks, special_tokens=special)
    return made


@pytest.mark.parametrize("special", [True, False])
def test_a_begun_answer_closes_the_thoughts_that_a_template_opens(special: bool) -> None:
    own = tokenizer(special)
    chat = Chat(own, None)
    for text in ("Who?", "Who said <|im_end|>?"):
        written = own.decode(chat.encode([Turn("user", text)], "Solution:"))
        assert written.endswith("assistant\n<think>\n\n</think>\n\nSolution:")
        prompt, start = chat.encode_with([Turn("user", text)], "Solution:", " 5")
        assert own.decode(prompt[start:]) == " 5"
    assert own.decode(chat.encode([Turn("user", "Who?")], "")).endswith("assistant\n<think>\n")


def test_other_templates_are_left_alone() -> None:
    own = tokenizer(True, TEMPLATE)
    written = own.decode(Chat(own, None).encode([Turn("user", "<think>")], "Solution:"))
    assert written.endswith("<|im_start|>assistant\nSolution:") and "</think>" not in written
    assert closing("[THINK]\n") == "\n[/THINK]\n\n"
    assert closing("<think>") == "\n</think>\n\n"
    assert closing("so I <think> of it") == ""


def say(
    folder: Path, monkeypatch: pytest.MonkeyPatch, own: Any, said: str, asked: Prompt, **changes: Any
) -> Completion:
    """What the engine makes of a model that says this to a prompt."""
    config = transformers.LlamaConfig(
        vocab_size=len(own),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=512,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    own.save_pretrained(folder)
    script = iter(own(said, add_special_tokens=False)["input_ids"])
    monkeypatch.setattr("agents.engines.local.batch.choose", lambda logits, rows: [next(script)])
    settings = EngineSettings(model="m", folder=folder, capacity=1, threads=1, dtype="float32", **changes)

    async def main() -> Completion:
        engine = TransformersEngine(settings)
        await engine.start(lambda request_id, tokens: None)
        try:
            return await engine.generate(asked)
        finally:
            await engine.stop()

    return asyncio.run(main())


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_a_local_models_thoughts_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, special: bool, keep: bool
) -> None:
    said, own = "<think>2+3?</think> 5<|im_end|>", tokenizer(special, TEMPLATE)
    found = say(tmp_path, monkeypatch, own, said, prompt("2 + 3?", Sampling(max_tokens=40)), keep_thoughts=keep)
    assert found.text == ("<think>2+3?</think> 5" if keep else " 5")
    assert (found.usage.thought_tokens > 0) is not keep


@pytest.mark.parametrize(("said", "answer"), [("2+3?</think> 5<|im_end|>", " 5"), ("2+3, so 5?!", "")])
def test_an_answer_that_is_not_begun_may_begin_inside_thoughts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, answer: str
) -> None:
    asked = replace(prompt("2 + 3?", Sampling(max_tokens=10)), begun="")
    found = say(tmp_path, monkeypatch, tokenizer(False), said, asked)
    assert (found.text, found.usage.finish_reason) == (answer, "stop" if answer else "length")
    assert found.usage.thought_tokens > 0
