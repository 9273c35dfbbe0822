"""Commands to a class that runs, with a broker and agents that answer only what a test lets them answer."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from broker.client import Client
from broker.delivery import Received
from broker.errors import ScenarioError, SecurityError
from broker.protocol import Ack, Drain, Gone, Hello, Joined, Lost, Welcome
from broker.work_messages import Answered, Message, Teach, Usage
from scenarios.config.schema import Agent, Exam, Scenario, StudentCopy
from scenarios.levels.base import Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.observe.votes import STAGE as VOTES
from scenarios.levels.steered import SteeredLevel
from scenarios.session.control import (
    ANSWER,
    COMMAND,
    FOLDER,
    NOTICE_POLLS,
    ClassCommand,
    CommandAnswer,
    ControlFolder,
    ask,
)
from scenarios.session.liveness import PAUSE_S
from scenarios.session.runner import ClassRunner
from scenarios.session.steering import CHECK_S, read_budget
from scenarios.store.changes import changes
from scenarios.store.sqlite import Store
from scenarios.tasks.grading.answers import ClassGrader
from tests.scenarios.session.test_runner import ANSWERERS, BANK, NAMES, SCENARIO, Idle, kept

LIMIT = 10_000
"""Looks after which a class that does not end has gone wrong."""


class Launcher(Idle):
    def __init__(self) -> None:
        self.sent_away: list[str] = []

    def start_child(self, name: str) -> None:
        raise AssertionError(name)

    def stop_child(self, name: str) -> int:
        self.sent_away.append(name)
        return 7


class Classroom:
    """A class under way: `step` is called at each look of its loop, and answers or commands as the test wants."""

    def __init__(self, folder: Path, scenario: Scenario = SCENARIO, credit: int = 1000) -> None:
        self.welcome = Welcome(epoch="e", heartbeat_s=1.0, credit=credit)
        self.heard = 0
        self.missing_socket = ""
        self.folder = folder
        self.scenario = scenario
        self.store = Store(folder, write=True)
        self.launcher = Launcher()
        self.now = 0.0
        self.asked: dict[str, tuple[str, Message]] = {}
        self.sent: list[str] = []
        """Ids in the order in which they were sent, also again."""
        self.forgotten: set[str] = set()
        """Ids that the broker has forgotten."""
        self.gone: list[Gone] = []
        self.step: Callable[[], list[str]] = self.everything
        self._looks = 0
        self._draining = False
        self.hellos = [
            Received(
                Joined(hello=Hello(name=name, role="student", answerer=ANSWERERS[name], state="ready")), "", "", ""
            )
            for name in NAMES
        ]

    def run(self) -> str:
        client: Client = self  # type: ignore[assignment]
        answerers = {one.name: ANSWERERS.get(one.pool, one.pool) for one in self.scenario.students}
        level = ObserveLevel(Setup(self.scenario, BANK, ANSWERERS | answerers))
        known = changes(self.store).dropped
        with ControlFolder(self.folder) as control, ClassGrader() as grader:
            self.runner = ClassRunner(
                self.scenario,
                BANK,
                SteeredLevel(level, known, lambda id: self.store.find(id) is not None),
                grader,
                self.store,
                client,
                self.launcher,  # type: ignore[arg-type]
                answerers=ANSWERERS,
                weights={},
                keep_file=kept,
                processes={name: [name] for name in NAMES},
                control=control,
                clock=lambda: self.now,
            )
            return self.runner.run().status

    # --- the client -------------------------------------------------------------------------------------

    def send(
        self, message: Message, *, to: str = "", request_id: str = "", affinity: str = "", keep: bool = False
    ) -> None:
        if isinstance(message, Ack):
            self.forgotten |= set(message.request_ids)
        elif isinstance(message, Drain):
            self._draining = True
        elif isinstance(message, Gone):
            self.gone.append(message)
        elif request_id:
            self.forgotten.discard(request_id)
            self.asked[request_id] = (to, message)
            self.sent.append(request_id)

    def settle(self, request_ids: object) -> None:
        pass

    def receive(self, timeout: float) -> list[Received]:
        self.now += 2 * CHECK_S
        self._looks += 1
        assert self._looks < LIMIT, "the class does not end"
        hellos, self.hellos = self.hellos, []
        if self._draining:
            return [Received(Lost(name=name, pool=name, why="goodbye"), "", "", "") for name in NAMES]
        return hellos + [
            Received(
                Answered(
                    text="Answer: 1" if isinstance(self.asked[id][1], Teach) else "Answer: 2",
                    usage=Usage(prompt_tokens=10, completion_tokens=5),
                ),
                self.asked[id][0],
                id,
                "",
            )
            for id in self.step()
        ]

    # --- what a test does -------------------------------------------------------------------------------

    @property
    def open(self) -> list[str]:
        """Ids of requests that were sent and have no result."""
        return [id for id in self.asked if self.store.find(id) is None]

    def everything(self) -> list[str]:
        return self.open

    def command(self, verb: str, argument: str = "", version: int = 1) -> Path:
        """Put a command where the class finds it; returns where its answer will be."""
        path = self.folder / FOLDER / f"{len(list((self.folder / FOLDER).iterdir())):03}{verb}{COMMAND}"
        path.write_bytes(msgspec.json.encode(ClassCommand(verb, argument, version)))
        return path.with_suffix(ANSWER)

    def script(self, *steps: Callable[[], list[str]]) -> None:
        """Take one of these steps at each look, then answer everything."""
        left = list(steps)
        self.step = lambda: left.pop(0)() if left else self.everything()


def said(path: Path) -> CommandAnswer:
    return msgspec.json.decode(path.read_bytes(), type=CommandAnswer)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Classroom]:
    made = Classroom(tmp_path)
    yield made
    made.store.close()


def some(room: Classroom, number: int) -> Callable[[], list[str]]:
    return lambda: room.open[:number]


def test_in_a_pause_nothing_is_sent_and_what_is_under_way_is_recorded(room: Classroom) -> None:
    seen: dict[str, list[str]] = {}

    def pause() -> list[str]:
        seen["before"] = list(room.sent)
        room.command("pause")
        return []

    def answer_two() -> list[str]:
        assert set(room.open) <= room.forgotten, "the broker still hands out what no agent has begun"
        return room.open[:2]

    def look() -> list[str]:
        assert room.sent == seen["before"]
        return []

    def resume() -> list[str]:
        seen["answered"] = [id for id in room.asked if room.store.find(id)]
        room.command("resume")
        return []

    room.script(some(room, 3), pause, look, answer_two, look, look, resume)
    assert room.run() == "complete"
    again = room.sent[len(seen["before"]) :]
    assert not set(again) & set(seen["answered"]), "what was answered in the pause is asked again"
    assert set(seen["before"]) - set(seen["answered"]) <= set(again)
    assert again[:4] == [id for id in seen["before"] if id not in seen["answered"]][:4], "in another order"
    events = room.store.events(kinds=["paused", "resumed"])
    assert [event.kind for event in events] == ["paused", "resumed"]
    assert float(events[1].detail) > 0


@pytest.mark.parametrize(("paused", "status"), [(True, "complete"), (False, "failed")])
def test_nothing_times_out_in_a_pause(paused: bool, status: str, room: Classroom) -> None:
    (missing,) = [one for one in room.hellos if one.message.hello.name == "ada"]  # type: ignore[attr-defined]
    room.hellos.remove(missing)

    def pause() -> list[str]:
        if paused:
            room.command("pause")
        return []

    def wait() -> list[str]:
        room.now += PAUSE_S
        return []

    def resume() -> list[str]:
        room.hellos.append(missing)
        room.command("resume")
        return []

    looks = int(SCENARIO.limits.empty_pool_s / PAUSE_S) + 10
    room.script(lambda: room.open, pause, *[wait] * looks, resume)
    assert room.run() == status


def test_a_class_whose_last_results_come_in_a_pause_is_complete(room: Classroom) -> None:
    def pause_at_the_end() -> list[str]:
        if len(room.open) == 1:
            room.command("pause")
            room.step = lambda: [] if any((room.folder / FOLDER).glob(f"*{COMMAND}")) else room.open
            return []
        return room.open[:1]

    room.step = pause_at_the_end
    assert room.run() == "complete"
    assert [event.kind for event in room.store.events(kinds=["paused", "resumed"])] == ["paused", "resumed"]


def test_a_dropped_student_is_asked_nothing_more_and_its_process_is_ended(room: Classroom) -> None:
    answers: list[Path] = []

    def drop() -> list[str]:
        answers.append(room.command("drop", "ada"))
        return []

    late: list[str] = []

    def too_late() -> list[str]:
        late[:] = [id for id in room.open if room.asked[id][0] == "ada"]
        assert set(late) <= room.forgotten
        assert said(answers[0]).done
        return room.open

    teacher = [lambda: [id for id in room.open if room.asked[id][0] == "teacher"]]
    room.script(*teacher, lambda: [id for id in room.open if room.asked[id][0] == "ada"][:1], drop, too_late)
    assert room.run() == "complete"
    by = [record.agent for record in room.store.results("kind = 'Examine'")]
    assert (by.count("ada"), by.count("bob")) == (1, 6)
    assert len(late) == 5
    assert room.launcher.sent_away == ["ada"]
    assert [one.pid for one in room.gone] == [7]


@pytest.mark.parametrize(("verb", "of"), [("pause", "teacher"), ("drop", "ada")])
def test_a_class_keeps_no_message_of_a_request_that_it_has_withdrawn(verb: str, of: str, room: Classroom) -> None:
    withdrawn: list[str] = []

    def withdraw() -> list[str]:
        withdrawn[:] = [id for id in room.open if room.asked[id][0] == of]
        assert set(withdrawn) <= room.runner._messages._sent.keys()
        room.command(verb, of if verb == "drop" else "")
        return []

    def look() -> list[str]:
        assert withdrawn and not set(withdrawn) & room.runner._messages._sent.keys()
        if verb == "pause":
            room.command("resume")
        return []

    before = [] if of == "teacher" else [room.everything]
    room.script(*before, withdraw, look)
    assert room.run() == "complete"
    assert room.runner._messages._sent == {}


def test_what_a_drop_makes_due_and_was_answered_before_is_not_asked_again(tmp_path: Path) -> None:
    lesson = msgspec.structs.replace(SCENARIO.lesson, equal_cost=True)
    with_bob = msgspec.structs.replace(SCENARIO, lesson=lesson)
    alone = Classroom(tmp_path, msgspec.structs.replace(with_bob, students=with_bob.students[:1]))
    assert alone.run() == "complete"
    alone.store.close()

    # The further rationales of each problem wait for the exams of bob, who has joined since, and then for nothing.
    room = Classroom(tmp_path, with_bob)
    answered = {record.request_id for record in room.store.results()}
    further = {id for (id,) in room.store.rows("SELECT request_id FROM result WHERE stage = ?", VOTES)}
    room.script(lambda: [str(room.command("drop", "bob"))][:0], list)
    assert room.run() == "complete"
    assert further
    assert not answered & set(room.sent)
    room.store.close()


def test_the_other_copies_of_a_dropped_student_keep_its_process(tmp_path: Path) -> None:
    copies = tuple(StudentCopy(name=f"ada-{n}", entry="ada") for n in (1, 2))
    scenario = msgspec.structs.replace(SCENARIO, students=(*copies, Agent(name="bob")))
    room = Classroom(tmp_path, scenario)

    def drop(name: str) -> Callable[[], list[str]]:
        return lambda: [str(room.command("drop", name))][:0]

    room.script(drop("ada-1"), lambda: [] if room.launcher.sent_away else room.open, drop("ada-2"), list)
    assert room.run() == "complete"
    assert room.launcher.sent_away == ["ada"]
    room.store.close()


REFUSED = {
    "the class has no student 'eve'": (SCENARIO, "eve"),
    "the class has no student ''": (SCENARIO, ""),
    "only students can be dropped": (SCENARIO, "teacher"),
    "bob is the last student": (msgspec.structs.replace(SCENARIO, students=(Agent(name="bob"),)), "bob"),
    "exam.allocation: lossless": (
        msgspec.structs.replace(SCENARIO, exam=Exam(problems=2, allocation="lossless")),
        "ada",
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_drop_that_the_class_cannot_do_is_refused_and_changes_nothing(words: str, tmp_path: Path) -> None:
    scenario, student = REFUSED[words]
    room = Classroom(tmp_path, scenario)
    answers: list[Path] = []

    def drop() -> list[str]:
        answers.append(room.command("drop", student))
        return []

    room.script(drop, list)
    assert room.run() == "complete"
    assert (said(answers[0]).done, words in said(answers[0]).text) == (False, True), said(answers[0]).text
    assert not room.store.events(kinds=["dropped"])
    room.store.close()


def test_no_work_begins_once_the_budget_is_spent(room: Classroom) -> None:
    answers: list[Path] = []

    def budget() -> list[str]:
        answers.append(room.command("budget", "20"))
        return []

    room.script(some(room, 2), budget, some(room, 1), some(room, 1))
    assert room.run() == "budget"
    assert room.store.completion_tokens() == 4 * 5
    assert said(answers[0]) == CommandAnswer(
        True, "a budget of 20 completion tokens, of which 10 are spent: then the class ends"
    )


def test_a_budget_that_is_lifted_in_time_ends_nothing(room: Classroom) -> None:
    def give(argument: str) -> Callable[[], list[str]]:
        return lambda: [str(room.command("budget", argument))][:0]

    room.script(some(room, 2), give("15"), give("none"), some(room, 3))
    assert room.run() == "complete"
    assert changes(room.store).budget is None


@pytest.mark.parametrize("argument", ["", "0", "-1", "1.5", "1e3", "many", "²", "9" * 40])
def test_a_budget_is_a_whole_number_or_none(argument: str) -> None:
    with pytest.raises(ScenarioError, match="budget: a whole number of completion tokens, or none"):
        read_budget(argument)


def test_commands_are_carried_out_in_the_order_of_their_names(room: Classroom) -> None:
    answers: list[Path] = []

    def three() -> list[str]:
        answers[:] = [room.command("pause"), room.command("pause"), room.command("resume")]
        return []

    room.script(three)
    assert room.run() == "complete"
    assert [said(path).done for path in answers] == [True, False, True]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"verb": 3}', '{"verb": "dance"}', '{"verb": "pause", "version": 2}']
)
def test_a_command_of_another_version_is_refused(content: str, room: Classroom) -> None:
    path = room.folder / FOLDER / f"1{COMMAND}"

    def write() -> list[str]:
        path.write_text(content)
        return []

    room.script(write, list)
    assert room.run() == "complete"
    answer = json.loads(path.with_suffix(ANSWER).read_text())
    assert (answer["done"], "another version" in answer["text"]) == (False, True)


def asked(run: Path, monkeypatch: pytest.MonkeyPatch, at: int, then: Callable[[Path], None]) -> tuple[object, int]:
    """What `ask` returns, and how often it said that it waits, where `then` happens at its look number `at`."""
    looks, notices = [0], [0]

    def sleep(_: float) -> None:
        looks[0] += 1
        if looks[0] == at:
            then(next((run / FOLDER).glob(f"*{COMMAND}")))

    def waits() -> None:
        notices[0] += 1

    monkeypatch.setattr("scenarios.session.control.time.sleep", sleep)
    monkeypatch.setattr("scenarios.session.control.is_running", lambda _: looks[0] < LIMIT)
    return ask(run, ClassCommand("pause"), "RUN", waits), notices[0]


def test_who_waits_long_for_an_answer_is_told_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ControlFolder(tmp_path) as control:
        answer = CommandAnswer(True, "paused")
        found = asked(tmp_path, monkeypatch, 3 * NOTICE_POLLS, lambda path: control.answer(path, answer))
        assert found == (answer, 1)
        assert not list(control.path.iterdir())
        assert asked(tmp_path, monkeypatch, 2, lambda path: control.answer(path, answer)) == (answer, 0)


def test_a_command_whose_class_ends_or_is_killed_has_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ControlFolder(tmp_path):
        assert asked(tmp_path, monkeypatch, 2, Path.unlink) == (None, 0)
        assert asked(tmp_path, monkeypatch, LIMIT, lambda path: None) == (None, 1)


def test_a_class_without_a_folder_for_commands_takes_none(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="RUN: its class takes no commands now"):
        ask(tmp_path, ClassCommand("pause"), "RUN", lambda: None)


def test_commands_that_an_earlier_session_left_are_removed_unread(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir(mode=0o700)
    (folder / f"1{COMMAND}").write_text('{"verb": "pause"}')
    with ControlFolder(tmp_path) as control:
        assert not list(control.take())
        assert not list(folder.iterdir())
    assert not folder.exists()


def test_an_answer_that_is_not_read_yet_outlives_the_class(tmp_path: Path) -> None:
    with ControlFolder(tmp_path) as control:
        path = control.path / f"1{COMMAND}"
        path.write_text('{"verb": "pause"}')
        control.answer(path, CommandAnswer(True, "paused"))
        (control.path / f"2{COMMAND}").write_text('{"verb": "pause"}')
    assert [one.name for one in control.path.iterdir()] == [f"1{ANSWER}"]


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    with ControlFolder(tmp_path) as control:
        (control.path / f"1{COMMAND}").write_text('{"verb": "pause"}')
        os.chmod(control.path, 0o777)  # noqa: S103 - that is what is refused
        with pytest.raises(SecurityError, match="open to others"):
            list(control.take())
        os.chmod(control.path, 0o700)
