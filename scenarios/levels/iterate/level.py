"""Level 3, iterating (M3): the teacher rewrites its teaching material from its students' mistakes.

The level is a set of flows: per independent run one search (search.py), then its baselines. Beside them runs, for every
set that was best in a round, the teacher's exam on held-out items. It starts after the round's selection, and its
result goes into the outcome and nowhere else.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from broker.errors import TaskError
from broker.work_messages import Feedback, Message
from scenarios.levels.base import FeedbackDue, Outcome, Request, Result, RoundNews, Setup, Step, TextOf
from scenarios.levels.flow import Flow, Flows, ask, together
from scenarios.levels.iterate.answer_counts import AnswerCounts
from scenarios.levels.iterate.budget import STAGES, Amounts
from scenarios.levels.iterate.exam_results import exam_confusion, own_answers
from scenarios.levels.iterate.requests import ExemplarSetRequests
from scenarios.levels.iterate.search import Search, SearchMaterial
from scenarios.records.confusion import YES, Confusion, pool
from scenarios.records.iterate import Arm, ExemplarSet, IterateRoundRecord, Iteration, OwnAnswers
from scenarios.scoring.attribution import lineage
from scenarios.scoring.equal_requests import best_within, common_requests
from scenarios.tasks.problems import folded

ARMS: tuple[Arm, ...] = ("class", "self", "random", "search")


class IterateLevel:
    """The state machine of level 3.

    Args:
        setup: what the level is made from; of its bank, the labelled items.
        before: outcome of the levels before.

    Raises:
        TaskError: the bank has no labelled items.
    """

    def __init__(self, setup: Setup, before: Outcome | None = None) -> None:
        scenario, bank = setup.scenario, setup.bank
        if bank.labelled is None:
            raise TaskError("this class has no labelled items, which level 3 needs; start it anew")
        self._settings, self._seed = scenario.iterate, scenario.seed
        self._before = before or Outcome()
        self._teacher = scenario.teacher.name
        students = [student.name for student in scenario.students]
        self._learners = (*students, *[self._teacher] * self._settings.itself)
        self._requests = ExemplarSetRequests(setup, bank.labelled)
        self._held_out = (*bank.labelled.dev, *bank.labelled.test)
        self._gold = {problem.id: problem.answer for problem in self._held_out}
        self._training = SearchMaterial(bank.labelled.train, frozenset(folded(item.text) for item in self._held_out))
        amounts = Amounts(self._settings, len(self._learners), len(bank.labelled.train), len(self._held_out))
        self._expected = amounts.whole
        self._flows = Flows()
        self._searches: list[Search] = []
        self._tested: dict[tuple[Arm, int], dict[str, Confusion]] = {}
        """The teacher's answers to held-out items, by arm and run, by set."""
        self._tested_own: dict[tuple[Arm, int], dict[str, OwnAnswers]] = {}
        """Likewise, item by item."""
        self._asked = Counter[str]()
        self._answers = AnswerCounts()
        self._feedback: list[FeedbackDue] = []
        self._news: list[RoundNews] = []

    def begin(self) -> Step:
        """The requests that start every independent run."""
        for run in range(self._settings.repeats):
            self._flows.start(self._run(run))
        return self._step()

    def receive(self, result: Result) -> Step:
        """Continue the flows that waited for this result."""
        self._answers.answered(result)
        self._flows.receive(result)
        return self._step()

    def message(self, request: Request, text_of: TextOf) -> Message:
        """The message of a request. It holds no gold answer."""
        return self._requests.message(request, text_of)

    @property
    def finished(self) -> bool:
        """Whether every round, baseline and held-out exam is over."""
        return self._flows.finished

    def totals(self) -> Mapping[str, int]:
        """Requests per stage, known ones and expected ones; fewer where the same set is written twice."""
        if self.finished:
            return {stage: self._asked[stage] for stage in STAGES if self._asked[stage]}
        expected = self._expected
        return {stage: max(self._asked[stage], expected[stage]) for stage in STAGES if expected[stage]}

    def outcome(self) -> Outcome:
        """Everything that is known now: of an unfinished class the rounds that are over."""
        ordered = sorted(self._searches, key=lambda one: (ARMS.index(one.arm), one.run))
        courses = tuple(
            one.record(
                dict(self._tested.get((one.arm, one.run), {})), dict(self._tested_own.get((one.arm, one.run), {}))
            )
            for one in ordered
        )
        positive = frozenset(id for id, answer in self._gold.items() if answer.casefold() == YES)
        return msgspec.structs.replace(self._before, iteration=Iteration(courses, self._answers.all(), positive))

    # --- the flows --------------------------------------------------------------------------------------

    def _run(self, run: int) -> Flow[None]:
        """One independent run: the class, then its baselines."""
        search = self._search("class", run, self._learners)
        yield from search.flow()
        self._test_ancestors(search)
        baselines: list[Flow[None]] = []
        for arm in self._settings.baselines:
            learners = (self._teacher,) if arm == "self" else ()
            other = self._search(arm, run, learners, budget=len(search.asked) if arm == "search" else 0)
            baselines.append(other.draws(len(search.scores)) if arm == "random" else other.flow())
        yield from together(baselines)
        self._test_at_equal_requests(run)

    def _search(self, arm: Arm, run: int, learners: Sequence[str], budget: int = 0) -> Search:
        search = Search(
            self._settings,
            self._seed,
            self._requests,
            self._training,
            arm=arm,
            run=run,
            learners=learners,
            round_over=self._round_over,
            budget=budget,
        )
        self._searches.append(search)
        return search

    def _round_over(self, search: Search, round: IterateRoundRecord) -> None:
        """Give feedback and news on a round, and examine the best set on held-out items."""
        self._report(search, round)
        if round.selected:
            best = search.sets[round.selected[0]]
            self._flows.start(self._test(search, best, round.number, self._round_news(search, round.number)))

    def _test(self, search: Search, material: ExemplarSet, number: int, news: RoundNews | None = None) -> Flow[None]:
        """The teacher's exam on held-out items; `news` says which round people read of, if any."""
        requests = self._requests.exams(self._teacher, material, self._held_out, "test", search.run, number)
        results = yield from ask(search.labelled(requests))
        answers = exam_confusion(requests, results, self._gold)
        tested = self._tested.setdefault((search.arm, search.run), {})
        if news and answers.f1 is not None:
            self._news.append(msgspec.structs.replace(news, teacher_f1=answers.f1, held_out=True))
        tested[material.key] = answers
        own = self._tested_own.setdefault((search.arm, search.run), {})
        own[material.key] = own_answers(requests, results, self._gold)

    def _test_ancestors(self, search: Search) -> None:
        """Examine the sets that the last best one was revised from, to see what each revision gained."""
        if search.rounds and search.rounds[-1].selected:
            for number, revision in lineage(search.rounds, search.rounds[-1].selected[0]):
                for key in filter(None, (revision.made, revision.parent)):
                    self._flows.start(self._test(search, search.sets[key], number))

    def _test_at_equal_requests(self, run: int) -> None:
        """Examine the set that each arm had at the largest number of requests that all arms of this run reached.

        Sets that were best in a round are examined already: only random sets, which have one round, can be missing.
        """
        searches = [one for one in self._searches if one.run == run]
        common = common_requests([one.progress for one in searches])
        for search in searches:
            state = best_within(search.progress, common)
            if state and state.key and state.key not in {key for round in search.rounds for key in round.selected[:1]}:
                self._flows.start(self._test(search, search.sets[state.key], 0))

    # --- feedback ---------------------------------------------------------------------------------------

    def _report(self, search: Search, round: IterateRoundRecord) -> None:
        for key, students in round.students.items():
            scores = {name: answers.micro or 0.0 for name, answers in students.items()}
            shown = {case.item for revision in round.revisions if revision.parent == key for case in revision.failures}
            failed = tuple(self._requests.text(item) for item in sorted(shown))
            self._feedback.append(FeedbackDue(self._teacher, Feedback(about=key, lbt_scores=scores, failed=failed)))
        news = self._round_news(search, round.number)
        if not round.selected:
            self._news.append(msgspec.structs.replace(news, kept=False))
            return
        best = search.scores[round.selected[0]].answers
        by_student = {name: pooled.f1 for name, pooled in pool(round.students).items()}
        self._news.append(
            msgspec.structs.replace(news, teacher_f1=best.f1, sets=len(round.scored), students=by_student)
        )

    def _round_news(self, search: Search, number: int) -> RoundNews:
        return RoundNews(search.arm, search.run, self._settings.repeats, number)

    def _step(self) -> Step:
        requests = self._flows.take()
        self._asked.update([request.stage for request in requests])
        step = Step(requests, tuple(self._feedback), tuple(self._news), self._flows.take_shared())
        self._answers.asked(step)
        self._feedback.clear()
        self._news.clear()
        return step
