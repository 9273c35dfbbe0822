"""How peers join, are refused and are lost."""

import pytest

from broker.actions import DiscardOutbox, LogLine, Send
from broker.events import OutboxFull, Revoked
from broker.protocol import (
    Ack,
    AgentState,
    Drain,
    Envelope,
    Gone,
    Goodbye,
    Heartbeat,
    Hello,
    Joined,
    Lost,
    Quiet,
    Unknown,
    Welcome,
    envelope,
)
from broker.work_messages import Answered, Failed
from tests.broker.broker_under_test import Broker, C


def test_the_classroom_is_welcomed_with_a_credit_and_gets_the_agents_that_have_joined() -> None:
    broker = Broker(credit=7)
    broker.agent(b"a", "ann")
    broker.classroom()
    welcome, joined = broker.messages_to(C)
    assert welcome == Welcome(epoch="e1", heartbeat_s=1.0, credit=7)
    assert isinstance(joined, Joined)
    assert joined.hello.name == "ann"


def test_each_heartbeat_of_the_classroom_is_answered(broker: Broker) -> None:
    broker.messages_to(C)
    broker.beat(C)
    assert broker.messages_to(C) == [Welcome(epoch="e1", heartbeat_s=1.0, credit=100)]
    broker.agent(b"a")
    assert broker.beat(b"a") == []


def test_an_agent_is_welcomed_and_the_classroom_hears_of_it(broker: Broker) -> None:
    broker.agent(b"a", "ann", pool="", working=("r9",))
    assert broker.messages_to(b"a") == [Welcome(epoch="e1", heartbeat_s=1.0)]
    assert broker.messages_to(C) == [
        Joined(hello=Hello(name="ann", role="student", pool="ann", state="ready", credit=1))
    ]


def test_the_classroom_hears_of_a_change_of_state_and_of_nothing_else(broker: Broker) -> None:
    broker.agent(b"a", state="loading")
    assert broker.beat(b"a", state="loading") == []
    assert broker.beat(b"a", state="ready") == [(C, "Joined", "")]
    assert broker.beat(b"a", state="ready", credit=5) == []
    assert broker.beat(b"a", state="draining") == [(C, "Joined", "")]


@pytest.mark.parametrize(
    "sent",
    [
        envelope(Heartbeat()),
        Envelope("Teach", "p", "r", "", b""),
        Envelope("Answered", "", "r", "", b""),
        Envelope("Feedback", "p", "", "", b""),
        envelope(Ack(request_ids=("r",))),
        envelope(Gone(name="ann")),
        envelope(Drain()),
        envelope(Goodbye()),
    ],
)
def test_a_stranger_gets_unknown_and_changes_nothing(broker: Broker, sent: Envelope) -> None:
    before = broker.state.gauges()
    assert broker.receive_envelope(b"x", sent) == [(b"x", "Unknown", "")]
    assert broker.state.gauges() == before


def test_a_stranger_that_sends_many_messages_gets_unknown_once(broker: Broker) -> None:
    sent = [broker.beat(b"x") for _ in range(10)]
    assert sent == [[(b"x", "Unknown", "")]] + [[]] * 9


@pytest.mark.parametrize(
    "sent",
    [
        Envelope("Teach", "p", "r", "", b""),
        envelope(Ack(request_ids=("r",))),
        envelope(Gone(name="bob")),
        envelope(Drain()),
        Envelope("Feedback", "p", "", "", b""),
        envelope(Hello(name="classroom", role="classroom")),
    ],
)
def test_an_agent_cannot_act_as_the_classroom(broker: Broker, sent: Envelope) -> None:
    broker.agent(b"a")
    broker.agent(b"b", "bob")
    broker.receive_envelope(b"a", sent)
    assert broker.state.out.dropped == 1
    assert not broker.state.work.requests
    assert broker.connected().keys() == {b"a", b"b"}
    assert broker.state.out.classroom == C


def test_a_classroom_whose_process_is_watched_keeps_its_place_however_silent_it_is() -> None:
    broker = Broker(supervised=["classroom"])
    broker.classroom()
    broker.wait(1000)
    broker.classroom(b"other")
    assert broker.messages_to(b"other") == [Drain(reason="classroom is here already, over another connection")]
    broker.leave(C)
    broker.classroom(b"other")
    assert isinstance(broker.messages_to(b"other")[0], Welcome)


