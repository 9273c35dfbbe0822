"""What is printed of level 3 at the end of a class: F1 by round, its baselines, whose mistakes taught, and why.

Reads the summary and nothing else. What models wrote goes in as plain text.
"""

from collections import Counter
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from scenarios.gradebook.marks import percent, plain, ruled
from scenarios.gradebook.rounds import IterateSummary, Mean, RoundSummary

ARMS = {
    "start": "start",
    "class": "this class",
    "random": "random",
    "self": "itself",
    "search": "no students",
}
REASONS = 5
LONGEST = 300
"""Characters of an exemplar or a reason."""


def round_tables(told: IterateSummary) -> list[RenderableType]:
    """All of level 3; nothing where no round is over."""
    if not told.rounds:
        return []
    parts: list[RenderableType] = [_rounds(told.rounds), _arms(told)]
    if told.students:
        parts.append(_students(told))
    if told.reasons:
        parts.append(_reasons(told))
    parts += [_best_set(told), Text(_dropped(told.rounds))]
    return parts


def _rounds(rounds: Sequence[RoundSummary]) -> Table:
    table = ruled("Teacher and students by round: F1 of the class Yes")
    runs = len({one.run for one in rounds}) > 1
    names = list(dict.fromkeys(name for one in rounds for name in one.students))
    for heading in (*(["run"] if runs else []), "round", "sets", "teacher,\ntraining", "teacher,\nheld out"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in names:
        table.add_column(plain(name), justify="right", overflow="fold")
    for one in rounds:
        table.add_row(
            *([str(one.run)] if runs else []),
            str(one.round) if one.round else "start",
            str(len(one.sets)),
            percent(one.teacher_f1_train),
            percent(one.teacher_f1_test),
            *(percent(one.students.get(name)) for name in names),
        )
    table.caption = Text("training: what sets are kept by. held out: with the best set; keeps none.", style="dim")
    return table


def _arms(told: IterateSummary) -> Table:
    table = ruled("What the rounds brought: the teacher with the best set, F1 of the class Yes")
    table.add_column("", no_wrap=True)
    for heading in ("training", "held out", "95 %", "runs", "sets", "requests"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in told.arms:
        table.add_row(
            ARMS.get(one.name, plain(one.name)),
            percent(one.teacher_f1_train.mean),
            percent(one.teacher_f1_test.mean),
            _interval(one.teacher_f1_test),
            str(one.teacher_f1_test.n),
            f"{one.sets:,.0f}",
            "" if one.requests is None else f"{one.requests:,.0f}",
        )
    table.caption = Text(
        "start: the first sets. random: as many sets of training items, drawn. itself: the teacher as its own only "
        "student. no students: as many requests spent on sets written without any.",
        style="dim",
    )
    return table


def _interval(mean: Mean) -> str:
    return "-" if mean.ci95 is None else f"{100 * mean.ci95[0]:.0f} to {100 * mean.ci95[1]:.0f} %"


def _students(told: IterateSummary) -> Table:
    table = ruled("Whose mistakes taught the teacher?")
    table.add_column("student", overflow="fold")
    for heading in (
        "mistakes\nshown",
        "sets\nwritten",
        "kept",
        "gain,\ntraining",
        "in the\nlast set",
        "gain,\nheld out",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in told.students:
        table.add_row(
            plain(one.name),
            str(one.failures),
            f"{one.revisions:.1f}",
            f"{one.kept:.1f}",
            f"{100 * one.gain_train:+.1f}",
            f"{one.in_final:.1f}",
            "-" if one.final_gain_test is None else f"{100 * one.final_gain_test:+.1f}",
        )
    table.caption = Text("A set written from several students' mistakes counts for each in part.", style="dim")
    return table


def _reasons(told: IterateSummary) -> Table:
    own = told.own_errors
    table = ruled("Why students failed, and the teacher with them")
    table.add_column("reason, as the teacher says", overflow="fold")
    for heading in ("times\ngiven", "items", "teacher's\nerrors", "share", "re-\nmoved", "new"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in told.reasons[:REASONS]:
        table.add_row(
            plain(one.reason)[:LONGEST],
            str(one.count),
            str(one.compared),
            str(one.errors),
            percent(one.share, 0),
            str(one.removed),
            str(one.new),
        )
    table.add_row("all errors", "", str(own.items), str(own.errors), percent(1.0, 0), str(own.removed), str(own.new))
    table.caption = Text(
        f"items: whose mistakes led to it, of the {own.items:,} that the students and the teacher itself were asked. "
        f"teacher's errors: its own with the first best set; {own.without_reason:,} of {own.errors:,} without a "
        "reason, others with several. removed: right with the last best set. new: right before, wrong with it. "
        "Reasons are grouped by the words they share.",
        style="dim",
    )
    return table


def _best_set(told: IterateSummary) -> Text:
    last = told.rounds[-1]
    if not last.exemplars:
        return Text("No set was kept: none was answered often enough.")
    text = Text("The last best set", style="bold")
    for one in last.exemplars:
        text.append(f"\n{one.answer:<3}  {plain(one.text)[:LONGEST]}", style="none")
    return text


def _dropped(rounds: Sequence[RoundSummary]) -> str:
    asked, repeated = sum(one.revisions for one in rounds), sum(one.repeated for one in rounds)
    repaired, dropped, reflections = Counter[str](), Counter[str](), Counter[str]()
    for one in rounds:
        repaired += Counter(one.repaired)
        dropped += Counter(one.dropped)
        reflections += Counter(one.dropped_reflections)
    said = f"Of {asked:,} sets asked for, {repaired.total():,} were asked for again, {dropped.total():,} dropped"
    said += f" ({_causes(dropped)})" if dropped else ""
    said += f", and {repeated:,} were there already."
    if reflections:
        said += f" {reflections.total():,} reflections had no reason in them ({_causes(reflections)})."
    shares = {"the teacher with the last best set": rounds[-1].train.neither_share}
    shares |= {plain(name): answers.neither_share for name, answers in rounds[-1].student_answers.items()}
    told = ", ".join(f"{name} {percent(share)}" for name, share in shares.items() if share)
    said += f" Answers that were neither yes nor no, and so wrong: {told}." if told else ""
    return said


def _causes(counted: Counter[str]) -> str:
    return ", ".join(f"{cause}: {n}" for cause, n in sorted(counted.items()))
