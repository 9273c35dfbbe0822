"""What is printed of rewritten rationales at the end of a class: reads the summary and nothing else."""

from rich.console import Group, RenderableType

from scenarios.report.formatting import many, percent, plain
from scenarios.report.layout import Ruled, Sentences
from scenarios.report.rewrite import Gain, RewriteSummary

WAYS = {
    "originals": "level 1, originals",
    "level_1": "level 1, same cost",
    "rewritten": "with rewritten ones",
    "rewritten_only": "rewritten ones only",
}
RULES = {"m1_max": "MAX", "m1_sum": "SUM"}


def rewritten_tables(told: RewriteSummary | None) -> list[RenderableType]:
    """All of it; nothing where no rationale is rewritten."""
    if told is None:
        return []
    gains = [Group(*(Sentences(_in_words(gain)) for gain in told.gains))] if told.gains else []
    return [_ways(told), *gains, _students(told), Sentences(_counted(told))]


def _ways(told: RewriteSummary) -> Ruled:
    table = Ruled(f"What rewriting rationales brought ({many(told.teaching_problems, 'teaching problem')})")
    table.add_column("choosing from")
    for heading in ("MAX", "SUM", "TRs\nper TP", "completions\nper TP"):
        table.add_column(heading, right=True)
    for way in told.ways:
        table.add_row(
            WAYS.get(way.name, plain(way.name)),
            percent(way.m1_max),
            percent(way.m1_sum),
            "-" if way.rationales is None else f"{way.rationales:.1f}",
            "-" if way.completions is None else f"{way.completions:.1f}",
        )
    note = (
        "originals: the rationales that might be rewritten. same cost: random sampled rationales, as many as cost what "
        "rewriting costs; the mean over draws. completions: rationales, exam answers, reasons, questions."
    )
    if told.matched is not None and told.matched < 1:
        note += (
            f" There were enough on {percent(told.matched)} of the problems; more lesson.rationales, or fewer "
            "iterate.originals, mend that."
        )
    table.note = note
    return table


def _in_words(gain: Gain) -> str:
    low, high = gain.ci95
    return (
        f"{RULES.get(gain.rule, plain(gain.rule))}, {WAYS.get(gain.a, plain(gain.a))} against "
        f"{WAYS.get(gain.b, plain(gain.b))}: {100 * gain.difference:+.1f} points (95 % interval {100 * low:+.1f} to "
        f"{100 * high:+.1f}); p = {gain.p_value:.2g}."
    )


def _students(told: RewriteSummary) -> Ruled:
    table = Ruled(
        "Rewritten for whom? Exams before and after",
        "its own, all: right exam answers of that student, of all students. TA right: the rationale's own answer. "
        "Rationales are picked because exams failed, so exams taken again tend to go better by chance alone.",
    )
    table.add_column("student", fold=True)
    for heading in ("rewrites", "its own,\nbefore", "after", "all,\nbefore", "after", "TA right,\nbefore", "after"):
        table.add_column(heading, right=True)
    for one in told.students:
        shares = (one.own_before, one.own_after, one.all_before, one.all_after, one.right_before, one.right_after)
        table.add_row(plain(one.name), str(one.rewrites), *map(percent, shares))
    return table


def _counted(told: RewriteSummary) -> str:
    said = f"Rationales rewritten: {told.rewritten:,}; new ones that came of them: {told.rewrites:,}"
    unparsable = sum(one.unparsable for one in told.students)
    found = [
        f"{number:,} {what}"
        for number, what in (
            (unparsable, "without an answer to find (not examined)"),
            (told.repeated, "with the text of an earlier one (examined once)"),
        )
        if number
    ]
    said += f", {', '.join(found)}." if found else "."
    without = told.without_reasons
    return said + (f" Rewritten for a student without a reason from the teacher: {without:,}." if without else "")
