"""Builds requests: the only place that makes them and their ids.

An id is a digest of everything that decides a completion: kind, answerer, material, problem, sampling, repeat. It does
not depend on a level, round or stage, so equal questions share one request.
"""

from collections import Counter

from broker.protocol import digest
from broker.work_messages import Sampling
from scenarios.levels.base import Request, Setup
from scenarios.tasks.problems import Problem

UNSAMPLED = Sampling(temperature=0.0, max_tokens=0)
"""Sampling of a `Grade`, for which nothing is drawn."""


class Asker:
    """Builds the requests of one level, for a teacher with the weights of `setup`.

    Identical students (same model, persona, engine and sampling) would give the same answer to the same request. So
    each takes its own repeat of a question: the first student of a group repeat 0, the second repeat 1, and so on.

    Args:
        setup: what the level is made from.
        level: the level that the requests are recorded under.
        own_sampling: true: requests are drawn with each student's own sampling. false: they are not, so students that
            differ only in their sampling count as identical.
    """

    def __init__(self, setup: Setup, level: int = 1, *, own_sampling: bool = True) -> None:
        self._setup = setup
        self._level = level
        self._teacher = setup.scenario.teacher.name
        scenario = setup.scenario
        group_of = {
            one.name: (setup.answerers[one.name], scenario.sampling_of(one) if own_sampling else None)
            for one in scenario.students
        }
        group_sizes = Counter[tuple[str, Sampling | None]]()
        self._rank: dict[str, int] = {}
        for student, group in group_of.items():
            self._rank[student] = group_sizes[group]
            group_sizes[group] += 1
        self._identical = {student: group_sizes[group] for student, group in group_of.items()}
        self.largest_group = max(group_sizes.values(), default=1)
        """Size of the largest group of identical students."""

    def identical(self, student: str) -> int:
        """Number of students that are identical to this one, itself included."""
        return self._identical[student]

    def key(self, kind: str, agent: str, *parts: object) -> str:
        """Digest of a kind of question to an agent; `parts` is what its questions have in common."""
        return digest(kind, self._setup.answerer(agent), *parts)

    def teach(
        self, problem: Problem, stage: str, sampling: Sampling, *, round: int = 0, repeat: int = 0, step: int = 1
    ) -> Request:
        """A request to the teacher to solve a problem."""
        common = (sampling, self._setup.scenario.seed, self._setup.bank.demonstrations)
        key = digest(self.key("Teach", self._teacher, *common), problem.text, problem.form)
        return self.request(
            "Teach", self._teacher, stage, sampling, key, tp=problem.id, round=round, repeat=repeat, step=step
        )

    def request(
        self,
        kind: str,
        to: str,
        stage: str,
        sampling: Sampling,
        key: str,
        *,
        tp: str = "",
        tr: str = "",
        ep: str = "",
        round: int = 0,
        repeat: int = 0,
        step: int = 1,
        shared: bool = False,
    ) -> Request:
        """The request with this key, as the wanted repeat or the next one that is not retried already.

        `key` is a digest of everything that decides the completion except the repeat. `repeat` does not count the
        student's place among identical ones, which is added here unless they share one answer (`shared`). `step` is
        the distance from a failed repeat to the next one to try: others may own the repeats between. The other
        parameters are fields of `Request`.
        """
        repeat += 0 if shared else self._rank.get(to, 0)
        while (id := digest(key, repeat)) in self._setup.retried:
            repeat += step
        weights = self._setup.weights if to == self._teacher else ""
        return Request(id, kind, to, stage, sampling, tp, tr, ep, repeat, round, self._level, weights)
