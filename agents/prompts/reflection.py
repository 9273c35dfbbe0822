"""Prompt of a `Reflect`: ask the teacher what misled its students (paper, M3 step 3).

A teacher is asked many times about the same set: for reasons and for new sets. All of these prompts begin with the
same turns, which stand here. A complaint about an earlier answer is one more turn.
"""

from agents.engines.base import Turn
from agents.prompts import exemplar_format
from agents.prompts.layout import Layout, system
from broker.work_messages import Exemplar, Mistake, Reflect, Revise

TEACHER = (
    "You are a teacher. Your students learn to answer one kind of question from examples that you choose, "
    "and you make the examples better by looking at what the students get wrong."
)
TASK = "The task: {task}"
FIRST_SET = "Write {count} for it."
REASONS = (
    "Say why your examples misled the students: {count}, each in one short line of its own, numbered from 1. "
    "Name what the wrong answers have in common, and what the examples lack or suggest. Write no new examples."
)
AGAIN = "That cannot be used: {complaint}\n\nWrite it again, whole, in the form asked for."


def reflect(request: Reflect, persona: str) -> Layout:
    """Ask what misled the students (paper, M3 step 3)."""
    turns = (*earlier_set(request, request.material), Turn("user", reasons_question(request, request.reasons)))
    lines = [rf"\n{number}\. {exemplar_format.FREE}" for number in range(2, request.reasons + 1)]
    return Layout(
        (system(persona, TEACHER), *turns, *retry_turns(request)),
        "1.",
        rf" {exemplar_format.FREE}{''.join(lines)}",
    )


def earlier_set(request: Reflect | Revise, known: tuple[Exemplar, ...]) -> tuple[Turn, ...]:
    """Return turns that show the set as the teacher's earlier work, which is also the model of the form."""
    asked = f"{TASK.format(task=request.task)}\n\n{FIRST_SET.format(count=_counted(len(known), 'example'))}"
    return Turn("user", asked), Turn("assistant", exemplar_format.show(known))


def reasons_question(request: Reflect | Revise, reasons: int) -> str:
    """Return the question why the material misled the students."""
    asked = REASONS.format(count=_counted(reasons, "reason"))
    return f"{with_mistakes(request.mistakes)}\n\n{asked}" if request.mistakes else asked


def with_mistakes(mistakes: tuple[Mistake, ...]) -> str:
    """Introduce and list what students answered wrong."""
    return f"What students answered wrong with these examples:\n\n{list_mistakes(mistakes)}"


def list_mistakes(mistakes: tuple[Mistake, ...]) -> str:
    """List mistakes, each answer before its text: what follows a text, small models repeat after their own texts."""
    return "\n\n".join(
        f'Mistake {number}. A student wrongly said: "{" ".join(one.rationale.split())}" The question was:\n'
        + one.problem.strip()
        for number, one in enumerate(mistakes, 1)
    )


def retry_turns(request: Reflect | Revise) -> tuple[Turn, ...]:
    """Return the earlier answer and what was wrong with it; empty on the first try."""
    if not request.complaint:
        return ()
    complaint = AGAIN.format(complaint=request.complaint.strip())
    # The turns of a chat alternate, and some templates drop an empty one.
    return Turn("assistant", request.previous.strip() or "..."), Turn("user", complaint)


def _counted(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number} {noun}s"
