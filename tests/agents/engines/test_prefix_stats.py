import asyncio
from collections.abc import Callable

from agents import prompts
from agents.engines.base import Completion, Prompt, Scored
from agents.engines.prefix_stats import PrefixStats
from broker.work_messages import Examine, Exemplar, Sampling, Usage


class Silent:
    """An engine whose prompts have a hundred tokens."""

    device = "nowhere"
    capacity = 1
    spent: float | None = None

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """Nothing to start."""

    async def generate(self, prompt: Prompt) -> Completion:
        return Completion("", Usage(prompt_tokens=100))

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        return Scored(-1.0, 20, Usage(prompt_tokens=120))

    async def stop(self, *, again: bool = False) -> None:
        """Nothing to stop."""


def cacheable(*exams: tuple[str, str]) -> list[int]:
    """What could be cached of each prompt; `exams`: teaching material, exam problem."""

    async def ask() -> list[int]:
        engine, found = PrefixStats(Silent()), []
        for number, (material, problem) in enumerate(exams):
            request = Examine(
                problem=problem, answer_form="number", sampling=Sampling(), material=(Exemplar("TP", material),)
            )
            completion = await engine.generate(prompts.prompt(str(number), request, ""))
            found.append(completion.usage.cacheable_tokens)
        return found

    return asyncio.run(ask())


def test_the_first_prompt_shares_nothing_and_a_repeated_one_everything() -> None:
    assert cacheable(("x" * 500, "1 + 1?"), ("x" * 500, "1 + 1?")) == [0, 100]


def test_exams_of_one_rationale_share_all_but_the_question() -> None:
    first, second = cacheable(("x" * 400, "1 + 1?" * 5), ("x" * 400, "2 + 2?" * 5))
    assert first == 0
    assert 90 <= second < 100


def test_exams_of_different_rationales_share_what_stands_before_the_material() -> None:
    _, same, other = cacheable(("x" * 2000, "1 + 1?"), ("x" * 2000, "2 + 2?"), ("y" * 2000, "2 + 2?"))
    assert 0 < other < 20 < same


def test_a_grade_shares_what_its_exam_shares_and_its_solution_with_nobody() -> None:
    async def ask() -> tuple[Completion, Scored]:
        engine = PrefixStats(Silent())
        request = Examine(problem="1 + 1?", answer_form="number", sampling=Sampling(), material=(Exemplar("TP", "TR"),))
        exam = prompts.prompt("a", request, "")
        return await engine.generate(exam), await engine.logprobs(exam, " 2")

    exam, grade = asyncio.run(ask())
    assert (exam.usage.cacheable_tokens, grade.usage.cacheable_tokens) == (0, 100)
    assert (grade.logprob, grade.tokens) == (-1.0, 20)
