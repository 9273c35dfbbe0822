"""What is said to a teacher that improves its material, and to a student with a question."""

import re

import msgspec
import pytest

from agents import prompts
from agents.prompts import exemplar_format
from broker.work_messages import (
    AnswerForm,
    Ask,
    Examine,
    Exchange,
    Exemplar,
    Explain,
    Invent,
    Judge,
    Mistake,
    Reflect,
    Revise,
    Sampling,
)

TASK = "Does the third statement follow from the first two?"
SET = (
    Exemplar("All cats are birds.\n\nNo birds bark.\nDo no cats bark?", answer="Yes"),
    Exemplar("Answer me: do all cats bark?", "Nothing says so.\nOf no cat.", "No"),
)
MISTAKES = (
    Mistake("Do all owls swim?", "They do.\nAnswer: Yes", "ada"),
    Mistake("Do no owls swim?", "Answer: No", "ben"),
)
REFLECT = Reflect(task=TASK, answer_form="yes_no", material=SET, mistakes=MISTAKES, reasons=3, sampling=Sampling())
REVISE = Revise(
    task=TASK,
    answer_form="yes_no",
    material=SET,
    mistakes=MISTAKES,
    reasons=("There are no owls.", "No  example\nshows swimming."),
    count=4,
    sampling=Sampling(),
)
BETTER = Revise(
    task=TASK,
    answer_form="number",
    problem="2 + 3?",
    material=(Exemplar("2 + 3?", "2 + 3 = 5\nAnswer: 5"),),
    demonstrations=(Exemplar("1 + 1?", "1 + 1 = 2\nAnswer: 2"),),
    mistakes=(Mistake("3 + 4?", "3 + 4 = 8\nAnswer: 8"),),
    sampling=Sampling(),
)


def said(request: Reflect | Revise | Ask | Explain | Judge | Invent) -> str:
    """All that is said behind the system turn."""
    return "\n\n".join(turn.text for turn in prompts.layout(request, "").turns[1:])


