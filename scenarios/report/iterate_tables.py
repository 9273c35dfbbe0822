"""The printed report of level 3 with sets of exemplars: F1 by round, baselines, whose mistakes taught, and why."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from scenarios.report.formatting import causes, figure, interval, many, percent, signed, signed_interval
from scenarios.report.iterate import IterateRoundSummary, IterateSummary
from scenarios.report.iterate_arms import ArmComparison, EqualRequests
from scenarios.report.layout import Ruled, Sentences, plain, tabulated

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


def round_tables(summary: IterateSummary) -> list[RenderableType]:
    """All of level 3; empty where no round is over."""
    if not summary.rounds:
        return []
    parts: list[RenderableType] = [_rounds(summary.rounds), _arms(summary)]
    if summary.equal_requests:
        parts.append(_at_equal_requests(summary.equal_requests, summary.comparisons))
    if summary.unimproved:
        parts.append(Sentences(summary.unimproved.sentence))
    if summary.students:
        parts.append(_students(summary))
    if summary.reasons:
        parts.append(_reasons(summary))
    parts += [_best_set(summary), Sentences(_dropped(summary.rounds))]
    return parts


def _rounds(rounds: Sequence[IterateRoundSummary]) -> Ruled:
    table = Ruled(
        "Teacher and students by round: F1 of the class Yes",
        "training: the teacher's F1 on training items, by which sets are kept. held out: F1 of the best set on unseen "
        "items; not used to keep sets. Students: F1 on the round's training items, with all its sets.",
    )
    runs = len({one.run for one in rounds}) > 1
    names = list(dict.fromkeys(name for one in rounds for name in one.students))
    table.add_columns("round", *(["run"] if runs else []), "sets", "teacher,\ntraining", "teacher,\nheld out")
    for name in names:
        table.add_column(name, right=True)
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


def _arms(summary: IterateSummary) -> Ruled:
    return tabulated(
        "What the rounds brought: the teacher with the best set, F1 of the class Yes",
        summary.arms,
        [
            ("sets of", lambda one: ARMS.get(one.name, one.name)),
            ("training", lambda one: percent(one.teacher_f1_train.mean)),
            ("held out", lambda one: percent(one.teacher_f1_test.mean)),
            ("95 %", lambda one: interval(one.teacher_f1_test.ci95)),
            ("runs", lambda one: str(one.teacher_f1_test.n)),
            ("sets", lambda one: f"{one.sets:,.0f}"),
            ("requests", lambda one: figure(one.requests, ",.0f")),
        ],
        "start: the first sets. random: as many sets of training items, drawn. itself: the teacher as its own only "
        "student. no students: as many requests spent on sets written without any. 95 %: of held out, over independent "
        "runs. sets: scored. requests: without those on held-out items.",
    )


def _at_equal_requests(equal: EqualRequests, comparisons: Sequence[ArmComparison]) -> Ruled:
    allowed = sum(equal.requests) / len(equal.requests)
    compared = {one.b: one for one in comparisons if one.at == "equal_requests"}
    return tabulated(
        f"The same at equal numbers of requests: {allowed:,.0f}{' on average' if len(set(equal.requests)) > 1 else ''}",
        [(one, compared.get(one.name)) for one in equal.arms],
        [
            ("sets of", lambda row: ARMS.get(row[0].name, row[0].name)),
            ("requests", lambda row: f"{row[0].requests:,.0f}"),
            ("training", lambda row: percent(row[0].teacher_f1_train.mean)),
            ("held out", lambda row: percent(row[0].teacher_f1_test.mean)),
            ("class\n- arm", lambda row: signed(row[1].difference) if row[1] else ""),
            ("95 %", lambda row: signed_interval(row[1].ci95) if row[1] else ""),
            ("p", lambda row: f"{row[1].p_value:.2g}" if row[1] else ""),
        ],
        "The best set that each had kept after as many requests as the one with the fewest needed in all. requests: "
        "until the end of the last round within them. class - arm: points of held-out F1; the interval and p are "
        "over held-out items, with the sets of these runs, and p is not corrected for the number of comparisons.",
    )


def _students(summary: IterateSummary) -> Ruled:
    return tabulated(
        "Whose mistakes taught the teacher?",
        summary.students,
        [
            ("student", lambda one: one.name),
            ("mistakes\nshown", lambda one: str(one.failures)),
            ("sets\nwritten", lambda one: f"{one.revisions:.1f}"),
            ("kept", lambda one: f"{one.kept:.1f}"),
            ("gain,\ntraining", lambda one: signed(one.gain_train)),
            ("in the\nlast set", lambda one: f"{one.in_final:.1f}"),
            ("gain,\nheld out", lambda one: signed(one.final_gain_test)),
        ],
        "written, kept: sets written from its mistakes; one from several students' mistakes counts for each in part. "
        "gain: points of the teacher's F1, over the sets they were written from. in the last set: revisions on the way "
        "to the last best set.",
        fold=True,
    )


def _reasons(summary: IterateSummary) -> Ruled:
    own = summary.own_errors
    table = tabulated(
        "Why students failed, and the teacher with them",
        summary.reasons[:REASONS],
        [
            ("reason, as the teacher says", lambda one: plain(one.reason)[:LONGEST]),
            ("times\ngiven", lambda one: str(one.count)),
            ("items", lambda one: str(one.compared)),
            ("teacher's\nerrors", lambda one: str(one.errors)),
            ("share", lambda one: percent(one.share, 0)),
            ("removed", lambda one: str(one.removed)),
            ("new", lambda one: str(one.new)),
        ],
        f"items: whose mistakes led to it, of the {own.items:,} that the students and the teacher itself were asked. "
        f"teacher's errors: its own with the first best set; {own.without_reason:,} of {own.errors:,} without a "
        "reason, others with several. share: of all these errors. removed: right with the last best set. new: right "
        "before, wrong with it. Reasons are grouped by the words they share.",
        fold=True,
    )
    if (more := len(summary.reasons) - REASONS) > 0:
        table.add_row(Text(f"… {more} more in summary.json", style="dim"), *[""] * 6)
    whole = percent(1.0 if own.errors else None, 0)
    table.add_row("all errors", "", str(own.items), str(own.errors), whole, str(own.removed), str(own.new))
    return table


def _best_set(summary: IterateSummary) -> RenderableType:
    last = summary.rounds[-1]
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
    text = f"Of {many(asked, 'set')} asked for, {repaired.total():,} were asked for again, {dropped.total():,} dropped"
    text += f" ({causes(dropped)})" if dropped else ""
    text += f", and {repeated:,} were there already."
    if reflections:
        text += f" {many(reflections.total(), 'reflection')} had no reason in them ({causes(reflections)})."
    shares = ", ".join(f"{name} {percent(share)}" for name, share in _neither(rounds).items() if share)
    if shares:
        text += f" Students' answers that were neither yes nor no, and so wrong, in all rounds: {shares}."
    return text


def _neither(rounds: Sequence[IterateRoundSummary]) -> dict[str, float]:
    """By student, the share of its answers in all rounds that were neither yes nor no."""
    neither, answers = Counter[str](), Counter[str]()
    for one in rounds:
        for name, given in one.student_answers.items():
            answers[name] += given.n
            neither[name] += round((given.neither_share or 0.0) * given.n)
    return {name: neither[name] / n for name, n in answers.items() if n}
