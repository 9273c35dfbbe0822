import random

from broker.work_messages import Sampling
from scenarios.levels.base import Request, Result
from scenarios.levels.flow import Flow, Flows, ask, play, together


def request(id: str) -> Request:
    return Request(id, "Ask", "ada", "ask", Sampling())


def one(id: str, log: list[str]) -> Flow[str]:
    (result,) = yield from ask([request(id)])
    log.append(id)
    return result.text


def run(flow: Flow[None], order: random.Random) -> list[str]:
    """Answer what is due in a random order; returns the ids in the order they became due."""
    flows = Flows()
    flows.start(flow)
    due, waiting = [], list(flows.take())
    while waiting:
        asked = waiting.pop(order.randrange(len(waiting)))
        due.append(asked.id)
        flows.receive(Result(asked.id, asked.id.upper(), None, False))
        waiting += flows.take()
    assert flows.finished
    return due


def test_results_come_back_in_the_order_they_were_asked_for_whatever_comes_first() -> None:
    ends: list[list[str]] = []

    def flow() -> Flow[None]:
        results = yield from ask([request(id) for id in "cab"])
        ends.append([result.text for result in results])
        ends.append((yield from together([one(id, []) for id in "xy"])))

    for seed in range(5):
        run(flow(), random.Random(seed))
        assert ends == [["C", "A", "B"], ["X", "Y"]]
        ends.clear()


def test_what_two_flows_want_is_due_once_and_what_is_known_never_again() -> None:
    log: list[str] = []

    def flow() -> Flow[None]:
        yield from together([one("a", log), one("a", log), one("b", log)])
        yield from together([one("b", log), one("c", log)])

    due = run(flow(), random.Random(1))
    assert sorted(due) == ["a", "b", "c"]
    assert sorted(log) == ["a", "a", "b", "b", "c"]


def test_waiting_for_nothing_continues_at_once_and_long_chains_do_not_recurse() -> None:
    def flow() -> Flow[None]:
        assert (yield from ask([])) == []
        assert (yield from together([])) == []
        for _ in range(5000):
            yield from ask([request("a")])

    assert run(flow(), random.Random(1)) == ["a"]


def test_a_flow_may_start_another_that_nobody_waits_for() -> None:
    flows, log = Flows(), list[str]()

    def beside() -> Flow[None]:
        yield from one("b", log)

    def flow() -> Flow[None]:
        flows.start(beside())
        yield from one("a", log)

    flows.start(flow())
    flows.receive(Result("nobody asked", "", None, False))
    for id in ("a", "b"):
        assert not flows.finished
        flows.receive(Result(id, "", None, False))
    assert flows.finished
    assert log == ["a", "b"]


def test_a_flow_that_plays_gets_each_result_as_it_comes_and_waits_for_what_that_makes_due() -> None:
    due = {"a": "cd", "b": "", "c": "e", "d": "", "e": ""}
    for seed in range(5):
        received: list[str] = []
        ended: list[list[str]] = []

        def receive(result: Result, received: list[str] = received) -> list[Request]:
            received.append(result.request_id)
            return [request(id) for id in due[result.request_id]]

        def flow(received: list[str] = received, ended: list[list[str]] = ended) -> Flow[None]:
            yield from play([request("a"), request("b")], receive)
            ended.append(list(received))

        assert sorted(run(flow(), random.Random(seed))) == list("abcde")
        assert sorted(received) == list("abcde")
        assert ended == [received]


def test_a_flow_that_plays_what_is_known_already_asks_nothing() -> None:
    received: list[str] = []

    def receive(result: Result) -> list[Request]:
        received.append(result.text)
        return [request("b")] if result.request_id == "a" else []

    def flow() -> Flow[None]:
        yield from ask([request("a"), request("b")])
        yield from play([request("a")], receive)

    assert sorted(run(flow(), random.Random(1))) == ["a", "b"]
    assert received == ["A", "B"]
