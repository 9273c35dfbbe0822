"""summary.json: what came of a class, from its lessons and the gradebook alone.

Owns how the summary's figures come about. Their names and shape are summary.py, what is known of the run facts.py,
how an answer is chosen scores.py, how sure a figure is statistics.py, how it is printed tables.py, and what is added up
from the gradebook's tables tallies.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from broker.files import write_atomically
from scenarios.config.schema import Scenario, Scoring
from scenarios.records.iterate import Iteration
from scenarios.records.learn import LearnRoundRecord
from scenarios.records.observe import TeachingProblemRecord
from scenarios.records.rewrite import Rewriting
from scenarios.report import learn
from scenarios.report.counts import agents_of, counts, curves, failed, training_seconds
from scenarios.report.iterate import sat, summarize_rounds
from scenarios.report.rewrite import summarize_rewriting
from scenarios.report.run_info import RunFacts
from scenarios.report.summary import (
    BestPossible,
    Comparison,
    LearnRounds,
    Levels,
    MeasuredAssumption,
    Method,
    Status,
    StudentSummary,
    Summary,
)
from scenarios.report.unanswered import unanswered
from scenarios.scoring.dense import dense, dense_scores
from scenarios.scoring.lbt import (
    ChosenAnswer,
    Rule,
    Same,
    Sheet,
    assumption,
    best_possible,
    distinct,
)
from scenarios.scoring.lineups import LineUp, compare_lineups, shown
from scenarios.scoring.statistics import caution, clustered, paired, wilson
from scenarios.store.sqlite import Store

METHODS: dict[str, Rule] = {"greedy": "greedy", "sc": "sc", "m1_max": "max", "m1_sum": "sum", "m1_avg": "avg"}
DENSE_METHODS: dict[str, Rule] = {"m1_max_logprob": "max", "m1_sum_logprob": "sum", "m1_avg_logprob": "avg"}
"""Where exam.score is logprob: the same rules over dense scores."""
COMPARISONS = (
    ("m1_sum", "sc"), ("m1_sum", "greedy"), ("m1_max", "sc"), ("m1_max", "greedy"), ("m1_sum", "m1_max"),
    ("m1_sum_logprob", "sc"), ("m1_sum_logprob", "m1_sum"), ("m1_max_logprob", "m1_max"),
)  # fmt: skip


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
) -> dict[str, Any]:
    """The summary of a class, as it would be read from summary.json.

    Of a complete class every TP counts, and a TP on which nothing parsable came is wrong. Of an unfinished one only
    the TPs whose TRs and exams are all there count, and the caution says so.

    Args:
        scenario: The class; its scoring may be another than the class ran with.
        lessons: What the level made of the results.
        same: Whether two answers are equivalent.
        store: The gradebook.
        facts: What is known of the run besides; `facts_from(store)` where nobody knows better.
        given_up: Failed requests that were asked again as another repeat: they are no failures of the class.
        learnt: The rounds of level 2.
        iteration: What came of level 3, with sets of exemplars.
        rewriting: What came of level 3, with rationales.
    """
    counted = [lesson for lesson in lessons if facts.status == "complete" or _whole(lesson, scenario)]
    sheets = [Sheet(lesson, same) for lesson in counted]
    names = tuple(student.name for student in scenario.students)
    scoring, n = scenario.scoring, len(sheets)

    examined = any(r.exams for lesson in counted for r in lesson.rationales)
    chosen = {
        name: [sheet.choose(rule, names, scoring) for sheet in sheets]
        for name, rule in METHODS.items()
        if (scenario.lesson.greedy if rule == "greedy" else examined or rule == "sc")
    }
    by_logprob = scenario.exam.score == "logprob"
    if by_logprob and any(r.grades for lesson in counted for r in lesson.rationales):
        chosen |= {
            name: [sheet.choose(rule, names, scoring, dense_scores) for sheet in sheets]
            for name, rule in DENSE_METHODS.items()
        }
    solves = scenario.solves
    rewritten = summarize_rewriting(rewriting, names, scoring, same, scenario.seed)
    line_ups = compare_lineups(sheets, names, scoring, scenario.seed) if solves else []
    single = {up.students[0]: up for up in line_ups if len(up.students) == 1}
    failures = failed(store, given_up)
    agents = agents_of(store, facts, failures, iteration)
    told = learn.TrainingRecords(curves(store), training_seconds(store))
    rounds = learn.summarize_rounds(scenario, learnt, told, complete=facts.status == "complete")
    summary = Summary(
        scenario=scenario.name,
        level=list(scenario.level) if isinstance(scenario.level, tuple) else scenario.level,
        seed=scenario.seed,
        status=facts.status,
        wall_seconds=round(facts.wall_seconds, 3),
        simulated="simulated" in [*(agent.engine for agent in agents), *(agent.engine for agent in scenario.agents)],
        agents=agents,
        counts=counts(store, lessons, sheets, names, facts, failures, iteration),
        methods={
            name: _method(chosen.get(name, []), _tokens(name, counted))
            for name in (*METHODS, *(DENSE_METHODS if by_logprob else ()))
        }
        | (learn.methods(rounds, learnt) if rounds else {}),
        best_possible=BestPossible(best_possible(counted), n),
        paired=[_comparison(a, b, chosen, scenario.seed) for a, b in COMPARISONS if chosen.get(a) and chosen.get(b)]
        + learn.comparisons(rounds),
        students=_students(lessons, None if solves else iteration, scenario, single),
        lineups=line_ups,
        lineups_shown=shown(len(names)),
        assumption=_assumption(counted, names, scoring),
        levels=Levels(
            learn=LearnRounds(msgspec.to_builtins(rounds)),
            iterate=msgspec.structs.replace(summarize_rounds(iteration), rationales=rewritten),
        ),
        failures=failures,
        unanswered=unanswered(store, given_up),
        caution=_caution(scenario, n, len(lessons), facts.status, rounds)
        if solves
        else _caution_iterate(scenario, facts.status),
        completions_per_rationale=_completions_per_rationale(lessons),
        dense=dense(sheets, names, scoring, scenario.seed) if by_logprob and solves else None,
    )
    return msgspec.json.decode(msgspec.json.encode(summary), type=dict[str, Any])


def _whole(lesson: TeachingProblemRecord, scenario: Scenario) -> bool:
    """Whether all that was to be asked about this TP is there."""
    grades = len(scenario.students) * scenario.exam.problems
    exams = grades * scenario.exam.repeats
    return (
        len(lesson.rationales) == scenario.lesson.rationales
        and (lesson.greedy is not None or not scenario.lesson.greedy)
        and all(r.answer is None or len(r.exams) == exams for r in lesson.rationales)
        and (
            scenario.exam.score != "logprob"
            or all(r.answer is None or len(r.grades) == grades for r in lesson.rationales)
        )
    )


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


def _method(choices: Sequence[ChosenAnswer], tokens: int) -> Method:
    n, right = len(choices), sum(c.correct for c in choices)
    if not n:
        return Method(None, wilson(0, 0), 0, 0, None, None)
    return Method(
        accuracy=right / n,
        ci95=wilson(right, n),
        n=n,
        completion_tokens=tokens,
        tie_share=sum(c.tied for c in choices) / n,
        accuracy_random_ties=sum(c.expected_correct for c in choices) / n,
    )


def _tokens(method: str, lessons: Sequence[TeachingProblemRecord]) -> int:
    if method == "greedy":
        return sum(lesson.greedy.completion_tokens for lesson in lessons if lesson.greedy)
    taught = sum(r.completion_tokens for lesson in lessons for r in lesson.rationales)
    return (
        taught if method == "sc" or method in DENSE_METHODS else taught + sum(lesson.exam_tokens for lesson in lessons)
    )


def _comparison(a: str, b: str, chosen: Mapping[str, Sequence[ChosenAnswer]], seed: int) -> Comparison:
    one, other = ([float(c.correct) for c in chosen[name]] for name in (a, b))
    found = paired(one, other, seed)
    return Comparison(a, b, found.difference, found.ci95, found.wins, found.losses, found.p_value, n=len(one))


def _completions_per_rationale(lessons: Sequence[TeachingProblemRecord]) -> float | None:
    rationales = sum(len(lesson.rationales) for lesson in lessons)
    after = sum(len(rationale.exams) + rationale.talks for lesson in lessons for rationale in distinct(lesson))
    return (rationales + after) / rationales if rationales else None


def _assumption(lessons: Sequence[TeachingProblemRecord], names: Sequence[str], scoring: Scoring) -> MeasuredAssumption:
    """The paper's assumption, with its interval over TPs."""
    by_tp = [assumption([lesson], names, scoring.merge) for lesson in lessons]
    whole = assumption(lessons, names, scoring.merge)
    sure = clustered([((one.right_beats_wrong or 0.0) * one.pairs, one.pairs) for one in by_tp])
    return MeasuredAssumption(whole.right_beats_wrong, whole.ties, whole.pairs, sure if whole.pairs else None)


