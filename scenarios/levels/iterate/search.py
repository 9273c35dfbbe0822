"""The rounds of level 3 (paper, M3): examine every set, find what misled the students, write new sets, keep the best.

One `Search` is one arm of one independent run. It uses training items only: level.py examines the sets that were kept
on held-out items, and no result of those exams comes back here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from msgspec.structs import replace

from scenarios.config.iterate_schema import Iterate
from scenarios.levels.base import Request, Result
from scenarios.levels.flow import Flow, ask, together
from scenarios.levels.iterate.author import Author, Reflection
from scenarios.levels.iterate.curriculum import joined, line_up
from scenarios.levels.iterate.exam_results import exam_confusion, is_correct, own_answers
from scenarios.levels.iterate.requests import ExemplarSetRequests, Stage
from scenarios.levels.iterate.selection import TrainScore, best, distribute, draw, draw_set
from scenarios.records.confusion import Confusion
from scenarios.records.iterate import (
    Arm,
    ArmRun,
    BestAfter,
    ExemplarSet,
    FailureCase,
    IterateRoundRecord,
    OwnAnswers,
    Revision,
)
from scenarios.tasks.problems import Problem, folded


class SearchMaterial(NamedTuple):
    """Training data of a search."""

    train: tuple[Problem, ...]
    held_out: frozenset[str]
    """Folded texts that no written set may hold. They have no answers here, so that nothing can be scored on them."""


class _SetResults(NamedTuple):
    """What happened to one set in a round."""

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
        training: the training items.
        arm: name of the arm.
        run: number of the independent run, from 0.
        learners: agents that take the exams, perhaps the teacher; none: a search without students.
        round_over: called after every round.
        budget: number of requests after which the search ends instead of after `settings.rounds`; 0: none.
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
        round_over: Callable[["Search", IterateRoundRecord], None],
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
        """The learners in the order in which they join, once that is known."""
        self._round_over = round_over
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
        # Drawn independently of the exam items, on which sets written from the students' mistakes would look too good.
        self._to_score = draw(self._train, settings.score_items, seed, run, "score")
        self._revised = Counter[str]()
        """Number of revisions without students by set: each revision of a set is another repeat."""
        self.asked: set[str] = set()
        self.rounds: list[IterateRoundRecord] = []
        self.sets: dict[str, ExemplarSet] = {}
        self.scores: dict[str, TrainScore] = {}
        self.progress: list[BestAfter] = []
        self._own: dict[str, OwnAnswers] = {}

    def record(self, held_out: dict[str, Confusion], held_out_own: dict[str, OwnAnswers]) -> ArmRun:
        """Everything that is known now; the held-out answers are passed through."""
        train = {key: score.answers for key, score in self.scores.items()}
        rounds = tuple(self.rounds)
        best = [round.selected[0] for round in (*rounds[:1], *rounds[-1:]) if round.selected]
        own = {key: self._own[key] for key in best}
        return ArmRun(
            self.arm,
            self.run,
            rounds,
            dict(self.sets),
            train,
            held_out,
            len(self.asked),
            own,
            held_out_own,
            tuple(self.progress),
        )

    def labelled(self, requests: Sequence[Request]) -> list[Request]:
        """These requests with this arm and run."""
        return [replace(request, arm=self.arm, run=self.run) for request in requests]

    def flow(self) -> Flow[None]:
        """The whole search."""
        current = yield from self._start()
        while self._continues(current):
            current = yield from self._round(current)

    def draws(self, number: int) -> Flow[None]:
        """The baseline of random sets: `number` sets of training items, and the same selection."""
        sets = [draw_set(self._train, self._settings.exemplars, self._seed, self.run, "random", n)
                for n in range(number)]  # fmt: skip
        yield from self._select(0, (), {}, sets, [], [])

    # --- the steps --------------------------------------------------------------------------------------

    def _continues(self, current: Sequence[ExemplarSet]) -> bool:
        if not current:
            return False
        if self._budget:  # which is reached, since every round has new requests
            return len(self.asked) < self._budget
        return len(self.rounds) <= self._settings.rounds

    def _start(self) -> Flow[list[ExemplarSet]]:
        """The first sets: written from the description of the task, or drawn from training items."""
        settings = self._settings
        written: list[Revision] = []
        sets: list[ExemplarSet] = []
        if settings.start == "description":
            pairs = yield from together([self._author.revise(None, (), (), n, 0) for n in range(settings.beam)])
            written = [revision for revision, _ in pairs]
            sets = [made for _, made in pairs if made]
        if not sets:
            # Also where nothing that the teacher wrote can be used.
            sets = [draw_set(self._train, settings.exemplars, self._seed, self.run, "start", n)
                    for n in range(settings.beam)]  # fmt: skip
        return (yield from self._select(0, (), {}, sets, written, []))

    def _round(self, current: Sequence[ExemplarSet]) -> Flow[list[ExemplarSet]]:
        number = len(self.rounds)
        items = self._minibatch(number)
        shares = self._revisions_per_set(len(current))
        learning = yield from self._learning(current, items, number)
        taught = yield from together(
            [self._teach(one, items, share, number, learning) for one, share in zip(current, shares, strict=True)]
        )
        revisions = [revision for one in taught for revision in one.revisions]
        made = [self.sets[revision.made] for revision in revisions if revision.made]
        reflections = [reflection for one in taught for reflection in one.reflections]
        results = {one.key: result for one, result in zip(current, taught, strict=True)}
        return (yield from self._select(number, current, results, made, revisions, reflections, learning))

    def _select(
        self,
        number: int,
        current: Sequence[ExemplarSet],
        results: dict[str, _SetResults],
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
                students={key: taught.students for key, taught in results.items()},
                answers={key: taught.answers for key, taught in results.items()},
                revisions=tuple(revisions),
                reflections=sum(not one.dropped for one in reflections),
                dropped_reflections=dict(Counter(one.dropped for one in reflections if one.dropped)),
                scored=tuple(one.key for one in candidates),
                selected=tuple(one.key for one in kept),
                learning=learning,
                items=tuple(item.id for item in self._minibatch(number)) if number and self.learners else (),
            )
        )
        if self.arm == "random":
            asked = accumulate(score.items for score in scores)
            bests = (best(scores[:n], 1, self._seed) for n in range(1, len(scores) + 1))
            self.progress += [BestAfter(n, one[0].key if one else "") for n, one in zip(asked, bests, strict=True)]
        else:
            self.progress.append(BestAfter(len(self.asked), kept[0].key if kept else ""))
        self._round_over(self, self.rounds[-1])
        return kept

    def _learning(self, current: Sequence[ExemplarSet], items: Sequence[Problem], number: int) -> Flow[tuple[str, ...]]:
        """The students that learn in this round. The exams of the first round decide their order."""
        order = self._settings.curriculum
        if order == "all":
            return self.learners
        if not self._line_up:
            exams = yield from together(
                [self._examine(student, one, items, number) for one in current for student in self.learners]
            )
            answers = dict.fromkeys(self.learners, Confusion())
            for student, (counts, _, _) in zip(self.learners * len(current), exams, strict=True):
                answers[student] += counts
            self._line_up = line_up(order, answers, self._seed, self.run, "curriculum")
        return joined(order, self._line_up, number, self._settings.rounds)

    def _teach(
        self, material: ExemplarSet, items: Sequence[Problem], revisions: int, number: int, learning: tuple[str, ...]
    ) -> Flow[_SetResults]:
        """Steps 1 to 4 for one set. Its new sets are scored as they come."""
        examined = self.learners if number == 1 else learning
        exams = yield from together([self._examine(student, material, items, number) for student in examined])
        failures = [case for _, _, failed in exams for case in failed if case.student in learning]
        students = {student: counts for student, (counts, _, _) in zip(examined, exams, strict=True)}
        answers = {student: own for student, (_, own, _) in zip(examined, exams, strict=True)}
        if not self.learners:
            first = self._revised[material.key]
            self._revised[material.key] += revisions
            written = yield from together([self._revise(material, (), (), first + n, number) for n in range(revisions)])
            return _SetResults(students, answers, (), tuple(written))
        settings = self._settings
        parts = (self._seed, self.run, "failures", number, material.key)
        groups = distribute(failures, settings.reflections, settings.mistakes, *parts)
        repeats = [groups[:n].count(group) for n, group in enumerate(groups)]
        reflections = yield from together(
            [
                self._author.reflect(material, group, repeat, number)
                for group, repeat in zip(groups, repeats, strict=True)
            ]
        )
        usable = [reflection for reflection in reflections if not reflection.dropped]
        if settings.mix and usable:
            shown = tuple(sorted({failure for one in usable for failure in one.failures}))
            usable = [Reflection(shown, tuple(dict.fromkeys(reason for one in usable for reason in one.reasons)))]
        plans = [usable[n % len(usable)] for n in range(revisions)] if usable else []
        written = yield from together(
            [
                self._revise(material, plan.failures, plan.reasons, plans[:n].count(plan), number)
                for n, plan in enumerate(plans)
            ]
        )
        return _SetResults(students, answers, tuple(reflections), tuple(written))

    def _examine(
        self, student: str, material: ExemplarSet, items: Sequence[Problem], number: int
    ) -> Flow[tuple[Confusion, OwnAnswers, list[FailureCase]]]:
        """One learner's exam and its failure cases. A failed request counts as neither."""
        requests, results = yield from self._exam(student, material, items, "exam", number)
        failed = [
            FailureCase(request.ep, student, request.id)
            for request, result in zip(requests, results, strict=True)
            if not result.failed and not is_correct(request, result, self._gold)
        ]
        return exam_confusion(requests, results, self._gold), own_answers(requests, results, self._gold), failed

    def _score(self, material: ExemplarSet, number: int) -> Flow[TrainScore]:
        """Step 5: the teacher's own answers to training items, with this set."""
        if material.key not in self.scores:
            self.sets[material.key] = material
            teacher = self._requests.teacher
            requests, results = yield from self._exam(teacher, material, self._to_score, "score", number)
            self.scores[material.key] = TrainScore(
                material, exam_confusion(requests, results, self._gold), len(requests)
            )
            self._own[material.key] = own_answers(requests, results, self._gold)
        return self.scores[material.key]

    def _exam(
        self, agent: str, material: ExemplarSet, items: Sequence[Problem], stage: Stage, number: int
    ) -> Flow[tuple[list[Request], list[Result]]]:
        # The set itself holds the answers to its own items.
        in_set = {folded(exemplar.problem) for exemplar in material.exemplars}
        asked = [item for item in items if self._folded[item.id] not in in_set]
        requests = self._requests.exams(agent, material, asked, stage, self.run, number)
        return requests, (yield from self._ask(requests))

    def _revise(
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

    # --- helpers ----------------------------------------------------------------------------------------

    def _ask(self, requests: Sequence[Request]) -> Flow[list[Result]]:
        self.asked.update([request.id for request in requests])
        return (yield from ask(self.labelled(requests)))

    def _revisions_per_set(self, sets: int) -> list[int]:
        """Number of new sets for each current set: fewer at the end of a search with a budget."""
        most = self._settings.revisions
        if not self._budget:
            return [most] * sets
        left = min(most * sets, -(-(self._budget - len(self.asked)) // (1 + len(self._to_score))))
        return [left // sets + (n < left % sets) for n in range(sets)]

    def _minibatch(self, number: int) -> tuple[Problem, ...]:
        return draw(self._train, self._settings.minibatch, self._seed, self.run, "minibatch", number)
