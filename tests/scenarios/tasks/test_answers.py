"""What counts as the answer of a text, and when two answers are the same."""

from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.work_messages import AnswerForm
from scenarios.tasks.grading.answers import ClassGrader, normal, parse
from scenarios.tasks.problems import Problem

FORMS: tuple[AnswerForm, ...] = ("number", "latex", "word", "yes_no")
EXACT_FORMS: tuple[AnswerForm, ...] = ("number", "word", "yes_no")


@pytest.fixture(scope="module")
def grader() -> Iterator[ClassGrader]:
    with ClassGrader() as one:
        yield one


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("14 * 3 = 42 apples\nAnswer: 42", "42"),
        ("Answer: 42 apples.", "42"),
        ("**Answer:** 42", "42"),
        ("**Answer: 42**", "42"),
        ("### Final Answer:\n\n42", "42"),
        ("answer : 42", "42"),
        ("Answer: $1,234.50", "2469/2"),
        ("Answer: $-5", "-5"),
        ("Answer: -$5", "-5"),
        ("Answer: \u22125 degrees", "-5"),
        ("Answer: \u20ac12", "12"),
        ("Answer: 25%", "25"),
        ("Answer: 25\\%", "25"),
        ("Answer: 3/4 of the cake", "3/4"),
        ("Answer: 3 1/2 cups", "7/2"),
        ("Answer: \\(\\frac{7}{2}\\)", "7/2"),
        ("Answer: $3\\frac{1}{2}$", "7/2"),
        ("Answer: -\\frac{3}{4}", "-3/4"),
        ("Answer: .5", "1/2"),
        ("Answer: 1.5e3", "1500"),
        ("Answer: 1{,}234", "1234"),
        ("Answer: x = 5", "5"),
        ("Answer: 5 + 3 = 8", "8"),
        ("Answer: The total is 42 dollars.", "42"),
        ("Answer: 42 (6 x 7)", "42"),
        ("Answer: 12cm", "12"),
        ("so\n#### -1,000", "-1000"),
        ("Thus \\boxed{42}.", "42"),
        ("$$\\boxed{\\dfrac{3}{4}}$$", "3/4"),
        ("\\boxed{\\text{42 apples}}", "42"),
        ("The answer is 42.", "42"),
        ("So the answer is: **42** apples", "42"),
        ("the answer is 5 because 3+2 = 5", "5"),
        ("Answer: 41\nWait, that is wrong.\nAnswer: 42", "42"),
        ("Answer: 42\n\nProblem: What is 5 + 5?\nAnswer: 10", "42"),
        ("\\[ x = \\boxed{12} \\]\nAnswer: twelve", "12"),
        ("6 * 7 = 42", "42"),
        ("First 6.\nThen 6*7 = 42 apples.", "42"),
        ("Total = $42.00 in total", "42"),
        ("$6 \\times 7 = 42$", "42"),
        ("\\frac{84}{2} = 42 \\text{ cm}^2", "42"),
        ("So she has 42 apples.", "42"),
        ("Therefore, Tom pays $1,200.", "1200"),
    ],
)
def test_a_number_is_found_in_every_notation(text: str, answer: str) -> None:
    assert parse(text, "number") == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Answer:",
        "Answer: ",
        "She has 42 apples",
        "We start with 42 apples and take",
        "3 + 4 = 7\nSo she has 3 and 4",
        "Answer: 6 * 7",
        "Answer: 2^3",
        "Answer: 10:30",
        "Answer: 1,2,3",
        "Answer: 5, 6",
        "Answer: 50,00",
        "Answer: 1.234.567",
        "Answer: 5-6",
        "Answer: 1/0",
        "Answer: Sarah has 3 cats and 4 dogs",
        "Answer: " + "9" * 500,
        "\\boxed{42",
        "12 = 12 boxes of 6 pencils",
    ],
)
def test_a_number_that_is_not_marked_or_not_one_number_is_no_answer(text: str) -> None:
    assert parse(text, "number") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: Monday.", "monday"),
        ("Answer: **Monday**", "monday"),
        ("Answer: The grandmother", "grandmother"),
        ('The answer is "aunt".', "aunt"),
        ("Answer: Wednesday, because 12 = 7 + 5", "wednesday"),
        ("Answer: grandmother (of Lily)", "grandmother (of lily)"),
        ("Answer: Wanda or Ulla", "wanda or ulla"),
        ("Answer: mother. She is older.", "mother"),
        ("Answer: Kurtis-Jae", "kurtis-jae"),
        ("Answer:\n\nson", "son"),
        ("\\boxed{\\text{son}}", "son"),
        ("He is her son", None),
        ("Answer:", None),
    ],
)
def test_a_word_is_what_is_marked_and_nothing_else(text: str, answer: str | None) -> None:
    assert parse(text, "word") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: Yes", "yes"),
        ("Answer: **No**, it does not follow", "no"),
        ('Answer: "No"', "no"),
        ("Answer: \\boxed{Yes}", "yes"),
        ("Answer: True", "yes"),
        ("It does not follow.\nNo.", "no"),
        ("Yes", "yes"),
        ("Answer: yes or no", None),
        ("Answer: Yes/No", None),
        ("Answer: none of them", None),
        ("No idea what that means", None),
    ],
)
def test_yes_and_no_are_told_apart_from_words_that_begin_like_them(text: str, answer: str | None) -> None:
    assert parse(text, "yes_no") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: $\\frac{1}{2}$", "1/2"),
        ("Answer: \\(x^2\\).", "x^2"),
        ("Answer: $x=5$, where $x$ is the number", "x=5"),
        ("$$\\boxed{2\\sqrt{3}}$$ and that is all", "2\\sqrt{3}"),
        ("The answer is $12\\pi$ cm", "12\\pi"),
        ("Answer: \\$10.00", "10"),
        ("Answer: $1,\\!000$", "1000"),
        ("Answer: $[0,1)$", "[0,1)"),
        ("\\boxed{\\begin{pmatrix} 1 \\\\ 48 \\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\ 48 \\end{pmatrix}"),
        ("the box \\boxed{never closes", None),
        ("so $x = 5$", None),
    ],
)
def test_dollars_and_boxes_around_latex_are_removed(text: str, answer: str | None) -> None:
    assert parse(text, "latex") == answer


