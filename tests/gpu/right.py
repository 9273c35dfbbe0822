"""Right answers: the engine against the library, together against alone, and the tests of engines on this device."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from agents.engines.base import Prompt
from agents.engines.local.engine import TransformersEngine
from tests.agents.engines.local.test_engine import QUESTIONS, by_the_library, prompt, save, with_engine
from tests.gpu.checks import Setting, check, info, phase, skip

SOLUTIONS = ("2 + 3 = 5, so it is five.", "x", "Nobody knows. Answer: 7")
TESTS = (
    "tests/agents/engines/local/test_engine.py",
    "tests/agents/engines/test_scoring.py",
    "tests/agents/models/test_trained_weights.py",
)
BOUNDS = {"float32": 1e-4, "bfloat16": 1e-1}
"""Most difference of mean log-probabilities in nats, of models whose logits are as large as those of trained ones."""


def run(setting: Setting) -> None:
    if setting.cuda:
        off = not torch.backends.cuda.matmul.allow_tf32
        check("float32 is computed as float32", off, float(off), note="torch.backends.cuda.matmul.allow_tf32")
    for kind in ("qwen2", "llama"):
        folder = save(setting.folder / kind, kind)
        asked = [prompt(question) for question in QUESTIONS]
        texts, scores = answers(folder, asked, "float32")
        same = sum(a == b for a, b in zip(texts, by_the_library(folder, asked), strict=True))
        bound = f"at least {len(asked) - 1} of {len(asked)}; near ties may differ"
        check(f"{kind}: greedy texts of the library", same >= len(asked) - 1, same, "texts", bound)
        for dtype, limit in BOUNDS.items():
            together = scores if dtype == "float32" else answers(folder, asked[:1], dtype)[1]
            alone = [answers(folder, [], dtype, only=number)[1][0] for number in range(len(SOLUTIONS))]
            far = max(abs(a - b) for a, b in zip(together, alone, strict=True))
            check(f"{kind}, {dtype}: scores together and alone", far <= limit, far, "nats", f"at most {limit:g}")
            by_library = [score(folder, text, dtype, setting.device) for text in SOLUTIONS]
            far = max(abs(a - b) for a, b in zip(together, by_library, strict=True))
            check(f"{kind}, {dtype}: scores of the library", far <= limit, far, "nats", f"at most {limit:g}")
    if not setting.cuda:
        skip("the tests of engines", "they run on the CPU in the normal suite")
        return
    command = [sys.executable, "-m", "pytest", *TESTS, "-q", "-W", "default", "-p", "no:cacheprovider"]
    command += ["-m", "not models and not vllm", "--basetemp", str(setting.folder / "pytest")]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout[-8000:] + done.stderr[-2000:])
    passed = re.search(r"(\d+) passed", done.stdout)
    check("the tests of engines", done.returncode == 0, float(passed[1]) if passed else 0.0, "passed", "none fails")
    info("the tests of engines say", note=done.stdout.strip().splitlines()[-1][:200] if done.stdout.strip() else "")


def answers(folder: Path, asked: list[Prompt], dtype: str, only: int | None = None) -> tuple[list[str], list[float]]:
    """Return greedy texts of `asked`, and the scores of all solutions, or of `only` one; all of it in one batch."""
    chosen = SOLUTIONS if only is None else SOLUTIONS[only : only + 1]

    async def use(engine: TransformersEngine) -> tuple[list[str], list[float]]:
        done: list[Any] = await asyncio.gather(
            *map(engine.generate, asked), *(engine.logprobs(prompt("2 + 3?"), f" {text}") for text in chosen)
        )
        return [each.text for each in done[: len(asked)]], [each.logprob for each in done[len(asked) :]]

    return with_engine(folder, use, dtype=dtype, capacity=8)


def score(folder: Path, solution: str, dtype: str, device: str, adapter: Path | None = None) -> float:
    """Return the mean log-probability of a solution's tokens by a forward pass of the library, or of peft."""
    own = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
    if adapter:
        model = peft.PeftModel.from_pretrained(model, adapter)
    asked = prompt("2 + 3?")
    messages = [{"role": turn.role, "content": turn.text} for turn in asked.turns]
    text = own.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + asked.begun
    start = len(own(text, add_special_tokens=False).input_ids)
    tokens = own(f"{text} {solution}", add_special_tokens=False, return_tensors="pt").input_ids.to(device)
    with torch.inference_mode():
        logprobs = model(tokens).logits[0].float().log_softmax(-1)
    picked = logprobs[start - 1 : -1].gather(1, tokens[0, start:, None])
    return float(picked.mean())


if __name__ == "__main__":
    phase(run)
