"""Solving problems: what a teacher is told with a TP, and whoever sits an exam with an EP."""

from collections.abc import Iterator

from agents.engines.base import Turn
from agents.prompts.layout import ANSWER_FORMS, as_turns, system
from broker.work_messages import AnswerForm, Examine, Grade, Sampling, Teach

INSTRUCTIONS = (
    "You solve problems in a few short lines, one calculation per line. "
    'The last line is "Answer: " followed by the answer: {form}.'
)
ABOUT = "A question about the solution above: {question}"
ABOUT_SET = "A question about the solutions above: {question}"


def turns(request: Teach | Examine, persona: str) -> tuple[Turn, ...]:
    """The chat that `request` stands for.

    Worked examples are earlier turns of the chat; the teaching material (TP and TR, or a set of exemplars) is the
    last of them, so a student sees what it is taught exactly as it sees a demonstration (paper, section 3: the pair
    is one more in-context example). What it asked about it and was told stands behind it in the same way.
    """
    material = request.material if isinstance(request, Examine) else ()
    told = instructions(request.answer_form)
    if isinstance(request, Examine) and request.task:
        told = f"{told}\n{request.task}"
    return (
        system(persona, told),
        *as_turns((*request.demonstrations, *material)),
        *(_dialogue(request) if isinstance(request, Examine) else ()),
        Turn("user", request.problem),
    )


def exam_of(request: Grade) -> Examine:
    """The exam whose prompt `request` is about: the same material and problem, and nothing of the solution.

    No prompt is ever built from a `Grade` itself, so none can hold what only it holds.
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
    """How problems are solved, by teacher and students alike."""
    return INSTRUCTIONS.format(form=ANSWER_FORMS[form])


def _dialogue(request: Examine) -> Iterator[Turn]:
    about = ABOUT if len(request.material) == 1 else ABOUT_SET
    for exchange in request.dialogue:
        yield Turn("user", about.format(question=exchange.question.strip()))
        yield Turn("assistant", exchange.answer.strip())
