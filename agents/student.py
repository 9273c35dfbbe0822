"""The student's trade: a question about the teaching material, and exam answers with the help of it."""

from agents import prompts
from agents.engines.base import Engine
from broker.messages import Answered, Ask, Asked, Examine


async def sit_exam(engine: Engine, persona: str, request_id: str, request: Examine) -> Answered:
    """Solve the EP with the teaching material as in-context example (paper, section 3).

    Raises:
        EngineFailure: the engine has no completion for it.
    """
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Answered(text=completion.text.strip(), usage=completion.usage)


async def ask(engine: Engine, persona: str, request_id: str, request: Ask) -> Asked:
    """Ask one question about the material: the first line of what the model says.

    Raises:
        EngineFailure: the engine has no completion for it.
    """
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Asked(text=completion.text.strip().partition("\n")[0].strip(), usage=completion.usage)