def _students(
    lessons: Sequence[TeachingProblemRecord],
    iteration: Iteration | None,
    scenario: Scenario,
    single: Mapping[str, LineUp],
) -> list[StudentSummary]:
    """Their exams under rationales; where a class has level 3 alone, those of its rounds."""
    by_problem: dict[str, list[tuple[int, int]]] = {student.name: [] for student in scenario.students}
    """By student: right and all answers of each TP, or of each item."""
    for lesson in lessons:
        exams = [answer for rationale in distinct(lesson) for answer in rationale.exams]
        asked, found = Counter(one.student for one in exams), Counter(one.student for one in exams if one.correct)
        for name in asked:
            by_problem.setdefault(name, []).append((found[name], asked[name]))
    by_problem |= sat(iteration)
    summaries = []
    for student in scenario.students:
        right, n = (sum(column) for column in zip(*by_problem[student.name] or [(0, 0)], strict=True))
        alone = single.get(student.name)
        summaries.append(
            StudentSummary(
                name=student.name,
                exam_accuracy=right / n if n else None,
                ci95=clustered(by_problem[student.name]),
                exam_answers=n,
                m1_max=alone.m1_max if alone else None,
                m1_sum=alone.m1_sum if alone else None,
            )
        )
    return summaries


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json.

    Raises:
        OSError: it cannot be written; an older summary stays as it was.
    """
    write_atomically(path, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
