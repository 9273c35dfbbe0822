"""What the first sentences of a study say."""

import msgspec

from scenarios.studies.answers import ClassAnswers
from scenarios.studies.pooling import Accuracy, Difference
from scenarios.studies.result import CellResult, StudyResult
from scenarios.studies.sentences import answer, in_words, unequal

DIFFERENCE = Difference(
    a="mixed",
    b="copies",
    difference=0.1,
    ci95=(-0.05, 0.25),
    wins=5,
    losses=2,
    p_value=0.04,
    p_holm=0.08,
    n=30,
    needed=84,
)
LINEUPS = {"mixed": ("peer-1", "bold"), "copies": ("peer-1", "peer-2")}


def result(*primary: Difference, status: str = "complete", reason: str = "") -> StudyResult:
    run = CellResult(cell="seed=1", folder="runs/seed=1", factors={}, seed=1, status=status, reason=reason)
    return StudyResult(
        study="trial",
        status="complete",
        simulated=False,
        answer=[],
        primary=list(primary),
        lineups=[],
        methods={"sc": Accuracy(0.5, (0.3, 0.7), 30)},
        descriptive=[],
        runs=[run],
    )


def a_class(answerers: dict[str, str], differing: int = 3) -> ClassAnswers:
    return ClassAnswers(tps=[], units=[], right={}, answerers=answerers, differing=differing, simulated=False)


DIVERSE = a_class({"peer-1": "x", "peer-2": "x", "bold": "y"})


def test_a_tie_says_how_many_problems_would_show_the_difference() -> None:
    said = in_words(msgspec.structs.replace(DIFFERENCE, p_value=0.08))
    assert said.startswith(
        "mixed against copies: +10.0 points (95 % interval -5.0 to +25.0); better on 5, worse on 2 of 30"
    )
    assert said.endswith("p = 0.08. Statistically tied; about 84 problems would show a difference of this size.")


def test_the_corrected_p_value_decides() -> None:
    apart = msgspec.structs.replace(DIFFERENCE, p_holm=0.02)
    assert in_words(apart).endswith("mixed is significantly better.")
    not_among_all = "p = 0.08. Not significant after correction (p = 0.04 without it)"
    assert not_among_all in in_words(DIFFERENCE)


def test_numbers_of_problems_are_for_the_comparison_among_all() -> None:
    among = msgspec.structs.replace(DIFFERENCE, comparisons=3)
    takes = "; about 84 problems would show a difference of this size after correction for 3 comparisons."
    assert in_words(among).endswith(takes)
    tied = msgspec.structs.replace(among, p_value=0.08)
    assert in_words(tied).endswith(f"Statistically tied{takes}")
    three = answer(result(among, tied, tied), [DIVERSE], LINEUPS)
    assert (
        "These p-values are corrected for 3 comparisons (Holm), and so are the numbers of problems (p < 0.05 / 3); the "
        "intervals are not." in three
    )
    none = msgspec.structs.replace(DIFFERENCE, needed=None)
    assert "These p-values are corrected for 2 comparisons (Holm); the intervals are not." in answer(
        result(none, none), [DIVERSE], LINEUPS
    )


def test_students_that_are_copies_of_one_are_said_first() -> None:
    same = a_class({"ada": "x", "bob": "x"})
    assert answer(result(), [same], {"both": ("ada", "bob")})[0].startswith("The students do not differ: ada, bob are")


def test_students_with_equal_results_in_every_exam_are_said_first() -> None:
    equal = a_class({"ada": "x", "bob": "y"}, 0)
    assert answer(result(), [equal], {})[0] == (
        "The students do not differ: no two of them had different results in any exam."
    )


def test_line_ups_of_equal_students_are_said_first_whatever_their_names() -> None:
    copies = {"mixed": ("peer-1", "bold"), "copies": ("peer-2", "bold")}
    assert answer(result(DIFFERENCE), [DIVERSE], copies)[0].startswith("mixed and copies do not differ: ")
    assert answer(result(DIFFERENCE), [DIVERSE], LINEUPS)[0] == in_words(DIFFERENCE)


def test_line_ups_with_more_exam_answers_are_named() -> None:
    lineups = LINEUPS | {"peer": ("peer-1",)}
    pairs = [("mixed.sum", "peer.sum"), ("mixed", "peer"), ("mixed", "copies"), ("mixed", "sc"), ("peer", "mixed")]
    assert unequal(pairs, lineups) == [
        "mixed has 2 times as many exam answers as peer (2 students, not 1): more exams alone may explain a difference "
        "between them."
    ]
    said = answer(result(msgspec.structs.replace(DIFFERENCE, b="peer")), [DIVERSE], lineups)
    assert said[1].startswith("mixed has 2 times as many exam answers as peer")


def test_one_student_makes_no_line_ups() -> None:
    assert "one student, ada" in answer(result(), [a_class({"ada": "x"})], {"alone": ("ada",)})[0]


def test_classes_that_are_left_out_are_named_with_the_reason() -> None:
    assert any(
        "seed=1 failed (disk full)" in one for one in answer(result(status="failed", reason="disk full"), [], {})
    )
