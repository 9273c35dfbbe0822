"""What a peer remembers, holds back and says again."""

import msgpack
import pytest

from broker.delivery import DeliverySession
from broker.protocol import Ack, Drain, Envelope, Heartbeat, Hello, Unknown, Welcome, decode, envelope
from broker.work_messages import Answered, Examine, Failed, Feedback, Message
from tests.broker.running import CLASSROOM, QUESTION, student

WELCOME = envelope(Welcome(epoch="e1", heartbeat_s=1.0))


def sent_by(session: DeliverySession) -> list[tuple[str, str]]:
    """Empties the outbox."""
    sent = [(e.kind, e.request_id) for e in session.outbox]
    session.outbox.clear()
    return sent


def hello(session: DeliverySession) -> Hello:
    message = decode("Hello", session.greeting().body)
    assert isinstance(message, Hello)
    return message


def take(session: DeliverySession, message: Message, request_id: str = "") -> Message | None:
    received = session.take(envelope(message, request_id=request_id))
    return received.message if received else None


@pytest.fixture
def agent() -> DeliverySession:
    session = DeliverySession(student())
    session.greeting()
    session.take(WELCOME)
    return session


def test_only_hello_is_sent_before_the_welcome() -> None:
    session = DeliverySession(student())
    session.post(envelope(Drain()), keep=False)
    session.post(envelope(Answered(text="56"), request_id="r1"), keep=True)
    assert session.greet_now
    assert not session.greeted
    session.take(WELCOME)
    assert sent_by(session) == [("Answered", "r1"), ("Drain", "")]


def test_hello_has_the_current_state_and_the_requests_under_way(agent: DeliverySession) -> None:
    take(agent, QUESTION, "r1")
    take(agent, QUESTION, "r2")
    agent.working.add("r3")
    agent.post(envelope(Answered(text="56"), request_id="r1"), keep=True)
    agent.change("draining", 0)
    now = hello(agent)
    assert (now.state, now.credit, now.working) == ("draining", 0, ("r2", "r3"))
    assert now.pid > 0


def test_kept_messages_are_sent_again_to_another_broker_and_not_to_the_same(agent: DeliverySession) -> None:
    agent.post(envelope(Answered(text="56"), request_id="r1"), keep=True)
    agent.post(envelope(Feedback(about="r0")), keep=False)
    assert sent_by(agent) == [("Answered", "r1"), ("Feedback", "")]
    agent.take(WELCOME)
    assert sent_by(agent) == []
    agent.take(envelope(Welcome(epoch="e2", heartbeat_s=1.0)))
    assert sent_by(agent) == [("Answered", "r1")]


@pytest.mark.parametrize("how", ["connection", "unknown"])
def test_kept_messages_are_sent_again_to_a_broker_that_may_not_have_them(agent: DeliverySession, how: str) -> None:
    agent.post(envelope(Answered(text="56"), request_id="r1"), keep=True)
    if how == "connection":
        agent.lost_connection()
    else:
        take(agent, Unknown())
    assert agent.greet_now
    assert not agent.greeted
    agent.take(WELCOME)
    assert sent_by(agent) == [("Answered", "r1")], "once, though it was never sent before"


def test_an_acknowledgement_settles(agent: DeliverySession) -> None:
    for request_id in ("r1", "r2"):
        agent.post(envelope(Answered(text="56"), request_id=request_id), keep=True)
    assert take(agent, Ack(request_ids=("r1",))) is None
    assert list(agent.kept) == ["r2"]
    agent.settle(["r2", "never heard of"])
    assert not agent.kept


def test_a_result_settles_the_request_it_is_for() -> None:
    classroom = DeliverySession(CLASSROOM)
    classroom.take(WELCOME)
    for request_id in ("r1", "r2"):
        classroom.post(envelope(QUESTION, peer="p", request_id=request_id), keep=True)
    sent_by(classroom)
    assert take(classroom, Answered(text="56"), "r1") == Answered(text="56")
    classroom.take(envelope(Welcome(epoch="e2", heartbeat_s=1.0)))
    assert sent_by(classroom) == [("Examine", "r2")]


def test_work_that_comes_twice_is_handed_out_once(agent: DeliverySession) -> None:
    assert take(agent, QUESTION, "r1") == QUESTION
    assert take(agent, QUESTION, "r1") is None
    agent.post(envelope(Answered(text="56"), request_id="r1"), keep=True)
    sent_by(agent)
    assert take(agent, QUESTION, "r1") is None
    assert sent_by(agent) == [("Answered", "r1")], "an answered request is answered again"


