import threading

import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from agents.engines.base import Completion, EngineFailure
from agents.engines.openai.engine import OpenAIEngine
from tests.agents.engines.openai import openai_server as faults
from tests.agents.engines.openai.at_a_server import answer, engine, one, prompt, use
from tests.agents.engines.openai.openai_server import Server

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


@pytest.mark.parametrize(
    ("text", "reason", "only_begun"),
    [("", "stop", False), ("", "content_filter", True), (" 5", "content_filter", True)],
)
def test_an_empty_or_withheld_first_answer_says_nothing_of_begun_answers(
    server: Server, text: str, reason: str, only_begun: bool
) -> None:
    def fault(handler: faults.Handler) -> None:
        body = server.bodies[-1]
        if only_begun and body["messages"][-1]["role"] == "user":
            return handler.answer(body)
        server.finish_reason = reason
        return handler.complete(body, [text], 9)

    def recover() -> None:
        server.fault, server.finish_reason = None, "stop"

    server.fault = fault
    one(engine(server), before=recover)
    assert server.bodies[-1]["messages"][-1]["role"] == "assistant"


def test_a_server_that_says_nothing_only_after_a_begun_answer_is_not_sent_one(server: Server) -> None:
    def fault(handler: faults.Handler) -> None:
        body = server.bodies[-1]
        if body["messages"][-1]["role"] == "user":
            handler.answer(body)
        else:
            handler.complete(body, [""], 9)

    server.fault = fault
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
