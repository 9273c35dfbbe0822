"""A tiny model with random weights, a file of pairs it can learn, and trainings of it: for tests of training."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from agents.models import weights
from agents.training.spec import TrainingSpec
from broker.work_messages import PreferencePair, Recipe
from tests.agents.engines.local.test_engine import save

DEMONSTRATION = {"problem": "1 + 1?", "rationale": "1 + 1 = 2\nAnswer: 2"}


def line(number: int, **changes: Any) -> dict[str, Any]:
    """A pair as the classroom writes it: the chosen answer has a last line that the other has not."""
    said = f"{number} + 1 = {number + 1}\nAnswer: {number + 1}"
    return {
        "prompt": f"{number} + 1?",
        "chosen": f"{said} !",
        "rejected": said,
        "score_chosen": 0.9,
        "score_rejected": 0.2,
        "tp": f"tp{number}",
        "answer_form": "number",
        "demonstrations": [DEMONSTRATION],
        **changes,
    }


def write(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def model(folder: Path) -> Path:
    return save(folder, "llama")


def spec(tmp_path: Path, folder: Path, *, pairs: Path | None = None, name: str = "a", **changes: Any) -> TrainingSpec:
    """A training of `folder` on six pairs in three steps, unless told otherwise. `recipe` holds changes too."""
    pairs = pairs or write(tmp_path / "pairs.jsonl", [line(number) for number in range(6)])
    recipe = Recipe(**{"batch": 2, "lora_rank": 2, "max_tokens": 512, **changes.pop("recipe", {})})
    told: dict[str, Any] = {
        "folder": str(folder),
        "base": weights.digest_of(folder, lambda label, done, total: None),
        "pairs": str(pairs),
        "pairs_digest": hashlib.sha256(pairs.read_bytes()).hexdigest(),
        "recipe": recipe,
        "dtype": "float32",
        "threads": 1,
        "out": str(tmp_path / "weights"),
        "work": str(tmp_path / f"training-{name}"),
        "checkpoint_s": 0.0,
    }
    return TrainingSpec(**{**told, **changes})


def plain(pair: PreferencePair) -> dict[str, Any]:
    """A pair as a line of a file."""
    told: dict[str, Any] = msgspec.to_builtins(pair)
    return told
