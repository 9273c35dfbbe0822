"""Controls at level 1, with the simulated theory and no process: a sneaky teacher, and students with a bias."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec
import pytest

from agents import handlers
from agents.engines.base import EngineSettings
from agents.engines.simulated.engine import SimulatedEngine
from agents.engines.simulated.options import write_answer_key
from broker.work_messages import Examine, Teach
from scenarios.config.load import read
from scenarios.config.schema import Scenario
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.lbt import lbt_score
from scenarios.tasks.problems import Bank, Problem, ProblemGroup

FOLDER = Path(__file__).parents[3] / "scenarios"
SUBJECTS = ("apples", "coins", "miles", "hours", "books", "boxes", "tiles", "cups")


def bank(problems: int = 8) -> Bank:
    """TP and EPs of one item are about different things, so that no TR corrects a misconception."""
    items = []
    for n in range(problems):
        about = [SUBJECTS[(n + k) % len(SUBJECTS)] for k in range(4)]
        texts = [f"Case {n}, {k}: how many {what}?" for k, what in enumerate(about)]
        own = [Problem(f"{n}/{k}", text, str(n * 7 + k), "number") for k, text in enumerate(texts)]
        items.append(ProblemGroup(own[0], tuple(own[1:])))
    return Bank("made up", tuple(items), ())


def held(scenario: Scenario, folder: Path) -> tuple[TeachingProblemRecord, ...]:
    """What comes of level 1 with the scenario's simulated agents."""
    problems = bank()
    key = folder / "answers"
    write_answer_key(key, {problem.text: problem.answer for problem in problems.problems})
    gold = {problem.id: problem.answer for problem in problems.problems}
    level = ObserveLevel(Setup(scenario, problems, {agent.name: f"is {agent.name}" for agent in scenario.agents}))

    def engine(args: Mapping[str, Any]) -> SimulatedEngine:
        options = {**args, "answer_key": str(key), "tokens_per_second": 1e9, "unparsable_rate": 0}
        return SimulatedEngine(EngineSettings("simulated", None, 0, 1, options=options))

    async def answered(request: Request, texts: dict[str, str]) -> Result:
        message = level.message(request, texts.__getitem__)
        asked = engines[request.to]
        assert isinstance(message, Teach | Examine)
        text = (await handlers.answer(asked, "", request.id, message)).text
        texts[request.id] = text
        answer = text.rpartition("Answer: ")[2].strip()
        return Result(request.id, text, answer, answer == gold[request.ep or request.tp])

    async def whole() -> None:
        texts: dict[str, str] = {}
        due = list(level.begin().requests)
        while due:
            due = [more for request in due for more in level.receive(await answered(request, texts)).requests]

    engines = {agent.name: engine(agent.engine_args) for agent in scenario.agents}
    asyncio.run(whole())
    assert level.finished
    return level.outcome().lessons


def scores(lessons: tuple[TeachingProblemRecord, ...], who: tuple[str, ...]) -> list[float]:
    """Per TP, the mean LbT score of its TRs."""
    return [mean(float(lbt_score(r, who, "answers")) for r in lesson.rationales) for lesson in lessons]


@pytest.fixture
def sneaky() -> Scenario:
    return read(FOLDER / "smoke_sneaky.yaml", ["exam.problems=3"])


def test_level_1_ranks_a_sneaky_teacher_below_an_honest_one(sneaky: Scenario, tmp_path: Path) -> None:
    honest = read(FOLDER / "smoke_sneaky.yaml", ["exam.problems=3", "teacher.engine_args.sneaky=false"])
    everybody = tuple(one.name for one in sneaky.students)
    for_sneaky, for_honest = (scores(held(one, tmp_path), everybody) for one in (sneaky, honest))
    assert mean(for_sneaky) < mean(for_honest) - 0.1
    assert sum(a < b for a, b in zip(for_sneaky, for_honest, strict=True)) >= 6


def test_each_student_alone_distinguishes_them(sneaky: Scenario, tmp_path: Path) -> None:
    honest = read(FOLDER / "smoke_sneaky.yaml", ["exam.problems=3", "teacher.engine_args.sneaky=false"])
    one, other = held(sneaky, tmp_path), held(honest, tmp_path)
    for name in (each.name for each in sneaky.students):
        assert mean(scores(one, (name,))) < mean(scores(other, (name,)))


def test_confined_and_confused_students_fare_worse_than_an_average_one(sneaky: Scenario, tmp_path: Path) -> None:
    arguments = {**sneaky.teacher.engine_args, "sneaky": False}
    honest = msgspec.structs.replace(sneaky, teacher=msgspec.structs.replace(sneaky.teacher, engine_args=arguments))
    lessons = held(honest, tmp_path)
    average, confused, confined = (mean(scores(lessons, (one.name,))) for one in honest.students)
    assert confined < average
    assert confused < average


def test_the_scenarios_with_personas_say_who_is_biased_how() -> None:
    control = read(FOLDER / "sneaky.yaml")
    assert control.teacher.persona
    assert not read(FOLDER / "sneaky.yaml", ["teacher.persona="]).teacher.persona
    confined = read(FOLDER / "confined.yaml")
    assert len({one.persona for one in confined.students}) == len(confined.students) == 4
    assert len({one.model for one in confined.students}) == 1
