"""The rows of the exported tables, in the order of their columns. Rows of results come from the store one by one.

Rounds, trainings and exemplar sets are not recorded but follow from the records, so a class with levels 2 or 3 is
replayed for them.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from scenarios.config.schema import Scenario
from scenarios.levels.observe.self_debug import REPAIR
from scenarios.report import learn
from scenarios.report.recorded import RecordedClass
from scenarios.report.show_sets import set_lines
from scenarios.report.training_records import training_records
from scenarios.store.problems import LABELLED, TAUGHT
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Problem

Row = Sequence[Any]
FIGURES = ("loss", "reward_margin", "reward_accuracy", "seconds")
CORRECT = "CASE WHEN failed = '' THEN CAST(value AS INTEGER) END"
GRADED = "result r LEFT JOIN latest_grade USING(request_id)"


def _null(column: str) -> str:
    return f"NULLIF({column}, '')"


def _usage(store: Store) -> str:
    """The columns of `RESULT` in export_columns.py."""
    thought, temperature = store.column("thought_tokens"), store.column("temperature")
    return (
        f"{_null('failed')}, prompt_tokens, cached_tokens, completion_tokens, {thought}, seconds, finish_reason, "
        f"{temperature}, at"
    )


SCORED = f"CASE WHEN failed = '' THEN text END, answer, {CORRECT}"
PLACE = "stage, level, round"
EXAM = "kind = 'Examine' AND stage NOT IN ('alone', 'agree')"
"""Not an answer without a TR: of a student to a TP (a baseline), or of the writer of an invented problem to it."""
FIRST = "stage <> 'exam_repair'"
"""Not a repair, whose first answer is an EA that was wrong: a repair adds to the right ones alone."""


def problems(bank: Bank | None) -> Iterator[Row]:
    """By use, in the order of the class."""
    if bank is None:
        return
    labelled = bank.labelled
    single = {"held_out": bank.held_out} | ({part: getattr(labelled, part) for part in LABELLED} if labelled else {})
    for part in sorted((*single, TAUGHT)):
        if part != TAUGHT:
            for number, problem in enumerate(single[part], 1):
                yield *_problem(problem, part, None, number), *(None,) * 3
            continue
        for number, item in enumerate(bank.items, 1):
            yield *_problem(item.tp, "teaching", None, number), *(item.similarities[:1] or (None,)), None, None
            invented = item.invented
            agreeing = {one.ep: one.agreeing / invented.answers for one in invented.problems} if invented else {}
            for ep, near in zip_longest(item.eps, item.similarities[: len(item.eps)]):
                by = invented.writer if invented else None
                yield *_problem(ep, "exam", item.tp.id, number), near, by, agreeing.get(ep.id)


def _problem(one: Problem, use: str, tp: str | None, number: int) -> Row:
    of_source = (one.solution or None, one.level or None, one.subject or None)
    return one.id, use, tp, number, one.text, one.answer, one.form, *of_source


def rationales(store: Store, dropped: Mapping[str, bool]) -> Iterator[Row]:
    """Ordered by request id. `dropped`: by request id, whether the exams of a TR ended early."""
    exams: dict[bytes, tuple[str, int, int]] = {}
    examined = (
        f"SELECT r.tr, sum({FIRST}) n, sum({CORRECT}) n_right FROM {GRADED} "  # noqa: S608
        "WHERE kind = 'Examine' AND failed = '' AND tp <> '' GROUP BY r.tr"
    )
    for tr, tp, text, n, right in store.rows(
        f"SELECT e.tr, t.tp, t.text, n, n_right FROM ({examined}) e JOIN result t ON t.request_id = e.tr"  # noqa: S608
    ):
        key = _digest(tp, text)
        first, others, others_right = exams.get(key, (tr, 0, 0))
        exams[key] = (min(first, tr), others + n, others_right + (right or 0))
    sql = (
        f"SELECT r.request_id, tp, repeat, {PLACE}, agent, {_null('weights')}, {SCORED}, {_usage(store)}, "  # noqa: S608
        f"NULLIF({store.column('behaviour')}, ''), {store.column('hidden')}, "
        f"NULLIF({store.column('failing')}, ''), CASE stage WHEN '{REPAIR}' THEN tr END, text "
        f"FROM {GRADED} WHERE kind IN ('Teach', 'Revise') AND tp <> '' ORDER BY r.request_id"
    )
    for *row, text in store.rows(sql):
        taught = row[8] is not None and row[3] != REPAIR
        shared, n, right = exams.get(_digest(row[1], text), (None, 0, 0)) if taught else (None, 0, 0)
        yield *row[:11], shared, n, right, right / n if n else None, dropped.get(row[0]), *row[11:]


def rationales_of_halving(one: RecordedClass) -> Iterator[Row]:
    """Ordered by request id. Which TRs were dropped follows from the records."""
    return rationales(one.store, {tr.id: tr.dropped for lesson in one.outcome.lessons for tr in lesson.rationales})


def _digest(tp: str, text: str) -> bytes:
    """Identical TRs of one TP have the same, and it is short however long they are."""
    return hashlib.blake2b(f"{tp}\0{text}".encode(), digest_size=16).digest()


def exams(store: Store) -> Iterator[Row]:
    """Ordered by request id."""
    return store.rows(
        f"SELECT r.request_id, {_null('tp')}, {_null('tr')}, ep, repeat, agent, {PLACE}, {_null('weights')}, {SCORED}, "  # noqa: S608
        f"{_usage(store)}, NULLIF({store.column('failing')}, '') FROM {GRADED} WHERE kind = 'Examine' "
        "ORDER BY r.request_id"
    )


def grades(store: Store) -> Iterator[Row]:
    """Ordered by request id."""
    return store.rows(
        f"SELECT request_id, tp, {_null('tr')}, {_null('ep')}, agent, {PLACE}, {_null('weights')}, score, "  # noqa: S608
        f"{_usage(store)} FROM result WHERE kind = 'Grade' ORDER BY request_id"
    )


def students(store: Store, scenario: Scenario) -> Iterator[Row]:
    """In the order of the scenario."""
    sums = {
        agent: rest
        for agent, *rest in store.rows(
            f"SELECT agent, sum({EXAM} AND {FIRST} AND failed = ''), sum(CASE WHEN {EXAM} THEN {CORRECT} END), "  # noqa: S608
            "sum(failed <> ''), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(seconds) "
            f"FROM {GRADED} GROUP BY agent"
        )
    }
    for student in scenario.students:
        n, right, *rest = sums.get(student.name, [0, 0, 0, 0, 0, 0, 0.0])
        right = right or 0
        who = (student.name, student.model or None, student.engine, student.persona or None)
        yield *who, n, right, right / n if n else None, *rest


def trainings(one: RecordedClass) -> Iterator[Row]:
    """By round and arm."""
    for found in _learnt(one):
        measured = {t.weights: t for teacher in found.teachers for t in (teacher.by_seed or (teacher,))}
        for arm in found.arms:
            about = (arm.arm, arm.seed, arm.status, arm.weights or None, arm.failed or None)
            steps = arm.figures.get("steps")
            figures = [None if steps is None else int(steps), *(arm.figures.get(name) for name in FIGURES)]
            teacher = measured.get(arm.weights) if arm.weights else None
            values = (teacher.greedy, teacher.sampled, teacher.lbt, teacher.drift) if teacher else (None,) * 4
            yield found.round, *about, arm.pairs, arm.available, arm.mean_gap, *figures, *values


def rounds(one: RecordedClass) -> Iterator[Row]:
    """Level 2, then level 3 by arm, run and round."""
    start = {record.number: record.weights for record in one.outcome.learnt}
    for found in _learnt(one):
        weights = start[found.round]
        (values, *_) = [(t.greedy, t.sampled, t.lbt) for t in found.teachers if t.weights == weights] or [(None,) * 3]
        yield 2, None, None, found.round, weights or None, *values, *(None,) * 7
    for course in one.outcome.iteration.courses if one.outcome.iteration else ():
        for done in course.rounds:
            best = done.selected[0] if done.selected else None
            train, held_out = (f1.get(best or "") for f1 in (course.train, course.held_out))
            f1 = (train.f1 if train else None, held_out.f1 if held_out else None)
            dropped = sum(bool(revision.dropped) for revision in done.revisions)
            counts = (len(done.scored), done.reflections, len(done.revisions), dropped)
            yield 3, course.arm, course.run + 1, done.number, *(None,) * 4, best, *f1, *counts


def sets(one: RecordedClass) -> Iterator[Row]:
    """By arm, run and round."""
    for line in set_lines(one.outcome.iteration):
        where = (line.arm, line.run, line.round, line.key, line.origin)
        yield *where, line.f1_train, line.f1_held_out, line.kept


def _learnt(one: RecordedClass) -> list[learn.LearnRoundSummary]:
    records, complete = training_records(one.store), one.facts.status == "complete"
    return learn.summarize_rounds(one.scenario, one.outcome.learnt, records, complete=complete)


STORED: dict[str, Callable[[Store, Scenario], Iterator[Row]]] = {
    "problems": lambda store, _: problems(store.bank()),
    "rationales": lambda store, _: rationales(store, {}),
    "exams": lambda store, _: exams(store),
    "grades": lambda store, _: grades(store),
    "students": students,
}
"""The tables that come from the store alone."""
REPLAYED: dict[str, Callable[[RecordedClass], Iterator[Row]]] = {
    "rationales": rationales_of_halving,
    "trainings": trainings,
    "rounds": rounds,
    "sets": sets,
}
"""The others, of classes with levels 2 or 3; and those that the store alone does not give with `exam.allocation`."""
