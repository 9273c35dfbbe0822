"""Which processes a class has, and whether it runs."""

import fcntl
from pathlib import Path

from broker.members import Member
from broker.protocol import replica
from scenarios.config.schema import Scenario


def members(scenario: Scenario) -> dict[str, Member]:
    """The members of the class: each process by its name."""
    return {
        replica(agent.name, number): Member("teacher" if agent is scenario.teacher else "student", agent.name)
        for agent in scenario.agents
        for number in range(1, agent.replicas + 1)
    }


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
