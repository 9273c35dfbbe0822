import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeVar

import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from agents.engines.base import (
    Completion,
    EngineDead,
    EngineFailure,
    EngineSpent,
    EngineStartError,
    Prompt,
    Settings,
    Turn,
)
from agents.engines.openai import OpenAIEngine
from agents.engines.pacing import backoff_s
from broker.messages import Sampling, Teach
from tests.agents import openai_server as faults
from tests.agents.openai_server import Fault, Server

T = TypeVar("T")
Start = Callable[[OpenAIEngine], Awaitable[T]]


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def server() -> Iterator[Server]:
    with faults.running() as told:
        yield told


def prompt(question: str = "2 + 3?", begun: str = "Solution:", **sampling: Any) -> Prompt:
    turns = (
        Turn("system", "Be brief."),
        Turn("user", "1 + 1?"),
        Turn("assistant", "Solution: 2"),
        Turn("user", question),
    )
    how = Sampling(**sampling)
    asked = Teach(problem=question, answer_form="number", sampling=how)
    return Prompt(request_id=f"{question}", turns=turns, begun=begun, sampling=how, seed=(1 << 62) + 5, asked=asked)


def engine(server: Server, clock: Clock | None = None, *, capacity: int = 0, **options: Any) -> OpenAIEngine:
    clock = clock or Clock()
    told = Settings(
        model=server.model, folder=None, capacity=capacity, threads=1, options={"base_url": server.url, **options}
    )
    return OpenAIEngine(told, clock=clock, sleep=clock.sleep)


def use(
    made: OpenAIEngine,
    work: Start[T],
    progress: Callable[[str, int], None] = lambda request_id, tokens: None,
) -> T:
    async def main() -> T:
        await made.start(progress)
        try:
            return await asyncio.wait_for(work(made), faults.WAIT_S)
        finally:
            await made.stop()
            await made.stop()

    return asyncio.run(main())


def answer(made: OpenAIEngine, *prompts: Prompt, before: Callable[[], None] = lambda: None) -> list[Any]:
    """What becomes of the prompts, all asked at once; `before` runs between the start and the first of them."""

    async def work(started: OpenAIEngine) -> list[Any]:
        before()
        return list(await asyncio.gather(*map(started.generate, prompts), return_exceptions=True))

    return use(made, work)


def one(made: OpenAIEngine, asked: Prompt | None = None, before: Callable[[], None] = lambda: None) -> Completion:
    (outcome,) = answer(made, asked or prompt(), before=before)
    if isinstance(outcome, BaseException):
        raise outcome
    assert isinstance(outcome, Completion)
    return outcome


def refused_start(made: OpenAIEngine) -> str:
    with pytest.raises(EngineStartError) as error:
        asyncio.run(made.start(lambda request_id, tokens: None))
    said = str(error.value)
    assert len(said.splitlines()) <= 3
    return said


# --- what comes out ------------------------------------------------------------------------------------------


