"""This project's side of `peers`: a class of one student, whose teacher is a server that answers at once.

So nothing but the exams takes time on the cores, and the exams are the same in every class of one seed. The rest is
real: run.py, the broker, the agents' processes and class.db.
"""

import random
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psutil

from agents.engines.base import Turn
from agents.engines.chat import Chat
from broker.protocol import digest
from scenarios.store.prompts import read
from scenarios.store.sqlite import Store
from tests import classes
from tests.agents.engines.openai import openai_server
from tests.benchmarks.engine_vllm import chat_turns

SCENARIO = """\
name: peers
seed: {seed}
task: {{family: {family}, problems: {problems}}}
teacher: {{name: teacher, engine: openai, model: small, engine_args: {{base_url: {url}, max_parallel: 1}}}}
students:
  - {{name: ada, {student}}}
lesson: {{rationales: {rationales}, greedy: false}}
exam: {{problems: {exams}, sampling: {{temperature: 0, max_tokens: {max_tokens}}}}}
"""


class Work(NamedTuple):
    """What is asked of every peer."""

    problems: int
    rationales: int
    """TRs of each TP."""
    exams: int
    """EPs of each TR; the reference asks them in one batch."""
    max_tokens: int
    seed: int
    family: str = "gsm_symbolic"


Exams = dict[str, dict[tuple[Turn, ...], str]]
"""Answers by TR, then by the turns of the exam, the last of which is the begun answer."""


class Attended(NamedTuple):
    """A class that is over."""

    answers: Exams
    start_s: float
    """From the command to the first exam request."""
    exams_s: float
    """From the first exam request to the last exam answer."""
    class_s: float
    """To the last answer, from the first request of any kind, or from when the student was ready, if that was later."""
    busy_s: float
    """In which the student had at least one request."""
    pss_mb: float


@contextmanager
def teacher() -> Iterator[str]:
    """The address of a server that writes a rationale at once, the same one for the same problem and seed."""
    with openai_server.running() as server:
        server.fault = teach
        yield server.url


def teach(handler: openai_server.Handler) -> None:
    """Answer one call; the class asks one at a time, so the last body is this call's."""
    body = handler.told.bodies[-1]
    problem = next(turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user")
    if problem == "1 + 1?":  # a call at the start
        return handler.answer(body)
    return handler.complete(body, [rationale(problem, random.Random(digest(problem, body.get("seed"))))], 100)


def rationale(problem: str, draw: random.Random) -> str:
    """A solution in the form that is asked for, of about 60 tokens, and mostly wrong."""
    numbers = [int(each) for each in re.findall(r"\d+", problem)] or [2]
    total = draw.choice(numbers)
    lines = [f"We begin with the {total} that the question names."]
    for step in ("First", "Then", "After that"):
        number = draw.choice(numbers)
        lines.append(f"{step} there are {number} more: {total} + {number} = {total + number}.")
        total += number
    return " " + "\n".join([*lines, f"Answer: {total}"])


def attend(folder: Path, url: str, work: Work, student: str) -> Attended:
    """Run one class in an empty folder.

    Args:
        student: what the scenario says of the student, besides its name.
    """
    scenario, out = folder / "peers.yaml", folder / "run"
    scenario.write_text(SCENARIO.format(url=url, student=student, **work._asdict()))
    begun = time.time()  # compared with the times in class.db, which are wall-clock times too
    process = classes.start(out, scenario=scenario)
    with PeakMemory(process.pid) as memory:
        classes.finish(process)
    with Store(out) as store:
        rows = store.query(
            "SELECT tr, prompt, text, at, seconds FROM result WHERE kind = 'Examine' AND failed = '' ORDER BY tr, ep"
        )
        # An agent that has nothing to load is ready when it joins.
        states = store.events(kinds=["joined", "ready"])
        ready = max(seconds_of(event.at) for event in states if event.agent == "ada")
        answers: Exams = {}
        for tr, prompt, text, *_ in rows:
            answers.setdefault(str(tr), {})[exam(read(store.query, int(str(prompt))))] = str(text)
    spans = [span(at, seconds) for *_, at, seconds in rows]
    first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
    return Attended(
        answers=answers,
        start_s=first - begun,
        exams_s=last - first,
        class_s=last - max(ready, classes.first_asked(out)),
        busy_s=covered(spans),
        pss_mb=memory.mb,
    )


def exam(parts: Iterable[tuple[str, str]]) -> tuple[Turn, ...]:
    """The turns of a prompt as class.db has it, and the begun answer as the last."""
    (_, begun), *turns = parts
    return (*(Turn(role, text) for role, text in turns), Turn("assistant", begun))  # type: ignore[arg-type]


def prompt_text(chat: Chat, turns: tuple[Turn, ...]) -> str:
    """An exam as a model reads it."""
    asked = chat_turns(turns[:-1])
    return str(chat.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)) + turns[-1].text


def span(at: object, seconds: object) -> tuple[float, float]:
    """When a request began and ended, in seconds since the epoch."""
    end = seconds_of(at)
    return end - float(str(seconds)), end


def seconds_of(at: object) -> float:
    """A time of class.db in seconds since the epoch."""
    return datetime.fromisoformat(str(at)).timestamp()


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds that lie in at least one of the spans."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


class PeakMemory:
    """The largest sum of proportional set sizes of a process and its children, looked up once a second."""

    def __init__(self, pid: int) -> None:
        self.mb = 0.0
        self._root = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            self.mb = max(self.mb, self._now())

    def _now(self) -> float:
        total = 0.0
        with suppress(psutil.Error):
            for process in (self._root, *self._root.children(recursive=True)):
                with suppress(psutil.Error):  # it has ended in the meantime
                    found = process.memory_full_info()
                    total += getattr(found, "pss", found.rss) / 1e6
        return total
