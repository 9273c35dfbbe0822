"""The requests of a class that are due and have no result: which were sent, and which wait in the classroom."""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from scenarios.levels.base import Request


class DueRequests:
    """Requests without a result.

    Args:
        pools: by name of an agent in requests: the pool that is sent them. Copies of a student share one.
    """

    def __init__(self, pools: Mapping[str, str]) -> None:
        self._pools = pools
        self._due: dict[str, Request] = {}
        # In an OrderedDict the first entry is found in constant time, however many were removed before it.
        self._backlog: dict[str, OrderedDict[str, Request]] = defaultdict(OrderedDict)
        """Those that are not sent, by pool."""
        self.outstanding = Counter[str]()
        """Number of requests without a result by pool."""

    def __len__(self) -> int:
        return len(self._due)

    def get(self, request_id: str) -> Request | None:
        """The request with this id, if it is due."""
        return self._due.get(request_id)

    def add(self, requests: Iterable[Request]) -> None:
        """Add requests, to be sent after the others of their pool."""
        for request in requests:
            pool = self._pools[request.to]
            self._due[request.id] = self._backlog[pool][request.id] = request
            self.outstanding[pool] += 1

    def to_send(self, most: Callable[[str], int]) -> Iterator[tuple[str, Request]]:
        """Each pool and its next request, until every pool has as many requests that were sent as `most` says."""
        for pool, backlog in self._backlog.items():
            limit = most(pool)
            while backlog and self.outstanding[pool] - len(backlog) < limit:
                yield pool, backlog.popitem(last=False)[1]

    def remove(self, request_id: str) -> Request:
        """Remove a request, sent or not, since it has a result or is not to be asked."""
        request = self._due.pop(request_id)
        pool = self._pools[request.to]
        self._backlog[pool].pop(request_id, None)
        self.outstanding[pool] -= 1
        return request

    def of(self, agent: str) -> list[Request]:
        """The requests to the agent of this name."""
        return [request for request in self._due.values() if request.to == agent]

    def sent(self) -> list[str]:
        """Ids of the requests that were sent."""
        return [id for id, request in self._due.items() if id not in self._backlog[self._pools[request.to]]]

    def withdraw(self) -> list[str]:
        """Let those that were sent wait again, before all others; returns their ids."""
        ids = self.sent()
        for id in reversed(ids):
            backlog = self._backlog[self._pools[self._due[id].to]]
            backlog[id] = self._due[id]
            backlog.move_to_end(id, last=False)
        return ids
