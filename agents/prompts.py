"""Every prompt text, in one place, with a version.

A prompt is laid out from what changes least to what changes most: instructions, demonstrations, teaching
material, and the question last. So all exams of one TR share one long prefix. Texts of problems and of other
models are data: they stand in their turns and nowhere else.
"""

from agents.engines.base import Prompt, Turn
from broker.messages import AnswerForm, Examine, Exemplar, Teach

VERSION = "1"
"""Part of every request id: a changed prompt is another question. Count up with every change of a text."""

BEGUN = "Solution:"
"""How the assistant's turn begins, in demonstrations, in teaching material and in what is to be completed."""

ANSWER_FORMS: dict[AnswerForm, str] = {
    "number": "one number, without units",
    "latex": "one expression in LaTeX",
    "word": "as short as the question allows, without explanation",
    "yes_no": "Yes or No",
}

INSTRUCTIONS = (
    "You solve problems in a few short lines, one calculation per line. "
    'The last line is "Answer: " followed by the answer: {form}.'
)


def turns(request: Teach | Examine, persona: str) -> tuple[Turn, ...]:
    """The chat that `request` stands for.

    Worked examples are earlier turns of the chat; the teaching material (TP and TR) is the last of them, so a
    student sees what it is taught exactly as it sees a demonstration (paper, section 3: the pair is one more
    in-context example).
    """
    instructions = INSTRUCTIONS.format(form=ANSWER_FORMS[request.answer_form])
    system = f"{persona}\n{instructions}" if persona else instructions
    material = request.material if isinstance(request, Examine) else ()
    examples = (*request.demonstrations, *material)
    return (
        Turn("system", system),
        *(turn for example in examples for turn in _example(example)),
        Turn("user", request.problem),
    )


def prompt(request_id: str, request: Teach | Examine, persona: str) -> Prompt:
    """`request`, ready for an engine. Its seed comes from the request id."""
    return Prompt(
        request_id=request_id,
        turns=turns(request, persona),
        begun=BEGUN,
        sampling=request.sampling,
        seed=seed_of(request_id),
        asked=request,
    )


def seed_of(request_id: str) -> int:
    """63 bits from the id; any text serves, since a peer of another make may choose its ids freely."""
    try:
        return int(request_id[:16], 16) >> 1
    except ValueError:
        return int.from_bytes(request_id.encode()[:7], "big")


def _example(example: Exemplar) -> tuple[Turn, Turn]:
    return Turn("user", example.problem), Turn("assistant", f"{BEGUN} {example.rationale.strip()}")
