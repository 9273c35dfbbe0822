"""What a study asks, before anything starts: its classes, and what line-ups save by sharing rationales and exams."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from scenarios.config.schema import Scenario
from scenarios.report.formatting import many, money
from scenarios.report.layout import Ruled, Sentences, Trimmed
from scenarios.session.plan import ESTIMATED, PlanRow
from scenarios.session.request_counts import count, counts
from scenarios.session.seating import seating
from scenarios.studies.estimate import (
    MeasuredCells,
    ShownBy,
    in_words,
    measured,
    most_problems,
    needed,
    power,
    power_table,
)
from scenarios.studies.folder import StudyFolder
from scenarios.studies.load import MOST_CELLS, CellClass
from scenarios.studies.pooling import Difference
from scenarios.studies.result import read_study
from scenarios.studies.runner import distinct, located
from scenarios.studies.schema import Study
from scenarios.studies.sentences import unequal
from scenarios.studies.terms import label, named_lineups, primary_terms
from scenarios.tasks import build


class CellPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one class asks, at most."""

    cell: str
    factors: Mapping[str, Any]
    seed: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """By the prices of the scenario; None: no agent has prices."""
    separate_requests: int
    """The requests of one class for each line-up, with its students alone."""


class StudyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a study; all numbers are upper bounds."""

    study: str
    cells: list[CellPlan]
    lineups: dict[str, tuple[str, ...]]
    primary: tuple[str, ...]
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """Of all classes; None: no agent has prices."""
    separate_requests: int
    agents: list[list[PlanRow]]
    """Of every distinct class."""
    warnings: list[str]
    measured: MeasuredCells | None
    """Of a study that has begun."""
    most_problems: int
    """Distinct problems, at most."""
    power: list[ShownBy]
    found: list[Difference]
    """The primary comparisons over the classes that are complete."""


def study_plan(
    study: Study,
    classes: Sequence[CellClass],
    seats: Callable[[Scenario], tuple[list[PlanRow], list[str]]],
    begun: StudyFolder | None = None,
) -> StudyPlan:
    """The plan of a study.

    Args:
        study: the study.
        classes: all its classes.
        seats: places the agents of a class on this machine; returns their seats and warnings.
        begun: its folder, if it has begun.

    Raises:
        LbtError: a class cannot run as asked, or not on this machine.
    """
    cells, agents, warnings = [], [], dict[str, None]()
    lineups: Mapping[str, tuple[str, ...]] = {}
    placed = distinct(classes)
    for one in classes:
        scenario = one.scenario
        with located(one):
            counted = counts(scenario)
            if one in placed:
                rows, found = seats(scenario)
                agents.append(rows)
                warnings |= dict.fromkeys(found)
            mine = named_lineups(study, [student.name for student in scenario.students], scenario.seed)
            separate = _separate_requests(scenario, list(mine.values()))
        for student in scenario.students:
            if not any(student.name in members for members in mine.values()):
                warnings[f"{student.name} takes exams, but is in no line-up."] = None
        warnings |= dict.fromkeys(unequal(primary_terms(study, scenario, mine), mine))
        lineups = lineups or mine
        cells.append(
            CellPlan(
                cell=one.cell.name,
                factors=one.cell.factors,
                seed=one.cell.seed,
                requests=counted.requests,
                prompt_tokens=counted.prompt_tokens,
                completion_tokens=counted.completion_tokens,
                cost=counted.cost,
                separate_requests=separate,
            )
        )
    finished, unfinished = [], []
    troubles = {cell.name: begun.run(cell).trouble() for cell in begun.cells()} if begun else {}
    for run in (begun.run(one.cell) for one in classes) if begun else ():
        spent = run.spent() if run.used and not troubles[run.path.name] else None
        finished.append(spent if run.status == "complete" else None)
        unfinished.append(None if finished[-1] else spent)
    warnings |= {begun.run_named(name).repair(why): None for name, why in troubles.items() if begun and why}
    if len(classes) > MOST_CELLS:
        warnings[f"{len(classes):,} classes are more than the {MOST_CELLS} that `study` runs."] = None
    if not study.primary:
        warnings["No primary comparison is named: everything in the report will be descriptive."] = None
    return StudyPlan(
        study=study.study,
        cells=cells,
        lineups=dict(lineups),
        primary=study.primary,
        requests=sum(cell.requests for cell in cells),
        prompt_tokens=sum(cell.prompt_tokens for cell in cells),
        completion_tokens=sum(cell.completion_tokens for cell in cells),
        cost=sum(costs) if (costs := [cell.cost for cell in cells if cell.cost is not None]) else None,
        separate_requests=sum(cell.separate_requests for cell in cells),
        agents=agents,
        warnings=list(warnings),
        measured=measured(list(map(msgspec.structs.asdict, cells)), finished, unfinished) if begun else None,
        most_problems=most_problems(classes),
        power=power(len(study.primary)),
        found=read_study(begun).result.primary if begun else [],
    )


def _separate_requests(scenario: Scenario, lineups: Sequence[tuple[str, ...]]) -> int:
    """The requests of one class per line-up, which samples its own rationales."""
    sizes = build.check_class(scenario, folder=Path())
    total = 0
    for members in lineups:
        students = tuple(student for student in scenario.students if student.name in members)
        total += count(msgspec.structs.replace(scenario, students=students), *sizes).requests
    return total


def tables(plan: StudyPlan) -> RenderableType:
    """The plan as tables and sentences."""
    amounts = Ruled(f"{plan.study}: classes, requests and tokens")
    amounts.add_column("what")
    amounts.add_column("how many", right=True)
    amounts.add_column("")
    amounts.add_row("classes", f"{len(plan.cells):,}", "")
    amounts.add_row("line-ups in each", f"{len(plan.lineups):,}", "")
    amounts.add_row("requests", f"{plan.requests:,}", "at most")
    amounts.add_row("prompt tokens", f"{plan.prompt_tokens:,}", ESTIMATED)
    amounts.add_row("completion tokens", f"{plan.completion_tokens:,}", "at most")
    if plan.cost is not None:
        amounts.add_row("cost", money(plan.cost), ESTIMATED)
    shares = (
        f"All line-ups share the rationales and exams of a class. With a class for each line-up the comparison takes "
        f"{plan.separate_requests:,} requests, {plan.separate_requests / max(1, plan.requests):.1f} times as many."
    )
    classes = Ruled("The classes, one after another")
    classes.add_column("factors and seed", fold=True)
    classes.add_columns("requests", "prompt tokens", "completion tokens")
    for cell in plan.cells:
        numbers = (cell.requests, cell.prompt_tokens, cell.completion_tokens)
        classes.add_row(label({**cell.factors, "seed": cell.seed}), *(f"{number:,}" for number in numbers))
    parts: list[RenderableType] = [amounts]
    parts += [Sentences(shares)] if plan.separate_requests > plan.requests else []
    parts += [Sentences(in_words(plan.measured)), classes]
    if plan.primary:
        compared = many(len(plan.primary), "primary comparison")
        parts.append(Sentences(f"{compared}, corrected together: {', '.join(plan.primary)}."))
    parts += [Sentences(needed(one)) for one in plan.found]
    parts.append(power_table(plan.power, plan.most_problems, len(plan.primary)))
    parts += map(seating, {msgspec.json.encode(rows): rows for rows in plan.agents}.values())
    parts += [Sentences(f"Warning: {warning}", style="yellow") for warning in plan.warnings]
    return Trimmed(Group(*(one for part in parts for one in (part, Text()))))
