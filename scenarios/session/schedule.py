"""The schedule of a class on paper: who answers which request when, by a clock that jumps from event to event.

A request runs as soon as its agent has a place for it; an answered rationale makes its exams due. All requests of one
kind are equally long, so those that begin together end together and are one event: the paper's class of 881,000
requests takes milliseconds. Nothing here knows scenarios or models; scenarios/session/time_estimate.py does.
"""

import heapq
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from itertools import count

import msgspec


class ProcessSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast one process of an agent answers."""

    agent: str
    """The agent whose requests it answers; several processes share them evenly."""
    devices: tuple[str, ...] = ()
    """What it shares with other processes: its GPUs, or `CPU`. While several compute, each has an equal share."""
    at_once: int
    """Requests that it runs at once."""
    tokens_per_second: float
    """Completion tokens per second of all requests together, with `measured_with` requests at once or more."""
    measured_with: int
    alone: float
    """Completion tokens per second of a request that runs alone."""
    prompt_tokens_per_second: float = 0.0
    """Prompt tokens that it computes per second, with `measured_with` requests at once or more; 0: `tokens_per_second`
    includes the work for prompts."""
    source: str = ""

    def each(self, running: float) -> float:
        """Tokens per second of each of `running` requests: the time of a step grows linearly up to `measured_with`."""
        full = self.measured_with / self.tokens_per_second
        if running >= self.measured_with:
            return self.tokens_per_second / running
        grown = max(0.0, running - 1) / max(1, self.measured_with - 1)
        return 1 / (1 / self.alone + grown * (full - 1 / self.alone))

    def work(self, completion: float, fresh: float) -> float:
        """Completion tokens that take as long as a request with `fresh` prompt tokens that are in no cache."""
        if not self.prompt_tokens_per_second:
            return completion
        return completion + fresh * self.tokens_per_second / self.prompt_tokens_per_second


class RequestGroup(msgspec.Struct, frozen=True):
    """Equal requests to one agent."""

    agent: str
    number: int
    """In `then`: for each answered request of the group before."""
    completion: float
    """Tokens of one completion."""
    fresh: float = 0.0
    """Tokens of one prompt that are in no cache, on average."""
    then: tuple["RequestGroup", ...] = ()
    """What each answer makes due."""


class AgentTime(msgspec.Struct, frozen=True):
    """What an agent did, over all its processes."""

    requests: int
    busy_s: float
    """Seconds in which it had a request, as a mean over its processes."""
    running: float
    """Mean number of requests at once over these seconds, in each process."""
    ended_s: float
    """When it gave its last answer."""


class Schedule(msgspec.Struct, frozen=True):
    """A class that was played."""

    seconds: float
    agents: dict[str, AgentTime]
    turns: int
    """How often another agent got the machine; 0 unless agents take turns."""


def play(groups: Sequence[RequestGroup], speeds: Sequence[ProcessSpeed], *, in_turn: Collection[str] = ()) -> Schedule:
    """Play a class from `groups`, which are due at the start.

    Args:
        groups: in the order in which they are sent; every agent in them has a process.
        speeds: the processes, in the order in which their agents take turns.
        in_turn: the agents that take turns: one runs until it has nothing left to answer. The others run all the time.
    """
    agents = {one.agent: _Agent([each for each in speeds if each.agent == one.agent]) for one in speeds}
    for group in groups:
        agents[group.agent].waiting.append((group.number, group))
    numbers, now, turns = count(), 0.0, 0
    current: _Agent | None = None
    while any(agent.has_work for agent in agents.values()):
        waiting = [agent for name, agent in agents.items() if name in in_turn and agent.has_work]
        if waiting and not (current and current.has_work):
            current, turns = waiting[0], turns + 1
        present = [agent for name, agent in agents.items() if name not in in_turn or agent is current]
        for agent in present:
            agent.begin(numbers)
        working = [agent for agent in present if agent.running]
        load = Counter(device for agent in working for one in agent.processes for device in one.devices)
        paces = {id(agent): agent.pace(load) for agent in working}
        first = min(working, key=lambda agent: (agent.rows[0][0] - agent.done) / paces[id(agent)])
        passed = (first.rows[0][0] - first.done) / paces[id(first)]
        now += passed
        for agent in working:
            agent.pass_time(passed, agent.rows[0][0] if agent is first else agent.done + passed * paces[id(agent)])
            for number, group in agent.ended(now):
                for due in group.then:
                    agents[due.agent].waiting.append((number * due.number, due))
    return Schedule(now, {name: agent.time() for name, agent in agents.items()}, turns)


class _Agent:
    """The requests of one agent: those that wait and those that run."""

    def __init__(self, processes: Sequence[ProcessSpeed]) -> None:
        self.processes = processes
        self.waiting: deque[tuple[int, RequestGroup]] = deque()
        self.rows: list[tuple[float, int, int, RequestGroup]] = []
        """A heap of requests that began together: at which value of `done` they end, a number to compare, how many."""
        self.done = 0.0
        """Tokens that a request would have which ran from the start; all requests of an agent are equally fast."""
        self.running = 0
        self._places = sum(one.at_once for one in processes)
        self._answered, self._busy_s, self._running_s, self._ended_s = 0, 0.0, 0.0, 0.0

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.rows)

    def begin(self, numbers: "count[int]") -> None:
        """Let requests run while there are places."""
        while self.waiting and self.running < self._places:
            number, group = self.waiting.popleft()
            now = min(number, self._places - self.running)
            if now < number:
                self.waiting.appendleft((number - now, group))
            ends = self.done + self.processes[0].work(group.completion, group.fresh)
            heapq.heappush(self.rows, (ends, next(numbers), now, group))
            self.running += now

    def pace(self, load: Mapping[str, int]) -> float:
        """Tokens per second of each request, when so many processes compute on each device."""
        running = self.running / len(self.processes)
        paces = [one.each(running) / max((load[device] for device in one.devices), default=1) for one in self.processes]
        return sum(paces) / len(paces)

    def pass_time(self, seconds: float, done: float) -> None:
        each = self.running / len(self.processes)
        self._busy_s += seconds * min(1.0, each)
        self._running_s += seconds * each
        self.done = done

    def ended(self, now: float) -> list[tuple[int, RequestGroup]]:
        """Remove the requests that are answered."""
        found = []
        while self.rows and self.rows[0][0] <= self.done:
            _, _, number, group = heapq.heappop(self.rows)
            self.running -= number
            self._answered += number
            self._ended_s = now
            found.append((number, group))
        return found

    def time(self) -> AgentTime:
        mean = self._running_s / self._busy_s if self._busy_s else 0.0
        return AgentTime(self._answered, self._busy_s, mean, self._ended_s)
