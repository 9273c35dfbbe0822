"""How the result of each kind of request is graded, recorded and read back. `KINDS` is the one table that knows."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from broker.printable import printable
from broker.protocol import ANSWERS
from broker.work_messages import Failed, Graded, Message, Trained, Usage
from scenarios.levels.base import Request, Result
from scenarios.records.learn import MACHINE_DEPENDENT
from scenarios.store.rows import Record
from scenarios.tasks.problems import Grader, Problem

DETAIL = 1000
"""Characters of a failure's detail that are recorded."""


class TrainingResult(NamedTuple):
    """What a training came to."""

    weights: str
    """Digest of the new weights; empty: it failed."""
    figures: dict[str, float]


def _text(message: Any) -> dict[str, Any]:
    return {"text": message.text}


def _score(message: Graded) -> dict[str, Any]:
    return {"score": message.logprob}


def _training(message: Trained) -> dict[str, Any]:
    """The columns `answer` and `text` hold the weights and the figures, as `training_result` reads them."""
    figures = {"pairs": message.pairs, "steps": message.steps, **message.figures}
    # Equal trainings have equal texts, on any machine.
    reproducible = {name: value for name, value in figures.items() if name not in MACHINE_DEPENDENT}
    text = msgspec.json.encode(reproducible).decode()
    return {"answer": message.trained, "text": text, "seconds": message.seconds}


class Kind(NamedTuple):
    """How the results of one kind of request are recorded."""

    columns: Callable[[Any], dict[str, Any]] = _text
    """Makes columns of a record from the result."""
    problem: Callable[[Request], str] = lambda request: ""
    """Id of the problem that the text solves; empty: the text is not graded."""
    sampled: bool = True
    """Whether the result is drawn, with the request's temperature."""
    tells_progress: bool = False
    prompted: bool = True
    """Whether an agent makes a prompt of it."""


KINDS = {
    "Teach": Kind(problem=attrgetter("tp")),
    "Examine": Kind(problem=attrgetter("ep")),
    "Ask": Kind(),
    "Explain": Kind(),
    "Judge": Kind(),
    "Invent": Kind(),
    "Reflect": Kind(),
    "Revise": Kind(problem=attrgetter("tp")),  # a set of exemplars solves none: its level parses it
    "Grade": Kind(columns=_score, sampled=False),
    "Train": Kind(columns=_training, sampled=False, tells_progress=True, prompted=False),
}


def record_of(
    request: Request,
    message: Message,
    problems: Mapping[str, Problem],
    grader: Grader,
    *,
    prompt: int | None = None,
) -> Record:
    """Grade a result and make the row that is recorded for it.

    Args:
        request: what was asked.
        message: the result, or a `Failed`.
        problems: every problem of the class, by id.
        grader: parses and grades texts that solve a problem.
        prompt: id of its prompt, where that is kept.
    """
    kind = KINDS[request.kind]
    columns: dict[str, Any]
    if isinstance(message, Failed):
        columns = {"failed": message.kind, "detail": printable(message.detail[:DETAIL])}
    elif type(message).__name__ != ANSWERS[request.kind]:
        columns = {"failed": "engine", "detail": f"answered {type(message).__name__} to {request.kind}"}
    else:
        usage: Usage = getattr(message, "usage", Usage())
        columns = msgspec.structs.asdict(usage) | kind.columns(message)
        if problem_id := kind.problem(request):
            problem = problems[problem_id]
            answer = grader.read(columns["text"], problem, ended=columns["finish_reason"] != "length")
            columns["answer"] = answer
            if problem.answer or problem.program:  # of an invented problem no answer is known yet
                columns["correct"] = answer is not None and grader.correct(problem, answer)
            if answer is not None and problem.form == "code" and not request.ep:
                columns |= grader.behaviour(problem, answer)._asdict()
            if answer is not None and problem.form == "code":
                columns["failing"] = grader.failing(problem, answer)
    return Record(
        request_id=request.id,
        kind=request.kind,
        level=request.level,
        round=request.round,
        weights=request.weights,
        agent=request.to,
        stage=request.stage,
        tp=request.tp,
        tr=request.tr,
        ep=request.ep,
        repeat=request.repeat,
        temperature=request.sampling.temperature if kind.sampled else None,
        prompt=prompt,
        **columns,
    )


def result_of(record: Record) -> Result:
    """The result that a level receives for a recorded row."""
    return Result(
        request_id=record.request_id,
        text=record.text,
        answer=record.answer,
        correct=bool(record.correct),
        failed=record.failed,
        prompt_tokens=record.prompt_tokens,
        cached_prompt_tokens=record.cached_tokens,
        completion_tokens=record.completion_tokens,
        finish_reason=record.finish_reason,
        score=record.score,
        behaviour=record.behaviour,
        hidden=record.hidden,
        failing=record.failing,
    )


def training_result(result: Result) -> TrainingResult:
    """The result of a `Train`. Figures that are not a number were recorded as null, and are left out."""
    if result.failed:
        return TrainingResult("", {})
    figures = msgspec.json.decode(result.text, type=dict[str, float | None])
    return TrainingResult(result.answer or "", {name: value for name, value in figures.items() if value is not None})
