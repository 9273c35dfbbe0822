"""The command `ctl`: changes a class that another terminal runs, or shows how it is going."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console

from broker.errors import ScenarioError, StoreError
from scenarios.config.schema import Scenario
from scenarios.config.student_file import read_student
from scenarios.monitor.monitor import LINES
from scenarios.monitor.reader import Reader
from scenarios.monitor.state import Snapshot
from scenarios.monitor.view import view
from scenarios.report.console import print_json, say
from scenarios.report.layout import Trimmed
from scenarios.report.run_info import facts_from
from scenarios.report.spend import spent_in
from scenarios.session import control
from scenarios.session.command_line import AsJson, RunDir
from scenarios.session.control import ClassCommand
from scenarios.session.exit_codes import COMPLETE
from scenarios.session.run_dir import RunFolder
from scenarios.session.running import is_running
from scenarios.session.steering import read_budget
from scenarios.store import changes
from scenarios.store.sqlite import Store

Verb = Literal["pause", "resume", "add-student", "drop", "budget", "status"]
ARGUMENTS = {"add-student": "FILE", "drop": "STUDENT", "budget": "TOKENS"}
"""What a verb needs; the others need nothing."""
EVENTS = {
    "pause": changes.PAUSED,
    "resume": changes.RESUMED,
    "add-student": changes.JOINS,
    "drop": changes.DROPPED,
    "budget": changes.BUDGET,
}
"""The event that records a verb."""
GAUGES_S = 1.0
"""How long `status` waits for the broker's gauges, which an idle class does not send."""


def ctl(
    run_dir: RunDir,
    verb: Annotated[
        Verb,
        Parameter(
            help="pause: send no new requests until `resume`. add-student FILE: continue with one more student. drop "
            "STUDENT: send it no more requests. budget TOKENS: end the class after this number of completion tokens; "
            "`none` removes the budget. status: show the progress of the class."
        ),
    ],
    argument: Annotated[str | None, Parameter(help="FILE of add-student, STUDENT of drop, TOKENS of budget.")] = None,
    /,
    *,
    as_json: AsJson = False,
) -> int:
    """Change a class while it runs, or show how it is going: ctl RUN pause|resume|add-student|drop|budget|status."""
    needed = ARGUMENTS.get(verb)
    if (argument is None) == (needed is not None):
        usage = f"python run.py ctl RUN {verb}{f' {needed}' if needed else ''}"
        raise ScenarioError(f"{verb} {f'needs {needed}' if needed else f'takes no {argument!r}'}: {usage}")
    folder = RunFolder(run_dir)
    scenario = folder.scenario()
    if verb == "status":
        shown = _snapshot(folder, scenario)
        if as_json:
            print_json({"running": is_running(folder.path), **msgspec.to_builtins(shown)})
        else:
            console = Console()
            console.print(Trimmed(view(shown, console.width, LINES)))
        return COMPLETE
    argument = argument or ""
    if verb == "budget":
        read_budget(argument)
    if verb == "add-student":
        argument = msgspec.json.encode(read_student(Path(argument))).decode()
        if _of_study(folder):
            raise ScenarioError(f"{folder} is a class of a study, whose classes have the students that the study names")
    said = _command(folder, ClassCommand(verb, argument))
    if as_json:
        print_json({"done": True, "text": said})
    else:
        say(Console(), said)
    return COMPLETE


def _command(folder: RunFolder, command: ClassCommand) -> str:
    """Give a command to a class; returns what it says that it did.

    Raises:
        ScenarioError: it does not run, or it refuses the command.
        StoreError: it ended before it answered.
    """
    with Store(folder.path) as store:
        before, complete = store.events(), facts_from(store).status == "complete"
    if not is_running(folder.path):
        then = _after_the_end(folder) if complete else folder.go_on
        if command.verb == "budget" and changes.changes_from(before).budget is not None:
            return _change_budget(folder, command.argument, then)
        ended = "has ended, with all its results" if complete else "does not run, so it cannot be changed"
        raise ScenarioError(f"{folder}: this class {ended}. {then}")
    waits = "The class has not answered yet. Ctrl-C ends the waiting; the command stays with the class."
    if (answer := control.ask(folder.path, command, str(folder), lambda: say(Console(stderr=True), waits))) is None:
        return _not_answered(folder, command, before[-1].seq if before else 0)
    if not answer.done:
        raise ScenarioError(f"{folder}: {answer.text}")
    return answer.text


def _of_study(folder: RunFolder) -> bool:
    return (folder.path.parent.parent / "study.yaml").is_file()


def _after_the_end(folder: RunFolder) -> str:
    """What can be done with a class that is complete. A class of a study is like the others, so it gets no more."""
    look = f"See it with: python run.py show {folder}"
    return look if _of_study(folder) else f"{look}\nAsk more with: python run.py extend {folder} --set KEY=VALUE"


def _change_budget(folder: RunFolder, budget: str, then: str) -> str:
    """Change the budget of a class that does not run, for its next session; `then`: what can be done now."""
    with Store(folder.path, write=True) as store:
        store.note("", changes.BUDGET, budget)
    return f"the budget is changed. {then}"


def _not_answered(folder: RunFolder, command: ClassCommand, after: int) -> str:
    """What to say of a command to a class that ended before it answered: whether it was recorded."""
    with Store(folder.path) as store:
        found = [(one.agent, one.detail) for one in store.events(after, kinds=[EVENTS[command.verb]])]
    given = {"drop": command.argument, "budget": command.argument, "add-student": command.argument}.get(command.verb)
    if any(given in one for one in found):
        return (
            f"recorded, and the class ended before it said more; it takes effect when the class goes on. {folder.go_on}"
        )
    raise StoreError(f"{folder}: the class ended before it carried out {command.verb}; nothing was changed")


def _snapshot(folder: RunFolder, scenario: Scenario) -> Snapshot:
    """All that the monitor knows of a class."""
    with Store(folder.path) as store:
        reader = Reader(store, scenario, spent_in(folder.path))
        gauges = None
        if running := is_running(folder.path):
            with folder.subscriber(scenario) as source:
                gauges = source.latest(GAUGES_S)
        reader.catch_up()
        return reader.snapshot(gauges, now=datetime.now(UTC), clock=time.monotonic(), running=running)
