"""Questions before exams, and rationales rewritten, in a real class that is killed in its midst."""

import json
from pathlib import Path

from tests.classes import finish, results, resume, start, wait_until

REWRITE = "scenarios/smoke_rewrite.yaml"


def test_a_class_that_asks_and_rewrites_goes_on_after_a_kill(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out, "task.problems=2", "exam.questions=1", scenario=REWRITE)
    wait_until(process, lambda: results(out) > 0)
    process.kill()
    process.communicate()
    finish(resume(out))
    told = json.loads((out / "summary.json").read_text())
    assert told["counts"]["reused"] > 0
    assert told["counts"]["questions_and_answers"] > 0
    assert told["completions_per_rationale"] > 1
    assert told["levels"]["3"]["rationales"]["rewrites"] > 0
