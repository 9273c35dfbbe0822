"""One handler per kind of request: build the prompt, let the engine complete it, return the result.

Every handler raises `EngineFailure` if the engine has no completion for the request.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from agents import prompts
from agents.engines.base import Engine, EngineFailure
from broker.protocol import Role
from broker.work_messages import (
    Answered,
    Ask,
    Asked,
    Examine,
    Explain,
    Explained,
    Grade,
    Graded,
    Message,
    Reflect,
    Reflected,
    Revise,
    Revised,
    Taught,
    Teach,
)


async def teach(engine: Engine, persona: str, request_id: str, request: Teach) -> Taught:
    """Solve the TP and explain it: one sampled TR with its TA (paper, section 3)."""
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Taught(text=completion.text.strip(), usage=completion.usage)


async def reflect(engine: Engine, persona: str, request_id: str, request: Reflect) -> Reflected:
    """Give numbered reasons why the material misled the students, one per line (paper, M3 step 3)."""
    prompt = prompts.prompt(request_id, request, persona)
    completion = await engine.generate(prompt)
    return Reflected(text=(prompt.begun + completion.text).strip(), usage=completion.usage)


async def revise(engine: Engine, persona: str, request_id: str, request: Revise) -> Revised:
    """Write new material (paper, M3 step 4): a complete set, or the rationale of one problem."""
    prompt = prompts.prompt(request_id, request, persona)
    completion = await engine.generate(prompt)
    # The beginning of a set is part of it; the beginning of a rationale is part of the prompts that show it.
    begun = "" if request.problem else prompt.begun
    return Revised(text=(begun + completion.text).strip(), usage=completion.usage)


async def explain(engine: Engine, persona: str, request_id: str, request: Explain) -> Explained:
    """Answer a student's question about the material."""
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Explained(text=completion.text.strip(), usage=completion.usage)


async def sit_exam(engine: Engine, persona: str, request_id: str, request: Examine) -> Answered:
    """Solve the EP with the teaching material as in-context example (paper, section 3)."""
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Answered(text=completion.text.strip(), usage=completion.usage)


async def ask(engine: Engine, persona: str, request_id: str, request: Ask) -> Asked:
    """Ask one question about the material: the first line of the completion."""
    completion = await engine.generate(prompts.prompt(request_id, request, persona))
    return Asked(text=completion.text.strip().partition("\n")[0].strip(), usage=completion.usage)


async def grade(engine: Engine, persona: str, request_id: str, request: Grade) -> Graded:
    """Return the log-probability of the solution in the student's own exam, without generating.

    Raises:
        EngineFailure: the engine cannot score texts, or the solution is empty.
    """
    if not request.solution.strip():
        raise EngineFailure("unsupported", "there is nothing to grade: the solution is empty")
    exam = prompts.prompt(request_id, prompts.exam_of(request), persona)
    scored = await engine.logprobs(exam, prompts.continuation(request.solution))
    return Graded(logprob=scored.logprob, tokens=scored.tokens, usage=scored.usage)


HANDLERS: dict[tuple[Role, type[Message]], Callable[[Engine, str, str, Any], Awaitable[Message]]] = {
    ("teacher", Teach): teach,
    ("teacher", Reflect): reflect,
    ("teacher", Revise): revise,
    ("teacher", Explain): explain,
    # At level 3 a teacher is scored with its own sets, and it may be its own student.
    ("teacher", Examine): sit_exam,
    # At level 2 it says how likely it finds what it wrote with other weights.
    ("teacher", Grade): grade,
    ("student", Examine): sit_exam,
    ("student", Grade): grade,
    ("student", Ask): ask,
}