def test_an_answer_goes_on_from_its_beginning_and_is_counted_by_the_server(server: Server) -> None:
    completion = one(engine(server))
    body = server.bodies[-1]
    assert completion.text == " 5\nAnswer: it"
    assert body["messages"][-1] == {"role": "assistant", "content": "Solution:"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    usage = completion.usage
    assert (usage.completion_tokens, usage.finish_reason) == (5, "stop")
    assert usage.cached_tokens == usage.prompt_tokens // 2 > 0


def test_sampling_is_passed_on_and_what_says_nothing_is_left_out(server: Server) -> None:
    one(engine(server), prompt(temperature=0.5, top_k=7, top_p=0.9, max_tokens=33))
    wished = {"temperature": 0.5, "top_k": 7, "top_p": 0.9, "max_tokens": 33, "seed": 5, "stream": True}
    assert wished.items() <= server.bodies[-1].items()
    one(engine(server), prompt(temperature=0, top_k=0, top_p=1.0))
    assert server.bodies[-1]["temperature"] == 0
    assert not {"top_k", "top_p"} & server.bodies[-1].keys()


def test_every_piece_is_progress_and_all_tokens_are_told(server: Server) -> None:
    seen: list[tuple[str, int]] = []

    async def work(started: OpenAIEngine) -> Completion:
        return await started.generate(prompt())

    completion = use(engine(server), work, lambda request_id, tokens: seen.append((request_id, tokens)))
    assert len(seen) > 3
    assert {request_id for request_id, _ in seen} == {"2 + 3?"}
    assert sum(tokens for _, tokens in seen) == completion.usage.completion_tokens


def test_a_cut_off_answer_says_so(server: Server) -> None:
    server.finish_reason = "length"
    assert one(engine(server)).usage.finish_reason == "length"


def test_a_filtered_answer_fails_its_request(server: Server) -> None:
    server.finish_reason = "content_filter"
    with pytest.raises(EngineFailure, match="content filter"):
        one(engine(server))


def test_no_more_calls_at_once_than_allowed_and_as_many_as_that(server: Server) -> None:
    pairs = threading.Barrier(2)

    def meet() -> None:
        server.before = lambda: (pairs.wait(faults.WAIT_S), None)[1]

    outcomes = answer(engine(server, max_parallel=2), *(prompt(f"{n}?") for n in range(6)), before=meet)
    assert [outcome.text.split()[0] for outcome in outcomes] == [str(n) for n in range(6)]
    assert server.most_at_once == 2


def test_capacity_lowers_the_calls_at_once_and_never_raises_them(server: Server) -> None:
    assert [engine(server, capacity=n, max_parallel=4).capacity for n in (0, 3, 9)] == [4, 3, 4]


# --- what a server does not take -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["top_k", "seed", "stream_options", "temperature"])
def test_a_refused_parameter_is_left_out_and_noted_once(
    server: Server, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuses = {name: f"Unrecognized request argument supplied: {name}"}
    outcomes = answer(engine(server), *(prompt(f"{n}?") for n in range(5)))
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [name in body for body in server.bodies].count(True) == 1
    assert [
        record.getMessage() for record in caplog.records if f"takes no {name}," in record.getMessage()
    ].__len__() == 1


def test_what_is_refused_only_later_is_found_out_by_all_and_noted_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        server.refuses = {"top_p": "top_p is not supported with this model"}

    outcomes = answer(engine(server), *(prompt(f"{n}?", top_p=0.9) for n in range(4)), before=refuse)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert caplog.text.count("takes no top_p") == 1


def test_refusals_in_the_words_of_other_servers(server: Server) -> None:
    rejects = {"top_k", "continue_final_message"}

    def as_fastapi(handler: faults.Handler) -> None:
        body = server.bodies[-1]
        if found := sorted(rejects & body.keys()):
            items = [
                {"loc": ["body", name], "msg": "Extra inputs are not permitted", "input": "seed"} for name in found
            ]
            handler.say(422, {"detail": items})
        else:
            handler.answer(body)

    server.fault, server.prefill = as_fastapi, "always"
    assert one(engine(server)).text == " 5\nAnswer: it"
    assert "seed" in server.bodies[-1]
    assert not {"top_k", "continue_final_message", "add_generation_prompt"} & server.bodies[-1].keys()


def test_a_limit_by_another_name(server: Server) -> None:
    server.refuses = {"max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}
    one(engine(server), prompt(max_tokens=44))
    assert server.bodies[-1]["max_completion_tokens"] == 44


def test_instructions_move_where_there_is_no_system_role(server: Server) -> None:
    server.system = False
    one(engine(server))
    first = server.bodies[-1]["messages"][0]
    assert first == {"role": "user", "content": "Be brief.\n\n1 + 1?"}


@pytest.mark.parametrize("one_piece_untold", [False, True])
def test_an_answer_in_one_piece(server: Server, one_piece_untold: bool) -> None:
    server.in_one_piece = one_piece_untold
    server.refuses = {} if one_piece_untold else {"stream": "verify your organization to stream this model"}
    completion = one(engine(server))
    assert (completion.text, completion.usage.completion_tokens) == (" 5\nAnswer: it", 5)


def test_a_server_that_does_not_say_what_it_refuses_is_asked_for_less(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuses = {"seed": "bad request"}
    server.fault = lambda handler: (
        handler.say(400, {"error": "bad request"}) if "seed" in server.bodies[-1] else handler.answer(server.bodies[-1])
    )
    assert one(engine(server)).text == " 5\nAnswer: it"
    assert "asked without seed the server answers" in caplog.text


@pytest.mark.parametrize("begins_again", [True, False])
def test_a_begun_answer_that_is_taken_for_a_finished_turn_is_not_sent(server: Server, begins_again: bool) -> None:
    server.prefill, server.begins_again = "ignored", begins_again
    one(engine(server))
    assert server.bodies[-1]["messages"][-1]["role"] == "user"


def test_a_refused_begun_answer_is_not_sent(server: Server) -> None:
    server.prefill = "refused"
    one(engine(server))
    assert server.bodies[-1]["messages"][-1]["role"] == "user"


def test_a_server_that_goes_on_untold_is_left_to_it(server: Server) -> None:
    server.prefill = "always"
    server.refuses = {"continue_final_message": "unknown field continue_final_message"}
    one(engine(server))
    assert server.bodies[-1]["messages"][-1]["role"] == "assistant"


@pytest.mark.parametrize("said", ["Solution: 5", "**Solution:** 5", "\n## Solution: 5", " 5"])
def test_a_repeated_beginning_is_cut_off(server: Server, said: str) -> None:
    def repeat() -> None:
        server.fault = lambda handler: handler.complete(server.bodies[-1], [said], 9)

    assert one(engine(server), before=repeat).text == " 5"


def test_what_the_scenario_omits_is_never_sent(server: Server) -> None:
    one(engine(server, omit=["seed", "prefill"]))
    assert not any("seed" in body or body["messages"][-1]["role"] == "assistant" for body in server.bodies)


def test_without_the_servers_count_pieces_are_tokens(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.counts = False
    usage = one(engine(server)).usage
    assert usage.completion_tokens == 3
    assert usage.prompt_tokens > 0
    assert caplog.text.count("estimates") == 1


# --- what goes wrong on the way ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(429),
        faults.status(500),
        faults.status(503),
        faults.status(529),
        faults.cut,
        faults.silent_end,
        faults.unheard,
        faults.garbage,
        faults.nonsense,
        faults.error_in_stream,
    ],
)
def test_what_fails_on_the_way_is_asked_again(server: Server, fault: Fault) -> None:
    clock = Clock()
    completion = one(engine(server, clock), before=lambda: server.faults.extend([fault, fault]))
    assert completion.text == " 5\nAnswer: it"
    assert clock.slept == [backoff_s("2 + 3?", 1), backoff_s("2 + 3?", 2)]


def test_a_server_that_hangs_is_asked_again(server: Server) -> None:
    completion = one(engine(server, timeout_s=1), before=lambda: server.faults.append(faults.hang))
    assert completion.text == " 5\nAnswer: it"


def test_an_answer_that_is_whole_is_kept_whatever_breaks_after_it(server: Server) -> None:
    def after(handler: faults.Handler) -> None:
        handler.begin_stream()
        handler.send({"choices": [{"delta": {"content": "7"}, "finish_reason": "stop"}]})
        handler.close_connection = True

    assert one(engine(server), before=lambda: server.faults.append(after)).text == "7"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after_ms": "2500", "retry_after": "9"}, 2.5),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": formatdate(0)}, 0.0),
    ],
)
def test_the_server_says_when_to_come_back(server: Server, headers: dict[str, str], seconds: float) -> None:
    clock = Clock()
    one(engine(server, clock), before=lambda: server.faults.append(faults.status(429, **headers)))
    assert clock.slept == [seconds + backoff_s("2 + 3?", 1) / 8]


