"""A level from which students can be dropped while the class runs (`run.py ctl RUN drop STUDENT`).

What a dropped student has answered counts; every other request to it fails at once and is never asked. So the level
still is a function of the recorded results, and of which students were dropped: resume and report come to the same.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from broker.work_messages import Message
from scenarios.config.schema import Scenario
from scenarios.levels import sequence
from scenarios.levels.base import Level, MessageWithFile, Outcome, Request, Result, Setup, Step, TextOf
from scenarios.scoring.lbt import Same
from scenarios.store.changes import changes
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank

DROPPED = "dropped"
"""Kind of the failure that the level receives for a request that is not asked."""


class SteeredLevel:
    """A level without its requests to dropped students.

    Args:
        level: the level of the whole class.
        dropped: the students that were dropped before.
        recorded: whether a request has a result, by its id.
    """

    def __init__(self, level: Level, dropped: Iterable[str], recorded: Callable[[str], bool]) -> None:
        self._level = level
        self._dropped = set(dropped)
        self._recorded = recorded
        self.not_asked = Counter[tuple[str, str]]()
        """Requests that are not asked, by student and stage."""
        self.exams_not_asked = Counter[str]()
        """Of them the exams of level 1, by TP."""

    def begin(self) -> Step:
        """What is due at the start."""
        return self._without_dropped(self._level.begin())

    def receive(self, result: Result) -> Step:
        """What becomes due with `result`."""
        return self._without_dropped(self._level.receive(result))

    def drop(self, student: str, awaited: Iterable[Request]) -> Step:
        """Ask a student nothing more. `awaited`: its requests that are due and have no result; they fail."""
        self._dropped.add(student)
        return self._without_dropped(Step(requests=tuple(awaited)))

    def message(self, request: Request, text_of: TextOf) -> Message | MessageWithFile:
        """The message of a request."""
        return self._level.message(request, text_of)

    @property
    def finished(self) -> bool:
        """Whether nothing is awaited and nothing more will be due."""
        return self._level.finished

    def totals(self) -> Mapping[str, int]:
        """Requests per stage, without those that are not asked."""
        totals = dict(self._level.totals())
        for (_, stage), count in self.not_asked.items():
            totals[stage] = max(0, totals.get(stage, 0) - count)
        return totals

    def outcome(self) -> Outcome:
        """Everything that is known now."""
        return self._level.outcome()

    def _without_dropped(self, step: Step) -> Step:
        if not self._dropped:
            return step
        asked: list[Request] = []
        pending = deque(step.requests)
        rest = replace(step, requests=())
        while pending:
            request = pending.popleft()
            if request.to not in self._dropped or self._recorded(request.id):
                asked.append(request)
                continue
            self.not_asked[request.to, request.stage] += 1
            self.exams_not_asked[request.tp] += request.stage == "exam" and request.level == 1
            more = self._level.receive(Result(request.id, "", None, False, failed=DROPPED))
            pending.extend(more.requests)
            rest += replace(more, requests=())
        return replace(rest, requests=tuple(asked))


def steered(
    scenario: Scenario, bank: Bank, store: Store, same: Same, answerers: Mapping[str, str] | None = None
) -> SteeredLevel:
    """The level of a recorded class, without the requests to students that were dropped.

    Args:
        scenario: the class.
        bank: its problems.
        store: its gradebook.
        same: whether two answers are equivalent.
        answerers: see `Setup`; None: as in the gradebook.
    """
    answerers = store.answerers() if answerers is None else answerers
    level = sequence.make(Setup(scenario, bank, answerers, store.given_up(), same=same))
    return SteeredLevel(level, changes(store).dropped, lambda id: store.find(id) is not None)