def test_work_that_cannot_be_read_is_answered_so(agent: DeliverySession) -> None:
    assert agent.take(Envelope("Examine", "p", "r1", "", msgpack.packb({"problem": 1}))) is None
    assert agent.dropped == 1
    failed = decode("Failed", agent.kept["r1"].body)
    assert isinstance(failed, Failed)
    assert failed.kind == "unsupported"


def test_a_result_that_cannot_be_read_is_a_failure_and_not_a_request_without_end() -> None:
    classroom = DeliverySession(CLASSROOM)
    received = classroom.take(Envelope("Answered", "ann", "r1", "x", b"\xc1"))
    assert received
    assert isinstance(received.message, Failed)
    assert received[1:] == ("ann", "r1", "x")


def test_a_result_with_an_impossible_number_becomes_a_failure() -> None:
    classroom = DeliverySession(CLASSROOM)
    body = msgpack.packb({"text": "56", "usage": {"prompt_tokens": 2**63}})
    received = classroom.take(Envelope("Answered", "ann", "r1", "x", body))
    assert received and isinstance(received.message, Failed)
    assert received.message.kind == "engine"
    assert "$.usage.prompt_tokens" in received.message.detail


def test_counts_of_a_heartbeat_stay_within_their_bounds(agent: DeliverySession) -> None:
    agent.count([], 2**53, 2**63, 1)
    agent.count([], 2**53, 2**63, 1)
    beat = decode("Heartbeat", agent.heartbeat().body)
    assert isinstance(beat, Heartbeat)
    assert (beat.completion_tokens, beat.prompt_tokens, beat.cached_tokens) == (2**53, 2**53, 2)


@pytest.mark.parametrize("kind", ["Joined", "Ack", "Applause"])
def test_anything_else_that_cannot_be_read_is_counted_and_dropped(agent: DeliverySession, kind: str) -> None:
    assert agent.take(Envelope(kind, "", "", "", b"\xc1")) is None
    assert agent.dropped == 1


def test_a_heartbeat_adds_tokens_up_and_tells_progress_until_it_is_sent(agent: DeliverySession) -> None:
    agent.count(["r1"], 10, 5, 2)
    agent.count(["r2"], 1, 0, 0)
    first = Heartbeat(
        state="ready", credit=4, progress=("r1", "r2"), completion_tokens=11, prompt_tokens=5, cached_tokens=2
    )
    assert decode("Heartbeat", agent.heartbeat().body) == first
    assert decode("Heartbeat", agent.heartbeat().body) == first
    agent.beaten()
    second = decode("Heartbeat", agent.heartbeat().body)
    assert isinstance(second, Heartbeat)
    assert (second.progress, second.completion_tokens) == ((), 11)


def test_requests_that_wait_progress_while_any_does_and_answered_ones_do_not(agent: DeliverySession) -> None:
    agent.waiting |= {"r2", "r3"}
    assert decode("Heartbeat", agent.heartbeat().body) == Heartbeat(state="ready", credit=4)
    agent.count(["r1"], 0, 0, 0)
    agent.post(envelope(Answered(text="2"), request_id="r1"), keep=True)
    assert decode("Heartbeat", agent.heartbeat().body) == Heartbeat(state="ready", credit=4, progress=("r2", "r3"))
    agent.beaten()
    assert decode("Heartbeat", agent.heartbeat().body) == Heartbeat(state="ready", credit=4)


def test_a_heartbeat_reports_the_cost_so_far(agent: DeliverySession) -> None:
    agent.spent = 0.25
    agent.beaten()
    beat = decode("Heartbeat", agent.heartbeat().body)
    assert isinstance(beat, Heartbeat) and beat.spent == 0.25


def test_only_a_change_is_a_change(agent: DeliverySession) -> None:
    assert not agent.change("ready", None)
    assert not agent.change(None, 4)
    assert agent.change("draining", None)
    assert agent.change(None, 0)


def test_work_is_a_message_like_any_other_for_who_asks(agent: DeliverySession) -> None:
    assert isinstance(take(agent, Drain()), Drain)
    assert isinstance(take(agent, QUESTION, "r9"), Examine)
