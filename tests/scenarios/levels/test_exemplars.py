"""What a teacher writes at level 3 is taken exactly as asked for, or refused with a sentence it can be told."""

import pytest

from broker.work_messages import Exemplar
from scenarios.levels.iterate.exemplars import Unusable, read_reasons, read_set

GOOD = """\
Example 1
Text: All cats purr.
They do.
Answer: Yes

Example 2
Text: Some dogs sing.
Reason: Singing is rare.
Answer: No"""


def test_a_set_is_read_with_texts_of_several_lines_and_reasons() -> None:
    assert read_set(GOOD, 2, frozenset()) == (
        Exemplar("All cats purr.\nThey do.", answer="Yes"),
        Exemplar("Some dogs sing.", "Singing is rare.", "No"),
    )


@pytest.mark.parametrize(
    "written",
    [
        f"Here are the examples:\n\n{GOOD}\n\n",
        GOOD.replace("Example 1", "**Example 9:**").replace("Answer: Yes", "**Answer:** yes."),
        GOOD.replace("Text:", "text :").replace("\n", "\r\n"),
        GOOD.replace("\n\n", "\n"),
        f"{GOOD}\n\nExample 3\nText: and so",
        f"{GOOD}\nThese teach both.\nAnswer: Yes",
    ],
)
def test_harmless_deviations_from_the_form_are_accepted(written: str) -> None:
    assert [one.answer for one in read_set(written, 2, frozenset())] == ["Yes", "No"]


@pytest.mark.parametrize(
    ("written", "cause", "said"),
    [
        ("", "form", "no line 'Example 1'"),
        ("I cannot do this.", "form", "no line 'Example 1'"),
        (GOOD.partition("\n\n")[0], "count", "must be 2 examples, and there are 1"),
        (GOOD.replace("Answer: No", "Answer: Yes"), "one class", "Every example has 'Answer: Yes'"),
        (GOOD.replace("Answer: No", "Answer: Yes or No"), "answer", "answer of example 2"),
        (GOOD.replace("Answer: No", "Answer:"), "answer", "answer of example 2"),
        (GOOD.replace("Answer: No", ""), "form", "Example 2 has no line that begins with 'Answer:'"),
        (GOOD.replace("Text: Some", "Some"), "form", "Example 2 has a line before its text"),
        (GOOD.replace("Text: Some dogs sing.\n", ""), "form", "Example 2 has no line that begins with 'Text:'"),
        (GOOD.replace("Answer: Yes", "Answer: Yes\nBecause I say so."), "form", "after its answer"),
        (GOOD.replace("Some dogs sing.", "..."), "no text", "example 2 has no text"),
        (GOOD.replace("Some dogs sing.", "x" * 5000), "form", "longer than"),
        (GOOD.replace("Some dogs sing.", "all CATS  purr. they do."), "repeated", "example 2 repeats"),
        (GOOD.replace("Some dogs sing.", "Some  BIRDS sing."), "held out", "example 2 may not be used"),
        (GOOD.replace("Answer: Yes", "Answer: Yes\nReason: So."), "form", "twice or too late"),
    ],
)
def test_an_unusable_set_is_refused_with_its_cause(written: str, cause: str, said: str) -> None:
    with pytest.raises(Unusable) as refused:
        read_set(written, 2, frozenset({"some birds sing."}))
    assert refused.value.cause == cause
    assert said.casefold() in str(refused.value).casefold()


def test_reasons_are_the_numbered_lines_each_once_and_no_more_than_asked_for() -> None:
    said = "Well.\n1. They are  long.\n2) They are long.\n- They rhyme.\n\n3. Too many."
    assert read_reasons(said, 2) == ("They are long.", "They rhyme.")
    with pytest.raises(Unusable) as refused:
        read_reasons("They are long.\n1.\n", 2)
    assert refused.value.cause == "form"
