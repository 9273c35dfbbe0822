"""The teacher's trade: teaching rationales, sets of exemplars, what misled its students, answers to questions."""

from agents import prompts
from agents.engines.base import Engine
from broker.messages import Explain, Explained, Reflect, Reflected, Revise, Revised, Taught, Teach


async def teach(engine: Engine, persona: str, request_id: str, request: Teach) -> Taught:
    """Solve the TP and explain it: one sampled TR with its TA (paper, section 3).

    Raises:
        EngineFailure: the engine has no completion for it; so do the others here.
    """
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Taught(text=completion.text.strip(), usage=completion.usage)


async def reflect(engine: Engine, persona: str, request_id: str, request: Reflect) -> Reflected:
    """Give reasons why the material misled the students, numbered, a line each (paper, M3 step 3)."""
    prompt = prompts.prompt(request_id, request, persona)
    completion = await engine.generate(prompt)
    return Reflected(text=(prompt.begun + completion.text).strip(), usage=completion.usage)


async def revise(engine: Engine, persona: str, request_id: str, request: Revise) -> Revised:
    """Write new material (paper, M3 step 4): a set, whole, or the rationale of one problem."""
    prompt = prompts.prompt(request_id, request, persona)
    completion = await engine.generate(prompt)
    # The beginning of a set belongs to it; that of a rationale stands in every prompt that shows one.
    begun = "" if request.problem else prompt.begun
    return Revised(text=(begun + completion.text).strip(), usage=completion.usage)


async def explain(engine: Engine, persona: str, request_id: str, request: Explain) -> Explained:
    """Answer a student's question about the material."""
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Explained(text=completion.text.strip(), usage=completion.usage)
