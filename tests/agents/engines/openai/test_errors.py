import time
from email.utils import formatdate
from typing import Any

import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from agents.engines.base import Completion, EngineDead, EngineExhausted, EngineFailure
from agents.engines.openai.engine import OpenAIEngine
from agents.engines.openai.pacing import backoff_s
from tests.agents.engines.openai import openai_server as faults
from tests.agents.engines.openai.at_a_server import Clock, answer, engine, one, prompt, refused_start, use
from tests.agents.engines.openai.openai_server import Fault, Server

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
    completion = one(engine(server, timeout_s=5), before=lambda: server.faults.append(faults.hang))
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
        (faults.status(400, "Your credit balance is too low to access the API."), "account is used up"),
        (faults.status(403, "This method requires billing to be enabled"), "account is used up"),
        (faults.whole({"error": {"message": "no", "code": "insufficient_quota"}}), "account is used up"),
        (faults.status(429, retry_after="86400"), "wants no calls for 86400 s"),
    ],
)
def test_a_used_up_quota_ends_the_session_and_fails_no_request(server: Server, fault: Fault, says: str) -> None:
    spent = outcome_of(server, engine(server, retries=2), fault)
    assert isinstance(spent, EngineExhausted)
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
        ({"fault": faults.no_post}, "is no OpenAI-compatible server: HTTP 501 with a web page. A base_url mostly ends"),
        ({"fault": faults.unheard}, "resume with --set ...engine_args.base_url=URL or --set ...model=NAME"),
        ({"fault": faults.status(500)}, "does not answer: HTTP 500: on purpose"),
        ({"fault": faults.unheard}, "does not answer"),
        ({"fault": faults.status(400, "never")}, "refuses to answer as 'small': HTTP 400: never"),
        ({"fault": faults.status(429, "quota", retry_after="90000")}, "takes no calls for now: HTTP 429"),
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


def test_a_content_filter_at_the_start_ends_nothing_and_proves_nothing(server: Server) -> None:
    server.fault = faults.filtered
    asked = (prompt("1?"), prompt("2?"))
    outcomes = answer(engine(server, max_parallel=1), *asked, before=lambda: server.faults.append(faults.filtered))
    assert all(isinstance(outcome, EngineFailure) for outcome in outcomes)
    assert "refused:" in str(outcomes[0]) and "content_filter" in str(outcomes[0])

    def recover() -> None:
        server.fault = None

    assert one(engine(server), before=recover).text == " 5\nAnswer: it"
    body = server.bodies[-1]
    assert body["messages"][-1]["role"] == "assistant" and "seed" in body and body["stream"]


def test_trouble_that_passes_does_not_prevent_the_start(server: Server) -> None:
    clock = Clock()
    server.faults.extend([faults.status(503, retry_after="4"), faults.cut])
    one(engine(server, clock))
    assert clock.slept[:1] == [4.0]
