import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec
import pytest

from agents.engines.base import Completion, EngineDead, EngineExhausted, EngineFailure, EngineStartError, Prompt, Scored
from agents.main import CREDIT_PER_SLOT, AgentProcess
from broker.child_process import NO_RESTART
from broker.client import Client
from broker.delivery import Received
from broker.protocol import Drain
from broker.work_messages import (
    Answered,
    Ask,
    Examine,
    Exemplar,
    Explain,
    Failed,
    Grade,
    Graded,
    Message,
    Mistake,
    Recipe,
    Reflect,
    Revise,
    Sampling,
    Teach,
    Train,
    Usage,
)
from tests.agents.specs import agent_spec

Who = Literal["teacher", "student"]
TEACH = Teach(problem="1 + 1?", answer_form="number", sampling=Sampling())
EXAMINE = Examine(problem="1 + 1?", answer_form="number", sampling=Sampling(), material=(Exemplar("2 + 2?", "4"),))

MATERIAL = (Exemplar("Is it raining?", answer="Yes"), Exemplar("It rains.", answer="No"))
REFLECT = Reflect(
    task="Is it a question?",
    answer_form="yes_no",
    material=MATERIAL,
    mistakes=(Mistake("Rain?", "Answer: No", "ben"),),
    reasons=2,
    sampling=Sampling(),
)
REVISE = Revise(task="Is it a question?", answer_form="yes_no", material=MATERIAL, count=2, sampling=Sampling())
ASK = Ask(material=MATERIAL, sampling=Sampling())
EXPLAIN = Explain(material=MATERIAL, question="Why yes?", sampling=Sampling())
GRADE = Grade(
    problem="1 + 1?", answer_form="number", material=(Exemplar("2 + 2?", "4"),), solution=" It is two.\nAnswer: 2\n"
)


class Wire:
    """A client that hands out what a test gives it, then Drain, and keeps what is sent."""

    def __init__(self, messages: Iterable[tuple[str, Message]]) -> None:
        self.working: set[str] = set()
        self.waiting: set[str] = set()
        self.sent: dict[str, Message] = {}
        self.beats: list[dict[str, Any]] = []
        self.goodbye: str | None = None
        self._batches = [[Received(m, "", id, "") for id, m in messages], [Received(Drain(), "", "", "")]]

    def on_receive(self, notify: Callable[[], None]) -> None:
        self._notify = notify

    def receive(self, timeout: float) -> list[Received]:
        self._notify()
        return self._batches.pop(0) if self._batches else []

    def send(self, message: Message, *, request_id: str, keep: bool) -> None:
        assert keep
        from broker.protocol import encode

        encode(message)
        self.sent[request_id] = message

    def beat(self, **figures: Any) -> None:
        if "progress" in figures:
            figures["progress"] = {*figures["progress"], *self.waiting}
        self.beats.append(figures)

    def close(self, goodbye: str = "") -> None:
        self.goodbye = goodbye


class Voice:
    """An engine that says what a test tells it to."""

    device = "nowhere"
    capacity = 3
    spent: float | None = None

    def __init__(self, say: Callable[[Prompt], str], start: Exception | None = None) -> None:
        self._say = say
        self._start = start
        self.stopped = False
        self.generated: list[Prompt] = []
        self.scored: list[tuple[Prompt, str]] = []

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        self.on_progress = on_progress
        if self._start:
            raise self._start

    async def generate(self, prompt: Prompt) -> Completion:
        await asyncio.sleep(0)
        self.generated.append(prompt)
        self.on_progress(prompt.request_id, 1)
        return Completion(self._say(prompt), Usage(prompt_tokens=7, completion_tokens=1))

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        self._say(prompt)
        self.scored.append((prompt, solution))
        return Scored(-0.5, 6, Usage(prompt_tokens=13))

    async def stop(self, *, again: bool = False) -> None:
        self.stopped = True


def work(
    role: Who,
    messages: Iterable[tuple[str, Message]],
    say: Callable[[Prompt], str],
    start: Exception | None = None,
) -> tuple[int, Wire, Voice]:
    spec = agent_spec(role=role, weights="w1")
    wire, voice = Wire(messages), Voice(say, start)
    client: Client = wire  # type: ignore[assignment]
    return asyncio.run(AgentProcess(spec, voice, client).run()), wire, voice


def test_what_an_engine_spends_is_told_with_every_answer() -> None:
    def pay(prompt: Prompt) -> str:
        Voice.spent = (Voice.spent or 0.0) + 0.5
        return "2"

    try:
        _, wire, _ = work("teacher", [("a", TEACH), ("b", TEACH)], pay)
    finally:
        Voice.spent = None
    assert [beat["spent"] for beat in wire.beats if "spent" in beat] == [None, 0.5, 1.0]


