"""The answer of a class in one sentence, made of the numbers of its summary and of no other word about them."""

from scenarios.report.formatting import percent
from scenarios.report.methods import Comparison
from scenarios.report.page.chart_data import MINUS
from scenarios.report.summary import Summary
from scenarios.scoring.power import needed_sentence
from scenarios.scoring.statistics import LEVEL

WITHOUT = "There is no answer yet: no problem is complete. It comes once all rationales and exams of one are there."
MEANS = {
    "m1_sum": "Choosing by exams (M1 SUM)",
    "m1_max": "Choosing by exams (M1 MAX)",
    "sc": "majority vote (SC)",
    "greedy": "its greedy answer",
}


def answer(summary: Summary) -> str:
    """The sentence at the top of the page."""
    if 3 in _levels(summary) and summary.levels.iterate.arms:
        return _iterated(summary)
    if 2 in _levels(summary) and (sentence := _learnt(summary)):
        return sentence
    found = {(pair.a, pair.b): pair for pair in summary.paired}
    pair = next(
        (found[key] for key in (("m1_sum", "sc"), ("m1_max", "sc"), ("m1_sum", "greedy")) if key in found), None
    )
    if pair is None or not summary.solves:
        return WITHOUT
    a, b = summary.methods[pair.a], summary.methods[pair.b]
    return (
        f"{MEANS[pair.a]}, the teacher is right on {percent(a.accuracy)} of {_problems(pair.n)}; "
        f"{MEANS[pair.b]} {percent(b.accuracy)}: {verdict(pair)}"
    )


def verdict(pair: Comparison) -> str:
    """A difference with its interval, and whether it is significant; if not, how many problems would show it."""
    low, high = pair.ci95
    said = f"{points(pair.difference)} points (95 % {points(low)} to {points(high)}, p = {pair.p_value:.2g})."
    if not pair.wins and not pair.losses:
        return f"{said} Both are right and wrong on the same problems."
    if pair.p_value < LEVEL:
        return f"{said} Significant (p < {LEVEL})."
    return f"{said} Not significant. {needed_sentence(pair.wins / pair.n, pair.losses / pair.n)}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    value = round(100 * difference, 1)
    return f"{'+' if value >= 0 else MINUS}{abs(value):.1f}"


def _learnt(summary: Summary) -> str:
    found = {(pair.a, pair.b): pair for pair in summary.paired}
    if (pair := found.get(("m2", "original"))) is None:
        return ""
    trained, original = summary.methods["m2"], summary.methods["original"]
    return (
        f"Trained on pairs chosen by exams (M2), the teacher is right on {percent(trained.accuracy)} of "
        f"{_problems(pair.n, 'held-out ')}; before, on {percent(original.accuracy)}: {verdict(pair)}"
    )


def _iterated(summary: Summary) -> str:
    arms = {arm.name: arm for arm in summary.levels.iterate.arms}
    start, end = (arms[name].teacher_f1_test if name in arms else None for name in ("start", "class"))
    if start is None or end is None or start.mean is None or end.mean is None:
        return "There is no answer yet: no set of exemplars is measured on held-out items."
    said = (
        f"With the last set of exemplars the teacher's F1 on held-out items is {percent(end.mean)}; with the first "
        f"one {percent(start.mean)}: {points(end.mean - start.mean)} points"
    )
    if end.n < 2:
        return f"{said}, in one run, which has no interval."
    return f"{said}, the mean of {end.n} runs."


def _levels(summary: Summary) -> list[int]:
    return summary.level if isinstance(summary.level, list) else [summary.level]


def _problems(n: int, kind: str = "") -> str:
    return f"{n:,} {kind}problem{'' if n == 1 else 's'}"
