"""`python -m tests.picture [FILE]`: draws the live monitor of a class for the README.

The class is made up, half way through: it shows what the monitor looks like and says nothing about language models.
The same code draws the same file.
"""

import io
import math
import random
import re
import sys
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace
from rich.console import Console
from rich.terminal_theme import MONOKAI

from broker.protocol import Gauges, PeerGauge, Role
from scenarios.config.schema import Agent, Exam, Lesson, Scenario, Task
from scenarios.levels.base import Request, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.results import result_of
from scenarios.monitor.reader import Reader
from scenarios.monitor.state import EventRow, Snapshot
from scenarios.monitor.view import view
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Problem, ProblemGroup

PICTURE = Path(__file__).parents[1] / "docs" / "monitor.svg"
WIDTH, HEIGHT = 160, 40
ABILITY = {"peer": 0.6, "tiny": -1.2, "hasty": 0.0}
"""Of the students, in logits; a right TR adds `TAUGHT` to it."""
TAUGHT = 1.0
TEACHER = 0.45
"""The teacher's chance to be right."""
TPS, EPS, ANSWERED = 30, 3, 2300
SEED = 5


def scenario() -> Scenario:
    """A teacher and three students, all simulated."""
    return Scenario(
        name="multi_student",
        seed=SEED,
        task=Task(family="gsm_symbolic", problems=TPS),
        teacher=Agent(name="teacher", model="simulated", engine="simulated"),
        students=tuple(Agent(name=name, model="simulated", engine="simulated") for name in ABILITY),
        lesson=Lesson(rationales=8),
        exam=Exam(problems=EPS, repeats=2),
    )


def problem(number: int, ep: int | None = None) -> Problem:
    """A made-up problem whose answer is a number."""
    boxes, given = 3 + number % 7, 2 * number + (0 if ep is None else ep + 1)
    text = f"{boxes} boxes hold 12 pencils each. {given} are given away. How many are left?"
    return Problem(f"pencils/{number}" + ("" if ep is None else f"/{ep}"), text, str(boxes * 12 - given), "number")


def answered(request: Request, problems: dict[str, Problem], right_trs: set[str], draw: random.Random) -> Record:
    """The answer to a request, right by chance."""
    ability = ABILITY.get(request.to, math.log(TEACHER / (1 - TEACHER))) + TAUGHT * (request.tr in right_trs)
    asked = problems[request.ep or request.tp]
    hard = random.Random(asked.id).gauss(0, 0.8)
    right = draw.random() < 1 / (1 + math.exp(hard - ability))
    answer = asked.answer if right else str(int(asked.answer) + draw.choice((-12, -2, 10)))
    boxes, given = re.findall(r"\d+", asked.text)[::2]
    words = f"There are {boxes} * 12 = {int(boxes) * 12} pencils. {given} are given away, so {answer} are left."
    if right and not request.tr:
        right_trs.add(request.id)
    return Record(
        request_id=request.id, kind=request.kind, agent=request.to, stage=request.stage, tp=request.tp, tr=request.tr,
        ep=request.ep, repeat=request.repeat, answer=answer, correct=right,
        text=f"{'' if request.tr else f'Way {request.repeat + 1}. '}{words}\nAnswer: {answer}",
        prompt_tokens=240, cached_tokens=180, completion_tokens=30 + draw.randrange(30),
    )  # fmt: skip


def play(store: Store, described: Scenario) -> None:
    """Answer a part of the class, exams before further TRs."""
    bank = Bank(
        "reasoning-gym gsm_symbolic",
        tuple(ProblemGroup(problem(n), tuple(problem(n, ep) for ep in range(EPS))) for n in range(TPS)),
        (),
    )
    answerers = {agent.name: agent.name for agent in described.agents}
    store.keep_bank(bank)
    store.keep_answerers(answerers)
    level = ObserveLevel(Setup(described, bank, answerers))
    problems, draw, right_trs = {one.id: one for one in bank.problems}, random.Random(SEED), set[str]()
    due = deque(level.begin().requests)
    records: list[Record] = []
    while due and len(records) < ANSWERED:
        records.append(answered(due.popleft(), problems, right_trs, draw))
        due.extendleft(reversed(level.receive(result_of(records[-1])).requests))
    store.record(records, grader="made up", version="1")


def snapshot() -> Snapshot:
    """The class as a monitor sees it, with fixed times."""
    described = scenario()
    roles: dict[str, Role] = {described.teacher.name: "teacher"}
    peers = tuple(
        PeerGauge(
            name=agent.name, role=roles.get(agent.name, "student"), pool=agent.name, model="simulated",
            engine="simulated", device="CPU, 1 thread", state="ready", credit=16, leases=8 + number, finished=1,
            prompt_tokens=240, cached_tokens=180, completion_tokens=0, memory_mb=60.0,
        )
        for number, agent in enumerate(described.agents)
    )  # fmt: skip
    told = Gauges(epoch="made up", peers=peers, queues={"peer": 31, "tiny": 12, "hasty": 28})
    later = replace(told, peers=tuple(replace(one, completion_tokens=310 + 45 * n) for n, one in enumerate(peers)))
    with TemporaryDirectory() as folder, Store(Path(folder), write=True) as store:
        play(store, described)
        reader = Reader(store, described)
        reader.catch_up()
        now = datetime(2026, 1, 1, tzinfo=UTC)
        reader.snapshot(told, now=now, clock=0.0, running=True)
        seen = reader.snapshot(later, now=now + timedelta(seconds=4), clock=4.0, running=True)
    names = [agent.name for agent in described.agents]
    events = [("09:14:20", "", "started", "with 4 agents")]
    events += [(f"09:14:{21 + n}", name, "joined", "simulated CPU, 1 thread") for n, name in enumerate(names)]
    events += [(f"09:14:{25 + 3 * n}", name, "ready", "") for n, name in enumerate(names)]
    rows = tuple(EventRow(n, *event) for n, event in enumerate(events))
    return replace(seen, status="running", elapsed_s=252.0, left_s=180.0, events=rows, start=())


def draw() -> str:
    """The picture as SVG, without a font from the network."""
    console = Console(file=io.StringIO(), record=True, width=WIDTH, force_terminal=True, color_system="truecolor")
    hint = "? shows the keys · Ctrl-C stops; the class can be resumed"
    console.print(view(snapshot(), WIDTH, HEIGHT, hint), end="")
    svg = console.export_svg(title="python run.py scenarios/multi_student.yaml", theme=MONOKAI, unique_id="monitor")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    file = Path(sys.argv[1]) if sys.argv[1:] else PICTURE
    file.write_text(draw(), "utf-8")
