from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.client import Client
from broker.protocol import AgentState, Gone, Hello, Joined, Lost, Quiet
from broker.work_messages import Message
from scenarios.config.process_schema import Limits
from scenarios.config.schema import Agent, EngineName, Scenario, Task
from scenarios.session.broker_watch import BROKER
from scenarios.session.liveness import TURN_OVER, ClassFailure, Liveness
from scenarios.store.sqlite import Store

LIMITS = Limits(empty_pool_s=10, loading_s=60, training_s=80, stalled_s=30)


@dataclass
class Ended:
    name: str
    detail: str = "signal 9"
    will_restart: bool = True
    left: bool = False
    killed: bool = False
    pid: int = 0


class Processes:
    def __init__(self) -> None:
        self.over: list[Ended] = []
        self.running: set[str] = set()
        self.stuck: set[str] = set()
        self.killed: list[tuple[str, str]] = []
        self.meant: list[int] = []

    def ended(self) -> list[Ended]:
        over, self.over = self.over, []
        return over

    def alive(self) -> set[str]:
        return self.running

    def unkillable(self) -> set[str]:
        return self.stuck

    def kill(self, name: str, why: str, pid: int = 0) -> None:
        self.killed.append((name, why))
        self.meant.append(pid)

    def starved(self, name: str) -> bool:
        return False

    def last_error(self, name: str) -> str:
        return f"the last words of {name}"


class Room:
    """An liveness with everything around it in reach of a test."""

    def __init__(self, folder: Path, engine: EngineName = "auto", *, elsewhere: bool = False) -> None:
        self.endpoint = "ipc:///room/work"
        scenario = Scenario(
            name="test",
            task=Task(family="x"),
            teacher=Agent(name="teacher"),
            students=(Agent(name="ada", replicas=2, engine=engine, elsewhere=elsewhere),),
            limits=LIMITS,
        )
        self.now = 0.0
        self.heard = 0
        self.missing_socket = ""
        self.sent: list[Message] = []
        self.store = Store(folder, write=True)
        self.processes = Processes()
        client: Client = self  # type: ignore[assignment]
        self.liveness = Liveness(
            scenario, self.store, client, self.processes, {"teacher": "t", "ada": "a"}, lambda: self.now
        )

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def join(self, name: str = "ada", answerer: str = "a", pool: str = "", state: AgentState = "ready") -> None:
        hello = Hello(name=name, role="student", pool=pool, answerer=answerer, state=state)
        self.liveness.joined(Joined(hello=hello))

    def lose(self, why: str, name: str = "ada", detail: str = "", pid: int = 0) -> None:
        self.liveness.lost(Lost(name=name, pool=name, why=why, detail=detail, pid=pid))  # type: ignore[arg-type]

    def start(self, *names: str) -> None:
        self.processes.running |= set(names)
        self.liveness.check({})

    def end(self, *ended: Ended) -> None:
        self.processes.running -= {one.name for one in ended}
        self.processes.over += ended

    def passes(self, seconds: float, **outstanding: int) -> None:
        """Time goes by, and a look is taken each second."""
        until = self.now + seconds
        while self.now < until:
            self.now += min(1.0, until - self.now)
            self.heard += 1
            self.liveness.check(outstanding or {"ada": 1})

    def events(self) -> list[str]:
        return [f"{event.kind}: {event.detail}".removesuffix(": ") for event in self.store.events()]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.store.events()]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.store.close()


def test_a_broker_that_does_not_end_is_a_failure(room: Room) -> None:
    room.start(BROKER, "ada")
    room.processes.stuck = {BROKER}
    with pytest.raises(ClassFailure, match=r"broker does not end after SIGKILL.*\nthe last words of broker"):
        room.passes(1)


def test_the_broker_is_told_that_a_process_ended_and_an_event_is_recorded(room: Room) -> None:
    room.end(Ended("ada", pid=7))
    room.liveness.check({"ada": 1})
    assert room.sent == [Gone(name="ada", detail="signal 9", pid=7)]
    assert room.kinds() == ["restart"]


# --- agents that are silent, hang or leave --------------------------------------------------------------


