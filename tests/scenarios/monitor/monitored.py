"""A small class for the monitor's tests: what to record, result by result."""

import io
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from rich.console import Console

from broker.protocol import Gauges, PeerGauge, Role
from scenarios.config.schema import Agent, Exam, Lesson, Scenario, Scoring, Task
from scenarios.levels.base import Request, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.results import result_of
from scenarios.monitor.reader import Reader
from scenarios.monitor.state import Snapshot
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Problem, ProblemGroup

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


def scenario(engine: str = "transformers", **scoring: str) -> Scenario:
    """Two TPs, three TRs each, two students, two EPs, one repeat: 4 exam answers per TR."""
    return Scenario(
        name="small",
        task=Task(family="gsm_symbolic", problems=2),
        teacher=Agent(name="teacher", model="qwen", engine=engine),  # type: ignore[arg-type]
        students=(
            Agent(name="ada", model="qwen", engine=engine),  # type: ignore[arg-type]
            Agent(name="bob", model="smollm", engine=engine),  # type: ignore[arg-type]
        ),
        lesson=Lesson(rationales=3),
        exam=Exam(problems=2),
        scoring=Scoring(**scoring),  # type: ignore[arg-type]
    )


def begin(store: Store, described: Scenario, device: str = "cpu (1 core)") -> None:
    """The events of a session's beginning, and what a class records before it asks anything."""
    prepare(store)
    facts = [
        {"name": a.name, "role": "student", "model": a.model, "engine": a.engine, "device": device}
        for a in described.agents
    ]
    facts[0]["role"] = "teacher"
    store.note("", "started", json.dumps(facts))
    for agent in described.agents:
        store.note(agent.name, "joined", f"{agent.model} {agent.engine} {device}")


def tr(tp: str, repeat: int, *, text: str = "", answer: str | None = "18", right: bool = True, failed: str = "",
       stage: str = "teach") -> Record:  # fmt: skip
    """A TR; its text is its own unless another is given."""
    return Record(
        request_id=f"{tp}-{stage}-{repeat}", kind="Teach", agent="teacher", stage=stage, tp=tp, repeat=repeat,
        text="" if failed else text or f"rationale {repeat}", answer=None if failed else answer, failed=failed,
        prompt_tokens=100, cached_tokens=25, completion_tokens=10,
        correct=None if failed else right and answer is not None,
    )  # fmt: skip


def exams(tp: str, repeat: int, ada: str = "++", bob: str = "++") -> list[Record]:
    """The exam answers under a TR, student by student: + right, - wrong, x failed."""
    return [
        Record(
            request_id=f"{tp}-{repeat}-{name}-{ep}", kind="Examine", agent=name, stage="exam", tp=tp,
            tr=f"{tp}-teach-{repeat}", ep=f"{tp}-ep{ep}", text="so", answer="1", prompt_tokens=200, cached_tokens=150,
            completion_tokens=20, failed="engine" if mark == "x" else "", correct=None if mark == "x" else mark == "+",
        )
        for name, marks in (("ada", ada), ("bob", bob))
        for ep, mark in enumerate(marks)
    ]  # fmt: skip


BANK = Bank(
    source="gsm_symbolic",
    items=tuple(
        ProblemGroup(
            Problem(tp, f"text of {tp}", "18", "number"),
            tuple(Problem(f"{tp}-ep{n}", f"text of {tp}-ep{n}", "1", "number") for n in range(2)),
        )
        for tp in ("tp1", "tp2")
    ),
    demonstrations=(),
)


def prepare(store: Store) -> None:
    """What a class records before it asks anything: its problems, and who answers."""
    if store.bank() is None:
        store.keep_bank(BANK)
        store.keep_answerers({agent.name: agent.name for agent in scenario().agents})


def record(store: Store, *records: Record | Iterable[Record]) -> None:
    """Commit them, each under the id of the request that it answers."""
    rows = [row for one in records for row in ([one] if isinstance(one, Record) else one)]
    prepare(store)
    store.record(asked(store, rows), grader="test", version="1")


