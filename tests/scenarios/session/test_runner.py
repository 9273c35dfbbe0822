import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.client import Client
from broker.delivery import Received
from broker.errors import PlacementError
from broker.protocol import Ack, Drain, Hello, Joined, Lost, Welcome, WireError, encode
from broker.work_messages import (
    Answered,
    Examine,
    Failed,
    Feedback,
    Graded,
    Message,
    Progress,
    Recipe,
    Sampling,
    Teach,
    Train,
    Trained,
    Usage,
)
from scenarios.config.schema import Agent, Exam, Lesson, Scenario, StudentCopy, Task
from scenarios.levels.base import Level, MessageWithFile, Outcome, Request, Result, Setup, Step
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.replay import replay
from scenarios.levels.results import DETAIL
from scenarios.levels.steered import SteeredLevel
from scenarios.session import request_limits
from scenarios.session.runner import EXTERNAL_FAREWELL_S, FAREWELL_S, ClassRunner
from scenarios.store.prompts import Parts, read
from scenarios.store.sqlite import Store
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.grading.verifier import VerifierError
from scenarios.tasks.problems import Bank, Problem, ProblemGroup

NAMES = ("teacher", "ada", "bob")
ANSWERERS = {name: f"is {name}" for name in NAMES}
SCENARIO = Scenario(
    name="test",
    task=Task(family="x"),
    teacher=Agent(name="teacher"),
    students=(Agent(name="ada"), Agent(name="bob")),
    lesson=Lesson(rationales=3),
    exam=Exam(problems=2),
)


def kept(name: str, content: bytes) -> None:
    raise AssertionError(f"level 1 encloses no file: {name}")


def item(n: int) -> ProblemGroup:
    eps = tuple(Problem(f"ep{n}{k}", f"EP {n} {k}", "2", "number") for k in (0, 1))
    return ProblemGroup(Problem(f"tp{n}", f"TP {n}", "1", "number"), eps)


BANK = Bank("made up", tuple(item(n) for n in range(3)), ())


class Idle:
    """Processes that never end."""

    def ended(self) -> list[object]:
        return []

    def alive(self) -> list[str]:
        return []

    def unkillable(self) -> list[str]:
        return []

    def kill(self, name: str, why: str, pid: int = 0) -> None:
        raise AssertionError(name)

    def starved(self, name: str) -> bool:
        return False

    def last_error(self, name: str) -> str:
        return ""


class Working(Idle):
    """Processes of all agents, which stay."""

    def alive(self) -> list[str]:
        return list(NAMES)


class School:
    """The broker and all agents in one: answers whatever is asked, and looks at what it is sent."""

    def __init__(self, store: Store, credit: int = 1000) -> None:
        self.welcome = Welcome(epoch="e", heartbeat_s=1.0, credit=credit)
        self.heard = 0
        self.missing_socket = ""
        self.store = store
        self.asked: dict[str, tuple[str, Message]] = {}
        self.told: list[tuple[str, Feedback]] = []
        self.most_at_once = 0
        self.answer: Callable[[str, Message], Message] = self.right
        self.extra: list[Received] = []
        self.draining = False
        self._unfinished: dict[str, str] = {}
        self._inbox = [
            Received(
                Joined(hello=Hello(name=name, role="student", answerer=ANSWERERS[name], state="ready")), "", "", ""
            )
            for name in NAMES
        ]

    def right(self, request_id: str, message: Message) -> Message:
        usage = Usage(prompt_tokens=10, completion_tokens=5)
        return Answered(text="Answer: 1", usage=usage) if isinstance(message, Teach) else Answered(text="Answer: 2")

    def send(
        self, message: Message, *, to: str = "", request_id: str = "", affinity: str = "", keep: bool = False
    ) -> None:
        if isinstance(message, Ack):
            for id in message.request_ids:
                assert self.store.find(id) or id == "unheard of", "acknowledged before it was committed"
        elif isinstance(message, Feedback):
            self.told.append((to, message))
        elif isinstance(message, Drain):
            self.draining = True
        else:
            assert keep, "a request must outlive the broker"
            assert request_id not in self.asked, "asked twice"
            self.asked[request_id] = (to, message)
            self._unfinished[request_id] = to
            pools = list(self._unfinished.values())
            self.most_at_once = max(self.most_at_once, *(pools.count(name) for name in NAMES))

    def settle(self, request_ids: tuple[str, ...]) -> None:
        for id in request_ids:
            self._unfinished.pop(id, None)

    def receive(self, timeout: float) -> list[Received]:
        received, self._inbox = self._inbox + self.extra, []
        self.extra = []
        if self.draining:
            gone = [Received(Lost(name=name, pool=name, why="goodbye"), "", "", "") for name in NAMES]
            return received + gone
        return received + [
            Received(self.answer(id, self.asked[id][1]), pool, id, "") for id, pool in self._unfinished.items()
        ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, write=True) as opened:
        yield opened


