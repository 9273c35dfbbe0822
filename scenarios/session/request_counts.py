"""How many requests and tokens a class needs at most, computed from its scenario before anything starts.

The counts are products of the scenario's numbers. Playing the levels against a worst-case answerer would give them
too, but takes 24 microseconds a request: 11 seconds for the exams of scenarios/paper/m2_math.yaml, and a plan has 2.
Token counts are estimates from above. request_batches.py has the products, and scenarios/session/plan.py formats the
counts.
"""

from collections import Counter
from pathlib import Path

import msgspec

from broker.errors import ScenarioError
from scenarios.config.prices import prices
from scenarios.config.schema import Agent, Scenario
from scenarios.session.request_batches import (
    INSTRUCTION_TOKENS,
    REPAIR_TOKENS,
    RequestBatch,
    exemplar_tokens,
    persona_tokens,
    question_tokens,
    search_batches,
    solving_batches,
)
from scenarios.tasks import build
from scenarios.tasks.demonstrations import demonstrations
from scenarios.tasks.problems import CHARACTERS_PER_TOKEN

MOST_REQUESTS = 10_000_000
"""A level keeps all its requests in memory, about a kilobyte each."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much a class needs; requests and tokens are upper bounds."""

    teaching_problems: int = 0
    teaching_rationales: int = 0
    greedy: int = 0
    """The teacher's greedy answers, a baseline."""
    further_rationales: int = 0
    """For SC at M1's cost, 0 unless lesson.equal_cost: estimated from prompts and answers of full length."""
    exam_answers: int = 0
    """Identical TRs are examined once, and TRs without an answer not at all: neither is known beforehand."""
    alone_answers: int = 0
    """Students' answers to TPs without a TR; 0 unless `baselines` asks for them, as are the next."""
    invented: int = 0
    """Exam problems that an agent writes; 0 unless exam.maker is invented."""
    invented_answers: int = 0
    """The writer's answers to them."""
    judgements: int = 0
    """The teacher's judgements of single TRs, and its choices among all of a TP."""
    questions: int = 0
    """Students' questions before their exams; the teacher gives as many answers."""
    repairs: int = 0
    """Programs that fail and are repaired, if all do; 0 without self_debug."""
    grades: int = 0
    """Log-probabilities of worked solutions; 0 unless exam.score is logprob."""
    reflections: int = 0
    """Level 3: how often the teacher explains what misled its students."""
    revisions: int = 0
    """Level 3: sets of exemplars, or rationales, that the teacher writes."""
    own_answers: int = 0
    """Level 3: the teacher's own answers to training items."""
    held_out_answers: int = 0
    """Level 3: the teacher's own answers to held-out items."""
    minibatch: int = 0
    """Level 3: training items per round, `iterate.minibatch` or all there are."""
    score_items: int = 0
    """Level 3: training items that every set is scored on, `iterate.score_items` or all there are."""
    pairs_per_problem: int = 0
    """Level 2: pairs of one teaching problem in one training."""
    trainings: int = 0
    """Level 2."""
    pairs: int = 0
    """Level 2: preference pairs of one training; with sft, best rationales."""
    tokens_per_pair: int = 0
    """Level 2: tokens of both answers, each with the prompt."""
    measured: int = 0
    """Level 2: teachers' answers to held-out problems."""
    likelihoods: int = 0
    """Level 2: log-probabilities of such answers under the trained and the original teacher."""
    later_rationales: int = 0
    """Level 2: TRs of trained teachers."""
    later_exam_answers: int = 0
    """Level 2: exam answers under those TRs."""
    requests: int = 0
    prompt_tokens: int = 0
    """Prefix caching makes most of them cheap."""
    completion_tokens: int = 0
    """As if every answer were as long as max_tokens allows."""
    cost: float | None = None
    """Of these tokens by the prices of `engine_args`, in their currency; level 3 as if its dearest agent gave all
    answers. None: no agent has prices."""


class AgentWork(msgspec.Struct, frozen=True):
    """The work of one agent, from which its memory is estimated."""

    requests: int
    """At most; 0: unknown."""
    tokens: int
    """Estimated tokens of prompt and completion of its longest request."""


def counts(scenario: Scenario) -> Counts:
    """How much `scenario` needs, all its levels together.

    Raises:
        TaskError: one of its tasks cannot be built.
        ScenarioError: it needs more than MOST_REQUESTS.
    """
    counted = count(scenario, *build.check_class(scenario, folder=Path()))
    if counted.requests > MOST_REQUESTS:
        raise ScenarioError(
            f"this class asks up to {counted.requests:,} requests; {MOST_REQUESTS:,} are supported\n"
            "Lower the numbers of problems, rationales, repeats or students, or run several classes."
        )
    return counted


