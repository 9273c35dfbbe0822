"""The teacher's trade: from a teaching problem to a teaching rationale."""

from agents import prompts
from agents.engines.base import Engine
from broker.messages import Taught, Teach


async def teach(engine: Engine, persona: str, request_id: str, request: Teach) -> Taught:
    """Solve the TP and explain it: one sampled TR with its TA (paper, section 3).

    Raises:
        EngineFailure: the engine has no completion for it.
    """
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Taught(text=completion.text.strip(), usage=completion.usage)
