"""How right the baselines of M1 are, each beside the rule of M1 that it is a control for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from scenarios.config.schema import Scenario
from scenarios.records.observe import Rationale, TeachingProblemRecord, Tokens
from scenarios.report.formatting import interval, percent, signed, signed_interval
from scenarios.report.layout import Ruled
from scenarios.report.methods import Comparison, Method, compare, cost, s_score, tokens
from scenarios.scoring.baselines import (
    by_visible_cases,
    length_matched,
    majority_alone,
    random_pick,
    rating_scores,
    shortest,
    universal,
)
from scenarios.scoring.lbt import ChosenAnswer, Same, Sheet
from scenarios.scoring.statistics import wilson

ALONE, SELF_MAX, SELF_SUM, UNIVERSAL = "students_alone", "self_evaluation_max", "self_evaluation_sum", "universal_sc"
BY_CASES = "by_visible_cases"
LABELS = {
    "random_pick": "random",
    "shortest": "shortest",
    "length_matched": "as long as MAX's",
    BY_CASES: "by visible cases",
    ALONE: "students alone",
    SELF_MAX: "self-eval. MAX",
    SELF_SUM: "self-eval. SUM",
    UNIVERSAL: "universal SC",
}
AGAINST = {
    "random_pick": "m1_max",
    "shortest": "m1_max",
    "length_matched": "m1_max",
    BY_CASES: "m1_max",
    ALONE: "m1_sum",
    SELF_MAX: "m1_max",
    SELF_SUM: "m1_sum",
    UNIVERSAL: "m1_sum",
}
"""The rule of M1 that each is compared with: on accuracy, by visible cases on S-scores."""
ENTRIES = {ALONE: "students_alone", SELF_MAX: "self_evaluation", SELF_SUM: "self_evaluation", UNIVERSAL: "universal"}
"""The entry of the scenario's `baselines` that asks for each of these; the others need none."""
RULES = {"m1_max": "MAX", "m1_sum": "SUM"}
TITLE = "Baselines of M1"
HEADINGS = ("baseline", "right", "95 %", "tokens", "M1 better", "95 %", "p")
NOTES = {
    "random_pick": "They choose without exams. random: any rationale, so the share of right ones.",
    "shortest": "shortest: the rationale with the fewest tokens.",
    "length_matched": "as long as MAX's: of the other rationales, the one nearest in tokens to M1 MAX's choice.",
    "": "If several rationales are equally good, their mean counts.",
    ALONE: "alone: the majority of students' answers without a rationale.",
    SELF_MAX: "self-eval.: MAX and SUM of how often the teacher says that its rationale is right.",
    UNIVERSAL: "universal SC: the rationale that the teacher names as the one that agrees best with the others.",
    "against": "M1 better: the difference in points on the same problems; p is not corrected.",
    BY_CASES: "by visible cases: a program that passes all of them. It is right whenever any rationale is, so M1 "
    "better is a difference of S-scores here.",
}
"""Sentences of the legend by the baseline that they explain; those of no baseline are always there."""


class Baseline(Method, frozen=True):
    """A baseline. Where several TRs could be picked it counts as right in part."""

    against: Comparison | None = None
    """M1 minus this; None without exams. by_visible_cases: of S-scores, on the TPs with hidden cases."""


def baselines(
    scenario: Scenario,
    lessons: Sequence[TeachingProblemRecord],
    sheets: Sequence[Sheet],
    chosen: Mapping[str, Sequence[ChosenAnswer]],
    same: Same,
) -> dict[str, Baseline]:
    """Every baseline of a class; none without a TP.

    Args:
        scenario: the class.
        lessons: the TPs that count.
        sheets: the same.
        chosen: by method, the answer to each of them, in their order.
        same: whether two answers are equivalent.
    """
    if not sheets:
        return {}
    picked = _picked(scenario, sheets, examined="m1_max" in chosen)
    made = _asked(scenario, sheets, same)
    found = {name: Baseline(**_share(name, right, lessons)) for name, right in picked.items()}
    found |= {
        name: Baseline(
            **_share(name, [float(one.correct) for one in choices], lessons),
            tie_share=sum(one.tied for one in choices) / len(choices),
            accuracy_random_ties=sum(one.expected_correct for one in choices) / len(choices),
            s_score=s_score(choices),
        )
        for name, choices in made.items()
    }
    right = picked | {name: [float(one.correct) for one in choices] for name, choices in made.items()}
    pairs = {name: _against(name, right[name], chosen, scenario.seed) for name in found if name != BY_CASES}
    if BY_CASES in made:
        pairs[BY_CASES] = _on_hidden_cases(made[BY_CASES], chosen, scenario.seed)
    return {name: msgspec.structs.replace(one, against=pairs[name]) for name, one in found.items()}


def baseline_names(scenario: Scenario) -> list[str]:
    """The baselines of a class of this scenario, as far as they are shares of right answers."""
    students = [student.name for student in scenario.students]
    alone = [ALONE, *(f"{ALONE}.{name}" for name in students if len(students) > 1)]
    asked = [name for name in (*alone, SELF_MAX, SELF_SUM, UNIVERSAL) if entry_of(name) in scenario.baselines]
    return ["random_pick", "shortest", "length_matched", *asked]


def entry_of(name: str) -> str:
    """The entry of `baselines` that asks for this baseline; empty: it needs none, or it is no baseline."""
    return ENTRIES.get(name.partition(".")[0], "")


def right_by_baseline(
    scenario: Scenario, sheets: Sequence[Sheet], chosen: Mapping[str, Sequence[ChosenAnswer]], same: Same
) -> dict[str, list[float]]:
    """How right each baseline is, TP by TP; see `baselines`."""
    made = _asked(scenario, sheets, same)
    right = {name: [float(one.correct) for one in choices] for name, choices in made.items()}
    return _picked(scenario, sheets, examined="m1_max" in chosen) | right


