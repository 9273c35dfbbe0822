"""The broker as a state machine: gauges, unreadable messages, its own pauses, progress."""

from broker.actions import LogLine, Send
from broker.events import BrokerPaused, Malformed
from broker.protocol import (
    Envelope,
    Welcome,
    envelope,
)
from broker.work_messages import Progress
from tests.broker.broker_under_test import Broker, C


def test_gauges_show_peers_and_queues(broker: Broker) -> None:
    broker.agent(b"a", "ann", credit=1)
    broker.ask("r1", "r2", "r3")
    broker.beat(b"a", completion_tokens=12)
    gauges = broker.state.gauges()
    assert gauges.queues == {"p": 2}
    [peer] = gauges.peers
    assert (peer.name, peer.leases, peer.credit, peer.completion_tokens) == ("ann", 1, 1, 12)


def test_pools_without_agents_and_requests_are_forgotten(broker: Broker) -> None:
    broker.agent(b"a", pool="q")
    broker.leave(b"a")
    broker.wait(0.1)
    assert broker.state.gauges().queues == {}
    assert not [a for a in broker.actions if isinstance(a, LogLine)]


def test_time_in_which_the_broker_did_not_run_counts_against_no_agent() -> None:
    broker = Broker()
    broker.classroom()
    broker.agent(b"a")
    broker.ask("r1")
    broker.now += 1000
    broker.handle(BrokerPaused(1000))
    assert broker.wait(0) == []
    assert broker.wait(3 * broker.state.peers.heartbeat_s) == []
    assert (C, "Lost", "") in broker.wait(1)


def test_progress_renews_a_lease_and_is_passed_on_with_the_name_of_its_agent() -> None:
    broker = Broker()
    broker.classroom()
    broker.agent(b"a", "ann")
    broker.ask("r1")
    progress = envelope(Progress(step=3, steps=10, figures={"loss": 0.5}), request_id="r1")
    for _ in range(20):
        broker.now += broker.state.stalled_s / 2
        assert broker.receive_envelope(b"a", progress) == [(C, "Progress", "r1")]
    [sent] = [action for action in broker.actions if isinstance(action, Send)]
    assert sent.envelope.peer == "ann"
    assert broker.leases(b"a") == ["r1"]


def test_progress_without_a_classroom_is_dropped() -> None:
    broker = Broker()
    broker.classroom()
    broker.agent(b"a", "ann")
    broker.leave(C)
    assert broker.receive_envelope(b"a", envelope(Progress(step=1, steps=2), request_id="r1")) == []


def test_frames_that_are_no_message_and_kinds_for_peers_are_counted_and_dropped(broker: Broker) -> None:
    broker.handle(Malformed("3 frames: a message has five"))
    assert broker.actions == [LogLine("dropped: 3 frames: a message has five", "dropped")]
    for sent in (envelope(Welcome(epoch="mine", heartbeat_s=1)), Envelope("Answered", "", "", "", b"")):
        assert broker.receive_envelope(b"a", sent) == []
    assert broker.state.gauges().dropped == 3
