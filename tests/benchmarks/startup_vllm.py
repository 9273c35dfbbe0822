"""Seconds from the command to the first exam answer, beyond the start of the slower engine: two agents on vLLM.

An engine's own start, its imports included, is what an agent's log says between `loading` and `ready`. What is left
is the command, the processes, the first lesson and the first exam, in which SmolLM2 is at work twice, one after the
other.
"""

import re
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from scenarios.store.sqlite import Store
from tests import classes

GOAL_S = 2.0
SCENARIO = """\
name: startup
seed: SEED
task: {family: chain_sum, problems: 1}
teacher: {name: teacher, model: smollm2-135m-instruct, engine: vllm, gpu: none}
students:
  - {name: ada, model: smollm2-135m-instruct, engine: vllm, gpu: none}
lesson: {rationales: 4, greedy: false, sampling: {max_tokens: 24}}
exam: {problems: 1, sampling: {max_tokens: 24}}
"""


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks startup-vllm` prints."""
    found = [one_class(seed + number) for number in range(1 if quick else 3)]
    return {
        "name": "startup-vllm",
        "ratio": round(statistics.median(each["beyond the slower start"] for each in found), 3),
        "goal": GOAL_S,
        "better": "lower",
        "detail": {"what": "seconds", "classes": found},
    }


def one_class(seed: int) -> dict[str, float]:
    """One class, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        scenario, out = Path(folder) / "startup.yaml", Path(folder) / "run"
        scenario.write_text(SCENARIO.replace("SEED", str(seed)))
        begun = time.time()  # compared with the times in the gradebook and the logs, which are wall-clock times too
        classes.say(scenario, "--out", out, "--monitor", "off")
        spans = [loading(out / "logs" / f"{name}.log") for name in ("teacher", "ada")]
        starts = [ready - asked for asked, ready in spans]
        with Store(out) as store:
            (lesson, taught_s), (exam, answered_s) = (
                store.query("SELECT at, seconds FROM result WHERE kind = ? ORDER BY at LIMIT 1", kind)[0]
                for kind in ("Teach", "Examine")
            )
        ready = max(ready for _, ready in spans)
        first_lesson, first_exam = (datetime.fromisoformat(str(at)).timestamp() for at in (lesson, exam))
    return {
        "command to loading": round(min(asked for asked, _ in spans) - begun, 2),
        "slower start": round(max(starts), 2),
        "all ready to first lesson": round(first_lesson - ready, 2),
        "first lesson to first exam answer": round(first_exam - first_lesson, 2),
        "engine at work on these two": round(float(str(taught_s)) + float(str(answered_s)), 2),
        "beyond the slower start": round(first_exam - begun - max(starts), 2),
    }


def loading(log: Path) -> tuple[float, float]:
    """When an agent began to load, and when it was ready, in seconds since the epoch."""
    text = log.read_text()
    found = [re.search(rf"^(\S+ \S+) INFO {word}", text, re.MULTILINE) for word in ("loading", "ready")]
    asked, ready = (datetime.strptime(each[1], "%Y-%m-%d %H:%M:%S,%f").timestamp() for each in found if each)  # noqa: DTZ007  (a log's times are local)
    return asked, ready
