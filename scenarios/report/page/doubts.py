"""What a reader should doubt in the figures of a class: a sentence each, none where there is nothing."""

from collections.abc import Iterator

from scenarios.config.schema import Scenario
from scenarios.report import steering
from scenarios.report.count_notes import ODDITIES
from scenarios.report.formatting import many, percent, uncorrected
from scenarios.report.summary import Summary
from scenarios.report.tables import LABELS, UNPROTECTED
from scenarios.report.unanswered import sentence


def doubts(summary: Summary, scenario: Scenario) -> list[str]:
    """The sentences, the weightiest first."""
    return [*_doubts(summary), *_elsewhere(summary, scenario), *_uncorrected(summary)]


def _doubts(summary: Summary) -> Iterator[str]:
    if summary.simulated:
        yield "Agents are simulated: the figures say nothing about any language model."
    if summary.unprotected:
        yield UNPROTECTED
    yield from steering.sentences(summary.changes, summary.status)
    if summary.caution:
        yield summary.caution
    if summary.counts.failed:
        yield f"{many(summary.counts.failed, 'request')} failed and have no result; the run, below, lists them."
    yield from map(sentence, summary.unanswered)
    yield from _students(summary)
    for name, method in summary.methods.items():
        if method.tie_share and method.accuracy_random_ties is not None:
            of_all = percent(method.accuracy_random_ties)
            yield (
                f"{LABELS.get(name, name)}: on {percent(method.tie_share)} of the problems several answers had the "
                f"best score. With ties broken at random it would be right on {of_all} of all problems."
            )
    counts = summary.counts
    for n, of, what in (
        (counts.unparsable_rationales, counts.teaching_rationales, "rationales"),
        (counts.unparsable_exam_answers, counts.exam_answers, "exam answers"),
    ):
        if n:
            yield f"No answer was found in {n:,} of {of:,} {what}."
    for name, text in ODDITIES.items():
        if n := getattr(counts, name):
            yield text.format(n=f"{n:,}", s="" if n == 1 else "s").capitalize() + "."
    for agent in summary.agents:
        if agent.without:
            yield f"The server of {agent.name} does not take {', '.join(agent.without)}: it was asked without."
        if agent.restarts:
            yield f"{agent.name} was restarted {many(agent.restarts, 'time')}."


def _elsewhere(summary: Summary, scenario: Scenario) -> Iterator[str]:
    """Agents that ran otherwise than the scenario asks."""
    asked = {agent.name: agent for agent in scenario.agents}
    for agent in summary.agents:
        if (wanted := asked.get(agent.name)) is None:
            continue
        if wanted.engine != "auto" and agent.engine and wanted.engine != agent.engine:
            yield f"{agent.name} ran on the engine {agent.engine}, not on {wanted.engine} as the scenario asks."
        if wanted.gpu not in ("auto", "none") and agent.device.startswith("CPU"):
            yield f"{agent.name} ran on {agent.device}, not on a GPU as the scenario asks."
        if wanted.dtype != "auto" and agent.dtype and wanted.dtype != agent.dtype.partition(",")[0]:
            yield f"{agent.name} computed in {agent.dtype}, not in {wanted.dtype} as the scenario asks."


def _uncorrected(summary: Summary) -> Iterator[str]:
    if len(summary.paired) > 1:
        yield uncorrected(len(summary.paired))


def _students(summary: Summary) -> Iterator[str]:
    """Whether the students differ: intervals that all have a value in common do not tell them apart."""
    sat = [student for student in summary.students if student.exam_answers]
    if len(sat) < 2:
        return
    low, high = max(student.ci95[0] for student in sat), min(student.ci95[1] for student in sat)
    if low <= high:
        yield f"The students' exams do not tell them apart: all intervals hold {percent((low + high) / 2)}."
