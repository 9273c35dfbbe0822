"""The printed report of a class, from its summary alone: tables and sentences of any width, with or without colour.

layout.py takes every text of a model or a failure as data.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from scenarios.report import baselines, breakdown, learn_tables, signals, steering, unanswered
from scenarios.report.count_notes import counted
from scenarios.report.formatting import entries, interval, many, percent, points, uncorrected
from scenarios.report.iterate_tables import round_tables
from scenarios.report.layout import Bar, Ruled, Sentences, plain, spaced
from scenarios.report.lineup_tables import line_ups
from scenarios.report.methods import Comparison, Method
from scenarios.report.rewrite_tables import rewritten_tables
from scenarios.report.summary import Summary
from scenarios.report.unanswered import Unanswered
from scenarios.scoring import fidelity
from scenarios.scoring.dense import Dense
from scenarios.scoring.over_problems import OverProblems
from scenarios.scoring.power import POWER, needed_sentence
from scenarios.scoring.shapley import Shapley, StudentValue
from scenarios.scoring.statistics import LEVEL
from scenarios.scoring.teacher_metrics import LABELS as TEACHERS

LABELS = {
    "greedy": "greedy",
    "sc": "SC",
    "m1_max": "M1 MAX",
    "m1_sum": "M1 SUM",
    "m1_avg": "M1 AVG",
    "m1_max_logprob": "M1 MAX log p",
    "m1_sum_logprob": "M1 SUM log p",
    "m1_avg_logprob": "M1 AVG log p",
    "sc_at_cost": "SC at M1's cost",
    "sc_at_completion_cost": "SC, M1's completions",
    "best_possible": "best TR (oracle)",
}
SIMULATED = "The agents are simulated: the figures say nothing about any language model."
S_SCORE = (
    "right: all visible cases pass (V-score). S-score: the mean share of hidden cases that the chosen programs pass; "
    "it chooses nothing."
)
UNPROTECTED = (
    "Programs that models wrote ran without a sandbox (task.sandbox: none): they could read, change and send whatever "
    "you can."
)
FAILURES_SHOWN = 5
STATUS_WORDS = {"running": "running (so far)", "budget": "ended when its budget was spent"}


def summary_tables(summary: Summary) -> RenderableType:
    """The report of a class."""
    parts: list[RenderableType] = [_head(summary)]
    parts += [
        Sentences(_without_answers(one), style="bold red") for one in summary.unanswered if one.empty and one.is_total
    ]
    if summary.solves and summary.best_possible.n:
        if summary.fidelity and (alike := fidelity.sentence(summary.fidelity)):
            parts.append(Sentences(alike, style="yellow"))
        parts.append(methods(summary))
        parts += [baselines.table(summary.baselines)] if summary.baselines else []
        parts += [comparisons(summary), students(summary)]
        if summary.shapley and len(summary.shapley.students) > 1:
            parts.append(student_values(summary.shapley, summary.about_shown))
        parts += [] if summary.allocation else [line_ups(summary)]
        parts += breakdown.tables(summary.by_level, summary.by_subject)
        parts.append(Sentences(assumption(summary)))
        parts += [signals.table(summary.signals)] if summary.signals else []
        parts += [Sentences(agreement(summary.dense))] if summary.dense else []
    elif summary.solves:
        parts.append(Text("No problem is complete yet."))
        parts += [students(summary)] if any(student.exam_answers for student in summary.students) else []
    parts += learn_tables.rounds(summary)
    iterate = summary.levels.iterate
    parts += [*round_tables(iterate), *rewritten_tables(iterate.rationales), Sentences(counted(summary))]
    if summary.caution:
        parts.append(Sentences(f"Caution: {summary.caution}", style="yellow"))
    for one in summary.unanswered:
        parts.append(Sentences(unanswered.sentence(one), style="bold red" if one.is_total else "yellow"))
    if summary.failures:
        parts.append(failures(summary))
    return spaced(parts)


def _head(summary: Summary) -> RenderableType:
    minutes, seconds = divmod(round(summary.wall_seconds), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    level = summary.level
    levels = f"level {level}" if isinstance(level, int) else f"levels {', '.join(map(str, level))}"
    status = STATUS_WORDS.get(summary.status, summary.status)
    head = Text(plain(summary.scenario), style="bold")
    head.append(f"  {levels}, seed {summary.seed}, {status}, {took}", style="none")
    warnings: list[RenderableType] = [Sentences(SIMULATED, style="yellow")] if summary.simulated else []
    warnings += [Sentences(UNPROTECTED, style="bold red")] if summary.unprotected else []
    changed = steering.sentences(summary.changes, summary.status)
    return Group(head, *warnings, *(Sentences(sentence, style="yellow") for sentence in changed))


def _without_answers(one: Unanswered) -> str:
    """A warning that an agent gave only empty answers in a stage."""
    then = ", and M1 counts its answers as wrong" if one.stage == "exam" else ""
    return f"{one.agent} gave no answer at all in stage {one.stage}: its figures there mean nothing{then}."


def methods(summary: Summary) -> Ruled:
    """How right each method is."""
    table = Ruled(
        f"How often the teacher's answer is right ({many(summary.best_possible.n, 'teaching problem')})",
        "tokens: of all completions that the method needs, without prompts. ties: problems on which several answers "
        "have the best score. ties at random: the expected share of right answers if one of these is drawn. best TR "
        "(oracle): problems with at least one right rationale.",
    )
    if cost := summary.counts.solution_tokens:
        solutions = many(summary.counts.solutions, "solution")
        table.note += f" log p: students also read {solutions} in prompts of {cost:,} tokens, which are left out."
    table.note += _at_cost(summary)
    published = {name: value for name, value in published_methods(summary).items() if name not in TEACHERS}
    if published and summary.published and summary.published.source:
        table.note += f" published: {plain(summary.published.source)}."
    table.add_column("method")
    table.add_columns("right", "", "95 %", *(["published"] if published else ()), "tokens", "ties", "ties at\nrandom")
    of_programs = any(method.s_score is not None for method in summary.methods.values())
    if of_programs:
        table.add_column("S-score", right=True)
        table.note += f" {S_SCORE}"
    for name, method in summary.methods.items():
        if name in TEACHERS:  # on other problems
            continue
        table.add_row(
            LABELS.get(name, name),
            percent(method.accuracy),
            Bar(method.accuracy),
            interval(method.ci95 if method.n else None),
            *([percent(published.get(name), digits=2)] if published else ()),
            f"{method.completion_tokens:,}",
            percent(method.tie_share, digits=0),
            percent(method.accuracy_random_ties),
            *[percent(method.s_score)] * of_programs,
        )
    best = summary.best_possible
    figures = (percent(best.accuracy), Bar(best.accuracy), interval(best.ci95) if best.ci95 else "")
    nothing = [""] * (3 + bool(published) + of_programs)
    table.add_row(Text(LABELS["best_possible"], style="dim"), *figures, *nothing)
    return table


def published_methods(summary: Summary) -> dict[str, float]:
    """The published accuracies, by method; empty where the scenario names none."""
    return summary.published.methods if summary.published else {}


def _at_cost(summary: Summary) -> str:
    """How many rationales M1's tokens buy, where SC had them."""
    found = [summary.methods.get(name, Method()) for name in ("m1_sum", "sc_at_cost", "sc_at_completion_cost")]
    m1, by_tokens, by_completion = found
    if not all(method.n for method in found):
        return ""
    return (
        f" {LABELS['sc_at_cost']}: SC of {by_tokens.rationales / by_tokens.n:.1f} rationales a problem, as many as all "
        f"tokens of M1 buy, with {m1.prompt_tokens:,} of prompts in full ({m1.cached_prompt_tokens:,} of them cached). "
        f"{LABELS['sc_at_completion_cost']}: of {by_completion.rationales / by_completion.n:.1f}, as many as its "
        "completions alone buy."
    )