def test_a_teacher_teaches_and_a_student_sits_exams() -> None:
    code, wire, voice = work("teacher", [("a", TEACH)], lambda prompt: " so it is 2 ")
    assert (code, wire.goodbye, voice.stopped) == (0, "drained", True)
    assert wire.sent == {"a": Answered(text="so it is 2", usage=Usage(prompt_tokens=7, completion_tokens=1))}
    _, wire, _ = work("student", [("b", EXAMINE)], lambda prompt: "2")
    assert isinstance(wire.sent["b"], Answered)


@pytest.mark.parametrize(
    ("role", "request_", "says", "result"),
    [
        ("teacher", REFLECT, " Rain.\n2. More rain.", Answered(text="1. Rain.\n2. More rain.")),
        ("teacher", REVISE, " Rain?\nAnswer: Yes", Answered(text="Example 3\nText: Rain?\nAnswer: Yes")),
        (
            "teacher",
            Revise(task="", problem="1 + 1?", answer_form="number", sampling=Sampling()),
            " 1 + 1 = 2\nAnswer: 2",
            Answered(text="1 + 1 = 2\nAnswer: 2"),
        ),
        ("teacher", EXPLAIN, " It asks. ", Answered(text="It asks.")),
        ("teacher", EXAMINE, " Answer: 2", Answered(text="Answer: 2")),
        ("student", ASK, " Why yes?\nBecause.", Answered(text="Why yes?")),
    ],
)
def test_each_role_knows_its_other_trades_and_hands_over_whole_texts(
    role: Who, request_: Message, says: str, result: Message
) -> None:
    _, wire, _ = work(role, [("a", request_)], lambda prompt: says)
    usage = Usage(prompt_tokens=7, completion_tokens=1)
    assert wire.sent["a"] == msgspec.structs.replace(result, usage=usage)
    assert {"spent": None, "prompt_tokens": 7, "cached_tokens": 0} in wire.beats


def test_a_student_grades_a_solution_after_the_prompt_of_its_exam_and_generates_nothing() -> None:
    _, wire, voice = work("student", [("g", GRADE)], lambda prompt: "")
    assert wire.sent == {"g": Graded(logprob=-0.5, tokens=6, usage=Usage(prompt_tokens=13))}
    assert voice.generated == []
    ((prompt, solution),) = voice.scored
    assert solution == " It is two.\nAnswer: 2"
    _, _, exam = work("student", [("g", EXAMINE)], lambda prompt: "")
    assert (prompt.turns, prompt.begun) == (exam.generated[0].turns, exam.generated[0].begun)


def test_no_prompt_holds_a_solution() -> None:
    _, _, voice = work("student", [("g", msgspec.structs.replace(GRADE, solution="GOLD"))], lambda prompt: "")
    assert b"GOLD" not in msgspec.json.encode(voice.scored[0][0])


def test_an_empty_solution_and_one_that_is_too_long_fail_and_the_others_go_on() -> None:
    def say(prompt: Prompt) -> str:
        if prompt.request_id == "long":
            raise EngineFailure("context", "5000 tokens with the solution: the context holds 2048")
        return ""

    empty = msgspec.structs.replace(GRADE, solution=" \n")
    code, wire, _ = work("student", [("long", GRADE), ("empty", empty), ("b", GRADE)], say)
    failed = wire.sent["empty"]
    assert code == 0
    assert wire.sent["long"] == Failed(kind="context", detail="5000 tokens with the solution: the context holds 2048")
    assert isinstance(failed, Failed) and failed.kind == "unsupported" and "empty" in failed.detail
    assert isinstance(wire.sent["b"], Graded)


def test_what_is_under_way_is_finished_before_it_leaves() -> None:
    _, wire, _ = work("student", [(str(n), EXAMINE) for n in range(20)], lambda prompt: "2")
    assert set(wire.sent) == {str(n) for n in range(20)}
    assert wire.working == set()


def test_it_takes_more_requests_than_run_at_once_and_none_while_draining() -> None:
    _, wire, _ = work("teacher", [], lambda prompt: "")
    assert [b for b in wire.beats if "credit" in b] == [
        {"state": "ready", "credit": CREDIT_PER_SLOT * Voice.capacity, "spent": None},
        {"state": "draining", "credit": 0},
    ]