def asked(store: Store, rows: Iterable[Record]) -> list[Record]:
    """The records with the request ids of the level; an exam names the TR it is about as `tr` does."""
    described = msgspec.structs.replace(scenario(), exam=Exam(problems=2, score="logprob"))
    level = ObserveLevel(Setup(described, BANK, store.answerers(), store.given_up()))
    due: dict[tuple[str, ...], Request] = {}
    texts: dict[str, str] = {}
    """By TR."""

    def key(one: Request | Record, tr: str) -> tuple[str, ...]:
        agent = one.to if isinstance(one, Request) else one.agent
        return agent, one.stage, one.tp, tr, one.ep, "" if tr else str(one.repeat)

    def receive(record: Record) -> None:
        texts[record.request_id] = record.text
        add(level.receive(result_of(record)).requests)

    def add(requests: Iterable[Request]) -> None:
        for request in requests:
            due[key(request, texts.get(request.tr, ""))] = request
            if (known := store.find(request.id)) is not None:
                receive(known)

    add(level.begin().requests)
    renamed = []
    for row in rows:
        tp, _, repeat = row.tr.partition("-teach-")
        tr = due["teacher", "teach", tp, "", "", repeat].id if row.tr else ""
        request = due[key(row, texts[tr] if tr else "")]
        renamed.append(msgspec.structs.replace(row, request_id=request.id, tr=tr, repeat=request.repeat))
        receive(renamed[-1])
    return renamed


def half(store: Store, described: Scenario) -> None:
    """A class about half way: one TP is through, the other has begun."""
    begin(store, described)
    record(store, tr("tp1", 0, stage="greedy", right=False, answer="17"))
    record(store, *(tr("tp1", n) for n in range(3)), tr("tp2", 0, answer="5", right=False))
    record(store, exams("tp1", 0), exams("tp1", 1, "+-", "--"), exams("tp1", 2, "--", "--"), exams("tp2", 0, "-", ""))


def whole(store: Store, described: Scenario) -> None:
    """A class to its end."""
    half(store, described)
    record(store, tr("tp2", 0, stage="greedy"), *(tr("tp2", n, answer="5", right=False) for n in (1, 2)))
    record(store, *(exams("tp2", n, "+-", "--") for n in range(3)))
    store.note("", "session", '{"wall_seconds": 1.0}')
    store.note("", "complete")


def gauges(tokens: int = 0, *, leases: int = 3, agents: Iterable[str] = ("teacher", "ada", "bob")) -> Gauges:
    """What a broker would publish."""
    roles: dict[str, Role] = {"teacher": "teacher", "classroom": "classroom"}
    peers = tuple(
        PeerGauge(
            name=name, role=roles.get(name, "student"), pool=name,
            model="smollm" if name == "bob" else "qwen", engine="transformers", device="cpu (1 core)",
            state="ready", credit=8, leases=leases, finished=1, prompt_tokens=200,
            cached_tokens=150, completion_tokens=tokens, memory_mb=1.0,
        )
        for name in agents
    )  # fmt: skip
    return Gauges(epoch="e", peers=peers, queues={"teacher": 1, "ada": 41})


def paying(spent: float) -> Gauges:
    """The same, of a class whose teacher pays."""
    told = gauges()
    teacher, *others = told.peers
    return msgspec.structs.replace(told, peers=(msgspec.structs.replace(teacher, spent=spent), *others))


class Source:
    """A broker's subscriber that always has the same to say; a factory of itself."""

    def __init__(self, said: Gauges | None = None) -> None:
        self.said = said

    def latest(self) -> Gauges | None:
        """The gauges."""
        return self.said

    def __call__(self) -> AbstractContextManager["Source"]:
        """As `subscribe`."""
        return nullcontext(self)


def picture(folder: Path, described: Scenario, said: Gauges | None = None, *, running: bool = True) -> Snapshot:
    """What a reader that comes now makes of the class."""
    with Store(folder) as store:
        reader = Reader(store, described)
        reader.catch_up()
        return reader.snapshot(said, now=datetime.now(UTC) + timedelta(seconds=1), clock=0.0, running=running)


class Tty(io.StringIO):
    """A terminal's output."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def terminal(width: int = 100, height: int = 30) -> Console:
    """A terminal of that size."""
    return Console(file=Tty(), force_terminal=True, color_system="256", width=width, height=height)


def written(console: Console) -> str:
    """All that was written to it."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
