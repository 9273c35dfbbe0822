"""The rounds of level 3 (paper, M3): teach every set, see what misled whom, write new sets, keep the best.

One `Search` is one arm of one independent run. It has training items alone: held-out items, and what the teacher
makes of them, are with scenarios/levels/iterate/level.py, which is told what was kept and tells nothing back. What is
drawn and selected is beam.py; what is asked, questions.py.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from scenarios.config.schema import Iterate
from scenarios.levels.base import Request, Result
from scenarios.levels.flow import Flow, ask, together
from scenarios.levels.iterate.author import Author, Reflection
from scenarios.levels.iterate.curriculum import joined, line_up
from scenarios.levels.iterate.requests import ExemplarSetRequests, Stage
from scenarios.levels.iterate.selection import TrainScore, best, deal, draw, draw_set
from scenarios.records.confusion import Confusion, confusion
from scenarios.records.iterate import Arm, ArmRun, ExemplarSet, FailureCase, IterateRoundRecord, OwnAnswers, Revision
from scenarios.tasks.problems import Problem, folded


class SearchMaterial(NamedTuple):
    """What a search learns from."""

    train: tuple[Problem, ...]
    held_out: frozenset[str]
    """Folded texts that no written set may hold. Texts alone: nothing here could be scored on them."""


class _Taught(NamedTuple):
    """What one set came to in a round."""

    students: dict[str, Confusion]
    answers: dict[str, OwnAnswers]
    reflections: tuple[Reflection, ...]
    revisions: tuple[Revision, ...]


class Search:
    """One arm of one independent run.

    Args:
        settings: `scenario.iterate`.
        seed: of the class.
        requests: makes the requests.
        training: what it learns from.
        arm: what it is called.
        run: which independent run, from 0.
        learners: who sits the exams, the teacher perhaps among them; nobody: a search without students.
        kept: called after every round with its number and the best set.
        budget: requests after which it ends instead of after `settings.rounds`; 0: none.
    """

    def __init__(
        self,
        settings: Iterate,
        seed: int,
        requests: ExemplarSetRequests,
        training: SearchMaterial,
        *,
        arm: Arm,
        run: int,
        learners: Sequence[str],
        kept: Callable[["Search", IterateRoundRecord], None],
        budget: int = 0,
    ) -> None:
        self._settings = settings
        self._seed = seed
        self._requests = requests
        self._train = training.train
        self.arm = arm
        self.run = run
        self.learners = tuple(learners)
        self._line_up: tuple[str, ...] = ()
        """The learners in the order they join in, once that is known."""
        self._kept = kept
        self._budget = budget
        self._folded = {problem.id: folded(problem.text) for problem in self._train}
        self._author = Author(
            settings,
            requests,
            self._ask,
            run=run,
            forbidden=training.held_out,
            unseen=set(self._folded.values()),
        )
        self._gold = {problem.id: problem.answer for problem in self._train}
        # Drawn regardless of the students' items: on those alone, sets written from their mistakes would look too good.
        self._to_score = draw(self._train, settings.score_items, seed, run, "score")
        self._blind = Counter[str]()
        """Revisions without students, by set: a set that is revised again is revised otherwise."""
        self.asked: set[str] = set()
        self.rounds: list[IterateRoundRecord] = []
        self.sets: dict[str, ExemplarSet] = {}
        self.scores: dict[str, TrainScore] = {}
        self._own: dict[str, OwnAnswers] = {}

    def course(self, held_out: dict[str, Confusion]) -> ArmRun:
        """All that is known now; `held_out` is put in and not looked at."""
        train = {key: score.answers for key, score in self.scores.items()}
        rounds = tuple(self.rounds)
        best = [round.selected[0] for round in (*rounds[:1], *rounds[-1:]) if round.selected]
        own = {key: self._own[key] for key in best}
        return ArmRun(self.arm, self.run, rounds, dict(self.sets), train, held_out, len(self.asked), own)

    def own(self, requests: Sequence[Request]) -> list[Request]:
        """These requests, as asked for this arm and run."""
        return [replace(request, arm=self.arm, run=self.run) for request in requests]

    def flow(self) -> Flow[None]:
        """The whole of it."""
        current = yield from self._start()
        while self._goes_on(current):
            current = yield from self._round(current)

    def draws(self, number: int) -> Flow[None]:
        """The baseline without a teacher's writing: `number` sets of training items, and the same selection."""
        sets = [draw_set(self._train, self._settings.exemplars, self._seed, self.run, "random", n)
                for n in range(number)]  # fmt: skip
        yield from self._select(0, (), {}, sets, [], [])

    # --- the steps --------------------------------------------------------------------------------------

    def _goes_on(self, current: Sequence[ExemplarSet]) -> bool:
        if not current:
            return False
        if self._budget:  # every round asks for something new, so it will be reached
            return len(self.asked) < self._budget
        return len(self.rounds) <= self._settings.rounds

    def _start(self) -> Flow[list[ExemplarSet]]:
        """The sets of the beginning: written from the description, or training items."""
        settings = self._settings
        written: list[Revision] = []
        sets: list[ExemplarSet] = []
        if settings.start == "description":
            pairs = yield from together([self._author.revise(None, (), (), n, 0) for n in range(settings.beam)])
            written = [revision for revision, _ in pairs]
            sets = [made for _, made in pairs if made]
        if not sets:
            # Where nothing that the teacher wrote can be used, training items are what there is to start from.
            sets = [draw_set(self._train, settings.exemplars, self._seed, self.run, "start", n)
                    for n in range(settings.beam)]  # fmt: skip
        return (yield from self._select(0, (), {}, sets, written, []))

    def _round(self, current: Sequence[ExemplarSet]) -> Flow[list[ExemplarSet]]:
        number = len(self.rounds)
        items = self._minibatch(number)
        shares = self._revisions(len(current))
        learning = yield from self._joined(current, items, number)
        taught = yield from together(
            [self._teach(one, items, share, number, learning) for one, share in zip(current, shares, strict=True)]
        )
        revisions = [revision for one in taught for revision in one.revisions]
        made = [self.sets[revision.made] for revision in revisions if revision.made]
        reflections = [reflection for one in taught for reflection in one.reflections]
        sat = {one.key: what for one, what in zip(current, taught, strict=True)}
        return (yield from self._select(number, current, sat, made, revisions, reflections, learning))

    def _select(
        self,
        number: int,
        current: Sequence[ExemplarSet],
        sat: dict[str, _Taught],
        made: Sequence[ExemplarSet],
        revisions: Sequence[Revision],
        reflections: Sequence[Reflection],
        learning: tuple[str, ...] = (),
    ) -> Flow[list[ExemplarSet]]:
        """Keep the best of the current sets and the new ones; the current ones where none can be kept."""
        candidates = list({one.key: one for one in (*current, *made)}.values())
        scores = yield from together([self._score(one, number) for one in candidates])
        kept = best(scores, self._settings.beam, self._seed) or list(current)
        self.rounds.append(
            IterateRoundRecord(
                number=number,
                taught=tuple(one.key for one in current),
                students={key: taught.students for key, taught in sat.items()},
                answers={key: taught.answers for key, taught in sat.items()},
                revisions=tuple(revisions),
                reflections=sum(not one.dropped for one in reflections),
                dropped_reflections=dict(Counter(one.dropped for one in reflections if one.dropped)),
                scored=tuple(one.key for one in candidates),
                selected=tuple(one.key for one in kept),
                learning=learning,
                items=tuple(item.id for item in self._minibatch(number)) if number and self.learners else (),
            )
        )
        self._kept(self, self.rounds[-1])
        return kept

    def _joined(self, current: Sequence[ExemplarSet], items: Sequence[Problem], number: int) -> Flow[tuple[str, ...]]:
        """Who learns in this round. The first round's exams say who is strong; nobody sits them twice."""
        order = self._settings.curriculum
        if order == "all":
            return self.learners
        if not self._line_up:
            sat = yield from together([self._sit(who, one, items, number) for one in current for who in self.learners])
            answers = dict.fromkeys(self.learners, Confusion())
            for who, (one, _, _) in zip(self.learners * len(current), sat, strict=True):
                answers[who] += one
            self._line_up = line_up(order, answers, self._seed, self.run, "curriculum")
        return joined(order, self._line_up, number, self._settings.rounds)

    def _teach(
        self, material: ExemplarSet, items: Sequence[Problem], revisions: int, number: int, learning: tuple[str, ...]
    ) -> Flow[_Taught]:
        """Steps 1 to 4 for one set, and its new sets scored as they come."""
        sitting = self.learners if number == 1 else learning
        exams = yield from together([self._sit(who, material, items, number) for who in sitting])
        failures = [case for _, _, failed in exams for case in failed if case.student in learning]
        students = {who: counted for who, (counted, _, _) in zip(sitting, exams, strict=True)}
        answers = {who: own for who, (_, own, _) in zip(sitting, exams, strict=True)}
        if not self.learners:
            first = self._blind[material.key]
            self._blind[material.key] += revisions
            written = yield from together([self._grow(material, (), (), first + n, number) for n in range(revisions)])
            return _Taught(students, answers, (), tuple(written))
        settings = self._settings
        what = (self._seed, self.run, "failures", number, material.key)
        hands = deal(failures, settings.reflections, settings.mistakes, *what)
        times = [hands[:n].count(hand) for n, hand in enumerate(hands)]
        reflections = yield from together(
            [self._author.reflect(material, hand, again, number) for hand, again in zip(hands, times, strict=True)]
        )
        usable = [reflection for reflection in reflections if not reflection.dropped]
        if settings.mix and usable:
            shown = tuple(sorted({failure for one in usable for failure in one.failures}))
            usable = [Reflection(shown, tuple(dict.fromkeys(reason for one in usable for reason in one.reasons)))]
        plans = [usable[n % len(usable)] for n in range(revisions)] if usable else []
        written = yield from together(
            [
                self._grow(material, plan.failures, plan.reasons, plans[:n].count(plan), number)
                for n, plan in enumerate(plans)
            ]
        )
        return _Taught(students, answers, tuple(reflections), tuple(written))

    def _sit(
        self, who: str, material: ExemplarSet, items: Sequence[Problem], number: int
    ) -> Flow[tuple[Confusion, OwnAnswers, list[FailureCase]]]:
        """One learner's exam, and what it got wrong. A request that failed is no answer and no failure case."""
        requests, results = yield from self._exam(who, material, items, "exam", number)
        failed = [
            FailureCase(request.ep, who, request.id)
            for request, result in zip(requests, results, strict=True)
            if not result.failed and not self._right(request, result)
        ]
        return self._confusion(requests, results), self._marked(requests, results), failed

    def _score(self, material: ExemplarSet, number: int) -> Flow[TrainScore]:
        """Step 5: the teacher's own answers to training items, with this set."""
        if material.key not in self.scores:
            self.sets[material.key] = material
            teacher = self._requests.teacher
            requests, results = yield from self._exam(teacher, material, self._to_score, "score", number)
            self.scores[material.key] = TrainScore(material, self._confusion(requests, results), len(requests))
            self._own[material.key] = self._marked(requests, results)
        return self.scores[material.key]

    def _exam(
        self, who: str, material: ExemplarSet, items: Sequence[Problem], stage: Stage, number: int
    ) -> Flow[tuple[list[Request], list[Result]]]:
        # An item that stands in the set with its answer would be no question.
        told = {folded(exemplar.problem) for exemplar in material.exemplars}
        asked = [item for item in items if self._folded[item.id] not in told]
        requests = self._requests.exams(who, material, asked, stage, self.run, number)
        return requests, (yield from self._ask(requests))

    def _grow(
        self,
        material: ExemplarSet,
        failures: tuple[FailureCase, ...],
        reasons: tuple[str, ...],
        repeat: int,
        number: int,
    ) -> Flow[Revision]:
        """Write a set from another, and score it."""
        revision, made = yield from self._author.revise(material, failures, reasons, repeat, number)
        if made:
            self.sets.setdefault(made.key, made)
            yield from self._score(made, number)
        return revision

    # --- small parts ------------------------------------------------------------------------------------

    def _ask(self, requests: Sequence[Request]) -> Flow[list[Result]]:
        self.asked.update([request.id for request in requests])
        return (yield from ask(self.own(requests)))

    def _revisions(self, sets: int) -> list[int]:
        """New sets for each current set: fewer at the end of a search that has only so many requests left."""
        most = self._settings.revisions
        if not self._budget:
            return [most] * sets
        left = min(most * sets, -(-(self._budget - len(self.asked)) // (1 + len(self._to_score))))
        return [left // sets + (n < left % sets) for n in range(sets)]

    def _minibatch(self, number: int) -> tuple[Problem, ...]:
        return draw(self._train, self._settings.minibatch, self._seed, self.run, "minibatch", number)

    def _right(self, request: Request, result: Result) -> bool:
        return result.answer is not None and result.answer.casefold() == self._gold[request.ep].casefold()

    def _marked(self, requests: Sequence[Request], results: Sequence[Result]) -> OwnAnswers:
        return OwnAnswers.of(
            (request.ep, self._right(request, result))
            for request, result in zip(requests, results, strict=True)
            if not result.failed
        )

    def _confusion(self, requests: Sequence[Request], results: Sequence[Result]) -> Confusion:
        return confusion(
            (self._gold[request.ep], result.answer)
            for request, result in zip(requests, results, strict=True)
            if not result.failed
        )
