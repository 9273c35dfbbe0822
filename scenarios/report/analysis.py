"""The analysis of a class's students for the summary, from the same records as its tables."""

from collections.abc import Mapping, Sequence

import msgspec

from scenarios.config.prices import Prices, prices
from scenarios.config.schema import Scenario
from scenarios.scoring.abilities import Abilities, abilities
from scenarios.scoring.agreement import Agreement, agreement
from scenarios.scoring.curves import AccuracyCurves, curves
from scenarios.scoring.equal_up import EqualUp, equal_up
from scenarios.scoring.exam_counts import exam_counts
from scenarios.scoring.fidelity import Fidelity, fidelity, kinds
from scenarios.scoring.lbt import Sheet
from scenarios.scoring.lineups import LineUp
from scenarios.scoring.shapley import Shapley, shapley


class Analysis(msgspec.Struct, frozen=True):
    """What the exams say of the students; nothing where there are none."""

    shapley: Shapley | None = None
    agreement: Agreement | None = None
    abilities: Abilities | None = None
    curves: AccuracyCurves | None = None
    fidelity: Fidelity | None = None
    equal_up: list[EqualUp] = []


def analyse(
    scenario: Scenario,
    names: tuple[str, ...],
    sheets: Sequence[Sheet],
    line_ups: Sequence[LineUp],
    labels: Mapping[str, Sequence[str]],
) -> Analysis:
    """Analyse the exams of a class.

    Args:
        scenario: the class; its scoring may be another than the class ran with.
        names: the students that are analysed, in their order.
        sheets: the TPs that count, with the exams of these students.
        line_ups: of the same TPs.
        labels: the level and the subject of each TP.
    """
    scoring, seed = scenario.scoring, scenario.seed
    students = [student for student in scenario.students if student.name in names]
    sheets = sorted(sheets, key=lambda sheet: sheet.lesson.tp)  # sums of floats depend on their order
    adds = shapley(sheets, names, scoring, seed)
    if adds is None:
        return Analysis()
    lessons = [sheet.lesson for sheet in sheets]
    counts = [exam_counts(lesson, names) for lesson in lessons]
    return Analysis(
        shapley=adds,
        agreement=agreement(counts, names, line_ups, adds.sc),
        abilities=abilities(counts, names, lessons, line_ups, adds.sc),
        curves=curves(sheets, names, scoring, seed, labels, prices_of(scenario)),
        fidelity=fidelity(counts, students, seed),
        equal_up=equal_up(sheets, names, kinds(students), names, scoring, seed),
    )


def prices_of(scenario: Scenario) -> dict[str, Prices]:
    """What a token of each agent with prices costs; the teacher is under the empty name, too."""
    agents = {"": scenario.teacher} | {agent.name: agent for agent in (scenario.teacher, *scenario.students)}
    return {name: price for name, agent in agents.items() if any(price := prices(agent))}
