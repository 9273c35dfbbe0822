"""Configure trl's trainers, one per method, from a recipe.

They get tokens, not texts, so that the training uses the tokens of later requests; their tokenization is skipped. A
step is `batch` pairs, accumulated one by one (two by two with kto), so memory does not grow with the batch.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

from agents.training.pairs import TokenPair
from broker.work_messages import Recipe


def micro_batch(recipe: Recipe) -> int:
    """Return the pairs that pass through the model at once. KTO compares the answers of two prompts."""
    return 2 if recipe.method == "kto" else 1


def accumulation(recipe: Recipe) -> int:
    """Return the number of micro batches of one step."""
    return max(1, recipe.batch // micro_batch(recipe))


def pairs_of_a_step(recipe: Recipe) -> int:
    """`batch`; with kto the next lower even number, and at least 2."""
    return micro_batch(recipe) * accumulation(recipe)


def steps_of(recipe: Recipe, rows: int) -> int:
    """Return the number of steps for `rows`, all epochs together."""
    return math.ceil(rows / pairs_of_a_step(recipe))


def make(
    model: Any,
    tokenizer: Any,
    rows: Sequence[TokenPair],
    recipe: Recipe,
    work: Path,
    device: torch.device,
    bf16: bool,
) -> Any:
    """Create a trainer that passes through `rows` once, in their order.

    Args:
        model: a transformers model, or a peft model whose adapter is trained further and is its own reference.
        tokenizer: tokenizer of the model.
        rows: the remaining rows.
        recipe: method and numbers of the training.
        work: folder of this training.
        device: device of the model.
        bf16: compute in bfloat16; trained weights are float32 anyway.
    """
    new_adapter = recipe.lora and not hasattr(model, "peft_config")
    common: dict[str, Any] = {
        "output_dir": str(work),
        "use_cpu": device.type == "cpu",
        "bf16": bf16,
        "per_device_train_batch_size": micro_batch(recipe),
        "gradient_accumulation_steps": accumulation(recipe),
        "gradient_checkpointing": True,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "max_length": None,  # longer pairs are left out already
        "seed": recipe.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": device.type == "cuda",
    }
    # The reference is the model without its new adapter; without adapters it is evaluated beforehand.
    preference: dict[str, Any] = {"beta": recipe.beta, "precompute_ref_log_probs": not recipe.lora}
    rest: dict[str, Any] = {
        "model": model,
        "processing_class": tokenizer,
        "peft_config": _adapter(recipe) if new_adapter else None,
    }
    match recipe.method:
        case "dpo" | "ipo":
            kind = "sigmoid" if recipe.method == "dpo" else "ipo"
            loss = {"loss_type": [kind, "sft"], "loss_weights": [1.0, recipe.nll_weight]}
            if not recipe.nll_weight:
                loss = {"loss_type": [kind]}
            return _Pairwise(args=DPOConfig(**common, **preference, **loss), train_dataset=_pairs(rows), **rest)
        case "kto":
            common["per_device_train_batch_size"] *= 2
            return _Unpaired(args=KTOConfig(**common, **preference), train_dataset=_answers(rows), **rest)
        case "sft":
            args = SFTConfig(**common, dataset_kwargs={"skip_prepare_dataset": True})
            return SFTTrainer(args=args, train_dataset=_chosen(rows), **rest)


class _Pairwise(DPOTrainer):  # type: ignore[misc]
    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


class _Unpaired(KTOTrainer):  # type: ignore[misc]
    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def _adapter(recipe: Recipe) -> LoraConfig:
    return LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        target_modules="all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )


def _pairs(rows: Sequence[TokenPair]) -> Dataset:
    return Dataset.from_dict(
        {
            "prompt_ids": [row.prompt for row in rows],
            "chosen_ids": [row.chosen for row in rows],
            "rejected_ids": [row.rejected for row in rows],
        }
    )


def _answers(rows: Sequence[TokenPair]) -> Dataset:
    """Return single answers with labels, two pairs at a time.

    KTO estimates the KL divergence from prompts with unrelated answers: here each prompt has the previous one of the
    four answers, cyclically, which in this order always belongs to the other pair.
    """
    prompts, answers, good, others = [], [], [], []
    for first in range(0, len(rows), 2):
        both = rows[first : first + 2]
        four = [row.chosen for row in both] + [row.rejected for row in both]
        prompts += [row.prompt for row in both] * 2
        answers += four
        good += [True] * len(both) + [False] * len(both)
        others += four[-1:] + four[:-1]
    return Dataset.from_dict(
        {"prompt_ids": prompts, "completion_ids": answers, "label": good, "KL_completion_ids": others}
    )


def _chosen(rows: Sequence[TokenPair]) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [row.prompt + row.chosen for row in rows],
            "labels": [[-100] * len(row.prompt) + row.chosen for row in rows],
        }
    )
