"""The exams under a TR as `show` has them, and repairs of programs, in exams and of TRs."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from scenarios.levels.observe.self_debug import EXAM_REPAIR, REPAIR
from scenarios.report.recorded import RecordedClass
from scenarios.store import prompts
from scenarios.store.prompts import Parts
from scenarios.store.rows import Record
from scenarios.tasks.problems import Problem
from scenarios.tasks.programs import count_failing


class RepairView(msgspec.Struct, frozen=True):
    """What became of a program that failed visible cases and was given back to its author (`self_debug`)."""

    request_id: str
    cases: str
    """The visible cases that the first program fails, one a line."""
    text: str
    answer: str | None
    right: bool | None
    """None: it failed."""
    kept: bool
    """Whether it passes more visible cases, so that it takes the place of the first program."""
    failed: str
    """Kind of the failure; empty: it succeeded."""
    detail: str
    prompt_tokens: int
    completion_tokens: int
    prompt: Parts


class ExamView(msgspec.Struct, frozen=True):
    """One exam answer, or the score of one solution."""

    kind: Literal["Examine", "Grade"]
    request_id: str
    student: str
    ep: str
    problem: str
    """Text of the EP."""
    gold: str
    repeat: int
    text: str
    answer: str | None
    """Of a repaired program that is kept: that one, here and in the next."""
    right: bool | None
    """None: it failed, or there is nothing to grade."""
    failed: str
    """Kind of the failure; empty: it succeeded."""
    detail: str
    prompt_tokens: int
    completion_tokens: int
    logprob: float | None
    """Of a `Grade`: the mean log-probability of the solution's tokens, in nats."""
    prompt: Parts
    """Empty: it was not kept."""
    own_prompt: bool
    """Whether the student is a program of the user's, whose prompts nobody else knows."""
    repair: RepairView | None
    """None: there was nothing to repair."""


def exam_views(one: RecordedClass, ids: Sequence[str], eps: Sequence[Problem]) -> list[ExamView]:
    """The exams under TRs with the same text, by student, EP and repeat.

    Args:
        one: the class.
        ids: request ids of the TRs; the exams are recorded under any of them.
        eps: the exam problems of their TP.
    """
    problems = {ep.id: ep for ep in eps}
    place = {name: n for n, name in enumerate([*(student.name for student in one.scenario.students), *problems])}
    records = [
        r
        for id in ids
        for r in one.store.results("tr = ? AND kind IN ('Examine', 'Grade')", id)
        if r.ep in problems and r.agent in place and r.request_id in one.asked
    ]
    repairs = {(r.agent, r.ep, r.repeat): r for r in records if r.stage == EXAM_REPAIR}
    views = []
    for r in records:
        if r.stage == EXAM_REPAIR:
            continue
        repair = _repair(one, r, repairs.get((r.agent, r.ep, r.repeat)) if r.kind == "Examine" else None)
        kept = repair if repair and repair.kept else None
        views.append(
            ExamView(
                kind="Grade" if r.kind == "Grade" else "Examine",
                request_id=r.request_id,
                student=r.agent,
                ep=r.ep,
                problem=problems[r.ep].text,
                gold=problems[r.ep].answer,
                repeat=r.repeat,
                text=r.text,
                answer=kept.answer if kept else r.answer,
                right=kept.right if kept else _right(one, r),
                failed=r.failed,
                detail=r.detail,
                prompt_tokens=r.prompt_tokens,
                completion_tokens=r.completion_tokens,
                logprob=r.score,
                prompt=prompts.read(one.store.query, r.prompt),
                own_prompt=makes_own_prompts(one, r),
                repair=repair,
            )
        )
    return sorted(views, key=lambda e: (place[e.student], e.kind, place[e.ep], e.repeat))


def repair_of(one: RecordedClass, record: Record, ids: Sequence[str]) -> RepairView | None:
    """The repair of a TR; `ids` are those of the TRs with the same text, which share it."""
    found = [r for id in ids for r in one.store.results("tr = ? AND tr <> '' AND stage = ?", id, REPAIR)]
    return _repair(one, record, next((r for r in found if r.request_id in one.asked), None))


def makes_own_prompts(one: RecordedClass, record: Record) -> bool:
    """Whether an agent is a program of the user's."""
    return any(agent.name == record.agent and agent.engine == "external" for agent in one.scenario.agents)


def _repair(one: RecordedClass, first: Record, record: Record | None) -> RepairView | None:
    if record is None:
        return None
    return RepairView(
        request_id=record.request_id,
        cases=first.failing,
        text=record.text,
        answer=record.answer,
        right=_right(one, record),
        kept=record.answer is not None and count_failing(record.failing) < count_failing(first.failing),
        failed=record.failed,
        detail=record.detail,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        prompt=prompts.read(one.store.query, record.prompt),
    )


def _right(one: RecordedClass, record: Record) -> bool | None:
    """Whether an answer counts as right, under `scoring.cut_off`."""
    cut_off = record.finish_reason == "length" and one.scenario.scoring.cut_off == "wrong"
    return None if record.correct is None else record.correct and not cut_off