def test_a_second_classroom_is_refused_while_the_first_is_alive(broker: Broker) -> None:
    broker.classroom(b"other")
    assert broker.messages_to(b"other") == [Drain(reason="classroom is here already, over another connection")]
    broker.wait(3.5)
    broker.classroom(b"other")
    assert isinstance(broker.messages_to(b"other")[0], Welcome)


def test_a_peer_of_another_protocol_is_refused_once_and_the_classroom_gets_the_reason(broker: Broker) -> None:
    broker.agent(b"a", "ann", protocol=9)
    assert broker.messages_to(b"a") == [Drain(reason="ann speaks protocol 9, and this broker 2")]
    lost = broker.messages_to(C)[0]
    assert isinstance(lost, Lost)
    assert (lost.why, lost.name) == ("refused", "ann")
    assert broker.agent(b"a", "ann", protocol=9) == []
    assert broker.state.peers.agents == {}


def test_the_namesake_of_a_process_that_runs_is_refused_and_the_first_stays() -> None:
    broker = Broker()
    broker.classroom()
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.receive(b"a", hello, process=7)
    broker.ask("r1")
    broker.receive(b"b", hello, process=8)
    [drain], [lost] = broker.messages_to(b"b"), broker.messages_to(C)
    assert isinstance(drain, Drain) and "ann is the name of process 7" in drain.reason
    assert isinstance(lost, Lost) and lost.why == "refused"
    assert broker.messages_to(b"a") == []
    assert broker.leases(b"a") == ["r1"]
    assert broker.receive(b"c", hello, process=8) == [(b"c", "Drain", "")], "the classroom is informed once"
    assert broker.answer(b"b", "r1") == []
    broker.processes.ended.add(7)
    broker.receive(b"d", hello, process=8)
    assert broker.leases(b"d") == ["r1"]


@pytest.mark.parametrize("how", ["goodbye", "gone"])
def test_a_name_is_free_when_its_process_has_left(how: str) -> None:
    broker = Broker()
    broker.classroom()
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.receive(b"a", hello, process=7)
    if how == "goodbye":
        broker.leave(b"a")
    else:
        broker.gone("ann", pid=7)
    assert (b"b", "Welcome", "") in broker.receive(b"b", hello, process=8)


def test_a_process_that_connects_anew_keeps_its_name() -> None:
    broker = Broker()
    broker.classroom()
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.receive(b"a", hello, process=7)
    assert (b"b", "Welcome", "") in broker.receive(b"b", hello, process=7)


def test_a_silent_agent_keeps_its_name_while_its_process_runs() -> None:
    broker = Broker()
    broker.classroom()
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.receive(b"a", hello, process=7)
    broker.wait(3.5)
    assert broker.state.peers.agents == {}
    assert broker.receive(b"b", hello, process=8) == [(b"b", "Drain", ""), (C, "Lost", "")]
    assert (b"a", "Welcome", "") in broker.receive(b"a", hello, process=7)


