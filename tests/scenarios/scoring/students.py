"""Made-up records of classes: students of given abilities, TRs of given quality, EPs of given difficulty."""

from collections.abc import Callable, Sequence
from math import exp
from random import Random

from msgspec.structs import replace

from broker.work_messages import AnswerForm
from scenarios.records.observe import ExamAnswer, Rationale, TeachingProblemRecord
from scenarios.scoring.lbt import Sheet


def same(a: str, b: str, form: AnswerForm) -> bool:
    return a == b


def sheet(*rationales: Rationale) -> Sheet:
    """A TP with these TRs."""
    return Sheet(TeachingProblemRecord("tp", "number", None, rationales), same)


def logistic(x: float) -> float:
    return 1 / (1 + exp(-x))


def made_up(
    abilities: Sequence[float],
    *,
    tps: int = 40,
    trs: int = 8,
    eps: int = 3,
    repeats: int = 1,
    seed: int = 0,
    right_helps: float = 1.5,
    difficulty: float = 1.0,
    answers: int = 3,
) -> list[TeachingProblemRecord]:
    """TPs whose exams follow the item response model; students are called s0, s1, ..."""
    draw = Random(seed)
    names = [f"s{number}" for number in range(len(abilities))]
    lessons = []
    for tp in range(tps):
        hard = [draw.gauss(0, difficulty) for _ in range(eps)]
        share = draw.betavariate(1.5, 1.5)
        rationales = []
        for tr in range(trs):
            right = draw.random() < share
            quality = draw.gauss(right_helps if right else 0.0, 0.5)
            exams = tuple(
                ExamAnswer(name, f"ep{ep}", repeat, draw.random() < logistic(ability + quality - hard[ep]))
                for name, ability in zip(names, abilities, strict=True)
                for ep in range(eps)
                for repeat in range(repeats)
            )
            answer = "0" if right else str(draw.randrange(1, answers + 1))
            rationales.append(Rationale(f"tp{tp}.tr{tr}", tr, answer, right, 20, exams))
        greedy = Rationale(f"tp{tp}.greedy", -1, "0", draw.random() < share, 20, ())
        lessons.append(TeachingProblemRecord(f"tp{tp}", "number", greedy, tuple(rationales), 5 * trs * eps))
    return lessons


def kept(
    lessons: Sequence[TeachingProblemRecord], keep: Callable[[Rationale, ExamAnswer], bool]
) -> list[TeachingProblemRecord]:
    """The same TPs without the exams that failed."""
    return [
        replace(
            one,
            rationales=tuple(
                replace(tr, exams=tuple(exam for exam in tr.exams if keep(tr, exam))) for tr in one.rationales
            ),
        )
        for one in lessons
    ]
