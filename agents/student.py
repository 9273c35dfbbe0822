"""The student's trade: a question about the teaching material, exam answers with the help of it, and grades."""

from agents import prompts
from agents.engines.base import Engine, EngineFailure
from broker.messages import Answered, Ask, Asked, Examine, Grade, Graded


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


async def grade(engine: Engine, persona: str, request_id: str, request: Grade) -> Graded:
    """Say how likely the solution is in the student's own exam; generates nothing, and is shown it in no prompt.

    Raises:
        EngineFailure: the engine cannot tell, or the solution is empty.
    """
    if not request.solution.strip():
        raise EngineFailure("unsupported", "there is nothing to grade: the solution is empty")
    exam = prompts.prompt(request_id, prompts.exam_of(request), persona)
    scored = await engine.logprobs(exam, prompts.continuation(request.solution))
    return Graded(logprob=scored.logprob, tokens=scored.tokens, usage=scored.usage)