WHOLE = st.integers(-(10**12), 10**12)
DRESSES = (
    "Answer: {}", "**Answer:** {}", "Answer: **{}**", "Answer: {}.", "Answer: {} apples", "Answer: x = {}",
    "some work\n#### {}", "\\boxed{{{}}}", "The answer is {}.", "$\\boxed{{{}}}$", "Answer: \\({}\\)", "1 + 1 = {}",
)  # fmt: skip


@given(WHOLE, st.integers(1, 10**6), st.sampled_from(DRESSES), st.sampled_from(["{}/{}", "\\frac{{{}}}{{{}}}"]))
def test_every_fraction_comes_back_as_its_value(top: int, bottom: int, dress: str, written: str) -> None:
    assert parse(dress.format(written.format(top, bottom)), "number") == str(Fraction(top, bottom))


@given(st.decimals(-(10**9), 10**9, places=4), st.sampled_from(DRESSES), st.sampled_from(["{:f}", "{:,f}"]))
def test_every_decimal_comes_back_as_its_value(value: object, dress: str, written: str) -> None:
    assert parse(dress.format(written.format(value)), "number") == str(Fraction(str(value)))


@given(st.text(max_size=300), st.sampled_from(FORMS))
def test_no_text_behind_a_mark_raises(text: str, form: AnswerForm) -> None:
    for marked in (text, f"Answer: {text}", f"\\boxed{{{text}}}", f"= {text}"):
        answer = parse(marked, form)
        assert answer is None or normal(answer, form) is not None


@given(st.text(alphabet="0123456789.,/-+=$ \\{}frac%*:x^eE()\n", max_size=60), st.sampled_from(FORMS))
def test_an_answer_that_was_read_reads_the_same_again(text: str, form: AnswerForm) -> None:
    answer = parse(f"Answer: {text}", form)
    if answer is not None and form != "latex":
        assert normal(answer, form) == answer


@given(st.text(alphabet="0123456789./- yesnoa", max_size=12), st.text(alphabet="0123456789./- yesnoa", max_size=12))
def test_sameness_is_symmetric_and_holds_for_an_answer_and_itself(a: str, b: str) -> None:
    one = ClassGrader()
    for form in EXACT_FORMS:
        assert one.same(a, b, form) == one.same(b, a, form)
        answer = parse(f"Answer: {a}", form)
        assert answer is None or one.same(answer, answer, form)


