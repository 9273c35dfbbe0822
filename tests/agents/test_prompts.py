import msgspec
import pytest

from agents import prompts
from agents.engines.base import CompletionRequest
from broker.work_messages import (
    Ask,
    Examine,
    Exemplar,
    Explain,
    Grade,
    Invent,
    Judge,
    Recipe,
    Reflect,
    Revise,
    Sampling,
    Teach,
    Train,
)

SHOWN = (Exemplar("1 + 1?", "1 + 1 = 2\nAnswer: 2"),)


def teach(problem: str = "2 + 2?") -> Teach:
    return Teach(problem=problem, answer_form="number", sampling=Sampling(), demonstrations=SHOWN)


def examine(problem: str, rationale: str = "3 + 3 = 6\nAnswer: 6") -> Examine:
    return Examine(
        problem=problem,
        answer_form="number",
        sampling=Sampling(),
        material=(Exemplar("3 + 3?", rationale),),
        demonstrations=SHOWN,
    )


def test_exams_of_one_rationale_differ_in_nothing_but_the_last_turn() -> None:
    a, b = (prompts.turns(examine(problem), "") for problem in ("4 + 4?", "5 + 5?"))
    assert a[:-1] == b[:-1]
    assert a[-1] != b[-1]


def test_teacher_and_students_share_instructions_and_demonstrations() -> None:
    taught, examined = prompts.turns(teach(), ""), prompts.turns(examine("4 + 4?"), "")
    assert taught[:3] == examined[:3]


def test_the_teaching_material_stands_as_one_more_worked_example() -> None:
    turns = prompts.turns(examine("4 + 4?"), "")
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert turns[-3].text == "3 + 3?"
    assert turns[-2].text == f"{prompts.BEGUN} 3 + 3 = 6\nAnswer: 6"


def test_the_answer_form_is_asked_for_in_the_words_that_graders_look_for() -> None:
    system = prompts.turns(teach(), "")[0].text
    assert "Answer: " in system
    assert "number" in system


def test_a_persona_comes_first_and_belongs_to_the_system_turn() -> None:
    assert prompts.turns(teach(), "You are terse.")[0].text.startswith("You are terse.\n")
    assert "terse" not in "".join(turn.text for turn in prompts.turns(teach(), "You are terse.")[1:])


def test_what_is_asked_of_all_problems_of_an_exam_is_said_once_and_first() -> None:
    exam = msgspec.structs.replace(examine("4 + 4?"), task="Is it even?")
    plain, asked = prompts.turns(examine("4 + 4?"), ""), prompts.turns(exam, "")
    assert asked[0].text == f"{plain[0].text}\nIs it even?"
    assert asked[1:] == plain[1:]


def test_the_seed_comes_from_the_request_id_whatever_a_peer_calls_it() -> None:
    one = prompts.prompt("0f" * 16, teach(), "")
    assert one == prompts.prompt("0f" * 16, teach(), "")
    assert one.seed != prompts.prompt("1f" * 16, teach(), "").seed
    assert 0 <= prompts.seed_of("not hexadecimal") < 1 << 63
    assert 0 <= prompts.seed_of("f" * 32) < 1 << 63


def test_a_grade_has_the_prompt_of_its_exam_and_nothing_of_its_solution() -> None:
    exam = examine("4 + 4?")
    grade = Grade(
        problem=exam.problem,
        answer_form=exam.answer_form,
        solution="SECRET",
        material=exam.material,
        demonstrations=exam.demonstrations,
        weights="w1",
    )
    asked = prompts.exam_of(grade)
    assert prompts.turns(asked, "You are terse.") == prompts.turns(exam, "You are terse.")
    assert asked.weights == "w1"
    assert "SECRET" not in str(prompts.prompt("a", asked, ""))


def test_a_solution_goes_on_after_the_beginning_as_the_material_does() -> None:
    shown = prompts.turns(examine("4 + 4?"), "")[-2].text
    assert shown == prompts.BEGUN + prompts.continuation("3 + 3 = 6\nAnswer: 6\n")


def test_a_repair_goes_on_with_the_chat_of_the_first_answer() -> None:
    first = examine("4 + 4?")
    again = msgspec.structs.replace(first, complaint="f(1) returned 2; right is {3}\n", previous="It is `2`. ")
    turns = prompts.turns(again, "")
    assert turns[:-2] == prompts.turns(first, "")
    assert [turn.role for turn in turns[-3:]] == ["user", "assistant", "user"]
    assert turns[-2].text == f"{prompts.BEGUN} It is `2`."
    assert "\nf(1) returned 2; right is {3}\n" in turns[-1].text
    assert prompts.prompt("a", again, "").begun == prompts.BEGUN


@pytest.mark.parametrize(
    "request_",
    [
        teach(),
        msgspec.structs.replace(teach(), complaint="f(1) failed", previous="2"),
        examine("4 + 4?"),
        Ask(material=SHOWN, sampling=Sampling()),
        Explain(material=SHOWN, question="why?", sampling=Sampling()),
        Judge(problem="2 + 2?", solutions=("Answer: 4", "Answer: 5"), sampling=Sampling()),
        Invent(problem="2 + 2?", answer_form="number", sampling=Sampling()),
        Reflect(task="t", answer_form="yes_no", material=SHOWN, mistakes=(), reasons=2, sampling=Sampling()),
        Revise(task="t", answer_form="yes_no", count=2, sampling=Sampling()),
        Revise(task="t", answer_form="number", problem="2 + 2?", sampling=Sampling()),
    ],
    ids=lambda one: type(one).__name__,
)
def test_the_parts_that_are_kept_are_the_prompt_of_the_engine(request_: CompletionRequest) -> None:
    prompt = prompts.prompt("0f" * 16, request_, "You are terse.")
    kept = prompts.parts(request_, "You are terse.")
    assert kept == (("begun", prompt.begun), *((turn.role, turn.text) for turn in prompt.turns))


def test_the_parts_of_a_grade_are_those_of_its_exam_and_then_the_solution() -> None:
    exam = examine("4 + 4?")
    grade = Grade(problem=exam.problem, answer_form="number", solution="Answer: 8", material=exam.material,
                  demonstrations=SHOWN)  # fmt: skip
    assert prompts.parts(grade, "p") == (*prompts.parts(exam, "p"), ("scored", " Answer: 8"))


def test_a_training_has_no_prompt() -> None:
    assert prompts.parts(Train(pairs="p.jsonl", pairs_digest="d", recipe=Recipe()), "") == ()
