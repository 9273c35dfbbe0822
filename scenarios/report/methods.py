"""How right the answers of each method are, and how two methods compare on the same teaching problems."""

import math
from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from scenarios.config.prices import prices
from scenarios.config.schema import Scenario
from scenarios.records.observe import ExamCost, ExplanationCost, Rationale, TeachingProblemRecord, Tokens
from scenarios.scoring.dense import dense_scores
from scenarios.scoring.equal_cost import affordable, with_votes
from scenarios.scoring.lbt import ChosenAnswer, Rule, Same, Sheet
from scenarios.scoring.statistics import paired, wilson

METHODS: dict[str, Rule] = {"greedy": "greedy", "sc": "sc", "m1_max": "max", "m1_sum": "sum", "m1_avg": "avg"}
DENSE_METHODS: dict[str, Rule] = {"m1_max_logprob": "max", "m1_sum_logprob": "sum", "m1_avg_logprob": "avg"}
"""Where exam.score is logprob: the same rules over dense scores."""
EQUAL_COST_METHODS: dict[str, Rule] = {"sc_at_cost": "sc", "sc_at_completion_cost": "sc"}
"""Where lesson.equal_cost is true: SC of as many TRs as M1's tokens buy, all of them or completions alone."""
M1 = ("m1_max", "m1_sum", "m1_avg")
COMPARISONS = (
    ("m1_sum", "sc"), ("m1_sum", "greedy"), ("m1_max", "sc"), ("m1_max", "greedy"), ("m1_sum", "m1_max"),
    ("m1_sum_logprob", "sc"), ("m1_sum_logprob", "m1_sum"), ("m1_max_logprob", "m1_max"),
    ("m1_sum", "sc_at_cost"), ("m1_max", "sc_at_cost"),
    ("m1_sum", "sc_at_completion_cost"), ("m1_max", "sc_at_completion_cost"),
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
    prompt_tokens: int = 0
    """Of the same requests."""
    cached_prompt_tokens: int = 0
    """Of `prompt_tokens`: those that came from a prefix cache."""
    rationales: int = 0
    """TRs whose answers it chooses from, further ones included; 0 for greedy."""
    tie_share: float | None = None
    """Of TPs on which several answers had the best score."""
    accuracy_random_ties: float | None = None
    """Expected accuracy if ties were broken at random."""
    s_score: float | None = None
    """Of code problems: the mean share of hidden cases that the chosen programs pass, 0 where none was chosen. None:
    there are no hidden cases."""
    cost: float | msgspec.UnsetType = msgspec.UNSET
    """Of these tokens by the prices in the scenario, in their currency; an agent without prices costs nothing. Left out
    where no agent has prices, and by log-probabilities, which read solutions besides."""


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
    scenario: Scenario, lessons: Sequence[TeachingProblemRecord], sheets: Sequence[Sheet], same: Same
) -> dict[str, list[ChosenAnswer]]:
    """By method, the answer to each TP; without exams there are none by M1, and without grades none by log p."""
    students, scoring = tuple(student.name for student in scenario.students), scenario.scoring
    rationales = [rationale for lesson in lessons for rationale in lesson.rationales]
    fewer = scenario.exam.allocation != "full"  # then a TP without exams has a choice, too
    examined = any(rationale.exams for rationale in rationales) or (fewer and bool(rationales))
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
    if scenario.lesson.equal_cost and examined:
        chosen |= {
            name: [Sheet(_counted(name, lesson), same).choose(rule, students, scoring) for lesson in lessons]
            for name, rule in EQUAL_COST_METHODS.items()
        }
    return chosen


def methods(
    scenario: Scenario, lessons: Sequence[TeachingProblemRecord], chosen: Mapping[str, Sequence[ChosenAnswer]]
) -> dict[str, Method]:
    """Every method of the scenario, with or without answers."""
    names = [*METHODS, *(DENSE_METHODS if scenario.exam.score == "logprob" else ())]
    names += EQUAL_COST_METHODS if scenario.lesson.equal_cost else ()
    found = {name: _method(chosen.get(name, ()), cost(name, lessons)) for name in names}
    if scenario.exam.allocation != "full":  # exams ended before it was known whether answers would tie
        found |= {name: replace(found[name], tie_share=None, accuracy_random_ties=None) for name in M1}
    return {
        name: replace(method, cost=_money(name, lessons, scenario)) if method.n else method
        for name, method in found.items()
    }


