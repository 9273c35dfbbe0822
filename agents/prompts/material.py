"""Teaching material: what a teacher is told to find what misled its students, and to write better material.

A teacher is asked again and again about the same set, with these and other mistakes, for reasons and for new sets:
all of that begins with the same words. What was wrong with an earlier answer comes as one more turn.
"""

from agents.engines.base import Turn
from agents.prompts import exemplar_sets
from agents.prompts.layout import ANSWER_FORMS, BEGUN, Layout, as_turns, numbered, system
from agents.prompts.solving import instructions
from broker.messages import AnswerForm, Exemplar, Mistake, Reflect, Revise

TEACHER = (
    "You are a teacher. Your students learn to answer one kind of question from examples that you choose, "
    "and you make the examples better by looking at what the students get wrong."
)
REASONS = (
    "Say why these examples misled the students: {count}, each in one short line of its own, numbered from 1. "
    "Name what the wrong answers have in common, and what the examples lack or suggest. Write no new examples."
)
NEW_SET = (
    "Write {count} new examples{better}, numbers {first} to {last}, in the same form: a line with the number, the "
    "text, its answer. Each text is about something else, and laid out as texts of the task are. {answers} "
    "The task, once more: {task}"
)
ANSWERS_TAKE_TURNS = "The answers take turns: {answers}."
SHOWN_TASK = "Each text is a note that somebody left. Answer Yes if the note is about food, and No if it is not."
SHOWN_SET = (
    Exemplar("The baker opens at six; please get rolls.", "Answer: Yes"),
    Exemplar("To: all\nSubject: night trains\n\nThere are none on Sundays.", "Answer: No"),
    Exemplar("How much was the soup?", "Answer: Yes"),
    Exemplar("1. water the roses\n2. lock the door", "Answer: No"),
)
"""Of another task, as the teacher's own earlier work: small models copy a form more surely than they follow rules."""
NEW_RATIONALE = (
    "{misled}\n\nWrite a better solution of the problem, one that does not mislead them: the same short form, right in "
    "every line, clear where they went wrong, and with the answer in the last line."
)
AGAIN = "That cannot be used: {complaint}\n\nWrite it again, whole, in the form asked for."


def reflect(request: Reflect, persona: str) -> Layout:
    """Ask what misled the students (paper, M3 step 3)."""
    count = "one reason" if request.reasons == 1 else f"{request.reasons} reasons"
    asked = "\n\n".join((*_situation(request), REASONS.format(count=count)))
    begun = "1."
    lines = [rf"\n{number}\. {exemplar_sets.FREE}" for number in range(2, request.reasons + 1)]
    return Layout(
        (system(persona, TEACHER), Turn("user", asked), *_again(request)),
        begun,
        rf" {exemplar_sets.FREE}{''.join(lines)}",
    )


def write_set(request: Revise, persona: str) -> Layout:
    """Ask for a new set of exemplars (paper, M3 step 4)."""
    parts = [*_situation(request)]
    if request.demonstrations:
        shown = exemplar_sets.show(request.demonstrations, len(request.material) + 1)
        parts.append(f"Texts of this task look like these:\n\n{shown}")
    if request.reasons:
        parts.append(f"Why the examples misled the students:\n{numbered(request.reasons)}")
    better = " that would have kept the students from these mistakes" if request.mistakes or request.reasons else ""
    first = len(request.material) + len(request.demonstrations) + 1
    parts.append(_new_set(request.task, request.count, request.answer_form, first, better))
    return Layout(
        (system(persona, TEACHER), *_shown(request.answer_form), Turn("user", "\n\n".join(parts)), *_again(request)),
        exemplar_sets.begun(first),
        exemplar_sets.structure(exemplar_sets.answers(request.count, request.answer_form), first),
    )


def write_rationale(request: Revise, persona: str) -> Layout:
    """Ask for a better solution of one problem (paper, appendix E): its TP stands there as it does in a lesson."""
    parts = [f"Problem: {request.problem}"]
    parts += [f"A solution that was taught:\n{one.rationale.strip()}" for one in request.material]
    misled = []
    if request.mistakes:
        misled.append(f"With it, students answered other problems wrong:\n\n{_mistakes(request.mistakes)}")
    if request.reasons:
        misled.append(f"Why it misled them:\n{numbered(request.reasons)}")
    parts.append(NEW_RATIONALE.format(misled="\n\n".join(misled)).strip())
    return Layout(
        (
            system(persona, instructions(request.answer_form)),
            *as_turns(request.demonstrations),
            Turn("user", "\n\n".join(parts)),
            *_again(request),
        ),
        BEGUN,
    )


def _new_set(task: str, count: int, form: AnswerForm, first: int, better: str = "") -> str:
    answers = ", ".join(exemplar_sets.answers(count, form))
    said = ANSWERS_TAKE_TURNS.format(answers=answers) if form == "yes_no" else f"An answer is {ANSWER_FORMS[form]}."
    return NEW_SET.format(count=count, better=better, first=first, last=first + count - 1, answers=said, task=task)


def _shown(form: AnswerForm) -> tuple[Turn, ...]:
    if form != "yes_no":
        return ()
    return (
        Turn("user", f"The task: {SHOWN_TASK}\n\n{_new_set(SHOWN_TASK, len(SHOWN_SET), form, 1)}"),
        Turn("assistant", exemplar_sets.show(SHOWN_SET)),
    )


def _situation(request: Reflect | Revise) -> list[str]:
    """What all requests about one set begin with: the task, the set, the mistakes."""
    parts = [f"The task: {request.task}"]
    if request.material:
        parts.append(f"The examples that the students were given:\n\n{exemplar_sets.show(request.material)}")
    if request.mistakes:
        parts.append(f"What students answered wrong with these examples:\n\n{_mistakes(request.mistakes)}")
    return parts


def _mistakes(mistakes: tuple[Mistake, ...]) -> str:
    return "\n\n".join(
        f"Mistake {number}\nText: {one.problem.strip()}\nA student's answer, which is wrong: {one.rationale.strip()}"
        for number, one in enumerate(mistakes, 1)
    )


def _again(request: Reflect | Revise) -> tuple[Turn, ...]:
    """The earlier answer, and what was wrong with it."""
    if not request.complaint:
        return ()
    complaint = AGAIN.format(complaint=request.complaint.strip())
    # A chat's turns alternate, and an empty one is no turn to some templates.
    return Turn("assistant", request.previous.strip() or "..."), Turn("user", complaint)
