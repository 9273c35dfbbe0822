"""`compare RUN RUN...`: the methods of finished classes, paired by teaching problem."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import RenderableType

from broker.errors import ScenarioError
from scenarios.config import load
from scenarios.config.schema import Scenario
from scenarios.report.baselines import baseline_names
from scenarios.report.formatting import many, percent
from scenarios.report.layout import Ruled, Sentences, spaced
from scenarios.report.tables import LABELS, UNPROTECTED
from scenarios.scoring.drawn_students import drawn_students
from scenarios.scoring.lineups import lineups
from scenarios.session.run_dir import RunFolder
from scenarios.studies.answers import ClassAnswers, read_answers
from scenarios.studies.folder import StudyFolder
from scenarios.studies.pooling import Difference, difference
from scenarios.studies.sentences import without_students
from scenarios.studies.tables import DIFFERENCE_HEADINGS, ROWS_SHOWN, difference_cells
from scenarios.studies.terms import by_name, lineup_of


class ComparedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs that are compared."""

    run: str
    scenario: str
    seed: int
    n: int
    """Its teaching problems."""
    differs: list[str]
    """How its scenario differs from that of the first run."""


class MethodDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One method or line-up in two runs: the later run minus the first."""

    method: str
    """Of a line-up its students, `a+b` (its MAX), and `a+b.sum`."""
    n: int
    """Problems that both runs have."""
    accuracy: tuple[float, float]
    """On these problems: of the later run, and of the first."""
    difference: Difference


class RunComparison(msgspec.Struct, frozen=True, kw_only=True):
    """What `compare` prints."""

    runs: list[ComparedRun]
    paired: list[MethodDifference]
    lineups: list[MethodDifference] = []
    """Line-ups of some of the students, of runs with the same students as the first, by name."""
    notes: list[str]


class _Run(NamedTuple):
    """A run that was named."""

    folder: RunFolder
    scenario: Scenario
    answers: ClassAnswers


def compare_runs(paths: Sequence[Path]) -> RunComparison:
    """Compare every later run with the first, by each method, on the problems that both have.

    A run that has no problem of the first is left out, and a note says so.

    Raises:
        ScenarioError: fewer than two runs, one that is not complete, or all but the first would be left out.
    """
    if len(paths) < 2:
        raise ScenarioError("compare needs two runs or more: python run.py compare RUN RUN")
    folders = [_folder(path) for path in paths]
    if len({folder.path for folder in folders}) < len(folders):
        raise ScenarioError("the same run is named twice")
    scenarios = [folder.scenario() for folder in folders]
    students = [student.name for student in scenarios[0].students]
    # The seed of the first: of many students it draws some, and pairs.
    drawn = drawn_students(students, scenarios[0].seed)
    shared = by_name(one for one in lineups(drawn, scenarios[0].seed) if len(one) < len(drawn))
    first = _Run(folders[0], scenarios[0], read_answers(folders[0], scenarios[0], shared))
    terms_of_lineups = [f"{name}{rule}" for rule in ("", ".sum") for name in shared]
    baselines = baseline_names(scenarios[0])
    terms_of_methods = [term for term in first.answers.right if not lineup_of(term, shared) and term not in baselines]
    compared, paired, by_lineup = [first], list[MethodDifference](), list[MethodDifference]()
    notes: list[str] = []
    refused: dict[str, str] = {}
    for folder, scenario in zip(folders[1:], scenarios[1:], strict=True):
        if different := _task_differences(first.scenario, scenario):
            refused[f"{folder} (another task)"] = (
                f"{first.folder} and {folder} have different tasks, so their problems cannot be paired:\n"
                + "; ".join(different)
            )
            continue
        same_students = {each.name for each in scenario.students} == set(students)
        run = _Run(folder, scenario, read_answers(folder, scenario, shared if same_students else {}))
        there = set(run.answers.tps)
        common = [tp for tp in first.answers.tps if tp in there]
        if not common:
            refused[f"{folder} (seed {scenario.seed})"] = _without_common(first, run)
            continue
        compared.append(run)
        notes += _different_sizes(first, run, len(common))
        paired += _differences(first, run, terms_of_methods, common)
        by_lineup += _differences(first, run, terms_of_lineups, common)
    if len(compared) == 1:
        raise ScenarioError(next(iter(refused.values())))
    if refused:
        seed = first.scenario.seed
        notes.append(f"Left out, for no problem in common with {first.folder} (seed {seed}): {', '.join(refused)}.")
    if (comparisons := len(paired) + len(by_lineup)) > 1:
        rules = ", line-ups by MAX and SUM" if by_lineup else ""
        notes.append(f"The p-values are not corrected for {many(comparisons, 'comparison')}{rules}.")
    if any(run.answers.simulated for run in compared):
        notes.append("Some agents are simulated: the figures say nothing about any language model.")
    notes += [UNPROTECTED] * any(run.answers.unprotected for run in compared)
    notes += without_students({str(run.folder): run.answers.dropped for run in compared if run.answers.dropped})
    runs = [
        ComparedRun(
            run=str(run.folder),
            scenario=run.scenario.name,
            seed=run.scenario.seed,
            n=len(run.answers.tps),
            differs=load.difference(first.scenario, run.scenario),
        )
        for run in compared
    ]
    return RunComparison(runs=runs, paired=paired, lineups=by_lineup, notes=notes)


def _without_common(first: _Run, run: _Run) -> str:
    """Why two runs of one task cannot be compared."""
    seeds = first.scenario.seed, run.scenario.seed
    differ = f" (seeds {seeds[0]} and {seeds[1]})" if seeds[0] != seeds[1] else ""
    return (
        f"{first.folder} and {run.folder} have no teaching problem in common{differ}: the seed draws them\n"
        "Compare runs with one seed; a study pools seeds, and counts a template with other numbers as one."
    )


def _different_sizes(first: _Run, run: _Run, common: int) -> list[str]:
    """A note where not all problems are common."""
    sizes = len(first.answers.tps), len(run.answers.tps)
    if common == max(sizes):
        return []
    return [
        f"{first.folder} has {many(sizes[0], 'problem')} and {run.folder} {sizes[1]:,}; compared are the {common:,} "
        "that both have."
    ]


def _folder(path: Path) -> RunFolder:
    """The folder of a run.

    Raises:
        ScenarioError: it is the folder of a study.
    """
    if (study := StudyFolder(path)).used:
        raise ScenarioError(f"{study} is the folder of a study; compare its classes: {study}/runs/...")
    return RunFolder(path)


def _task_differences(a: Scenario, b: Scenario) -> list[str]:
    """How two tasks differ in more than the number of problems and the folder of a file."""

    def task(scenario: Scenario) -> Scenario:
        one = scenario.task
        file, only = (Path(name).name if name else None for name in (one.file, one.only))
        exam_files = tuple(Path(name).name for name in one.exam_files)
        one = msgspec.structs.replace(one, file=file, only=only, exam_files=exam_files, problems=1)
        return msgspec.structs.replace(scenario, task=one)

    return [line for line in load.difference(task(a), task(b)) if line.startswith("task.")]


def _differences(first: _Run, run: _Run, terms: Sequence[str], common: Sequence[str]) -> list[MethodDifference]:
    """The methods and line-ups among `terms` that both runs have, on their common problems."""
    found = []
    pair = run.answers, first.answers
    for method in [term for term in terms if all(term in each.right for each in pair)]:
        values = [dict(zip(each.tps, each.right[method], strict=True)) for each in pair]
        of_run, of_first = ([of[tp] for tp in common] for of in values)
        found.append(
            MethodDifference(
                method=method,
                n=len(common),
                accuracy=(sum(of_run) / len(common), sum(of_first) / len(common)),
                difference=difference(str(run.folder), str(first.folder), of_run, of_first, first.scenario.seed),
            )
        )
    return found


def tables(found: RunComparison) -> RenderableType:
    """The comparison as one table for every later run."""
    first, *others = found.runs
    parts: list[RenderableType] = []
    for run in others:
        rows = [one for one in found.paired if one.difference.a == run.run]
        table = Ruled(f"{run.run} against {first.run}, {many(rows[0].n, 'problem')}")
        parts.append(_filled(table, "method", rows))
        by_max = [one for one in found.lineups if one.difference.a == run.run and not one.method.endswith(".sum")]
        if by_max:
            more = f"{len(by_max) - ROWS_SHOWN} more, and " if len(by_max) > ROWS_SHOWN else ""
            table = Ruled("The same by line-up (MAX)", f"--json has {more}SUM.")
            parts.append(_filled(table, "line-up", by_max[:ROWS_SHOWN]))
        differs = [line for line in run.differs if not line.startswith("name:")]
        parts.append(Sentences(f"What differs: {'; '.join(differs) if differs else 'nothing but the run'}."))
    parts += [Sentences(note) for note in found.notes]
    return spaced(parts)


def _filled(table: Ruled, what: str, rows: Sequence[MethodDifference]) -> Ruled:
    table.add_column(what, fold=True)
    table.add_columns("right", "first run", *DIFFERENCE_HEADINGS)
    for one in rows:
        shares = (percent(share) for share in one.accuracy)
        table.add_row(LABELS.get(one.method, one.method), *shares, *difference_cells(one.difference))
    return table
