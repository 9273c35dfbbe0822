import pytest

from broker.errors import ScenarioError
from scenarios.report.named import near, pick

IDS = ["tp/1", "tp/10", "ape", "apricot"]


def test_an_exact_name_counts_before_the_beginnings_of_others() -> None:
    assert pick("problem", "tp/1", IDS) == "tp/1"
    assert pick("problem", "tp/10", IDS) == "tp/10"
    assert pick("problem", "apr", IDS) == "apricot"


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("ap", "2 begin with 'ap': ape, apricot"),
        ("tp/2", "there is no problem 'tp/2'. Did you mean tp/1"),
        ("zzzz", "there is no problem 'zzzz' (there is tp/1, tp/10, ape, ...)."),
        ("", "there is no problem ''"),
    ],
)
def test_any_other_name_is_refused_with_those_that_are_near(wanted: str, says: str) -> None:
    with pytest.raises(ScenarioError) as error:
        pick("problem", wanted, IDS)
    assert says in str(error.value)


def test_where_there_is_nothing_yet_it_is_said() -> None:
    with pytest.raises(ScenarioError, match="none yet"):
        near("student", "ada", [])
