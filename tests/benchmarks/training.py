"""Training in a process of its own against the bare trainer on the same pairs: wall time without what is before step 1.

Both train an adapter of SmolLM2-135M on pairs of the facts' size (149 tokens of prompt, 128 and 121 of answers), one
after the other by turns. Bare is trl's DPOTrainer as its documentation has it, told the same numbers.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agents.training import process
from agents.training.estimate import estimate
from agents.training.spec import TrainingDone, TrainingSpec, TrainingStep
from broker.work_messages import PreferencePair, Recipe

GOAL = 1.05
MODEL = "smollm2-135m-instruct"
PARAMETERS = 134.5e6
MEMORY_GOAL_MB = 6000
TOKENS = 149 + 128 + 149 + 121

BARE = """
import json, sys, time
import torch
from agents.training.model import language_of
from agents.training.pairs import encode, order, read
from datasets import Dataset
from pathlib import Path
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer
folder, pairs, out, threads, batch, seed = sys.argv[1:]
torch.set_num_threads(int(threads))
rows, _ = encode(read(Path(pairs))[0], language_of(Path(folder)).chat, "", 1024)
tokenizer = AutoTokenizer.from_pretrained(folder)
class Bare(DPOTrainer):
    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset
data = Dataset.from_dict({"prompt_ids": [r.prompt for r in rows], "chosen_ids": [r.chosen for r in rows],
                          "rejected_ids": [r.rejected for r in rows]})
args = DPOConfig(out, beta=0.1, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 50.0], learning_rate=5e-4,
                 per_device_train_batch_size=1, gradient_accumulation_steps=int(batch), seed=int(seed),
                 num_train_epochs=1, use_cpu=True, max_length=None, save_strategy="no", report_to="none",
                 disable_tqdm=True)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
trainer = Bare(model=model, args=args, train_dataset=data, processing_class=tokenizer, peft_config=lora)
begun = time.monotonic()
trainer.train()
seconds = time.monotonic() - begun
trainer.save_model(out)
print(json.dumps({"seconds": seconds}))
"""


def write_pairs(path: Path, count: int, folder: Path) -> None:
    """Pairs whose prompt and answers have the tokens that TOKENS says, give or take a few."""
    from agents.training.model import language_of
    from agents.training.pairs import encode

    def pair(number: int, prompt: int, chosen: int, rejected: int) -> PreferencePair:
        words = [f"{(number * 7 + n) % 90 + 10} +" for n in range(400)]
        return PreferencePair(
            prompt=" ".join(words[:prompt]),
            chosen=" ".join(words[:chosen]),
            rejected=" ".join(words[1 : 1 + rejected]),
            answer_form="number",
        )

    (row,), _ = encode([pair(0, 1, 1, 1)], language_of(folder).chat, "", 1024)
    (more,), _ = encode([pair(0, 11, 11, 11)], language_of(folder).chat, "", 1024)
    each = (len(more.chosen) - len(row.chosen)) / 10
    sizes = [max(1, round((wanted - len(row.prompt) * (wanted == 149)) / each)) for wanted in (149, 128, 121)]
    path.write_text("".join(_line(pair(number, *sizes)) for number in range(count)))


def _line(pair: PreferencePair) -> str:
    import msgspec

    return msgspec.json.encode(pair).decode() + "\n"


def ours(told: TrainingSpec, log: Path) -> tuple[float, float, TrainingDone]:
    """Seconds from the word that it begins to the process's end, seconds before that, and what came of it."""
    born, begun = time.monotonic(), 0.0
    last: object = None
    for last in process.events(process.start(told, log)):
        if isinstance(last, TrainingStep) and not last.step:
            begun = time.monotonic()
    if not isinstance(last, TrainingDone):
        raise SystemExit(f"the training failed: {last}")
    return time.monotonic() - begun, begun - born, last


def bare(folder: Path, pairs: Path, out: Path, threads: int, batch: int, seed: int) -> float:
    """Seconds of the trainer alone."""
    command = [sys.executable, "-c", BARE, str(folder), str(pairs), str(out), str(threads), str(batch), str(seed)]
    env = {**os.environ, **process.ENVIRONMENT}
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    return float(json.loads(said.splitlines()[-1])["seconds"])


def cpu_seconds() -> float:
    """Of all processes that ended: what a busy machine distorts least."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks training` prints."""
    from agents.models.catalogue import ensure

    os.environ["LBT_DEVICE"] = "cpu"
    model = ensure(MODEL)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count, batch, turns = (3, 3, 1) if quick else (64, 16, 2)
    recipe = Recipe(batch=batch, learning_rate=5e-4, seed=seed)
    own: list[tuple[float, float, TrainingDone]] = []
    plain: list[float] = []
    cpu: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder / "pairs.jsonl", count, model.folder)
        for turn in range(turns):
            told = TrainingSpec(
                folder=str(model.folder),
                base=model.digest,
                pairs=str(folder / "pairs.jsonl"),
                recipe=recipe,
                threads=threads,
                out=str(folder / "weights"),
                work=str(folder / f"work{turn}"),
            )
            used = [cpu_seconds()]
            own.append(ours(told, folder / "log"))
            used.append(cpu_seconds())
            plain.append(bare(model.folder, folder / "pairs.jsonl", folder / f"bare{turn}", threads, batch, seed))
            used.append(cpu_seconds())
            cpu.append((round(used[1] - used[0], 1), round(used[2] - used[1], 1)))
    seconds = statistics.median(each[0] for each in own)
    expected = estimate(PARAMETERS, recipe, count, TOKENS, "bfloat16", "cpu", threads)
    peak = max(each[2].figures["peak_memory_mb"] for each in own)
    return {
        "name": "training",
        "ratio": round(seconds / statistics.median(plain), 3),
        "goal": GOAL,
        "better": "lower",
        "detail": {
            "pairs": count,
            "threads": threads,
            "tokens_per_pair": TOKENS,
            "seconds": [round(each[0], 1) for each in own],
            "seconds_bare": [round(each, 1) for each in plain],
            "cpu_seconds_with_start_ours_and_bare": cpu,
            "seconds_per_pair": round(seconds / count, 2),
            "seconds_before_step_1": [round(each[1], 1) for each in own],
            "peak_memory_mb": round(peak),
            "peak_memory_goal_mb": MEMORY_GOAL_MB,
            "estimated": {"memory_mb": round(expected.memory_gb * 1000), "seconds": round(expected.seconds, 1)},
        },
    }