def count(scenario: Scenario, problem_tokens: int, train: int = 0, held_out: int = 0, item_tokens: int = 0) -> Counts:
    """How much `scenario` needs, all its levels together.

    Args:
        scenario: the class.
        problem_tokens: tokens of one problem.
        train: training items of level 3.
        held_out: held-out items of level 3.
        item_tokens: tokens of one such item.
    """
    learn, iterate = scenario.learn, scenario.iterate
    batches = list(solving_batches(scenario, problem_tokens))
    cost = sum(_cost(one, one.agent) for one in batches)
    if scenario.classifies:
        searching = list(search_batches(scenario, train, held_out, item_tokens))
        cost += sum(max(_cost(one, agent) for agent in scenario.agents) for one in searching)
        batches += searching
    numbers = Counter[str]()
    for one in batches:
        numbers[one.counted_as] += one.number
    del numbers[""]
    if scenario.solves:
        numbers["teaching_problems"] = scenario.task.problems
    if 2 in scenario.levels:
        rationales = scenario.lesson.rationales
        most = (
            1 if learn.training.method == "sft" else min(learn.pairs_per_tp, rationales * learn.uses_per_rationale // 2)
        )
        numbers["pairs_per_problem"] = min(most, rationales * (rationales - 1) // 2)
        numbers["pairs"] = scenario.task.problems * numbers["pairs_per_problem"]
        answer = question_tokens(scenario, problem_tokens) + scenario.lesson.sampling.max_tokens
        numbers["tokens_per_pair"] = 2 * min(answer, learn.training.max_tokens)
    if scenario.classifies:
        numbers["minibatch"], numbers["score_items"] = min(iterate.minibatch, train), min(iterate.score_items, train)
    return Counts(
        requests=sum(one.number for one in batches),
        prompt_tokens=sum(one.number * (one.prompt + persona_tokens(one.agent)) for one in batches),
        completion_tokens=sum(one.number * one.completion for one in batches),
        cost=cost if any(any(prices(agent)) for agent in scenario.agents) else None,
        **numbers,
    )


def _cost(batch: RequestBatch, agent: Agent) -> float:
    """The price of a batch if this agent answers it."""
    return batch.number * prices(agent).of(batch.prompt + persona_tokens(agent), batch.completion)


def agent_work(scenario: Scenario, problem_tokens: int) -> dict[str, AgentWork]:
    """The work of each agent by its name, when a problem or labelled text has `problem_tokens` tokens."""
    requests = Counter[str]()
    if not scenario.classifies:
        for one in solving_batches(scenario, problem_tokens):
            requests[one.agent.pool] += one.number
    lengths = {student.pool: scenario.sampling_of(student).max_tokens for student in scenario.students}
    # The teacher answers questions and mistakes of every student.
    lengths[scenario.teacher.name] = max(lengths.values(), default=0)
    return {
        agent.name: AgentWork(
            requests[agent.name],
            _longest_request(scenario, problem_tokens, lengths[agent.name], teaches=agent is scenario.teacher)
            + persona_tokens(agent),
        )
        for agent in scenario.agents
    }


def _longest_request(scenario: Scenario, problem_tokens: int, exam: int, *, teaches: bool) -> int:
    """Tokens of the longest request of the teacher, or of a student; `exam` is the length of an exam answer."""
    lesson, iterate = scenario.lesson.sampling.max_tokens, scenario.iterate
    teaching, learning = [0], [0]
    question = INSTRUCTION_TOKENS + problem_tokens
    if scenario.solves:
        worked = demonstrations(scenario.task.family or "number", scenario.task.demonstrations)
        question += sum(len(each.problem) + len(each.solution) for each in worked) // CHARACTERS_PER_TOKEN
        dialogue = scenario.exam.questions * (exam + lesson)
        again = (lesson + REPAIR_TOKENS) * scenario.lesson.self_debug  # also what a repaired TR may be longer
        teaching.append(question + lesson + again)
        teaching.append(question + lesson + scenario.exam.questions * (problem_tokens + dialogue))
        if "universal" in scenario.baselines:
            shown = scenario.lesson.rationales * lesson
            teaching.append(INSTRUCTION_TOKENS + problem_tokens + shown + lesson)
        answer = max(exam, problem_tokens) if scenario.exam.score == "logprob" else exam
        learning.append(question + problem_tokens + lesson + again + dialogue + answer)
        learning[-1] += (answer + REPAIR_TOKENS) * scenario.exam.self_debug
    if scenario.rewrites:
        mistakes = iterate.mistakes * (problem_tokens + exam)
        teaching.append(question + problem_tokens + lesson + mistakes + iterate.writing.max_tokens)
        learning.append(question + problem_tokens + iterate.writing.max_tokens + exam)
    if scenario.classifies:
        exemplars, mistakes = exemplar_tokens(scenario, problem_tokens)
        learning.append(exemplars + problem_tokens + iterate.answering.max_tokens)
        teaching += [exemplars + mistakes + iterate.writing.max_tokens, learning[-1]]
    return max(teaching if teaches else learning)


def longest_problem_tokens(scenario: Scenario) -> int:
    """The estimated tokens of a typical problem or labelled text of a class, whichever is longer.

    Raises:
        TaskError: one of its tasks cannot be built.
    """
    sizes = build.check_class(scenario, folder=Path())
    return max(sizes.problem_tokens, sizes.text_tokens)
