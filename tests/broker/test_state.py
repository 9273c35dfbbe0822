"""What the broker decides: events in, actions out, no socket and no clock."""

from collections.abc import Iterable

import pytest

from broker import work
from broker.actions import Action, Forget, LogLine, Send
from broker.events import Clogged, Incoming, Malformed, Sender, StateEvent, Tick, Woke
from broker.peers import MAX_ANNOUNCEMENTS
from broker.pool import PoolAgent
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
    Role,
    Unknown,
    Welcome,
    decode,
    envelope,
)
from broker.state import BrokerState
from broker.work_messages import Answered, Failed, Feedback, Message, Progress
from tests.broker.invariants import check

C = b"classroom"
Said = list[tuple[bytes, str, str]]


class FakeProcesses:
    """Processes that run until a test ends them."""

    def __init__(self) -> None:
        self.ended: set[int] = set()

    def is_running(self, pid: int) -> bool:
        return pid not in self.ended

    def parent_of(self, pid: int) -> int:
        return 0


class Broker:
    """A state, with short words for what happens to it. Each gives what was sent: (peer, kind, request id)."""

    def __init__(
        self, *, credit: int = 100, heartbeat_s: float = 1.0, stalled_s: float = 10.0, supervised: Iterable[str] = ()
    ) -> None:
        self.processes = FakeProcesses()
        self.state = BrokerState(
            heartbeat_s, stalled_s, credit, "e1", frozenset(supervised), process_table=self.processes
        )
        self.now = 100.0
        self.actions: list[Action] = []

    def do(self, event: StateEvent) -> Said:
        self.actions = self.state.handle(event, self.now)
        check(self.state)
        return [(a.peer, a.envelope.kind, a.envelope.request_id) for a in self.actions if isinstance(a, Send)]

    def pass_in(self, peer: bytes, sent: Envelope, process: int | None = None) -> Said:
        """`process`: None: that of the connection, 0 for a new one."""
        known = self.state.peers.connections.get(peer)
        sender = known.sender if known and process is None else Sender(process=process or 0)
        return self.do(Incoming(peer, sent, sender))

    def tell(self, peer: bytes, message: Message, *, request_id: str = "", process: int | None = None) -> Said:
        return self.pass_in(peer, envelope(message, request_id=request_id), process)

    def leave(self, peer: bytes, reason: str = "") -> Said:
        return self.tell(peer, Goodbye(reason=reason))

    def said(self, peer: bytes) -> list[Message]:
        """The messages to `peer` among the last actions."""
        sent = [a.envelope for a in self.actions if isinstance(a, Send) and a.peer == peer]
        return [decode(e.kind, e.body) for e in sent]

    def classroom(self, peer: bytes = C) -> Said:
        return self.tell(peer, Hello(name="classroom", role="classroom"))

    def agent(
        self,
        peer: bytes,
        name: str = "",
        *,
        pool: str = "p",
        credit: int = 1,
        state: AgentState = "ready",
        working: Iterable[str] = (),
        pid: int = 0,
        role: Role = "student",
        protocol: int = 1,
    ) -> Said:
        hello = Hello(
            name=name or peer.decode(), role=role, pool=pool, credit=credit, state=state, working=tuple(working),
            pid=pid, protocol=protocol,
        )  # fmt: skip
        return self.tell(peer, hello, process=pid)

    def ask(self, *request_ids: str, pool: str = "p", affinity: str = "", peer: bytes = C) -> Said:
        sent: Said = []
        for request_id in request_ids:
            sent += self.pass_in(peer, Envelope("Examine", pool, request_id, affinity, b"question"))
        return sent

    def answer(self, peer: bytes, request_id: str, text: str = "42") -> Said:
        return self.tell(peer, Answered(text=text), request_id=request_id)

    def ack(self, *request_ids: str) -> Said:
        return self.tell(C, Ack(request_ids=request_ids))

    def beat(
        self, peer: bytes, *progress: str, state: AgentState = "ready", credit: int = 1, completion_tokens: int = 0
    ) -> Said:
        heartbeat = Heartbeat(state=state, credit=credit, progress=progress, completion_tokens=completion_tokens)
        return self.tell(peer, heartbeat)

    def gone(self, name: str, pid: int = 0) -> Said:
        return self.tell(C, Gone(name=name, pid=pid, detail="killed"))

    def passes(self, seconds: float) -> Said:
        self.now += seconds
        return self.do(Tick())

    def connected(self) -> dict[bytes, PoolAgent]:
        return {agent.identity: agent for agent in self.state.peers.agents.values()}

    def leases(self, peer: bytes) -> list[str]:
        return list(self.connected()[peer].leases)


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    broker.classroom()
    return broker


