"""Handlers of requests: build the prompt, let the engine complete or score it, return the result.

`HANDLERS` has the handler of each role and kind of request: `answer`, or `grade` for a `Grade`. Both raise
`EngineFailure` if the engine has no completion for the request.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from agents import prompts
from agents.engines.base import CompletionRequest, Engine, EngineFailure
from broker.protocol import Role
from broker.work_messages import (
    Answered,
    Ask,
    Examine,
    Explain,
    Grade,
    Graded,
    Invent,
    Judge,
    Message,
    Reflect,
    Revise,
    Teach,
)


async def answer(engine: Engine, persona: str, request_id: str, request: CompletionRequest) -> Answered:
    """Complete the prompt of a request and return the text."""
    prompt = prompts.prompt(request_id, request, persona)
    completion = await engine.generate(prompt)
    text = completion.text
    if isinstance(request, Reflect | Judge) or (isinstance(request, Revise) and not request.problem):
        # The beginning of a list, a set or a judgement is part of it; that of a solution is part of the prompts that
        # show it.
        text = prompt.begun + text
    text = text.strip()
    if isinstance(request, Ask):
        text = text.partition("\n")[0].strip()
    return Answered(text=text, usage=completion.usage)


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
    ("teacher", Teach): answer,
    ("teacher", Reflect): answer,
    ("teacher", Revise): answer,
    ("teacher", Explain): answer,
    ("teacher", Judge): answer,
    ("teacher", Invent): answer,
    # At level 3 a teacher is scored with its own sets, and it may be its own student; and it answers what it invented.
    ("teacher", Examine): answer,
    # At level 2 it says how likely it finds what it wrote with other weights.
    ("teacher", Grade): grade,
    ("student", Examine): answer,
    ("student", Grade): grade,
    ("student", Ask): answer,
    ("student", Invent): answer,
}
