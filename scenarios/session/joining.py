"""Students that join a class while it runs (`run.py ctl RUN add-student FILE`).

The class ends its session and goes on in the next one as `extend` would: it is then the class that had the student from
the beginning, and asks what is missing. The event `joins` is recorded first, so a class that is killed in between goes
on the same way.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from rich.console import Console

from broker.errors import LbtError
from scenarios.config.schema import Agent, Scenario
from scenarios.report.console import say
from scenarios.session.rerun import Extension
from scenarios.session.run_dir import RunFolder
from scenarios.store.changes import ADDED, NOT_ADDED, changes
from scenarios.store.sqlite import Store


def check_student(folder: RunFolder, store: Store, student: Agent) -> None:
    """Check whether a student can join a class that runs.

    Raises:
        LbtError: it cannot; the reason.
    """
    waiting = [msgspec.json.decode(one, type=Agent) for one in changes(store).joining.values()]
    extension = Extension(folder, joining=[*waiting, student])
    extension.check(store, extension.expected_answerers(store))


def go_on_with(
    folder: RunFolder, go_on: Callable[..., int], err: Console, overrides: Sequence[str] = (), **more: Any
) -> int | None:
    """Go on with a class and the students that are to join it; without those, if they cannot.

    Args:
        folder: of the run.
        go_on: goes on with a scenario in a folder, perhaps as an extension; returns the exit code. It raises an
            LbtError only before any process is started.
        err: the console for notices.
        overrides: of the scenario; they change no request.
        more: for `go_on`.

    Returns:
        The exit code; None: no student is to join.
    """
    if not folder.used:
        return None
    with Store(folder.path) as store:
        waiting = changes(store).joining
    names = {agent.name for agent in folder.scenario().agents}
    students = [msgspec.json.decode(one, type=Agent) for name, one in waiting.items() if name not in names]
    if not students:
        return None
    try:
        extension = Extension(folder, overrides, joining=students)
        return go_on(extension.scenario, folder, extension=extension, **more)
    except LbtError as error:
        named = ", ".join(student.name for student in students)
        say(err, f"The class goes on without {named}, which cannot join it: {error}")
        with Store(folder.path, write=True) as store:
            for student in students:
                store.note(student.name, NOT_ADDED, str(error))
    return go_on(folder.scenario(tuple(overrides)), folder, **more)


def note_added(store: Store, scenario: Scenario) -> None:
    """Record that students have joined, where the scenario has them now, and how many results there are so far."""
    names = {agent.name for agent in scenario.agents}
    for name in changes(store).joining:
        if name in names:
            ((results,),) = store.query("SELECT count(*) FROM result")
            store.note(name, ADDED, str(results))