@pytest.mark.parametrize(
    "unit",
    ["Answer:", "Answer: ", "Answer: 1 ", "1,111", "1", "1 1/", "\\boxed{", "\\frac{1}{", "=1", "#### ", "answer is ",
     " a", "(", "$", "*", "\n", "Problem: ", "Answer:\n", "x1", "= 1 a ", "So 1 ", "\\text{", "-", "1.", "\u202f1",
     "e9", "one ", "½", "√(", "no ", "yes and ", ", and ", "J. ", "\\boxed{1} and ", "\\fbox{", "Q: ", "0.3...",
     "\\begin{cases}", "$a$ and ", "x = ", "it's ", "that's no ", "2 thirds ", "2 and two ", "out of 1 ", "5 = ",
     "so no ", "b) ", " is b", "Input: 1\n", "The answer is 1.\nInput:\n"],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_hostile_texts_of_a_hundred_thousand_characters_are_read_quickly(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    for form in FORMS:
        for dressed in (text, f"Answer: {text}", f"{text}\nAnswer: 42", f"= {text}"):
            parse(dressed, form)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("B) twelve", "B", True),
        ("B - twelve", "B is correct", True),
        ("B) and C)", "B", False),
        ("B) or C)", "B", False),
        ("B) twelve, C) six", "B", False),
        ("cat (a pet)", "cat", True),
        ("cat (or dog)", "cat", False),
    ],
)
def test_several_choices_are_no_single_choice(one: str, other: str, same: bool, grader: ClassGrader) -> None:
    assert grader.same(one, other, "word") == same
    assert grader.correct(Problem("p", "", other, "word"), one) == same


@pytest.mark.parametrize("line", ["60 minutes = 1 hour", "It takes\n1 km = 1000 m"])
def test_a_last_line_that_changes_the_unit_is_no_result(line: str) -> None:
    assert parse(line, "number") is None


def test_only_the_end_of_a_long_text_is_read() -> None:
    assert parse("Answer: 41\n" + "so it goes\n" * 5000, "number") is None


@pytest.mark.parametrize(
    ("form", "gold", "right", "wrong"),
    [
        ("number", "3.5", ["7/2", "3.50", "3 1/2", "$3.5"], ["3.51", "35", "0.35", "-3.5"]),
        ("number", "828", ["828", "828.0", "8.28e2"], ["0.000", "827.999999999", "82", "8280"]),
        ("word", "Kurtis-Jae", ["kurtis-jae", "KURTIS-JAE"], ["kurtis", "kurtis-jaes"]),
        ("yes_no", "Yes", ["yes", "TRUE"], ["no", "yesterday"]),
        ("latex", "\\frac{1}{3}", ["1/3", "\\dfrac13", "\\frac{2}{6}"], ["0.333333", "3", "\\frac{1}{4}"]),
        ("latex", "2\\sqrt{6}", ["\\sqrt{24}", "2 \\sqrt 6"], ["\\sqrt{6}", "24"]),
        ("latex", "x^2+5x+6", ["(x+2)(x+3)", "6+5x+x^2"], ["x^2+5x", "x^2+6x+5"]),
        ("latex", "2, -8, 12", ["12, 2, -8"], ["2", "2, -8", "2, -8, 12, 13"]),
        ("latex", "(13,7)", ["(13, 7)"], ["(7,13)", "13"]),
        ("latex", "65\\%", ["65\\%"], ["66\\%"]),
    ],
)
def test_an_answer_is_right_when_it_has_the_gold_answers_value_exactly(
    grader: ClassGrader, form: AnswerForm, gold: str, right: list[str], wrong: list[str]
) -> None:
    problem = Problem("p", "text", gold, form)
    assert [answer for answer in right if not grader.correct(problem, answer)] == []
    assert [answer for answer in wrong if grader.correct(problem, answer)] == []
    assert not grader.correct(problem, None)


def test_latex_is_the_same_only_where_both_directions_hold(grader: ClassGrader) -> None:
    assert grader._verifier.equivalent("x>5", "(5,\\infty)")
    assert not grader._verifier.equivalent("(5,\\infty)", "x>5")
    assert not grader.same("x>5", "(5,\\infty)", "latex")
    assert not grader.same("(5,\\infty)", "x>5", "latex")


def test_numbers_need_no_other_process() -> None:
    with ClassGrader() as one:
        assert one.same("\\frac{1}{2}", "0.5", "latex")
        assert not one.same("1", "2", "latex")
        assert one._verifier.pid is None


def test_a_comparison_is_made_once(grader: ClassGrader) -> None:
    for _ in range(3):
        assert grader.same("\\pi + 1", "1 + \\pi", "latex")
        assert grader.same("1 + \\pi", "\\pi + 1", "latex")
    before = grader._equivalent.cache_info().misses
    grader.same("\\pi + 1", "1 + \\pi", "latex")
    assert grader._equivalent.cache_info().misses == before
