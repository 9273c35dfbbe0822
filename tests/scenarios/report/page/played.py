"""Classes for tests of the page: the level plays itself into a gradebook with made-up answers, without a process."""

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from broker.protocol import digest
from scenarios.config import load
from scenarios.levels.base import Request
from scenarios.levels.results import result_of
from scenarios.session.page_writing import write_run_page
from scenarios.session.run_dir import RunFolder
from scenarios.store.prompts import Parts, chain
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks import build
from scenarios.tasks.grading.answers import ClassGrader
from tests import classes

SMALL = ("task.problems=3", "lesson.rationales=3", "exam.problems=2")


def text_of(request: Request) -> str:
    """Some text, without an answer line."""
    return f"{request.stage} of {request.to}, number {request.id[:6]}"


def prompt_of(request: Request) -> Parts:
    """Some prompt; those under one rationale begin alike."""
    return [
        ("begun", "Answer:"),
        ("system", f"material {request.tr}"),
        ("user", f"prompt of {request.to}: {request.ep}"),
    ]


def play(
    path: Path,
    *overrides: str,
    text: Callable[[Request], str] = text_of,
    prompt: Callable[[Request], Parts] = prompt_of,
    results: int = 10_000,
    ending: str = "complete",
) -> RunFolder:
    """Play the class of scenarios/smoke.yaml with these overrides.

    Args:
        path: The folder of the run.
        overrides: As after --set.
        text: The text of a result.
        prompt: The prompt of a request.
        results: After how many results the class ends.
        ending: complete, interrupted or failed.
    """
    described = load.read(classes.ROOT / classes.SMOKE, (*SMALL, *overrides))
    folder = RunFolder(path)
    folder.make()
    folder.keep(described)
    play_in(folder, text=text, prompt=prompt, results=results, ending=ending)
    return folder


def play_in(
    folder: RunFolder,
    *,
    text: Callable[[Request], str] = text_of,
    prompt: Callable[[Request], Parts] = prompt_of,
    results: int = 10_000,
    ending: str = "complete",
) -> None:
    """The same of the scenario in a folder."""
    described = load.read(folder.scenario_file)
    with Store(folder.path, write=True) as store:
        bank = build.build_class(described, folder=folder.path)
        store.keep_bank(bank)
        everybody = [described.teacher, *described.students]
        store.keep_answerers({agent.name: digest(agent.pool) for agent in everybody})
        store.note("", "started", "[]")
        level = folder.level(described, bank, store, ClassGrader().same)
        due = deque(level.begin().requests)
        while due and results:
            turns = chain(prompt(due[0]))
            record = msgspec.structs.replace(_made_up(due.popleft(), text), prompt=turns[-1].id if turns else None)
            store.record([record], grader="test", version="1", chains=[turns])
            due.extend(level.receive(result_of(record)).requests)
            results -= 1
        store.note("", "session", f'{{"wall_seconds": 1.5, "status": "{ending}"}}')


def written(folder: RunFolder) -> Path:
    """Write summary.json and report.html; returns the page."""
    scenario = folder.scenario()
    rebuilt = folder.rebuild(scenario)
    folder.write_summary(rebuilt.summary)
    assert write_run_page(folder, scenario, rebuilt) == ""
    return folder.path / "report.html"


def _made_up(request: Request, text: Callable[[Request], str]) -> Record:
    answer = str(random.Random(request.id).randrange(3))
    return Record(
        request_id=request.id, kind=request.kind, agent=request.to, stage=request.stage, tp=request.tp, tr=request.tr,
        ep=request.ep, repeat=request.repeat, text=f"{text(request)}\nAnswer: {answer}", answer=answer,
        correct=answer == "0", completion_tokens=20, seconds=0.01,
    )  # fmt: skip
