"""What is printed at the end of a class, from its summary: tables and sentences of any width, with or without colour.

Reads a summary and nothing else, so that a finished run can be shown again. What models and failures say goes in as
plain text: it is never taken for markup, and its control characters never reach the terminal.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from scenarios.report import learn_tables
from scenarios.report.count_notes import counted
from scenarios.report.formatting import interval, many, percent, plain
from scenarios.report.iterate_tables import round_tables
from scenarios.report.layout import Bar, Ruled, Sentences, Trimmed
from scenarios.report.methods import Comparison
from scenarios.report.rewrite_tables import rewritten_tables
from scenarios.report.summary import Summary
from scenarios.report.unanswered import Unanswered
from scenarios.report.unanswered import in_words as unanswered_in_words
from scenarios.scoring.dense import Dense
from scenarios.scoring.lineups import ALL_SUBSETS, LineUp
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
    "best_possible": "best TR (oracle)",
}
FAILURES_SHOWN = 5
LINE_UPS_SHOWN = 6
"""Line-ups of one size, single students aside; of more than these BEST and WORST are shown."""
BEST, WORST = 3, 2
SHORT_LINE_UP = 4
"""Students from which on line-ups are named by who is missing, if that is one or nobody."""


def summary_tables(told: Summary) -> RenderableType:
    """The report of a class."""
    parts: list[RenderableType] = [_head(told)]
    silent = [one for one in told.unanswered if one.empty and one.is_total]
    parts += [Sentences(_meaningless(one), style="bold red") for one in silent]
    if told.solves and told.best_possible.n:
        parts += [methods(told), comparisons(told), students(told), line_ups(told), Sentences(assumption(told))]
        parts += [Sentences(agreement(told.dense))] if told.dense else []
    elif told.solves:
        parts.append(Text("No problem is complete yet."))
        parts += [students(told)] if any(student.exam_answers for student in told.students) else []
    parts += learn_tables.rounds(told)
    parts += [*round_tables(told.levels.iterate), *rewritten_tables(told.levels.iterate.rationales)]
    parts.append(Sentences(counted(told)))
    if told.caution:
        parts.append(Sentences(f"Caution: {told.caution}", style="yellow"))
    parts += [
        Sentences(unanswered_in_words(one), style="bold red" if one.is_total else "yellow") for one in told.unanswered
    ]
    if told.failures:
        parts.append(failures(told))
    return Trimmed(Group(*(one for part in parts for one in (Text(), part))))


def _head(told: Summary) -> RenderableType:
    minutes, seconds = divmod(round(told.wall_seconds), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    levels = f"level {told.level}" if isinstance(told.level, int) else f"levels {', '.join(map(str, told.level))}"
    head = Text(plain(told.scenario), style="bold")
    status = "running (so far)" if told.status == "running" else told.status
    head.append(f"  {levels}, seed {told.seed}, {status}, {took}", style="none")
    if not told.simulated:
        return head
    warning = "With simulated agents: a model of a class. The figures say nothing about any language model."
    return Group(head, Sentences(warning, style="yellow"))


def _meaningless(one: Unanswered) -> str:
    """That an agent gave only empty answers in a stage."""
    then = ", and M1 counts its answers as wrong" if one.stage == "exam" else ""
    return (
        f"{plain(one.agent)} gave no answer at all in stage {plain(one.stage)}: its figures there mean nothing{then}."
    )


def methods(told: Summary) -> Ruled:
    """How right each way of choosing an answer is."""
    table = Ruled(
        f"How often the teacher's answer is right ({many(told.best_possible.n, 'teaching problem')})",
        "tokens: of all completions that the method needs, prompts left out. ties: problems on which several answers "
        "had the best score; ties at random: the share right to expect if one of these were drawn. best TR (oracle): "
        "problems with a right rationale.",
    )
    if cost := told.counts.solution_tokens:
        solutions = many(told.counts.solutions, "solution")
        table.note += f" log p: students also read {solutions} in prompts of {cost:,} tokens, which are left out."
    for heading in ("method", "right", "", "95 %", "tokens", "ties", "ties at\nrandom"):
        table.add_column(heading, right=heading not in ("method", ""))
    for name, method in told.methods.items():
        if name in TEACHERS:  # on other problems
            continue
        table.add_row(
            LABELS.get(name, plain(name)),
            percent(method.accuracy),
            Bar(method.accuracy),
            interval(method.ci95 if method.n else None),
            f"{method.completion_tokens:,}",
            percent(method.tie_share, digits=0),
            percent(method.accuracy_random_ties),
        )
    best = told.best_possible.accuracy
    table.add_row(Text(LABELS["best_possible"], style="dim"), percent(best), Bar(best), "", "", "", "")
    return table


def comparisons(told: Summary) -> RenderableType:
    """The paired comparisons, in words."""
    found = [pair for pair in told.paired if pair.a not in TEACHERS]
    if not found:
        return Text("There are no two methods to compare yet.")
    caveat = [Sentences(learn_tables.uncorrected(len(found)), style="dim")] if len(found) > 1 else []
    return Group(Text("The same problems, two methods", style="bold"), *map(Sentences, map(in_words, found)), *caveat)


def in_words(pair: Comparison) -> str:
    """One paired comparison as a sentence."""
    a, b = (LABELS.get(name, plain(name)) for name in (pair.a, pair.b))
    if not pair.wins and not pair.losses:
        return f"{a} and {b}: right and wrong on the same {many(pair.n, 'problem')}."
    low, high = pair.ci95
    return (
        f"{a} against {b}: {100 * pair.difference:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}); "
        f"better on {pair.wins}, worse on {pair.losses} of {pair.n}; p = {pair.p_value:.2g}."
    )


def students(told: Summary) -> Ruled:
    """How each student fared, and what its exams alone would have chosen."""
    table = Ruled(
        "The students",
        "95 %: over teaching problems, since exam answers on one problem go together. MAX, SUM alone: M1 with this "
        "student alone.",
    )
    table.add_column("student", fold=True)
    for heading in ("exams\nsat", "right", "", "95 %", "MAX\nalone", "SUM\nalone"):
        table.add_column(heading, right=heading != "")
    for student in told.students:
        table.add_row(
            plain(student.name),
            f"{student.exam_answers:,}",
            percent(student.exam_accuracy),
            Bar(student.exam_accuracy),
            interval(student.ci95 if student.exam_answers else None),
            percent(student.m1_max),
            percent(student.m1_sum),
        )
    return table


def line_ups(told: Summary) -> Ruled:
    """Line-ups of students, as if only they had sat the exams; and with equal numbers of exams."""
    table = Ruled("Who should sit the exams? The same class with other students")
    table.add_column("students", fold=True)
    for heading in ("EAs\nper TR", "MAX", "SUM", "MAX,\nequal EAs", "SUM,\nequal EAs"):
        table.add_column(heading, right=True)
    names = [student.name for student in told.students]
    ordered = sorted(told.lineups, key=lambda up: (len(up.students), -(up.m1_max or 0), -(up.m1_sum or 0)))
    note = [
        "EAs: exam answers. equal EAs: each line-up cut down to the exams of the smallest, averaged over random draws."
    ]
    for size, group in groupby(ordered, key=lambda up: len(up.students)):
        ups = list(group)
        hidden = ups[BEST:-WORST] if size > 1 and len(ups) > LINE_UPS_SHOWN else []
        for up in ups:
            if up not in hidden:
                table.add_row(_who(up.students, names), *_figures(up))
            elif up is hidden[0]:
                table.add_row(Text(f"… {len(hidden)} more of {size} students", style="dim"), *[""] * 5)
        if hidden and len(note) == 1:
            note.append(
                f"Of each size the best by MAX and the worst are shown; summary.json has all {len(told.lineups)}."
            )
    if len(told.students) > ALL_SUBSETS:
        note.append(f"With more than {ALL_SUBSETS} students not all line-ups are shown: {told.lineups_shown}.")
    table.note = " ".join(note)
    return table


def _figures(up: LineUp) -> tuple[str, ...]:
    exams = up.exams_per_rationale
    shares = (up.m1_max, up.m1_sum, up.m1_max_equal, up.m1_sum_equal)
    return (f"{exams:g}" if exams % 1 == 0 else f"{exams:.1f}", *map(percent, shares))


def _who(students: Sequence[str], everybody: Sequence[str]) -> str:
    """A line-up by its names, or, where that is shorter, by those that are missing."""
    missing = [plain(name) for name in everybody if name not in students]
    if len(everybody) < SHORT_LINE_UP or len(missing) > 1:
        return ", ".join(map(plain, students))
    return f"all but {missing[0]}" if missing else f"all {len(students)}"


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
    sure = "" if found.ci95 is None else f" (95 % interval {interval(found.ci95)}, over problems)"
    return (
        f"Do right rationales teach better than wrong ones? Of {pairs} within a problem, the right one scored "
        f"higher in {percent(found.right_beats_wrong)}{sure}, the same in {percent(found.ties)}, "
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
            f"{many(found.n, 'problem')})"
        )
    said = (
        f"Exams against log p, the log-probability of the solutions ({many(found.grades, 'answer')}): {along}; both "
        f"choose the same answer on {percent(found.same_max)} of the problems by MAX, on "
        f"{percent(found.same_sum)} by SUM."
    )
    if found.assumption.right_beats_wrong is None:
        return said
    share = percent(found.assumption.right_beats_wrong)
    return f"{said} Right rationales make solutions likelier than wrong ones in {share} of the pairs."


def failures(told: Summary) -> Ruled:
    """The failed requests: those of an agent with the same reason share a row."""
    alike = Counter((one.agent, one.kind, one.detail) for one in told.failures)
    shown = alike.most_common(FAILURES_SHOWN)
    table = Ruled(f"Failed requests: {len(told.failures):,}")
    for heading in ("times", "agent", "kind", "detail"):
        table.add_column(heading, right=heading == "times", fold=heading in ("agent", "detail"))
    for failure, times in shown:
        table.add_row(f"{times:,}", *map(plain, failure))
    if more := len(told.failures) - sum(times for _, times in shown):
        table.note = f"{more:,} more, for other reasons: see failures in summary.json"
    return table
