"""What is printed of level 3 at the end of a class: F1 by round, its baselines, whose mistakes taught, and why.

Reads the summary and nothing else. What models wrote goes in as plain text.
"""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from scenarios.report.formatting import interval, many, percent, plain
from scenarios.report.iterate import IterateRoundSummary, IterateSummary
from scenarios.report.layout import Ruled, Sentences

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
    parts += [_best_set(told), Sentences(_dropped(told.rounds))]
    return parts


def _rounds(rounds: Sequence[IterateRoundSummary]) -> Ruled:
    table = Ruled(
        "Teacher and students by round: F1 of the class Yes",
        "training: the teacher's F1 on training items, by which sets are kept. held out: F1 of the best set on unseen "
        "items; not used to keep sets. Students: F1 on the round's training items, with all its sets.",
    )
    runs = len({one.run for one in rounds}) > 1
    names = list(dict.fromkeys(name for one in rounds for name in one.students))
    for heading in ("round", *(["run"] if runs else []), "sets", "teacher,\ntraining", "teacher,\nheld out"):
        table.add_column(heading, right=True)
    for name in names:
        table.add_column(plain(name), right=True)
    for one in rounds:
        table.add_row(
            str(one.round) if one.round else "start",
            *([str(one.run)] if runs else []),
            str(len(one.sets)),
            percent(one.teacher_f1_train),
            percent(one.teacher_f1_test),
            *(percent(one.students.get(name)) for name in names),
        )
    return table


def _arms(told: IterateSummary) -> Ruled:
    table = Ruled(
        "What the rounds brought: the teacher with the best set, F1 of the class Yes",
        "start: the first sets. random: as many sets of training items, drawn. itself: the teacher as its own only "
        "student. no students: as many requests spent on sets written without any. 95 %: of held out, over independent "
        "runs. sets: scored. requests: without those on held-out items.",
    )
    table.add_column("sets of")
    for heading in ("training", "held out", "95 %", "runs", "sets", "requests"):
        table.add_column(heading, right=True)
    for one in told.arms:
        table.add_row(
            ARMS.get(one.name, plain(one.name)),
            percent(one.teacher_f1_train.mean),
            percent(one.teacher_f1_test.mean),
            interval(one.teacher_f1_test.ci95),
            str(one.teacher_f1_test.n),
            f"{one.sets:,.0f}",
            "-" if one.requests is None else f"{one.requests:,.0f}",
        )
    return table


def _students(told: IterateSummary) -> Ruled:
    table = Ruled(
        "Whose mistakes taught the teacher?",
        "written, kept: sets written from its mistakes; one from several students' mistakes counts for each in part. "
        "gain: points of the teacher's F1, over the sets they were written from. in the last set: revisions on the way "
        "to the last best set.",
    )
    table.add_column("student", fold=True)
    for heading in (
        "mistakes\nshown",
        "sets\nwritten",
        "kept",
        "gain,\ntraining",
        "in the\nlast set",
        "gain,\nheld out",
    ):
        table.add_column(heading, right=True)
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
    return table


def _reasons(told: IterateSummary) -> Ruled:
    own = told.own_errors
    table = Ruled(
        "Why students failed, and the teacher with them",
        f"items: whose mistakes led to it, of the {own.items:,} that the students and the teacher itself were asked. "
        f"teacher's errors: its own with the first best set; {own.without_reason:,} of {own.errors:,} without a "
        "reason, others with several. share: of all these errors. removed: right with the last best set. new: right "
        "before, wrong with it. Reasons are grouped by the words they share.",
    )
    table.add_column("reason, as the teacher says", fold=True)
    for heading in ("times\ngiven", "items", "teacher's\nerrors", "share", "removed", "new"):
        table.add_column(heading, right=True)
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
    if (more := len(told.reasons) - REASONS) > 0:
        table.add_row(Text(f"… {more} more in summary.json", style="dim"), *[""] * 6)
    whole = percent(1.0 if own.errors else None, 0)
    table.add_row("all errors", "", str(own.items), str(own.errors), whole, str(own.removed), str(own.new))
    return table


def _best_set(told: IterateSummary) -> RenderableType:
    last = told.rounds[-1]
    if not last.exemplars:
        return Text("No set was kept: none was answered often enough.")
    shown = [Sentences(f"{one.answer:<3}  {plain(one.text)[:LONGEST]}") for one in last.exemplars]
    return Group(Text("The last best set", style="bold"), *shown)


def _dropped(rounds: Sequence[IterateRoundSummary]) -> str:
    asked, repeated = sum(one.revisions for one in rounds), sum(one.repeated for one in rounds)
    repaired, dropped, reflections = Counter[str](), Counter[str](), Counter[str]()
    for one in rounds:
        repaired += Counter(one.repaired)
        dropped += Counter(one.dropped)
        reflections += Counter(one.dropped_reflections)
    said = f"Of {many(asked, 'set')} asked for, {repaired.total():,} were asked for again, {dropped.total():,} dropped"
    said += f" ({_causes(dropped)})" if dropped else ""
    said += f", and {repeated:,} were there already."
    if reflections:
        said += f" {many(reflections.total(), 'reflection')} had no reason in them ({_causes(reflections)})."
    shares = _neither(rounds)
    told = ", ".join(f"{plain(name)} {percent(share)}" for name, share in shares.items() if share)
    said += f" Students' answers that were neither yes nor no, and so wrong, in all rounds: {told}." if told else ""
    return said


def _neither(rounds: Sequence[IterateRoundSummary]) -> dict[str, float]:
    """By student, the share of its answers in all rounds that were neither yes nor no."""
    neither, answers = Counter[str](), Counter[str]()
    for one in rounds:
        for name, given in one.student_answers.items():
            answers[name] += given.n
            neither[name] += round((given.neither_share or 0.0) * given.n)
    return {name: neither[name] / n for name, n in answers.items() if n}


def _causes(counted: Counter[str]) -> str:
    return ", ".join(f"{cause}: {n}" for cause, n in sorted(counted.items()))