def test_a_silent_agent_whose_process_runs_is_shown_and_not_killed(room: Room) -> None:
    room.join()
    room.liveness.quiet(Quiet(name="ada", seconds=12.3))
    room.liveness.quiet(Quiet(name="ada", seconds=40.2, over=True))
    assert room.events()[1:] == [
        "quiet: no heartbeat for 12 s: the machine is busy, or its process is stopped",
        "heard: again, after 40 s",
    ]
    assert room.processes.killed == []
    assert room.liveness.any_ready


@pytest.mark.parametrize(
    ("why", "detail", "told"),
    [
        ("stalled", "no progress on r1 for 30 s", "no progress on r1 for 30 s (limits.stalled_s)"),
        ("silent", "does not read its messages", "does not read its messages"),
    ],
)
def test_an_agent_that_hangs_is_killed_with_a_reason(why: str, detail: str, told: str, room: Room) -> None:
    room.join()
    room.lose(why, detail=detail, pid=7)
    assert room.processes.killed == [("ada", told)]
    assert room.processes.meant == [7]


@pytest.mark.parametrize("why", ["process", "goodbye", "replaced"])
def test_an_agent_that_left_is_not_killed(why: str, room: Room) -> None:
    room.join()
    room.lose(why)
    assert room.processes.killed == []


@pytest.mark.parametrize(
    ("why", "detail", "event"),
    [
        ("goodbye", "drained", "left: finished"),
        ("goodbye", "", "left: finished"),
        ("process", TURN_OVER, f"left: {TURN_OVER}"),
        ("goodbye", "the budget is used up", "lost: the budget is used up"),
        ("process", "signal 11", "lost: its process ended: signal 11"),
    ],
)
def test_a_normal_end_is_not_recorded_as_a_loss(why: str, detail: str, event: str, room: Room) -> None:
    room.join()
    room.lose(why, detail=detail)
    assert room.events()[1:] == [event]


def test_the_end_of_a_process_that_finished_is_no_event(room: Room) -> None:
    room.end(Ended("ada", "left (exit code 0)", will_restart=False, left=True))
    room.liveness.check({})
    assert room.kinds() == []


# --- limits of loading and training ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "limit_s", "why"),
    [
        (None, 60, "no word to the broker after 60 s (limits.loading_s)"),
        ("loading", 60, "still loading after 60 s (limits.loading_s)"),
        ("training", 80, "no step of its training after 80 s (limits.training_s)"),
    ],
)
def test_a_process_that_loads_or_trains_for_too_long_is_ended(
    state: AgentState | None, limit_s: float, why: str, room: Room
) -> None:
    room.start("ada", BROKER)
    if state:
        room.join(state=state)
    room.passes(limit_s)
    assert room.processes.killed == []
    room.passes(2)
    assert room.processes.killed == [("ada", why)]


@pytest.mark.parametrize("state", ["ready", "draining"])
def test_the_loading_limit_does_not_apply_once_an_agent_has_loaded(state: AgentState, room: Room) -> None:
    room.start("ada")
    room.join(state=state)
    room.passes(200)
    assert room.processes.killed == []


def test_the_time_restarts_with_each_state_and_each_step_of_a_training(room: Room) -> None:
    room.start("ada")
    for state in ("loading", "ready", "loading", "training"):
        room.join(state=state)
        room.passes(50)
    for _ in range(3):
        room.liveness.progressed("ada")
        room.passes(70)
    room.join(state="training")  # said again, as to a new classroom: this is no step
    room.passes(12)
    assert [name for name, _ in room.processes.killed] == ["ada"]


def test_a_restarted_process_has_the_whole_time_to_load(room: Room) -> None:
    room.start("ada")
    room.passes(50)
    room.end(Ended("ada"))
    room.passes(5)
    room.start("ada")
    room.passes(55)
    assert room.processes.killed == []


def test_an_external_agent_may_load_for_any_time(room: Room) -> None:
    room.join(state="loading")
    room.passes(200)
    assert room.processes.killed == []


