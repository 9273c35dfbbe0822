"""Prompt of an `Invent`: write a new problem like the TP, for an exam."""

from agents.engines.base import Turn
from agents.prompts.layout import ANSWER_FORMS, Layout, system
from broker.work_messages import Invent

WRITER = "You write problems for exams."
INVENT = (
    "Write one new problem of the same kind, about other things and with other numbers, that is solved in the same "
    "way. Its answer is {form}. Write the problem alone, without a solution."
)


def invent(request: Invent, persona: str) -> Layout:
    """Ask for one problem."""
    asked = INVENT.format(form=ANSWER_FORMS[request.answer_form])
    text = f"Problem: {request.problem.strip()}\n\n{asked}"
    return Layout((system(persona, WRITER), Turn("user", text)), "New problem:")
