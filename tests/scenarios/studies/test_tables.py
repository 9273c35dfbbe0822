"""The printed result of a study, in any width."""

import msgspec
import pytest

from scenarios.scoring.over_problems import OverProblems
from scenarios.scoring.shapley import StudentValue
from scenarios.studies.pooling import Accuracy, Difference, PooledShapley
from scenarios.studies.result import CellResult, LineupResult, PublishedResult, StudyResult
from scenarios.studies.tables import ROWS_SHOWN, result_tables
from tests import printing

DIFFERENCE = Difference(
    a="mixed", b="sc", difference=0.1, ci95=(-0.05, 0.25), wins=5, losses=2, p_value=0.04, p_holm=0.08, n=30
)
LINEUP = LineupResult(
    name="mixed", students=("a", "b"), m1_max=0.5, m1_sum=0.6, m1_max_ci95=(0.3, 0.7), m1_sum_ci95=(0.4, 0.8), n=30
)
RESULT = StudyResult(
    study="trial",
    status="complete",
    simulated=False,
    answer=["mixed is \x1b[31mbetter\x1b[0m."],
    primary=[DIFFERENCE],
    lineups=[LINEUP],
    methods={"sc": Accuracy(0.4, (0.2, 0.6), 30)},
    descriptive=[],
    runs=[
        CellResult(
            cell="teacher=tiny_seed=1", folder="runs/x", factors={"teacher": "tiny"}, seed=1, status="complete", n=30,
            methods={"sc": 0.4}, lineups={"mixed": {"m1_max": 0.5, "m1_sum": 0.6}},
        )
    ],
    published=[
        PublishedResult(
            where={"teacher": "tiny"}, lineup="mixed", published={"sc": 0.6464, "sum": 0.8287},
            ours={"sc": Accuracy(0.4, (0.2, 0.6), 30)},
        )
    ],
)  # fmt: skip


def printed(result: StudyResult, width: int) -> str:
    return printing.printed(result_tables(result), width=width)


def test_published_numbers_stand_beside_ours() -> None:
    rows = [line.split() for line in printed(RESULT, 120).splitlines() if line.startswith("teacher=tiny, mixed")]
    assert rows[0] == ["teacher=tiny,", "mixed", "SC", "64.64", "%", "40.0", "%", "20", "to", "60", "%"]
    assert rows[1] == ["teacher=tiny,", "mixed", "M1", "SUM", "82.87", "%", "-", "-"]


@pytest.mark.parametrize("width", [40, 60, 200])
def test_no_line_is_wider_than_the_terminal_and_no_control_character_is_printed(width: int) -> None:
    said = printed(RESULT, width)
    assert max(map(len, said.splitlines())) <= width
    assert "\x1b[31m" not in said


def test_of_many_line_ups_each_class_shows_the_best_and_everyone() -> None:
    names = ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]
    shares = [0.2, 0.3, 0.4, 0.5, 0.8, 0.6, 0.7]
    lineups = [
        msgspec.structs.replace(LINEUP, name=name, students=tuple(name.split("+")), m1_max=share)
        for name, share in zip(names, shares, strict=True)
    ]
    run = msgspec.structs.replace(
        RESULT.runs[0], lineups={name: {"m1_max": share} for name, share in zip(names, shares, strict=True)}
    )
    said = printed(msgspec.structs.replace(RESULT, lineups=lineups, runs=[run]), 120).split("Each class by itself")[1]
    assert said.splitlines()[1].split() == ["class", "status", "TPs", "SC", "best", "everyone"]
    assert "40.0 %  80.0 %    70.0 %" in said
    assert "MAX; best is a+c, with the highest MAX over all classes. study.json has all 7 line-ups" in said


def test_of_many_line_ups_those_with_the_best_answers_are_printed() -> None:
    many = [
        LineupResult(
            name=f"line{n}", students=("a",), m1_max=n / 100, m1_sum=0, m1_max_ci95=(0, 1), m1_sum_ci95=(0, 1), n=30
        )
        for n in range(63)
    ]  # fmt: skip
    said = printed(StudyResult(**{n: getattr(RESULT, n) for n in RESULT.__struct_fields__} | {"lineups": many}), 200)
    assert f"{63 - ROWS_SHOWN} more, with a lower MAX, are in study.json." in said
    assert "line62" in said and "line0 " not in said


def test_what_each_student_adds_is_printed() -> None:
    values = [
        StudentValue(name, OverProblems(0.05, (0.01, 0.1), 0.02), OverProblems(0.0, (0.0, 0.0), 1.0)) for name in "ab"
    ]
    said = printed(msgspec.structs.replace(RESULT, shapley=PooledShapley(values, 30)), 120)
    assert "What each student adds to SC, in points" in said and "over 30 distinct problems" in said
    assert ["a", "+5.0", "+1", "to", "+10", "+0.0", "+0", "to", "+0"] in [line.split() for line in said.splitlines()]
    assert "What each student adds" not in printed(RESULT, 120)
