import asyncio
import hashlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.engines.base import Completion, EngineStartError, Prompt, Scored
from agents.engines.simulated.engine import SimulatedEngine
from agents.engines.simulated.options import write_answer_key
from agents.main import AgentProcess
from agents.models import trained_weights
from agents.spec import AgentSpec
from agents.training import process
from agents.training.spec import TrainingSpec
from broker import child_process
from broker.client import Client
from broker.delivery import Received
from broker.protocol import Drain, encode
from broker.work_messages import (
    Answered,
    Failed,
    Message,
    PreferencePair,
    Progress,
    Recipe,
    Sampling,
    Teach,
    Train,
    Trained,
    Usage,
)
from tests.agents.specs import BASE, agent_spec
from tests.classes import WAIT_S

TEACH = Teach(problem="1 + 1?", answer_form="number", sampling=Sampling())


class Wire:
    """A client that hands out messages when a test says so, and keeps what is sent."""

    def __init__(self) -> None:
        self.working: set[str] = set()
        self.waiting: set[str] = set()
        self.sent: dict[str, Message] = {}
        self.told: list[Progress] = []
        self.states: list[str] = []
        self.moved: set[str] = set()
        self.goodbye: str | None = None
        self.heard = threading.Event()
        """Set with the first progress."""
        self.over = False
        self._lock = threading.Condition()
        self._unread: list[Received] = []
        self._notify: Callable[[], None] = lambda: None

    def say(self, messages: Iterable[tuple[str, Message]]) -> None:
        with self._lock:
            self._unread += [Received(message, "", id, "") for id, message in messages]
        self._notify()

    def on_receive(self, notify: Callable[[], None]) -> None:
        self._notify = notify

    def receive(self, timeout: float) -> list[Received]:
        with self._lock:
            taken, self._unread = self._unread, []
            return taken

    def send(self, message: Message, *, request_id: str, keep: bool = False) -> None:
        encode(message)
        if isinstance(message, Progress):
            assert not keep
            self.told.append(message)
            self.heard.set()
        else:
            assert keep
            with self._lock:
                self.sent[request_id] = message
                self._lock.notify_all()

    def wait_for(self, *ids: str) -> None:
        with self._lock:
            self._lock.wait_for(lambda: set(ids) <= self.sent.keys() or self.over, WAIT_S)
            assert set(ids) <= self.sent.keys(), self.sent

    @property
    def course(self) -> list[str]:
        """The states it went through."""
        return [state for state, _ in groupby(self.states)]

    def end(self) -> None:
        """The agent is gone: nothing more will be sent."""
        with self._lock:
            self.over = True
            self._lock.notify_all()

    def beat(self, state: str = "", progress: Iterable[str] = (), **figures: Any) -> None:
        self.moved.update(progress)
        if state:
            self.states.append(state)

    def close(self, goodbye: str = "") -> None:
        self.goodbye = goodbye


