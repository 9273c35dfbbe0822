"""Level 2, learning (M2): the teacher is trained on what its students could learn from, round after round.

A round is a class of level 1, its scores made into preference pairs, a training for each arm, and a measurement of
the teachers that result (paper, section 4). The next round starts from the new teacher.
"""

from collections import Counter
from collections.abc import Mapping

from broker.work_messages import Message
from scenarios.levels.base import MessageWithFile, Outcome, Request, Result, Setup, Step, TextOf
from scenarios.levels.flow import Flows
from scenarios.levels.learn.round import LearnRound


class LearnLevel:
    """The state machine of level 2.

    Args:
        setup: what it is made from.
        before: outcome of the levels before. The lessons of level 1 are those of the first round.
    """

    def __init__(self, setup: Setup, before: Outcome | None = None) -> None:
        learn = setup.scenario.learn
        self._setup, self._lead, self._wanted = setup, learn.lead, learn.rounds
        self._flows = Flows()
        self._rounds = [LearnRound(setup, 1, self._flows, before.lessons or None if before else None)]
        self._later_round = LearnRound(setup, 2, Flows()).totals() if learn.rounds > 1 else Counter[str]()
        """Requests of a later round, as far as they are known before it begins."""
        self._shared = Counter[str]()
        """Requests by stage that were asked before, or by another part of their round."""

    def begin(self) -> Step:
        """The requests of the first round."""
        self._flows.start(self._rounds[0].flow())
        return self._step()

    def receive(self, result: Result) -> Step:
        """Continue with a result; after the last one of a round the next round begins, with the new teacher."""
        self._flows.receive(result)
        return self._step()

    def message(self, request: Request, text_of: TextOf) -> Message | MessageWithFile:
        """The message of a request, made by its round."""
        return self._rounds[request.round - 1].message(request, text_of)

    @property
    def finished(self) -> bool:
        """Whether the last round is over and no other follows."""
        return self._rounds[-1].over and self._flows.finished

    def totals(self) -> Mapping[str, int]:
        """Requests per stage. A round that has not begun counts as if all its TRs were distinct and usable."""
        rounds = [one.totals() for one in self._rounds]
        if not self.finished:
            rounds += [self._later_round] * (self._wanted - len(self._rounds))
        totals = Counter[str]()
        for one in rounds:
            totals.update(one)
        return {stage: requests - self._shared[stage] for stage, requests in totals.items()}

    def outcome(self) -> Outcome:
        """The first round's lessons, all rounds, and the weights of the last teacher."""
        last = len(self._rounds) - 1
        rounds = tuple(one.outcome(finished=n < last or self.finished) for n, one in enumerate(self._rounds))
        weights = self._rounds[last].taught_by(self._lead) if self.finished else ""
        return Outcome(lessons=rounds[0].lessons, learnt=rounds, weights=weights or rounds[last].weights)

    def _step(self) -> Step:
        """Begin the next round if one is due. Without new weights another round would only repeat the last one."""
        while self.finished and len(self._rounds) < self._wanted:
            weights = self._rounds[-1].taught_by(self._lead)
            if not weights:
                break
            self._rounds.append(LearnRound(self._setup.with_weights(weights), len(self._rounds) + 1, self._flows))
            self._flows.start(self._rounds[-1].flow())
        feedback = [due for one in self._rounds for due in one.feedback]
        for one in self._rounds:
            one.feedback.clear()
        self._shared.update(request.stage for request in self._flows.take_shared())
        return Step(requests=self._flows.take(), feedback=tuple(feedback))
