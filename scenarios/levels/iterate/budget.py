"""Number of requests of level 3 by stage, for plans and for the totals that the monitor shows.

Stages: `exam`, the students' answers; `reflect` and `write`, the teacher's texts; `score` and `test`, the teacher's own
answers to training and to held-out items.
"""

from collections import Counter

import msgspec

from scenarios.config.iterate_schema import Iterate
from scenarios.config.schema import Scenario
from scenarios.levels.iterate.curriculum import joined

STAGES = ("exam", "reflect", "write", "score", "test")


def originals(scenario: Scenario) -> int:
    """Number of TRs per TP that may be rewritten, where rationales are."""
    return scenario.iterate.originals or -(-scenario.lesson.rationales // 2)


class Amounts(msgspec.Struct, frozen=True):
    """Requests of one search in which all sets are distinct and usable, and every exam has mistakes."""

    settings: Iterate
    learners: int
    train: int
    """Training items."""
    held_out: int
    """Items of dev and test."""

    @property
    def start(self) -> Counter[str]:
        """Before the first round."""
        beam = self.settings.beam
        written = beam if self.settings.start == "description" else 0
        return Counter(write=written, score=beam * self._score, test=self.held_out)

    @property
    def round(self) -> Counter[str]:
        """One round."""
        one = self.settings
        return Counter(
            exam=one.beam * min(one.minibatch, self.train) * self.learners,
            reflect=one.beam * one.reflections if self.learners else 0,
            write=one.beam * one.revisions,
            score=one.beam * one.revisions * self._score,
            test=self.held_out,
        )

    @property
    def search(self) -> Counter[str]:
        """Start and rounds, as if every round had another best set."""
        total = self.start
        one = self.settings
        for number in range(1, one.rounds + 1):
            total += self.round
            if number > 1:
                late = self.learners - len(joined(one.curriculum, range(self.learners), number, one.rounds))
                total["exam"] -= one.beam * min(one.minibatch, self.train) * late
        return total

    @property
    def random(self) -> Counter[str]:
        """The baseline of random sets: as many as the search scores."""
        sets = self.settings.beam * (1 + self.settings.rounds * self.settings.revisions)
        return Counter(score=sets * self._score, test=self.held_out)

    def baselines(self) -> Counter[str]:
        """All baselines of the scenario."""
        total = Counter[str]()
        if "random" in self.settings.baselines:
            total += self.random
        if "self" in self.settings.baselines:
            total += msgspec.structs.replace(self, learners=1).search
        if "search" in self.settings.baselines:
            # As many requests as the class, nearly all of them answers of the teacher.
            spent = self.search
            score = spent.total() - spent["test"]
            writes = score // (1 + self._score)
            total += Counter(write=writes, score=score - writes, test=spent["test"])
        return total

    @property
    def whole(self) -> Counter[str]:
        """The whole class with all its independent runs, without second requests for unusable texts."""
        one = self.search + self.baselines()
        return Counter({stage: count * self.settings.repeats for stage, count in one.items()})

    @property
    def at_most(self) -> Counter[str]:
        """The same with every text asked for twice, and all ancestors of the last best set examined, too."""
        whole = self.whole
        return whole + Counter({stage: whole[stage] for stage in ("reflect", "write", "test")})

    @property
    def _score(self) -> int:
        return min(self.settings.score_items, self.train)
