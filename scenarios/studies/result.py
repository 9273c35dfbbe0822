"""study.json: its shape, and how it is made from the classes of a study.

The names are a contract with scripts that read them: more may be added, none renamed or dropped. Accuracies are shares
from 0 to 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from broker.errors import in_words
from scenarios.config import load
from scenarios.config.schema import Scenario
from scenarios.report.baselines import baseline_names
from scenarios.report.recorded import UNREADABLE
from scenarios.studies.answers import ClassAnswers, read_answers
from scenarios.studies.cell_folder import CellFolder
from scenarios.studies.folder import StudyFolder
from scenarios.studies.load import Cell, outgrown, stands_for
from scenarios.studies.pooling import Accuracy, Difference, PooledShapley, accuracy, compare, holm, shapley
from scenarios.studies.schema import Published, Study
from scenarios.studies.sentences import answer, extended, not_equal, not_extended
from scenarios.studies.terms import Lineups, lineup_of, named_lineups, primary_terms, terms, without_each


class LineupResult(msgspec.Struct, frozen=True, kw_only=True):
    """One line-up, pooled over the cells."""

    name: str
    students: tuple[str, ...]
    """Of the first cell."""
    m1_max: float
    m1_sum: float
    m1_max_ci95: tuple[float, float]
    m1_sum_ci95: tuple[float, float]
    n: int
    """Distinct problems."""
    sc_at_cost: float | None = None
    """SC of as many rationales as the tokens of this line-up buy; None without lesson.equal_cost."""
    sc_at_cost_ci95: tuple[float, float] | None = None


class CellResult(msgspec.Struct, frozen=True, kw_only=True):
    """One class of the study."""

    cell: str
    folder: str
    """Relative to the folder of the study."""
    factors: Mapping[str, Any]
    seed: int
    status: str
    """complete, interrupted, failed, running or not begun; to extend: complete, but not yet as the larger class that
    `extend` of the study makes of it."""
    reason: str = ""
    """Why it failed, or is not extended."""
    n: int = 0
    """Teaching problems; 0 unless it is complete or to extend, as the next two are empty."""
    methods: dict[str, float] = {}
    lineups: dict[str, dict[str, float]] = {}
    """By name: `m1_max` and `m1_sum`, and with lesson.equal_cost `sc_at_cost`."""


class PublishedResult(msgspec.Struct, frozen=True, kw_only=True):
    """One row of published results, beside those of the study; `ours` is empty where none of its cells is complete."""

    where: Mapping[str, Any]
    lineup: str
    published: dict[str, float]
    ours: dict[str, Accuracy]


class StudyResult(msgspec.Struct, frozen=True, kw_only=True):
    """study.json."""

    study: str
    status: str
    """complete: every class is; partial: some are."""
    simulated: bool
    unprotected: bool = False
    """A class ran programs of models without a sandbox (task.sandbox: none)."""
    dropped: dict[str, tuple[str, ...]] = {}
    """By cell: students that were dropped while its class ran (`run.py ctl`)."""
    answer: list[str]
    """The result in sentences, what to doubt first."""
    primary: list[Difference]
    lineups: list[LineupResult]
    methods: dict[str, Accuracy]
    descriptive: list[Difference]
    """Comparisons that were not named beforehand; not corrected."""
    leave_one_out: list[Difference] = []
    """All students against all but one of them, by MAX and by SUM; not corrected. Empty where the cells have different
    students, or one student."""
    shapley: PooledShapley = PooledShapley()
    runs: list[CellResult]
    published: list[PublishedResult] = []


class StudyRecords(NamedTuple):
    """A study as its classes' records have it."""

    result: StudyResult
    scenario: Scenario | None
    """Of the first class of `classes`; None: there is none."""
    classes: Sequence[tuple[Cell, ClassAnswers]]
    """The complete ones, and those that are to be extended."""
    unreadable: Mapping[str, Exception]
    """Why classes cannot be read, by the name of their cell."""