# --- hello ----------------------------------------------------------------------------------------------


def test_the_classroom_is_welcomed_with_a_credit_and_told_who_is_there() -> None:
    broker = Broker(credit=7)
    broker.agent(b"a", "ann")
    broker.classroom()
    welcome, joined = broker.said(C)
    assert welcome == Welcome(epoch="e1", heartbeat_s=1.0, credit=7)
    assert isinstance(joined, Joined)
    assert joined.hello.name == "ann"


def test_each_heartbeat_of_the_classroom_is_answered(broker: Broker) -> None:
    broker.said(C)
    broker.beat(C)
    assert broker.said(C) == [Welcome(epoch="e1", heartbeat_s=1.0, credit=100)]
    broker.agent(b"a")
    assert broker.beat(b"a") == []


def test_an_agent_is_welcomed_and_the_classroom_hears_of_it(broker: Broker) -> None:
    broker.agent(b"a", "ann", pool="", working=("r9",))
    assert broker.said(b"a") == [Welcome(epoch="e1", heartbeat_s=1.0)]
    assert broker.said(C) == [Joined(hello=Hello(name="ann", role="student", pool="ann", state="ready", credit=1))]


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
        Envelope("Taught", "", "r", "", b""),
        Envelope("Feedback", "p", "", "", b""),
        envelope(Ack(request_ids=("r",))),
        envelope(Gone(name="ann")),
        envelope(Drain()),
        envelope(Goodbye()),
    ],
)
def test_a_stranger_is_told_so_and_changes_nothing(broker: Broker, sent: Envelope) -> None:
    before = broker.state.gauges()
    assert broker.pass_in(b"x", sent) == [(b"x", "Unknown", "")]
    assert broker.state.gauges() == before


def test_a_stranger_with_much_to_say_is_told_once(broker: Broker) -> None:
    said = [broker.beat(b"x") for _ in range(10)]
    assert said == [[(b"x", "Unknown", "")]] + [[]] * 9


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
    broker.pass_in(b"a", sent)
    assert broker.state.out.dropped == 1
    assert not broker.state.work.requests
    assert broker.connected().keys() == {b"a", b"b"}
    assert broker.state.out.classroom == C


def test_a_classroom_whose_process_is_watched_keeps_its_place_however_silent_it_is() -> None:
    broker = Broker(supervised=["classroom"])
    broker.classroom()
    broker.passes(1000)
    broker.classroom(b"other")
    assert broker.said(b"other") == [Drain(reason="classroom is here already, over another connection")]
    broker.leave(C)
    broker.classroom(b"other")
    assert isinstance(broker.said(b"other")[0], Welcome)


def test_a_second_classroom_is_sent_away_while_the_first_is_alive(broker: Broker) -> None:
    broker.classroom(b"other")
    assert broker.said(b"other") == [Drain(reason="classroom is here already, over another connection")]
    broker.passes(3.5)
    broker.classroom(b"other")
    assert isinstance(broker.said(b"other")[0], Welcome)


def test_a_peer_of_another_protocol_is_sent_away_once_and_the_classroom_hears_why(broker: Broker) -> None:
    broker.agent(b"a", "ann", protocol=9)
    assert broker.said(b"a") == [Drain(reason="ann speaks protocol 9, and this broker 1")]
    lost = broker.said(C)[0]
    assert isinstance(lost, Lost)
    assert (lost.why, lost.name) == ("refused", "ann")
    assert broker.agent(b"a", "ann", protocol=9) == []
    assert broker.state.peers.agents == {}


