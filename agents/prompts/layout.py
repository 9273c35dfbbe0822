"""Parts that all prompts share: the `Layout` and the form of a worked example."""

import msgspec

from agents.engines.base import Turn
from broker.work_messages import AnswerForm, Exemplar

BEGUN = "Solution:"
"""Beginning of every assistant turn: in demonstrations, in teaching material and in the answer to complete."""

ANSWER_FORMS: dict[AnswerForm, str] = {
    "number": "one number, without units",
    "latex": "one expression in LaTeX",
    "word": "as short as the question allows, without explanation",
    "yes_no": "Yes or No",
    "code": "one Python program",
}


class Layout(msgspec.Struct, frozen=True):
    """The texts of a prompt."""

    turns: tuple[Turn, ...]
    begun: str
    """Beginning of the assistant's answer; the completion continues it."""
    structure: str | None = None
    """A regular expression for the completion, for engines with structured output."""


def system(persona: str, instructions: str) -> Turn:
    """Return the first turn: who the agent is, then what it does."""
    return Turn("system", f"{persona}\n{instructions}" if persona else instructions)


def as_turns(examples: tuple[Exemplar, ...]) -> tuple[Turn, ...]:
    """Return worked examples as earlier turns of the chat."""
    return tuple(
        turn
        for example in examples
        for turn in (Turn("user", example.problem), Turn("assistant", BEGUN + continuation(example.solution)))
    )


def continuation(solution: str) -> str:
    """Return a solution as it follows BEGUN: in demonstrations, in teaching material and in scoring."""
    return f" {solution.strip()}"


def numbered(lines: tuple[str, ...]) -> str:
    """Format lines as a list numbered from 1."""
    return "\n".join(f"{number}. {' '.join(line.split())}" for number, line in enumerate(lines, 1))
