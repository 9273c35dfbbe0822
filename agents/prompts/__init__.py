"""Every prompt text, in one place, with a version; this file says which kind of request is told what.

A prompt is laid out from what changes least to what changes most: instructions, demonstrations, teaching
material, and what is asked last. So all exams of one TR share one long prefix, and so do all that a teacher is
asked about one set of exemplars. Texts of problems and of other models are data: they stand in their turns and
nowhere else. What is said is solving.py (TPs, EPs), material.py (what misled the students, better material) and
dialogue.py (questions); exemplar_sets.py is the form in which a set is written.
"""

from agents.engines.base import Prompt, Question
from agents.prompts import dialogue, material
from agents.prompts.layout import BEGUN, Layout, continuation
from agents.prompts.solving import exam_of, turns
from broker.work_messages import Ask, Examine, Explain, Reflect, Revise, Teach

__all__ = ["BEGUN", "VERSION", "continuation", "exam_of", "layout", "prompt", "seed_of", "turns"]

VERSION = "1"
"""Part of every request id: a changed prompt is another question. Count up with every change of a text."""


def layout(request: Question, persona: str) -> Layout:
    """The chat that `request` stands for."""
    match request:
        case Teach() | Examine():
            return Layout(turns(request, persona), BEGUN)
        case Reflect():
            return material.reflect(request, persona)
        case Revise(problem=""):
            return material.write_set(request, persona)
        case Revise():
            return material.write_rationale(request, persona)
        case Ask():
            return dialogue.ask(request, persona)
        case Explain():
            return dialogue.explain(request, persona)


def prompt(request_id: str, request: Question, persona: str) -> Prompt:
    """`request`, ready for an engine. Its seed comes from the request id."""
    said = layout(request, persona)
    return Prompt(
        request_id=request_id,
        turns=said.turns,
        begun=said.begun,
        sampling=request.sampling,
        seed=seed_of(request_id),
        asked=request,
        structure=said.structure,
        weights=request.weights,
    )


def seed_of(request_id: str) -> int:
    """63 bits from the id; any text serves, since a peer of another make may choose its ids freely."""
    try:
        return int(request_id[:16], 16) >> 1
    except ValueError:
        return int.from_bytes(request_id.encode()[:7], "big")
