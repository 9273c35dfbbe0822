"""The printed report of level 3 with rationales: what rewriting them brought."""

from rich.console import Group, RenderableType

from scenarios.report.formatting import figure, many, percent, points
from scenarios.report.layout import Ruled, Sentences, tabulated
from scenarios.report.rewrite import Gain, RewriteSummary

STRATEGIES = {
    "originals": "level 1, originals",
    "level_1": "level 1, same cost",
    "rewritten": "with rewritten ones",
    "rewritten_only": "rewritten ones only",
}
RULES = {"m1_max": "MAX", "m1_sum": "SUM"}


def rewritten_tables(summary: RewriteSummary | None) -> list[RenderableType]:
    """All of it; empty where no rationale is rewritten."""
    if summary is None:
        return []
    gains = [Group(*(Sentences(_in_words(gain)) for gain in summary.gains))] if summary.gains else []
    unimproved = [Sentences(summary.unimproved.sentence)] if summary.unimproved else []
    return [_strategies(summary), *gains, *unimproved, _students(summary), Sentences(_counted(summary))]


def _strategies(summary: RewriteSummary) -> Ruled:
    note = (
        "originals: the rationales that might be rewritten. same cost: random sampled rationales, as many as cost what "
        "rewriting costs; the mean over draws. completions: rationales, exam answers, reasons, questions."
    )
    if summary.matched is not None and summary.matched < 1:
        note += (
            f" There were enough on {percent(summary.matched)} of the problems; more lesson.rationales, or fewer "
            "iterate.originals, mend that."
        )
    return tabulated(
        f"What rewriting rationales brought ({many(summary.teaching_problems, 'teaching problem')})",
        summary.ways,
        [
            ("choosing from", lambda way: STRATEGIES[way.name]),
            ("MAX", lambda way: percent(way.m1_max)),
            ("SUM", lambda way: percent(way.m1_sum)),
            ("TRs\nper TP", lambda way: figure(way.rationales, ".1f")),
            ("completions\nper TP", lambda way: figure(way.completions, ".1f")),
        ],
        note,
    )


def _in_words(gain: Gain) -> str:
    return (
        f"{RULES[gain.rule]}, {STRATEGIES[gain.a]} against {STRATEGIES[gain.b]}: "
        f"{points(gain.difference, gain.ci95)}; p = {gain.p_value:.2g}."
    )


def _students(summary: RewriteSummary) -> Ruled:
    return tabulated(
        "Rewritten for whom? Exams before and after",
        summary.students,
        [
            ("student", lambda one: one.name),
            ("rewrites", lambda one: str(one.rewrites)),
            ("its own,\nbefore", lambda one: percent(one.own_before)),
            ("after", lambda one: percent(one.own_after)),
            ("all,\nbefore", lambda one: percent(one.all_before)),
            ("after", lambda one: percent(one.all_after)),
            ("TA right,\nbefore", lambda one: percent(one.right_before)),
            ("after", lambda one: percent(one.right_after)),
        ],
        "its own, all: right exam answers of that student, of all students. TA right: the rationale's own answer. "
        "Rationales are picked because exams failed, so exams taken again tend to go better by chance alone.",
        fold=True,
    )


def _counted(summary: RewriteSummary) -> str:
    text = f"Rationales rewritten: {summary.rewritten:,}; new ones written from them: {summary.rewrites:,}"
    unparsable = sum(one.unparsable for one in summary.students)
    found = [
        f"{number:,} {what}"
        for number, what in (
            (unparsable, "without a readable answer (not examined)"),
            (summary.repeated, "with the text of an earlier one (examined once)"),
        )
        if number
    ]
    text += f", {', '.join(found)}." if found else "."
    without = summary.without_reasons
    return text + (f" Rewritten for a student without a reason from the teacher: {without:,}." if without else "")
