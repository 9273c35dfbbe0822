"""The prompts of all requests, by kind, with one version number.

A prompt goes from what changes least to what changes most: instructions, demonstrations, teaching material, and the
question. So all exams of one TR share a long prefix, as do all questions to a teacher about one set of exemplars.
Texts of problems and of other models are data: they stand in turns of their own.
"""

from functools import lru_cache

from agents.engines.base import CompletionRequest, Prompt
from agents.prompts import exemplar_set, invention, judgement, question, rationale, reflection
from agents.prompts.exam import exam_of, turns
from agents.prompts.layout import BEGUN, Layout, continuation
from broker.work_messages import Ask, Examine, Explain, Grade, Invent, Judge, Message, Reflect, Revise, Teach

__all__ = ["BEGUN", "VERSION", "continuation", "exam_of", "layout", "parts", "prompt", "seed_of", "turns"]

VERSION = "2"
"""Part of every request id, since a changed prompt is another question. Raise it with every change of a text."""


@lru_cache(128)
def layout(request: CompletionRequest, persona: str) -> Layout:
    """Return the chat of a request. The latest results are cached, since copies of a student are asked the same."""
    match request:
        case Teach() | Examine():
            return Layout(turns(request, persona), BEGUN)
        case Reflect():
            return reflection.reflect(request, persona)
        case Revise(problem=""):
            return exemplar_set.write_set(request, persona)
        case Revise():
            return rationale.write_rationale(request, persona)
        case Ask():
            return question.ask(request, persona)
        case Explain():
            return question.explain(request, persona)
        case Judge():
            return judgement.judge(request, persona)
        case Invent():
            return invention.invent(request, persona)


@lru_cache(128)
def parts(message: Message, persona: str) -> tuple[tuple[str, str], ...]:
    """Return the role and text of each part of a request's prompt, for the record of prompts in class.db.

    First the beginning of the answer (role `begun`), then the turns of the chat, then, for a `Grade`, the solution
    (`scored`). Empty: no prompt is made of this message. The latest results are cached.
    """
    asked = exam_of(message) if isinstance(message, Grade) else message
    if not isinstance(asked, CompletionRequest):
        return ()
    chat = layout(asked, persona)
    scored = [("scored", continuation(message.solution))] if isinstance(message, Grade) else []
    return (("begun", chat.begun), *((turn.role, turn.text) for turn in chat.turns), *scored)


def prompt(request_id: str, request: CompletionRequest, persona: str) -> Prompt:
    """Return the prompt of a request for an engine; its seed comes from the request id."""
    chat = layout(request, persona)
    return Prompt(
        request_id=request_id,
        turns=chat.turns,
        begun=chat.begun,
        sampling=request.sampling,
        seed=seed_of(request_id),
        request=request,
        structure=chat.structure,
        weights=request.weights,
    )


def seed_of(request_id: str) -> int:
    """Return a seed of 63 bits from a request id; any text is accepted, since external peers choose their ids."""
    try:
        return int(request_id[:16], 16) >> 1
    except ValueError:
        return int.from_bytes(request_id.encode()[:7], "big")
