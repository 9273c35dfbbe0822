"""Level 2, learning (M2): the teacher is trained on what its students could learn from, round after round.

A round is a class of level 1, its scores made into preference pairs, a training for each arm, and a measurement of
the teachers that came of them (paper, section 4); the next begins with the new teacher. What happens within a round
is learn_round.py, which TR is preferred to which scenarios/scoring/pairs.py.
"""

from collections.abc import Mapping

from broker.work_messages import Message
from scenarios.levels.base import MessageWithFile, Outcome, Request, Result, Setup, Step, TextOf
from scenarios.levels.learn.round import LearnRound


class LearnLevel:
    """The state machine of level 2.

    Args:
        setup: what it is made from.
        before: what came of the levels before. Lessons of level 1 are the first round's: nothing is asked twice.
    """

    def __init__(self, setup: Setup, before: Outcome | None = None) -> None:
        learn = setup.scenario.learn
        self._setup, self._wanted = setup, learn.rounds
        self._lead = learn.lead
        self._rounds = [LearnRound(setup, 1, before.lessons or None if before else None)]
        self._another = LearnRound(setup, 2).totals() if learn.rounds > 1 else {}
        """What a round after the first asks, as far as it is known before it has begun."""

    def begin(self) -> Step:
        """What the first round asks."""
        return self._rounds[-1].begin()

    def receive(self, result: Result) -> Step:
        """What the round at work makes of it; its last result makes the next round begin, with the new teacher."""
        last = self._rounds[-1]
        step = last.receive(result)
        if not last.finished or len(self._rounds) == self._wanted or not (weights := last.taught_by(self._lead)):
            return step
        self._rounds.append(LearnRound(self._setup.with_weights(weights), len(self._rounds) + 1))
        more = self._rounds[-1].begin()
        return Step(requests=(*step.requests, *more.requests), feedback=(*step.feedback, *more.feedback))

    def message(self, request: Request, text_of: TextOf) -> Message | MessageWithFile:
        """As its round says it."""
        return self._rounds[request.round - 1].message(request, text_of)

    @property
    def finished(self) -> bool:
        """Whether the last round is, or none can follow: without new weights it would be the same again."""
        last = self._rounds[-1]
        return last.finished and (len(self._rounds) == self._wanted or not last.taught_by(self._lead))

    def totals(self) -> Mapping[str, int]:
        """Requests per stage. A round that has not begun counts as if nothing surprising came in it."""
        totals: dict[str, int] = {}
        rounds = [one.totals() for one in self._rounds]
        if not self.finished:
            rounds += [self._another] * (self._wanted - len(self._rounds))
        for one in rounds:
            for stage, requests in one.items():
                totals[stage] = totals.get(stage, 0) + requests
        return totals

    def outcome(self) -> Outcome:
        """The first round's lessons, all rounds, and who teaches now."""
        rounds = tuple(one.outcome() for one in self._rounds)
        last = self._rounds[-1]
        return Outcome(
            lessons=rounds[0].lessons,
            learnt=rounds,
            weights=(last.taught_by(self._lead) if last.finished else "") or rounds[-1].weights,
        )
