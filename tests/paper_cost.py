"""What the classes of the paper's table 2 cost on 8 H100s: `python -m tests.paper_cost` prints docs/scale.md's table.

Each row is the answer of `python run.py plan SCENARIO --estimate`. The problems of MATH do not come with this project;
made-up ones of PROBLEM_CHARACTERS stand in for them. The test of docs/scale.md compares the page with this table.
"""

import io
import json
import re
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console

from broker.protocol import pool_of
from run import app
from scenarios.report.formatting import many
from scenarios.session.command_line import execute
from scenarios.session.plan_output import duration
from tests import classes

PROBLEM_CHARACTERS = 200
ANSWER_TOKENS = 300
TEACHER_SERVED = "teacher.engine_args.max_parallel=256"
ROWS: dict[str, tuple[str, ...]] = {
    "gpt4o_mini": (TEACHER_SERVED, "students.0.engine_args.max_parallel=256"),
    "gpt4o_llama": (TEACHER_SERVED, "students.0.engine=vllm", "students.0.replicas=8"),
    "gpt4o_both": (
        TEACHER_SERVED, "students.0.engine_args.max_parallel=256", "students.1.engine=vllm", "students.1.replicas=8",
    ),
    "gpt35_llama": (TEACHER_SERVED, "students.0.engine=vllm", "students.0.replicas=8"),
    "gpt35_mistral": (TEACHER_SERVED, "students.0.engine=vllm", "students.0.replicas=8"),
    "gpt35_both": (TEACHER_SERVED, "students.*.engine=vllm", "students.*.replicas=4"),
    "llama70b_llama": ("teacher.engine=vllm", "students.*.engine=vllm", "students.0.replicas=4"),
    "llama70b_mistral": ("teacher.engine=vllm", "students.*.engine=vllm", "students.0.replicas=4"),
    "llama70b_both": ("teacher.engine=vllm", "students.*.engine=vllm", "students.*.replicas=2"),
    "llama_itself": ("teacher.engine=vllm", "students.*.engine=vllm", "students.0.replicas=7"),
    "mistral_llama": ("teacher.engine=vllm", "students.*.engine=vllm", "students.0.replicas=7"),
}  # fmt: skip
"""The classes scenarios/paper/m1_math_ROW.yaml, with what gives every GPU an agent."""


def command(row: str, *more: str, spread: bool = True) -> list[str]:
    """The command line of a row, without the files of MATH; `spread`: every GPU has an agent."""
    settings = [one for one in ROWS[row] if spread or "engine=" in one]
    gpus = ["machine.gpus=8xH100"] if any("vllm" in one for one in settings) else []
    settings = [*gpus, "machine.memory=2000", "machine.cores=64", *settings, *more]
    return [
        "plan", f"scenarios/paper/m1_math_{row}.yaml", "--estimate", "--answer-tokens", str(ANSWER_TOKENS),
        *classes.sets(*settings),
    ]  # fmt: skip


def stand_ins(folder: Path) -> list[str]:
    """Write made-up problems in the shape of MATH500 and MATH(); returns the settings that name their files."""
    lines: dict[str, list[str]] = {"math500": [], "functional": []}
    for n in range(181):
        texts = [f"Problem {n}, draw {draw}: what is ${n}+{draw}$?".ljust(PROBLEM_CHARACTERS, "?") for draw in range(4)]
        solved = [
            {"problem": text, "solution": f"\\boxed{{{n + draw}}}", "answer": str(n + draw)}
            for draw, text in enumerate(texts)
        ]
        lines["math500"].append(json.dumps(solved[0] | {"unique_id": f"made-up/{n}"}))
        lines["functional"].append(json.dumps({"id": f"made-up/{n}", "variants": solved[1:]}))
    for name, of in lines.items():
        (folder / f"{name}.jsonl").write_text("\n".join(of))
    return [f"task.file={folder}/math500.jsonl", f"task.exam_files=[{folder}/functional.jsonl]"]


def planned(row: str, *more: str, spread: bool = True) -> dict[str, Any]:
    """The plan of a row."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()) as printed:
        words = [*command(row, *more, spread=spread), *classes.sets(*stand_ins(Path(folder))), "--json"]
        code = execute(app, words, Console(stderr=True))
    assert code == 0, (row, code)
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


def seated(plan: dict[str, Any]) -> list[str]:
    """Each agent with its processes: `Llama-3-8B x 7`, `Llama-3-70B on 4 GPUs`, `gpt-4o, 256 calls`."""
    models = {pool_of(one["name"]): re.sub(r".*/|Meta-|-Instruct.*", "", one["model"]) for one in plan["agents"]}
    found = []
    for one in plan["estimate"]["agents"]:
        gpus, processes = len(one["devices"]), one["processes"]
        on = f", {one['speed']['at_once']} calls" if not gpus else f" on {gpus} GPUs" if gpus > processes else ""
        times = f" x {processes}" if processes > 1 else ""
        found.append(f"{models[one['agent']]}{times}{on}")
    return found


def table() -> str:
    """The table in markdown."""
    rows = [["teacher", "students", "time", "GPU-hours", "idle", "with 24 TRs a TP", "without replicas"]]
    rows.append(["---"] * len(rows[0]))
    for row in ROWS:
        whole, small, plain = planned(row), planned(row, "lesson.rationales=24"), planned(row, spread=False)
        found, fewer, unspread = (one["estimate"] for one in (whole, small, plain))
        teacher, *students = seated(whole)
        used = unspread["gpus"] - len(unspread["gpus_without_agents"])
        rows.append(
            [
                teacher,
                ", ".join(students),
                duration(found["hours"]),
                f"{found['gpu_hours']:.1f}" if found["gpus"] else "none",
                ", ".join(f"{one['agent']} {100 * one['idle_share']:.0f} %" for one in found["agents"]),
                duration(fewer["hours"]),
                f"{duration(unspread['hours'])} on {many(used, 'GPU')}" if used else duration(unspread["hours"]),
            ]
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(table(), end="")
