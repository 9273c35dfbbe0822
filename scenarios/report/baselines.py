"""How right the baselines of level 1 are, each beside the rule of M1 that it is a control for."""

from collections.abc import Mapping, Sequence

from scenarios.config.schema import Scenario
from scenarios.records.observe import TeachingProblemRecord
from scenarios.report.formatting import interval, percent, signed, signed_interval
from scenarios.report.layout import Ruled
from scenarios.report.methods import Comparison, Method, compare, cost
from scenarios.scoring.baselines import length_matched, random_pick, shortest
from scenarios.scoring.lbt import ChosenAnswer, Sheet
from scenarios.scoring.statistics import wilson

LABELS = {
    "random_pick": "random",
    "shortest": "shortest",
    "length_matched": "as long as MAX's",
}
AGAINST = {
    "random_pick": "m1_max",
    "shortest": "m1_max",
    "length_matched": "m1_max",
}
"""The rule of M1 that each is compared with."""
RULES = {"m1_max": "MAX", "m1_sum": "SUM"}
TITLE = "Baselines of M1"
NOTE = (
    "They choose without exams. random: the share of right rationales. shortest: by tokens. as long as MAX's: "
    "another rationale, nearest in tokens to the one that M1 MAX picks. Where several could be picked, the mean. "
    "M1 better: by how many points M1 is better on the same problems; p is not corrected."
)


class Baseline(Method, frozen=True):
    """A baseline. Where several TRs could be picked it counts as right in part."""

    against: Comparison | None = None
    """M1 minus this; None without exams."""


def baselines(
    scenario: Scenario,
    lessons: Sequence[TeachingProblemRecord],
    sheets: Sequence[Sheet],
    chosen: Mapping[str, Sequence[ChosenAnswer]],
) -> dict[str, Baseline]:
    """Every baseline of a class; none without a TP.

    Args:
        scenario: the class.
        lessons: the TPs that count.
        sheets: the same.
        chosen: by method, the answer to each of them, in their order.
    """
    if not sheets:
        return {}
    names, scoring = tuple(student.name for student in scenario.students), scenario.scoring
    values = {
        "random_pick": [random_pick(sheet) for sheet in sheets],
        "shortest": [shortest(sheet) for sheet in sheets],
    }
    if "m1_max" in chosen:
        values["length_matched"] = [length_matched(sheet, names, scoring) for sheet in sheets]
    return {name: _baseline(name, right, lessons, chosen, scenario.seed) for name, right in values.items()}


def _baseline(
    name: str,
    right: Sequence[float],
    lessons: Sequence[TeachingProblemRecord],
    chosen: Mapping[str, Sequence[ChosenAnswer]],
    seed: int,
) -> Baseline:
    n, rule = len(right), AGAINST[name]
    of_m1 = [float(choice.correct) for choice in chosen.get(rule, ())]
    return Baseline(
        accuracy=sum(right) / n,
        ci95=wilson(sum(right), n),
        n=n,
        **_cost(name, lessons),
        against=compare(rule, name, of_m1, right, seed) if of_m1 else None,
    )


def _cost(name: str, lessons: Sequence[TeachingProblemRecord]) -> dict[str, int]:
    if name == "random_pick":  # one TR of each TP would do
        of_all = [(cost("sc", [lesson]), max(1, len(lesson.rationales))) for lesson in lessons]
        return {key: round(sum(of_one[key] / n for of_one, n in of_all)) for key in cost("sc", [])}
    return cost("m1_max" if name == "length_matched" else "sc", lessons)


HEADINGS = ("baseline", "right", "95 %", "tokens", "M1 better", "95 %", "p")


def rows(found: Mapping[str, Baseline]) -> list[tuple[str, ...]]:
    """The cells under HEADINGS of each baseline."""
    return [
        (LABELS[name], percent(one.accuracy), interval(one.ci95), f"{one.completion_tokens:,}", *_beside(one.against))
        for name, one in found.items()
    ]


def _beside(pair: Comparison | None) -> tuple[str, ...]:
    if pair is None:
        return ("-",) * 3
    return f"{RULES[pair.a]} {signed(pair.difference)}", signed_interval(pair.ci95), f"{pair.p_value:.2g}"


def table(found: Mapping[str, Baseline]) -> Ruled:
    """The baselines in a short table."""
    drawn = Ruled(TITLE, NOTE)
    drawn.add_column(HEADINGS[0])
    drawn.add_columns(*HEADINGS[1:])
    for row in rows(found):
        drawn.add_row(*row)
    return drawn
