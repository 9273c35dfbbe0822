"""Many simulated students in a few processes."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from agents.placement import resolve
from agents.placement.class_agents import AgentProcesses
from agents.placement.launcher import ChildEnded
from agents.placement.shared_processes import PROCESSES, SharedProcessLauncher, shared_processes, sharing_notice
from broker.server import BrokerSpec
from scenarios.config.schema import Agent

TEACHER = Agent(name="teacher", engine="simulated")


def agents(*students: Agent) -> tuple[resolve.ResolvedAgent, ...]:
    return resolve.resolve_agents(TEACHER, students)


def simulated(count: int, **arguments: Any) -> list[Agent]:
    return [Agent(name=f"s{n}", engine="simulated", engine_args=arguments) for n in range(count)]


def test_up_to_as_many_students_as_processes_have_their_own() -> None:
    found = agents(*simulated(PROCESSES))
    assert shared_processes(found, in_turn=False) == {}
    assert sharing_notice(found, in_turn=False) == []


def test_more_students_share_so_many_processes_evenly() -> None:
    found = agents(*simulated(1000))
    shared = shared_processes(found, in_turn=False)
    assert len(shared) == PROCESSES
    assert {len(names) for names in shared.values()} == {20}
    assert [name for names in shared.values() for name in names] == [f"s{n}" for n in range(1000)]
    assert sharing_notice(found, in_turn=False) == ["1,000 simulated students share 50 processes."]
    assert {len(names) for names in shared_processes(agents(*simulated(51)), in_turn=False).values()} == {1, 2}


def test_agents_that_are_not_simulated_or_end_their_process_have_their_own() -> None:
    others = [
        Agent(name="far", engine="external"),
        Agent(name="ill", engine="simulated", engine_args={"crash_after": 3}),
    ]
    shared = shared_processes(agents(*simulated(60), *others), in_turn=False)
    assert not {"teacher", "far", "ill"} & {name for names in shared.values() for name in names}
    assert shared_processes(agents(*simulated(60, hang_after=2)), in_turn=False) == {}


def test_agents_that_take_turns_are_started_alone() -> None:
    assert shared_processes(agents(*simulated(60)), in_turn=True) == {}


class Launcher:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def ended(self, timeout_s: float) -> list[ChildEnded]:
        gone = ChildEnded("simulated.1", "killed", True, 1, pid=7)
        return [gone, ChildEnded("teacher", "left", False, 0, left=True)]

    def alive(self) -> set[str]:
        return {"broker", "simulated.1"}

    def unkillable(self) -> set[str]:
        return {"simulated.2"}

    def start(self, later: Collection[str]) -> None:
        self.asked.append(("start", *sorted(later)))

    def kill(self, name: str, why: str, pid: int) -> None:
        self.asked.append(("kill", name, why, pid))

    def start_child(self, name: str) -> None:
        self.asked.append(("start_child", name))

    def stop_child(self, name: str) -> int:
        self.asked.append(("stop_child", name))
        return 9

    def stop(self, grace_s: float) -> list[str]:
        return []

    def starved(self, name: str) -> bool:
        return name == "simulated.1"

    def last_error(self, name: str) -> str:
        return f"of {name}"


def test_a_shared_process_looks_like_one_process_for_each_of_its_agents() -> None:
    inner = Launcher()
    launcher = SharedProcessLauncher(inner, {"simulated.1": ("ada", "bob"), "simulated.2": ("cyd",)})  # type: ignore[arg-type]
    assert [(one.name, one.pid, one.will_restart) for one in launcher.ended()] == [
        ("ada", 7, True), ("bob", 7, True), ("teacher", 0, False),
    ]  # fmt: skip
    assert launcher.alive() == {"broker", "ada", "bob"}
    assert launcher.unkillable() == {"cyd"}
    assert launcher.starved("bob") and not launcher.starved("cyd")
    assert launcher.last_error("ada") == "of simulated.1"
    assert launcher.last_error("teacher") == "of teacher"
    assert launcher.stop_child("teacher") == 9
    assert launcher.stop_child("cyd") == 0, "others need its process"
    assert launcher.stop(1.0) == []
    launcher.start(["ada", "cyd", "teacher"])
    launcher.kill("bob", "it hangs", 7)
    launcher.start_child("bob")
    assert inner.asked == [
        ("stop_child", "teacher"), ("start", "simulated.2", "teacher"), ("kill", "simulated.1", "it hangs", 7),
        ("start_child", "simulated.1"),
    ]  # fmt: skip


@pytest.mark.parametrize(("students", "processes"), [(3, 5), (60, 2 + PROCESSES)])
def test_the_launcher_of_a_class_has_the_broker_the_teacher_and_the_processes_of_students(
    tmp_path: Path, students: int, processes: int
) -> None:
    broker = BrokerSpec(endpoint="ipc://x", gauges="ipc://y", heartbeat_s=1.0, stalled_s=1.0)
    own = AgentProcesses(
        agents(*simulated(students)), {}, broker, run=tmp_path, answer_key=tmp_path / "key", seed=1, in_turn=False
    )
    launcher: Any = own.launcher("broker", broker, tmp_path, 0)
    children = getattr(launcher, "_launcher", launcher)._children
    assert len(children) == processes
    assert len(own.own) == 1 + students