def test_a_request_that_comes_twice_is_answered_once() -> None:
    asked: list[str] = []

    def say(prompt: Prompt) -> str:
        asked.append(prompt.request_id)
        return "2"

    work("teacher", [("a", TEACH), ("a", TEACH)], say)
    assert asked == ["a"]


@pytest.mark.parametrize(
    ("role", "request_", "says"),
    [
        ("student", TEACH, "does not answer Teach"),
        ("student", REVISE, "does not answer Revise"),
        ("teacher", ASK, "does not answer Ask"),
        ("student", Train(pairs="a", pairs_digest="b", recipe=Recipe()), "does not answer Train"),
        (
            "teacher",
            Teach(problem="", answer_form="number", sampling=Sampling(), weights="w2"),
            "holds w1, and the run has no weights w2",
        ),
    ],
)
def test_what_it_cannot_do_fails_and_it_goes_on(role: Who, request_: Message, says: str) -> None:
    code, wire, _ = work(role, [("a", request_)], lambda prompt: "2")
    failed = wire.sent["a"]
    assert code == 0
    assert isinstance(failed, Failed)
    assert failed.kind == "unsupported"
    assert says in failed.detail


def test_a_request_that_the_engine_refuses_fails_and_the_others_go_on() -> None:
    def say(prompt: Prompt) -> str:
        if prompt.request_id == "long":
            raise EngineFailure("context", "5000 tokens, the context holds 2048")
        return "2"

    code, wire, _ = work("teacher", [("long", TEACH), ("b", TEACH)], say)
    assert code == 0
    assert wire.sent["long"] == Failed(kind="context", detail="5000 tokens, the context holds 2048")
    assert isinstance(wire.sent["b"], Answered)


@pytest.mark.parametrize("garbage", ["x" * 2_000_000, "\ud800"])
def test_garbage_from_the_engine_fails_that_request(garbage: str) -> None:
    code, wire, _ = work("teacher", [("a", TEACH)], lambda prompt: garbage)
    failed = wire.sent["a"]
    assert code == 0
    assert isinstance(failed, Failed)
    assert "cannot be sent" in failed.detail


@pytest.mark.parametrize("error", [EngineDead("it broke"), RuntimeError("anything else")])
def test_a_broken_engine_ends_the_process_without_goodbye_so_that_it_is_restarted(error: Exception) -> None:
    def say(prompt: Prompt) -> str:
        raise error

    code, wire, voice = work("teacher", [("a", TEACH)], say)
    assert code == 1
    assert (wire.goodbye, wire.sent, voice.stopped) == (None, {}, True)


def test_a_broken_engine_is_logged_in_one_traceback_and_a_line_for_each_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shared = RuntimeError("the core is gone")

    def say(prompt: Prompt) -> str:
        try:
            raise shared  # it grows a longer traceback each time
        except RuntimeError as error:
            raise EngineDead("the engine died:\nno memory") from error

    requests = [(f"request{n}", TEACH) for n in range(128)]
    code, _, _ = work("teacher", requests, say)
    assert code == 1
    first, *others = [record for record in caplog.records if record.getMessage().startswith("request")]
    assert first.exc_info and not any(record.exc_info for record in others)
    assert [record.getMessage() for record in others] == [
        f"request{n}: the engine died:; no memory" for n in range(1, 128)
    ]
    assert len(caplog.text) < 30_000


def test_when_a_budget_is_spent_it_finishes_what_is_under_way_and_leaves_for_good() -> None:
    def say(prompt: Prompt) -> str:
        if prompt.request_id == "dear":
            raise EngineExhausted("the budget is spent: 3 of 3")
        return "2"

    code, wire, voice = work("student", [("dear", EXAMINE), ("cheap", EXAMINE)], say)
    assert (code, wire.goodbye, voice.stopped) == (NO_RESTART, "the budget is spent: 3 of 3", True)
    assert set(wire.sent) == {"cheap"}
    assert wire.working == set()
    assert {"state": "draining", "credit": 0} in wire.beats


def test_an_engine_that_cannot_start_is_not_tried_again() -> None:
    code, wire, _ = work("teacher", [("a", TEACH)], lambda prompt: "", EngineStartError("no such model"))
    assert code == NO_RESTART
    assert wire.goodbye == "no such model"


def test_progress_of_the_engine_counts_for_requests_that_wait_for_it() -> None:
    _, wire, _ = work("student", [("a", EXAMINE), ("b", EXAMINE)], lambda prompt: "2")
    progress = [set(beat["progress"]) for beat in wire.beats if "progress" in beat]
    assert progress[0] == {"a", "b"}