def test_a_date_to_come_back_at(server: Server) -> None:
    clock = Clock()
    soon = formatdate(time.time() + 300, usegmt=True)
    one(engine(server, clock), before=lambda: server.faults.append(faults.status(503, retry_after=soon)))
    assert 200 < sum(clock.slept) < 310


def test_while_the_server_makes_all_wait_no_call_is_made_and_the_waiting_counts_as_progress(server: Server) -> None:
    clock, seen = Clock(), list[tuple[str, int]]()

    async def work(started: OpenAIEngine) -> None:
        before = len(server.bodies)
        server.faults.append(faults.status(429, retry_after="150"))
        begun = clock.now
        await started.generate(prompt())
        assert len(server.bodies) == before + 2
        assert clock.now - begun >= 150

    use(engine(server, clock), work, lambda request_id, tokens: seen.append((request_id, tokens)))
    assert seen.count(("2 + 3?", 0)) == 3


def test_back_off_grows_is_bounded_and_depends_on_the_request_alone() -> None:
    waits = [backoff_s("a", attempt) for attempt in range(1, 40)]
    assert waits == [backoff_s("a", attempt) for attempt in range(1, 40)]
    assert waits[0] <= 2 and 30 <= waits[-1] <= 60
    assert backoff_s("a", 3) != backoff_s("b", 3)


def test_tokens_per_minute_hold_calls_back(server: Server) -> None:
    clock = Clock()
    asked = [prompt(f"{n}?", max_tokens=100) for n in range(6)]
    outcomes = answer(engine(server, clock, tokens_per_minute=60, max_parallel=1), *asked)
    spent = sum(o.usage.prompt_tokens + o.usage.completion_tokens for o in outcomes)
    # Every token beyond the first minute's took a second.
    assert sum(clock.slept) >= spent - 60 - (100 + 60)
    assert spent > 200


# --- what does not pass --------------------------------------------------------------------------------------


