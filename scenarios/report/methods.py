"""How right the answers of each method are, and how two methods compare on the same teaching problems."""

from collections.abc import Mapping, Sequence

import msgspec

from scenarios.config.schema import Scenario
from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.dense import dense_scores
from scenarios.scoring.lbt import ChosenAnswer, Rule, Sheet
from scenarios.scoring.statistics import paired, wilson

METHODS: dict[str, Rule] = {"greedy": "greedy", "sc": "sc", "m1_max": "max", "m1_sum": "sum", "m1_avg": "avg"}
DENSE_METHODS: dict[str, Rule] = {"m1_max_logprob": "max", "m1_sum_logprob": "sum", "m1_avg_logprob": "avg"}
"""Where exam.score is logprob: the same rules over dense scores."""
COMPARISONS = (
    ("m1_sum", "sc"), ("m1_sum", "greedy"), ("m1_max", "sc"), ("m1_max", "greedy"), ("m1_sum", "m1_max"),
    ("m1_sum_logprob", "sc"), ("m1_sum_logprob", "m1_sum"), ("m1_max_logprob", "m1_max"),
)  # fmt: skip


class Method(msgspec.Struct, frozen=True):
    """How right the answers are that one method chooses. The defaults are those of a method without an answer."""

    accuracy: float | None = None
    ci95: tuple[float, float] = wilson(0, 0)
    """Wilson; over TPs."""
    n: int = 0
    completion_tokens: int = 0
    """greedy: its own; sc, and M1 by log-probabilities: all TRs; M1: all TRs and their exams. Prompts are not counted,
    nor solutions that students read to say how likely they are (`counts.solution_tokens`)."""
    tie_share: float | None = None
    """Of TPs on which several answers had the best score."""
    accuracy_random_ties: float | None = None
    """Expected accuracy if ties were broken at random."""


class Comparison(msgspec.Struct, frozen=True):
    """Two methods on the same TPs; see statistics.Paired."""

    a: str
    b: str
    difference: float
    ci95: tuple[float, float]
    wins: int
    losses: int
    p_value: float
    n: int


def chosen_answers(
    scenario: Scenario, lessons: Sequence[TeachingProblemRecord], sheets: Sequence[Sheet]
) -> dict[str, list[ChosenAnswer]]:
    """By method, the answer to each TP; without exams there are none by M1, and without grades none by log p."""
    students, scoring = tuple(student.name for student in scenario.students), scenario.scoring
    rationales = [rationale for lesson in lessons for rationale in lesson.rationales]
    examined = any(rationale.exams for rationale in rationales)
    chosen = {
        name: [sheet.choose(rule, students, scoring) for sheet in sheets]
        for name, rule in METHODS.items()
        if (scenario.lesson.greedy if rule == "greedy" else examined or rule == "sc")
    }
    if scenario.exam.score == "logprob" and any(rationale.grades for rationale in rationales):
        chosen |= {
            name: [sheet.choose(rule, students, scoring, dense_scores) for sheet in sheets]
            for name, rule in DENSE_METHODS.items()
        }
    return chosen


def methods(
    scenario: Scenario, lessons: Sequence[TeachingProblemRecord], chosen: Mapping[str, Sequence[ChosenAnswer]]
) -> dict[str, Method]:
    """Every method of the scenario, with or without answers."""
    names = [*METHODS, *(DENSE_METHODS if scenario.exam.score == "logprob" else ())]
    return {name: _method(chosen.get(name, ()), _tokens(name, lessons)) for name in names}


def _method(choices: Sequence[ChosenAnswer], tokens: int) -> Method:
    n, right = len(choices), sum(c.correct for c in choices)
    if not n:
        return Method()
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
    rationales = sum(r.completion_tokens for lesson in lessons for r in lesson.rationales)
    without_exams = method == "sc" or method in DENSE_METHODS
    return rationales if without_exams else rationales + sum(lesson.exam_tokens for lesson in lessons)


def comparisons(chosen: Mapping[str, Sequence[ChosenAnswer]], seed: int) -> list[Comparison]:
    """The comparisons of two methods that both have answers."""
    right = {name: [float(choice.correct) for choice in choices] for name, choices in chosen.items()}
    return [compare(a, b, right[a], right[b], seed) for a, b in COMPARISONS if right.get(a) and right.get(b)]


def compare(a: str, b: str, of_a: Sequence[float], of_b: Sequence[float], seed: int) -> Comparison:
    """Two methods by their values per problem; see `statistics.paired`."""
    found = paired(of_a, of_b, seed)
    return Comparison(a, b, found.difference, found.ci95, found.wins, found.losses, found.p_value, len(of_a))
