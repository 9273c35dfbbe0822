"""Teaching material: what a teacher is told to find what misled its students, and to write better material.

A teacher is asked again and again about the same set, with these and other mistakes, for reasons and for new sets:
all of that is one conversation, and begins with the same words. What was wrong with an earlier answer is one more turn.
"""

from agents.engines.base import Turn
from agents.prompts import exemplar_sets
from agents.prompts.layout import ANSWER_FORMS, BEGUN, Layout, as_turns, numbered, system
from agents.prompts.solving import instructions
from broker.work_messages import AnswerForm, Exemplar, Mistake, Reflect, Revise

TEACHER = (
    "You are a teacher. Your students learn to answer one kind of question from examples that you choose, "
    "and you make the examples better by looking at what the students get wrong."
)
TASK = "The task: {task}"
FIRST_SET = "Write {count} examples for it."
REASONS = (
    "Say why your examples misled the students: {count}, each in one short line of its own, numbered from 1. "
    "Name what the wrong answers have in common, and what the examples lack or suggest. Write no new examples."
)
NEW_SET = (
    "Write {count} new examples{better}, numbers {first} to {last}, in the same form: a line with the number, the "
    "text, its answer. Each text is about something else, and laid out as texts of the task are. {answers} "
    "The task, once more: {task}"
)
OTHERS = "None of the new texts repeats one from above: take other things. "
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
    turns = (*_examples(request, request.material), Turn("user", _why(request, request.reasons)))
    lines = [rf"\n{number}\. {exemplar_sets.FREE}" for number in range(2, request.reasons + 1)]
    return Layout(
        (system(persona, TEACHER), *turns, *_again(request)),
        "1.",
        rf" {exemplar_sets.FREE}{''.join(lines)}",
    )


def write_set(request: Revise, persona: str) -> Layout:
    """Ask for a new set of exemplars (paper, M3 step 4)."""
    known = (*request.demonstrations, *request.material)
    first = len(known) + 1
    better = " that would have kept the students from these mistakes" if request.mistakes or request.reasons else ""
    asked = _new_set(request.task, request.count, request.answer_form, first, better)
    if known:
        turns, asked = _examples(request, known), OTHERS + asked
    else:
        turns, asked = _shown(request.answer_form), f"{TASK.format(task=request.task)}\n\n{asked}"
    if request.reasons:
        turns += (Turn("user", _why(request, len(request.reasons))), Turn("assistant", numbered(request.reasons)))
    elif request.mistakes:
        asked = f"{_wrong(request.mistakes)}\n\n{asked}"
    return Layout(
        (system(persona, TEACHER), *turns, Turn("user", asked), *_again(request)),
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
        Turn("user", f"{TASK.format(task=SHOWN_TASK)}\n\n{_new_set(SHOWN_TASK, len(SHOWN_SET), form, 1)}"),
        Turn("assistant", exemplar_sets.show(SHOWN_SET)),
    )


def _examples(request: Reflect | Revise, known: tuple[Exemplar, ...]) -> tuple[Turn, ...]:
    """The set as the teacher's own earlier work: it is the model of the form, too."""
    asked = f"{TASK.format(task=request.task)}\n\n{FIRST_SET.format(count=len(known))}"
    return Turn("user", asked), Turn("assistant", exemplar_sets.show(known))


def _why(request: Reflect | Revise, reasons: int) -> str:
    asked = REASONS.format(count="one reason" if reasons == 1 else f"{reasons} reasons")
    return f"{_wrong(request.mistakes)}\n\n{asked}" if request.mistakes else asked


def _wrong(mistakes: tuple[Mistake, ...]) -> str:
    return f"What students answered wrong with these examples:\n\n{_mistakes(mistakes)}"


def _mistakes(mistakes: tuple[Mistake, ...]) -> str:
    """With the answer before its text: what stands behind a text, small models write behind theirs."""
    return "\n\n".join(
        f'Mistake {number}. A student wrongly said: "{" ".join(one.rationale.split())}" The question was:\n'
        + one.problem.strip()
        for number, one in enumerate(mistakes, 1)
    )


def _again(request: Reflect | Revise) -> tuple[Turn, ...]:
    """The earlier answer, and what was wrong with it."""
    if not request.complaint:
        return ()
    complaint = AGAIN.format(complaint=request.complaint.strip())
    # A chat's turns alternate, and an empty one is no turn to some templates.
    return Turn("assistant", request.previous.strip() or "..."), Turn("user", complaint)
