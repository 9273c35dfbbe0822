"""Which agent gets which request, and which results count."""

import pytest

from broker import work
from broker.actions import LogLine, Send
from broker.peers import MAX_ANNOUNCEMENTS
from broker.protocol import (
    Ack,
    AgentState,
    Drain,
    Envelope,
    Joined,
    Welcome,
    envelope,
)
from broker.work_messages import Answered, Failed, Feedback, Progress
from tests.broker.broker_under_test import Broker, C, Sent


def test_a_request_goes_as_it_came_to_an_agent_of_its_pool(broker: Broker) -> None:
    broker.agent(b"a", pool="other")
    broker.agent(b"b", pool="p")
    broker.ask("r1", affinity="x")
    assert broker.actions == [Send(b"b", Envelope("Examine", "p", "r1", "x", b"question"))]


def test_an_agent_gets_no_more_than_its_credit_and_the_next_when_one_is_done(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2", "r3", "r4")
    assert broker.leases(b"a") == ["r1", "r2"]
    assert broker.answer(b"a", "r2") == [(C, "Answered", "r2"), (b"a", "Examine", "r3")]


@pytest.mark.parametrize("state", ["loading", "training", "draining"])
def test_only_a_ready_agent_gets_work(broker: Broker, state: AgentState) -> None:
    broker.agent(b"a", state=state)
    assert broker.ask("r1") == []
    assert (b"a", "Examine", "r1") in broker.beat(b"a", state="ready")


def test_more_credit_brings_more_leases_and_less_takes_none_back(broker: Broker) -> None:
    broker.agent(b"a", credit=1)
    broker.ask("r1", "r2", "r3")
    assert broker.beat(b"a", credit=2) == [(b"a", "Examine", "r2")]
    broker.beat(b"a", credit=0)
    assert broker.leases(b"a") == ["r1", "r2"]
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1")]


def test_work_goes_to_the_least_busy(broker: Broker) -> None:
    broker.agent(b"a", credit=4)
    broker.agent(b"b", credit=4)
    broker.ask("r1", "r2", "r3", "r4")
    assert (broker.leases(b"a"), broker.leases(b"b")) == (["r1", "r3"], ["r2", "r4"])


def test_an_agent_keeps_its_affinity_then_takes_the_oldest_that_no_other_serves_then_the_oldest(
    broker: Broker,
) -> None:
    broker.agent(b"a")
    broker.agent(b"b")
    broker.ask("x1", affinity="x")
    broker.ask("y1", affinity="y")
    broker.ask("y2", "y3", affinity="y")
    broker.ask("z1", affinity="z")
    broker.ask("x2", affinity="x")
    order = []
    for _ in range(4):
        [request_id] = broker.leases(b"a")
        order += [r for peer, _, r in broker.answer(b"a", request_id) if peer == b"a"]
    assert broker.leases(b"b") == ["y1"]
    assert order == ["x2", "z1", "y2", "y3"]


def test_a_request_submitted_twice_is_asked_once_and_answered_again_when_it_is_finished(broker: Broker) -> None:
    broker.agent(b"a")
    assert broker.ask("r1", "r1") == [(b"a", "Examine", "r1")]
    assert broker.ask("r2", "r2") == []
    broker.answer(b"a", "r1")
    assert broker.ask("r1") == [(C, "Answered", "r1")]


def test_a_request_over_the_credit_is_refused_and_other_pools_are_not_affected() -> None:
    broker = Broker(credit=2)
    broker.classroom()
    broker.ask("r1", "r2", "r3")
    [failed] = broker.messages_to(C)
    assert isinstance(failed, Failed)
    assert failed.kind == "refused"
    assert broker.ask("q1", pool="q") == []
    broker.agent(b"a", credit=2)
    broker.answer(b"a", "r1")
    broker.ask("r4")
    assert broker.leases(b"a") == ["r2", "r4"]


def test_drain_stops_leases_and_is_passed_on_to_later_agents_too(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1", "r2")
    assert broker.receive(C, Drain()) == [(b"a", "Drain", "")]
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1")]
    broker.agent(b"b")
    assert broker.messages_to(b"b") == [Welcome(epoch="e1", heartbeat_s=1.0), Drain()]
    assert broker.state.gauges().draining


def test_a_result_has_the_name_of_its_agent(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.ask("r1")
    broker.receive_envelope(b"a", Envelope("Answered", "somebody else", "r1", "x", b"not even decoded"))
    assert broker.actions == [Send(C, Envelope("Answered", "ann", "r1", "x", b"not even decoded"))]


def test_the_first_result_counts_and_all_agents_that_sent_one_get_the_ack(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    broker.wait(1)
    broker.agent(b"b")
    broker.gone("a")
    assert broker.leases(b"b") == ["r1"]
    broker.agent(b"a")
    assert broker.answer(b"a", "r1", "first") == [(C, "Answered", "r1")]
    assert broker.answer(b"b", "r1", "second") == []
    assert sorted(broker.ack("r1")) == [(b"a", "Ack", ""), (b"b", "Ack", "")]
    assert not broker.state.work.finished


def test_an_agent_that_works_on_an_answered_request_gets_no_other_in_its_place(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    broker.gone("a")
    broker.agent(b"b")
    broker.ask("r2")
    broker.agent(b"a", credit=0)
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1")]
    assert broker.answer(b"b", "r1") == [(b"b", "Examine", "r2")]


def test_an_ack_names_all_results_of_an_agent_at_once(broker: Broker) -> None:
    broker.agent(b"a", credit=3)
    broker.ask("r1", "r2", "r3")
    for request_id in ("r1", "r2", "r3"):
        broker.answer(b"a", request_id)
    broker.ack("r1", "r3", "never heard of")
    assert broker.messages_to(b"a") == [Ack(request_ids=("r1", "r3"))]


def test_a_result_of_an_unknown_request_reaches_the_classroom(broker: Broker) -> None:
    broker.agent(b"a")
    assert broker.answer(b"a", "from before") == [(C, "Answered", "from before")]
    assert broker.ask("from before") == [(C, "Answered", "from before")]


def test_a_result_for_another_pool_is_dropped(broker: Broker) -> None:
    broker.agent(b"a", pool="p")
    broker.agent(b"b", pool="q")
    broker.ask("r1", pool="p")
    assert broker.answer(b"b", "r1") == []
    assert broker.state.out.dropped == 1
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1")]


def test_a_result_counts_only_from_an_agent_that_holds_the_request_or_did(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.ask("r1", "r2")
    broker.agent(b"b", "bob")
    assert (broker.leases(b"a"), broker.leases(b"b")) == (["r1"], ["r2"])
    assert broker.answer(b"b", "r1", "forged") == []
    broker.wait(1)
    assert broker.state.out.dropped == 1
    assert (C, "Answered", "r1") in broker.answer(b"a", "r1")
    assert broker.messages_to(C) == [Answered(text="42")]
    broker.ack("r1")
    assert broker.messages_to(b"b") == [Ack(request_ids=("r1",))], "else it would send its own again for ever"


def test_a_result_of_a_waiting_request_does_not_count(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.ask("r1", "r2")
    assert broker.answer(b"a", "r2") == []
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1"), (b"a", "Examine", "r2")]


def test_a_result_that_came_before_its_request_counts_for_no_other_pool(broker: Broker) -> None:
    broker.agent(b"z", "zoe", pool="zoo", credit=0)
    broker.answer(b"z", "r1", "forged")
    broker.agent(b"a", "ann")
    assert broker.ask("r1") == [(b"a", "Examine", "r1")]
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1")]


@pytest.mark.parametrize("body", [b"", b"x" * work.OVERHEAD])
def test_results_of_unknown_requests_are_limited(body: bytes, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_UNASKED", 15 * work.OVERHEAD)
    broker.agent(b"a", "ann")
    for number in range(50):
        broker.receive_envelope(b"a", Envelope("Answered", "", f"r{number}", "", body))
    kept = list(broker.state.work.finished)
    assert 0 < len(kept) < 20
    assert broker.state.out.dropped == 50 - len(kept)
    broker.ack(*kept)
    assert broker.answer(b"a", "more") == [(C, "Answered", "more")]
    assert broker.state.work.unasked["ann"] > 0


def test_progress_of_a_request_that_another_holds_is_dropped(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.ask("r1")
    broker.agent(b"b", "bob")
    assert broker.receive_envelope(b"b", envelope(Progress(step=1, steps=2), request_id="r1")) == []
    assert broker.state.out.dropped == 1


def test_a_claim_on_a_request_of_another_pool_changes_nothing_there(broker: Broker) -> None:
    broker.agent(b"a", "ann", working=["r1"])
    broker.agent(b"h", "hostile", pool="other", working=["r1"])
    assert broker.ask("r1") == [], "ann works on it"
    assert broker.leases(b"a") == ["r1"]
    broker.answer(b"a", "r1")
    assert broker.ask("r2") == [(b"a", "Examine", "r2")], "there is room"


def test_the_classroom_gets_few_messages_about_an_agent_that_changes_or_joins_all_the_time(broker: Broker) -> None:
    sent = broker.agent(b"a", "ann", state="loading")
    for _ in range(100):
        sent += broker.beat(b"a", state="ready") + broker.beat(b"a", state="loading")
    sent += broker.beat(b"a", state="ready")
    for _ in range(100):
        sent += broker.agent(b"h", "hostile") + broker.leave(b"h")
    assert len([kind for peer, kind, _ in sent if peer == C]) == 3 * MAX_ANNOUNCEMENTS
    broker.wait(0.1)
    [joined] = [message for message in broker.messages_to(C) if isinstance(message, Joined)]
    assert (joined.hello.name, joined.hello.state) == ("ann", "ready")
    assert (b"h", "Welcome", "") in broker.agent(b"h", "hostile")


def test_results_wait_for_a_classroom_that_is_away(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    broker.leave(C)
    assert broker.answer(b"a", "r1") == []
    assert broker.classroom() == [(C, "Welcome", ""), (C, "Joined", ""), (C, "Answered", "r1")]


def test_an_ack_of_a_waiting_request_removes_it(broker: Broker) -> None:
    broker.ask("r1", "r2")
    broker.ack("r1")
    broker.agent(b"a")
    assert broker.leases(b"a") == ["r2"]


def test_feedback_goes_to_one_agent_of_the_pool_and_is_logged_if_there_is_none(broker: Broker) -> None:
    feedback = envelope(Feedback(about="r1"), peer="p")
    assert broker.receive_envelope(C, feedback) == []
    assert broker.actions == [LogLine("feedback for p: no agent is connected")]
    broker.agent(b"a")
    broker.agent(b"b")
    broker.receive_envelope(C, feedback)
    assert broker.actions == [Send(b"a", feedback)]


def test_a_request_that_an_agent_works_on_is_leased_to_it_when_it_is_submitted(broker: Broker) -> None:
    broker.agent(b"a", credit=2, working=("r1", "r2"))
    broker.agent(b"b", credit=2)
    broker.ask("r1", "r2", "r3")
    assert (broker.leases(b"a"), broker.leases(b"b")) == (["r1", "r2"], ["r3"])


def test_a_request_that_an_agent_works_on_takes_room_before_it_is_submitted(broker: Broker) -> None:
    broker.agent(b"a", credit=2, working=("r1", "r2"))
    assert broker.ask("r3") == []
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1"), (b"a", "Examine", "r3")]


def test_room_for_a_request_that_is_never_submitted_is_free_again_in_the_end(broker: Broker) -> None:
    broker.agent(b"a", working=("phantom",))
    broker.ask("r1")
    sent: Sent = []
    for _ in range(6):
        broker.beat(b"a")
        sent += broker.wait(2.0)
    assert sent == [(b"a", "Examine", "r1")]
