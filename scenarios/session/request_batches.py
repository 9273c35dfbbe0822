"""The requests of a class in batches, one for each kind and agent; scenarios/session/request_counts.py counts them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from scenarios.config.schema import Agent, Scenario
from scenarios.levels.iterate.budget import Amounts, originals
from scenarios.levels.observe.invention import writer
from scenarios.scoring.baselines import draws
from scenarios.scoring.equal_cost import MOST
from scenarios.tasks.problems import CHARACTERS_PER_TOKEN

INSTRUCTION_TOKENS = 80
"""Tokens of the instructions before every question and of the chat template."""
ANSWER_TOKENS = 12
"""Tokens of an exemplar's answer and of the chat template around its turns."""
REPAIR_TOKENS = 600
"""Tokens of the failing cases and of what a repair is asked for."""


class RequestBatch(NamedTuple):
    """Requests of one kind to one agent."""

    counted_as: str
    """The field of `Counts`; empty: it counts towards the requests alone."""
    agent: Agent
    number: int
    prompt: int
    """Tokens of one prompt, without the agent's persona."""
    completion: int


def solving_batches(scenario: Scenario, problem_tokens: int) -> Iterator[RequestBatch]:
    """The requests of levels 1 and 2, and of level 3 where it rewrites rationales."""
    if not scenario.solves:
        return
    lesson, teacher, tps = scenario.lesson, scenario.teacher, scenario.task.problems
    question, length = question_tokens(scenario, problem_tokens), lesson.sampling.max_tokens
    trs = tps * lesson.rationales
    # At temperature 0 the only sampled TR is the greedy one.
    greedy = lesson.greedy and lesson.sampling.temperature != 0
    yield RequestBatch("greedy", teacher, tps * greedy, question, length)
    yield RequestBatch("teaching_rationales", teacher, trs, question, length)
    if lesson.self_debug:
        yield RequestBatch("repairs", teacher, tps * greedy + trs, question + length + REPAIR_TOKENS, length)
    # The TRs of every round are graded.
    graded = trs * (scenario.learn.rounds if 2 in scenario.levels else 1)
    exams = list(_exams(scenario, problem_tokens, trs, taught_tokens(scenario), graded=graded))
    yield from exams
    yield from (invented := list(_inventions(scenario, problem_tokens)))
    if lesson.equal_cost:
        further = _further(tps, question + length, length, [*invented, *exams])
        yield RequestBatch("further_rationales", teacher, further, question, length)
    yield from _baselines(scenario, problem_tokens)
    if 2 in scenario.levels:
        yield from _learn(scenario, problem_tokens)
    if scenario.rewrites:
        iterate = scenario.iterate
        rewritten = tps * min(iterate.beam, originals(scenario)) * len(scenario.students)
        answer = max(scenario.sampling_of(student).max_tokens for student in scenario.students)
        shown = problem_tokens + length + iterate.mistakes * (problem_tokens + answer)
        # A reflection that cannot be read is requested a second time.
        yield RequestBatch("reflections", teacher, 2 * rewritten, question + shown, iterate.writing.max_tokens)
        written = rewritten * iterate.revisions
        yield RequestBatch("revisions", teacher, written, question + shown, iterate.writing.max_tokens)
        yield from _exams(scenario, problem_tokens, written, iterate.writing.max_tokens, graded=written)


def _inventions(scenario: Scenario, problem_tokens: int) -> Iterator[RequestBatch]:
    """The exam problems that an agent writes, and its answers to them."""
    invent, (agent, sampling) = scenario.exam.invent, writer(scenario)
    written = scenario.task.problems * invent.candidates * (scenario.exam.maker == "invented")
    yield RequestBatch("invented", agent, written, INSTRUCTION_TOKENS + problem_tokens, sampling.max_tokens)
    question = question_tokens(scenario, problem_tokens)
    yield RequestBatch("invented_answers", agent, written * invent.answers, question, sampling.max_tokens)


def _baselines(scenario: Scenario, problem_tokens: int) -> Iterator[RequestBatch]:
    """The requests of `baselines`."""
    lesson, teacher, tps = scenario.lesson, scenario.teacher, scenario.task.problems
    question, length, judged = question_tokens(scenario, problem_tokens), lesson.sampling.max_tokens, scenario.baselines
    shown = INSTRUCTION_TOKENS + problem_tokens
    for student in scenario.students if "students_alone" in judged else ():
        sampling = scenario.sampling_of(student)
        yield RequestBatch("alone_answers", student, tps * draws(scenario, sampling), question, sampling.max_tokens)
    if "self_evaluation" in judged:
        ratings = tps * lesson.rationales * draws(scenario, lesson.sampling)
        yield RequestBatch("judgements", teacher, ratings, shown + length, length)
    if "universal" in judged and lesson.rationales > 1:
        yield RequestBatch("judgements", teacher, tps, shown + lesson.rationales * length, length)


