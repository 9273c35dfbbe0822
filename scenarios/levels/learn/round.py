"""One round of level 2: a class of level 1, the trainings of each arm, and measurements of the new teachers.

Measured are each teacher's answers to held-out problems, and how well students do who are taught with its new TRs.
Teachers are measured one after another, so that weights are loaded once; while one writes, students may still take the
exams of the one before.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from broker.work_messages import Message
from scenarios.config.schema import ArmName
from scenarios.levels.base import FeedbackDue, MessageWithFile, Request, Result, Setup, Step, TextOf
from scenarios.levels.flow import Flow, Flows, play, together
from scenarios.levels.learn import kl
from scenarios.levels.learn.trainings import Trainings
from scenarios.levels.observe.level import ObserveLevel
from scenarios.records.learn import LearnRoundRecord, Measured
from scenarios.records.observe import TeachingProblemRecord
from scenarios.tasks.problems import Bank, ProblemGroup

HELD_OUT = {"greedy": "measure", "teach": "measure"}
PROBE = {"teach": "probe", "exam": "probe_exam"}
"""Names for the stages of level 1 in measurements: a name means one thing in a class."""


class _Part(NamedTuple):
    """A class of level 1 within the round."""

    level: ObserveLevel
    stages: Mapping[str, str]


class _Measurement(NamedTuple):
    """What one teacher is measured with."""

    weights: str
    held_out: _Part
    taught: _Part | None = None
    """None: the original teacher, whose TRs are the round's own."""


