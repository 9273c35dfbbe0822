"""Makes the summary of a class from its records and the gradebook, and writes summary.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from broker.files import write_atomically
from scenarios.config.schema import Scenario, Scoring
from scenarios.records.iterate import Iteration
from scenarios.records.learn import LearnRoundRecord
from scenarios.records.observe import TeachingProblemRecord
from scenarios.records.rewrite import Rewriting
from scenarios.report import learn, methods
from scenarios.report.agents import agents_of
from scenarios.report.allocation import allocated, exam_problems, exams_per_rationale
from scenarios.report.analysis import Analysis, analyse
from scenarios.report.baselines import baselines
from scenarios.report.breakdown import breakdown, labels
from scenarios.report.counts import counts, failed
from scenarios.report.exams import exam_source
from scenarios.report.iterate import exam_results, summarize_rounds
from scenarios.report.rewrite import summarize_rewriting
from scenarios.report.run_info import RunFacts, Status
from scenarios.report.summary import (
    BestPossible,
    LearnRounds,
    Levels,
    MeasuredAssumption,
    PublishedAccuracies,
    StudentSummary,
    Summary,
)
from scenarios.report.training_records import training_records
from scenarios.report.unanswered import unanswered
from scenarios.scoring.baselines import has_baselines
from scenarios.scoring.dense import dense
from scenarios.scoring.drawn_students import drawn_students, examined_by
from scenarios.scoring.equal_cost import further
from scenarios.scoring.lbt import Same, Sheet, assumption, best_possible, distinct
from scenarios.scoring.lineups import LineUp, compare_lineups, shown
from scenarios.scoring.signals import signals
from scenarios.scoring.statistics import caution, clustered, wilson
from scenarios.store.sqlite import Store


def summarize(
    scenario: Scenario,
    lessons: Sequence[TeachingProblemRecord],
    same: Same,
    store: Store,
    facts: RunFacts,
    given_up: frozenset[str] = frozenset(),
    *,
    learnt: Sequence[LearnRoundRecord] = (),
    iteration: Iteration | None = None,
    rewriting: Rewriting | None = None,
) -> Summary:
    """The summary of a class.

    Of a complete class every TP counts, and a TP without any readable answer is wrong. Of an unfinished one only the
    TPs whose TRs and exams are all there count, and the caution says so.

    Args:
        scenario: The class; its scoring may be another than the class ran with.
        lessons: What the level made of the results.
        same: Whether two answers are equivalent.
        store: The gradebook.
        facts: What is known of the run besides: `facts_from(store)`, or more.
        given_up: Failed requests that were asked again as another repeat: they are no failures of the class.
        learnt: The rounds of level 2.
        iteration: The results of level 3 with sets of exemplars.
        rewriting: The results of level 3 with rationales.
    """
    complete, solves = facts.status == "complete", scenario.solves
    left = tuple(student for student in scenario.students if student.name not in facts.changes.dropped)
    remaining = msgspec.structs.replace(scenario, students=left)
    counted = [lesson for lesson in lessons if complete or _is_whole(lesson, remaining)]
    sheets = [Sheet(lesson, same) for lesson in counted]
    names = tuple(student.name for student in scenario.students)
    scoring, seed = scenario.scoring, scenario.seed

    named = labels(store)
    chosen = methods.chosen_answers(scenario, counted, sheets, same)
    fewer = allocated(scenario, counted)
    analysed = drawn_students(names, seed)
    compared = [] if fewer else sheets  # line-ups and students are compared by all exams, or not at all
    if len(analysed) < len(names):
        compared = [Sheet(examined_by(sheet.lesson, analysed), same) for sheet in compared]
    line_ups = compare_lineups(compared, analysed, scoring, seed) if solves else []
    failures = failed(store, given_up)
    agents = agents_of(store, facts, failures, iteration, scenario.pools)
    records = training_records(store)
    rounds = learn.summarize_rounds(scenario, learnt, records, complete=complete, merged=facts.merged)
    found = analyse(scenario, analysed, compared, line_ups, named) if solves else Analysis()
    rewritten = summarize_rewriting(rewriting, names, scoring, same, seed)
    parts, published = breakdown(counted, chosen, named), scenario.published.by_method
    return Summary(
        scenario=scenario.name,
        level=list(scenario.level) if isinstance(scenario.level, tuple) else scenario.level,
        seed=seed,
        status=facts.status,
        wall_seconds=round(facts.wall_seconds, 3),
        simulated="simulated" in [*(agent.engine for agent in agents), *(agent.engine for agent in scenario.agents)],
        agents=agents,
        counts=counts(store, lessons, sheets, names, facts, failures, iteration),
        methods=methods.methods(scenario, counted, chosen) | (learn.methods(rounds, learnt) if rounds else {}),
        best_possible=_best_possible(counted),
        baselines=baselines(scenario, counted, sheets, chosen, same),
        paired=methods.comparisons(chosen, seed) + learn.comparisons(rounds),
        students=_students(lessons, None if solves else iteration, scenario, line_ups),
        lineups=line_ups,
        lineups_shown=shown(len(names)),
        students_analysed=list(analysed) if len(analysed) < len(names) else [],
        identical_students=_identical(names, store.answerers()),
        assumption=_assumption([] if fewer else counted, names, scoring),
        levels=Levels(
            learn=LearnRounds(rounds),
            iterate=msgspec.structs.replace(summarize_rounds(iteration), rationales=rewritten),
        ),
        failures=failures,
        unanswered=unanswered(store, given_up),
        caution=_caution(scenario, len(sheets), len(lessons), facts.status, rounds)
        if solves
        else _caution_iterate(scenario, facts.status),
        completions_per_rationale=_completions_per_rationale(lessons),
        **msgspec.structs.asdict(found),
        by_level=parts.by_level,
        by_subject=parts.by_subject,
        signals=[] if fewer else signals(compared, analysed, scoring, scenario.teacher.name),
        allocation=fewer,
        published=PublishedAccuracies(scenario.published.source, published) if published else None,
        exams=exam_source(scenario.exam, lessons),
        unprotected=facts.unprotected,
        changes=facts.changes,
        dense=dense(sheets, names, scoring, seed) if scenario.exam.score == "logprob" and solves else None,
    )


def _best_possible(lessons: Sequence[TeachingProblemRecord]) -> BestPossible:
    share, n = best_possible(lessons), len(lessons)
    return BestPossible(share, n, None if share is None else wilson(share * n, n))


def _is_whole(lesson: TeachingProblemRecord, scenario: Scenario) -> bool:
    """Whether every result about this TP is there; of other students than those of `scenario` none is needed."""
    names = {student.name for student in scenario.students}
    grades = len(scenario.students) * exam_problems(scenario, lesson)
    exams = exams_per_rationale(scenario, lesson)
    answered = [one for one in distinct(lesson) if one.answer is not None]
    return (
        len(lesson.rationales) == scenario.lesson.rationales
        and (lesson.greedy is not None or not scenario.lesson.greedy)
        and sum(exam.student in names for one in answered for exam in one.exams) + lesson.saved.exams
        == exams * len(answered)
        and (not scenario.lesson.equal_cost or len(lesson.votes) == further(lesson))
        and has_baselines(scenario, lesson)
        and (
            scenario.exam.score != "logprob"
            or all(r.answer is None or sum(g.student in names for g in r.grades) == grades for r in lesson.rationales)
        )
    )


def _identical(names: Sequence[str], answerers: Mapping[str, str]) -> list[list[str]]:
    """The groups of students that answer every request alike but for the draw; `answerers`: digests by name."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(answerers.get(name, name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _caution(
    scenario: Scenario, counted: int, lessons: int, status: Status, rounds: Sequence[learn.LearnRoundSummary]
) -> str | None:
    parts = [caution(counted)]
    if rounds and scenario.held_out:
        held_out = max(row.n for one in rounds for row in one.teachers)
        parts.append(caution(held_out, "held-out problem"))
    if status != "complete":
        parts.insert(0, f"The class is not complete: the figures cover {counted} of {lessons} teaching problems.")
    return " ".join(part for part in parts if part) or None