def comparisons(summary: Summary) -> RenderableType:
    """The paired comparisons, in words."""
    found = [pair for pair in summary.paired if pair.a not in TEACHERS]
    if not found:
        return Text("There are no two methods to compare yet.")
    caveat = [Sentences(uncorrected(len(found)), style="dim")] if len(found) > 1 else []
    if any(map(_undecided, found)):
        text = (
            f"About N problems would show a difference: with N problems p is below {LEVEL} with a probability of "
            f"{100 * POWER:.0f} %, if the methods differ as often as here."
        )
        caveat.append(Sentences(text, style="dim"))
    return Group(
        Text("The same problems, two methods", style="bold"), *map(Sentences, map(comparison_sentence, found)), *caveat
    )


def comparison_sentence(pair: Comparison) -> str:
    """One paired comparison as a sentence."""
    a, b = (LABELS.get(name, name) for name in (pair.a, pair.b))
    if not pair.wins and not pair.losses:
        return f"{a} and {b}: right and wrong on the same {many(pair.n, 'problem')}."
    needed = f" {needed_sentence(pair.wins / pair.n, pair.losses / pair.n)}" if _undecided(pair) else ""
    return (
        f"{a} against {b}: {points(pair.difference, pair.ci95)}; better on {pair.wins}, worse on {pair.losses} of "
        f"{pair.n}; p = {pair.p_value:.2g}.{needed}"
    )


def _undecided(pair: Comparison) -> bool:
    """Whether a difference was seen that may be chance."""
    return pair.wins != pair.losses and pair.p_value >= LEVEL


