"""What servers send in place of a plain answer, and what becomes of it."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from agents.engines.base import Completion, EngineFailure
from agents.engines.openai import engine as engines
from agents.engines.openai.engine import OpenAIEngine
from tests.agents.engines.openai.at_a_server import Clock, answer, engine, one, prompt
from tests.agents.engines.openai.openai_server import (
    WAIT_S,
    Fault,
    Server,
    delta,
    error_without_end,
    events,
    message,
    whole,
    without_end,
)

DONE = "[DONE]"
STOP = delta(finish_reason="stop")


def sent(server: Server, fault: Fault, **options: Any) -> Completion:
    """What becomes of a request that is answered so."""
    return one(engine(server, **options), before=lambda: server.faults.append(fault))


def refusal(server: Server, fault: Fault, made: OpenAIEngine | None = None) -> EngineFailure:
    def break_it() -> None:
        server.faults.append(fault)

    outcome = answer(made or engine(server), prompt(), before=break_it)[0]
    assert isinstance(outcome, EngineFailure), outcome
    return outcome


# --- odd forms of an answer ----------------------------------------------------------------------------------

PARTS = [{"type": "thinking", "thinking": "Answer: 9"}, {"type": "text", "text": "7"}, {"type": "text", "text": " it"}]
PLAIN = b"data:" + json.dumps(delta("7 it")).encode()


@pytest.mark.parametrize(
    "fault",
    [
        whole(message(PARTS)),
        whole(message(["7", " it"])),
        whole(message({"type": "output_text", "text": "7 it"})),
        whole(message("7 it"), "text/event-stream"),
        whole(json.dumps(message("7 it"), indent=1), "text/plain"),
        whole("\ufeff" + json.dumps(message("7 it"))),
        whole(message("7 it", None)),
        whole({"choices": [{"message": {"content": "7 it"}}]}),
        events(delta(PARTS), STOP, DONE),
        events(delta([{"type": "text", "text": "7"}]), delta(" it", "stop")),
        events({"choices": [], "prompt_filter_results": [{"a": 1}]}, delta("7 it"), STOP, {"choices": []}, DONE),
        events({"choices": None}, delta(""), delta("7 it"), delta(finish_reason=None), STOP),
        events(delta("7 it"), DONE),
        events(delta("7 it"), {"choices": [{"delta": None, "finish_reason": "stop"}]}, DONE),
        events({"choices": [{"index": 1, "delta": {"content": "other"}}]}, delta("7 it"), STOP, DONE),
        events(delta("7"), delta(" it"), message("7 it"), DONE),
        events({**delta("7 it"), "id": 5, "object": [], "x": {"y": None}, "created": "now"}, STOP, DONE),
        events(b": ping\n\n", b"event: message\r\nid: 1\r\n", PLAIN, b"\r\n\r\n", b": ping\n\n", STOP, DONE),
        events(b'data: {"choices": [{"delta":\ndata: {"content": "7 it"}, "finish_reason": "stop"}]}\n\n'),
        events(b"data: " + json.dumps(delta("7 it", "stop")).encode()),
        events(b"\xef\xbb\xbf" + PLAIN + b"\n\n", STOP, DONE),
    ],
)  # fmt: skip
def test_an_answer_in_an_odd_form_is_read(server: Server, fault: Fault) -> None:
    clock = Clock()
    completion = one(engine(server, clock), before=lambda: server.faults.append(fault))
    assert (completion.text, completion.usage.finish_reason) == ("7 it", "stop")
    assert not clock.slept  # it is not asked again


def test_a_stream_may_be_called_json(server: Server) -> None:
    def fault(handler: Any) -> None:
        lines = "".join(f"data: {json.dumps(event)}\n\n" for event in (delta("7"), delta(" it", "stop")))
        handler.say(200, lines, "application/json")

    assert sent(server, fault).text == "7 it"


def test_halves_of_a_character_become_one_and_a_lone_half_is_replaced(server: Server) -> None:
    halves = [b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % half for half in (rb"\ud83d", rb"\ude00")]
    assert sent(server, events(*halves, STOP)).text == "\U0001f600"
    assert sent(server, events(halves[0], STOP)).text == "\ufffd"


@pytest.mark.parametrize(
    ("reason", "read"),
    [
        *((reason, "length") for reason in ("length", "max_tokens", "MAX_TOKENS", "model_length")),
        *(
            (reason, "stop")
            for reason in ("stop", "eos", "eos_token", "stop_sequence", "end_turn", "STOP", 7, {"a": 1})
        ),
        ("tool_calls", "stop"),
    ],
)
def test_reasons_why_an_answer_ends(server: Server, reason: Any, read: str) -> None:
    completion = sent(server, events(delta("7"), delta(finish_reason=reason), DONE))
    assert (completion.text, completion.usage.finish_reason) == ("7", read)


def test_an_empty_answer_is_an_answer(server: Server) -> None:
    for fault in (whole(message("")), whole(message(None, "length")), events(delta(""), STOP, DONE)):
        assert sent(server, fault).text == ""


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        "many",
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 2**63, "completion_tokens": 3},
        {"prompt_tokens": 9, "completion_tokens": 10**30},
        {"prompt_tokens": 9.5, "completion_tokens": 3},
        {"prompt_tokens": "9", "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": 3},
        {"prompt_tokens": 9, "completion_tokens": -3},
    ],
)
def test_a_count_that_cannot_be_is_no_count(server: Server, usage: Any) -> None:
    completion = sent(server, events(delta("7"), STOP, {"choices": [], "usage": usage}, DONE))
    assert completion.text == "7"
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (10, 1)


def test_more_cached_tokens_than_tokens_are_not_believed(server: Server) -> None:
    for details, cached in (({"cached_tokens": 10**20}, 0), ({"cached_tokens": 50}, 9), ([], 0), (None, 0)):
        usage: Any = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": details}
        assert sent(server, whole({**message("7"), "usage": usage})).usage.cached_tokens == cached


# --- no answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (whole(message(None, "content_filter")), "refused: the server's content filter withheld"),
        (events(delta("Half an ans"), delta(finish_reason="SAFETY"), DONE), "refused: the server's content filter"),
        (whole(message("I would", "refusal")), "refused: the model withheld the answer"),
        (whole(message(None, refusal="I cannot help.")), "refused: the model declines to answer: I cannot help"),
        (events(delta(refusal="I can"), delta(refusal="not."), STOP), "declines to answer: I cannot."),
        (whole(message(None, "tool_calls", tool_calls=[{"id": "1"}])), "refused: the model calls a tool"),
        (whole(message(None, "function_call", function_call={"name": "add"})), "refused: the model calls a tool"),
        (events(delta(tool_calls=[{"index": 0}]), STOP, DONE), "refused: the model calls a tool"),
    ],
)  # fmt: skip
def test_a_refusal_fails_its_request_with_its_reason_and_is_not_asked_again(
    server: Server, fault: Fault, says: str
) -> None:
    failure = refusal(server, fault)
    assert failure.kind == "engine"
    assert says in str(failure)


def test_an_answer_beside_a_tool_call_is_an_answer(server: Server) -> None:
    assert sent(server, whole(message("7", "tool_calls", tool_calls=[{"id": "1"}]))).text == "7"


@pytest.mark.parametrize(
    "fault",
    [
        whole({"error": {"message": "overloaded"}}),
        whole([{"error": {"message": "overloaded"}}]),
        whole({"object": "error", "message": "overloaded", "code": 503}),
        whole({"error": {"message": "overloaded", "code": 429}}),
        whole({"choices": []}),
        whole({"message": "queued"}),
        whole("[]"),
        whole("[" * 100_000),
        whole(message({"text": 7})),
        whole(message(["7", 8])),
        events(delta("7"), b"data: <html>\n\n", STOP),
        events(delta("7"), {"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}}),
        events(delta("7"), delta(finish_reason="error")),
        events(delta("7", "null"), delta(" i", "None")),
        events(delta("7"), delta(finish_reason="abort")),
        events({"choices": "none"}),
        events(DONE),
        events({"choices": []}, DONE),
        events(b": ping\n\n"),
        events(),
    ],
)
def test_what_is_no_answer_is_asked_again(server: Server, fault: Fault) -> None:
    assert sent(server, fault).text == " 5\nAnswer: it"


def test_an_error_that_comes_as_an_answer_is_what_its_code_says(server: Server) -> None:
    failure = refusal(server, whole({"error": {"message": "no such thing as this", "code": 400}}))
    assert "HTTP 400: no such thing as this" in str(failure)


@pytest.mark.parametrize(
    "body",
    [
        [{"error": {"code": 400, "message": "too rude", "status": "INVALID_ARGUMENT"}}],
        {"object": "error", "message": {"detail": [{"loc": ["body"], "msg": "too rude"}]}},
        {"errors": [{"code": 7, "message": "too rude"}], "success": False},
        {"error": "too rude"},
        {"detail": "too rude"},
        {"error": None, "message": "too rude"},
        {"unheard": ["of", "too rude"]},
        "too rude",
    ],
)
def test_the_words_of_an_error_are_found_in_any_form(server: Server, body: Any) -> None:
    assert "too rude" in str(refusal(server, lambda handler: handler.say(400, body)))


# --- no end --------------------------------------------------------------------------------------------------


def test_a_server_that_never_says_that_an_answer_ends_is_taken_as_it_is(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.fault = events(delta("7"))
    notes = tmp_path / "server-ada"
    assert one(engine(server, notes=str(notes))).text == "7"
    assert caplog.text.count("does not say that an answer ends") == 1
    assert "finish_reason" in json.loads(notes.read_text())["without"]


def test_done_is_an_end(server: Server, tmp_path: Path) -> None:
    server.fault = events(delta("7"), DONE)
    notes = tmp_path / "server-ada"
    assert one(engine(server, notes=str(notes))).text == "7"
    assert not notes.exists()


# --- no bound ------------------------------------------------------------------------------------------------


def test_an_answer_without_end_is_cut_off_and_counted(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    piece = b"data: " + json.dumps(delta("word " * 50)).encode() + b"\n\n"
    notes = tmp_path / "server-ada"
    completion = sent(server, without_end(piece), notes=str(notes))
    assert completion.usage.finish_reason == "length"
    assert len(completion.text) == 1 << 16
    assert server.hung_up.wait(WAIT_S)
    assert json.loads(notes.read_text())["answers_cut"] == 1
    assert "cut off after 65536 characters" in caplog.text


def test_thoughts_without_end_are_cut_off_too(server: Server) -> None:
    piece = b"data: " + json.dumps(delta(reasoning_content="hm " * 500)).encode() + b"\n\n"
    completion = sent(server, without_end(piece))
    assert (completion.text, completion.usage.finish_reason) == ("", "length")


@pytest.mark.parametrize(
    "data", [b": ping\n" * 1000, b"data: " + b"x" * 9000, b'{"a":"' + b"a" * 9000]
)  # fmt: skip
def test_a_reply_without_end_that_holds_no_answer_fails_its_request(server: Server, data: bytes) -> None:
    assert "larger than" in str(refusal(server, without_end(data)))
    assert server.hung_up.wait(WAIT_S)


def test_an_error_without_end_is_read_in_part(server: Server) -> None:
    assert sent(server, error_without_end).text == " 5\nAnswer: it"
    assert server.hung_up.wait(WAIT_S)


@pytest.mark.parametrize("drip", [b": ping\n\n", b"data: " + json.dumps(delta("a")).encode() + b"\n\n"])
def test_a_server_that_drips_for_ever_fails_its_request(
    server: Server, drip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "TOKENS_PER_TIMEOUT", float("inf"))
    failure = refusal(server, without_end(drip, every_s=0.1), engine(server, timeout_s=5))
    assert "took longer than 5 s" in str(failure)


@pytest.mark.parametrize("end", [[STOP], [STOP, DONE], [DONE]])
@pytest.mark.parametrize("after", [b": ping\n\n", b'data: {"choices": []}\n\n'])
def test_a_stream_that_stays_open_after_its_end_is_a_whole_answer(server: Server, end: list[Any], after: bytes) -> None:
    def fault(handler: Any) -> None:
        handler.begin_stream()
        for event in (delta("7"), *end):
            handler.send(event)
        handler.chunks_without_end(after, 0.1)

    assert sent(server, fault, timeout_s=5).text == "7"