def shared(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def test_a_teacher_that_reflects_sees_task_examples_items_and_what_students_said() -> None:
    text = said(REFLECT)
    assert (
        text.index(TASK) < text.index("All cats are birds.") < text.index("Do all owls swim?") < text.index("3 reasons")
    )
    assert 'wrongly said: "They do. Answer: Yes" The question was:\nDo all owls swim?' in text
    assert prompts.layout(REFLECT, "").begun == "1."


def test_whoever_asks_for_one_reason_asks_for_one() -> None:
    one = msgspec.structs.replace(REFLECT, reasons=1)
    assert "one reason" in said(one)
    structure = prompts.layout(one, "").structure or ""
    assert re.fullmatch(structure, " They saw no owls.")
    assert not re.fullmatch(structure, " They saw no owls.\n2. They cannot swim.")


def test_all_requests_about_one_set_begin_alike() -> None:
    first = said(REFLECT)
    for other in (
        said(REVISE),
        said(msgspec.structs.replace(REFLECT, mistakes=MISTAKES[::-1])),
        said(msgspec.structs.replace(REVISE, mistakes=MISTAKES[1:])),
    ):
        assert shared(first, other) > first.index("What students answered wrong")
    assert shared(first, said(REVISE)) > first.index("Do no owls swim?")
    three = msgspec.structs.replace(REVISE, reasons=("a", "b", "c"))
    assert said(three).startswith(first)


def test_a_new_set_is_asked_for_with_all_that_is_known() -> None:
    text = said(REVISE)
    assert "1. There are no owls.\n2. No example shows swimming." in text
    assert "4 new examples" in text
    assert "numbers 3 to 6" in text
    assert "Yes, No, Yes, No" in text


def test_from_the_description_alone_nothing_is_said_of_examples_or_students() -> None:
    text = said(Revise(task=TASK, answer_form="yes_no", count=8, sampling=Sampling()))
    assert TASK in text
    assert "8 new examples" in text
    assert "wrong" not in text
    assert "misled" not in text
    looks = msgspec.structs.replace(REVISE, material=(), mistakes=(), reasons=(), demonstrations=SET[:1])
    assert "All cats are birds." in said(looks)


def test_exemplars_and_their_reasons_are_shown_in_the_form_in_which_they_are_asked_for() -> None:
    assert exemplar_format.show(SET) == (
        "Example 1\nText: All cats are birds.\n\nNo birds bark.\nDo no cats bark?\nAnswer: Yes\n\n"
        "Example 2\nText: Answer me: do all cats bark?\nReason: Nothing says so. Of no cat.\nAnswer: No"
    )
    assert exemplar_format.show(SET) in said(REFLECT)


@pytest.mark.parametrize(
    ("count", "form", "wanted"),
    [(3, "yes_no", ("Yes", "No", "Yes")), (2, "number", ("", "")), (0, "yes_no", ())],
)
def test_half_of_a_set_is_positive(count: int, form: AnswerForm, wanted: tuple[str, ...]) -> None:
    assert exemplar_format.answers(count, form) == wanted


def test_the_structure_of_a_set_takes_sets_of_this_form_and_no_others() -> None:
    layout = prompts.layout(REVISE, "")
    structure = re.compile(layout.structure or "")
    four = (*SET, *(Exemplar(f"{one.problem} Again?", answer=one.answer) for one in SET))
    plain = tuple(Exemplar(one.problem.removeprefix("Answer me: "), answer=one.answer) for one in four)
    good = exemplar_format.show(plain, 3).removeprefix(layout.begun)
    assert structure.fullmatch(good)
    for bad in (
        good.replace("Answer: No", "Answer: Maybe"),
        good.replace("Answer: No", "Answer: Yes"),
        good.rpartition("\n\nExample")[0],
        good.replace("Example 5", "Example 4"),
        f"{good}\n\nExample 7\nText: More?\nAnswer: Yes",
        good.replace("No birds bark.", "Answer: Yes"),
        good.replace("No birds bark.", "Text: again"),
        "",
    ):
        assert not structure.fullmatch(bad), bad
    for fine in ("Answers vary.", "Ans", "An owl.", "Texas is big.", "Examples are here.", "Re: owls", "Example"):
        assert structure.fullmatch(good.replace("No birds bark.", fine)), fine


def test_a_better_rationale_is_asked_for_as_a_lesson_is() -> None:
    turns = prompts.layout(BETTER, "").turns
    lesson = prompts.turns(Examine(problem="", answer_form="number", sampling=Sampling(), material=()), "")
    assert turns[0] == lesson[0]
    assert [turn.text for turn in turns[1:3]] == ["1 + 1?", f"{prompts.BEGUN} 1 + 1 = 2\nAnswer: 2"]
    assert turns[-1].text.startswith("Problem: 2 + 3?\n\n")
    assert "3 + 4 = 8" in turns[-1].text
    assert prompts.layout(BETTER, "").begun == prompts.BEGUN
    assert prompts.layout(BETTER, "").structure is None


@pytest.mark.parametrize("request_", [REFLECT, REVISE, BETTER])
def test_what_was_wrong_with_an_earlier_answer_is_one_more_turn(request_: Reflect | Revise) -> None:
    again = msgspec.structs.replace(request_, complaint="there are 3 of 4", previous=" Example 1\n")
    before, after = prompts.layout(request_, ""), prompts.layout(again, "")
    assert after.turns[: len(before.turns)] == before.turns
    assert [turn.role for turn in after.turns[len(before.turns) :]] == ["assistant", "user"]
    assert after.turns[-2].text == "Example 1"
    assert "there are 3 of 4" in after.turns[-1].text
    assert (after.begun, after.structure) == (before.begun, before.structure)
    assert all(turn.text for turn in prompts.layout(msgspec.structs.replace(again, previous=""), "").turns)


@pytest.mark.parametrize(
    "request_",
    [
        REFLECT,
        REVISE,
        BETTER,
        Ask(material=SET, sampling=Sampling()),
        Explain(material=SET, question="Why?", sampling=Sampling()),
        Judge(problem="2 + 2?", solutions=("Answer: 4",), sampling=Sampling()),
        Invent(problem="2 + 2?", answer_form="number", sampling=Sampling()),
    ],
)
def test_turns_alternate_and_a_persona_stands_at_the_head_of_the_first(
    request_: Reflect | Revise | Ask | Explain | Judge | Invent,
) -> None:
    turns = prompts.layout(request_, "You are terse.").turns
    assert [turn.role for turn in turns] == ["system", *["user", "assistant"] * (len(turns) // 2 - 1), "user"]
    assert turns[0].text.startswith("You are terse.\n")
    assert not any("terse" in turn.text for turn in turns[1:])


def test_a_question_and_its_answer_stand_between_material_and_exam() -> None:
    exam = Examine(problem="Do owls bark?", answer_form="yes_no", sampling=Sampling(), material=SET[:1])
    asked = msgspec.structs.replace(exam, dialogue=(Exchange(" Why yes?", "No bird barks.\n"),))
    plain, with_dialogue = prompts.turns(exam, ""), prompts.turns(asked, "")
    assert with_dialogue[:-3] == plain[:-1]
    assert with_dialogue[-1] == plain[-1]
    assert [turn.role for turn in with_dialogue[-3:]] == ["user", "assistant", "user"]
    assert with_dialogue[-3].text.endswith("Why yes?")
    assert with_dialogue[-2].text == "No bird barks."


def test_a_teacher_sees_the_question_with_the_material_it_is_about() -> None:
    text = said(Explain(material=SET, question="Why\n\nyes?", sampling=Sampling()))
    assert text.index("All cats are birds.") < text.index("Why yes?")
    assert "All cats are birds." in said(Ask(material=SET, sampling=Sampling()))


def test_a_teacher_judges_one_solution_by_yes_or_no_and_several_by_a_number() -> None:
    check = Judge(problem="2 + 2?", solutions=("Four.\nAnswer: 4",), sampling=Sampling())
    chat = prompts.layout(check, "")
    assert "one word: Yes or No" in chat.turns[0].text
    assert chat.begun == "Answer:", "which makes a small model answer, and not reason until it is cut off"
    assert said(check).endswith("Problem: 2 + 2?\n\nSolution:\nFour.\nAnswer: 4")
    compare = Judge(problem="2 + 2?", solutions=("Answer: 4", "Answer: 5"), sampling=Sampling())
    assert "the number of that solution" in prompts.layout(compare, "").turns[0].text
    assert said(compare).endswith("Solution 1:\nAnswer: 4\n\nSolution 2:\nAnswer: 5")


def test_an_engine_without_structured_output_is_told_of_it_all_the_same() -> None:
    assert prompts.prompt("0f" * 16, REVISE, "").structure == prompts.layout(REVISE, "").structure


def test_a_writer_sees_the_problem_and_the_form_of_its_answer_and_nothing_else() -> None:
    text = said(Invent(problem="How many owls?", answer_form="latex", sampling=Sampling()))
    assert text.startswith("Problem: How many owls?\n\nWrite one new problem")
    assert "one expression in LaTeX" in text
