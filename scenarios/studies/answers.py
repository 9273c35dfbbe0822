"""What the methods and line-ups of one finished class chose, problem by problem, read from its class.db.

This is the one place where a study or a comparison of runs scores answers; scenarios/scoring has the rules.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from broker.errors import ScenarioError
from broker.protocol import digest
from scenarios.config.schema import Scenario
from scenarios.levels.replay import replay
from scenarios.records.observe import TeachingProblemRecord
from scenarios.report.baselines import baseline_names, right_by_baseline
from scenarios.report.methods import chosen_answers
from scenarios.report.run_info import facts_from
from scenarios.scoring.drawn_students import drawn_students, examined_by
from scenarios.scoring.equal_cost import affordable, with_votes
from scenarios.scoring.lbt import Same, Sheet, distinct
from scenarios.scoring.lineups import results_by_problem
from scenarios.scoring.shapley import values_by_problem
from scenarios.session.run_dir import RunFolder
from scenarios.store.sqlite import Store
from scenarios.studies.terms import EQUAL_COST, Lineups
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.problems import Bank, Problem
from scenarios.tasks.sources.families import GSM


class ClassAnswers(msgspec.Struct, frozen=True):
    """The choices of one class, in the order of its teaching problems (TPs)."""

    tps: list[str]
    """Digests of the problems' ids and texts."""
    units: list[str]
    """Independent problems: see `unit`."""
    right: dict[str, list[float]]
    """By method, by baseline, and by line-up (MAX), `lineup.sum` and `lineup.sc_at_cost`: 1 where the choice for a TP
    is right, else 0; of a baseline that may pick one of several, the share of them that is right."""
    answerers: dict[str, str]
    """Of each student: equal for students that differ in nothing but their name."""
    differing: int
    """Rationales after which two students had different exam results."""
    simulated: bool
    unprotected: bool = False
    """Whether it ran programs of models without a sandbox."""
    dropped: tuple[str, ...] = ()
    """Students that were dropped while it ran (`run.py ctl`)."""
    adds: dict[str, tuple[list[float], list[float]]] = {}
    """By student, its Shapley value for each TP, by MAX and by SUM; of a large class, of those that are analysed. Empty
    for a single student."""
    taught: Sequence[Problem] = ()
    """The TPs."""


def read_answers(folder: RunFolder, scenario: Scenario, lineups: Lineups) -> ClassAnswers:
    """The choices of the class in `folder` by every method and by each of `lineups`.

    Raises:
        ScenarioError: the class is not complete, or has no teaching problems.
    """
    with Store(folder.path) as store, ClassGrader() as grader:
        facts = facts_from(store)
        if facts.status != "complete" or (bank := store.bank()) is None:
            raise ScenarioError(f"{folder}: this class is not complete. {folder.go_on}")
        if not scenario.solves:
            raise ScenarioError(f"{folder}: this class has no teaching problems, so there is nothing to compare")
        level = folder.level(scenario, bank, store, grader.same)
        replay(level, level.begin(), store.find_all)
        lessons = level.outcome().lessons
        sheets = [Sheet(lesson, grader.same) for lesson in lessons]
        chosen = chosen_answers(scenario, lessons, sheets, grader.same)
        right = {method: [float(choice.correct) for choice in choices] for method, choices in chosen.items()}
        baselines = right_by_baseline(scenario, sheets, chosen, grader.same)
        right |= {name: baselines[name] for name in baseline_names(scenario) if name in baselines}
        of_lineups = results_by_problem(sheets, sorted(set(lineups.values())), scenario.scoring, scenario.seed)
        for name, members in lineups.items():
            right[name], right[f"{name}.sum"] = of_lineups[members].m1_max, of_lineups[members].m1_sum
        if scenario.lesson.equal_cost:
            right |= _at_cost(lessons, lineups, scenario, grader.same)
        adds = _adds(sheets, [student.name for student in scenario.students], scenario, grader.same)
        known = store.answerers()
    problems = {item.tp.id: item.tp for item in bank.items}
    students = [student.name for student in scenario.students]
    return ClassAnswers(
        tps=[digest(lesson.tp, problems[lesson.tp].text) for lesson in lessons],
        units=[unit(bank, problems[lesson.tp]) for lesson in lessons],
        right=right,
        answerers={
            one.name: f"{known.get(one.name, one.name)} {scenario.sampling_of(one)}" for one in scenario.students
        },
        differing=sum(_differ(lesson, students) for lesson in lessons),
        simulated=any(agent.engine == "simulated" for agent in scenario.agents),
        unprotected=facts.unprotected,
        dropped=facts.changes.dropped,
        adds=adds,
        taught=[problems[lesson.tp] for lesson in lessons],
    )


def _at_cost(
    lessons: Sequence[TeachingProblemRecord], lineups: Lineups, scenario: Scenario, same: Same
) -> dict[str, list[float]]:
    """SC of as many rationales as the tokens of each line-up would have bought: see scoring/equal_cost.py."""
    found: dict[str, list[float]] = {f"{name}.{method}": [] for name in lineups for method in EQUAL_COST}
    for lesson in lessons:
        right: dict[int, float] = {}
        for name, members in lineups.items():
            bought = affordable(lesson, members)
            for method, number in zip(EQUAL_COST, (bought.by_tokens, bought.by_completion), strict=True):
                if number not in right:
                    sheet = Sheet(with_votes(lesson, number), same)
                    right[number] = float(sheet.choose("sc", (), scenario.scoring).correct)
                found[f"{name}.{method}"].append(right[number])
    return found


def unit(bank: Bank, problem: Problem) -> str:
    """What counts as one problem where several classes are pooled.

    A line of a file is one problem, and so is a place of a template of gsm_symbolic: other seeds draw other numbers for
    the same words, so their results go together. Other generators number unrelated problems, so there the text counts.
    """
    generated = bank.source.startswith("reasoning-gym ") and not bank.source.endswith(f" {GSM}")
    return f"{bank.source} {digest(problem.id, problem.text) if generated else problem.id}"


def _adds(
    sheets: Sequence[Sheet], students: Sequence[str], scenario: Scenario, same: Same
) -> dict[str, tuple[list[float], list[float]]]:
    if len(students) < 2 or not any(rationale.exams for sheet in sheets for rationale in sheet.lesson.rationales):
        return {}
    if len(analysed := drawn_students(students, scenario.seed)) < len(students):
        students, sheets = analysed, [Sheet(examined_by(sheet.lesson, analysed), same) for sheet in sheets]
    of_max, of_sum = values_by_problem(sheets, students, scenario.scoring, scenario.seed)
    return {name: (of_max[:, place].tolist(), of_sum[:, place].tolist()) for place, name in enumerate(students)}


def _differ(lesson: TeachingProblemRecord, students: Sequence[str]) -> int:
    """After how many rationales of a TP two students gave different numbers of right answers to an exam problem."""
    found = 0
    for rationale in distinct(lesson):
        marks = {name: Counter[tuple[str, bool]]() for name in students}
        for exam in rationale.exams:
            marks[exam.student][exam.ep, exam.correct] += 1
        first, *others = marks.values()
        found += any(other != first for other in others)
    return found
