"""Prompt of a `Teach` and of an `Examine`: solve a problem, with or without teaching material, or repair a program."""

from collections.abc import Iterator

from agents.engines.base import Turn
from agents.prompts.layout import ANSWER_FORMS, BEGUN, as_turns, continuation, system
from broker.work_messages import AnswerForm, Examine, Grade, Sampling, Teach

INSTRUCTIONS = (
    "You solve problems in a few short lines, one calculation per line. "
    'The last line is "Answer: " followed by the answer: {form}.'
)
CODE_INSTRUCTIONS = (
    "You solve programming problems in Python. First say your strategy in two or three short lines. "
    "Then write one ```python block that defines the function you are asked for and imports what it uses. "
    "The function returns its result. Write no tests, and nothing after the block."
)
REPAIR = (
    "Your program fails:\n{complaint}\n\n"
    "Review it: say in one or two short lines what is wrong. Then write the repaired program, whole, in one ```python "
    "block, and nothing after the block."
)
ABOUT = "A question about the solution above: {question}"
ABOUT_SET = "A question about the solutions above: {question}"


def turns(request: Teach | Examine, persona: str) -> tuple[Turn, ...]:
    """Return the chat of a request.

    Worked examples are earlier turns of the chat, and the teaching material (TP and TR, or a set of exemplars) is the
    last of them: a student sees it exactly like a demonstration (paper, section 3: the pair is one more in-context
    example). The student's question about it and the teacher's answer follow as further turns.
    """
    material = request.material if isinstance(request, Examine) else ()
    system_text = instructions(request.answer_form)
    if isinstance(request, Examine) and request.task:
        system_text = f"{system_text}\n{request.task}"
    return (
        system(persona, system_text),
        *as_turns((*request.demonstrations, *material)),
        *(_dialogue(request) if isinstance(request, Examine) else ()),
        Turn("user", request.problem),
        *_repair(request),
    )


def exam_of(request: Grade) -> Examine:
    """Return the exam whose prompt the request is about: the same material and problem, without the solution.

    No prompt is built from a `Grade` itself, so no prompt can contain its solution.
    """
    return Examine(
        problem=request.problem,
        answer_form=request.answer_form,
        sampling=Sampling(),
        material=request.material,
        demonstrations=request.demonstrations,
        weights=request.weights,
    )


def instructions(form: AnswerForm) -> str:
    """Return the instructions for solving problems, the same for teacher and students."""
    return CODE_INSTRUCTIONS if form == "code" else INSTRUCTIONS.format(form=ANSWER_FORMS[form])


def _repair(request: Teach | Examine) -> tuple[Turn, ...]:
    """Return the earlier answer and what its program fails; empty where there is none."""
    if not request.complaint:
        return ()
    complaint = REPAIR.format(complaint=request.complaint.strip())
    return Turn("assistant", BEGUN + continuation(request.previous)), Turn("user", complaint)


def _dialogue(request: Examine) -> Iterator[Turn]:
    about = ABOUT if len(request.material) == 1 else ABOUT_SET
    for exchange in request.dialogue:
        yield Turn("user", about.format(question=exchange.question.strip()))
        yield Turn("assistant", exchange.answer.strip())