def test_the_namesake_of_a_process_that_runs_is_refused_and_the_first_stays() -> None:
    broker = Broker()
    broker.classroom()
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.tell(b"a", hello, process=7)
    broker.ask("r1")
    broker.tell(b"b", hello, process=8)
    [drain], [lost] = broker.said(b"b"), broker.said(C)
    assert isinstance(drain, Drain) and "ann is the name of process 7" in drain.reason
    assert isinstance(lost, Lost) and lost.why == "refused"
    assert broker.said(b"a") == []
    assert broker.leases(b"a") == ["r1"]
    assert broker.tell(b"c", hello, process=8) == [(b"c", "Drain", "")], "the classroom is told once"
    assert broker.answer(b"b", "r1") == []
    broker.processes.ended.add(7)
    broker.tell(b"d", hello, process=8)
    assert broker.leases(b"d") == ["r1"]


@pytest.mark.parametrize("how", ["goodbye", "gone"])
def test_a_name_is_free_when_its_process_has_left(how: str) -> None:
    broker = Broker()
    broker.classroom()
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.tell(b"a", hello, process=7)
    if how == "goodbye":
        broker.leave(b"a")
    else:
        broker.gone("ann", pid=7)
    assert (b"b", "Welcome", "") in broker.tell(b"b", hello, process=8)


def test_a_process_that_connects_anew_keeps_its_name() -> None:
    broker = Broker()
    broker.classroom()
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.tell(b"a", hello, process=7)
    assert (b"b", "Welcome", "") in broker.tell(b"b", hello, process=7)


def test_a_silent_agent_keeps_its_name_while_its_process_runs() -> None:
    broker = Broker()
    broker.classroom()
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.tell(b"a", hello, process=7)
    broker.passes(3.5)
    assert broker.state.peers.agents == {}
    assert broker.tell(b"b", hello, process=8) == [(b"b", "Drain", ""), (C, "Lost", "")]
    assert (b"a", "Welcome", "") in broker.tell(b"a", hello, process=7)


