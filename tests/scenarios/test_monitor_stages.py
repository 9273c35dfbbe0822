"""The monitor of a class without teaching problems: stages, agents, and rounds as events."""

import io
from pathlib import Path

from scenarios.gradebook.store import Record, Store
from scenarios.monitor.screens import PlainLines
from scenarios.monitor.view import view
from tests.scenarios import iterated
from tests.scenarios.monitored import picture


def answers(stage: str, agent: str, count: int, failed: str = "") -> list[Record]:
    return [
        Record(
            request_id=f"{stage}{agent}{failed}{n}", kind="Examine", level=3, agent=agent, stage=stage, tp="", tr="set",
            ep=f"train-{n}", failed=failed, prompt_tokens=100, cached_tokens=50, completion_tokens=4,
        )
        for n in range(count)
    ]  # fmt: skip


def test_stages_go_on_towards_what_may_still_come_and_rounds_are_told(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        store.keep_bank(iterated.bank())
        store.note("", "started", "[]")
        store.keep_totals({"exam": 40, "score": 20, "reflect": 2})
        store.record(answers("exam", "ada", 10) + answers("score", "teacher", 5), grader="g", version="1")
        store.record(answers("exam", "bob", 2, failed="engine"), grader="g", version="1")
        store.note("", "round", "1: teacher F1 0.500 on training items with the best of 8 sets")
    snapshot = picture(tmp_path, iterated.scenario())
    assert {stage.name: (stage.done, stage.total) for stage in snapshot.stages} == {
        "exam": (12, 40), "score": (5, 20), "reflect": (0, 2),
    }  # fmt: skip
    assert snapshot.failed == 2
    assert {agent.name: (agent.done, agent.cached_share) for agent in snapshot.agents}["ada"] == (10, 0.5)
    text = view(snapshot, 100, 30).text
    assert "level 3, iterate" in text
    assert "made up" in text
    assert "TPs" not in text
    assert "1: teacher F1 0.500" in text
    assert all(line <= 100 for line in map(len, text.splitlines()))


def test_a_plain_line_says_how_a_round_went(tmp_path: Path) -> None:
    shown = PlainLines(io.StringIO())
    with Store(tmp_path, write=True) as store:
        store.keep_bank(iterated.bank())
        store.note("", "started", "[]")
        shown.lines(picture(tmp_path, iterated.scenario()))
        store.note("", "round", "2: teacher F1 0.750 on held-out items")
    assert shown.lines(picture(tmp_path, iterated.scenario())) == ["round 2: teacher F1 0.750 on held-out items"]