def outcome_of(server: Server, made: OpenAIEngine, fault: Fault | None) -> Any:
    def break_it() -> None:
        server.fault = fault

    return answer(made, prompt(), before=break_it)[0]


def test_a_request_that_the_server_refuses_fails_alone(server: Server) -> None:
    def break_it() -> None:
        server.faults.append(faults.status(400, "this prompt is against our policy"))

    outcomes = answer(engine(server, max_parallel=1), prompt("1?"), prompt("2?"), before=break_it)
    assert [type(outcome) for outcome in outcomes] == [EngineFailure, Completion]
    assert outcomes[0].kind == "engine"
    assert "against our policy" in str(outcomes[0])


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 2048 tokens. However, you requested 3000 (max_tokens)",
        "the request exceeds the available context size, try increasing it",
    ],
)
def test_a_prompt_beyond_the_context_is_told_as_that(server: Server, words: str) -> None:
    failure = outcome_of(server, engine(server), faults.status(400, words))
    assert isinstance(failure, EngineFailure)
    assert failure.kind == "context"


def test_a_request_on_which_the_server_always_fails_fails_alone(server: Server) -> None:
    def on_seven(handler: faults.Handler) -> None:
        asked = server.bodies[-1]
        if asked["messages"][-2]["content"] == "7?":
            handler.say(500, {"error": {"message": "internal error"}})
        else:
            handler.answer(asked)

    failure = answer(engine(server, retries=2), prompt("7?"), before=lambda: setattr(server, "fault", on_seven))[0]
    assert isinstance(failure, EngineFailure)
    assert "HTTP 500: internal error (tried 3 times)" in str(failure)


@pytest.mark.parametrize("fault", [faults.status(500), faults.unheard, faults.web_page, faults.status(401)])
def test_a_server_that_fails_on_everything_is_a_dead_engine(server: Server, fault: Fault) -> None:
    assert isinstance(outcome_of(server, engine(server, retries=2), fault), EngineDead)


def test_a_server_that_goes_away_is_a_dead_engine(server: Server) -> None:
    def end() -> None:
        # Its open connections live on in their threads: they break with the next call.
        server.fault = faults.unheard
        server.close()

    dead = answer(engine(server, retries=2), prompt(), before=end)[0]
    assert isinstance(dead, EngineDead)
    assert "127.0.0.1" in str(dead) and "no connection" in str(dead)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (faults.status(429, "slow down"), "takes no more calls: HTTP 429: slow down"),
        (faults.status(429, "You exceeded your current quota"), "account is used up"),
        (faults.status(402, "pay first"), "account is used up"),
        (faults.status(429, retry_after="86400"), "wants no calls for 86400 s"),
    ],
)
def test_a_used_up_quota_ends_the_session_and_fails_no_request(server: Server, fault: Fault, says: str) -> None:
    spent = outcome_of(server, engine(server, retries=2), fault)
    assert isinstance(spent, EngineSpent)
    assert says in str(spent)
    assert len(str(spent).splitlines()) == 1


# --- a start that fails --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "large"}, "does not know the model 'small'"),
        ({"key": "secret"}, "does not let us in"),
        ({"fault": faults.web_page}, "is no OpenAI-compatible server"),
        ({"fault": faults.lost_page}, "is no OpenAI-compatible server"),
        ({"fault": faults.status(500)}, "does not answer: HTTP 500: on purpose"),
        ({"fault": faults.unheard}, "does not answer"),
        ({"fault": faults.status(400, "never")}, "refuses to answer as 'small': HTTP 400: never"),
        ({"fault": faults.status(429, "quota", retry_after="90000")}, "does not answer: HTTP 429"),
        ({"fault": faults.status(402, "pay")}, "is used up"),
    ],
)
def test_a_server_that_cannot_be_used_is_told_in_a_line(server: Server, change: dict[str, Any], says: str) -> None:
    made = engine(server)
    for name, value in change.items():
        setattr(server, name, value)
    assert says in refused_start(made)


def test_a_wrong_path_and_a_wrong_port(server: Server) -> None:
    base = server.url.removesuffix("/v1")
    assert "ends in /v1" in refused_start(engine(server, base_url=base))
    with faults.running() as gone:
        pass
    assert "no connection" in refused_start(engine(gone))


def test_trouble_that_passes_does_not_prevent_the_start(server: Server) -> None:
    clock = Clock()
    server.faults.extend([faults.status(503, retry_after="4"), faults.cut])
    one(engine(server, clock))
    assert clock.slept[:1] == [4.0]


