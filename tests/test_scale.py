"""docs/scale.md has what the commands say, and `plan --estimate` works as a user calls it."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from agents.placement.speeds import PUBLISHED
from run import app
from scenarios.session.command_line import execute
from scenarios.session.exit_codes import COMPLETE, WRONG
from tests import classes, paper_cost

PAGE = (classes.ROOT / "docs" / "scale.md").read_text()
SMOKE = str(classes.ROOT / "scenarios" / "smoke.yaml")


def say(capsys: pytest.CaptureFixture[str], *words: str, code: int = COMPLETE) -> tuple[str, str]:
    """What `python run.py WORDS` prints on both streams."""
    assert execute(app, words, Console(stderr=True, width=200)) == code
    said = capsys.readouterr()
    return said.out, said.err


def test_the_table_of_the_paper_is_what_plan_says() -> None:
    assert paper_cost.table() in PAGE, "python -m tests.paper_cost prints the table"


def test_every_class_of_the_papers_table_has_a_row() -> None:
    files = (classes.ROOT / "scenarios" / "paper").glob("m1_math_*.yaml")
    assert {path.stem.removeprefix("m1_math_") for path in files} == set(paper_cost.ROWS)


@pytest.mark.parametrize("speed", PUBLISHED, ids=lambda speed: speed.models[0])
def test_the_page_has_every_published_speed(speed: object) -> None:
    total, alone = getattr(speed, "tokens_per_second", 0), getattr(speed, "alone", 0)
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and f"{alone:.0f}" in line]
    assert any(f"{total:,.0f}" in row if total else "as many calls as allowed" in row for row in rows)


def test_the_arithmetic_of_a_hundred_nodes_holds() -> None:
    llama = next(one for one in PUBLISHED if "meta-llama-3-8b-instruct" in one.models)
    gpu = round(llama.tokens_per_second / paper_cost.ANSWER_TOKENS)
    said = f"8,088 / 300 = {gpu} EAs/s, a node {8 * gpu}, and 100 nodes {100 * 8 * gpu:,}."
    assert said in " ".join(PAGE.split())
    checked = 0
    for line in re.findall(r"^\|.* nodes? \|$", PAGE, re.MULTILINE):
        _, _, measured, nodes, _ = line.split("|")
        if rate := re.search(r"([0-9,]+) (?:EAs/s|EAs per CPU-second|requests per CPU-second|rows/s)", measured):
            per_second = int(rate[1].replace(",", ""))
            assert float(nodes.split()[0]) == pytest.approx(per_second / 216, rel=0.05), line
            checked += 1
    assert checked == 5


def test_plan_prints_the_estimate_below_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    plain, _ = say(capsys, "plan", SMOKE)
    told, _ = say(capsys, "plan", SMOKE, "--estimate", "--answer-tokens", "30")
    assert told.startswith(plain.rstrip("\n"))
    assert "How long it takes, estimated" in told and "How long it takes" not in plain
    assert "Every completion has 30 tokens" in " ".join(told.split())


def test_the_estimate_as_json_is_part_of_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    plain = json.loads(say(capsys, "plan", SMOKE, "--json")[0])
    told = json.loads(say(capsys, "plan", SMOKE, "--json", "--estimate", "--rate", "teacher=100@4/900")[0])
    found = told.pop("estimate")
    assert told == plain
    assert {one["agent"]: one["requests"] for one in found["agents"]}["teacher"] == 12 * (1 + 8)
    assert found["agents"][0]["speed"]["prompt_tokens_per_second"] == 900
    assert found["hours"] > 0 and found["assumptions"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", "teacher=5@3"], "--rate and --answer-tokens go with plan SCENARIO --estimate"),
        (["--answer-tokens", "5"], "--rate and --answer-tokens go with plan SCENARIO --estimate"),
        (["--estimate", "--answer-tokens", "0"], "--answer-tokens 0: at least 1"),
        (["--estimate", "--rate", "bob=5@3"], "--rate bob=5@3: no agent has this name; there are"),
        (["--estimate", "--rate", "teacher=5"], "--rate teacher=5: cannot be read; --rate NAME=8000@256/50000"),
        (["--estimate", "--rate", f"teacher=5@{9**400}"], "cannot be read; --rate NAME=8000@256/50000"),
        (["--estimate", "--set", "machine.gpus=99999999999xH100"], "=8xH100 (known: H100, H200)"),
        (["--estimate", "--set", "machine.gpus=8xX100"], "=8xH100 (known: H100, H200)"),
        (["--estimate", "--set", "level=2"], "plan --estimate computes the time of level 1 alone"),
        (
            ["--estimate", "--set", "teacher.engine=external", "--set", "teacher.engine_args={}"],
            "with external elsewhere is not known",
        ),
    ],
)
def test_a_mistake_is_refused_in_at_most_three_lines(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    out, err = say(capsys, "plan", SMOKE, *words, code=WRONG)
    assert not out
    assert message in " ".join(err.split())
    assert len(err.splitlines()) <= 3


def test_the_time_of_a_study_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    study = Path(classes.ROOT, "scenarios", "studies", "smoke.yaml")
    _, err = say(capsys, "plan", str(study), "--estimate", code=WRONG)
    assert "--estimate computes the time of one class; give its scenario, not a study" in err
