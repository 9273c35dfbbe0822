"""A real model learns what it is trained on: pairs that prefer a marked last line make it write that line.

Its own samples are the pairs, once with the line and once without, as a class would pair what its teacher wrote.
"""

import asyncio
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import peft
import pytest
import torch
import transformers

from agents import prompts
from agents.engines.base import Completion, EngineSettings
from agents.engines.local.engine import TransformersEngine
from agents.engines.local.loading import LOCAL, chat_of, pick_dtype
from agents.models import weights
from agents.training import process
from agents.training.pairs import encode
from agents.training.spec import TrainingDone, TrainingSpec
from broker.protocol import digest
from broker.work_messages import PreferencePair, Recipe, Sampling, Teach
from tests.agents.training import training_at_hand

MARK = "Checked: yes"
MAX_TOKENS = 40
WHO, WHAT = ("Ann", "Ben", "Cem", "Dora", "Eli", "Fay"), ("coins", "cards", "shells", "books", "plums")
STORIES = (
    "{who} has {a} {what} and finds {b} more. How many {what} has {who} now?",
    "There are {a} bags with {b} {what} each. How many {what} are there?",
    "{who} needs {a} {what} and has only {b}. How many {what} are missing?",
)


def problems(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [
        draw.choice(STORIES).format(
            who=draw.choice(WHO), what=draw.choice(WHAT), a=draw.randint(5, 9), b=draw.randint(2, 4)
        )
        for _ in range(count)
    ]


def answers(folder: Path, asked: Sequence[str], temperature: float) -> list[Completion]:
    """What the model in `folder` answers, asked as a teacher is."""
    sampling = Sampling(temperature=temperature, max_tokens=MAX_TOKENS)

    async def main() -> list[Completion]:
        engine = TransformersEngine(EngineSettings(model="", folder=folder, capacity=16, threads=1))
        await engine.start(lambda request_id, tokens: None)
        try:
            requests = [Teach(problem=each, answer_form="number", sampling=sampling) for each in asked]
            return await asyncio.gather(
                *(engine.generate(prompts.prompt(digest(n, r), r, "")) for n, r in enumerate(requests))
            )
        finally:
            await engine.stop()

    return asyncio.run(main())


def pairs_of(asked: Sequence[str], said: Sequence[Completion]) -> list[PreferencePair]:
    return [
        PreferencePair(
            prompt=problem,
            chosen=f"{each.text.strip()}\n{MARK}",
            rejected=each.text.strip(),
            answer_form="number",
            rejected_ended=each.usage.finish_reason == "stop",
        )
        for problem, each in zip(asked, said, strict=True)
    ]


def merged(base: Path, adapter: Path, folder: Path) -> Path:
    """The base with the adapter put into it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, **LOCAL)
    peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(folder)
    for name in weights.SETTINGS:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    return folder


def nats_per_token(folder: Path, pairs: Sequence[PreferencePair]) -> float:
    """How unlikely the model finds the answers without the line."""
    rows, _ = encode(pairs, chat_of(folder), "", 1024)
    dtype = pick_dtype(torch.device("cpu"))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **LOCAL)
    total = torch.zeros(())
    with torch.inference_mode():
        for row in rows:
            # The end of the turn is left out: there the marked line is meant to come instead.
            said = row.rejected[:-1]
            logits = model(torch.tensor([row.prompt + said])).logits[0, len(row.prompt) - 1 : -1].float()
            total += torch.nn.functional.cross_entropy(logits, torch.tensor(said))
    return float(total) / len(rows)


def marked(said: Sequence[Completion]) -> float:
    """The share of answers that end with the line."""
    return sum(each.text.rstrip().endswith(MARK) for each in said) / len(said)


def learn(base: Path, tmp_path: Path, pairs: Sequence[PreferencePair], recipe: Recipe) -> TrainingDone:
    file = training_at_hand.write(tmp_path / "pairs.jsonl", [training_at_hand.plain(pair) for pair in pairs])
    told = TrainingSpec(
        folder=str(base),
        base="base",
        pairs=str(file),
        recipe=recipe,
        out=str(tmp_path / "weights"),
        work=str(tmp_path / "work"),
    )
    last = list(process.events(process.start(told, tmp_path / "log")))[-1]
    assert isinstance(last, TrainingDone), last
    return last


@pytest.mark.models
def test_smollm2_learns_a_marked_last_line_and_keeps_its_wits(tmp_path: Path, smollm2: Path) -> None:
    seen, unseen = problems(1, 24), problems(2, 16)
    pairs = pairs_of(seen, answers(smollm2, seen, 0.7))
    done = learn(smollm2, tmp_path, pairs, Recipe(batch=6, learning_rate=2e-3))
    folder = merged(smollm2, Path(done.folder), tmp_path / "merged")
    before, after = answers(smollm2, unseen, 0.0), answers(folder, unseen, 0.0)
    assert marked(before) == 0 and marked(after) >= 0.5, [each.text for each in after]
    # It finds what it said before about as likely as then, and does not say one thing to everything.
    held = pairs_of(unseen, before)
    assert nats_per_token(folder, held) < nats_per_token(smollm2, held) + 0.3
    assert len({each.text for each in after}) > len(after) / 2