def _caution_iterate(scenario: Scenario, status: Status) -> str | None:
    parts = ["The class is not complete: the figures cover the rounds that are over."] * (status != "complete")
    if scenario.iterate.repeats == 1:
        parts.append("One run says nothing about how much chance is in it: iterate.repeats asks for more.")
    return " ".join(parts) or None


def _completions_per_rationale(lessons: Sequence[TeachingProblemRecord]) -> float | None:
    rationales = sum(len(lesson.rationales) for lesson in lessons)
    after = sum(len(rationale.exams) + rationale.talks for lesson in lessons for rationale in distinct(lesson))
    return (rationales + after) / rationales if rationales else None


def _assumption(lessons: Sequence[TeachingProblemRecord], names: Sequence[str], scoring: Scoring) -> MeasuredAssumption:
    """The paper's assumption, with its interval over TPs."""
    by_tp = [assumption([lesson], names, scoring.merge) for lesson in lessons]
    whole = assumption(lessons, names, scoring.merge)
    ci95 = clustered([((one.right_beats_wrong or 0.0) * one.pairs, one.pairs) for one in by_tp])
    return MeasuredAssumption(whole.right_beats_wrong, whole.ties, whole.pairs, ci95 if whole.pairs else None)


def _students(
    lessons: Sequence[TeachingProblemRecord],
    iteration: Iteration | None,
    scenario: Scenario,
    line_ups: Sequence[LineUp],
) -> list[StudentSummary]:
    """Their exams under rationales; of a class with level 3 alone, those of its rounds."""
    by_problem: dict[str, list[tuple[int, int]]] = {student.name: [] for student in scenario.students}
    """By student: right and all answers of each TP, or of each item."""
    for lesson in lessons:
        exams = [answer for rationale in distinct(lesson) for answer in rationale.exams]
        asked, right = Counter(one.student for one in exams), Counter(one.student for one in exams if one.correct)
        for name in asked:
            by_problem.setdefault(name, []).append((right[name], asked[name]))
    by_problem |= exam_results(iteration)
    single: Mapping[tuple[str, ...], LineUp] = {up.students: up for up in line_ups}
    summaries = []
    for student in scenario.students:
        right_answers, n = (sum(column) for column in zip(*by_problem[student.name] or [(0, 0)], strict=True))
        alone = single.get((student.name,))
        summaries.append(
            StudentSummary(
                name=student.name,
                exam_accuracy=right_answers / n if n else None,
                ci95=clustered(by_problem[student.name]),
                exam_answers=n,
                m1_max=alone.m1_max if alone else None,
                m1_sum=alone.m1_sum if alone else None,
                copy_of=student.pool if student.pool != student.name else "",
                sampling=scenario.own_sampling(student) if scenario.solves else {},
            )
        )
    return summaries


def write_summary(path: Path, summary: Summary) -> None:
    """Write summary.json.

    Raises:
        OSError: it cannot be written; an older summary stays as it was.
    """
    write_atomically(path, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
