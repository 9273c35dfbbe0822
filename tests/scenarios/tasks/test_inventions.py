"""Exam problems that agents wrote: what of a text is the problem, which ones are near duplicates, what is agreed."""

import pytest

from broker.errors import TaskError
from scenarios.tasks.exam_makers import refuse_form
from scenarios.tasks.inventions import LONGEST, agreed, fingerprint, read_problem

TP = "Ann has 12 apples and eats 5. How many are left?"
NEW = "Bob has 30 plums and sells 4. How many are left?"


@pytest.mark.parametrize(
    "text",
    [
        NEW,
        f"  {NEW}\n",
        f"Problem: {NEW}",
        f"**New problem:** {NEW}",
        f"### Question 2: {NEW}",
        f"{NEW}\n\nSolution: 30 - 4 = 26",
        f"{NEW}\nThe answer is:\n26",
        f"{NEW}\n**Answer:** 26",
        f"{NEW}\n\nNew problem: Carl has 3 pears.",
        f"{NEW}\n\nNew problem alone: Carl has 3 pears.",
        f"{NEW}<|im_end|>\nuser\nThanks",
    ],
)
def test_a_label_a_solution_and_a_further_problem_are_no_part_of_a_problem(text: str) -> None:
    assert read_problem(text, TP, ended=True) == NEW


@pytest.mark.parametrize("text", ["", " \n", "...", "Solution: 4", "**", "Problem:", "x" * (LONGEST + 1)])
def test_a_text_without_a_problem_holds_none(text: str) -> None:
    assert read_problem(text, TP, ended=True) == ""


def test_a_problem_that_is_cut_off_is_none_but_one_whose_solution_is_cut_off_is_whole() -> None:
    assert read_problem("Bob has 30 plums and", TP, ended=False) == ""
    assert read_problem(f"{NEW}\nSolution: Bob has", TP, ended=False) == NEW


def test_lines_that_the_teaching_problem_has_too_are_part_of_a_problem() -> None:
    text = "Passage: Bob sells plums.\nQuestion: What does he sell?"
    assert read_problem(text, "Passage: Ann eats.\nQuestion: Who eats?", ended=True) == text


@pytest.mark.parametrize(
    ("text", "duplicate"),
    [
        (TP, True),
        (f"{TP.upper()} ", True),
        ("Ann has 12 apples, and eats 5! How many are left", True),
        ("Bob had 12 plums and sold 5 of them. What remains?", True),
        ("Ann has 5 apples and eats 12. How many are left?", False),
        (NEW, False),
        ("Ann has 12 apples. How many are left?", False),
    ],
)
def test_a_near_duplicate_has_the_same_words_or_the_same_numbers(text: str, duplicate: bool) -> None:
    assert fingerprint(text).duplicates(fingerprint(TP)) is duplicate
    assert fingerprint(TP).duplicates(fingerprint(text)) is duplicate


def test_one_number_alone_makes_no_near_duplicate_and_a_sign_tells_formulas_apart() -> None:
    assert not fingerprint("Who won in 1998?").duplicates(fingerprint("Who was born in 1998?"))
    assert not fingerprint("3 + x?").duplicates(fingerprint("3 * x?"))


def test_an_answer_is_agreed_by_more_than_half_of_all_that_were_asked() -> None:
    def same(a: str, b: str) -> bool:
        return float(a) == float(b)

    assert agreed(["7", "3", "7.0", "7"], 5, same) == ("7", 3)
    assert agreed(["7", "3", "7"], 5, same) == ("", 0), "two of five, where two gave none"
    assert agreed(["7", "7", "3", "3"], 4, same) == ("", 0), "half is no majority"
    assert agreed([], 5, same) == ("", 0)


def test_problems_of_programs_and_of_yes_and_no_are_refused() -> None:
    for form, why in (("code", "programs have no answer to agree on"), ("yes_no", "agreement says little")):
        with pytest.raises(TaskError, match=why) as error:
            refuse_form(form)  # type: ignore[arg-type]
        assert error.value.key == ("exam", "maker")
    refuse_form("number")
