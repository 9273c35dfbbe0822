"""`compare RUN RUN...`: the methods of finished classes, paired by teaching problem."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from broker.errors import ScenarioError
from scenarios.config import load
from scenarios.config.schema import Scenario
from scenarios.report.formatting import many
from scenarios.report.layout import Ruled, Sentences, Trimmed
from scenarios.report.tables import LABELS, UNPROTECTED
from scenarios.scoring.lineups import lineups
from scenarios.session.run_dir import RunFolder
from scenarios.studies.answers import ClassAnswers, read_answers
from scenarios.studies.folder import StudyFolder
from scenarios.studies.pooling import Difference, difference
from scenarios.studies.tables import ROWS_SHOWN
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
    # The seed of the first: with many students it draws pairs.
    shared = by_name(one for one in lineups(students, scenarios[0].seed) if len(one) < len(students))
    first = read_answers(folders[0], scenarios[0], shared)
    of_lineups = [f"{name}{rule}" for rule in ("", ".sum") for name in shared]
    of_methods = [term for term in first.right if not lineup_of(term, shared)]
    compared = [(folders[0], scenarios[0], first)]
    paired: list[MethodDifference] = []
    of_some: list[MethodDifference] = []
    notes: list[str] = []
    left_out: list[str] = []
    refusals: list[str] = []
    for folder, scenario in zip(folders[1:], scenarios[1:], strict=True):
        if different := _task_differences(scenarios[0], scenario):
            left_out.append(f"{folder} (another task)")
            refusals.append(
                f"{folders[0]} and {folder} have different tasks, so their problems cannot be paired:\n"
                + "; ".join(different)
            )
            continue
        same_students = {each.name for each in scenario.students} == set(students)
        one = read_answers(folder, scenario, shared if same_students else {})
        common = [tp for tp in first.tps if tp in set(one.tps)]
        if not common:
            seeds = f" (seeds {scenarios[0].seed} and {scenario.seed})" if scenarios[0].seed != scenario.seed else ""
            left_out.append(f"{folder} (seed {scenario.seed})")
            refusals.append(
                f"{folders[0]} and {folder} have no teaching problem in common{seeds}: the seed draws them\n"
                "Compare runs with one seed; a study pools seeds, and counts a template with other numbers as one."
            )
            continue
        compared.append((folder, scenario, one))
        sizes = len(first.tps), len(one.tps)
        if len(common) < max(sizes):
            notes.append(
                f"{folders[0]} has {many(sizes[0], 'problem')} and {folder} {sizes[1]:,}; compared are the "
                f"{len(common):,} that both have."
            )
        for found, terms in ((paired, of_methods), (of_some, of_lineups)):
            found += _differences(str(folder), str(folders[0]), one, first, terms, common, scenarios[0].seed)
    if len(compared) == 1:
        raise ScenarioError(refusals[0])
    if left_out:
        notes.append(
            f"Left out, for no problem in common with {folders[0]} (seed {scenarios[0].seed}): {', '.join(left_out)}."
        )
    if (comparisons := len(paired) + len(of_some)) > 1:
        rules = ", line-ups by MAX and SUM" if of_some else ""
        notes.append(f"The p-values are not corrected for {many(comparisons, 'comparison')}{rules}.")
    if any(one.simulated for _, _, one in compared):
        notes.append("Some agents are simulated: the figures say nothing about any language model.")
    notes += [UNPROTECTED] * any(one.unprotected for _, _, one in compared)
    runs = [
        ComparedRun(
            run=str(folder),
            scenario=scenario.name,
            seed=scenario.seed,
            n=len(one.tps),
            differs=load.difference(scenarios[0], scenario),
        )
        for folder, scenario, one in compared
    ]
    return RunComparison(runs=runs, paired=paired, lineups=of_some, notes=notes)


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


def _differences(
    name: str,
    first_name: str,
    one: ClassAnswers,
    first: ClassAnswers,
    terms: Sequence[str],
    common: Sequence[str],
    seed: int,
) -> list[MethodDifference]:
    """The methods and line-ups among `terms` that both runs have, on their common problems."""
    found = []
    for method in [term for term in terms if term in one.right and term in first.right]:
        values = [dict(zip(each.tps, each.right[method], strict=True)) for each in (one, first)]
        of_one, of_first = ([of[tp] for tp in common] for of in values)
        found.append(
            MethodDifference(
                method=method,
                n=len(common),
                accuracy=(sum(of_one) / len(common), sum(of_first) / len(common)),
                difference=difference(name, first_name, of_one, of_first, seed),
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
    return Trimmed(Group(*(one for part in parts for one in (Text(), part))))


def _filled(table: Ruled, what: str, rows: Sequence[MethodDifference]) -> Ruled:
    table.add_column(what, fold=True)
    table.add_columns("right", "first run", "points", "95 %", "better", "worse", "p")
    for one in rows:
        low, high = one.difference.ci95
        table.add_row(
            LABELS.get(one.method, one.method),
            *(f"{100 * share:.1f} %" for share in one.accuracy),
            f"{100 * one.difference.difference:+.1f}",
            f"{100 * low:+.1f} to {100 * high:+.1f}",
            f"{one.difference.wins:,}",
            f"{one.difference.losses:,}",
            f"{one.difference.p_value:.2g}",
        )
    return table
