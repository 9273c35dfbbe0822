"""The thoughts of models behind servers: in the text, apart from it, and cut off."""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from agents.engines.base import Completion
from tests.agents.engines.openai import openai_server as faults
from tests.agents.engines.openai.at_a_server import answer, engine, prompt
from tests.agents.engines.openai.openai_server import Server


def says(server: Server, *texts: str, finish_reason: str = "stop") -> Callable[[], None]:
    """From now on the server says these, in turn."""
    left = iter(texts)

    def begin() -> None:
        server.finish_reason = finish_reason
        server.fault = lambda handler: handler.complete(server.bodies[-1], list(next(left)), 9)

    return begin


def asked(server: Server, *texts: str, finish_reason: str = "stop", **options: Any) -> list[Completion]:
    server.fault = None
    prompts = [prompt(f"{n}?") for n in range(len(texts))]
    made = engine(server, max_parallel=1, **options)
    return answer(made, *prompts, before=says(server, *texts, finish_reason=finish_reason))


@pytest.mark.parametrize("begun", ["", "Solution:"])
@pytest.mark.parametrize("prefill", ["flags", "refused"])
def test_thoughts_in_a_servers_text_are_left_out(server: Server, begun: str, prefill: Any) -> None:
    server.prefill = prefill
    (found,) = asked(server, f"{begun} <think>Answer: 4?</think>\n\n{begun} 2 + 3\nAnswer: 5")
    assert found.text.strip() == "2 + 3\nAnswer: 5"
    assert 0 < found.usage.thought_tokens < found.usage.completion_tokens


def test_a_cut_off_thought_is_no_answer_even_where_the_server_opened_it(server: Server) -> None:
    (found,) = asked(server, "<think>Answer: 4?", finish_reason="length")
    assert (found.text, found.usage.finish_reason) == ("", "length")
    assert found.usage.thought_tokens == found.usage.completion_tokens
    texts = ("Answer: 4?", "so 5</think>Answer: 5", "Answer: 4?")
    before, whole, cut = asked(server, *texts, finish_reason="length", omit=["prefill"])
    # That its template opens thoughts shows in its first whole answer.
    assert (before.text, whole.text, cut.text) == ("Answer: 4?", "Answer: 5", "")
    _, _, begun = asked(server, *texts, finish_reason="length")
    assert begun.text == "Answer: 4?"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("counts", [None, 3])
def test_thoughts_that_come_apart_are_counted(server: Server, field: str, counts: int | None) -> None:
    def reply(handler: faults.Handler) -> None:
        message = {"role": "assistant", "content": "Answer: 5", field: "Answer: 4?!"}
        usage: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 20}
        if counts:
            # This server leaves thoughts out of the completion.
            usage |= {"completion_tokens": 17, "total_tokens": 30}
            usage["completion_tokens_details"] = {"reasoning_tokens": counts}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        handler.say(200, {"choices": [choice], "usage": usage})

    def begin() -> None:
        server.fault = reply

    (found,) = answer(engine(server), prompt(), before=begin)
    assert (found.text, found.usage.completion_tokens) == ("Answer: 5", 20)
    assert found.usage.thought_tokens == (counts or 11)


def test_a_begun_answer_that_comes_back_as_thoughts_is_not_sent(server: Server) -> None:
    def reply(handler: faults.Handler) -> None:
        body = server.bodies[-1]
        begun = body["messages"][-1]["role"] == "assistant"
        words = {"reasoning_content": " 5"} if begun else {"reasoning_content": "2 + 3", "content": "Solution: 5"}
        choice = {"index": 0, "message": {"role": "assistant", "content": None} | words, "finish_reason": "stop"}
        handler.say(200, {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 20}})

    server.fault = reply
    (found,) = answer(engine(server), prompt())
    assert found.text == " 5"