def test_time_in_which_this_process_did_not_run_does_not_count(room: Room) -> None:
    room.start("ada")
    room.now += 1000
    room.passes(50)
    assert room.processes.killed == []
    assert room.kinds() == []


# --- pools ----------------------------------------------------------------------------------------------


def test_an_empty_pool_with_work_fails_the_class_at_its_limit(room: Room) -> None:
    room.passes(2)
    assert room.kinds() == [], "a moment is nothing"
    room.passes(8.5)
    assert room.kinds() == ["waiting"]
    with pytest.raises(ClassFailure, match=r"^ada: no process of it runs; waited 10 s \(limits.empty_pool_s\)$"):
        room.passes(1)


def test_a_pool_is_not_empty_while_a_process_of_it_runs_or_is_about_to_start(room: Room) -> None:
    room.start("ada.2")
    room.passes(30)
    room.end(Ended("ada.2"))
    room.passes(30)
    assert room.kinds() == ["restart"]


@pytest.mark.parametrize("state", ["loading", "ready"])
@pytest.mark.parametrize("late", [False, True])
def test_a_child_whose_process_has_ended_is_no_member(state: AgentState, late: bool, room: Room) -> None:
    room.start("ada")
    if late:
        room.end(Ended("ada", will_restart=False))
        room.liveness.check({"ada": 1})
    room.join(state=state)
    if not late:
        room.end(Ended("ada", will_restart=False))
        room.liveness.check({"ada": 1})
    assert not room.liveness.any_ready
    with pytest.raises(ClassFailure, match="'ada' has ended: signal 9"):
        room.passes(12)


def test_a_process_that_could_not_be_started_again_is_gone(room: Room) -> None:
    room.start("teacher")
    room.end(Ended("teacher"))
    room.passes(1, teacher=1)
    room.end(Ended("teacher", "cannot be started", will_restart=False))
    with pytest.raises(ClassFailure, match="'teacher' has ended: cannot be started"):
        room.passes(30, teacher=1)


def test_an_external_agent_that_has_not_joined_is_told_how_to(tmp_path: Path) -> None:
    how = "it is not connected; start your program with endpoint ipc:///room/work and name ada (docs/protocol.md)"
    room = Room(tmp_path, engine="external")
    with room.store:
        room.passes(5)
        assert room.events() == [f"waiting: {how}; waiting 10 s (limits.empty_pool_s)"]
        with pytest.raises(ClassFailure) as caught:
            room.passes(10)
    assert str(caught.value) == f"ada: {how}; waited 10 s (limits.empty_pool_s)"


def test_an_agent_elsewhere_that_has_not_joined_is_to_be_invited(tmp_path: Path) -> None:
    room = Room(tmp_path, elsewhere=True)
    how = f"no process of it has joined from elsewhere; python run.py invite {tmp_path}"
    with room.store:
        room.passes(5)
        assert room.events() == [f"waiting: {how}; waiting 10 s (limits.empty_pool_s)"]


def test_an_external_agent_is_a_member_until_the_broker_reports_its_loss(room: Room) -> None:
    room.join()
    room.passes(100)
    assert room.liveness.any_ready
    assert not room.liveness.any_child_ready


@pytest.mark.parametrize("joined", [False, True])
def test_a_process_that_does_not_end_after_sigkill_ends_the_class(joined: bool, room: Room) -> None:
    room.start("ada")
    if joined:
        room.join(state="loading")
    room.passes(62)
    assert len(room.processes.killed) == 1
    room.processes.stuck = {"ada"}
    room.passes(9)
    with pytest.raises(ClassFailure, match=r"process of ada does not end after SIGKILL: .*\nthe last words of ada"):
        room.passes(3)
    assert len(room.processes.killed) == 1


def test_an_agent_with_another_process_continues_when_one_does_not_end_after_sigkill(room: Room) -> None:
    room.start("ada", "ada.2")
    room.join("ada.2", pool="ada")
    room.processes.stuck = {"ada"}
    room.passes(100)
    room.processes.stuck = set()
    room.end(Ended("ada"))
    room.end(Ended("ada.2"))
    room.passes(100)
    assert room.processes.killed == []


