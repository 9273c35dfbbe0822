"""Questions before exams, and rationales rewritten, in a real class: undisturbed, and killed in its midst."""

import json
from pathlib import Path
from typing import Any

from tests.classes import finish, gradebook, results, resume, start, wait_until

REWRITE = "scenarios/smoke_rewrite.yaml"
SMALL = ("task.problems=2", "lesson.rationales=8", "exam.questions=1")
SLOW = ("teacher.engine_args.tokens_per_second=1000", "students.*.engine_args.tokens_per_second=1000")


def summary(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return told


def test_a_class_that_asks_and_rewrites_ends_the_same_after_a_kill(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(whole, *SMALL, scenario=REWRITE))
    told = summary(whole)
    assert told["levels"]["3"]["rationales"]["rewrites"] > 0
    assert told["counts"]["questions_and_answers"] > 0
    assert told["completions_per_rationale"] > 1
    process = start(killed, *SMALL, *SLOW, scenario=REWRITE)
    wait_until(process, lambda: results(killed) > told["counts"]["requests"] // 3)
    process.kill()
    process.communicate()
    finish(resume(killed, "students.*.engine_args.tokens_per_second=4000"))
    again = summary(killed)
    assert again["levels"] == told["levels"]
    assert again["methods"] == told["methods"]
    assert again["counts"]["reused"] > 0
    assert gradebook(killed) == gradebook(whole)
