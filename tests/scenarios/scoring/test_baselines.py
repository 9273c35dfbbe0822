"""Rules that choose without exams, beside which M1 is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from scenarios.config.schema import Scoring
from scenarios.records.observe import ExamAnswer, Rationale
from scenarios.scoring.baselines import by_visible_cases, length_matched, random_pick, shortest
from scenarios.scoring.lbt import best_possible
from tests.scenarios.scoring.students import same, sheet

SCORING = Scoring()


def rationale(repeat: int, answer: str | None, tokens: int, mark: bool = False, text: str = "") -> Rationale:
    """An answer that ends in ! is right."""
    exams = () if answer is None else (ExamAnswer("ada", "ep", 0, mark),)
    right = bool(answer and answer.endswith("!"))
    return Rationale(f"tr{repeat}", repeat, answer, right, tokens, exams, material=text)


ONE = sheet(
    rationale(0, "7!", 30, mark=True),
    rationale(1, "5", 10),
    rationale(2, "5", 28),
    rationale(3, "7!", 32),
    rationale(4, None, 1),
)


def test_each_picks_among_the_rationales_with_an_answer() -> None:
    assert (random_pick(ONE), shortest(ONE)) == (2 / 4, 0.0)
    assert length_matched(ONE, ("ada",), SCORING) == 0.5, "28 and 32 tokens are as far from the 30 that MAX picks"


def test_the_pick_of_m1s_length_has_another_text_unless_there_is_none() -> None:
    twice = sheet(rationale(0, "7!", 30, True, "same"), rationale(1, "7!", 30, True, "same"), rationale(2, "5", 90))
    assert length_matched(twice, ("ada",), SCORING) == 0.0
    alone = sheet(rationale(0, "7!", 30, True, "same"), rationale(1, "7!", 30, True, "same"))
    assert length_matched(alone, ("ada",), SCORING) == 1.0


def test_the_pick_of_m1s_length_is_found_among_programs_which_tables_show_by_another_name() -> None:
    programs = [replace(one, behaviour=f"{one.answer}-digest") for one in ONE.lesson.rationales if one.answer]
    assert length_matched(sheet(*programs), ("ada",), SCORING) == 0.5


def program(repeat: int, behaviour: str, correct: bool, hidden: float) -> Rationale:
    return Rationale(f"tr{repeat}", repeat, f"code {repeat}", correct, 9, (), behaviour=behaviour, hidden=hidden)


@pytest.mark.parametrize(
    ("programs", "shown", "hidden"),
    [
        ([program(0, "a", False, 0.9), program(1, "b", True, 0.2), program(2, "c", True, 0.5)], "program b", 0.2),
        ([program(0, "a", True, 0.1), program(1, "b", True, 0.2), program(2, "b", True, 0.2)], "program b", 0.2),
        ([program(0, "a", False, 0.1), program(1, "b", False, 0.2), program(2, "b", False, 0.2)], "program b", 0.2),
        ([], None, None),
    ],
)
def test_by_visible_cases_a_passing_program_is_picked_by_votes_then_by_repeat_and_else_by_votes_alone(
    programs: list[Rationale], shown: str | None, hidden: float | None
) -> None:
    picked = by_visible_cases(sheet(*programs), same, SCORING)
    assert (picked.answer, picked.hidden) == (shown, hidden)


def test_without_an_answer_nothing_is_right() -> None:
    nothing = sheet(rationale(0, None, 10))
    assert [random_pick(nothing), shortest(nothing), length_matched(nothing, ("ada",), SCORING)] == [0.0] * 3


drawn = st.lists(
    st.tuples(st.sampled_from(["1!", "2", "3", None]), st.integers(1, 4), st.booleans()), min_size=1, max_size=8
)


@given(drawn)
def test_none_beats_the_oracle_and_the_order_of_rationales_of_equal_length_is_nothing_to_the_shortest(
    rows: list[tuple[str | None, int, bool]],
) -> None:
    rationales = [rationale(repeat, *row) for repeat, row in enumerate(rows)]
    one = sheet(*rationales)
    values = [random_pick(one), shortest(one), length_matched(one, ("ada",), SCORING)]
    assert all(0 <= value <= (best_possible([one.lesson]) or 0) for value in values)
    again = [replace(old, repeat=len(rows) - 1 - old.repeat) for old in rationales]
    assert [random_pick(sheet(*again)), shortest(sheet(*again))] == pytest.approx(values[:2])
    level = sheet(*(replace(old, completion_tokens=9) for old in rationales))
    assert shortest(level) == random_pick(level)