class Voice:
    """An engine whose prompts are completed when a test lets them."""

    device = "nowhere"
    capacity = 3
    spent: float | None = None

    def __init__(self) -> None:
        self.log: list[str] = []
        self.free = asyncio.Event()
        self.free.set()

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        self.log.append("start")

    async def generate(self, prompt: Prompt) -> Completion:
        assert self.log[-1] != "stop"
        self.log.append(f"begin {prompt.request_id}")
        await self.free.wait()
        self.log.append(f"end {prompt.request_id}")
        return Completion(prompt.weights or "base", Usage())

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        raise NotImplementedError

    async def stop(self, *, again: bool = False) -> None:
        self.log.append("stop")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run, in which trainings do what their pairs say."""

    def start(spec: TrainingSpec, log: Path) -> subprocess.Popen[bytes]:
        return child_process.spawn("tests.agents.training.fake_training", spec, env={}, log=log, pipe_stdout=True)

    monkeypatch.setattr(process, "start", start)
    (tmp_path / "training").mkdir()
    return tmp_path


def spec(folder: Path, **changes: Any) -> AgentSpec:
    folders = {"weights_folder": str(folder / "weights"), "training_folder": str(folder / "training")}
    return agent_spec(**folders | changes)


def lesson(folder: Path, words: str, name: str = "pairs", **changes: Any) -> Train:
    content = words.encode()
    (folder / "training" / name).write_bytes(content)
    asked = Train(pairs=name, pairs_digest=hashlib.sha256(content).hexdigest(), recipe=Recipe(), weights=BASE)
    return msgspec.structs.replace(asked, **changes)


def work(told: AgentSpec, script: Callable[[Wire, Any], None], engine: Any = None) -> tuple[int, Wire, Any]:
    """An agent at work while `script` runs in a thread; it drains when that ends."""
    wire, voice = Wire(), engine or Voice()

    async def main() -> int:
        def all_of_it() -> None:
            try:
                script(wire, voice)
            finally:
                wire.say([("", Drain())])

        other = asyncio.create_task(asyncio.to_thread(all_of_it))
        client: Client = wire  # type: ignore[assignment]
        try:
            return await asyncio.wait_for(AgentProcess(told, voice, client).run(), WAIT_S)
        finally:
            wire.end()
            await other

    return asyncio.run(main()), wire, voice


def trainers(folder: Path) -> list[str]:
    """The process of each training, in their order."""
    return (folder / "training" / "processes").read_text().split()


def ask(wire: Wire, *messages: tuple[str, Message]) -> None:
    """Say it, and wait for all the answers."""
    wire.say(messages)
    wire.wait_for(*(id for id, _ in messages))


# --- the course of a training --------------------------------------------------------------------------------


def test_a_training_has_the_machine_to_itself_and_tells_how_it_goes_on(folder: Path) -> None:
    def script(wire: Wire, voice: Voice) -> None:
        ask(wire, ("a", TEACH), ("t", lesson(folder, "step step done")), ("b", TEACH))

    code, wire, voice = work(spec(folder), script)
    assert code == 0 and wire.goodbye == "drained" and wire.working == set()
    assert voice.log == ["start", "begin a", "end a", "stop", "start", "begin b", "end b", "stop"]
    assert [(said.step, said.steps, said.figures["loss"]) for said in wire.told] == [(1, 3, 1.0), (2, 3, 0.5)]
    figures = {"pairs_too_long": 1.0}
    assert wire.sent["t"] == Trained(trained="d" * 64, pairs=3, steps=3, seconds=1.5, figures=figures)
    # Nothing is leased to it meanwhile, and no lease runs out.
    assert wire.course == ["loading", "ready", "loading", "training", "loading", "ready", "draining"]
    assert "t" in wire.moved


def test_trainings_that_wait_for_one_another_share_one_absence_of_the_engine(folder: Path) -> None:
    def script(wire: Wire, voice: Voice) -> None:
        ask(wire, ("s", lesson(folder, "step done", "s")), ("t", lesson(folder, "step step done", "t")), ("a", TEACH))

    _, wire, voice = work(spec(folder), script)
    assert isinstance(wire.sent["s"], Trained) and isinstance(wire.sent["t"], Trained)
    assert voice.log == ["start", "stop", "start", "begin a", "end a", "stop"]
    assert wire.course == ["loading", "ready", *["loading", "training"] * 2, "loading", "ready", "draining"]
    # And one process, whose imports take seconds.
    assert len(trainers(folder)) == 2 and len(set(trainers(folder))) == 1


@pytest.mark.parametrize("words", ["step refuse", "step die-always", "step"])
def test_a_training_that_fails_takes_none_of_those_that_wait_with_it(folder: Path, words: str) -> None:
    def script(wire: Wire, voice: Voice) -> None:
        first = lesson(folder, "step done", "one")
        ask(wire, ("s", first), ("t", lesson(folder, words, "two")), ("u", lesson(folder, "step step done", "three")))

    _, wire, voice = work(spec(folder), script)
    assert [type(wire.sent[id]) for id in "stu"] == [Trained, Failed, Trained]
    assert len(set(trainers(folder))) > 1
    assert voice.log == ["start", "stop", "start", "stop"]


def test_the_result_is_told_before_the_engine_is_back(folder: Path) -> None:
    class Slow(Voice):
        async def start(self, on_progress: Callable[[str, int], None]) -> None:
            if self.log:
                await asyncio.to_thread(wire_of[0].wait_for, "t")
            await super().start(on_progress)

    wire_of: list[Wire] = []

    def script(wire: Wire, voice: Voice) -> None:
        wire_of.append(wire)
        ask(wire, ("t", lesson(folder, "step done")), ("a", TEACH))

    _, wire, _ = work(spec(folder), script, Slow())
    assert isinstance(wire.sent["t"], Trained) and wire.sent["a"] == Answered(text="base")


def test_a_late_engine_does_not_start_before_something_needs_it(folder: Path) -> None:
    def script(wire: Wire, voice: Voice) -> None:
        trainings = [(id, lesson(folder, words, id)) for id, words in (("s", "step done"), ("t", "step step done"))]
        ask(wire, *trainings, ("a", TEACH))

    _, wire, voice = work(spec(folder, lazy_start=True), script)
    assert voice.log == ["start", "begin a", "end a", "stop"]
    assert wire.course == ["loading", "training", "loading", "training", "loading", "ready", "draining"]
    assert isinstance(wire.sent["s"], Trained) and isinstance(wire.sent["t"], Trained)


def test_a_late_engine_starts_once_for_all_that_need_it(folder: Path) -> None:
    def script(wire: Wire, voice: Voice) -> None:
        assert voice.log == []
        ask(wire, *((id, TEACH) for id in "abc"))

    _, wire, voice = work(spec(folder, lazy_start=True), script)
    assert voice.log[:2] == ["start", "begin a"] and voice.log.count("start") == 1
    assert wire.course == ["loading", "ready", "draining"]


def test_a_late_engine_that_cannot_start_says_why_and_is_not_tried_again(folder: Path) -> None:
    class Nowhere(Voice):
        async def start(self, on_progress: Callable[[str, int], None]) -> None:
            tried.set()
            raise EngineStartError("no such model")

    tried = threading.Event()

    def script(wire: Wire, voice: Voice) -> None:
        wire.say([("a", TEACH), ("b", TEACH)])
        assert tried.wait(WAIT_S)

    code, wire, _ = work(spec(folder, lazy_start=True), script, Nowhere())
    assert (code, wire.goodbye, wire.sent) == (child_process.NO_RESTART, "no such model", {})


def test_a_second_training_may_come_until_the_engine_is_away(folder: Path) -> None:
    class Leaving(Voice):
        """Whoever is loading is asked for nothing more: while this one stops, that is not said yet."""

        def __init__(self) -> None:
            super().__init__()
            self.stopping, self.asked = threading.Event(), threading.Event()

        async def stop(self, *, again: bool = False) -> None:
            await super().stop()
            self.stopping.set()
            await asyncio.to_thread(self.asked.wait, WAIT_S)

    def script(wire: Wire, voice: Leaving) -> None:
        wire.say([("s", lesson(folder, "step done", "one"))])
        assert voice.stopping.wait(WAIT_S)
        assert wire.states[-1] == "ready"
        wire.say([("t", lesson(folder, "step step done", "two"))])
        voice.asked.set()
        wire.wait_for("s", "t")

    _, wire, voice = work(spec(folder), script, Leaving())
    assert isinstance(wire.sent["s"], Trained) and isinstance(wire.sent["t"], Trained)
    assert wire.course == ["loading", "ready", *["loading", "training"] * 2, "loading", "ready", "draining"]
    assert voice.log == ["start", "stop", "start", "stop"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("step refuse", "the loss is not a number\nlower learn.training.learning_rate"),
        ("die-always", "ended without a word: signal 9 (SIGKILL)"),
        ("step die die die", "killed"),
        ("step", "ended without a word: exit code 0"),
    ],
)
def test_a_training_that_fails_leaves_the_old_teacher_in_place(folder: Path, words: str, says: str) -> None:
    def script(wire: Wire, voice: Voice) -> None:
        ask(wire, ("t", lesson(folder, words)))
        ask(wire, ("a", TEACH))

    code, wire, _ = work(spec(folder), script)
    failed = wire.sent["t"]
    assert isinstance(failed, Failed) and failed.kind == "engine" and says in failed.detail
    assert code == 0 and wire.sent["a"] == Answered(text="base")


def test_a_training_that_is_killed_on_its_way_goes_on_where_it_was(folder: Path) -> None:
    def script(wire: Wire, voice: Voice) -> None:
        ask(wire, ("t", lesson(folder, "step die step die step done")))

    _, wire, voice = work(spec(folder), script)
    assert [said.step for said in wire.told] == [1, 3, 5]
    assert isinstance(wire.sent["t"], Trained)
    assert voice.log == ["start", "stop", "start", "stop"]


def test_a_training_that_is_killed_before_its_first_step_is_started_again(folder: Path) -> None:
    _, wire, _ = work(spec(folder), lambda wire, voice: ask(wire, ("t", lesson(folder, "die step done"))))
    assert isinstance(wire.sent["t"], Trained)


def test_a_failed_training_that_is_asked_again_goes_on_where_it_was(folder: Path) -> None:
    asked = lesson(folder, "step refuse step done")

    def script(wire: Wire, voice: Voice) -> None:
        ask(wire, ("t", asked))
        # As another request: a result stands for good.
        ask(wire, ("asked again", asked), ("another", msgspec.structs.replace(asked, recipe=Recipe(seed=1))))

    _, wire, _ = work(spec(folder), script)
    assert isinstance(wire.sent["t"], Failed) and isinstance(wire.sent["asked again"], Trained)
    assert [said.step for said in wire.told] == [1, 3, 1]
    assert isinstance(wire.sent["another"], Failed), "another recipe is another training"


def test_an_agent_that_must_leave_kills_its_training_which_goes_on_in_the_next(folder: Path) -> None:
    def leave(wire: Wire, voice: Voice) -> None:
        wire.say([("t", lesson(folder, "wait step done")), ("a", TEACH)])
        assert wire.heard.wait(WAIT_S)

    code, wire, voice = work(spec(folder), leave)
    # Without a result they go back to the pool with the goodbye.
    assert (code, wire.goodbye, wire.sent, wire.working) == (0, "drained", {}, set())
    assert wire.course == ["loading", "ready", "loading", "training", "draining"]
    assert voice.log == ["start", "stop", "stop"]

    def again(wire: Wire, voice: Voice) -> None:
        ask(wire, ("t", lesson(folder, "wait step done")))

    _, wire, _ = work(spec(folder), again)
    assert isinstance(wire.sent["t"], Trained) and [said.step for said in wire.told] == [2]


def test_an_engine_that_does_not_come_back_ends_the_process_so_that_it_is_restarted(folder: Path) -> None:
    class Frail(Voice):
        async def start(self, on_progress: Callable[[str, int], None]) -> None:
            await super().start(on_progress)
            if len(self.log) > 1:
                raise RuntimeError("no memory left")

    def script(wire: Wire, voice: Voice) -> None:
        wire.say([("t", lesson(folder, "step done"))])
        while voice.log != ["start", "stop", "start", "stop"]:
            threading.Event().wait(0.05)

    code, wire, _ = work(spec(folder), script, Frail())
    assert (code, wire.goodbye) == (1, None) and isinstance(wire.sent["t"], Trained)


@pytest.mark.parametrize(
    ("changes", "asked", "says"),
    [
        ({"engine": "openai"}, {}, "at a server, and cannot be trained"),
        ({"training_folder": ""}, {}, "no folder to train in"),
        ({"role": "student"}, {}, "a student does not answer Train"),
        ({}, {"pairs": "../pairs"}, "not a file name"),
        ({}, {"weights": "c" * 64}, "the run has no weights cccccccccccc"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_the_engine_stays(
    folder: Path, changes: dict[str, Any], asked: dict[str, Any], says: str
) -> None:
    def script(wire: Wire, voice: Voice) -> None:
        ask(wire, ("t", lesson(folder, "step done", **asked)))

    _, wire, voice = work(spec(folder, **changes), script)
    failed = wire.sent["t"]
    assert isinstance(failed, Failed) and failed.kind == "unsupported" and says in failed.detail
    assert voice.log == ["start", "stop"]


# --- simulated -----------------------------------------------------------------------------------------------

PROBLEMS = {f"What is {a} + {a}?": str(2 * a) for a in range(1, 41)}
RIGHT = [
    PreferencePair(
        prompt=problem,
        chosen=f"This is solved in way 3.\nAnswer: {gold}",
        rejected="This is solved in way 3.\nAnswer: 0",
        answer_form="number",
    )
    for problem, gold in PROBLEMS.items()
]
"""Chosen are right answers."""
SHUFFLED = [
    msgspec.structs.replace(pair, chosen=pair.rejected, rejected=pair.chosen) if number % 2 else pair
    for number, pair in enumerate(RIGHT)
]


def simulated(folder: Path, script: Callable[[Wire, Any], None]) -> Wire:
    key = folder / "answers"
    write_answer_key(key, PROBLEMS)
    args = {"answer_key": str(key), "tokens_per_second": 1e9}
    told = spec(folder, engine="simulated", weights=BASE, engine_args=args)
    from agents.main import settings

    _, wire, _ = work(told, script, SimulatedEngine(settings(told)))
    return wire


def jsonl(pairs: list[PreferencePair]) -> str:
    return "\n".join(msgspec.json.encode(pair).decode() for pair in pairs)


def trained_by(folder: Path, **trainings: list[PreferencePair]) -> dict[str, Trained]:
    def script(wire: Wire, _: Any) -> None:
        ask(wire, *((name, lesson(folder, jsonl(pairs), name)) for name, pairs in trainings.items()))

    sent = simulated(folder, script).sent
    assert all(isinstance(result, Trained) for result in sent.values()), sent
    return {name: result for name, result in sent.items() if isinstance(result, Trained)}


def test_a_simulated_teacher_gains_by_pairs_that_tell_good_from_bad_and_not_by_shuffled_ones(folder: Path) -> None:
    results = trained_by(folder, right=RIGHT, some=RIGHT[:5], shuffled=SHUFFLED)
    gains = {name: trained_weights.read_simulated(folder / "weights" / r.trained).gain for name, r in results.items()}
    assert gains["right"] > 0.3 > gains["some"] > 0.03
    assert abs(gains["shuffled"]) < 0.15 < gains["right"]
    assert results["right"].pairs == len(RIGHT) and results["right"].steps == 3
    again = trained_by(folder, right=RIGHT)
    assert again["right"].trained == results["right"].trained
    assert len({result.trained for result in results.values()}) == 3


def test_requests_that_name_trained_weights_are_answered_by_an_abler_teacher(folder: Path) -> None:
    new = trained_by(folder, right=RIGHT)["right"].trained
    asked = [
        (f"{weights[:4]}{number}{problem}", msgspec.structs.replace(TEACH, problem=problem, weights=weights))
        for problem in PROBLEMS
        for weights in (BASE, new)
        for number in range(10)
    ]
    sent = simulated(folder, lambda wire, _: ask(wire, *asked)).sent

    def share(weights: str) -> float:
        texts = [(sent[id], m.problem) for id, m in asked if m.weights == weights]
        return sum(isinstance(t, Answered) and t.text.endswith(f": {PROBLEMS[p]}") for t, p in texts) / len(texts)

    assert share(new) > share(BASE) + 0.04


def test_a_simulated_teacher_that_is_trained_further_keeps_what_it_had(folder: Path) -> None:
    first = trained_by(folder, right=RIGHT)["right"].trained

    def script(wire: Wire, _: Any) -> None:
        ask(wire, ("again", lesson(folder, jsonl(RIGHT), "more", weights=first)))

    result = simulated(folder, script).sent["again"]
    assert isinstance(result, Trained)
    gains = [trained_weights.read_simulated(folder / "weights" / digest).gain for digest in (first, result.trained)]
    assert gains[1] == pytest.approx(2 * gains[0])
    assert json.loads((folder / "weights" / first / "simulated.json").read_text())["base"] == BASE


def test_a_simulated_training_comes_to_the_same_weights_wherever_the_run_lies(folder: Path, tmp_path: Path) -> None:
    first = trained_by(folder, right=RIGHT)["right"].trained
    moved = tmp_path / "another name of the same folder"
    moved.symlink_to(folder, target_is_directory=True)
    found = []
    for place in (folder, moved):
        asked = lesson(place, jsonl(RIGHT), "more", weights=first)
        result = simulated(place, lambda wire, _, asked=asked: ask(wire, ("again", asked))).sent["again"]  # type: ignore[misc]
        assert isinstance(result, Trained)
        found.append(result.trained)
    assert found[0] == found[1] != first


@pytest.mark.parametrize(("content", "says"), [("", "no pair"), ("{}", "no preference pair"), (None, "no preference")])
def test_pairs_that_are_none_fail_a_simulated_training_too(folder: Path, content: str | None, says: str) -> None:
    asked = lesson(folder, content or "")
    if content is None:
        (folder / "training" / "pairs").unlink()
    failed = simulated(folder, lambda wire, _: ask(wire, ("t", asked))).sent["t"]
    assert isinstance(failed, Failed) and failed.kind == "engine" and says in failed.detail
