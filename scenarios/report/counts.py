"""How many texts, requests and failures a class has, counted from its records and the gradebook."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from scenarios.levels.observe.self_debug import EXAM_REPAIR, REPAIR
from scenarios.records.iterate import Iteration
from scenarios.records.observe import Rationale, TeachingProblemRecord
from scenarios.report.run_info import RunFacts
from scenarios.scoring.equal_cost import affordable
from scenarios.scoring.lbt import Sheet, distinct, exam_marks, on_common_slots
from scenarios.store.sqlite import Store


class FailedRequests(msgspec.Struct, frozen=True):
    """A request without a result."""

    request: str
    agent: str
    kind: str
    detail: str


class ClassCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what there was. `unparsable_*`: of the count of the same name, those without a readable answer."""

    teaching_problems: int = 0
    teaching_rationales: int = 0
    exam_answers: int = 0
    """Of students, at all levels; those under identical TRs once."""
    requests: int = 0
    """Of the whole run, also in a replay."""
    failed: int = 0
    reused: int = 0
    """Results that the last session found in the gradebook."""
    further_rationales: int = 0
    """For SC at M1's cost (lesson.equal_cost); not examined."""
    alone_answers: int = 0
    """Of students to TPs without a TR (baselines)."""
    unparsable_alone_answers: int = 0
    judgements: int = 0
    """Of the teacher about its TRs (baselines)."""
    unparsable_judgements: int = 0
    repairs: int = 0
    """Of programs of TRs, greedy ones included, that failed a visible case (lesson.self_debug)."""
    repairs_right: int = 0
    """Of these: programs that pass all visible cases now."""
    exam_repairs: int = 0
    """The same of programs of EAs (exam.self_debug)."""
    exam_repairs_right: int = 0
    problems_with_most_further: int = 0
    """TPs on which M1's tokens would have bought even more."""
    unparsable_rationales: int = 0
    identical_rationales: int = 0
    cut_off: int = 0
    """Texts that ended at max_tokens, of the whole run."""
    formulas_not_compared: int = 0
    unparsable_exam_answers: int = 0
    questions_and_answers: int = 0
    without_dialogue: int = 0
    mixed_grades: int = 0
    """Groups of equal answers that the grader judged differently."""
    exam_answers_left_out: int = 0
    """By the scores, since the same exam failed under another TR of the TP."""
    problems_without_common_exams: int = 0
    problems_without_exams: int = 0
    """TPs whose nearest exam problem is less similar than exam.abstain_below; SC chooses their answers."""
    later_exam_answers: int = 0
    """Level 2: under new TRs."""
    unparsable_later_exam_answers: int = 0
    teacher_exam_answers: int = 0
    """Level 3: of the teacher as its own student."""
    unparsable_teacher_exam_answers: int = 0
    training_answers: int = 0
    unparsable_training_answers: int = 0
    held_out_answers: int = 0
    unparsable_held_out_answers: int = 0
    solutions: int = 0
    """Whose log-probability students were asked for."""
    solution_tokens: int = 0


def failed(store: Store, given_up: frozenset[str]) -> list[FailedRequests]:
    """Every request that failed for good; those in `given_up` were asked again as another repeat."""
    rows = store.query("SELECT request_id, agent, failed, detail FROM result WHERE failed <> '' ORDER BY 1")
    return [FailedRequests(*map(str, row)) for row in rows if row[0] not in given_up]


