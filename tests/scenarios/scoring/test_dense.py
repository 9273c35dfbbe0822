"""The dense score: choices by log-probabilities worked out by hand, and how they agree with the exams."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.config.schema import Scoring
from scenarios.records.observe import ExamAnswer, ExamGrade, Rationale, TeachingProblemRecord
from scenarios.scoring.dense import Dense, dense, dense_scores, tau_b
from scenarios.scoring.lbt import ChosenAnswer, Rule, Sheet
from tests.scenarios.scoring.students import same

SCORING = Scoring()
BY_STUDENT = Scoring(merge="students")
RULES: tuple[Rule, ...] = ("max", "sum", "avg")


def rationale(
    repeat: int, answer: str | None, *, right: bool = False, exams: str = "", material: str = "", **grades: list[float]
) -> Rationale:
    """A TR with ada's exams as marks, and each student's likelihoods, EP by EP."""
    return Rationale(
        f"tr{repeat}", repeat, answer, right, 10,
        tuple(ExamAnswer("ada", f"ep{i}", 0, mark == "1") for i, mark in enumerate(exams)), material,
        tuple(ExamGrade(s, f"ep{i}", log(p)) for s, all_ in sorted(grades.items()) for i, p in enumerate(all_) if p),
    )  # fmt: skip


def lesson(*rationales: Rationale, tp: str = "tp") -> TeachingProblemRecord:
    return TeachingProblemRecord(tp, "number", None, rationales)


ROSES = lesson(
    rationale(0, "5", exams="00", ada=[0.3, 0.3], bob=[0.2, 0.2]),
    rationale(1, "7", right=True, exams="11", ada=[0.9, 0.4], bob=[0.4, 0.1]),
    rationale(2, "5", exams="10", ada=[0.3, 0.3], bob=[0.4, 0.4]),
    rationale(3, "6", exams="01", ada=[0.1, 0.1], bob=[0.9, 0.9]),
    rationale(4, None),
)


def pick(rule: Rule, one: TeachingProblemRecord, *students: str, scoring: Scoring = SCORING) -> ChosenAnswer:
    return Sheet(one, same).choose(rule, students, scoring, dense_scores)


def test_the_score_of_a_rationale_is_the_geometric_mean_over_students_and_problems() -> None:
    scores = dense_scores(ROSES.rationales, ["ada", "bob"], "answers")
    assert scores["tr1"] == pytest.approx((0.9 * 0.4 * 0.4 * 0.1) ** (1 / 4))
    assert dense_scores(ROSES.rationales, ["ada"], "answers")["tr1"] == pytest.approx(0.6)
    assert set(scores) == {"tr0", "tr1", "tr2", "tr3"}


def test_max_takes_the_likeliest_rationale_and_sum_adds_likelihoods_and_not_logarithms() -> None:
    assert pick("max", ROSES, "ada") == ChosenAnswer("7", True, False, 1.0)
    # Two votes of 0.3 and 0.35 outweigh one of 0.6; sums of logarithms would prefer 7.
    votes = lesson(*ROSES.rationales[:2], rationale(2, "5", ada=[0.35, 0.35]))
    assert pick("sum", votes, "ada").answer == "5"
    assert pick("avg", votes, "ada").answer == "7"


def test_the_line_up_decides() -> None:
    assert pick("max", ROSES, "bob").answer == "6"
    assert {pick(rule, ROSES, "ada", "bob").answer for rule in RULES} <= {"5", "6", "7"}


def test_students_count_alike_however_many_of_their_problems_are_there() -> None:
    one = lesson(
        rationale(0, "5", ada=[0.5, 0.5, 0.5], bob=[0.1]),
        rationale(1, "7", ada=[0.1, 0.1, 0.1], bob=[0.6]),
    )
    assert pick("max", one, "ada", "bob").answer == "5"
    assert pick("max", one, "ada", "bob", scoring=BY_STUDENT).answer == "7"


def test_where_a_request_failed_rationales_are_compared_on_what_all_of_them_have() -> None:
    # ep1 is hard: without it tr0 would look better than it is.
    one = lesson(rationale(0, "5", ada=[0.5, 0]), rationale(1, "7", ada=[0.6, 0.1]))
    assert pick("max", one, "ada").answer == "7"
    nothing = lesson(rationale(0, "5", ada=[0.5, 0]), rationale(1, "7", ada=[0, 0.1]))
    assert dense_scores(nothing.rationales, ["ada"], "answers") == {}
    assert pick("max", nothing, "ada").tied


def test_a_rationale_without_grades_adds_nothing() -> None:
    one = lesson(rationale(0, "5", ada=[0.2]), rationale(1, "7"), rationale(2, "7"))
    assert {rule: pick(rule, one, "ada").answer for rule in RULES} == dict.fromkeys(RULES, "5")


def test_equal_scores_are_ties_and_decided_by_votes_or_by_the_smallest_repeat() -> None:
    one = lesson(rationale(0, "5", ada=[0.4]), rationale(1, "7", ada=[0.4]), rationale(2, "7", ada=[0.1]))
    assert pick("max", one, "ada") == ChosenAnswer("7", False, True, 0.0)
    assert pick("max", one, "ada", scoring=Scoring(ties="first")).answer == "5"


def test_without_an_answer_there_is_no_choice() -> None:
    assert pick("sum", lesson(rationale(0, None)), "ada") == ChosenAnswer(None, False)


def found(*lessons: TeachingProblemRecord) -> Dense:
    return dense([Sheet(one, same) for one in lessons], ["ada", "bob"], SCORING, 7)


def test_agreement_is_measured_within_problems() -> None:
    along = lesson(
        rationale(0, "5", exams="00", ada=[0.1, 0.1]),
        rationale(1, "6", exams="10", ada=[0.2, 0.2]),
        rationale(2, "7", right=True, exams="11", ada=[0.7, 0.7]),
        tp="along",
    )
    against = lesson(
        rationale(0, "5", exams="11", ada=[0.1, 0.1]), rationale(1, "7", right=True, exams="00", ada=[0.2, 0.2])
    )
    told = found(along, against)
    assert (told.kendall_tau_b, told.n, told.grades) == (0.0, 2, 10)
    assert told.ci95 == pytest.approx((-0.811, 0.811), abs=5e-4)
    assert (told.same_max, told.same_sum) == (0.5, 0.5)
    assert (told.assumption.right_beats_wrong, told.assumption.ties, told.assumption.pairs) == (1.0, 0.0, 3)
    assert found(along).kendall_tau_b == pytest.approx(1.0)


def test_problems_on_which_a_score_does_not_differ_have_no_tau() -> None:
    flat = lesson(rationale(0, "5", exams="11", ada=[0.1, 0.2]), rationale(1, "7", exams="11", ada=[0.3, 0.2]))
    told = found(flat)
    assert (told.kendall_tau_b, told.n, told.ci95) == (None, 0, (-1.0, 1.0))


def test_identical_rationales_are_one_observation_and_count_as_often_as_they_came_in_sums() -> None:
    twice = [rationale(n, "5", exams="10", material="m", ada=[0.3, 0.3]) for n in (0, 1)]
    one = lesson(*twice, rationale(2, "7", exams="11", ada=[0.5, 0.5]))
    told = found(one)
    assert (told.grades, told.n) == (4, 1)
    assert told.kendall_tau_b == pytest.approx(1.0)
    assert pick("sum", one, "ada").answer == "5"
    assert pick("max", one, "ada").answer == "7"


def test_where_nothing_was_asked_nothing_is_said() -> None:
    told = found(lesson(rationale(0, "5", exams="11"), rationale(1, "7", exams="00")))
    assert (told.grades, told.kendall_tau_b, told.same_max, told.assumption.pairs) == (0, None, None, 0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_tau_b_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    both = [(p, q) for i, p in enumerate(pairs) for q in pairs[:i]]
    score = sum(((a > c) - (a < c)) * ((b > d) - (b < d)) for (a, b), (c, d) in both)
    untied = sum(a != c for (a, _), (c, _) in both) * sum(b != d for (_, b), (_, d) in both)
    assert tau_b(pairs) == (pytest.approx(score / untied**0.5) if untied else None)


@given(st.lists(st.lists(st.floats(-30, 0), min_size=2, max_size=2), min_size=1, max_size=6))
def test_scores_are_likelihoods_and_max_ranks_as_mean_log_probabilities_do(rows: list[list[float]]) -> None:
    grades = [tuple(ExamGrade("ada", f"ep{i}", p) for i, p in enumerate(row)) for row in rows]
    one = lesson(*(Rationale(f"tr{n}", n, str(n), False, 1, (), grades=g) for n, g in enumerate(grades)))
    scores = dense_scores(one.rationales, ["ada"], "answers")
    assert all(0 < score <= 1 for score in scores.values())
    assert max(scores.values()) == pytest.approx(exp(max(sum(row) / 2 for row in rows)))
