"""One round of level 2: a class of level 1, the trainings of each arm, and a measurement of what came of them.

What is measured: each teacher's answers to held-out problems, and how well students do who are taught with its new
TRs. Teachers are measured one after another, so that weights are loaded once; while one writes, students may still
sit the exams of the one before. What is trained, and on what, is arms.py.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from broker.work_messages import Message, Sampling
from scenarios.config.schema import ArmName
from scenarios.levels.base import MessageWithFile, Request, Result, Setup, Step, TextOf
from scenarios.levels.learn import kl
from scenarios.levels.learn.trainings import Arms
from scenarios.levels.observe.level import ObserveLevel
from scenarios.records.learn import LearnRoundRecord, Measured
from scenarios.records.observe import TeachingProblemRecord
from scenarios.tasks.problems import Bank, ProblemGroup

HELD_OUT = {"greedy": "measure", "teach": "measure"}
PROBE = {"teach": "probe", "exam": "probe_exam"}
DRIFT = {"teach": kl.STAGE}
"""What the stages of level 1 are called where nothing is learnt from them: a name means one thing in a class."""


class _Part(NamedTuple):
    """A class of level 1 within the round."""

    level: ObserveLevel
    stages: Mapping[str, str]


class _Measure(NamedTuple):
    """What one teacher is measured with."""

    weights: str
    held_out: _Part
    taught: _Part | None = None
    """None: the original teacher, whose TRs are the round's own."""
    drift: _Part | None = None
    """None: the original teacher, from which it is measured."""

    @property
    def parts(self) -> list[_Part]:
        return [part for part in (self.held_out, self.taught, self.drift) if part]