def _picked(scenario: Scenario, sheets: Sequence[Sheet], *, examined: bool) -> dict[str, list[float]]:
    """How right those are that pick a TR, TP by TP."""
    names, scoring = tuple(student.name for student in scenario.students), scenario.scoring
    found = {
        "random_pick": [random_pick(sheet) for sheet in sheets],
        "shortest": [shortest(sheet) for sheet in sheets],
    }
    if examined:
        found["length_matched"] = [length_matched(sheet, names, scoring) for sheet in sheets]
    return found


def _asked(scenario: Scenario, sheets: Sequence[Sheet], same: Same) -> dict[str, list[ChosenAnswer]]:
    """The answers of the others: by visible cases, and those that `baselines` of the scenario asks for."""
    scoring, teacher = scenario.scoring, (scenario.teacher.name,)
    found: dict[str, list[ChosenAnswer]] = {}
    if any(sheet.lesson.form == "code" for sheet in sheets):
        found[BY_CASES] = [by_visible_cases(sheet, same, scoring) for sheet in sheets]
    if "students_alone" in scenario.baselines:
        names = [student.name for student in scenario.students]
        for student in ("", *(names if len(names) > 1 else ())):
            name = f"{ALONE}.{student}" if student else ALONE
            found[name] = [majority_alone(sheet, same, scoring, student) for sheet in sheets]
    if "self_evaluation" in scenario.baselines:
        found[SELF_MAX] = [sheet.choose("max", teacher, scoring, rating_scores) for sheet in sheets]
        found[SELF_SUM] = [sheet.choose("sum", teacher, scoring, rating_scores) for sheet in sheets]
    if "universal" in scenario.baselines:
        found[UNIVERSAL] = [universal(sheet) for sheet in sheets]
    return found


def _share(name: str, right: Sequence[float], lessons: Sequence[TeachingProblemRecord]) -> dict[str, Any]:
    n = len(right)
    return {"accuracy": sum(right) / n, "ci95": wilson(sum(right), n), "n": n, **_cost(name, lessons)}


def _against(
    name: str, right: Sequence[float], chosen: Mapping[str, Sequence[ChosenAnswer]], seed: int
) -> Comparison | None:
    rule = AGAINST[name.partition(".")[0]]
    of_m1 = [float(choice.correct) for choice in chosen.get(rule, ())]
    return compare(rule, name, of_m1, right, seed) if of_m1 else None


def _on_hidden_cases(
    picked: Sequence[ChosenAnswer], chosen: Mapping[str, Sequence[ChosenAnswer]], seed: int
) -> Comparison | None:
    """S-scores of M1 and of the choice by visible cases; a TP counts if either choice has one."""
    rule = AGAINST[BY_CASES]
    both = [(a.hidden, b.hidden) for a, b in zip(chosen.get(rule, ()), picked, strict=False)]
    values = [(a or 0.0, b or 0.0) for a, b in both if (a, b) != (None, None)]
    return compare(rule, BY_CASES, [a for a, _ in values], [b for _, b in values], seed) if values else None


def _cost(name: str, lessons: Sequence[TeachingProblemRecord]) -> dict[str, int]:
    """Tokens, and TRs: fields of `Method`."""
    name, _, student = name.partition(".")
    if name == "random_pick":  # one TR of each TP would do
        each = [(cost("sc", [lesson]), max(1, len(lesson.rationales))) for lesson in lessons]
        return {key: round(sum(of_one[key] / n for of_one, n in each)) for key in cost("sc", [])}
    if name == "length_matched":
        return cost("m1_max", lessons)
    more: list[Rationale | Tokens] = []
    for lesson in lessons:
        if name == ALONE:
            more += [answer for of in lesson.alone if student in ("", of.student) for answer in of.answers]
        elif name == UNIVERSAL:
            more += [lesson.universal.tokens] if lesson.universal else []
        elif name in (SELF_MAX, SELF_SUM):
            more.append(lesson.rating_tokens)
    spent = Counter(tokens(more))
    spent.update({} if name == ALONE else cost("sc", lessons))
    return dict(spent)


def headings(found: Mapping[str, Baseline]) -> list[str]:
    """The headings of `rows`."""
    return [*HEADINGS[:4], *(["S-score"] if BY_CASES in found else []), *HEADINGS[4:]]


def note(found: Mapping[str, Baseline]) -> str:
    """What the table means."""
    return " ".join(said for name, said in NOTES.items() if name in found or name not in LABELS)


def rows(found: Mapping[str, Baseline]) -> list[tuple[str, ...]]:
    """The cells under the headings of each baseline."""
    return [
        (
            _label(name),
            percent(one.accuracy),
            interval(one.ci95),
            f"{one.completion_tokens:,}",
            *([percent(one.s_score)] if BY_CASES in found else ()),
            *_beside(one.against),
        )
        for name, one in found.items()
    ]


def _label(name: str) -> str:
    name, _, student = name.partition(".")
    return f"{student} alone" if student else LABELS[name]


def _beside(pair: Comparison | None) -> tuple[str, ...]:
    if pair is None:
        return ("-",) * 3
    return f"{RULES[pair.a]} {signed(pair.difference)}", signed_interval(pair.ci95), f"{pair.p_value:.2g}"


def table(found: Mapping[str, Baseline]) -> Ruled:
    """The baselines in a short table."""
    drawn = Ruled(TITLE, note(found))
    first, *others = headings(found)
    drawn.add_column(first)
    drawn.add_columns(*others)
    for row in rows(found):
        drawn.add_row(*row)
    return drawn
