"""The end of a session: prints how the class ended, writes its summary and its page, and prints the summary."""

import sqlite3
from collections.abc import Sequence

from rich.console import Console

from broker.errors import LbtError, in_words
from broker.interrupts import Interrupts
from scenarios.config.schema import Scenario
from scenarios.report.console import say, show_summary
from scenarios.report.formatting import many
from scenarios.report.summary import Summary
from scenarios.report.unanswered import Unanswered
from scenarios.session.ending import Ending
from scenarios.session.exit_codes import COMPLETE, FAILED, INTERRUPTED, PARTLY
from scenarios.session.page_writing import write_run_page
from scenarios.session.run_dir import Rebuilt, RunFolder


def conclude(
    scenario: Scenario, folder: RunFolder, ending: Ending, interrupts: Interrupts, out: Console, err: Console
) -> int:
    """Print how the class ended, write summary.json and report.html, and print the summary of a complete class.

    An interrupted class gets neither, so that Ctrl-C ends the program at once.

    Returns:
        The exit code.
    """
    if ending.status == "interrupted":
        summary_so_far = f"The summary so far of this class: python run.py report {folder}" if folder.used else ""
        say(err, f"{interrupts.words}\n{summary_so_far}".strip())
        return INTERRUPTED
    # How to go on comes first: the summary of a large class takes a while.
    if ending.status == "budget":
        say(
            err,
            f"The class ended with what it has: {ending.reason}\nTo go on, give it more: python run.py ctl {folder} "
            f"budget none; then {folder.resume}",
        )
    if ending.status == "failed":
        logs = f"Logs are in {folder}/logs. " if folder.logs.is_dir() else ""
        say(err, f"The class stopped: {ending.reason}\n{logs}{folder.go_on}")
    interrupts.words = f"Interrupted; summary.json is not written. {folder.report_later}"
    try:
        rebuilt = folder.rebuild(scenario)
        summary = rebuilt.summary
        folder.write_summary(summary)
    except (LbtError, OSError, sqlite3.Error) as error:
        if ending.status == "complete":
            say(err, f"The class is complete, but summary.json is not written: {in_words(error)}")
            say(err, folder.report_later)
        return FAILED
    if without_metrics := _write_metrics(folder, scenario, summary):
        say(err, without_metrics)
    interrupts.words = f"Interrupted; report.html is not written. Later: python run.py report {folder}"
    without_page = write_run_page(folder, scenario, rebuilt)
    if without_page:
        say(err, without_page)
    if ending.status == "failed":
        return FAILED
    show_summary(out, summary)
    before = f" ({many(ending.reused, 'result')} reused from earlier sessions)" if ending.reused else ""
    page = "" if without_page else ". Open report.html there in a browser"
    say(out, f"The results are in {folder}{before}{page}.")
    if ending.nothing_asked and ending.status == "complete":
        say(out, f"Nothing was left to do. This again: python run.py report {folder}")
    if summary.counts.failed:
        say(err, f"Ask failed requests again with: {folder.resume} --retry-failed")
    return PARTLY if ending.status == "budget" else code_of(summary.counts.failed, summary.unanswered)


def code_of(failed: int, unanswered: Sequence[Unanswered]) -> int:
    """The exit code of a complete class, by the failed requests and the unanswered ones of its summary."""
    empty = any(one.empty and one.is_total for one in unanswered)
    return PARTLY if empty or failed else COMPLETE


def report_class(folder: RunFolder, out: Console, err: Console, *, as_json: bool) -> int:
    """Print the summary of a class, and write summary.json, the metrics and report.html anew; returns the exit code."""
    scenario = folder.scenario()
    rebuilt = folder.rebuild(scenario)
    show_summary(out, rebuilt.summary, as_json=as_json)
    if trouble := write_again(folder, scenario, rebuilt):
        say(err, trouble)
        return FAILED
    return COMPLETE


def write_again(folder: RunFolder, scenario: Scenario, rebuilt: Rebuilt) -> str:
    """Write summary.json, the metrics and report.html of a class. Returns why the last two are not; empty: they are.

    Raises:
        OSError: summary.json cannot be written; none of them is.
    """
    folder.write_summary(rebuilt.summary)
    troubles = (_write_metrics(folder, scenario, rebuilt.summary), write_run_page(folder, scenario, rebuilt))
    return "\n".join(filter(None, troubles))


def _write_metrics(folder: RunFolder, scenario: Scenario, summary: Summary) -> str:
    """Write the metrics. Returns why they are not written and what to do; empty: they are."""
    try:
        folder.write_metrics(scenario, summary)
    except (LbtError, OSError) as error:
        return f"The metrics are not written: {in_words(error)}\nLater: python run.py report {folder}"
    return ""