# --- the key -------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_variable_that_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "sk-secret-1234"
    monkeypatch.setenv("CLASS_KEY", " sk-secret-1234\n")
    one(engine(server, key_env="CLASS_KEY"))
    assert set(server.keys) == {"Bearer sk-secret-1234"}


def test_no_key_of_the_surroundings_is_sent_unasked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1234")
    one(engine(server))
    assert not any("secret" in key for key in server.keys)


def test_a_key_stands_in_no_error_and_no_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("CLASS_KEY", "sk-secret-1234")
    server.key = "another"
    made = engine(server, key_env="CLASS_KEY")
    said = refused_start(made)
    assert "wrong key: Bearer ***. Is the key in CLASS_KEY right?" in said
    server.key = "sk-secret-1234"
    one(made, before=lambda: server.faults.append(faults.status(500, "you are sk-secret-1234")))
    assert "secret" not in said + caplog.text


@pytest.mark.parametrize("value", [None, " ", "two words", "schlüssel"])
def test_a_missing_or_odd_key_is_told_without_showing_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("CLASS_KEY", value)
    with pytest.raises(EngineStartError, match="CLASS_KEY") as error:
        engine(server, key_env="CLASS_KEY")
    assert not (value or "").strip() or value not in str(error.value)


# --- money ---------------------------------------------------------------------------------------------------

PRICES = {"price_per_million_prompt": 1e6, "price_per_million_completion": 1e7}
"""One coin for a prompt token, ten for one of the completion."""


def test_spending_is_counted_and_remembered(server: Server, tmp_path: Path) -> None:
    ledger = tmp_path / "spent"
    one(engine(server, **PRICES, ledger=str(ledger)))
    first = float(ledger.read_text())
    usage = one(engine(server, **PRICES, ledger=str(ledger), omit=["prefill"])).usage
    assert float(ledger.read_text()) > first + usage.prompt_tokens + 10 * usage.completion_tokens > first > 100


def test_at_the_budget_the_session_ends_and_the_next_one_does_not_start(server: Server, tmp_path: Path) -> None:
    options = {**PRICES, "ledger": str(tmp_path / "spent"), "max_parallel": 1}
    one(engine(server, **options))
    budget = float((tmp_path / "spent").read_text()) * 2 + 100
    outcomes = answer(engine(server, **options, budget=budget), *(prompt(f"{n}?") for n in range(4)))
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds[0] is Completion and kinds[-1] is EngineSpent
    assert "the budget is spent" in str(outcomes[-1]) and "larger" in str(outcomes[-1])
    calls = len(server.bodies)
    assert "the budget is spent" in refused_start(engine(server, **options, budget=budget))
    assert len(server.bodies) == calls
    assert one(engine(server, **options, budget=10 * budget)).text == " 5\nAnswer: it"


def test_an_answer_that_broke_off_is_paid_for(server: Server, tmp_path: Path) -> None:
    ledger = tmp_path / "spent"
    before: list[float] = []

    def break_it() -> None:
        before.append(float(ledger.read_text()))
        server.faults.append(faults.cut)

    usage = one(engine(server, **PRICES, ledger=str(ledger)), before=break_it).usage
    whole = usage.prompt_tokens + 10 * usage.completion_tokens
    assert float(ledger.read_text()) > before[0] + whole + 10


def test_a_ledger_that_cannot_be_read_is_no_empty_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "spent").write_text("much")
    with pytest.raises(EngineStartError, match="what was spent"):
        engine(server, **PRICES, ledger=str(tmp_path / "spent"))


# --- arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "base_url"),
        ({"base_url": "http://h/v1", "max_paralel": 3}, "max_paralel"),
        ({"base_url": "http://h/v1", "max_parallel": 0}, "max_parallel"),
        ({"base_url": "http://h/v1", "retries": -1}, "retries"),
        ({"base_url": "localhost:8000/v1"}, "no address of a server"),
        ({"base_url": "http://h:99999/v1"}, "no address of a server"),
        ({"base_url": "http:// h/v1"}, "no address of a server"),
        ({"base_url": "http://user:word@h/v1"}, "holds more than an address"),
        ({"base_url": "http://h/v1?api-key=x"}, "holds more than an address"),
        ({"base_url": "http://h/v1", "key_env": "sk-abc"}, "name of an environment variable"),
        ({"base_url": "http://h/v1", "budget": 3}, "price_per_million_prompt"),
        ({"base_url": "http://h/v1", "omit": ["sed"]}, "omit"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(options: dict[str, Any], says: str) -> None:
    from agents.engines import check_args

    with pytest.raises(EngineStartError) as error:
        check_args("openai", options)
    assert says in str(error.value)
    assert "word" not in str(error.value).replace("password", "")
