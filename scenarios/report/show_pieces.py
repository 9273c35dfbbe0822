"""Pieces of what `show` prints: titles, prompts, and the texts of models, which are data."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from broker.printable import printable_lines
from scenarios.report.formatting import many
from scenarios.report.layout import Sentences
from scenarios.store.prompts import Parts

INDENT = "  "
ROLES = {
    "system": "instructions",
    "user": "asked",
    "assistant": "answered",
    "begun": "the answer begins with",
    "scored": "solution that is scored",
}
Piece = RenderableType | Text


def title(text: str) -> Text:
    """The title of a part."""
    return Text(printable_lines(text), style="bold")


def heading(text: str) -> Text:
    """The heading of a text within a part."""
    return Text(printable_lines(f"[{text}]"), style="cyan")


def data(text: str, indent: str = INDENT) -> Text:
    """A text of a model or of a task with its lines, each set in."""
    return Text(indent + printable_lines(text, indent))


def prompt_pieces(parts: Parts, own: bool, same: int = 0) -> Iterator[Piece]:
    """The parts of a prompt, without the first `same` ones, which were printed before."""
    if not parts:
        why = (
            "the agent is a program of yours, which makes its own prompts."
            if own
            else "an earlier version of this program asked for it."
        )
        yield Sentences(f"The prompt was not kept: {why}")
        return
    (_, begun), *turns = parts
    if same:
        yield Sentences(f"The prompt begins with the first {many(same - 1, 'part')} of the one above, then:")
    for role, text in turns[max(same - 1, 0) :]:
        if role == "scored":
            continue
        yield heading(ROLES.get(role, role))
        yield data(text)
    yield heading(ROLES["begun"])
    yield data(begun)
    for role, text in turns[-1:]:
        if role == "scored":
            yield heading(ROLES[role])
            yield data(text.strip())