def test_a_connection_keeps_its_name(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    assert broker.agent(b"a", "bob") == []
    assert broker.state.peers.agents.keys() == {"ann"}
    broker.leave(b"a")
    assert broker.agent(b"a", "bob") == []
    assert broker.state.peers.agents.keys() == set()


# --- leases ---------------------------------------------------------------------------------------------


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


def test_more_credit_brings_more_work_and_less_takes_none_back(broker: Broker) -> None:
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


def test_an_agent_stays_with_its_affinity_then_takes_the_oldest_that_nobody_serves_then_the_oldest(
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
    [failed] = broker.said(C)
    assert isinstance(failed, Failed)
    assert failed.kind == "refused"
    assert broker.ask("q1", pool="q") == []
    broker.agent(b"a", credit=2)
    broker.answer(b"a", "r1")
    broker.ask("r4")
    assert broker.leases(b"a") == ["r2", "r4"]


def test_drain_stops_leases_and_is_passed_on_also_to_who_comes_later(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1", "r2")
    assert broker.tell(C, Drain()) == [(b"a", "Drain", "")]
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1")]
    broker.agent(b"b")
    assert broker.said(b"b") == [Welcome(epoch="e1", heartbeat_s=1.0), Drain()]
    assert broker.state.gauges().draining


# --- results --------------------------------------------------------------------------------------------


def test_a_result_carries_the_name_of_who_made_it(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.ask("r1")
    broker.pass_in(b"a", Envelope("Answered", "somebody else", "r1", "x", b"not even decoded"))
    assert broker.actions == [Send(C, Envelope("Answered", "ann", "r1", "x", b"not even decoded"))]


def test_the_first_result_wins_and_all_who_sent_one_hear_that_it_is_on_disk(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    broker.passes(1)
    broker.agent(b"b")
    broker.gone("a")
    assert broker.leases(b"b") == ["r1"]
    broker.agent(b"a")
    assert broker.answer(b"a", "r1", "first") == [(C, "Answered", "r1")]
    assert broker.answer(b"b", "r1", "second") == []
    assert sorted(broker.ack("r1")) == [(b"a", "Ack", ""), (b"b", "Ack", "")]
    assert not broker.state.work.finished


def test_who_works_on_what_another_finished_gets_nothing_in_its_place(broker: Broker) -> None:
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
    assert broker.said(b"a") == [Ack(request_ids=("r1", "r3"))]


def test_a_result_nobody_is_known_to_wait_for_reaches_the_classroom(broker: Broker) -> None:
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
    broker.passes(1)
    assert broker.state.out.dropped == 1
    assert (C, "Answered", "r1") in broker.answer(b"a", "r1")
    assert broker.said(C) == [Answered(text="42")]
    broker.ack("r1")
    assert broker.said(b"b") == [Ack(request_ids=("r1",))], "else it would send its own again for ever"


def test_a_request_that_waits_is_answered_by_nobody(broker: Broker) -> None:
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
def test_results_that_nobody_asked_for_have_a_bound(
    body: bytes, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "MAX_UNASKED", 15 * work.OVERHEAD)
    broker.agent(b"a", "ann")
    for number in range(50):
        broker.pass_in(b"a", Envelope("Answered", "", f"r{number}", "", body))
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
    assert broker.pass_in(b"b", envelope(Progress(step=1, steps=2), request_id="r1")) == []
    assert broker.state.out.dropped == 1


def test_a_claim_on_what_another_pool_works_on_changes_nothing_there(broker: Broker) -> None:
    broker.agent(b"a", "ann", working=["r1"])
    broker.agent(b"h", "hostile", pool="other", working=["r1"])
    assert broker.ask("r1") == [], "ann works on it"
    assert broker.leases(b"a") == ["r1"]
    broker.answer(b"a", "r1")
    assert broker.ask("r2") == [(b"a", "Examine", "r2")], "there is room"


def test_the_classroom_hears_little_of_an_agent_that_changes_or_comes_and_goes_all_the_time(broker: Broker) -> None:
    told = broker.agent(b"a", "ann", state="loading")
    for _ in range(100):
        told += broker.beat(b"a", state="ready") + broker.beat(b"a", state="loading")
    told += broker.beat(b"a", state="ready")
    for _ in range(100):
        told += broker.agent(b"h", "hostile") + broker.leave(b"h")
    assert len([kind for peer, kind, _ in told if peer == C]) == 3 * MAX_ANNOUNCEMENTS
    broker.passes(0.1)
    [joined] = [message for message in broker.said(C) if isinstance(message, Joined)]
    assert (joined.hello.name, joined.hello.state) == ("ann", "ready")
    assert (b"h", "Welcome", "") in broker.agent(b"h", "hostile")


def test_results_wait_for_a_classroom_that_is_away(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    broker.leave(C)
    assert broker.answer(b"a", "r1") == []
    assert broker.classroom() == [(C, "Welcome", ""), (C, "Joined", ""), (C, "Answered", "r1")]


def test_an_ack_for_what_still_waits_takes_it_out(broker: Broker) -> None:
    broker.ask("r1", "r2")
    broker.ack("r1")
    broker.agent(b"a")
    assert broker.leases(b"a") == ["r2"]


def test_feedback_goes_to_one_agent_of_the_pool_and_is_logged_if_there_is_none(broker: Broker) -> None:
    told = envelope(Feedback(about="r1"), peer="p")
    assert broker.pass_in(C, told) == []
    assert broker.actions == [LogLine("feedback for p: no agent is connected")]
    broker.agent(b"a")
    broker.agent(b"b")
    broker.pass_in(C, told)
    assert broker.actions == [Send(b"a", told)]


# --- deaths ---------------------------------------------------------------------------------------------


@pytest.fixture
def watched() -> Broker:
    """A broker with an agent, ann, whose process is watched."""
    broker = Broker(supervised=["ann"])
    broker.classroom()
    broker.agent(b"a", "ann", credit=2)
    return broker


def test_a_silent_agent_whose_process_is_watched_is_shown_once_and_keeps_its_work(watched: Broker) -> None:
    watched.ask("r1")
    assert watched.passes(3.0) == []
    watched.passes(0.5)
    assert watched.said(C) == [Quiet(name="ann", seconds=3.5)]
    assert watched.passes(6.0) == []
    assert watched.leases(b"a") == ["r1"]
    watched.beat(b"a", "r1", credit=2)
    assert watched.said(C) == [Quiet(name="ann", seconds=9.5, over=True)]
    assert watched.passes(3.0) == []
    watched.passes(0.5)
    assert watched.said(C) == [Quiet(name="ann", seconds=3.5)]


@pytest.mark.parametrize("state", ["loading", "training"])
def test_a_silent_agent_that_loads_or_trains_is_never_lost_while_its_process_runs(
    state: AgentState, watched: Broker
) -> None:
    watched.ask("r1")
    watched.beat(b"a", state=state)
    watched.passes(1000)
    assert b"a" in watched.connected()
    assert watched.leases(b"a") == ["r1"]


def test_work_of_a_silent_agent_is_taken_back_when_it_has_not_moved_for_too_long(watched: Broker) -> None:
    watched.ask("r1")
    watched.passes(4)
    watched.passes(7)
    [lost] = watched.said(C)
    assert isinstance(lost, Lost)
    assert (lost.why, lost.detail) == ("stalled", "no progress on r1 for 10 s")
    watched.agent(b"b", "bob")
    assert watched.leases(b"b") == ["r1"]


def test_a_classroom_that_comes_back_hears_again_whose_process_it_must_end(watched: Broker) -> None:
    watched.ask("r1")
    watched.leave(C)
    watched.passes(11)
    assert watched.said(C) == []
    watched.classroom()
    assert [(m.name, m.why) for m in watched.said(C) if isinstance(m, Lost)] == [("ann", "stalled")]
    watched.gone("ann")
    watched.leave(C)
    watched.classroom()
    assert not any(isinstance(m, Lost) for m in watched.said(C))


def test_the_end_of_an_earlier_process_leaves_a_hanging_one_hanging() -> None:
    broker = Broker(supervised=["ann"])
    broker.classroom()
    broker.agent(b"a", "ann", pid=7)
    broker.ask("r1")
    broker.passes(11)
    broker.gone("ann", pid=6)
    broker.classroom()
    assert [(m.name, m.pid) for m in broker.said(C) if isinstance(m, Lost)] == [("ann", 7)]
    broker.gone("ann", pid=7)
    broker.classroom()
    assert not any(isinstance(m, Lost) for m in broker.said(C))


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
    watched.passes(5)
    watched.gone("ann")
    assert [m.why for m in watched.said(C) if isinstance(m, Lost)] == ["process"]
    watched.agent(b"b", "bob")
    assert watched.leases(b"b") == ["r1"]


def test_a_silent_agent_that_is_not_watched_is_lost_beside_one_that_is(watched: Broker) -> None:
    watched.agent(b"b", "bob")
    watched.passes(3.5)
    assert [type(m) for m in watched.said(C)] == [Quiet, Lost]
    assert watched.state.peers.agents.keys() == {"ann"}


def test_a_silent_agent_is_lost_after_three_heartbeats(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.ask("r1")
    assert broker.passes(3.0) == []
    broker.passes(0.1)
    [lost] = broker.said(C)
    assert isinstance(lost, Lost)
    assert (lost.name, lost.pool, lost.why) == ("ann", "p", "silent")
    assert Forget(b"a") in broker.actions
    broker.agent(b"b")
    assert broker.leases(b"b") == ["r1"]


def test_who_falls_silent_together_is_not_given_what_the_other_held(broker: Broker) -> None:
    broker.agent(b"a")
    broker.agent(b"b")
    broker.ask("r1")
    assert broker.passes(3.1) == [(C, "Lost", ""), (C, "Lost", "")]
    assert broker.state.work.requests["r1"].deaths == 1


def test_anything_that_is_heard_keeps_an_agent_alive(broker: Broker) -> None:
    broker.agent(b"a")
    for _ in range(8):
        broker.passes(2.0)
        broker.beat(b"a")
    assert b"a" in broker.connected()


def test_a_lease_without_progress_ends_though_its_agent_is_alive(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2")
    for _ in range(6):
        broker.beat(b"a", "r1", credit=2)
        broker.passes(2.0)
    [lost] = broker.said(C)
    assert isinstance(lost, Lost)
    assert lost.why == "stalled"
    assert "r2" in lost.detail


def test_progress_renews_a_lease(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    for _ in range(20):
        broker.beat(b"a", "r1")
        assert broker.passes(2.0) == []


@pytest.mark.parametrize("state", ["loading", "training"])
def test_no_lease_time_counts_while_an_agent_loads_or_trains(broker: Broker, state: AgentState) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    for _ in range(20):
        broker.beat(b"a", state=state)
        assert broker.passes(2.0) == []
    for _ in range(4):
        broker.beat(b"a")
        assert broker.passes(2.0) == []


def test_who_stalled_is_not_let_back_before_it_moves(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    for _ in range(6):
        broker.beat(b"a")
        broker.passes(2.0)
    assert b"a" not in broker.connected()
    assert broker.beat(b"a") == []
    assert broker.agent(b"a", working=("r1",)) == []
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1"), (b"a", "Unknown", "")]
    assert (b"a", "Welcome", "") in broker.agent(b"a")


def test_a_lost_agent_that_says_goodbye_gives_its_name_back(broker: Broker) -> None:
    hello = Hello(name="ann", role="student", pool="p", state="ready", credit=1)
    broker.tell(b"ann-1", hello, process=7)
    broker.passes(4.0)
    broker.tell(b"ann-2", hello, process=8)
    assert b"ann-2" not in broker.connected(), "process 7 still runs"
    broker.leave(b"ann-1")
    broker.tell(b"ann-3", hello, process=8)
    assert b"ann-3" in broker.connected()
    broker.leave(b"ann-1")
    assert broker.state.peers.members["ann"].process == 8


def test_goodbye_gives_requests_back_in_their_order_and_without_blame(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2", "r3")
    broker.leave(b"a", "tired")
    assert [m.why for m in broker.said(C) if isinstance(m, Lost)] == ["goodbye"]
    assert LogLine("a left: tired") in broker.actions
    broker.agent(b"b", credit=3)
    assert broker.leases(b"b") == ["r1", "r2", "r3"]


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
    failed = broker.said(C)[-1]
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
    assert [(r.suspect, r.deaths) for r in broker.state.work.requests.values()] == [(True, 0), (True, 0)]


def test_gone_with_a_process_id_spares_a_successor(broker: Broker) -> None:
    broker.agent(b"a", "ann", pid=2)
    assert broker.gone("ann", pid=1) == []
    assert broker.gone("ann", pid=2) == [(C, "Lost", "")]


def test_a_result_from_an_agent_taken_for_dead_still_counts(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.ask("r1")
    broker.passes(3.1)
    broker.answer(b"a", "r1")
    assert broker.actions[0] == Send(C, envelope(Answered(text="42"), peer="ann", request_id="r1"))
    assert broker.said(b"a") == [Unknown()]
    assert not broker.state.work.requests


def test_a_late_result_for_a_suspect_lets_the_others_go_on(broker: Broker) -> None:
    broker.agent(b"a", "ann")
    broker.agent(b"b", "bob", credit=2)
    broker.ask("r1", "r2")
    broker.gone("ann")
    broker.ask("r3")
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1"), (b"b", "Examine", "r3"), (b"a", "Unknown", "")]


def test_who_was_only_silent_comes_back_to_its_work(broker: Broker) -> None:
    broker.agent(b"a", credit=2)
    broker.ask("r1", "r2")
    broker.passes(3.1)
    assert broker.beat(b"a") == [(b"a", "Unknown", "")]
    broker.agent(b"a", credit=2, working=("r1", "r2"))
    assert broker.leases(b"a") == ["r1", "r2"]


def test_a_namesake_replaces_and_keeps_what_it_works_on(broker: Broker) -> None:
    broker.agent(b"old", "ann", credit=2)
    broker.ask("r1", "r2")
    broker.agent(b"new", "ann", credit=2, working=("r2",))
    assert [m.why for m in broker.said(C) if isinstance(m, Lost)] == ["replaced"]
    assert broker.said(b"old") == [Drain()]
    assert broker.leases(b"new") == ["r2"]
    broker.answer(b"new", "r2")
    assert broker.leases(b"new") == ["r1"]
    assert broker.beat(b"old", "r1") == [], "it does not take its place back"


def test_who_was_replaced_may_come_back_when_its_name_is_free_again(broker: Broker) -> None:
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


def test_who_does_not_read_is_taken_for_dead(broker: Broker) -> None:
    broker.agent(b"a")
    broker.ask("r1")
    assert broker.do(Clogged(b"a")) == [(C, "Lost", "")]
    broker.do(Clogged(C))
    broker.agent(b"b")
    assert broker.answer(b"b", "r1") == []
    assert broker.beat(C) == [(C, "Unknown", "")]
    assert broker.classroom()[-1] == (C, "Answered", "r1")


# --- after a restart of the broker ----------------------------------------------------------------------


def test_what_an_agent_says_it_works_on_is_leased_to_it_when_it_is_submitted(broker: Broker) -> None:
    broker.agent(b"a", credit=2, working=("r1", "r2"))
    broker.agent(b"b", credit=2)
    broker.ask("r1", "r2", "r3")
    assert (broker.leases(b"a"), broker.leases(b"b")) == (["r1", "r2"], ["r3"])


def test_what_an_agent_works_on_takes_its_room_before_it_is_submitted(broker: Broker) -> None:
    broker.agent(b"a", credit=2, working=("r1", "r2"))
    assert broker.ask("r3") == []
    assert broker.answer(b"a", "r1") == [(C, "Answered", "r1"), (b"a", "Examine", "r3")]


def test_room_for_work_that_nobody_asks_for_is_free_again_in_the_end(broker: Broker) -> None:
    broker.agent(b"a", working=("phantom",))
    broker.ask("r1")
    sent: Said = []
    for _ in range(6):
        broker.beat(b"a")
        sent += broker.passes(2.0)
    assert sent == [(b"a", "Examine", "r1")]


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
    broker.passes(0.1)
    assert broker.state.gauges().queues == {}
    assert not [a for a in broker.actions if isinstance(a, LogLine)]


def test_nobody_is_to_blame_for_the_time_the_broker_itself_did_not_run() -> None:
    broker = Broker()
    broker.classroom()
    broker.agent(b"a")
    broker.ask("r1")
    broker.now += 1000
    broker.do(Woke(1000))
    assert broker.passes(0) == []
    assert broker.passes(3 * broker.state.peers.heartbeat_s) == []
    assert (C, "Lost", "") in broker.passes(1)


def test_progress_renews_a_lease_and_is_passed_on_with_the_name_of_its_agent() -> None:
    broker = Broker()
    broker.classroom()
    broker.agent(b"a", "ann")
    broker.ask("r1")
    told = envelope(Progress(step=3, steps=10, figures={"loss": 0.5}), request_id="r1")
    for _ in range(20):
        broker.now += broker.state.stalled_s / 2
        assert broker.pass_in(b"a", told) == [(C, "Progress", "r1")]
    [sent] = [action for action in broker.actions if isinstance(action, Send)]
    assert sent.envelope.peer == "ann"
    assert broker.leases(b"a") == ["r1"]


def test_progress_without_a_classroom_is_dropped() -> None:
    broker = Broker()
    broker.classroom()
    broker.agent(b"a", "ann")
    broker.leave(C)
    assert broker.pass_in(b"a", envelope(Progress(step=1, steps=2), request_id="r1")) == []


def test_frames_that_are_no_message_and_kinds_for_peers_are_counted_and_dropped(broker: Broker) -> None:
    broker.do(Malformed("3 frames: a message has five"))
    assert broker.actions == [LogLine("dropped: 3 frames: a message has five", "dropped")]
    for sent in (envelope(Welcome(epoch="mine", heartbeat_s=1)), Envelope("Answered", "", "", "", b"")):
        assert broker.pass_in(b"a", sent) == []
    assert broker.state.gauges().dropped == 3


def test_a_routing_id_belongs_to_its_first_process_until_that_ends(broker: Broker) -> None:
    broker.agent(b"a", "ann", pid=7)
    broker.ask("r1")
    forged = envelope(Answered(text="forged"), request_id="r1")
    assert broker.pass_in(b"a", forged, process=8) == []
    assert broker.state.out.dropped == 1
    broker.processes.ended.add(7)
    assert broker.pass_in(b"a", forged, process=8) == [(C, "Lost", ""), (b"a", "Unknown", "")]
    assert (b"a", "Examine", "r1") in broker.agent(b"a", "ann", pid=8)


def test_a_refused_peer_may_join_over_the_same_connection_when_its_name_is_free(broker: Broker) -> None:
    broker.agent(b"a", "ann", pid=7)
    assert broker.agent(b"b", "ann", pid=8) == [(b"b", "Drain", ""), (C, "Lost", "")]
    assert broker.agent(b"b", "ann", pid=8) == [], "it is told once"
    broker.processes.ended.add(7)
    assert (b"b", "Welcome", "") in broker.agent(b"b", "ann", pid=8)


def test_connections_and_names_that_are_not_in_use_are_forgotten(broker: Broker) -> None:
    for number in range(50):
        broker.beat(b"stranger %d" % number)
        broker.agent(b"refused %d" % number, f"r{number}", protocol=9)
    broker.passes(4)
    assert len(broker.state.peers.connections) == 51, "the classroom, and the refused ones"
    assert broker.state.peers.members.names.keys() == set()