def counts(
    store: Store,
    lessons: Sequence[TeachingProblemRecord],
    sheets: Sequence[Sheet],
    students: Sequence[str],
    facts: RunFacts,
    failures: Sequence[FailedRequests],
    iteration: Iteration | None,
) -> ClassCounts:
    """Count everything; `sheets` are the TPs that the figures of the class cover."""
    (row,) = store.query(
        "SELECT count(*), count(*) FILTER (WHERE failed = '' AND finish_reason = 'length') FROM result"
    )
    requests, cut_off = msgspec.convert(row, tuple[int, int])
    stages = _by_stage(store)
    exams, later, solutions = (stages[stage] for stage in ("exam", "probe_exam", "grade"))
    rationales = [rationale for lesson in lessons for rationale in lesson.rationales]
    different = [rationale for lesson in lessons for rationale in distinct(lesson)]
    left_out, incomparable = _left_out([sheet.lesson for sheet in sheets], students)
    with_sets = _with_sets(iteration)
    return ClassCounts(
        teaching_problems=len(lessons),
        teaching_rationales=len(rationales),
        exam_answers=sum(len(one.exams) for one in different) + exams.rewritten + with_sets["exam"].n,
        requests=requests,
        failed=len(failures),
        reused=facts.reused,
        further_rationales=sum(len(lesson.votes) for lesson in lessons),
        alone_answers=stages["alone"].n,
        unparsable_alone_answers=stages["alone"].unparsable,
        judgements=stages["rate"].n + stages["universal"].n,
        unparsable_judgements=sum(lesson.unread_judgements for lesson in lessons),
        repairs=stages[REPAIR].n,
        repairs_right=stages[REPAIR].right,
        exam_repairs=stages[EXAM_REPAIR].n,
        exam_repairs_right=stages[EXAM_REPAIR].right,
        problems_with_most_further=sum(bool(lesson.votes) and affordable(lesson).capped for lesson in lessons),
        unparsable_rationales=sum(rationale.answer is None for rationale in rationales),
        identical_rationales=len(rationales) - len(different),
        cut_off=cut_off,
        formulas_not_compared=facts.not_compared,
        unparsable_exam_answers=exams.unparsable - _unparsable_beside(store, rationales) + with_sets["exam"].unparsable,
        questions_and_answers=sum(rationale.talks for rationale in different),
        without_dialogue=sum(rationale.silent for rationale in different),
        mixed_grades=sum(group.mixed for sheet in sheets for group in sheet.groups),
        exam_answers_left_out=left_out,
        problems_without_common_exams=incomparable,
        problems_without_exams=sum(lesson.abstains for lesson in lessons),
        later_exam_answers=later.n,
        unparsable_later_exam_answers=later.unparsable,
        teacher_exam_answers=with_sets["itself"].n,
        unparsable_teacher_exam_answers=with_sets["itself"].unparsable,
        training_answers=with_sets["score"].n,
        unparsable_training_answers=with_sets["score"].unparsable,
        held_out_answers=with_sets["test"].n,
        unparsable_held_out_answers=with_sets["test"].unparsable,
        solutions=solutions.n,
        solution_tokens=solutions.prompt_tokens,
    )


def _left_out(lessons: Sequence[TeachingProblemRecord], students: Sequence[str]) -> tuple[int, int]:
    """EAs that the scores leave out, since another TR of the TP lacks them; and TPs on which that leaves none."""
    left_out = incomparable = 0
    names = frozenset(students)
    for lesson in lessons:
        different = [rationale for rationale in distinct(lesson) if not rationale.dropped]
        answered = sum(exam.student in names for rationale in different for exam in rationale.exams)
        marks = {rationale.id: exam_marks(rationale) for rationale in different if rationale.answer is not None}
        compared = sum(map(len, on_common_slots(marks, students).values()))
        left_out += answered - compared
        incomparable += bool(answered and not compared)
    return left_out, incomparable


def _unparsable_beside(store: Store, rationales: Sequence[Rationale]) -> int:
    """EAs without a readable answer under these TRs that are none of their exams.

    An invented exam problem was replaced after --retry-failed, or a replay asks for fewer.
    """
    found = store.query(
        "SELECT tr, agent, ep, repeat FROM result WHERE stage = 'exam' AND tp <> '' AND failed = '' AND answer IS NULL"
    )
    under = {tr for tr, *_ in found}
    slots = {one.id: {exam.slot for exam in one.exams} for one in rationales if one.id in under}
    return sum(tr in slots and tuple(slot) not in slots[tr] for tr, *slot in found)


class _Stage(msgspec.Struct, frozen=True, array_like=True):
    """The results of one stage, without failed ones."""

    n: int = 0
    unparsable: int = 0
    prompt_tokens: int = 0
    rewritten: int = 0
    """Those of level 3."""
    right: int = 0


def _by_stage(store: Store) -> defaultdict[str, _Stage]:
    """The results about teaching problems."""
    rows = store.query(
        "SELECT stage, count(*), sum(answer IS NULL), sum(prompt_tokens), sum(level = 3), sum(coalesce(value, 0) = 1) "
        "FROM result LEFT JOIN latest_grade USING(request_id) WHERE failed = '' AND tp <> '' GROUP BY stage"
    )
    return defaultdict(_Stage, {str(stage): msgspec.convert(figures, _Stage) for stage, *figures in rows})


def _with_sets(iteration: Iteration | None) -> defaultdict[str, _Stage]:
    """Answers under sets of exemplars, by stage; `itself` are exams of the teacher as its own student."""
    answers = iteration.answers if iteration else ()
    teachers = {one.agent for one in answers if one.stage == "score"}
    found: defaultdict[str, _Stage] = defaultdict(_Stage)
    for one in answers:
        stage = "itself" if one.stage == "exam" and one.agent in teachers else one.stage
        found[stage] = _Stage(found[stage].n + one.n, found[stage].unparsable + one.unparsable)
    return found