def read_study(folder: StudyFolder, failed: Mapping[str, str] | None = None) -> StudyRecords:
    """The result of a study from its classes' records alone.

    Args:
        folder: of the study.
        failed: why cells failed in this session, by name; default: as study.json says.

    Raises:
        ScenarioError: the folder contains no study.
    """
    study, cells = folder.study(), folder.cells()
    if failed is None:
        failed = {str(run.get("cell")): str(run.get("reason")) for run in folder.result().get("runs", [])}
    runs: list[CellResult] = []
    complete: list[tuple[Cell, ClassAnswers]] = []
    ran: list[Scenario] = []
    unreadable: dict[str, Exception] = {}
    lineups = None
    for cell in cells:
        run = folder.run(cell)
        result = CellResult(
            cell=cell.name, folder=f"runs/{cell.name}", factors=cell.factors, seed=cell.seed, status="failed"
        )
        if trouble := run.trouble():
            unreadable[cell.name] = trouble
            runs.append(msgspec.structs.replace(result, reason=in_words(trouble)))
            continue
        described = load.read(run.scenario_file)
        students = [student.name for student in described.students]
        in_cell = named_lineups(study, students, described.seed)
        scored = {**in_cell, **without_each(students)}
        status, reason = _status(run, failed.get(cell.name, ""))
        result = msgspec.structs.replace(result, status=status, reason=reason)
        if status in ("complete", "to extend"):
            try:
                answers = read_answers(run, described, scored)
            except UNREADABLE as error:
                unreadable[cell.name] = error
                result = msgspec.structs.replace(result, status="failed", reason=in_words(error))
            else:
                complete.append((cell, answers))
                result = _with_figures(result, answers, in_cell, scored)
                ran.append(described)
                lineups = lineups or in_cell
        runs.append(result)
    scenario = ran[0] if ran else None
    found = _pooled(study, runs, complete, scenario, lineups or {})
    before = [not_equal(entries)] if (entries := _grown_apart(study, ran)) else []
    if waiting := sum(run.status == "to extend" for run in runs):
        before.append(not_extended(waiting, len(runs), study.extended))
    after = [] if before or not complete else _extended(study, folder, complete[0][0])
    found = msgspec.structs.replace(found, answer=[*before, *found.answer, *after])
    return StudyRecords(found, scenario, complete, unreadable)


def _extended(study: Study, folder: StudyFolder, cell: Cell) -> list[str]:
    """A sentence on classes that were all extended alike, one of them in `cell`; none where they were not."""
    files = folder.study_file, folder.run(cell).scenario_file
    by_hand = outgrown(study, cell, *files)
    changes = by_hand or outgrown(msgspec.structs.replace(study, extended=()), cell, *files)
    if not by_hand:  # the old value of an entry that the study file does not have was that of the base
        listed = [f"{line.partition(': ')[0]}." for line in changes]
        paths = {one: f"{one.partition('=')[0]}." for one in study.extended}
        changes += [one for one, path in paths.items() if not any(_within(path, key) for key in listed)]
    return [extended(changes, in_file=not by_hand)] if changes else []


def _within(one: str, other: str) -> bool:
    """Whether one of two paths, each with a dot at its end, leads into the other."""
    return one.startswith(other) or other.startswith(one)


def _grown_apart(study: Study, ran: Sequence[Scenario]) -> list[str]:
    """The entries that differ between the classes without being factors: some of them were extended."""
    lines = {line: None for one in ran[1:] for line in load.asked_differs(ran[0], one)}
    entries = dict.fromkeys(line.partition(": ")[0] for line in lines)
    grown = [entry for entry in entries if load.GROWING.fullmatch(entry)]
    if len({tuple(student.name for student in one.students) for one in ran}) > 1:
        grown.append("students")
    return [entry for entry in grown if not any(f"{entry}.".startswith(f"{factor}.") for factor in study.cross)]


def _status(run: CellFolder, failed: str) -> tuple[str, str]:
    """How a class stands, and why it failed or is not extended: as `failed` says, or else its class.db."""
    status = run.status
    if status == "not begun" and failed:
        status = "failed"
    if status == "to extend":
        return status, failed
    return status, (failed or run.stopped_by()) if status == "failed" else ""


def _with_figures(result: CellResult, answers: ClassAnswers, lineups: Lineups, scored: Lineups) -> CellResult:
    """A complete cell with its own accuracies; `scored` has all line-ups that terms of the answers name."""
    shares = {term: sum(values) / len(values) for term, values in answers.right.items() if values}
    return msgspec.structs.replace(
        result,
        n=len(answers.tps),
        methods={term: share for term, share in shares.items() if not lineup_of(term, scored)},
        lineups={
            name: {key: shares[term] for key, term in _terms_of(name).items() if term in shares} for name in lineups
        },
    )


def _terms_of(lineup: str) -> dict[str, str]:
    """The terms of a line-up by their keys in study.json."""
    return {"m1_max": lineup, "m1_sum": f"{lineup}.sum", "sc_at_cost": f"{lineup}.sc_at_cost"}


