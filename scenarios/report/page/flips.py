"""Held-out problems on which the teachers of a round of level 2 differ: what each of them answered, greedily."""

from collections.abc import Iterator, Sequence

import msgspec

from scenarios.records.learn import LearnRoundRecord, Measured
from scenarios.records.observe import Rationale
from scenarios.report.page.gradebook import BEGINNING
from scenarios.report.page.prompt_turns import PackedPrompts, prompt_ids
from scenarios.report.page.texts import RationaleText, TextPack
from scenarios.scoring.teacher_metrics import LABELS, named
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank


class TeacherAnswer(msgspec.Struct, frozen=True):
    """The greedy answer of one teacher; of several training seeds, the first."""

    teacher: str
    request: str
    """Its request id."""
    answer: str | None
    correct: bool


class FlippedProblem(msgspec.Struct, frozen=True):
    """A problem that some teachers of a round get right and others wrong."""

    round: int
    id: str
    text: str
    """Its beginning."""
    gold: str
    answers: tuple[TeacherAnswer, ...]


def flips(learnt: Sequence[LearnRoundRecord], bank: Bank) -> list[FlippedProblem]:
    """The problems of all rounds, in the order of the class."""
    return [flip for one, known in _known(learnt) for flip in _of_round(one, known, bank)]


def packs(flipped: Sequence[FlippedProblem], store: Store, bank: Bank) -> Iterator[TextPack]:
    """The texts of each; the number of a teacher stands for the repeat of its rationale."""
    problems = {problem.id: problem for problem in bank.held_out}
    for one in flipped:
        ids = prompt_ids(store, [of.request for of in one.answers])
        prompts = PackedPrompts(store, ids.values())
        texts = tuple(
            RationaleText(number, number, store.text(of.request), prompts.number(ids.get(of.request)))
            for number, of in enumerate(one.answers)
        )
        problem = problems[one.id]
        yield TextPack(problem.text, problem.answer, (), texts, (), prompts.turns, prompts.texts)


def _known(learnt: Sequence[LearnRoundRecord]) -> Iterator[tuple[LearnRoundRecord, dict[str, Measured]]]:
    """Each round with all measurements until then, by the weights that were measured."""
    known: dict[str, Measured] = {}
    for one in learnt:
        known = known | {measured.weights: measured for measured in one.measured}
        yield one, known


def _of_round(one: LearnRoundRecord, known: dict[str, Measured], bank: Bank) -> Iterator[FlippedProblem]:
    answered: dict[str, dict[str, Rationale]] = {}
    for name, of_seeds in named(one).items():
        weights = next(iter(of_seeds.values()))
        if weights in known:
            lessons = known[weights].held_out
            answered[name] = {lesson.tp: lesson.greedy for lesson in lessons if lesson.greedy is not None}
    for problem in bank.held_out:
        answers = tuple(
            TeacherAnswer(LABELS.get(name, name), of[problem.id].id, of[problem.id].answer, of[problem.id].correct)
            for name, of in answered.items()
            if problem.id in of
        )
        if len({answer.correct for answer in answers}) > 1:
            yield FlippedProblem(one.number, problem.id, problem.text[:BEGINNING], problem.answer[:BEGINNING], answers)
