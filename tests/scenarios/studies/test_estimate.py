"""What is left of a study, from its finished classes, and what its number of problems can show."""

import pytest

from scenarios.studies.estimate import Spent, in_words, measured, needed, power, power_table
from scenarios.studies.pooling import difference
from tests.printing import printed


def planned(factor: str, requests: int = 100) -> dict[str, object]:
    return {"factors": {"teacher": factor}, "requests": requests, "prompt_tokens": 1000, "completion_tokens": 500}


def took(seconds: float, requests: float = 50, prompt: float = 400, completion: float = 125) -> Spent:
    return Spent(classes=1, seconds=seconds, requests=requests, prompt_tokens=prompt, completion_tokens=completion)


def test_a_class_that_is_left_takes_what_finished_classes_with_its_factors_took() -> None:
    cells = [planned("small"), planned("small", 200), planned("large"), planned("large"), planned("other")]
    found = measured(cells, [took(60), None, took(600), None, None], [None] * 5)
    assert found is not None
    assert (found.finished.classes, found.finished.seconds, found.finished.completion_tokens) == (2, 660, 250)
    # Twice as many requests as the small one, as many as the large one, and the mean of both for another teacher.
    assert found.left.seconds == pytest.approx(120 + 600 + 330)
    assert (found.left.requests, found.left.prompt_tokens) == (100 + 50 + 50, 1200)
    assert "2 classes took 11 min; at that rate the 3 others take about" in in_words(found)


def test_without_a_finished_class_there_is_no_rate_and_with_all_of_them_nothing_is_left() -> None:
    assert "no request was answered yet" in in_words(measured([planned("small")], [None], [None]))
    assert in_words(measured([planned("small")], [took(60)], [None])) == "All is done: 1 class took 1 min."
    assert "the other one takes" in in_words(measured([planned("a"), planned("a")], [took(60), None], [None, None]))


def test_what_an_unfinished_class_has_recorded_is_not_left() -> None:
    cells = [planned("small"), planned("small"), planned("small")]
    found = measured(cells, [took(60), None, None], [None, took(30, 20, 160, 50), None])
    assert found is not None
    # 50 requests each as in the finished one, less the 20 that are there; 60 s for 50 requests.
    assert (found.left.requests, found.left.prompt_tokens, found.left.completion_tokens) == (80, 640, 200)
    assert found.left.seconds == pytest.approx(96)
    assert in_words(found).startswith(
        "1 class took 1 min and 1 unfinished class recorded 20 requests in 30 s; at that rate the rest takes about"
    )


def test_before_a_class_is_finished_the_rate_is_that_of_what_is_recorded() -> None:
    found = measured([planned("small"), planned("large")], [None, None], [took(30, 20, 160, 50), None])
    assert found is not None
    assert (found.left.requests, found.left.seconds) == (80 + 100, 1.5 * 180)
    assert "1 unfinished class recorded 20 requests in 30 s; at that rate the rest takes at most about" in in_words(
        found
    )
    assert measured([planned("small")], [None], [took(3, 0, 0, 0)]) is None


def test_a_smaller_difference_takes_more_problems() -> None:
    rows = power()
    for worse in {one.worse for one in rows}:
        needed = [one.problems for one in rows if one.worse == worse]
        assert all(needed) and sorted(needed, key=lambda n: -(n or 0)) == needed
    assert power_table(rows, 40).row_count == 3


def test_a_difference_that_takes_too_many_problems_is_not_called_one_that_nothing_shows() -> None:
    for right, wrong, said in ((21, 20, "not even 10,000 problems show it."), (20, 20, "there is none to show.")):
        of_a, of_b = [1.0] * right + [0.0] * wrong, [0.0] * right + [1.0] * wrong
        assert needed(difference("a", "b", [*of_a, *[1.0] * 99], [*of_b, *[1.0] * 99], 1)).endswith(said)


def test_several_primary_comparisons_take_more_problems_and_the_table_says_so() -> None:
    for alone, among in zip(power(), power(4), strict=True):
        assert (alone.problems or 0) < (among.problems or 10**6)
    said = " ".join(printed(power_table(power(4), 40, 4), width=120).split())
    assert "among 4 comparisons (80 % power, p < 0.05 after correction)" in said and "p < 0.05 / 4" in said
