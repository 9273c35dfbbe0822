"""Whether a folder is that of a study, which processes a class has, and whether it runs."""

import fcntl
from collections.abc import Collection
from pathlib import Path

from broker.members import CLASSROOM, MONITOR, Member
from broker.protocol import pool_of, replica
from scenarios.config.schema import Scenario


def members(scenario: Scenario, far: Collection[str] = ()) -> dict[str, Member]:
    """The members of the class: each process by its name; `far`: those that run.py starts on other hosts."""
    return {
        name: Member("teacher" if agent is scenario.teacher else "student", agent.name, name in far)
        for agent in scenario.agents
        for name in (replica(agent.name, number) for number in range(1, agent.replicas + 1))
    }


def without_keys(scenario: Scenario, keys: Path) -> list[str]:
    """The names that the class needs keys of and that have none in the folder `keys`.

    An agent that runs elsewhere gets its key with its invitation. The secret key of an external agent may have been
    moved to its host.
    """
    by_name = {agent.name: agent for agent in scenario.agents}
    here = [name for name in members(scenario) if not by_name[pool_of(name)].elsewhere]
    moved = {name for name in here if by_name[pool_of(name)].engine == "external"}
    return [
        name
        for name in (CLASSROOM, MONITOR, *here)
        if not (keys / f"{name}.pub").is_file() or not (name in moved or (keys / f"{name}.key").is_file())
    ]


def holds_study(folder: Path) -> bool:
    """Whether a folder is that of a study; a study file alone is none."""
    return (folder / "study.yaml").is_file() and (folder / "runs").is_dir()


def is_running(folder: Path) -> bool:
    """Whether a process runs the class in `folder`: it holds the lock, which the death of a process releases.

    Takes the lock shared and releases it within microseconds.
    """
    try:
        lock = (folder / "lock").open()
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
