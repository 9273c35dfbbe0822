"""A parent that a test kills: it starts a child, and a fork that holds all its pipes open, as a library may."""

import os
import signal
from pathlib import Path

import msgspec

from broker.child_process import receive, spawn
from tests.agents.placement.children.child import Orders


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent is to do."""

    child: Orders
    log: str
    witness: str


def main() -> None:
    """Start the child and the fork, tell the fork's pid, and wait to be killed."""
    plan = receive(Plan)
    spawn("tests.agents.placement.children.child", plan.child, env={}, log=Path(plan.log))
    fork = os.fork()
    if fork:
        fd = os.open(plan.witness, os.O_WRONLY)
        os.write(fd, f"{fork}\n".encode())
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
