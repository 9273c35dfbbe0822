"""From the last exam answer to the first step of a training, and from the last step to the first new TR.

A whole class of level 2 with SmolLM2-135M as teacher and as student, both there all the time. All times are those of
its gradebook. Loading is told apart (imports, tokenizers and weights of the training; the engine's start), and so is
the time in which the first new TR is written; what is left, the rest, is to take at most ten seconds, both ways.
"""

import os
import statistics
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from scenarios.store.rows import ClassEvent
from scenarios.store.sqlite import Store
from tests import classes

GOAL_S = 10.0
SCENARIO = """\
name: handover
level: 2
task: {family: chain_sum, problems: 4, difficulty: 0.5, demonstrations: 2}
teacher: {name: teacher, model: smollm2-135m-instruct, engine: transformers, gpu: none}
students:
  - {name: peer, model: smollm2-135m-instruct, engine: transformers, gpu: none}
lesson: {rationales: 4, sampling: {max_tokens: 32}}
exam: {problems: 2, sampling: {max_tokens: 32}}
learn: {gap: 0.05, pairs_per_tp: 1, held_out: 2, samples: 1, rationales: 1, training: {batch: 2}}
"""
"""Few and short answers, and every difference between scores makes a pair: what is measured lies between them."""
ARMS = ("m2", "correctness", "shuffled")

Told = tuple[str, int, int, dict[str, float | None]]
"""An event of kind `progress`."""


class Training(NamedTuple):
    """One training as the gradebook has it, in seconds since the epoch."""

    began: float
    """All is loaded; before the first step."""
    first: float
    """The first step is taken."""
    last: float
    """The last step is taken."""
    over: float
    """Its result is recorded."""
    loading_s: float


def one_class(arms: Sequence[str], seed: int, folder: Path) -> dict[str, float]:
    """Run it, and take it apart."""
    scenario, out = folder / "handover.yaml", folder / "run"
    scenario.write_text(SCENARIO)
    words = classes.sets(f"seed={seed}", f"learn.arms=[{', '.join(arms)}]")
    classes.say(scenario, "--out", out, "--monitor", "off", *words)
    with Store(out) as store:
        return figures(store)


def figures(store: Store) -> dict[str, float]:
    """Seconds between what the gradebook of a class of one round holds.

    Raises:
        SystemExit: nothing was trained, or nothing measured.
    """
    trainings = trainings_of(store)
    rows = store.query("SELECT at, seconds FROM result WHERE kind = 'Teach' AND weights != '' ORDER BY at LIMIT 1")
    if not trainings or not rows:
        raise SystemExit("no training, or no new TR: try another --seed")
    first, last = trainings[0], trainings[-1]
    asked = _only(store, "SELECT max(at) FROM result WHERE kind != 'Train' AND at < ?", _text(first.began))
    told = [_at(event.at) for event in store.events(kinds=["ready"]) if event.agent == "teacher"]
    there = next(at for at in told if at > last.over - 1e-3)
    new, writing = _at(rows[0][0]), float(str(rows[0][1]))
    found = {
        "answers_to_training": first.began - asked,
        "of_that_loading": first.loading_s,
        "first_step": first.first - first.began,
        "steps_to_result": last.over - last.last,
        "engine_start": there - last.over,
        "engine_to_new_tr": new - there,
        "of_that_writing": writing,
        "before": first.began - asked - first.loading_s,
        "after": last.over - last.last + max(0.0, new - there - writing),
    }
    if len(trainings) > 1:
        pairs = list(pairwise(trainings))
        found["between_trainings"] = statistics.mean(b.began - a.last for a, b in pairs)
        found["between_of_that_loading"] = statistics.mean(b.loading_s for _, b in pairs)
    return {name: round(seconds, 2) for name, seconds in found.items()}


def trainings_of(store: Store) -> list[Training]:
    """In the order they were made."""
    events: dict[str, list[tuple[ClassEvent, Told]]] = {}
    for event in store.events(kinds=["progress"]):
        told = msgspec.json.decode(event.detail, type=Told)
        events.setdefault(told[0], []).append((event, told))
    over = {str(id): _at(at) for id, at in store.query("SELECT request_id, at FROM result WHERE kind = 'Train'")}
    return [
        Training(
            began=_at(said[0][0].at),
            first=_at(said[1][0].at),
            last=_at(said[-1][0].at),
            over=over[request],
            loading_s=said[0][1][3].get("loading_s") or 0.0,
        )
        for request, said in events.items()
    ]


def _only(store: Store, sql: str, *values: object) -> float:
    return _at(store.query(sql, *values)[0][0])


def _at(at: object) -> float:
    return datetime.fromisoformat(str(at)).timestamp()


def _text(at: float) -> str:
    """As the gradebook writes times down."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks handover` prints."""
    os.environ["LBT_DEVICE"] = "cpu"
    found = []
    for _ in range(1 if quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            found.append(one_class(ARMS[: 1 if quick else 3], seed, Path(folder)))
    before, after = (statistics.median(one[way] for one in found) for way in ("before", "after"))
    return {
        "name": "handover",
        "ratio": round(max(before, after) / GOAL_S, 3),
        "goal": 1.0,
        "better": "lower",
        "detail": {
            "what": "seconds beyond loading: last exam answer to first step, last step to first new TR",
            "before": before,
            "after": after,
            "load": os.getloadavg(),
            "classes": found,
        },
    }
