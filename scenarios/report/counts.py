"""What is added up from the gradebook's tables: failures, what every agent did, how much there was of what.

What it means for the methods that a class compares is report.py.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec

from broker.protocol import pool_of
from broker.server_notes import ServerNotes
from scenarios.records.iterate import Iteration
from scenarios.records.observe import TeachingProblemRecord
from scenarios.report.run_info import AgentFacts, RunFacts
from scenarios.report.summary import AgentSummary, FailedRequests
from scenarios.scoring.lbt import Sheet, distinct, exam_marks, on_common_slots
from scenarios.store.sqlite import Store


def failed(store: Store, given_up: frozenset[str]) -> list[FailedRequests]:
    """Every request that failed for good; those in `given_up` were asked again as another repeat."""
    rows = store.query("SELECT request_id, agent, failed, detail FROM result WHERE failed <> '' ORDER BY 1")
    return [FailedRequests(*map(str, row)) for row in rows if row[0] not in given_up]


def curves(store: Store) -> dict[str, list[dict[str, float]]]:
    """What each training told on its way, by step; a step that was taken again after a death is told once."""
    steps: dict[str, dict[int, dict[str, float]]] = {}
    for event in store.events(kinds=["progress"]):
        request, step, _, figures = msgspec.json.decode(
            event.detail, type=tuple[str, int, int, dict[str, float | None]]
        )
        # What is no number, such as the loss of a training that went astray, stands there as null.
        told = {name: value for name, value in figures.items() if value is not None}
        steps.setdefault(request, {})[step] = {"step": step, **told}
    return {request: [told for _, told in sorted(taken.items())] for request, taken in steps.items()}


def training_seconds(store: Store) -> dict[str, float]:
    """How long each training took, by request."""
    rows = store.query("SELECT request_id, seconds FROM result WHERE kind = 'Train' AND failed = ''")
    return msgspec.convert(dict(rows), dict[str, float])  # type: ignore[arg-type]


class _Work(msgspec.Struct, frozen=True, array_like=True):
    """What the gradebook adds up for one agent."""

    agent: str
    teaches: bool = False
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cacheable_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    thoughts: int = 0
    thought_tokens: int = 0


def agents_of(
    store: Store, facts: RunFacts, failures: Sequence[FailedRequests], iteration: Iteration | None
) -> list[AgentSummary]:
    """The settled agents in their order, then whoever else left results."""
    thoughts = store.column("thought_tokens")
    rows = {
        row.agent: row
        for row in msgspec.convert(
            store.query(
                "SELECT agent, max(kind = 'Teach'), count(*), sum(prompt_tokens), sum(cached_tokens), "  # noqa: S608
                "sum(cacheable_tokens), sum(completion_tokens), round(sum(seconds), 3), "
                f"sum({thoughts} > 0), sum({thoughts}) "  # a column of ours
                "FROM result GROUP BY agent ORDER BY agent"
            ),
            list[_Work],
            strict=False,
        )
    }
    known = {agent.name for agent in facts.agents}
    others = [
        AgentFacts(name, "teacher" if row.teaches else "student", model="", engine="", device="")
        for name, row in rows.items()
        if name not in known
    ]
    whose = [failure.agent for failure in failures]
    spent: dict[str, float] = {}
    for name, amount in facts.spent.items():
        spent[pool_of(name)] = spent.get(pool_of(name), 0.0) + amount
    noted: dict[str, list[ServerNotes]] = defaultdict(list)
    for name, notes in facts.server_notes.items():
        noted[pool_of(name)].append(notes)
    shared: dict[str, Counter[str]] = defaultdict(Counter)
    for answers in iteration.answers if iteration else ():
        shared[answers.agent].update(answers.shared)
    summaries = []
    for agent in (*facts.agents, *others):
        row = rows.get(agent.name, _Work(agent.name))
        summaries.append(
            AgentSummary(
                name=agent.name,
                role=agent.role,
                model=agent.model,
                engine=agent.engine,
                device=agent.device,
                dtype=agent.dtype,
                requests=row.requests,
                prompt_tokens=row.prompt_tokens,
                cached_prompt_tokens=row.cached_tokens,
                cacheable_prompt_tokens=row.cacheable_tokens,
                completion_tokens=row.completion_tokens,
                busy_seconds=row.seconds,
                restarts=agent.restarts,
                failed=whose.count(agent.name),
                spent=spent.get(agent.name),
                shared=dict(shared[agent.name]),
                thoughts=row.thoughts,
                thought_tokens=row.thought_tokens,
                without=sorted({name for notes in noted[agent.name] for name in notes.without}),
                role_marks_broken=sum(notes.role_marks_broken for notes in noted[agent.name]),
                answers_cut=sum(notes.answers_cut for notes in noted[agent.name]),
            )
        )
    return summaries


def counts(
    store: Store,
    lessons: Sequence[TeachingProblemRecord],
    sheets: Sequence[Sheet],
    students: Sequence[str],
    facts: RunFacts,
    failures: Sequence[FailedRequests],
    iteration: Iteration | None,
) -> dict[str, int]:
    """How much of what there was. Requests and cut-off texts are counted over the whole run, also in a replay."""
    requests, cut_off = _integers(
        store, "SELECT count(*), count(*) FILTER (WHERE failed = '' AND finish_reason = 'length') FROM result"
    )
    found = _by_stage(store)
    exams, later, solutions = (found[stage] for stage in ("exam", "probe_exam", "grade"))
    rationales = [rationale for lesson in lessons for rationale in lesson.rationales]
    different = [rationale for lesson in lessons for rationale in distinct(lesson)]
    left_out, incomparable = _left_out([sheet.lesson for sheet in sheets], students)
    with_sets = _with_sets(iteration)
    return {
        "teaching_problems": len(lessons),
        "teaching_rationales": len(rationales),
        "exam_answers": sum(len(one.exams) for one in different) + exams.rewritten + with_sets["exam"].n,
        "requests": requests,
        "failed": len(failures),
        "reused": facts.reused,
        "unparsable_rationales": sum(rationale.answer is None for rationale in rationales),
        "identical_rationales": len(rationales) - len(different),
        "cut_off": cut_off,
        "formulas_not_compared": facts.not_compared,
        "unparsable_exam_answers": exams.unparsable + with_sets["exam"].unparsable,
        "questions_and_answers": sum(rationale.talks for rationale in different),
        "without_dialogue": sum(rationale.silent for rationale in different),
        "mixed_grades": sum(group.mixed for sheet in sheets for group in sheet.groups),
        "exam_answers_left_out": left_out,
        "problems_without_common_exams": incomparable,
        "later_exam_answers": later.n,
        "unparsable_later_exam_answers": later.unparsable,
        "teacher_exam_answers": with_sets["itself"].n,
        "unparsable_teacher_exam_answers": with_sets["itself"].unparsable,
        "training_answers": with_sets["score"].n,
        "unparsable_training_answers": with_sets["score"].unparsable,
        "held_out_answers": with_sets["test"].n,
        "unparsable_held_out_answers": with_sets["test"].unparsable,
        "solutions": solutions.n,
        "solution_tokens": solutions.prompt_tokens,
    }


def _left_out(lessons: Sequence[TeachingProblemRecord], students: Sequence[str]) -> tuple[int, int]:
    """EAs that the scores leave out, since another TR of the TP lacks them; and TPs on which that leaves none."""
    left_out = incomparable = 0
    for lesson in lessons:
        different = distinct(lesson)
        sat = sum(exam.student in students for rationale in different for exam in rationale.exams)
        marks = {rationale.id: exam_marks(rationale) for rationale in different if rationale.answer is not None}
        compared = sum(map(len, on_common_slots(marks, students).values()))
        left_out += sat - compared
        incomparable += bool(sat and not compared)
    return left_out, incomparable


class _Stage(msgspec.Struct, frozen=True, array_like=True):
    """The results of one stage about teaching problems; failed ones left out."""

    n: int = 0
    unparsable: int = 0
    prompt_tokens: int = 0
    rewritten: int = 0
    """Those of level 3."""


def _by_stage(store: Store) -> defaultdict[str, _Stage]:
    rows = store.query(
        "SELECT stage, count(*), sum(answer IS NULL), sum(prompt_tokens), sum(level = 3) FROM result "
        "WHERE failed = '' AND tp <> '' GROUP BY stage"
    )
    found = {str(stage): msgspec.convert(figures, _Stage) for stage, *figures in rows}
    return defaultdict(_Stage, found)


def _with_sets(iteration: Iteration | None) -> defaultdict[str, _Stage]:
    """Answers under sets of exemplars, by stage; exams that the teacher sat as its own student are `itself`."""
    answers = iteration.answers if iteration else ()
    teachers = {one.agent for one in answers if one.stage == "score"}
    found: defaultdict[str, _Stage] = defaultdict(_Stage)
    for one in answers:
        stage = "itself" if one.stage == "exam" and one.agent in teachers else one.stage
        found[stage] = _Stage(found[stage].n + one.n, found[stage].unparsable + one.unparsable)
    return found


def _integers(store: Store, sql: str) -> list[int]:
    """The one row of a question that counts."""
    (row,) = store.query(sql)
    return msgspec.convert(row, list[int])
