from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.client import Client
from broker.messages import Gone, Hello, Joined, Lost, Message
from scenarios.attendance import BROKER, Attendance, ClassFailure
from scenarios.gradebook.store import Store
from scenarios.schema import Agent, Limits, Scenario, Task


@dataclass
class Ended:
    name: str
    detail: str = "signal 9"
    will_restart: bool = True


class Processes:
    def __init__(self) -> None:
        self.over: list[Ended] = []
        self.killed: list[str] = []

    def ended(self) -> list[Ended]:
        over, self.over = self.over, []
        return over

    def kill(self, name: str) -> None:
        self.killed.append(name)

    def last_words(self, name: str) -> str:
        return f"the last words of {name}"


class Room:
    """An attendance with everything around it in reach of a test."""

    def __init__(self, folder: Path) -> None:
        scenario = Scenario(
            name="test",
            task=Task(family="x"),
            teacher=Agent(name="teacher"),
            students=(Agent(name="ada"),),
            limits=Limits(empty_pool_s=10),
        )
        self.now = 0.0
        self.sent: list[Message] = []
        self.store = Store(folder, write=True)
        self.processes = Processes()
        client: Client = self  # type: ignore[assignment]
        self.attendance = Attendance(
            scenario, self.store, client, self.processes, {"teacher": "t", "ada": "a"}, lambda: self.now
        )

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def join(self, name: str = "ada", answerer: str = "a", pool: str = "") -> None:
        self.attendance.joined(Joined(hello=Hello(name=name, role="student", pool=pool, answerer=answerer)))

    def lose(self, why: str, name: str = "ada") -> None:
        self.attendance.lost(Lost(name=name, pool=name, why=why))  # type: ignore[arg-type]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.store.events()]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.store.close()


def test_a_process_that_ended_is_told_to_the_broker_and_written_down(room: Room) -> None:
    room.processes.over = [Ended("ada")]
    room.attendance.look({"ada": 1})
    assert room.sent == [Gone(name="ada", detail="signal 9")]
    assert room.kinds() == ["restart"]


@pytest.mark.parametrize("why", ["silent", "stalled"])
def test_an_agent_that_hangs_is_killed_so_that_it_is_restarted(why: str, room: Room) -> None:
    room.join()
    room.lose(why)
    assert room.processes.killed == ["ada"]


@pytest.mark.parametrize("why", ["process", "goodbye", "replaced"])
def test_an_agent_that_left_is_not_killed(why: str, room: Room) -> None:
    room.join()
    room.lose(why)
    assert room.processes.killed == []


def test_an_empty_pool_with_work_is_waited_for_so_long_and_no_longer(room: Room) -> None:
    room.attendance.look({"ada": 3})
    assert room.kinds() == [], "a moment is nothing"
    for now in (5.0, 9.9):
        room.now = now
        room.attendance.look({"ada": 3})
    assert room.kinds() == ["waiting"]
    room.now = 10.1
    with pytest.raises(ClassFailure, match="nobody has been there as 'ada' for 10 s"):
        room.attendance.look({"ada": 3})


def test_a_pool_that_somebody_joins_is_waited_for_anew_when_it_empties_again(room: Room) -> None:
    room.attendance.look({"ada": 3})
    room.join()
    room.now = 9.0
    room.attendance.look({"ada": 3})
    room.lose("process")
    room.attendance.look({"ada": 3})
    room.now = 18.0
    room.attendance.look({"ada": 3})


def test_an_empty_pool_without_work_is_no_matter(room: Room) -> None:
    room.attendance.look({"ada": 0})
    room.now = 100.0
    room.attendance.look({"ada": 0, "teacher": 0})
    assert room.kinds() == []


def test_an_agent_that_is_given_up_ends_the_class_once_nobody_else_has_work(room: Room) -> None:
    room.join("teacher", "t")
    room.processes.over = [Ended("ada", will_restart=False)]
    room.attendance.look({"ada": 3, "teacher": 2})
    with pytest.raises(ClassFailure, match="the last words of ada"):
        room.attendance.look({"ada": 3, "teacher": 0})


def test_a_broker_that_cannot_be_kept_running_ends_the_class(room: Room) -> None:
    room.processes.over = [Ended(BROKER)]
    room.attendance.look({})
    room.processes.over = [Ended(BROKER, will_restart=False)]
    with pytest.raises(ClassFailure, match="the last words of broker"):
        room.attendance.look({})


def test_an_agent_that_would_answer_as_somebody_else_ends_the_class(room: Room) -> None:
    with pytest.raises(ClassFailure, match="another answerer"):
        room.join(answerer="b")


def test_a_stranger_is_noted_and_belongs_to_no_pool(room: Room) -> None:
    room.join("eve", pool="eves")
    assert room.kinds() == ["stranger"]
    assert not room.attendance.anybody
