"""A recorded class under a changed scenario: which changes `resume` and `replay` accept."""

from collections.abc import Sequence

from rich.console import Console

from broker.errors import ScenarioError
from scenarios.config import load
from scenarios.config.schema import Scenario
from scenarios.report.console import say, show_summary
from scenarios.report.summary import Summary
from scenarios.report.unanswered import ASKED
from scenarios.session.run_dir import RunFolder


def to_resume(folder: RunFolder, overrides: Sequence[str]) -> Scenario:
    """The scenario with which the class goes on.

    Raises:
        ScenarioError: it would change what was asked before.
    """
    old, new = folder.scenario(), folder.scenario(tuple(overrides))
    if changed := load.asked_differs(old, new, folder.without_answers(old)):
        raise ScenarioError(
            f"a resumed class asks what it asked before; this would change it:\n{'; '.join(changed)}\n"
            "For that, start a new class: python run.py SCENARIO.yaml --set ..."
        )
    return new


def replayed(folder: RunFolder, overrides: Sequence[str]) -> tuple[Summary, dict[str, object], str]:
    """The summary under changed rules, what changed and was never asked as data, and the latter as a sentence.

    Raises:
        ScenarioError: the records do not suffice for these changes.
    """
    old, new = folder.scenario(), folder.scenario(tuple(overrides))
    if beyond := load.beyond_replay(old, new):
        raise ScenarioError("replay scores what was recorded; this would be another class:\n" + "; ".join(beyond))
    with load.located(folder.scenario_file, overrides):
        summary, missing = folder.summarize(new)
    replay: dict[str, object] = {"changed": load.difference(old, new), "never_asked": missing}
    if not missing:
        return summary, replay, ""
    counted = ", ".join(f"{n:,} {ASKED.get(stage, f'requests of stage {stage}')}" for stage, n in missing.items())
    # Levels 2 and 3 wait for results before they ask on.
    then = "" if new.levels == (1,) else ", and all that would have followed"
    return summary, replay, f"Never asked in this run, and so left out: {counted}{then}"


def show_replayed(console: Console, folder: RunFolder, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print the summary of a run under changed rules, and what was never asked; see `replayed`."""
    summary, changes, never_asked = replayed(folder, overrides)
    if not as_json:
        say(console, f"replayed with {', '.join(overrides) or 'nothing changed'}; summary.json is unchanged")
    show_summary(console, summary, as_json=as_json, replay=changes)
    if never_asked and not as_json:
        say(console, never_asked)