def test_a_connection_keeps_its_name(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    assert broker.agent(b"a", "bob") == []
    assert broker.state.peers.agents.keys() == {"ann"}
    broker.leave(b"a")
    assert broker.agent(b"a", "bob") == []
    assert broker.state.peers.agents.keys() == set()


@pytest.fixture
def watched() -> Broker:
    """A broker with an agent, ann, whose process is watched."""
    broker = Broker(supervised=["ann"])
    broker.classroom()
    broker.agent(b"a", "ann", credit=2)
    return broker


def test_a_silent_agent_whose_process_is_watched_is_shown_once_and_keeps_its_work(watched: Broker) -> None:
    watched.ask("r1")
    assert watched.wait(3.0) == []
    watched.wait(0.5)
    assert watched.messages_to(C) == [Quiet(name="ann", seconds=3.5)]
    assert watched.wait(6.0) == []
    assert watched.leases(b"a") == ["r1"]
    watched.beat(b"a", "r1", credit=2)
    assert watched.messages_to(C) == [Quiet(name="ann", seconds=9.5, over=True)]
    assert watched.wait(3.0) == []
    watched.wait(0.5)
    assert watched.messages_to(C) == [Quiet(name="ann", seconds=3.5)]


@pytest.mark.parametrize("state", ["loading", "training"])
def test_a_silent_agent_that_loads_or_trains_is_never_lost_while_its_process_runs(
    state: AgentState, watched: Broker
) -> None:
    watched.ask("r1")
    watched.beat(b"a", state=state)
    watched.wait(1000)
    assert b"a" in watched.connected()
    assert watched.leases(b"a") == ["r1"]


def test_work_of_a_silent_agent_is_taken_back_when_it_has_not_moved_for_too_long(watched: Broker) -> None:
    watched.ask("r1")
    watched.wait(4)
    watched.wait(7)
    [lost] = watched.messages_to(C)
    assert isinstance(lost, Lost)
    assert (lost.why, lost.detail) == ("stalled", "no progress on r1 for 10 s")
    watched.agent(b"b", "bob")
    assert watched.leases(b"b") == ["r1"]


def test_a_classroom_that_joins_again_gets_the_agents_whose_process_it_must_end(watched: Broker) -> None:
    watched.ask("r1")
    watched.leave(C)
    watched.wait(11)
    assert watched.messages_to(C) == []
    watched.classroom()
    assert [(m.name, m.why) for m in watched.messages_to(C) if isinstance(m, Lost)] == [("ann", "stalled")]
    watched.gone("ann")
    watched.leave(C)
    watched.classroom()
    assert not any(isinstance(m, Lost) for m in watched.messages_to(C))


def test_the_end_of_an_earlier_process_leaves_a_hanging_one_hanging() -> None:
    broker = Broker(supervised=["ann"])
    broker.classroom()
    broker.agent(b"a", "ann", pid=7)
    broker.ask("r1")
    broker.wait(11)
    broker.gone("ann", pid=6)
    broker.classroom()
    assert [(m.name, m.pid) for m in broker.messages_to(C) if isinstance(m, Lost)] == [("ann", 7)]
    broker.gone("ann", pid=7)
    broker.classroom()
    assert not any(isinstance(m, Lost) for m in broker.messages_to(C))


def test_a_hello_that_is_read_after_the_end_of_its_process_is_ignored() -> None:
    broker = Broker(supervised=["ann"])
    broker.classroom()
    broker.ask("r1")
    for pid in (7, 8):
        assert broker.gone("ann", pid=pid) == []
    for peer, pid in ((b"x", 7), (b"y", 8)):
        assert broker.agent(peer, "ann", pid=pid, state="loading") == []
    assert broker.state.peers.agents == {}
    assert broker.answer(b"x", "r1") == [(b"x", "Unknown", "")], "it never held the request"
    assert (C, "Joined", "") in broker.agent(b"z", "ann", pid=9)
    assert (b"x", "Welcome", "") not in broker.agent(b"x", "ann", pid=7), "it does not take the place of its successor"
    assert broker.state.peers.agents["ann"].identity == b"z"


def test_a_result_that_is_read_after_the_end_of_its_process_counts() -> None:
    broker = Broker(supervised=["ann"])
    broker.classroom()
    broker.agent(b"a", "ann", pid=7)
    broker.ask("r1")
    broker.gone("ann", pid=7)
    broker.agent(b"b", "ann", pid=8)
    assert broker.leases(b"b") == ["r1"]
    assert (C, "Answered", "r1") in broker.answer(b"a", "r1")


def test_a_hello_that_is_read_before_the_end_of_its_process_is_followed_by_a_loss() -> None:
    broker = Broker(supervised=["ann"])
    broker.classroom()
    assert (C, "Joined", "") in broker.agent(b"a", "ann", pid=7, state="loading")
    assert broker.gone("ann", pid=7) == [(C, "Lost", "")]
    assert broker.state.peers.agents == {}


@pytest.mark.parametrize(("gone", "hello"), [(0, 7), (7, 0)])
def test_a_pid_that_is_unknown_may_be_that_of_any_process(gone: int, hello: int) -> None:
    broker = Broker(supervised=["ann"])
    broker.classroom()
    broker.agent(b"a", "ann", pid=hello)
    assert broker.gone("ann", pid=gone) == [(C, "Lost", "")]
    assert (C, "Joined", "") in broker.agent(b"b", "ann", pid=hello), "nobody knows that this process has ended"


def test_a_silent_agent_is_lost_as_soon_as_its_process_has_ended(watched: Broker) -> None:
    watched.ask("r1")
    watched.wait(5)
    watched.gone("ann")
    assert [m.why for m in watched.messages_to(C) if isinstance(m, Lost)] == ["process"]
    watched.agent(b"b", "bob")
    assert watched.leases(b"b") == ["r1"]


def test_a_silent_agent_that_is_not_watched_is_lost_beside_one_that_is(watched: Broker) -> None:
    watched.agent(b"b", "bob")
    watched.wait(3.5)
    assert [type(m) for m in watched.messages_to(C)] == [Quiet, Lost]
    assert watched.state.peers.agents.keys() == {"ann"}


def test_a_silent_agent_is_lost_after_three_heartbeats(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.ask("r1")
    assert broker.wait(3.0) == []
    broker.wait(0.1)
    [lost] = broker.messages_to(C)
    assert isinstance(lost, Lost)
    assert (lost.name, lost.pool, lost.why) == ("ann", "p", "silent")
    assert DiscardOutbox(b"a") in broker.actions
    broker.agent(b"b")
    assert broker.leases(b"b") == ["r1"]


def test_agents_that_fall_silent_together_do_not_get_each_others_requests(broker: Broker) -> None:
    broker.agent(b"a")
    broker.agent(b"b")
    broker.ask("r1")
    assert broker.wait(3.1) == [(C, "Lost", ""), (C, "Lost", "")]
    assert broker.state.work.requests["r1"].killed == (b"a",)


def test_anything_that_is_heard_keeps_an_agent_alive(broker: Broker) -> None:
    broker.agent(b"a")
    for _ in range(8):
        broker.wait(2.0)
        broker.beat(b"a")
    assert b"a" in broker.connected()


def test_a_lease_without_progress_ends_though_its_agent_is_alive(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2")
    for _ in range(6):
        broker.beat(b"a", "r1", credit=2)
        broker.wait(2.0)
    [lost] = broker.messages_to(C)
    assert isinstance(lost, Lost)
    assert lost.why == "stalled"
    assert "r2" in lost.detail


def test_progress_renews_a_lease(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    for _ in range(20):
        broker.beat(b"a", "r1")
        assert broker.wait(2.0) == []


@pytest.mark.parametrize("state", ["loading", "training"])
def test_no_lease_time_counts_while_an_agent_loads_or_trains(broker: Broker, state: AgentState) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    for _ in range(20):
        broker.beat(b"a", state=state)
        assert broker.wait(2.0) == []
    for _ in range(4):
        broker.beat(b"a")
        assert broker.wait(2.0) == []


def test_a_stalled_agent_may_join_again_only_after_a_result(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    for _ in range(6):
        broker.beat(b"a")
        broker.wait(2.0)
    assert b"a" not in broker.connected()
    assert broker.beat(b"a") == []
    assert broker.agent(b"a", working=("r1",)) == []
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1"), (b"a", "Unknown", "")]
    assert (b"a", "Welcome", "") in broker.agent(b"a")


def test_a_lost_agent_that_says_goodbye_gives_its_name_back(broker: Broker) -> None:
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.receive(b"ann-1", hello, process=7)
    broker.wait(4.0)
    broker.receive(b"ann-2", hello, process=8)
    assert b"ann-2" not in broker.connected(), "process 7 still runs"
    broker.leave(b"ann-1")
    broker.receive(b"ann-3", hello, process=8)
    assert b"ann-3" in broker.connected()
    broker.leave(b"ann-1")
    assert broker.state.peers.members["ann"].process == 8


def test_goodbye_gives_requests_back_in_their_order_and_without_blame(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2", "r3")
    broker.leave(b"a", "tired")
    assert [m.why for m in broker.messages_to(C) if isinstance(m, Lost)] == ["goodbye"]
    assert LogLine("a left: tired") in broker.actions
    broker.agent(b"b", credit=3)
    assert broker.leases(b"b") == ["r1", "r2", "r3"]


def test_what_an_agent_held_whose_key_was_revoked_goes_to_others_without_blame_and_its_answers_do_not_count(
    broker: Broker,
) -> None:
    broker.agent(b"a", "ann", credit=2)
    broker.ask("r1", "r2", "r3")
    broker.handle(Revoked("ann"))
    assert [m.why for m in broker.messages_to(C) if isinstance(m, Lost)] == ["revoked"]
    assert broker.answer(b"a", "r1") == []
    assert broker.receive(b"a", Hello(name="ann", role="student", pool="p", state="ready", credit=1)) == []
    broker.agent(b"b", "ann", credit=3)
    assert broker.leases(b"b") == ["r1", "r2", "r3"]


def test_a_key_that_nobody_uses_is_revoked_without_a_word(broker: Broker) -> None:
    assert broker.handle(Revoked("ann")) == []


def test_after_a_death_suspects_come_first_and_one_at_a_time(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2", "r3")
    broker.gone("a")
    broker.agent(b"b", credit=3)
    assert broker.leases(b"b") == ["r1"]
    broker.answer(b"b", "r1")
    assert broker.leases(b"b") == ["r2"]
    broker.answer(b"b", "r2")
    broker.ask("r4", "r5")
    assert broker.leases(b"b") == ["r3", "r4", "r5"]


def test_a_suspect_waits_until_an_agent_holds_nothing_and_nothing_else_is_leased_before_it(broker: Broker) -> None:
    broker.agent(b"a")
    broker.agent(b"b", credit=3)
    broker.ask("r1", "r2", "r3")
    assert (broker.leases(b"a"), broker.leases(b"b")) == (["r1"], ["r2", "r3"])
    broker.gone("a")
    broker.ask("r4")
    assert broker.answer(b"b", "r2") == [(C, "Answered", "r2")]
    assert broker.answer(b"b", "r3") == [(C, "Answered", "r3"), (b"b", "Examine", "r1")]
    assert broker.answer(b"b", "r1") == [(C, "Answered", "r1"), (b"b", "Examine", "r4")]


def test_three_deaths_while_held_alone_end_a_request(broker: Broker) -> None:
    broker.ask("r1")
    for life in (b"1", b"2", b"3"):
        broker.agent(life, "ann")
        assert broker.leases(life) == ["r1"]
        broker.gone("ann")
    failed = broker.messages_to(C)[-1]
    assert isinstance(failed, Failed)
    assert failed.kind == "deaths"
    broker.agent(b"4", "ann")
    assert broker.leases(b"4") == []
    assert broker.answer(b"4", "r1") == [], "a later answer is dropped"
    assert broker.ack("r1") == [(b"4", "Ack", "")]


def test_a_death_among_others_does_not_count_against_a_request(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2")
    broker.gone("a")
    assert [(r.suspect, r.killed) for r in broker.state.work.requests.values()] == [(True, ()), (True, ())]


def test_gone_with_a_process_id_spares_a_successor(broker: Broker) -> None:
    broker.agent(b"a", "ann", pid=2)
    assert broker.gone("ann", pid=1) == []
    assert broker.gone("ann", pid=2) == [(C, "Lost", "")]


def test_a_result_of_a_lost_agent_still_counts(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.ask("r1")
    broker.wait(3.1)
    broker.answer(b"a", "r1")
    assert broker.actions[0] == Send(C, envelope(Answered(text="42"), peer="ann", request_id="r1"))
    assert broker.messages_to(b"a") == [Unknown()]
    assert not broker.state.work.requests


def test_a_late_result_for_a_suspect_lets_the_others_go_on(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.agent(b"b", "bob", credit=2)
    broker.ask("r1", "r2")
    broker.gone("ann")
    broker.ask("r3")
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1"), (b"b", "Examine", "r3"), (b"a", "Unknown", "")]


def test_an_agent_that_was_only_silent_gets_its_requests_back(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2")
    broker.wait(3.1)
    assert broker.beat(b"a") == [(b"a", "Unknown", "")]
    broker.agent(b"a", credit=2, working=("r1", "r2"))
    assert broker.leases(b"a") == ["r1", "r2"]


def test_however_often_a_network_parts_it_does_not_fail_the_request_of_an_agent_that_comes_back(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    for _ in range(5):
        assert (C, "Lost", "") in broker.wait(3.1)
        broker.agent(b"a", working=("r1",))
        assert broker.leases(b"a") == ["r1"]


def test_a_request_that_kills_agents_fails_though_each_of_them_was_silent_and_came_back_before(broker: Broker) -> None:
    broker.ask("r1")
    for life in (b"1", b"2", b"3"):
        broker.agent(life, "ann")
        assert broker.leases(life) == ["r1"]
        if life != b"3":
            broker.wait(3.1)
            broker.agent(life, "ann", working=("r1",))
        broker.gone("ann")
    failed = broker.messages_to(C)[-1]
    assert isinstance(failed, Failed) and failed.kind == "deaths"


def test_a_namesake_replaces_an_agent_and_keeps_the_requests_it_works_on(broker: Broker) -> None:
    broker.agent(b"old", "ann", credit=2)
    broker.ask("r1", "r2")
    broker.agent(b"new", "ann", credit=2, working=("r2",))
    assert [m.why for m in broker.messages_to(C) if isinstance(m, Lost)] == ["replaced"]
    assert broker.messages_to(b"old") == [Drain()]
    assert broker.leases(b"new") == ["r2"]
    broker.answer(b"new", "r2")
    assert broker.leases(b"new") == ["r1"]
    assert broker.beat(b"old", "r1") == [], "it does not take its place back"


def test_a_replaced_agent_may_join_again_when_its_name_is_free(broker: Broker) -> None:
    broker.agent(b"old", "ann")
    broker.agent(b"new", "ann")
    assert broker.agent(b"old", "ann") == []
    broker.leave(b"new")
    assert broker.beat(b"old") == [(b"old", "Unknown", "")]
    assert (b"old", "Welcome", "") in broker.agent(b"old", "ann")


def test_hello_again_repeats_leases_that_may_not_have_arrived(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2")
    assert broker.agent(b"a", credit=2, working=("r1",)) == [(b"a", "Welcome", ""), (b"a", "Examine", "r2")]
    assert broker.leases(b"a") == ["r1", "r2"]


def test_a_peer_that_does_not_read_is_lost(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    assert broker.handle(OutboxFull(b"a")) == [(C, "Lost", "")]
    broker.handle(OutboxFull(C))
    broker.agent(b"b")
    assert broker.answer(b"b", "r1") == []
    assert broker.beat(C) == [(C, "Unknown", "")]
    assert broker.classroom()[-1] == (C, "Answered", "r1")


def test_a_routing_id_belongs_to_its_first_process_until_that_ends(broker: Broker) -> None:
    broker.agent(b"a", "ann", pid=7)
    broker.ask("r1")
    forged = envelope(Answered(text="forged"), request_id="r1")
    assert broker.receive_envelope(b"a", forged, process=8) == []
    assert broker.state.out.dropped == 1
    broker.processes.ended.add(7)
    assert broker.receive_envelope(b"a", forged, process=8) == [(C, "Lost", ""), (b"a", "Unknown", "")]
    assert (b"a", "Examine", "r1") in broker.agent(b"a", "ann", pid=8)


def test_a_refused_peer_may_join_over_the_same_connection_when_its_name_is_free(broker: Broker) -> None:
    broker.agent(b"a", "ann", pid=7)
    assert broker.agent(b"b", "ann", pid=8) == [(b"b", "Drain", ""), (C, "Lost", "")]
    assert broker.agent(b"b", "ann", pid=8) == [], "it is refused once"
    broker.processes.ended.add(7)
    assert (b"b", "Welcome", "") in broker.agent(b"b", "ann", pid=8)


def test_connections_and_names_that_are_not_in_use_are_forgotten(broker: Broker) -> None:
    for number in range(50):
        broker.beat(b"stranger %d" % number)
        broker.agent(b"refused %d" % number, f"r{number}", protocol=9)
    broker.wait(4)
    assert len(broker.state.peers.connections) == 51, "the classroom, and the refused ones"
    assert broker.state.peers.members.names.keys() == set()
