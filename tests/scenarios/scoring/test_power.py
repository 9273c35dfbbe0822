"""How many problems show a difference: against the test itself, problem by problem."""

import pytest
from scipy.stats import binom, binomtest

from scenarios.scoring.power import MOST, needed_sentence, problems_needed


def power(n: int, wins: float, losses: float, level: float = 0.05) -> float:
    """The chance that `n` problems show that the first method is better, from every outcome."""
    differ = wins + losses
    return sum(
        float(binom.pmf(m, n, differ) * binom.pmf(k, m, wins / differ))
        for m in range(n + 1)
        for k in range(m // 2 + 1, m + 1)
        if binomtest(k, m).pvalue < level
    )


@pytest.mark.parametrize(("wins", "losses", "needed"), [(0.3, 0.1, 84), (0.3, 0.0, 25), (1.0, 0.0, 6)])
def test_the_number_is_the_first_with_the_power(wins: float, losses: float, needed: int) -> None:
    assert problems_needed(wins, losses) == needed == problems_needed(losses, wins)
    assert power(needed - 1, wins, losses) < 0.8 <= power(needed, wins, losses)


@pytest.mark.parametrize("comparisons", [2, 5])
def test_one_of_several_comparisons_takes_as_many_as_its_corrected_level_asks(comparisons: int) -> None:
    level = 0.05 / comparisons
    needed = problems_needed(0.3, 0.1, level=level)
    assert needed is not None and needed > 84
    assert power(needed - 1, 0.3, 0.1, level) < 0.8 <= power(needed, 0.3, 0.1, level)


def test_what_cannot_be_shown_has_no_number() -> None:
    assert problems_needed(0.05, 0.05) is problems_needed(0.501, 0.499) is None
    assert problems_needed(0.3, 0.1, most=83) is None
    with pytest.raises(ValueError, match="add up to 1"):
        problems_needed(0.7, 0.4)


def test_the_number_is_said_in_words() -> None:
    assert needed_sentence(0.3, 0.1) == "About 84 problems would show this difference."
    assert needed_sentence(0.1, 0.1) == "No number of problems would show a difference: there is none in these figures."
    assert needed_sentence(0.501, 0.499) == f"Not even {MOST:,} problems would show this difference."
