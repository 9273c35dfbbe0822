"""What is printed at the end of a class, from its summary: tables and sentences for 80 columns, with or without colour.

Reads a summary and nothing else, so that a finished run can be shown again. What models and failures say goes in as
plain text: it is never taken for markup, and its control characters never reach the terminal.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.gradebook import learning_tables
from scenarios.gradebook.dense import Dense
from scenarios.gradebook.lineups import ALL_SUBSETS
from scenarios.gradebook.marks import Bar, percent, plain, ruled
from scenarios.gradebook.rewritten_tables import rewritten_tables
from scenarios.gradebook.round_tables import round_tables
from scenarios.gradebook.summary import Comparison, Summary

LABELS = {
    "greedy": "greedy",
    "sc": "SC",
    "m1_max": "M1 MAX",
    "m1_sum": "M1 SUM",
    "m1_avg": "M1 AVG",
    "m1_max_logprob": "M1 MAX log p",
    "m1_sum_logprob": "M1 SUM log p",
    "m1_avg_logprob": "M1 AVG log p",
    "best_possible": "best possible",
}
FAILURES_SHOWN = 5


def summary_tables(summary: Mapping[str, Any]) -> RenderableType:
    """All that is said of a class when it ends.

    Raises:
        msgspec.ValidationError: this is no summary.
    """
    told = msgspec.convert(summary, Summary)
    parts: list[RenderableType] = [_head(told)]
    if told.solves:
        parts += [methods(told), comparisons(told), students(told), line_ups(told), Text(assumption(told))]
        parts += [Text(agreement(told.dense))] if told.dense else []
    parts += learning_tables.rounds(told)
    parts += [*round_tables(told.levels.iterate), *rewritten_tables(told.levels.iterate.rationales)]
    parts.append(Text(_counted(told)))
    if told.caution:
        parts.append(Text(f"Caution: {told.caution}", style="yellow"))
    if told.failures:
        parts.append(failures(told))
    return Group(*(Padding(part, (1, 0, 0, 0)) for part in parts))


def _head(told: Summary) -> Text:
    minutes, seconds = divmod(round(told.wall_seconds), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    head = Text(plain(told.scenario), style="bold")
    head.append(f"  level {told.level}, seed {told.seed}, {told.status}, {took}", style="none")
    if told.simulated:
        head.append(
            "\nWith simulated agents: a model of a class. The figures say nothing about any language model.",
            style="yellow",
        )
    return head


def methods(told: Summary) -> Table:
    """How right each way of choosing an answer is; `ties by lot` is what random choices among ties would expect."""
    n = told.best_possible.n
    table = ruled(f"How often the teacher's answer is right ({n} teaching problem{'' if n == 1 else 's'})")
    table.add_column("method", no_wrap=True)
    table.add_column("right", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("ties", justify="right", no_wrap=True)
    table.add_column("ties\nby lot", justify="right", no_wrap=True)
    for name, method in told.methods.items():
        if name in learning_tables.LABELS:  # on other problems
            continue
        low, high = method.ci95
        table.add_row(
            Text(LABELS.get(name, plain(name))),
            Text(percent(method.accuracy)),
            Bar(method.accuracy),
            Text(f"{100 * low:.0f} to {100 * high:.0f} %" if method.n else "-"),
            Text(f"{method.completion_tokens:,}"),
            Text(percent(method.tie_share, digits=0)),
            Text(percent(method.accuracy_random_ties)),
        )
    best = told.best_possible.accuracy
    table.add_row(Text(LABELS["best_possible"], style="dim"), Text(percent(best)), Bar(best), "", "", "", "")
    return table


def comparisons(told: Summary) -> RenderableType:
    """The paired comparisons, in words."""
    found = [pair for pair in told.paired if pair.a not in learning_tables.LABELS]
    if not found:
        return Text("There are no two methods to compare yet.")
    return Group(Text("The same problems, two methods", style="bold"), *(Text(in_words(pair)) for pair in found))


def in_words(pair: Comparison) -> str:
    """One paired comparison as a sentence."""
    a, b = (LABELS.get(name, plain(name)) for name in (pair.a, pair.b))
    if not pair.wins and not pair.losses:
        return f"{a} and {b}: right and wrong on the same {pair.n} problems."
    low, high = pair.ci95
    return (
        f"{a} against {b}: {100 * pair.difference:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}); "
        f"better on {pair.wins}, worse on {pair.losses} of {pair.n}; p = {pair.p_value:.2g}."
    )


def students(told: Summary) -> Table:
    """How each student fared, and what its exams alone would have chosen."""
    table = ruled("The students")
    table.add_column("student", overflow="fold")
    table.add_column("exams\nsat", justify="right", no_wrap=True)
    table.add_column("right", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True)
    table.add_column("MAX\nalone", justify="right", no_wrap=True)
    table.add_column("SUM\nalone", justify="right", no_wrap=True)
    for student in told.students:
        low, high = student.ci95
        table.add_row(
            Text(plain(student.name)),
            Text(f"{student.exam_answers:,}"),
            Text(percent(student.exam_accuracy)),
            Bar(student.exam_accuracy),
            Text(f"{100 * low:.0f} to {100 * high:.0f} %" if student.exam_answers else "-"),
            Text(percent(student.m1_max)),
            Text(percent(student.m1_sum)),
        )
    return table


def line_ups(told: Summary) -> RenderableType:
    """Every line-up of students, as if only they had sat the exams; and with equal numbers of exams."""
    table = ruled("Who should sit the exams? The same class with other students")
    table.add_column("students", min_width=24)
    table.add_column("EAs\nper TR", justify="right", no_wrap=True)
    table.add_column("MAX", justify="right", no_wrap=True)
    table.add_column("SUM", justify="right", no_wrap=True)
    table.add_column("MAX,\nequal EAs", justify="right", no_wrap=True)
    table.add_column("SUM,\nequal EAs", justify="right", no_wrap=True)
    for up in told.lineups:
        everybody = len(up.students) == len(told.students) > ALL_SUBSETS
        who = f"all {len(up.students)}" if everybody else ", ".join(map(plain, up.students))
        table.add_row(
            Text(who),
            Text(f"{up.exams_per_rationale:g}" if up.exams_per_rationale % 1 == 0 else f"{up.exams_per_rationale:.1f}"),
            Text(percent(up.m1_max)),
            Text(percent(up.m1_sum)),
            Text(percent(up.m1_max_equal)),
            Text(percent(up.m1_sum_equal)),
        )
    note = "equal EAs: each line-up cut down to the exams of the smallest, averaged over random draws."
    if len(told.students) > ALL_SUBSETS:
        note += f" With more than {ALL_SUBSETS} students not all line-ups are shown: {told.lineups_shown}."
    return Group(table, Text(note, style="dim"))


def assumption(told: Summary) -> str:
    """The paper's assumption, as measured in this class."""
    found = told.assumption
    if found.right_beats_wrong is None or found.ties is None:
        return (
            "Do right rationales teach better than wrong ones? No teaching problem had an examined right one and an "
            "examined wrong one, so this class cannot say."
        )
    loses = 1 - found.right_beats_wrong - found.ties
    pairs = "the one pair" if found.pairs == 1 else f"{found.pairs:,} pairs"
    return (
        f"Do right rationales teach better than wrong ones? Of {pairs} within a problem, the right one scored "
        f"higher in {percent(found.right_beats_wrong)}, the same in {percent(found.ties)}, "
        f"lower in {percent(abs(loses))}."
    )


