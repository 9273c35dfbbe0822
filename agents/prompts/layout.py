"""What all prompts share: the shape of one, and how a worked example stands in it."""

import msgspec

from agents.engines.base import Turn
from broker.work_messages import AnswerForm, Exemplar

BEGUN = "Solution:"
"""How the assistant's turn begins, in demonstrations, in teaching material and in what is to be completed."""

ANSWER_FORMS: dict[AnswerForm, str] = {
    "number": "one number, without units",
    "latex": "one expression in LaTeX",
    "word": "as short as the question allows, without explanation",
    "yes_no": "Yes or No",
}


class Layout(msgspec.Struct, frozen=True):
    """A prompt's texts."""

    turns: tuple[Turn, ...]
    begun: str
    """How the assistant's answer begins; the completion goes on from there."""
    structure: str | None = None
    """A regular expression for the completion, for engines that can keep to one."""


def system(persona: str, instructions: str) -> Turn:
    """The first turn: who the agent is, then what it does."""
    return Turn("system", f"{persona}\n{instructions}" if persona else instructions)


def as_turns(examples: tuple[Exemplar, ...]) -> tuple[Turn, ...]:
    """Worked examples as earlier turns of the chat."""
    return tuple(
        turn
        for example in examples
        for turn in (Turn("user", example.problem), Turn("assistant", BEGUN + continuation(example.rationale)))
    )


def continuation(solution: str) -> str:
    """A solution as it goes on after BEGUN, in a demonstration, in teaching material, and where it is scored."""
    return f" {solution.strip()}"


def numbered(lines: tuple[str, ...]) -> str:
    """One line each, numbered from 1."""
    return "\n".join(f"{number}. {' '.join(line.split())}" for number, line in enumerate(lines, 1))