@pytest.fixture
def grader() -> Iterator[ClassGrader]:
    with ClassGrader() as opened:
        yield opened


def classroom(
    store: Store,
    grader: ClassGrader,
    school: School,
    level: Level | None = None,
    keep: Callable[[str, bytes], None] = kept,
    clock: Callable[[], float] = time.monotonic,
    launcher: Idle | None = None,
    prompt_of: Callable[[str, Message], Parts] = lambda agent, message: (),
) -> ClassRunner:
    client: Client = school  # type: ignore[assignment]
    level = level or ObserveLevel(Setup(SCENARIO, BANK, ANSWERERS))
    steered = SteeredLevel(level, (), lambda id: store.find(id) is not None)
    return ClassRunner(
        SCENARIO, BANK, steered, grader, store, client, launcher or Idle(), answerers=ANSWERERS,  # type: ignore[arg-type]
        weights={"teacher": "w"}, keep_file=keep, clock=clock, prompt_of=prompt_of,
    )  # fmt: skip


def test_a_class_asks_everything_once_and_ends_complete(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    ending = classroom(store, grader, school).run()
    assert (ending.status, ending.reused) == ("complete", 0)
    # Three TPs, a greedy answer and three TRs each; all TRs are alike, so one is examined: 2 students x 2 EPs.
    assert len(school.asked) == 3 * 4 + 3 * 4
    assert {record.correct for record in store.results()} == {True}


def test_no_message_for_an_agent_holds_a_gold_answer(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    classroom(store, grader, school).run()
    for _, message in school.asked.values():
        assert isinstance(message, Teach | Examine)
        assert set(msgspec.structs.asdict(message)) <= {
            "problem", "answer_form", "sampling", "demonstrations", "weights", "material", "dialogue", "task",
            "complaint", "previous",
        }  # fmt: skip


def test_every_result_is_recorded_with_the_prompt_that_was_made_of_its_message(
    store: Store, grader: ClassGrader
) -> None:
    def prompt_of(agent: str, message: Message) -> Parts:
        assert isinstance(message, Teach | Examine)
        return [] if agent == "bob" else [("begun", agent), ("user", message.problem)]

    school = School(store)
    classroom(store, grader, school, prompt_of=prompt_of).run()
    for record in store.results():
        assert read(store.query, record.prompt) == prompt_of(*school.asked[record.request_id])


def test_the_broker_is_sent_no_more_than_its_credit(store: Store, grader: ClassGrader) -> None:
    school = School(store, credit=2)
    assert classroom(store, grader, school).run().status == "complete"
    assert school.most_at_once == 2


def test_the_teacher_is_held_back_while_students_have_many_requests_and_the_class_is_the_same(
    store: Store, grader: ClassGrader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_limits, "WAITING", 5)
    waiting = []

    class Watched(School):
        def receive(self, timeout: float) -> list[Received]:
            waiting.append(len([1 for pool in self._unfinished.values() if pool == "teacher"]))
            return super().receive(timeout)

    school = Watched(store)
    assert classroom(store, grader, school).run().status == "complete"
    assert len(school.asked) == 3 * 4 + 3 * 4
    assert max(waiting) == 1, "each of 12 answers is one of 48 requests to come: 4 wait after one answer"


def test_a_prompt_of_a_copy_is_that_of_its_agent(store: Store, grader: ClassGrader) -> None:
    ada = msgspec.structs.asdict(SCENARIO.students[0])
    copies = tuple(StudentCopy(**{**ada, "name": f"ada-{n}"}, entry="ada") for n in (1, 2))
    scenario = msgspec.structs.replace(SCENARIO, students=copies)
    answerers = {**ANSWERERS, "ada-1": ANSWERERS["ada"], "ada-2": ANSWERERS["ada"]}
    level, client = ObserveLevel(Setup(scenario, BANK, answerers)), School(store)
    runner = ClassRunner(
        scenario, BANK, level, grader, store, client, Idle(), answerers=ANSWERERS, weights={"teacher": "w"},  # type: ignore[arg-type]
        keep_file=kept, prompt_of=lambda agent, message: [("user", agent)],
    )  # fmt: skip
    assert runner.run().status == "complete"
    asked = {record.agent: read(store.query, record.prompt) for record in store.results()}
    assert asked == {"teacher": [("user", "teacher")], "ada-1": [("user", "ada")], "ada-2": [("user", "ada")]}


def test_teacher_and_students_get_their_feedback(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    classroom(store, grader, school).run()
    assert sorted(to for to, _ in school.told) == ["ada"] * 3 + ["bob"] * 3 + ["teacher"] * 3


def test_a_failure_is_recorded_and_the_class_goes_on(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    school.answer = lambda id, m: (
        Failed(kind="context", detail="too long") if isinstance(m, Examine) else school.right(id, m)
    )
    assert classroom(store, grader, school).run().status == "complete"
    failed = [record for record in store.results() if record.failed]
    assert {(record.failed, record.detail) for record in failed} == {("context", "too long")}
    assert len(store.events(kinds=["failed"])) == len(failed) == 12


class NarrowSchool(School):
    """Takes no message of a kind, as the wire takes none that is too large."""

    too_large: type[Message] = Examine

    def send(
        self, message: Message, *, to: str = "", request_id: str = "", affinity: str = "", keep: bool = False
    ) -> None:
        if isinstance(message, self.too_large):
            raise WireError("too many bytes")
        super().send(message, to=to, request_id=request_id, affinity=affinity, keep=keep)


def test_a_request_too_large_for_the_wire_fails_and_the_class_goes_on(store: Store, grader: ClassGrader) -> None:
    assert classroom(store, grader, NarrowSchool(store, credit=2)).run().status == "complete"
    failed = [record for record in store.results() if record.failed]
    assert {(record.kind, record.detail) for record in failed} == {("Examine", "too many bytes; use shorter texts")}
    assert len(failed) == 12
    again = NarrowSchool(store)
    assert classroom(store, grader, again).run().reused == 24
    assert again.asked == {}


def test_feedback_too_large_for_the_wire_is_noted_and_left_out(store: Store, grader: ClassGrader) -> None:
    school = NarrowSchool(store)
    school.too_large = Feedback
    assert classroom(store, grader, school).run().status == "complete"
    assert {event.detail for event in store.events(kinds=["feedback"])} == {"not sent: too many bytes"}


def test_no_acknowledgement_is_too_large_for_the_wire(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    school.extra = [Received(Answered(text="?"), "ada", f"{n:0200}", "") for n in range(10_000)]
    acks: list[Ack] = []
    sent = school.send

    def noting(message: Message, **route: Any) -> None:
        if isinstance(message, Ack):
            acks.append(message)
            encode(message)
        else:
            sent(message, **route)

    school.send = noting  # type: ignore[method-assign]
    assert classroom(store, grader, school).run().status == "complete"
    assert sum(len(ack.request_ids) for ack in acks) == 10_000 + len(school.asked)


def test_a_grader_that_cannot_work_ends_the_class_resumable(
    store: Store, grader: ClassGrader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise VerifierError("math-verify cannot be used")

    monkeypatch.setattr(grader, "correct", broken)
    ending = classroom(store, grader, School(store)).run()
    assert (ending.status, ending.reason) == ("failed", "math-verify cannot be used")


def test_what_is_graded_before_the_grader_breaks_is_kept(
    store: Store, grader: ClassGrader, monkeypatch: pytest.MonkeyPatch
) -> None:
    graded: list[str] = []
    correct = grader.correct

    def breaks(problem: Problem, answer: str | None) -> bool:
        if len(graded) == 2:
            raise VerifierError("it cannot be used")
        graded.append(problem.id)
        return correct(problem, answer)

    monkeypatch.setattr(grader, "correct", breaks)
    assert classroom(store, grader, School(store)).run().status == "failed"
    assert len(list(store.results())) == len(graded) == 2


def test_a_class_whose_class_db_is_removed_stops(store: Store, grader: ClassGrader) -> None:
    store.path.unlink()
    ending = classroom(store, grader, School(store)).run()
    assert ending.status == "failed"
    assert "class.db was removed, moved or replaced" in ending.reason


def test_an_answer_of_the_wrong_kind_is_a_failure(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    school.answer = lambda id, m: Graded(logprob=-1.0, tokens=1)
    assert classroom(store, grader, school).run().status == "complete"
    assert {record.detail for record in store.results() if record.failed} == {"answered Graded to Teach"}


@pytest.mark.parametrize("text", ["", "I do not know", "Answer: "])
def test_an_answer_that_cannot_be_found_is_wrong_and_not_examined(text: str, store: Store, grader: ClassGrader) -> None:
    school = School(store)
    school.answer = lambda id, m: Answered(text=text)
    assert classroom(store, grader, school).run().status == "complete"
    assert {(record.answer, record.correct) for record in store.results()} == {(None, False)}
    assert len(school.asked) == 12


def test_an_answer_of_another_pool_is_noted_once_and_does_not_count(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    received = school.receive

    def with_forgeries(timeout: float) -> list[Received]:
        came = received(timeout)
        asked_of_others = [one for one in came if one.peer in ("teacher", "ada")]
        forged = [one._replace(message=Answered(text="Answer: 2"), peer="bob") for one in asked_of_others]
        return [*forged, *came, *forged]

    school.receive = with_forgeries  # type: ignore[method-assign]
    assert classroom(store, grader, school).run().status == "complete"
    teachers = [record for record in store.results() if record.agent == "teacher"]
    assert {record.text for record in teachers} == {"Answer: 1"}
    [note] = store.events(kinds=["stranger"])
    assert note.agent == "bob"
    assert "such answers do not count" in note.detail


def test_progress_of_a_request_that_is_no_training_is_not_recorded(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    received = school.receive

    def with_progress(timeout: float) -> list[Received]:
        came = received(timeout)
        return [*(one._replace(message=Progress(step=1, steps=2)) for one in came if one.request_id), *came]

    school.receive = with_progress  # type: ignore[method-assign]
    assert classroom(store, grader, school).run().status == "complete"
    assert store.events(kinds=["progress"]) == []


def test_an_answer_of_a_replica_counts(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    received = school.receive

    def by_replicas(timeout: float) -> list[Received]:
        return [one._replace(peer=f"{one.peer}.2") if one.peer else one for one in received(timeout)]

    school.receive = by_replicas  # type: ignore[method-assign]
    assert classroom(store, grader, school).run().status == "complete"
    assert store.events(kinds=["stranger"]) == []


def test_a_class_that_the_broker_refuses_stops_and_says_so(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    school.extra.append(Received(Drain(reason="classroom is here already\x1b[2J"), "", "", ""))
    ending = classroom(store, grader, school).run()
    assert ending.status == "failed"
    assert ending.reason.startswith("the broker refuses this class: classroom is here already[2J\nDoes another run.py")


def test_the_detail_of_a_failure_is_cut_and_has_no_control_characters(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    school.answer = lambda id, message: Failed(kind="engine", detail="no\n\x1b[31m" + "x" * 10_000)
    classroom(store, grader, school).run()
    details = {record.detail for record in store.results()}
    assert {detail[:9] for detail in details} == {"no [31mxx"}
    assert max(map(len, details)) <= DETAIL


def test_unknown_results_are_acknowledged_and_dropped(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    school.extra = [Received(Answered(text="late"), "teacher", "unheard of", "")]
    assert classroom(store, grader, school).run().status == "complete"
    assert store.find("unheard of") is None


def test_a_second_session_asks_only_what_is_missing(store: Store, grader: ClassGrader) -> None:
    first, second = School(store), School(store)
    room = classroom(store, grader, first)

    def answer_and_stop(id: str, message: Message) -> Message:
        room.drain()
        return first.right(id, message)

    first.answer = answer_and_stop
    assert room.run().status == "interrupted"
    recorded = {record.request_id for record in store.results()}
    assert recorded
    ending = classroom(store, grader, second).run()
    assert (ending.status, ending.reused) == ("complete", len(recorded))
    assert not recorded & second.asked.keys()


def test_drain_tells_the_agents_and_takes_what_they_finish(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    room = classroom(store, grader, school)
    room.drain()
    assert room.run().status == "interrupted"
    assert school.draining
    assert [event.kind for event in store.events()][:1] == ["drain"]


class DeafSchool(School):
    """Answers everything, but nobody leaves when told to; each look into the mail takes a second then."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.now = 0.0
        self.told_at: float | None = None
        self.interrupt: Callable[[], None] = lambda: None

    def receive(self, timeout: float) -> list[Received]:
        if not self.draining:
            return super().receive(timeout)
        if self.told_at is None:
            self.told_at = self.now
        self.now += 1.0
        self.interrupt()
        return []


@pytest.mark.parametrize(("launcher", "waited_s"), [(Working(), FAREWELL_S), (Idle(), EXTERNAL_FAREWELL_S)])
def test_a_complete_class_waits_longer_for_its_own_processes_than_for_external_agents(
    launcher: Idle, waited_s: float, store: Store, grader: ClassGrader
) -> None:
    school = DeafSchool(store)
    assert classroom(store, grader, school, clock=lambda: school.now, launcher=launcher).run().status == "complete"
    assert school.told_at is not None
    assert school.now - school.told_at == waited_s


def test_ctrl_c_ends_the_farewell_of_a_complete_class(store: Store, grader: ClassGrader) -> None:
    school = DeafSchool(store)
    room = classroom(store, grader, school, clock=lambda: school.now, launcher=Working())
    school.interrupt = room.drain
    assert room.run().status == "complete"
    assert school.told_at is not None
    assert school.now - school.told_at == 1.0


def test_a_cluster_that_is_lost_during_the_farewell_leaves_the_class_complete(
    store: Store, grader: ClassGrader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> list[object]:
        if school.draining:
            raise PlacementError("the Ray cluster is lost")
        return []

    school, launcher = DeafSchool(store), Working()
    monkeypatch.setattr(launcher, "ended", lost)
    assert classroom(store, grader, school, clock=lambda: school.now, launcher=launcher).run().status == "complete"
    assert school.now == 1.0


def test_ctrl_c_during_the_work_waits_for_external_agents_as_for_others(store: Store, grader: ClassGrader) -> None:
    school = DeafSchool(store)
    room = classroom(store, grader, school, clock=lambda: school.now)

    def answer(request_id: str, message: Message) -> Message:
        room.drain()
        return school.right(request_id, message)

    school.answer = answer
    assert room.run().status == "interrupted"
    assert school.told_at is not None
    assert school.now - school.told_at == SCENARIO.limits.drain_s


def test_a_full_disk_ends_the_class_and_acknowledges_nothing(store: Store, grader: ClassGrader) -> None:
    school = School(store)

    def full(*_: object, **__: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    store.record = full  # type: ignore[method-assign]
    ending = classroom(store, grader, school).run()
    assert ending.status == "failed"
    assert "disk is full" in ending.reason


def test_replaying_the_records_to_a_new_level_resumes_the_class(store: Store, grader: ClassGrader) -> None:
    classroom(store, grader, School(store)).run()
    level = ObserveLevel(Setup(SCENARIO, BANK, ANSWERERS))
    step, reused = replay(level, level.begin(), store.find_all)
    assert (step.requests, reused, level.finished) == ((), 24, True)
    assert [len(lesson.rationales) for lesson in level.outcome().lessons] == [3, 3, 3]
    assert len(step.shared) == 24
    again = ObserveLevel(Setup(SCENARIO, BANK, ANSWERERS))
    step, reused = replay(again, again.begin(), store.find_all, lambda one: one.stage == "teach")
    assert ({one.stage for one in step.shared}, reused, again.finished) == ({"teach"}, 24, True)


class Training:
    """A level that asks for one training, and once more for what is recorded already when that has ended."""

    def __init__(self) -> None:
        self.due = [Request("train", "Train", "teacher", "train", Sampling(), level=2), REPEATED]
        self.heard: list[Result] = []

    def begin(self) -> Step:
        return Step(requests=(REPEATED,))

    def receive(self, result: Result) -> Step:
        self.heard.append(result)
        return Step(requests=(self.due.pop(0),) if self.due else ())

    def message(self, request: Request, text_of: Callable[[str], str]) -> Message | MessageWithFile:
        if request.kind == "Teach":
            return Teach(problem="TP 0", answer_form="number", sampling=request.sampling)
        train = Train(pairs="pairs-1.jsonl", pairs_digest="1", recipe=Recipe())
        return MessageWithFile(train, train.pairs, b"the pairs")

    @property
    def finished(self) -> bool:
        return len(self.heard) == 3

    def totals(self) -> dict[str, int]:
        return {"train": 1}

    def outcome(self) -> Outcome:
        return Outcome()


REPEATED = Request("again", "Teach", "teacher", "teach", Sampling(), tp="tp0")


def trained(request_id: str, message: Message) -> Message:
    if isinstance(message, Train):
        return Trained(trained="new", pairs=3, steps=1, seconds=2.0, figures={"loss": 0.5})
    return Answered(text="Answer: 1")


def test_a_file_is_written_before_the_message_that_names_it_is_sent(store: Store, grader: ClassGrader) -> None:
    school, files = School(store), dict[str, bytes]()
    school.answer = trained

    def keep(name: str, content: bytes) -> None:
        assert not any(isinstance(message, Train) for _, message in school.asked.values())
        files[name] = content

    assert classroom(store, grader, school, Training(), keep).run().status == "complete"
    assert files == {"pairs-1.jsonl": b"the pairs"}
    assert school.asked["train"][1] == Train(pairs="pairs-1.jsonl", pairs_digest="1", recipe=Recipe(), weights="w")
    record = store.find("train")
    assert record is not None
    assert (record.answer, json.loads(record.text)) == ("new", {"pairs": 3, "steps": 1, "loss": 0.5})
    assert record.seconds == 2.0, "what differs from one run to the next is not part of the text"


def test_a_recorded_request_is_not_sent_again_when_another_part_of_the_class_asks_it(
    store: Store, grader: ClassGrader
) -> None:
    school, level = School(store), Training()
    school.answer = trained
    assert classroom(store, grader, school, level, lambda name, content: None).run().status == "complete"
    assert [result.request_id for result in level.heard] == ["again", "train", "again"]
    assert level.heard[0] == level.heard[2]


def test_a_full_disk_where_the_pairs_should_go_stops_the_class(store: Store, grader: ClassGrader) -> None:
    school = School(store)
    school.answer = trained

    def full(name: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    ending = classroom(store, grader, school, Training(), full).run()
    assert (ending.status, ending.reason) == ("failed", "pairs-1.jsonl cannot be written: No space left on device")


@pytest.mark.parametrize("end", ["complete", "interrupted", "failed"])
def test_the_last_totals_are_kept_however_soon_after_the_first_the_class_ends(
    store: Store, grader: ClassGrader, end: str
) -> None:
    level = ObserveLevel(Setup(SCENARIO, BANK, ANSWERERS))
    first = dict(level.totals())
    school = School(store, credit=2)
    room = classroom(store, grader, school, level, clock=lambda: 0.0)

    def answer(request_id: str, message: Message) -> Message:
        # All TRs are alike, so by the first exam fewer are due than at the beginning.
        if isinstance(message, Examine) and end == "interrupted":
            room.drain()
        if isinstance(message, Examine) and end == "failed":
            school.extra.append(Received(Joined(hello=stranger), "", "", ""))
        return school.right(request_id, message)

    stranger = Hello(name="ada", role="student", answerer="another", state="ready")
    school.answer = answer
    assert room.run().status == end
    assert store.query("SELECT stage, requests FROM total") == sorted(level.totals().items()) != sorted(first.items())


class Sets:
    """A level of two arms that want the same answer, and one that another agent gives."""

    def __init__(self) -> None:
        self._due = {r.id: r for r in (self.request("a", "ada", "class"), self.request("b", "bob", "class"))}
        self.results: list[Result] = []

    def request(self, id: str, to: str, arm: str) -> Request:
        cold = Sampling(temperature=0.0)
        return Request(id, "Examine", to, "exam", cold, tr="set", ep="tp0", round=1, level=3, arm=arm, run=1)

    def begin(self) -> Step:
        return Step(tuple(self._due.values()), shared=(self.request("a", "bob", "class"),))

    def receive(self, result: Result) -> Step:
        self.results.append(result)
        return Step(shared=(self.request("b", "ada", "self"),) if result.request_id == "b" else ())

    def message(self, request: Request, text_of: Callable[[str], str]) -> Message:
        return Examine(problem="p", answer_form="number", sampling=request.sampling, material=())

    @property
    def finished(self) -> bool:
        return len(self.results) == 2

    def totals(self) -> Mapping[str, int]:
        return {"exam": 2}

    def outcome(self) -> Outcome:
        return Outcome()


def test_what_a_result_is_wanted_for_is_recorded_in_every_session(store: Store, grader: ClassGrader) -> None:
    expected = [
        ("a", "class", 1, 1, "ada", "exam"), ("a", "class", 1, 1, "bob", "exam"), ("b", "class", 1, 1, "bob", "exam"),
        ("b", "self", 1, 1, "ada", "exam"),
    ]  # fmt: skip
    asked = "SELECT * FROM asked ORDER BY request_id, arm, agent"
    assert classroom(store, grader, School(store), Sets()).run().status == "complete"
    assert store.query(asked) == expected
    assert [r.temperature for r in store.results()] == [0.0, 0.0]
    store.query("DELETE FROM asked")  # as if it had been killed between a result and this
    assert classroom(store, grader, School(store), Sets()).run().reused == 2
    assert store.query(asked) == expected
    assert "finished" in [event.kind for event in store.events()]