class LearnRound:
    """One round, as a flow.

    Args:
        setup: what the level is made from, with the weights of the round's teacher.
        number: from 1.
        flows: runs the round; equal requests of all rounds are asked once.
        lessons: its TRs and exams, where level 1 has them already.
    """

    def __init__(
        self, setup: Setup, number: int, flows: Flows, lessons: tuple[TeachingProblemRecord, ...] | None = None
    ) -> None:
        scenario, bank = setup.scenario, setup.bank
        self._setup, self._scenario, self._bank = setup, scenario, bank
        self._number, self._flows, self._given_lessons = number, flows, lessons
        self._held_out = replace(bank, items=tuple(ProblemGroup(one, ()) for one in bank.held_out), held_out=())
        greedy = number == 1 and scenario.lesson.greedy
        self._observed = self._part({}, setup.weights, greedy=greedy) if lessons is None else None
        self._measurements = [_Measurement("", self._held_out_part(""))] if number == 1 else []
        self._trainings = Trainings(setup, number)
        self._likelihoods = kl.Likelihoods(setup, number)
        self._part_of: dict[str, _Part] = {}
        """Makes the messages of a request that is not answered yet."""
        self._trained = 0
        """Number of new teachers whose measurement has begun."""
        self.feedback: list[FeedbackDue] = []
        """Feedback that became due; its reader clears it."""
        self.over = False
        """Whether nothing more is asked, except for exams under way."""

    def flow(self) -> Flow[None]:
        """The whole round; it ends when only exams of the last teachers are under way."""
        yield from together([self._play(part) for part in self._parts])
        for weights in (yield from self._trainings.train(self._lessons)):
            yield from self._measure(weights)
        yield from self._likelihoods.compare()
        self.over = True

    def taught_by(self, arm: ArmName) -> str:
        """The new weights of this arm, of the first seed that has any; empty: none."""
        return next((one.weights for one in self._trainings.all if one.arm == arm and one.weights), "")

    def message(self, request: Request, text_of: TextOf) -> Message | MessageWithFile:
        """The message of a request; for a training with the file of its pairs. It holds no gold answer."""
        if request.kind == "Train":
            return self._trainings.message(request, text_of)
        if request.stage == kl.STAGE:
            return self._likelihoods.message(request, text_of)
        return self._part_of[request.id].level.message(request, text_of)

    def totals(self) -> Counter[str]:
        """Requests per stage, shared ones included. A teacher not measured yet counts as one with TRs of its own."""
        totals = Counter({"train": self._trainings.requests, kl.STAGE: self._likelihoods.requests})
        for part in self._parts:
            for stage, requests in part.level.totals().items():
                totals[part.stages.get(stage, stage)] += requests
        for _ in range(self._trainings.new_teachers - self._trained):
            totals.update(self._per_teacher())
        return totals

    def outcome(self, *, finished: bool) -> LearnRoundRecord:
        """Everything that is known now."""
        return LearnRoundRecord(
            number=self._number,
            weights=self._setup.weights,
            lessons=self._lessons,
            trainings=self._trainings.all,
            measured=tuple(
                Measured(
                    weights=one.weights,
                    held_out=one.held_out.level.outcome().lessons,
                    taught=one.taught.level.outcome().lessons if one.taught else (),
                    drift=self._likelihoods.of(one.weights),
                )
                for one in self._measurements
            ),
            finished=finished,
        )

    # --- steps of the flow ------------------------------------------------------------------------------

    def _measure(self, weights: str) -> Flow[None]:
        """Ask a new teacher for all its texts. The exams that they make due run beside."""
        held_out = self._held_out_part(weights)
        taught = self._part(PROBE, weights, greedy=False, rationales=self._scenario.learn.rationales)
        self._measurements.append(_Measurement(weights, held_out, taught))
        self._trained += 1
        yield from together([self._write(held_out), self._write(taught), self._likelihoods.write(weights)])

    def _play(self, part: _Part) -> Flow[None]:
        """A class of level 1 from its beginning to its end."""
        yield from play(self._due(part, part.level.begin()), partial(self._receive, part))

    def _write(self, part: _Part) -> Flow[None]:
        """The teacher's texts of a class of level 1."""
        yield from play(self._due(part, part.level.begin()), partial(self._examine, part))

    def _examine(self, part: _Part, result: Result) -> Sequence[Request]:
        exams = self._receive(part, result)
        self._flows.start(play(exams, partial(self._receive, part)))
        return ()

    def _receive(self, part: _Part, result: Result) -> Sequence[Request]:
        self._part_of.pop(result.request_id, None)
        return self._due(part, part.level.receive(result))

    def _due(self, part: _Part, step: Step) -> list[Request]:
        """The requests of a class of level 1, as those of this round."""
        self.feedback += step.feedback
        due = []
        for request in step.requests:
            stage = part.stages.get(request.stage, request.stage)
            due.append(replace(request, level=2, round=self._number, stage=stage))
            self._part_of.setdefault(request.id, part)
        return due

    # --- parts ------------------------------------------------------------------------------------------

    @property
    def _parts(self) -> list[_Part]:
        parts = [self._observed] if self._observed else []
        return parts + [part for one in self._measurements for part in (one.held_out, one.taught) if part]

    @property
    def _lessons(self) -> tuple[TeachingProblemRecord, ...]:
        return self._observed.level.outcome().lessons if self._observed else self._given_lessons or ()

    def _held_out_part(self, weights: str) -> _Part:
        return self._part(HELD_OUT, weights, greedy=True, rationales=self._scenario.learn.samples, bank=self._held_out)

    def _part(
        self,
        stages: Mapping[str, str],
        weights: str,
        *,
        greedy: bool,
        rationales: int | None = None,
        bank: Bank | None = None,
    ) -> _Part:
        """A class of level 1 by a teacher with these weights; in measurements without dense scores."""
        lesson, exam = self._scenario.lesson, self._scenario.exam
        lesson = replace(
            lesson,
            rationales=lesson.rationales if rationales is None else rationales,
            greedy=greedy,
            equal_cost=lesson.equal_cost and self._number == 1 and not stages,
        )
        scenario = replace(
            self._scenario,
            lesson=lesson,
            exam=replace(exam, score="accuracy") if stages else exam,
            baselines=self._scenario.baselines if self._number == 1 and not stages else (),
        )
        return _Part(
            ObserveLevel(replace(self._setup, scenario=scenario, bank=bank or self._bank, weights=weights)), stages
        )

    def _per_teacher(self) -> dict[str, int]:
        """Requests per stage of a teacher whose measurement has not begun."""
        learn, exams = self._scenario.learn, len(self._scenario.students) * self._scenario.exam.repeats
        return {
            kl.STAGE: 3 * len(self._bank.held_out),
            "measure": len(self._bank.held_out) * (1 + learn.samples),
            "probe": len(self._bank.items) * learn.rationales,
            "probe_exam": sum(len(item.eps) for item in self._bank.items) * learn.rationales * exams,
        }
