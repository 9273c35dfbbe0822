"""Prompt of a `Revise` without a problem: ask the teacher for a new set of exemplars (paper, M3 step 4)."""

from agents.engines.base import Turn
from agents.prompts import exemplar_format
from agents.prompts.layout import ANSWER_FORMS, Layout, numbered, system
from agents.prompts.reflection import TASK, TEACHER, earlier_set, reasons_question, retry_turns, with_mistakes
from broker.work_messages import AnswerForm, Exemplar, Revise

NEW_SET = (
    "Write {count} new examples{better}, numbers {first} to {last}, in the same form: a line with the number, the "
    "text, its answer. Each text is about something else, and laid out as texts of the task are. {answers} "
    "The task, once more: {task}"
)
OTHERS = "None of the new texts repeats one from above: take other things. "
ANSWERS_TAKE_TURNS = "The answers take turns: {answers}."
SHOWN_TASK = "Each text is a note that somebody left. Answer Yes if the note is about food, and No if it is not."
SHOWN_SET = (
    Exemplar("The baker opens at six; please get rolls.", answer="Yes"),
    Exemplar("To: all\nSubject: night trains\n\nThere are none on Sundays.", answer="No"),
    Exemplar("How much was the soup?", answer="Yes"),
    Exemplar("1. water the roses\n2. lock the door", answer="No"),
)
"""A set for another task, shown as the teacher's earlier work: small models copy a form better than rules."""


def write_set(request: Revise, persona: str) -> Layout:
    """Ask for a new set of exemplars (paper, M3 step 4)."""
    known = (*request.demonstrations, *request.material)
    first = len(known) + 1
    better = " that would have kept the students from these mistakes" if request.mistakes or request.reasons else ""
    asked = _new_set(request.task, request.count, request.answer_form, first, better)
    if known:
        turns, asked = earlier_set(request, known), OTHERS + asked
    else:
        turns, asked = _shown(request.answer_form), f"{TASK.format(task=request.task)}\n\n{asked}"
    if request.reasons:
        turns += (
            Turn("user", reasons_question(request, len(request.reasons))),
            Turn("assistant", numbered(request.reasons)),
        )
    elif request.mistakes:
        asked = f"{with_mistakes(request.mistakes)}\n\n{asked}"
    return Layout(
        (system(persona, TEACHER), *turns, Turn("user", asked), *retry_turns(request)),
        exemplar_format.begun(first),
        exemplar_format.structure(exemplar_format.answers(request.count, request.answer_form), first),
    )


def _new_set(task: str, count: int, form: AnswerForm, first: int, better: str = "") -> str:
    answers = ", ".join(exemplar_format.answers(count, form))
    said = ANSWERS_TAKE_TURNS.format(answers=answers) if form == "yes_no" else f"An answer is {ANSWER_FORMS[form]}."
    return NEW_SET.format(count=count, better=better, first=first, last=first + count - 1, answers=said, task=task)


def _shown(form: AnswerForm) -> tuple[Turn, ...]:
    if form != "yes_no":
        return ()
    return (
        Turn("user", f"{TASK.format(task=SHOWN_TASK)}\n\n{_new_set(SHOWN_TASK, len(SHOWN_SET), form, 1)}"),
        Turn("assistant", exemplar_format.show(SHOWN_SET)),
    )