class LearnRound:
    """The state machine of a round.

    Args:
        setup: what its level is made from, of the teacher at the round's beginning.
        number: from 1.
        lessons: its TRs and exams, where they are there already.
    """

    def __init__(self, setup: Setup, number: int, lessons: tuple[TeachingProblemRecord, ...] | None = None) -> None:
        scenario, bank = setup.scenario, setup.bank
        self._setup, self._scenario, self._bank = setup, scenario, bank
        self._number, self._handed = number, lessons
        self._held_out = replace(bank, items=tuple(ProblemGroup(one, ()) for one in bank.held_out), held_out=())
        greedy = number == 1 and scenario.lesson.greedy
        self._observed = self._part({}, setup.weights, greedy=greedy) if lessons is None else None
        self._measures = [self._measure("", trained=False)] if number == 1 else []
        self._drift = kl.Drift(setup, number)
        self._arms = Arms(setup, number)
        self._to_measure: list[str] = []
        self._at_teacher: set[str] = set()
        """What the teacher that is measured has still to say."""
        self._whose: dict[str, list[_Part]] = {}
        """Parts that await a result: two teachers may write the same TR, whose exams are sat once."""
        self._again = Counter[str]()
        """By stage, what parts ask that another part awaits."""
        self._written: dict[str, Request] = {}
        """Texts that are awaited, to be found likely or not."""

    def begin(self) -> Step:
        """Ask for every TR, and measure the original teacher in the first round."""
        steps = [self._note(part, part.level.begin()) for part in self._parts()]
        return self._go_on(*steps)

    def receive(self, result: Result) -> Step:
        """The last exam makes the trainings due, the last training the measurement of the first teacher, and so on."""
        if self._arms.receive(result):
            if self._arms.over:
                self._to_measure = self._arms.weights
            return self._go_on()
        self._at_teacher.discard(result.request_id)
        if self._drift.receive(result):
            return self._go_on()
        parts = self._whose.pop(result.request_id, [])
        steps = [self._note(part, part.level.receive(result)) for part in parts]
        if (written := self._written.pop(result.request_id, None)) is not None:
            more = self._drift.written(result, written.tp, written.weights)
            self._at_teacher |= {request.id for request in more}
            steps.append(Step(requests=tuple(more)))
        return self._go_on(*steps)

    @property
    def finished(self) -> bool:
        """Whether all is asked and answered, or has failed for good."""
        return self._arms.over and not self._to_measure and self._all_answered and self._compared

    def taught_by(self, arm: ArmName) -> str:
        """The weights that this arm came to, with the first seed that came to any; empty: it has none."""
        return next((one.weights for one in self._arms.trainings if one.arm == arm and one.weights), "")

    def message(self, request: Request, text_of: TextOf) -> Message | MessageWithFile:
        """The texts that a request refers to; for a training, the file of its pairs. No gold answer is among them."""
        if request.kind == "Train":
            return self._arms.message(request, text_of)
        if request.id in self._drift:
            return self._drift.message(request, text_of)
        return self._whose[request.id][0].level.message(request, text_of)

    def totals(self) -> Mapping[str, int]:
        """Requests per stage; a teacher not measured yet counts as one that will write TRs unlike any other."""
        learn, arms = self._scenario.learn, self._arms
        trainings = to_come = len(learn.arms) * learn.seeds
        if arms.begun:
            trainings = arms.asked
            to_come = len(self._to_measure) if arms.over else arms.awaited + len(arms.weights)
        known = {"train": trainings, kl.STAGE: self._drift.asked + 2 * len(self._written)}
        again = {stage: -requests for stage, requests in self._again.items()}
        return _sum(self._count(self._parts()), known, again, *[self._of_a_training()] * to_come)

    def outcome(self) -> LearnRoundRecord:
        """All that is known of it now."""
        return LearnRoundRecord(
            number=self._number,
            weights=self._setup.weights,
            lessons=self._lessons,
            trainings=self._arms.trainings,
            measured=tuple(
                Measured(
                    weights=one.weights,
                    held_out=one.held_out.level.outcome().lessons,
                    taught=one.taught.level.outcome().lessons if one.taught else (),
                    drift=self._drift.likelihoods(one.weights),
                )
                for one in self._measures
            ),
            finished=self.finished,
        )

    # --- parts ------------------------------------------------------------------------------------------

    @property
    def _lessons(self) -> tuple[TeachingProblemRecord, ...]:
        if self._observed is None:
            return self._handed or ()
        return self._observed.level.outcome().lessons

    def _part(
        self,
        stages: Mapping[str, str],
        weights: str,
        *,
        greedy: bool,
        rationales: int | None = None,
        bank: Bank | None = None,
        sampling: Sampling | None = None,
    ) -> _Part:
        """A class of level 1 by a teacher with these weights."""
        lesson = self._scenario.lesson
        asked = replace(
            lesson,
            rationales=lesson.rationales if rationales is None else rationales,
            sampling=sampling or lesson.sampling,
            greedy=greedy,
        )
        # Where nothing is learnt, dense scores choose nothing.
        exam = replace(self._scenario.exam, score="accuracy") if stages else self._scenario.exam
        scenario = replace(self._scenario, lesson=asked, exam=exam)
        return _Part(
            ObserveLevel(replace(self._setup, scenario=scenario, bank=bank or self._bank, weights=weights)), stages
        )

    def _measure(self, weights: str, *, trained: bool = True) -> _Measure:
        learn = self._scenario.learn
        held_out = self._part(HELD_OUT, weights, greedy=True, rationales=learn.samples, bank=self._held_out)
        if not trained:
            return _Measure(weights, held_out)
        sampling = kl.whole_distribution(self._scenario.lesson.sampling)
        return _Measure(
            weights,
            held_out,
            self._part(PROBE, weights, greedy=False, rationales=learn.rationales),
            self._part(DRIFT, weights, greedy=False, rationales=1, bank=self._held_out, sampling=sampling),
        )

    def _parts(self) -> list[_Part]:
        parts = [self._observed] if self._observed else []
        return parts + [part for one in self._measures for part in one.parts]

    @property
    def _compared(self) -> bool:
        return self._drift.compared and not self._drift.awaited

    @property
    def _all_answered(self) -> bool:
        return all(part.level.finished for part in self._parts())

    def _note(self, part: _Part, step: Step) -> Step:
        """Take down whose they are; what another part has asked already is not asked again."""
        new = []
        for request in step.requests:
            stage = part.stages.get(request.stage, request.stage)
            if part.stages is DRIFT:
                self._written[request.id] = request
            if awaiting := self._whose.get(request.id):
                self._again[stage] += 1
                awaiting.append(part)
                continue
            self._whose[request.id] = [part]
            if part.stages and request.to == self._scenario.teacher.name:
                self._at_teacher.add(request.id)
            new.append(replace(request, level=2, round=self._number, stage=stage))
        return replace(step, requests=tuple(new))

    def _go_on(self, *steps: Step) -> Step:
        """The steps as one, and what they make due."""
        requests = [request for step in steps for request in step.requests]
        feedback = tuple(told for step in steps for told in step.feedback)
        if not self._arms.begun and self._all_answered:
            requests += self._arms.begin(self._lessons)
        while self._to_measure and not self._at_teacher:
            one = self._measure(self._to_measure.pop(0))
            self._measures.append(one)
            for part in one.parts:
                requests += self._note(part, part.level.begin()).requests
        if self._arms.over and not (self._to_measure or self._at_teacher or self._drift.compared):
            requests += self._drift.compare()
        return Step(requests=tuple(requests), feedback=feedback)

    def _count(self, parts: list[_Part]) -> dict[str, int]:
        counted = [(part.stages.get(stage, stage), n) for part in parts for stage, n in part.level.totals().items()]
        return _sum(*({stage: n} for stage, n in counted))

    def _of_a_training(self) -> dict[str, int]:
        learn, sittings = self._scenario.learn, len(self._scenario.students) * self._scenario.exam.repeats
        return {
            kl.STAGE: 3 * len(self._bank.held_out),
            "measure": len(self._bank.held_out) * (1 + learn.samples),
            "probe": len(self._bank.items) * learn.rationales,
            "probe_exam": sum(len(item.eps) for item in self._bank.items) * learn.rationales * sittings,
        }


def _sum(*counts: Mapping[str, int]) -> dict[str, int]:
    totals: defaultdict[str, int] = defaultdict(int)
    for one in counts:
        for stage, requests in one.items():
            totals[stage] += requests
    return dict(totals)
