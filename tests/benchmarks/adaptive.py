"""What `exam.allocation` saves, and whether it changes which answers are right: on simulated TPs, by the level itself.

Every answer is drawn by its request's id, so classes with other allocations get the same TRs and the same EAs. An EA is
right as an item response model says: ability of the student + quality of the TR - difficulty of the EP.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import exp
from random import Random
from typing import Any

from scenarios.config.schema import Agent, Exam, Lesson, Scenario, Scoring, Task
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.lbt import ChosenAnswer, Rule, Sheet
from scenarios.scoring.statistics import paired
from scenarios.tasks.problems import Bank, Problem, ProblemGroup

TPS, QUICK_TPS = 6000, 2000
SHARE = 0.5
"""Goal: halving asks at most this share of the exams of a full class."""
STUDENTS = {"ada": 0.4, "bob": -0.4}
"""Their abilities, in logits."""
RATIONALES, EPS, REPEATS = 8, 3, 3
RULES: tuple[Rule, ...] = ("max", "sum", "avg")
WITHIN = 0.005
"""Goal: the 95 % interval of the difference of accuracies, by MAX and by SUM, is within this."""


def scenario(seed: int, allocation: str) -> Scenario:
    return Scenario(
        name="adaptive",
        seed=seed,
        task=Task(family="x"),
        teacher=Agent(name="teacher"),
        students=tuple(Agent(name=name, persona=name) for name in STUDENTS),
        lesson=Lesson(rationales=RATIONALES, greedy=False),
        exam=Exam(problems=EPS, repeats=REPEATS, allocation=allocation),  # type: ignore[arg-type]
    )


def bank(tps: int) -> Bank:
    items = []
    for n in range(tps):
        tp, *eps = (Problem(f"tp{n}/{k}", f"problem {n} variant {k}", "0", "number") for k in range(EPS + 1))
        items.append(ProblemGroup(tp, tuple(eps)))
    return Bank("made up", tuple(items), ())


class Agents:
    """Teacher and students; the right answer to every TP is 0."""

    def __init__(self, seed: int) -> None:
        self._quality: dict[str, float] = {}
        """By request id of a TR."""
        self._tp = lru_cache(None)(lambda tp: Random(f"{seed} {tp}").betavariate(0.8, 0.6))
        self._hard = lru_cache(None)(lambda ep: Random(f"{seed} {ep}").gauss(0, 1))

    def answer(self, request: Request) -> Result:
        draw = Random(request.id)
        if request.kind == "Teach":
            right = draw.random() < self._tp(request.tp)
            self._quality[request.id] = draw.gauss(1.0 if right else 0.0, 0.5)
            # One wrong answer is more common than others.
            said = "0" if right else str(1 + min(draw.randrange(6), draw.randrange(6)))
            return Result(request.id, request.id, said, right)
        chance = 1 / (1 + exp(self._hard(request.ep) - STUDENTS[request.to] - self._quality[request.tr]))
        return Result(request.id, "", "0", draw.random() < chance)


def taught(seed: int, tps: int, allocation: str) -> Sequence[TeachingProblemRecord]:
    """The records of a class."""
    described = scenario(seed, allocation)
    level = ObserveLevel(Setup(described, bank(tps), {agent.name: agent.name for agent in described.agents}))
    agents, waiting = Agents(seed), list(level.begin().requests)
    while waiting:
        waiting += level.receive(agents.answer(waiting.pop())).requests
    return level.outcome().lessons


def choices(lessons: Sequence[TeachingProblemRecord]) -> dict[Rule, list[ChosenAnswer]]:
    """What each rule chooses."""
    sheets = [Sheet(lesson, lambda a, b, form: a == b) for lesson in lessons]
    return {rule: [sheet.choose(rule, tuple(STUDENTS), Scoring()) for sheet in sheets] for rule in RULES}


def compared(
    fewer: Sequence[TeachingProblemRecord], full: Sequence[TeachingProblemRecord], seed: int
) -> tuple[dict[str, Any], float]:
    """What was saved and what changed, and the share of exams that was asked."""
    exams = sum(len(tr.exams) for lesson in full for tr in lesson.rationales)
    asked = sum(len(tr.exams) for lesson in fewer for tr in lesson.rationales)
    found: dict[str, Any] = {"asked": round(asked / exams, 4)}
    for reason in ("by_agreement", "by_certainty", "by_halving"):
        found[f"saved_{reason}"] = round(sum(getattr(lesson.saved, reason) for lesson in fewer) / exams, 4)
    with_all = choices(full)
    for rule, chosen in choices(fewer).items():
        pair = paired([float(one.correct) for one in chosen], [float(one.correct) for one in with_all[rule]], seed)
        found[rule] = {
            "other_choices": sum(a.answer != b.answer for a, b in zip(chosen, with_all[rule], strict=True)),
            "difference": round(pair.difference, 5),
            "ci95": [round(end, 5) for end in pair.ci95],
        }
    return found, asked / exams


def run(quick: bool, seed: int) -> dict[str, Any]:
    tps = QUICK_TPS if quick else TPS
    full = taught(seed, tps, "full")
    lossless, _ = compared(taught(seed, tps, "lossless"), full, seed)
    halving, share = compared(taught(seed, tps, "halving"), full, seed)
    return {
        "name": "adaptive",
        "ratio": share,
        "goal": SHARE,
        "better": "lower",
        "detail": {
            "what": "share of the exams of a full class that exam.allocation: halving asks",
            "tps": tps,
            "exams_of_full": sum(len(tr.exams) for lesson in full for tr in lesson.rationales),
            "accuracy_full": {
                rule: round(sum(one.correct for one in of) / tps, 4) for rule, of in choices(full).items()
            },
            "lossless": lossless,
            "halving": halving,
            "lossless_changes_no_choice": not any(lossless[rule]["other_choices"] for rule in RULES),
            "halving_within_half_a_point": {
                rule: max(abs(end) for end in halving[rule]["ci95"]) <= WITHIN for rule in RULES
            },
        },
    }
