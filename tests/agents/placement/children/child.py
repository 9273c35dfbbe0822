"""A child that does what its orders say: report, speak, start a grandchild, then leave or wait to be ended."""

import json
import os
import signal
import subprocess
import sys

import msgspec

from broker.child_process import receive, receive_next


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is to do."""

    witness: str = ""
    exit_code: int | None = None
    say: str = ""
    note: tuple[str, ...] = ()
    grandchild: bool = False
    deaf: bool = False
    """Ignore SIGTERM."""
    polite: bool = False
    """On SIGTERM leave with exit code 0."""
    farewell: str = ""
    """Said on a polite leave."""
    more: bool = False
    """Say what further orders say, until there are none."""


class Report(msgspec.Struct, frozen=True):
    """What the child tells the witness."""

    pid: int
    group: int
    cores: tuple[int, ...]
    stdin: str
    note: tuple[str, ...]
    variable: str


def main() -> None:
    """Follow the orders."""
    orders = receive(Orders)
    if orders.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if orders.polite:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(print(orders.farewell, end="")))
    if orders.witness:
        fd = os.open(orders.witness, os.O_WRONLY)
        if orders.grandchild:
            subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], pass_fds=(fd,))
        cores = tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else ()
        variable = os.environ.get("LBT_TEST", "")
        report = Report(os.getpid(), os.getpgrp(), cores, sys.stdin.read(), orders.note, variable)
        os.write(fd, json.dumps(msgspec.to_builtins(report)).encode() + b"\n")
    if orders.say:
        print(orders.say, end="")
    while orders.more and (further := receive_next(Orders)):
        print(further.say, end="")
    if orders.exit_code is not None:
        sys.exit(orders.exit_code)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
