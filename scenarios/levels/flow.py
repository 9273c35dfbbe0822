"""Flows: sequences of questions written as generators, and the state machine that runs many of them side by side.

A flow yields what it waits for, requests or other flows, and continues when all of it is there. Results come back in
the order of the requests, so that no flow depends on the order of arrival. A request that two flows want is due once,
and one that was answered is never due again. Nothing here depends on what is asked.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from scenarios.levels.base import Request, Result

T = TypeVar("T")
Receive = Callable[[Result], Sequence[Request]]


class _Play(NamedTuple):
    """A wait for requests and for those that their results make due."""

    requests: tuple[Request, ...]
    receive: Receive


_Wait = tuple[Request, ...] | list["Flow[Any]"] | _Play
Flow = Generator[_Wait, Any, T]
"""A generator that returns a T."""


def ask(requests: Iterable[Request]) -> Flow[list[Result]]:
    """The results of these requests, in their order."""
    results: list[Result] = yield tuple(requests)
    return results


def together(flows: Iterable[Flow[T]]) -> Flow[list[T]]:
    """Run these flows side by side; returns what each returns, in their order."""
    returned: list[T] = yield list(flows)
    return returned


def play(requests: Iterable[Request], receive: Receive) -> Flow[None]:
    """Ask these requests and those that `receive` returns for each result, until none is left.

    `receive` gets each result as it arrives, so what it does must not depend on their order.
    """
    yield _Play(tuple(requests), receive)


class _Task:
    """A flow that runs."""

    __slots__ = ("flow", "open", "place", "receive", "results", "then")

    def __init__(self, flow: Flow[Any], then: "_Task | None", place: int) -> None:
        self.flow = flow
        self.then = then
        """The task that waits for the flow's end."""
        self.place = place
        """Place among the results of `then`."""
        self.results: list[Any] = []
        self.open = 0
        """Number of missing results."""
        self.receive: Receive | None = None
        """Gets each result as it arrives, instead of `results`."""


class Flows:
    """Runs flows; `take` returns the requests that have become due.

    The texts of exam answers are not kept: they are many, and are looked up where a teacher is shown one.
    """

    def __init__(self) -> None:
        self._known: dict[str, Result] = {}
        self._waiting: dict[str, list[tuple[_Task, int]]] = {}
        self._asked: dict[str, Request] = {}
        """Requests that are due and not answered."""
        self._due: list[Request] = []
        self._shared: list[Request] = []
        self._ready: deque[tuple[_Task, Any]] = deque()
        self._running = False

    def start(self, flow: Flow[None]) -> None:
        """Run a flow beside all others. A flow may start another one that it does not wait for."""
        self._ready.append((_Task(flow, None, 0), None))
        if not self._running:
            self._run()

    def receive(self, result: Result) -> None:
        """Continue the flows that waited for this result alone; a result that none awaits changes nothing."""
        request = self._asked.pop(result.request_id, None)
        if request is None:
            return
        kept = self._known[request.id] = replace(result, text="") if request.kind == "Examine" else result
        for task, place in self._waiting.pop(request.id):
            self._give(task, place, kept)
        if not self._running:
            self._run()

    def take(self) -> tuple[Request, ...]:
        """Requests that became due since the last call, in the order they were asked."""
        due, self._due = tuple(self._due), []
        return due

    def take_shared(self) -> tuple[Request, ...]:
        """Requests that were asked again since the last call: their results are known or awaited."""
        shared, self._shared = tuple(self._shared), []
        return shared

    def asked(self, request_id: str) -> bool:
        """Whether this was ever asked."""
        return request_id in self._known or request_id in self._asked

    @property
    def finished(self) -> bool:
        """Whether every flow has ended."""
        return not self._asked

    def _run(self) -> None:
        """Run all ready tasks: in a loop, since recursion would be deep where many results are known already."""
        self._running = True
        while self._ready:
            self._continue(*self._ready.popleft())
        self._running = False

    def _continue(self, task: _Task, sent: Any) -> None:
        try:
            wait = task.flow.send(sent)
        except StopIteration as end:
            if task.then is not None:
                self._give(task.then, task.place, end.value)
            return
        requests, task.receive = (wait.requests, wait.receive) if isinstance(wait, _Play) else (wait, None)
        task.open = len(requests)
        task.results = [None] * len(requests)
        if not requests:
            self._ready.append((task, []))
        elif isinstance(requests, tuple):
            self._ask(task, requests)
        else:
            self._ready.extend((_Task(flow, task, place), None) for place, flow in enumerate(requests))

    def _ask(self, task: _Task, requests: Sequence[Request]) -> None:
        for place, request in enumerate(requests):
            if self.asked(request.id):
                self._shared.append(request)
            if (known := self._known.get(request.id)) is not None:
                self._give(task, place, known)
                continue
            if request.id not in self._asked:
                self._asked[request.id] = request
                self._due.append(request)
            self._waiting.setdefault(request.id, []).append((task, place))

    def _give(self, task: _Task, place: int, value: Any) -> None:
        if task.receive is not None:
            more = task.receive(value)
            task.open += len(more)
            self._ask(task, more)
        else:
            task.results[place] = value
        task.open -= 1
        if not task.open:
            self._ready.append((task, task.results))