def test_the_time_of_an_empty_pool_restarts_after_an_agent_has_joined(room: Room) -> None:
    room.passes(9)
    room.join()
    room.passes(1)
    room.lose("process")
    room.passes(9)
    assert "waiting" in room.kinds()


def test_an_empty_pool_without_work_is_ignored(room: Room) -> None:
    room.passes(100, ada=0, teacher=0)
    assert room.kinds() == []


def test_an_agent_that_is_not_restarted_fails_the_class_once_no_other_has_work(room: Room) -> None:
    room.join("teacher", "t")
    room.end(Ended("ada", will_restart=False))
    room.liveness.check({"ada": 3, "teacher": 2})
    room.end(Ended("ada.2", "exit code 1", will_restart=False))
    room.liveness.check({"ada": 3, "teacher": 2})
    with pytest.raises(ClassFailure, match=r"exit code 1\nthe last words of ada\.2"):
        room.liveness.check({"ada": 3, "teacher": 0})


def test_the_failure_of_a_pool_that_is_not_restarted_says_how_it_ended(room: Room) -> None:
    room.join("teacher", "t")
    room.end(Ended("ada", will_restart=False), Ended("ada.2", will_restart=False))
    with pytest.raises(ClassFailure, match="'ada' has ended: signal 9\nthe last words of ada"):
        room.passes(12, ada=3, teacher=2)


@pytest.mark.parametrize(("limit", "more"), [("loading_s", "120"), ("stalled_s", "60")])
def test_the_class_names_the_limit_that_ended_an_agent_and_how_to_raise_it(limit: str, more: str, room: Room) -> None:
    room.start("ada")
    if limit == "loading_s":
        room.passes(62)
    else:
        room.join()
        room.lose("stalled", detail="no progress on r1 for 30 s")
    [(_, why)] = room.processes.killed
    room.end(
        Ended("ada.2", will_restart=False),
        Ended("ada", f"ended by this program: {why}", will_restart=False, killed=True),
    )
    with pytest.raises(ClassFailure) as failure:
        room.liveness.check({"ada": 1})
    assert f"(limits.{limit})" in str(failure.value)
    assert f"resume with --set limits.{limit}={more}" in str(failure.value)


def test_an_agent_that_died_before_it_was_ended_is_not_reported_as_slow(room: Room) -> None:
    room.start("ada")
    room.passes(62)
    room.end(Ended("ada.2", will_restart=False), Ended("ada", "exit code 1", will_restart=False))
    with pytest.raises(ClassFailure, match="has ended: exit code 1\nthe last words of ada"):
        room.liveness.check({"ada": 1})


def test_an_agent_that_does_not_join_a_new_broker_is_ended_like_one_that_loads_for_too_long(room: Room) -> None:
    room.start("ada", "ada.2")
    room.join("ada", pool="ada")
    room.join("ada.2", pool="ada")
    room.passes(100)
    room.end(Ended(BROKER))
    room.passes(1)
    room.join("ada.2", pool="ada")
    room.passes(62)
    assert room.processes.killed == [("ada", "no word to the broker after 60 s (limits.loading_s)")]


def test_a_broker_that_cannot_be_kept_running_ends_the_class_with_how_it_ended(room: Room) -> None:
    room.end(Ended(BROKER))
    room.liveness.check({})
    room.end(Ended(BROKER, will_restart=False))
    with pytest.raises(ClassFailure, match="signal 9\nthe last words of broker"):
        room.liveness.check({})


def test_an_agent_with_another_answerer_digest_fails_the_class(room: Room) -> None:
    with pytest.raises(ClassFailure, match="another answerer"):
        room.join(answerer="b")


def test_a_refused_peer_does_not_remove_the_agent_of_its_name(room: Room) -> None:
    room.join()
    room.lose("refused", detail="is the name of process 7, which still runs")
    assert room.kinds() == ["joined", "lost"]
    assert room.liveness.any_ready


def test_a_stranger_is_noted_and_belongs_to_no_pool(room: Room) -> None:
    room.join("eve", pool="eves")
    assert room.kinds() == ["stranger"]
    assert not room.liveness.any_ready
