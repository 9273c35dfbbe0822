"""Agents on the CPU use the cores of those that have nothing to do."""

import os
import subprocess
import sys

import pytest

from agents.core_sharing import CoreSeat, CoreShare, CoreTable, waited_s
from tests import classes


class Machine:
    """A clock that stands still, and how long the threads of an agent have waited for a core."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waited: float | None = 0.0

    def go_on(self, seconds: float, waited: float = 0.0) -> None:
        self.now += seconds
        self.waited = None if self.waited is None else self.waited + waited


def shares(table: CoreTable, cores: int, most: int = 8, machine: Machine | None = None) -> list[CoreShare]:
    n, on = table.entries, machine or Machine()
    seats = [CoreSeat(table.descriptor, entry, n, cores, max(1, cores // n), most) for entry in range(n)]
    return [CoreShare(seat, waited=lambda: on.waited, clock=lambda: on.now) for seat in seats]


def threads(agents: list[CoreShare], machine: Machine) -> list[int]:
    """Those that they take once they have seen that they need not wait."""
    for agent in agents:
        agent.threads()
    machine.go_on(0.6)
    return [agent.threads() for agent in agents]


@pytest.mark.parametrize(
    ("cores", "at_work", "expected"),
    [
        (2, [0, 1, 2], [1, 1, 1]),
        (2, [1], [1, 2, 1]),  # those that are idle say what they would take
        (2, [], [2, 2, 2]),
        (8, [0, 1, 2], [3, 3, 2]),
        (8, [0, 2], [4, 3, 4]),
        (64, [2], [21, 21, 21]),  # never fewer than its own
    ],
)
def test_the_cores_are_dealt_out_among_the_agents_at_work(cores: int, at_work: list[int], expected: list[int]) -> None:
    machine = Machine()
    agents = shares(CoreTable(3), cores, machine=machine)
    for entry in at_work:
        agents[entry].set_at_work(True)
    assert threads(agents, machine) == expected


def test_an_agent_gives_its_cores_away_and_takes_them_back() -> None:
    machine = Machine()
    one, other = agents = shares(CoreTable(2), cores=4, machine=machine)
    one.set_at_work(True)
    other.set_at_work(True)
    assert threads(agents, machine) == [2, 2]
    other.set_at_work(False)
    assert threads([one], machine) == [4]
    other.set_at_work(True)
    assert one.threads() == 2, "at once"


def test_an_agent_that_died_at_work_is_idle_once_the_table_says_so() -> None:
    table, machine = CoreTable(2), Machine()
    one, other = shares(table, cores=2, machine=machine)
    other.set_at_work(True)
    assert threads([one], machine) == [1]
    table.set_idle(1)
    assert threads([one], machine) == [2]


def test_the_table_has_its_room_on_the_disk_from_the_start() -> None:
    assert os.fstat(CoreTable(3).descriptor).st_blocks > 0, "else a full disk ends the process that uses it"


def test_other_processes_share_the_table_by_its_descriptor() -> None:
    table, machine = CoreTable(2), Machine()
    one, _ = shares(table, cores=2, machine=machine)
    assert threads([one], machine) == [2]
    program = (
        "import sys; from agents.core_sharing import CoreSeat, CoreShare\n"
        "CoreShare(CoreSeat(int(sys.argv[1]), 1, 2, 2, 1, 2)).set_at_work(True)"
    )
    line = [sys.executable, "-c", program, str(table.descriptor)]
    subprocess.run(line, pass_fds=[table.descriptor], check=True, cwd=classes.ROOT)
    assert one.threads() == 1


# --- other programs -------------------------------------------------------------------------------------


def test_an_agent_that_waits_for_its_own_core_takes_no_other() -> None:
    machine = Machine()
    one, _ = shares(CoreTable(2), cores=2, machine=machine)
    for _ in range(20):
        assert one.threads() == 1
        machine.go_on(0.6, waited=0.3)
    assert threads([one], machine) == [2], "as soon as it need not wait"


def test_an_agent_that_must_wait_gives_the_cores_back_and_tries_again_after_ever_longer_pauses() -> None:
    machine = Machine()
    one, _ = shares(CoreTable(2), cores=2, machine=machine)
    for pause in (10, 20, 40, 80, 160, 160):
        assert threads([one], machine) == [2]
        machine.go_on(0.6, waited=0.3)
        assert one.threads() == 1
        machine.go_on(pause - 0.1)
        assert one.threads() == 1
        machine.go_on(0.2)


def test_an_agent_that_waits_a_little_keeps_the_cores_and_its_next_pause_is_short() -> None:
    machine = Machine()
    one, _ = shares(CoreTable(2), cores=2, machine=machine)
    for _ in range(3):  # pauses of 10, 20 and 40 s
        assert threads([one], machine) == [2]
        machine.go_on(0.6, waited=0.3)
        assert one.threads() == 1
        machine.go_on(50)
    for _ in range(9):
        assert threads([one], machine) == [2]
        machine.go_on(0.6, waited=0.06)
    assert one.threads() == 2
    machine.go_on(0.6, waited=0.3)
    assert one.threads() == 1
    machine.go_on(10.1)
    assert threads([one], machine) == [2]


def test_where_the_system_does_not_say_no_agent_takes_more_than_its_own() -> None:
    machine = Machine()
    machine.waited = None
    assert threads(shares(CoreTable(2), cores=8, machine=machine), machine) == [4, 4]


def test_threads_of_this_process_have_waited_for_some_time_or_the_system_does_not_say() -> None:
    waited = waited_s()
    assert waited is None or waited >= 0