def _counted(method: str, lesson: TeachingProblemRecord) -> TeachingProblemRecord:
    """The TP with the TRs that a method chooses from."""
    if method not in EQUAL_COST_METHODS:
        return lesson
    bought = affordable(lesson)
    return with_votes(lesson, bought.by_tokens if method == "sc_at_cost" else bought.by_completion)


def _method(choices: Sequence[ChosenAnswer], spent: Mapping[str, int]) -> Method:
    n, right = len(choices), sum(c.correct for c in choices)
    if not n:
        return Method()
    return Method(
        accuracy=right / n,
        ci95=wilson(right, n),
        n=n,
        **spent,
        tie_share=sum(c.tied for c in choices) / n,
        accuracy_random_ties=sum(c.expected_correct for c in choices) / n,
        s_score=s_score(choices),
    )


def s_score(choices: Sequence[ChosenAnswer]) -> float | None:
    """The mean S-score over the TPs; those without hidden cases are left out."""
    if all(choice.hidden is None for choice in choices):
        return None
    scores = [choice.hidden or 0.0 for choice in choices if choice.hidden is not None or choice.answer is None]
    return sum(scores) / len(scores)


def cost(method: str, lessons: Sequence[TeachingProblemRecord]) -> dict[str, int]:
    """The tokens that a method needs, and the TRs that it chooses from: fields of `Method`."""
    if method == "greedy":
        return tokens([lesson.greedy for lesson in lessons if lesson.greedy])
    counted = [_counted(method, lesson) for lesson in lessons]
    rationales = [rationale for lesson in counted for rationale in lesson.rationales]
    spent = tokens(rationales) | {"rationales": len(rationales)}
    if method not in ("sc", *DENSE_METHODS, *EQUAL_COST_METHODS):
        spent["completion_tokens"] += sum(lesson.exam_tokens for lesson in lessons)
        spent["prompt_tokens"] += sum(lesson.exam_prompt_tokens for lesson in lessons)
        spent["cached_prompt_tokens"] += sum(lesson.exam_cached_prompt_tokens for lesson in lessons)
        for name, n in tokens([lesson.tokens_of_exam_maker for lesson in lessons]).items():
            spent[name] += n
    return spent


def tokens(rationales: Sequence[Rationale | Tokens]) -> dict[str, int]:
    """The tokens of these requests, as fields of `Method`."""
    names = ("completion_tokens", "prompt_tokens", "cached_prompt_tokens")
    return {name: sum(getattr(rationale, name) for rationale in rationales) for name in names}


def _money(method: str, lessons: Sequence[TeachingProblemRecord], scenario: Scenario) -> float | msgspec.UnsetType:
    """What the tokens of a method cost; see `Method.cost`."""
    agents = {one.name: one for one in (scenario.teacher, *scenario.students)}
    examines = method not in ("greedy", "sc", *EQUAL_COST_METHODS)
    if not any(any(prices(agent)) for agent in agents.values()) or method in DENSE_METHODS:
        return msgspec.UNSET
    own = cost(method if not examines else "sc", lessons)
    examined = lessons if examines else ()
    paid: list[tuple[str, ExamCost | ExplanationCost | Tokens]] = [
        (one.student, one) for lesson in examined for one in lesson.exam_costs
    ]
    paid += [(scenario.teacher.name, one) for lesson in examined for one in lesson.explanation_costs]
    paid += [(lesson.invented.writer, lesson.invented.tokens) for lesson in examined if lesson.invented]
    return prices(scenario.teacher).of(own["prompt_tokens"], own["completion_tokens"]) + math.fsum(
        prices(agents[name]).of(one.prompt_tokens, one.completion_tokens) for name, one in paid
    )


def comparisons(chosen: Mapping[str, Sequence[ChosenAnswer]], seed: int) -> list[Comparison]:
    """The comparisons of two methods that both have answers."""
    right = {name: [float(choice.correct) for choice in choices] for name, choices in chosen.items()}
    return [compare(a, b, right[a], right[b], seed) for a, b in COMPARISONS if right.get(a) and right.get(b)]


def compare(a: str, b: str, of_a: Sequence[float], of_b: Sequence[float], seed: int) -> Comparison:
    """Two methods by their values per problem; see `statistics.paired`."""
    found = paired(of_a, of_b, seed)
    return Comparison(a, b, found.difference, found.ci95, found.wins, found.losses, found.p_value, len(of_a))
