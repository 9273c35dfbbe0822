"""The student's trade: from teaching material and an exam problem to an exam answer."""

from agents import prompts
from agents.engines.base import Engine
from broker.messages import Answered, Examine


async def sit_exam(engine: Engine, persona: str, request_id: str, request: Examine) -> Answered:
    """Solve the EP with the teaching material as in-context example (paper, section 3).

    Raises:
        EngineFailure: the engine has no completion for it.
    """
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Answered(text=completion.text.strip(), usage=completion.usage)
