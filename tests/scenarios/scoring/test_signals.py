"""What tells right TRs from wrong ones, on pairs counted by hand."""

from scenarios.config.schema import Scoring
from scenarios.records.observe import ExamAnswer, Rationale
from scenarios.scoring.lbt import Sheet
from scenarios.scoring.signals import Signal, signals
from tests.scenarios.scoring.students import sheet

BOTH = ("ada", "bob")


def rationale(repeat: int, answer: str | None, tokens: int, judged: str = "", **marks: str) -> Rationale:
    """An answer that ends in ! is right. `marks` and `judged`: 1 for right, 0 for wrong, in their order."""
    exams = tuple(ExamAnswer(who, f"ep{n}", 0, mark == "1") for who, of in marks.items() for n, mark in enumerate(of))
    ratings = tuple(ExamAnswer("teacher", "tp", n, mark == "1") for n, mark in enumerate(judged))
    right = bool(answer and answer.endswith("!"))
    return Rationale(f"tr{repeat}", repeat, answer, right, tokens, exams, ratings=ratings)


def told(*sheets: Sheet, students: tuple[str, ...] = BOTH) -> dict[str, Signal]:
    return {one.name: one for one in signals(sheets, students, Scoring(), "teacher")}


ONE = sheet(
    rationale(0, "7!", 100, "11", ada="11", bob="01"),
    rationale(1, "5", 95, "11", ada="01", bob="01"),
    rationale(2, "5", 40, "01", ada="11", bob="11"),
    rationale(3, None, 1),
)
TWO = sheet(rationale(0, "7!", 50, ada="10", bob="00"), rationale(1, "7!", 51, ada="10", bob="01"),
            rationale(2, "8", 50, ada="10", bob="00"))  # fmt: skip


def test_every_signal_is_counted_on_pairs_of_a_right_and_a_wrong_rationale_of_one_problem() -> None:
    found = told(ONE, TWO)
    counts = {name: (one.higher * one.pairs, one.ties * one.pairs, one.pairs) for name, one in found.items()}
    assert counts == {
        "lbt": (2, 1, 4),  # ONE: 3/4 beats 2/4, loses to 4/4; TWO: 1/4 ties with 1/4, 2/4 beats it
        "lbt.ada": (1, 3, 4),
        "lbt.bob": (1, 2, 4),
        "votes": (2, 0, 4),
        "shorter": (0, 1, 4),
        "self_evaluation": (1, 1, 2),  # nobody judged TWO
        "lbt_alike": (2, 1, 3),  # 95 and 100 tokens, and all of TWO
        "lbt_against_votes": (1, 0, 2),
    }
    assert found["lbt"].auc == 2.5 / 4
    assert found["lbt"].ci95[0] < 2.5 / 4 < found["lbt"].ci95[1]


def test_without_a_pair_there_is_no_signal() -> None:
    assert told() == {}
    assert told(sheet(rationale(0, "7!", 9, ada="1"), rationale(1, "7!", 9, ada="0"))) == {}
    assert told(sheet(rationale(0, "7!", 9, ada="1"), rationale(1, "5", 9))) == {}, "one of them was not examined"


def test_one_student_is_not_named_beside_everybody() -> None:
    assert set(told(ONE, students=("ada",))) == {
        "lbt", "votes", "shorter", "self_evaluation", "lbt_alike", "lbt_against_votes",
    }  # fmt: skip