def students(summary: Summary) -> Ruled:
    """How each student did in its exams, and how right M1 is by its exams alone."""
    table = Ruled(
        "The students",
        "95 %: over teaching problems, since exam answers on one problem are correlated. MAX, SUM alone: M1 with this "
        "student alone.",
    )
    shown = summary.students_shown
    table.note += f" Shown: {summary.about_shown}; summary.json has all." if summary.about_shown else ""
    for agent, copies in groupby((one for one in shown if one.copy_of), key=lambda one: one.copy_of):
        table.note += f" {', '.join(one.name for one in copies)}: copies of {agent}, the same model with other draws."
    drawn = [f"{one.name} ({entries(one.sampling)})" for one in shown if one.sampling]
    table.note += f" With a sampling of their own: {', '.join(drawn)}." if drawn else ""
    table.add_column("student", fold=True)
    table.add_columns("exams\ntaken", "right", "", "95 %", "MAX\nalone", "SUM\nalone")
    for student in shown:
        table.add_row(
            student.name,
            f"{student.exam_answers:,}",
            percent(student.exam_accuracy),
            Bar(student.exam_accuracy),
            interval(student.ci95 if student.exam_answers else None),
            percent(student.m1_max),
            percent(student.m1_sum),
        )
    return table


def student_values(found: Shapley, about: str = "") -> Ruled:
    """The Shapley values; `about`: which students they are of, where not of all."""
    how = "" if found.orders is None else f" Means over {found.orders:,} random orders."
    how += f" All students: {about}." if about else ""
    table = added_table(found.students, f"95 %: over teaching problems.{how}")
    everybody = (f"{100 * found.gain_max:+.1f}", "", f"{100 * found.gain_sum:+.1f}", "")
    table.add_row(Text("all together", style="dim"), *everybody)
    return table


def added_table(students: Iterable[StudentValue], note: str) -> Ruled:
    """A row for the Shapley value of each student; `note` says over what the intervals are."""
    table = Ruled(
        "What each student adds to SC, in points",
        "Shapley values: how much the accuracy of M1 changes when the student joins a line-up, the mean over all "
        f"orders of joining. They sum to the gain of M1 with all students over SC. {note}",
    )
    table.add_column("student", fold=True)
    table.add_columns("to MAX", "95 %", "to SUM", "95 %")
    for student in students:
        table.add_row(student.name, *(cell for one in (student.m1_max, student.m1_sum) for cell in _added(one)))
    return table


def _added(found: OverProblems) -> tuple[str, str]:
    low, high = found.ci95
    return f"{100 * found.value:+.1f}", f"{100 * low:+.0f} to {100 * high:+.0f}"


def assumption(summary: Summary) -> str:
    """The paper's assumption, as measured in this class."""
    found = summary.assumption
    if summary.allocation:
        return "Whether right rationales teach better than wrong ones is left out: it needs every exam answer."
    if found.right_beats_wrong is None or found.ties is None:
        return (
            "Do right rationales teach better than wrong ones? No teaching problem had an examined right one and an "
            "examined wrong one, so this class cannot say."
        )
    loses = 1 - found.right_beats_wrong - found.ties
    pairs = "the one pair" if found.pairs == 1 else f"{found.pairs:,} pairs"
    sure = "" if found.ci95 is None else f" (95 % interval {interval(found.ci95)}, over problems)"
    return (
        f"Do right rationales teach better than wrong ones? Of {pairs} within a problem, the right one scored "
        f"higher in {percent(found.right_beats_wrong)}{sure}, the same in {percent(found.ties)}, "
        f"lower in {percent(abs(loses))}."
    )


def agreement(found: Dense) -> str:
    """How the dense score agrees with the exams."""
    if not found.grades:
        return "How likely the students find the solutions was never asked in this run."
    if found.kendall_tau_b is None:
        along = "on no teaching problem do both differ between rationales"
    else:
        low, high = found.ci95
        along = (
            f"Kendall's tau-b within a problem is {found.kendall_tau_b:.2f} (95 % interval {low:.2f} to {high:.2f}; "
            f"{many(found.n, 'problem')})"
        )
    text = (
        f"Exams against log p, the log-probability of the solutions ({many(found.grades, 'answer')}): {along}; both "
        f"choose the same answer on {percent(found.same_max)} of the problems by MAX, on "
        f"{percent(found.same_sum)} by SUM."
    )
    if found.assumption.right_beats_wrong is None:
        return text
    share = percent(found.assumption.right_beats_wrong)
    return f"{text} Right rationales make solutions likelier than wrong ones in {share} of the pairs."


def failures(summary: Summary) -> Ruled:
    """The failed requests: those of an agent with the same reason share a row."""
    alike = Counter((one.agent, one.kind, one.detail) for one in summary.failures)
    shown = alike.most_common(FAILURES_SHOWN)
    table = Ruled(f"Failed requests: {len(summary.failures):,}")
    table.add_column("times", right=True)
    table.add_column("agent", fold=True)
    table.add_column("kind")
    table.add_column("detail", fold=True)
    for failure, times in shown:
        table.add_row(f"{times:,}", *failure)
    if more := len(summary.failures) - sum(times for _, times in shown):
        table.note = f"{more:,} more, for other reasons: see failures in summary.json"
    return table
