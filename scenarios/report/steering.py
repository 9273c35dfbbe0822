"""Sentences on what was changed in a class since it began: it is then not the class that was first described."""

from collections.abc import Iterator

from scenarios.report.formatting import many
from scenarios.report.run_info import Status
from scenarios.store.changes import Changes

AFTER_A_LOOK = "If an earlier result was the reason, false positives are more frequent than these p-values say."


def sentences(changes: Changes, status: Status) -> list[str]:
    """What was changed, a sentence each; empty: nothing was."""
    return list(_sentences(changes, status))


def _sentences(changes: Changes, status: Status) -> Iterator[str]:
    if changes.extended:
        yield f"The class was extended: {'; '.join(changes.extended)}. {AFTER_A_LOOK}"
    for student in changes.dropped:
        not_asked = changes.not_asked.get(student, 0)
        yield (
            f"The student {student} was dropped while the class ran: {many(not_asked, 'request')} to it "
            f"{'was' if not_asked == 1 else 'were'} not asked. On a problem where it has not taken every exam, only "
            "exams that all rationales have in common count."
        )
    for student, results in changes.added.items():
        yield (
            f"The student {student} was added while the class ran, after {many(results, 'result')}; it takes the exams "
            "of all rationales, those before included."
        )
    if changes.budget is not None:
        then = (
            "it was spent, and the class ended with what it had"
            if status == "budget"
            else "it was not spent before the end"
            if status == "complete"
            else "it still holds"
        )
        yield f"A budget of {many(changes.budget, 'completion token')} was set while the class ran: {then}."
    if changes.pauses:
        still = ", and it is paused now" if changes.paused and status == "running" else ""
        paused = f"{changes.paused_seconds:.0f} s in all, which its duration includes"
        yield f"The class was paused {many(changes.pauses, 'time')}: {paused}{still}."