def _further(tps: int, tokens: int, completion: int, exams: Sequence[RequestBatch]) -> int:
    """About how many further TRs the tokens of exams buy, at so many all in all and in the completion of each."""
    paid = [one for one in exams if one.counted_as != "grades"]
    completions = sum(one.number * one.completion for one in paid)
    prompts = sum(one.number * (one.prompt + persona_tokens(one.agent)) for one in paid)
    return min(tps * MOST, max((prompts + completions) // tokens, completions // completion))


def _exams(
    scenario: Scenario, problem_tokens: int, trs: int, tr_tokens: int, *, graded: int, counted_as: str = "exam_answers"
) -> Iterator[RequestBatch]:
    """The exams under `trs` rationales of `tr_tokens` tokens, the questions before them and the grades of `graded`."""
    exam, answer = scenario.exam, scenario.lesson.sampling.max_tokens
    prompt = question_tokens(scenario, problem_tokens) + problem_tokens + tr_tokens
    asking, grades = trs * exam.questions, graded * exam.problems * (exam.score == "logprob")
    for student in scenario.students:
        length = scenario.sampling_of(student).max_tokens
        dialogue = exam.questions * (length + answer)
        yield RequestBatch("questions", student, asking, prompt, length)
        yield RequestBatch("", scenario.teacher, asking, prompt + length, answer)
        answers = RequestBatch(counted_as, student, trs * exam.problems * exam.repeats, prompt + dialogue, length)
        yield answers
        if exam.self_debug:
            yield answers._replace(counted_as="repairs", prompt=answers.prompt + length + REPAIR_TOKENS)
        # A solution is about as long as its problem.
        yield RequestBatch("grades", student, grades, prompt + problem_tokens, 0)


def _learn(scenario: Scenario, problem_tokens: int) -> Iterator[RequestBatch]:
    """The requests of level 2 beyond those of level 1."""
    learn, teacher, tps = scenario.learn, scenario.teacher, scenario.task.problems
    question, length = question_tokens(scenario, problem_tokens), scenario.lesson.sampling.max_tokens
    trainings = learn.rounds * len(learn.arms) * learn.seeds
    measured = learn.held_out * ((1 + trainings) * (1 + learn.samples) + trainings)
    # Some TRs of a later round's teacher exist already: those that it was measured with.
    new = (learn.rounds - 1) * max(0, scenario.lesson.rationales - learn.rationales)
    trs = tps * (trainings * learn.rationales + new)
    yield RequestBatch("trainings", teacher, trainings, -persona_tokens(teacher), 0)
    yield RequestBatch("measured", teacher, measured, question, length)
    yield RequestBatch("likelihoods", teacher, 2 * learn.held_out * trainings, question + length, 0)
    yield RequestBatch("later_rationales", teacher, trs, question, length)
    yield from _exams(scenario, problem_tokens, trs, length, graded=0, counted_as="later_exam_answers")


def search_batches(scenario: Scenario, train: int, held_out: int, item_tokens: int) -> Iterator[RequestBatch]:
    """The requests of level 3 for sets of exemplars."""
    iterate, teacher = scenario.iterate, scenario.teacher
    number = Amounts(iterate, len(scenario.students) + iterate.itself, train, held_out).at_most
    exemplars, mistakes = exemplar_tokens(scenario, item_tokens)
    for stage, counted_as in (("reflect", "reflections"), ("write", "revisions")):
        yield RequestBatch(counted_as, teacher, number[stage], exemplars + mistakes, iterate.writing.max_tokens)
    longest = max(scenario.agents, key=persona_tokens)
    for stage, counted_as in (("exam", "exam_answers"), ("score", "own_answers"), ("test", "held_out_answers")):
        yield RequestBatch(counted_as, longest, number[stage], exemplars + item_tokens, iterate.answering.max_tokens)


# --- tokens ---------------------------------------------------------------------------------------------


def question_tokens(scenario: Scenario, problem_tokens: int) -> int:
    """Tokens of a question with its demonstrations: problems whose solutions are about as long again."""
    return INSTRUCTION_TOKENS + problem_tokens * (1 + 2 * scenario.task.demonstrations)


def taught_tokens(scenario: Scenario) -> int:
    """Tokens of what students are taught of a TR."""
    lesson, length = scenario.lesson, scenario.lesson.sampling.max_tokens
    # A repaired TR has the strategy of one text and the program of another.
    return length * (1 + lesson.self_debug) if lesson.material == "rationale" else min(length, ANSWER_TOKENS)


def exemplar_tokens(scenario: Scenario, item_tokens: int) -> tuple[int, int]:
    """Tokens of a set of exemplars, and of the mistakes that a reflection or revision shows."""
    iterate = scenario.iterate
    mistakes = iterate.mistakes * (iterate.reflections if iterate.mix else 1)
    return (
        INSTRUCTION_TOKENS + iterate.exemplars * (item_tokens + ANSWER_TOKENS),
        mistakes * (item_tokens + iterate.answering.max_tokens),
    )


def persona_tokens(agent: Agent) -> int:
    """Tokens of an agent's persona, which is in each of its prompts."""
    return -(-len(agent.persona) // CHARACTERS_PER_TOKEN)
