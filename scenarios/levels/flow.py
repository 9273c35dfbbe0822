"""Flows: what is asked one after the other, written as generators, and the state machine that runs many at once.

A flow yields what it waits for, requests or other flows, and goes on when all of it is there; results come back in
the order they were asked for, so that no flow sees an order of arrival. A request that two flows want is due once,
and one that was answered is never due again. Nothing here knows what is asked.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, TypeVar

from scenarios.levels.base import Request, Result

T = TypeVar("T")

_Wait = tuple[Request, ...] | list["Flow[Any]"]
Flow = Generator[_Wait, Any, T]
"""A generator that ends in a T."""


def ask(requests: Iterable[Request]) -> Flow[list[Result]]:
    """The results of these requests, in their order."""
    results: list[Result] = yield tuple(requests)
    return results


def together(flows: Iterable[Flow[T]]) -> Flow[list[T]]:
    """What these flows end in, in their order; they run side by side."""
    ended: list[T] = yield list(flows)
    return ended


class _Task:
    """A flow under way."""

    __slots__ = ("flow", "open", "place", "results", "then")

    def __init__(self, flow: Flow[Any], then: "_Task | None", place: int) -> None:
        self.flow = flow
        self.then = then
        """Who waits for its end."""
        self.place = place
        """Where among the results of `then` its end belongs."""
        self.results: list[Any] = []
        self.open = 0
        """How many of the results it waits for are missing."""


class Flows:
    """Runs flows; `take` says what has become due.

    Args:
        keep: what is remembered of a result, for whoever asks the same later.
    """

    def __init__(self, keep: Callable[[Request, Result], Result] = lambda _, result: result) -> None:
        self._keep = keep
        self._known: dict[str, Result] = {}
        self._waiting: dict[str, list[tuple[_Task, int]]] = {}
        self._asked: dict[str, Request] = {}
        """Due, and not answered yet."""
        self._due: list[Request] = []
        self._shared: list[Request] = []
        self._ready: deque[tuple[_Task, Any]] = deque()
        self._running = False

    def start(self, flow: Flow[None]) -> None:
        """Run `flow` beside all others; nobody waits for it. A flow may start another one."""
        self._ready.append((_Task(flow, None, 0), None))
        if not self._running:
            self._run()

    def receive(self, result: Result) -> None:
        """Go on with whatever waited for this result alone; one that is not awaited changes nothing."""
        request = self._asked.pop(result.request_id, None)
        if request is None:
            return
        kept = self._known[request.id] = self._keep(request, result)
        for task, place in self._waiting.pop(request.id):
            self._give(task, place, kept)
        self._run()

    def take(self) -> tuple[Request, ...]:
        """What became due since the last call, in the order it was asked for."""
        due, self._due = tuple(self._due), []
        return due

    def take_shared(self) -> tuple[Request, ...]:
        """What was asked again since the last call: its result is there, or awaited."""
        shared, self._shared = tuple(self._shared), []
        return shared

    def asked(self, request_id: str) -> bool:
        """Whether this was ever asked for."""
        return request_id in self._known or request_id in self._asked

    @property
    def finished(self) -> bool:
        """Whether every flow has ended."""
        return not self._asked

    def _run(self) -> None:
        """A loop and no recursion: chains of results that are known already may be long."""
        self._running = True
        while self._ready:
            self._go_on(*self._ready.popleft())
        self._running = False

    def _go_on(self, task: _Task, sent: Any) -> None:
        try:
            wait = task.flow.send(sent)
        except StopIteration as end:
            if task.then is not None:
                self._give(task.then, task.place, end.value)
            return
        task.results = [None] * len(wait)
        task.open = len(wait)
        if not wait:
            self._ready.append((task, []))
        elif isinstance(wait, tuple):
            self._ask(task, wait)
        else:
            self._ready.extend((_Task(flow, task, place), None) for place, flow in enumerate(wait))

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
        task.results[place] = value
        task.open -= 1
        if not task.open:
            self._ready.append((task, task.results))
