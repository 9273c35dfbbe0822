"""What is left of a study, from its finished classes, and what its number of problems can show."""

import pytest

from scenarios.studies.estimate import in_words, measured, power, power_table


def planned(factor: str, requests: int = 100) -> dict[str, object]:
    return {"factors": {"teacher": factor}, "requests": requests, "prompt_tokens": 1000, "completion_tokens": 500}


def summary(seconds: float, requests: int = 50) -> dict[str, object]:
    agents = [{"prompt_tokens": 300, "completion_tokens": 100}, {"prompt_tokens": 100, "completion_tokens": 25}]
    return {"wall_seconds": seconds, "counts": {"requests": requests}, "agents": agents}


def test_a_class_that_is_left_takes_what_finished_classes_with_its_factors_took() -> None:
    cells = [planned("small"), planned("small", 200), planned("large"), planned("large"), planned("other")]
    found = measured(cells, [summary(60), {}, summary(600), {}, {}])
    assert found is not None
    assert (found.finished.classes, found.finished.seconds, found.finished.completion_tokens) == (2, 660, 250)
    # Twice as many requests as the small one, as many as the large one, and the mean of both for another teacher.
    assert found.left.seconds == pytest.approx(120 + 600 + 330)
    assert (found.left.requests, found.left.prompt_tokens) == (100 + 50 + 50, 1200)
    assert "2 classes took 11 min; at that rate the 3 others take about" in in_words(found)


def test_without_a_finished_class_there_is_no_rate_and_with_all_of_them_nothing_is_left() -> None:
    assert "no measured rate" in in_words(measured([planned("small")], [{}]))
    assert in_words(measured([planned("small")], [summary(60)])) == "All is done: 1 class took 1 min."
    assert "the other one takes" in in_words(measured([planned("a"), planned("a")], [summary(60), {}]))


def test_a_smaller_difference_takes_more_problems() -> None:
    rows = power()
    for worse in {one.worse for one in rows}:
        needed = [one.problems for one in rows if one.worse == worse]
        assert all(needed) and sorted(needed, key=lambda n: -(n or 0)) == needed
    assert power_table(rows, 40).row_count == 3
