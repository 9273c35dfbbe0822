"""A TP without exams, since no exam problem is near enough: every rule but greedy chooses as SC does."""

import pytest
from msgspec.structs import replace

from scenarios.config.schema import Scoring
from scenarios.scoring.lbt import Rule, Sheet
from scenarios.scoring.lineups import results_by_problem
from tests.scenarios.scoring.students import made_up, same


def abstaining() -> list[Sheet]:
    lessons = made_up([0.0, 1.0], answers=2)
    return [
        Sheet(
            replace(one, rationales=tuple(replace(tr, exams=()) for tr in one.rationales), abstains=True),
            same,
        )
        for one in lessons
    ]


@pytest.mark.parametrize("ties", ["votes", "first"])
@pytest.mark.parametrize("rule", ["max", "sum", "avg"])
def test_every_rule_chooses_by_votes(rule: Rule, ties: str) -> None:
    scoring = Scoring(ties=ties)  # type: ignore[arg-type]
    for sheet in abstaining():
        assert sheet.choose(rule, ("s0", "s1"), scoring) == sheet.choose("sc", ("s0", "s1"), scoring)


@pytest.mark.parametrize("ties", ["votes", "first"])
def test_every_line_up_chooses_by_votes(ties: str) -> None:
    scoring, sheets = Scoring(ties=ties), abstaining()  # type: ignore[arg-type]
    found = results_by_problem(sheets, [(), ("s0",), ("s0", "s1")], scoring, 3)
    by_votes = [float(sheet.choose("sc", (), scoring).correct) for sheet in sheets]
    for results in found.values():
        assert results.m1_max == results.m1_sum == results.m1_max_equal == by_votes
