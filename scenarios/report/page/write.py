"""Writes report.html of a class from its records: the store, the summary and what the level made of the results."""

from collections import Counter
from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from broker.files import write_atomically
from scenarios.config import load
from scenarios.config.schema import Scenario
from scenarios.levels.base import Outcome
from scenarios.report import signals
from scenarios.report.baselines import note
from scenarios.report.count_notes import counted
from scenarios.report.page import PAGE, activity, analysis, figures, flips, line_ups, rounds, training
from scenarios.report.page.answer import answer
from scenarios.report.page.document import document
from scenarios.report.page.doubts import doubts
from scenarios.report.page.flips import FlippedProblem
from scenarios.report.page.gradebook import ProblemRow, gradebook
from scenarios.report.page.texts import Packs, keep_packs
from scenarios.report.run_info import Status
from scenarios.report.summary import Summary
from scenarios.report.tables import assumption, comparison_sentence
from scenarios.scoring.lbt import Same
from scenarios.scoring.teacher_metrics import LABELS as TEACHERS
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank

FAILURES = 200
"""Failed requests with a row of their own; summary.json has all."""


class GradebookData(msgspec.Struct, frozen=True):
    """What the script of the page reads."""

    students: list[str]
    colours: dict[str, str]
    """By student."""
    problems: Sequence[ProblemRow]
    flips: Sequence[FlippedProblem]
    texts: Packs
    """Those of the problems, followed by those of the flipped ones."""


def write_class_page(
    run: Path,
    scenario: Scenario,
    summary: Summary,
    outcome: Outcome,
    bank: Bank,
    store: Store,
    same: Same,
    asked: Collection[str],
    *,
    shown: str,
) -> None:
    """Write report.html into the folder of a run, and the folder of its texts if they are many.

    Args:
        run: The folder.
        scenario: Of the class.
        summary: What summary.json has.
        outcome: What the level made of the results.
        bank: The problems.
        store: The gradebook.
        same: Whether two answers are equivalent.
        asked: Request ids of the results that are used.
        shown: The folder as a user types it, for commands.

    Raises:
        OSError: a file cannot be written.
    """
    shown_students = [student.name for student in summary.students_shown]
    pools = scenario.pools
    rows = gradebook(outcome.lessons, same, scenario, bank, shown_students)
    flipped = flips.flips(outcome.learnt, bank)
    more = flips.packs(flipped, store, bank)
    packs = keep_packs(run, store, outcome.lessons, bank, asked, more, students=shown_students)
    palette = figures.student_colours(summary)
    data = GradebookData(shown_students, {name: palette[name] for name in shown_students}, rows, flipped, packs)
    write_atomically(
        run / PAGE,
        document(
            "class.html.j2",
            data,
            scripts=("gradebook.js",),
            adds_scripts=bool(packs.folder),
            title=f"{run.name} · {summary.scenario}" if (study := _study(run)) else summary.scenario,
            cell=run.name if study else "",
            study=study,
            summary=summary,
            levels=summary.level if isinstance(summary.level, list) else [summary.level],
            status=status(summary.status, shown),
            began=_began(store),
            took=_took(summary.wall_seconds),
            source=bank.source,
            answer=answer(summary),
            doubts=doubts(summary, scenario),
            methods=figures.methods(summary),
            baselines=figures.baselines(summary),
            about_baselines=note(summary.baselines),
            comparisons=[comparison_sentence(pair) for pair in summary.paired if pair.a not in TEACHERS],
            assumption=assumption(summary),
            signals=figures.signals_table(summary),
            about_signals=signals.NOTE,
            alike=line_ups.alike(summary),
            line_ups=line_ups.line_ups(summary),
            students=figures.students(summary),
            about_shown=summary.about_shown,
            shapley=analysis.shapley(summary),
            agreement=analysis.agreement(summary),
            abilities=analysis.abilities(summary),
            fidelity=analysis.fidelity(summary),
            curves=analysis.curves(summary),
            examined=any(cell.score is not None for row in rows for cell in row.cells),
            problems=len(rows),
            flipped=flipped,
            learn=training.rounds(summary),
            iterate=rounds.charts(summary, outcome.iteration),
            trees=rounds.trees(outcome.iteration),
            activity=activity.activity(store, pools),
            counted=counted(summary),
            failures=_failures(summary),
            again=f"python run.py resume {shown} --retry-failed",
            settings=load.dump(scenario),
            weights=sorted({pools.get(name, name): of for name, of in store.answerers().items()}.items()),
            version=_version(),
        ),
    )


def status(found: Status, shown: str) -> str:
    """How the class ended, and the command that continues it."""
    match found:
        case "complete":
            return "Complete."
        case "running":
            return f"Running: these are the results so far. python run.py report {shown} writes this page again."
        case "budget":
            return (
                "Ended with what it had when its budget was spent. It continues with: python run.py ctl "
                f"{shown} budget none; python run.py resume {shown}"
            )
        case "interrupted":
            return f"Interrupted. It continues with: python run.py resume {shown}"
        case "failed":
            return f"Failed; the reason is in {shown}/logs. It continues with: python run.py resume {shown}"


def _failures(summary: Summary) -> list[tuple[str, str, str, str]]:
    """Agent, kind, detail, and how often; those alike share a row."""
    alike = Counter((one.agent, one.kind, one.detail) for one in summary.failures)
    return [(*failure, f"{times:,}") for failure, times in alike.most_common(FAILURES)]


def _study(run: Path) -> str:
    """The page of the study that the class is part of, as a link; empty: it is part of none."""
    return f"../../{PAGE}" if run.parent.name == "runs" and (run.parents[1] / "study.yaml").is_file() else ""


def _began(store: Store) -> str:
    """The day and time at which the class began, in UTC."""
    ((at,),) = store.query("SELECT min(at) FROM event WHERE kind = 'started'")
    return f"{str(at)[:16].replace('T', ' ')} UTC" if at else ""


def _took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _version() -> str:
    try:
        return version("lbt-classroom")
    except PackageNotFoundError:  # run from its folder without being installed
        return "not installed"
