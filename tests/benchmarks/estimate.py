"""Whether a class takes as long as `plan --estimate` says: scenarios/multi_student.yaml with simulated agents.

Their speed is known exactly, and slow enough that the broker and the classroom hardly count. Two estimates: that of
`plan`, with the mean length of an answer (it assumes that all rationales differ, and that all answers are equally
long), and that of the same schedule with the recorded requests and the length of each.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from scenarios.session.schedule import ProcessSpeed, RequestGroup, play
from scenarios.store.sqlite import Store
from tests import classes

SCENARIO = "scenarios/multi_student.yaml"
SPEED = 20
"""Tokens per second of each request; an answer takes 0.6 to 2.4 s."""
SETTINGS = tuple(
    f"{who}.{entry}"
    for who in ("teacher", "students.*")
    for entry in ("engine=simulated", f"engine_args.tokens_per_second={SPEED}")
)


def recorded(out: Path) -> list[RequestGroup]:
    """The requests of a run, each with its own length: rationales in the order in which they were asked."""
    with Store(out) as store:
        exams: dict[str, list[RequestGroup]] = {}
        for tr, agent, tokens in store.query("SELECT tr, agent, completion_tokens FROM result WHERE kind = 'Examine'"):
            exams.setdefault(str(tr), []).append(RequestGroup(str(agent), 1, float(str(tokens))))
        asked = store.query(
            "SELECT request_id, agent, completion_tokens FROM result r JOIN problem p ON r.tp = p.id "
            "WHERE kind = 'Teach' ORDER BY p.item, r.stage <> 'greedy', r.repeat"
        )
    return [RequestGroup(str(agent), 1, float(str(n)), then=tuple(exams.get(str(tr), ()))) for tr, agent, n in asked]


def one_class(seed: int, problems: int) -> dict[str, float]:
    settings = [*SETTINGS, f"seed={seed}", f"task.problems={problems}"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        classes.finish(classes.start(out, *settings, scenario=SCENARIO))
        wall = classes.last_answered(out) - classes.first_asked(out)
        agents = classes.summary(out)["agents"]
        answered = sum(one["requests"] for one in agents)
        mean = round(sum(one["completion_tokens"] for one in agents) / answered)
        words = ["plan", SCENARIO, "--estimate", "--answer-tokens", str(mean), "--json", *classes.sets(*settings)]
        found = json.loads(classes.say(*words))["estimate"]
        speeds = [ProcessSpeed(**one["speed"]) for one in found["agents"]]
        return {
            "wall": wall,
            "plan": found["hours"] * 3600,
            "recorded requests": play(recorded(out), speeds).seconds,
            "answered": answered,
            "planned": sum(one["requests"] for one in found["agents"]),
        }


def run(quick: bool, seed: int) -> dict[str, Any]:
    found = [one_class(seed + n, 10) for n in range(1 if quick else 3)]
    ratios = [one["wall"] / one["recorded requests"] for one in found]
    return {
        "name": "estimate",
        "ratio": statistics.median(ratios),
        "goal": 1.05,
        "better": "lower",
        "detail": {
            "what": "seconds of a class over those of its schedule, with the recorded requests and their lengths",
            "ratios": [round(ratio, 3) for ratio in ratios],
            "seconds over those of plan --estimate": [round(one["wall"] / one["plan"], 3) for one in found],
            "classes": [{key: round(value, 2) for key, value in one.items()} for one in found],
        },
    }
