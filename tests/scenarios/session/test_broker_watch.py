from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.client import Client
from scenarios.config.process_schema import Broker, Limits
from scenarios.config.schema import Agent, Scenario, Task
from scenarios.session.broker_watch import BROKER, SOCKET_S, STARVED, BrokerWatch
from scenarios.store.sqlite import Store

SCENARIO = Scenario(
    name="test",
    task=Task(family="x"),
    teacher=Agent(name="teacher"),
    students=(Agent(name="ada"),),
    limits=Limits(broker_s=30),
    broker=Broker(heartbeat_s=1),
)
SAID_NOTHING = "it said nothing for 30 s (limits.broker_s)"


class Room:
    """A watch with everything around it in reach of a test."""

    def __init__(self, folder: Path, scenario: Scenario = SCENARIO) -> None:
        self.heard = 0
        self.missing_socket = ""
        self.is_starved = False
        self.killed: list[str] = []
        self.store = Store(folder, write=True)
        client: Client = self  # type: ignore[assignment]
        self.watch = BrokerWatch(scenario, self.store, client, self)

    def starved(self, name: str) -> bool:
        assert name == BROKER
        return self.is_starved

    def kill(self, name: str, why: str, pid: int = 0) -> None:
        assert name == BROKER
        self.killed.append(why)

    def passes(self, seconds: int, *, runs: bool = True, awaited: bool = False) -> None:
        for _ in range(seconds):
            self.watch.check(1.0, runs=runs, awaited=awaited)

    def events(self) -> list[str]:
        return [f"{event.agent} {event.kind}: {event.detail}" for event in self.store.events()]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.store.close()


def test_a_silent_broker_is_noted_first_and_ended_at_the_limit(room: Room) -> None:
    room.passes(3)
    assert room.events() == []
    room.passes(27)
    assert room.killed == []
    (said,) = room.events()
    assert said.startswith("broker quiet: no word for 3 s") and "limits.broker_s" in said
    room.passes(1)
    assert room.killed == [SAID_NOTHING]


def test_each_message_restarts_the_time(room: Room) -> None:
    room.passes(29)
    room.heard += 1
    room.passes(29)
    assert room.killed == []
    assert [line.split(":")[0] for line in room.events()] == ["broker quiet", "broker heard", "broker quiet"]


def test_a_starved_broker_gets_more_time_but_not_for_ever(room: Room) -> None:
    room.is_starved = True
    room.passes(30 * STARVED - 1)
    assert room.killed == []
    room.passes(2)
    assert room.killed == [SAID_NOTHING]


def test_a_broker_without_a_process_is_left_to_the_launcher(room: Room) -> None:
    room.passes(29)
    room.passes(100, runs=False)
    room.passes(30)
    assert room.killed == []


def test_rare_heartbeats_are_waited_for(tmp_path: Path) -> None:
    rare = Scenario(name="test", teacher=SCENARIO.teacher, students=SCENARIO.students, broker=Broker(heartbeat_s=100))
    room = Room(tmp_path, rare)
    room.passes(300)
    assert room.killed == []
    room.passes(1)
    assert room.killed == ["it said nothing for 300 s (limits.broker_s)"]
    room.store.close()


def test_a_broker_whose_socket_is_missing_is_ended_when_an_agent_wants_to_connect(room: Room) -> None:
    room.missing_socket = "/somewhere/work"
    for _ in range(20):
        room.heard += 1
        room.passes(1)
    assert room.killed == []
    for _ in range(int(SOCKET_S) + 1):
        room.heard += 1
        room.passes(1, awaited=True)
    (why,) = room.killed
    assert "its socket /somewhere/work is gone" in why
