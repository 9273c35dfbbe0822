"""Prompt of a `Revise` with a problem: ask the teacher for a better solution of it (paper, appendix E)."""

from agents.engines.base import Turn
from agents.prompts.exam import instructions
from agents.prompts.layout import BEGUN, Layout, as_turns, numbered, system
from agents.prompts.reflection import list_mistakes, retry_turns
from broker.work_messages import Revise

NEW_RATIONALE = (
    "{misled}\n\nWrite a better solution of the problem, one that does not mislead them: the same short form, right in "
    "every line, clear where they went wrong, and with {last}."
)
LAST_LINE = "the answer in the last line"
PROGRAM = "the program at its end"


def write_rationale(request: Revise, persona: str) -> Layout:
    """Ask for a better solution of one problem (paper, appendix E): its TP stands there as it does in a lesson."""
    parts = [f"Problem: {request.problem}"]
    parts += [f"A solution that was taught:\n{one.solution.strip()}" for one in request.material]
    misled = []
    if request.mistakes:
        misled.append(f"With it, students answered other problems wrong:\n\n{list_mistakes(request.mistakes)}")
    if request.reasons:
        misled.append(f"Why it misled them:\n{numbered(request.reasons)}")
    last = PROGRAM if request.answer_form == "code" else LAST_LINE
    parts.append(NEW_RATIONALE.format(misled="\n\n".join(misled), last=last).strip())
    return Layout(
        (
            system(persona, instructions(request.answer_form)),
            *as_turns(request.demonstrations),
            Turn("user", "\n\n".join(parts)),
            *retry_turns(request),
        ),
        BEGUN,
    )