def agreement(found: Dense) -> str:
    """How far what students find likely goes along with how they fare."""
    if not found.grades:
        return "How likely the students find the solutions was never asked in this run."
    if found.kendall_tau_b is None:
        along = "on no teaching problem do both differ between rationales"
    else:
        low, high = found.ci95
        along = (
            f"Kendall's tau-b within a problem is {found.kendall_tau_b:.2f} (95 % interval {low:.2f} to {high:.2f}; "
            f"{found.n} problem{'' if found.n == 1 else 's'})"
        )
    said = (
        f"Exams against log p, the log-probability of the solutions ({found.grades:,} told): {along}; both choose the "
        f"same answer on {percent(found.same_max)} of the problems by MAX, on {percent(found.same_sum)} by SUM."
    )
    if found.assumption.right_beats_wrong is None:
        return said
    share = percent(found.assumption.right_beats_wrong)
    return f"{said} Right rationales make solutions likelier than wrong ones in {share} of the pairs."


def failures(told: Summary) -> Table:
    """The first failed requests."""
    more = len(told.failures) - FAILURES_SHOWN
    table = ruled(f"Failed requests: {len(told.failures)}" + (", the first of them" if more > 0 else ""))
    table.add_column("request", no_wrap=True)
    table.add_column("agent", overflow="fold")
    table.add_column("kind", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for failure in told.failures[:FAILURES_SHOWN]:
        table.add_row(*(Text(plain(s)) for s in (failure.request[:8], failure.agent, failure.kind, failure.detail)))
    if more > 0:
        table.caption = Text(f"{more} more stand in summary.json")
    return table


def _counted(told: Summary) -> str:
    """What the reader should know about the answers that went into the figures."""
    said = {
        "unparsable_rationales": "rationales without an answer to find (not examined)",
        "identical_rationales": "rationales identical to another (examined once, counted as often as they came)",
        "unparsable_exam_answers": "exam answers without an answer to find (wrong)",
        "without_dialogue": "times that a student sat its exam without a question that was answered",
        "cut_off": "texts cut off at max_tokens",
        "exam_answers_left_out": "exam answers left out of the scores (the same exam failed under another rationale)",
        "problems_without_common_exams": "problems without an exam under all rationales (votes decide there)",
        "mixed_grades": "groups of equal answers that the grader judged differently (the first counts)",
    }
    found = [f"{told.counts[name]:,} {what}" for name, what in said.items() if told.counts.get(name)]
    rationales, exams = (told.counts.get(name, 0) for name in ("teaching_rationales", "exam_answers"))
    return (
        (
            f"From {rationales:,} teaching rationales and {exams:,} exam answers"
            if told.solves
            else f"From {exams:,} exam answers of students"
        )
        + _talked(told)
        + "".join(f"; {one}" for one in found)
        + "."
        + _cached(told)
        + _spent(told)
    )


def _talked(told: Summary) -> str:
    """The cost of questions before the exams."""
    talks, each = told.counts.get("questions_and_answers", 0), told.completions_per_rationale
    if not talks or each is None:
        return ""
    return f", and {talks:,} questions and answers before them ({each:.1f} completions per rationale in all)"


def _cached(told: Summary) -> str:
    """How much of the prompts was computed once and used again; nothing where no engine computes any."""
    prompt, cached, cacheable = (
        sum(getattr(agent, name) for agent in told.agents)
        for name in ("prompt_tokens", "cached_prompt_tokens", "cacheable_prompt_tokens")
    )
    if not cached:
        return ""
    return (
        f" Of {prompt:,} prompt tokens {cached / prompt:.0%} came from a prefix cache; "
        f"about {cacheable / prompt:.0%} begin as an earlier prompt does."
    )


def _spent(told: Summary) -> str:
    """What the answers cost, where they cost anything."""
    each = [f"{plain(agent.name)} {agent.spent:.4g}" for agent in told.agents if agent.spent is not None]
    return f" Spent at servers: {', '.join(each)}." if each else ""