def _pooled(
    study: Study,
    runs: list[CellResult],
    complete: Sequence[tuple[Cell, ClassAnswers]],
    scenario: Scenario | None,
    lineups: Lineups,
) -> StudyResult:
    """Everything that is pooled over the cells that are complete or to extend."""
    classes = [answers for _, answers in complete]
    seed = min((cell.seed for cell, _ in complete), default=0)
    primary: list[Difference] = []
    found: list[LineupResult] = []
    methods: dict[str, Accuracy] = {}
    descriptive: list[Difference] = []
    pairs: list[tuple[str, str]] = []
    if scenario is not None:
        pairs = primary_terms(study, scenario, lineups)
        primary = holm([compare(classes, a, b, seed, len(pairs)) for a, b in pairs])
        known = [term for term in terms(scenario, lineups) if all(term in one.right for one in classes)]
        unnamed = set(baseline_names(scenario)).difference(*pairs)
        shown = [term for term in known if not lineup_of(term, lineups) and term not in unnamed]
        methods = {term: accuracy(classes, term) for term in shown}
        found = [_lineup(name, members, classes) for name, members in lineups.items()]
        descriptive = [compare(classes, a, b, seed) for a, b in _others(found, pairs)]
    result = StudyResult(
        study=study.study,
        status="complete" if all(run.status == "complete" for run in runs) else "partial",
        simulated=any(one.simulated for one in classes),
        unprotected=any(one.unprotected for one in classes),
        dropped={cell.name: one.dropped for cell, one in complete if one.dropped},
        answer=[],
        primary=primary,
        lineups=found,
        methods=methods,
        descriptive=descriptive,
        leave_one_out=_leave_one_out(classes, seed),
        shapley=shapley(classes, seed),
        runs=runs,
        published=[_published(row, complete) for row in study.published],
    )
    return msgspec.structs.replace(result, answer=answer(result, classes, lineups))


def _lineup(name: str, members: tuple[str, ...], classes: Sequence[ClassAnswers]) -> LineupResult:
    by_max, by_sum = accuracy(classes, name), accuracy(classes, f"{name}.sum")
    cost = f"{name}.sc_at_cost"
    at_cost = accuracy(classes, cost) if all(cost in one.right for one in classes) else None
    return LineupResult(
        name=name,
        students=members,
        m1_max=by_max.accuracy,
        m1_sum=by_sum.accuracy,
        m1_max_ci95=by_max.ci95,
        m1_sum_ci95=by_sum.ci95,
        n=by_max.n,
        sc_at_cost=at_cost.accuracy if at_cost else None,
        sc_at_cost_ci95=at_cost.ci95 if at_cost else None,
    )


def _leave_one_out(classes: Sequence[ClassAnswers], seed: int) -> list[Difference]:
    """See `StudyResult.leave_one_out`."""
    students = list(classes[0].answerers) if classes else []
    if len(students) < 2 or any(set(one.answerers) != set(students) for one in classes):
        return []
    everyone, *others = without_each(students)
    return [compare(classes, everyone + rule, one + rule, seed) for rule in ("", ".sum") for one in others]


def _others(lineups: Sequence[LineupResult], primary: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Comparisons to describe: every line-up with SC, by MAX and by SUM, and with the best single student.

    Where it is known, also with SC at the line-up's cost.
    """
    pairs = [(term, "sc") for one in lineups for term in (one.name, f"{one.name}.sum")]
    pairs += [(one.name, f"{one.name}.sc_at_cost") for one in lineups if one.sc_at_cost is not None]
    single = max((one for one in lineups if len(one.students) == 1), key=lambda one: one.m1_max, default=None)
    if single:
        pairs += [(one.name, single.name) for one in lineups if one.name != single.name]
    return [pair for pair in pairs if pair not in primary]


def _published(row: Published, complete: Sequence[tuple[Cell, ClassAnswers]]) -> PublishedResult:
    """A published row with what the study found in the same cells."""
    names = {"greedy": "greedy", "sc": "sc", "max": row.lineup, "sum": f"{row.lineup}.sum"}
    numbers = row.given
    here = [
        answers
        for cell, answers in complete
        if all(stands_for(factor, value, cell.factors.get(factor)) for factor, value in row.where.items())
    ]
    ours = {name: accuracy(here, names[name]) for name in numbers if here and all(names[name] in c.right for c in here)}
    return PublishedResult(where=row.where, lineup=row.lineup, published=numbers, ours=ours)
