"""How much a class asks, before anything starts: requests, tokens, pairs. Pure, cheap and without a model.

Tokens are estimates from above; TRs without an answer or alike save exams, and only the class can know. How it is
shown is scenarios/session/plan.py.
"""

from pathlib import Path

import msgspec

from broker.errors import ScenarioError
from scenarios.config.schema import Agent, Scenario
from scenarios.levels.iterate.budget import Amounts, rewrite_amounts

INSTRUCTION_TOKENS = 80
"""The instructions before every question, and the marks of a chat."""
CHARACTERS_PER_TOKEN = 4
MOST_REQUESTS = 10_000_000
"""A level holds all of its requests in memory, about a kilobyte each."""
ANSWER_TOKENS = 12
"""An exemplar's answer, and the marks of its turns."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much a class asks."""

    teaching_problems: int
    teaching_rationales: int
    greedy: int
    """Greedy answers of the teacher, the baseline."""
    exam_answers: int
    """At most: identical TRs are examined once, TRs without an answer not at all."""
    questions: int = 0
    """Of students before their exams, and as many answers of the teacher, at most."""
    grades: int = 0
    """Solutions of exams that students say the log-probability of, at most; 0 unless exam.score is logprob."""
    reflections: int = 0
    """Level 3, at most: how often the teacher says what misled its students."""
    revisions: int = 0
    """Level 3, at most: sets of exemplars, or rationales, that the teacher writes."""
    own_answers: int = 0
    """Level 3, at most: the teacher's own answers to training items."""
    held_out_answers: int = 0
    """Level 3, at most: its answers to held-out items."""
    minibatch: int = 0
    """Level 3: training items of a round, `iterate.minibatch` or all there are."""
    score_items: int = 0
    """Level 3: training items that every set is scored with, likewise."""
    pairs_per_problem: int = 0
    """Level 2: pairs of one teaching problem in one training, at most."""
    trainings: int = 0
    """At level 2."""
    pairs: int = 0
    """Preference pairs of one training, at most; with sft, the best rationales."""
    tokens_per_pair: int = 0
    """About, at most: of both answers, each with the prompt."""
    measured: int = 0
    """Answers of teachers to held-out problems."""
    likelihoods: int = 0
    """How likely trained teachers and the original find what those wrote."""
    later_rationales: int = 0
    """New TRs of trained teachers."""
    later_exam_answers: int = 0
    """At most: exams under those."""
    requests: int
    """At most."""
    prompt_tokens: int
    """About, at most; prefix caching makes most of them cheap."""
    completion_tokens: int
    """At most: every answer as long as max_tokens lets it be."""


def counts(scenario: Scenario) -> Counts:
    """How much `scenario` asks, all its levels together.

    Raises:
        TaskError: one of its tasks cannot be built.
        ScenarioError: it asks more than MOST_REQUESTS.
    """
    from scenarios.tasks import build
    from scenarios.tasks.sources import labelled

    build.check_class(scenario, folder=Path())
    parts = []
    if scenario.solves:
        parts.append(count(scenario, build.typical_tokens(scenario.task, Path())))
    if scenario.rewrites:
        parts.append(count_rewrite(scenario, build.typical_tokens(scenario.task, Path())))
    if scenario.classifies:
        texts = scenario.iterate.task
        sizes = labelled.sizes(texts, Path()) or (texts.train or scenario.iterate.score_items, texts.dev + texts.test)
        parts.append(count_iterate(scenario, *sizes, labelled.typical_tokens(texts, Path())))
    whole = [msgspec.structs.asdict(part) for part in parts]
    counted = Counts(**{name: sum(part[name] for part in whole) for name in Counts.__struct_fields__})
    if counted.requests > MOST_REQUESTS:
        raise ScenarioError(
            f"this class asks up to {counted.requests:,} requests; {MOST_REQUESTS:,} are supported\n"
            "Lower the numbers of problems, rationales, repeats or students, or run several classes."
        )
    return counted


def count(scenario: Scenario, problem_tokens: int) -> Counts:
    """How much level 1 of `scenario` asks, when a problem of its task is `problem_tokens` long."""
    lesson, exam = scenario.lesson, scenario.exam
    tps = scenario.task.problems
    trs = tps * lesson.rationales
    greedy = tps if lesson.greedy else 0
    sittings = trs * exam.problems * exam.repeats
    question = INSTRUCTION_TOKENS + problem_tokens * (1 + 2 * scenario.task.demonstrations)  # a solution: as long again
    material = problem_tokens + lesson.sampling.max_tokens
    prompts = (trs + greedy) * (question + _persona_tokens(scenario.teacher))
    prompts += sum(sittings * (question + material + _persona_tokens(student)) for student in scenario.students)
    # A worked solution: about as long again as its problem. The TRs of every round are graded.
    rounds = scenario.learn.rounds if 2 in scenario.levels else 1
    grades = trs * exam.problems * rounds if exam.score == "logprob" else 0
    prompts += sum(grades * (question + material + problem_tokens + _persona_tokens(s)) for s in scenario.students)
    grades *= len(scenario.students)
    eas = sittings * len(scenario.students)
    questions = trs * len(scenario.students) * exam.questions
    said = exam.sampling.max_tokens + lesson.sampling.max_tokens
    personas = sum(map(_persona_tokens, scenario.students)) * trs * exam.questions
    prompts += questions * (2 * (question + material) + exam.sampling.max_tokens) + personas
    prompts += questions * (_persona_tokens(scenario.teacher) + exam.problems * exam.repeats * said)
    later = _learn(scenario)
    prompts += (later.measured + later.likelihoods + later.later_rationales) * (
        question + _persona_tokens(scenario.teacher)
    )
    prompts += later.likelihoods * lesson.sampling.max_tokens  # the text whose likelihood is asked for
    own = [question + material + _persona_tokens(student) for student in scenario.students]
    prompts += later.later_exam_answers * sum(own) // len(own)
    taught = greedy + trs + later.measured + later.later_rationales
    examined = eas + later.later_exam_answers
    answer = min(question + lesson.sampling.max_tokens, scenario.learn.training.max_tokens)
    return msgspec.structs.replace(
        later,
        tokens_per_pair=2 * answer if later.trainings else 0,
        teaching_problems=tps,
        teaching_rationales=trs,
        greedy=greedy,
        exam_answers=eas,
        grades=grades,
        questions=questions,
        requests=taught + examined + grades + 2 * questions + later.trainings + later.likelihoods,
        prompt_tokens=prompts,
        completion_tokens=taught * lesson.sampling.max_tokens + examined * exam.sampling.max_tokens + questions * said,
    )


def _learn(scenario: Scenario) -> Counts:
    """What level 2 asks besides a class of level 1."""
    none = Counts(
        teaching_problems=0,
        teaching_rationales=0,
        greedy=0,
        exam_answers=0,
        requests=0,
        prompt_tokens=0,
        completion_tokens=0,
    )
    if 2 not in scenario.levels:
        return none
    learn, lesson, exam, tps = scenario.learn, scenario.lesson, scenario.exam, scenario.task.problems
    trainings = learn.rounds * len(learn.arms) * learn.seeds
    # A later round's teacher has written some of its TRs before, to be measured by.
    trs = tps * (trainings * learn.rationales + (learn.rounds - 1) * max(0, lesson.rationales - learn.rationales))
    of_a_tp = min(learn.pairs_per_tp, lesson.rationales * learn.uses_per_rationale // 2)
    if learn.training.method == "sft":
        of_a_tp = 1
    of_a_tp = min(of_a_tp, lesson.rationales * (lesson.rationales - 1) // 2)
    return msgspec.structs.replace(
        none,
        trainings=trainings,
        pairs=tps * of_a_tp,
        pairs_per_problem=of_a_tp,
        measured=learn.held_out * ((1 + trainings) * (1 + learn.samples) + trainings),
        likelihoods=2 * learn.held_out * trainings,
        later_rationales=trs,
        later_exam_answers=trs * exam.problems * exam.repeats * len(scenario.students),
    )


def count_iterate(scenario: Scenario, train: int, held_out: int, item_tokens: int) -> Counts:
    """How much level 3 of `scenario` asks.

    Args:
        scenario: the class.
        train: its training items.
        held_out: its held-out items.
        item_tokens: how long an item is.
    """
    one = scenario.iterate
    asked = Amounts(one, len(scenario.students) + one.itself, train, held_out).at_most
    written, answered = asked["reflect"] + asked["write"], asked["exam"] + asked["score"] + asked["test"]
    shown = INSTRUCTION_TOKENS + one.exemplars * (item_tokens + ANSWER_TOKENS)
    mistakes = one.mistakes * (one.reflections if one.mix else 1) * (item_tokens + one.answering.max_tokens)
    personas = [_persona_tokens(agent) for agent in scenario.agents]
    return Counts(
        teaching_problems=0,
        teaching_rationales=0,
        greedy=0,
        exam_answers=asked["exam"],
        reflections=asked["reflect"],
        revisions=asked["write"],
        own_answers=asked["score"],
        held_out_answers=asked["test"],
        minibatch=min(one.minibatch, train),
        score_items=min(one.score_items, train),
        requests=asked.total(),
        prompt_tokens=answered * (shown + item_tokens + max(personas)) + written * (shown + mistakes + personas[0]),
        completion_tokens=answered * one.answering.max_tokens + written * one.writing.max_tokens,
    )


def count_rewrite(scenario: Scenario, problem_tokens: int) -> Counts:
    """How much level 3 of `scenario` asks beyond level 1, where rationales are rewritten."""
    one, lesson, exam = scenario.iterate, scenario.lesson, scenario.exam
    asked = rewrite_amounts(scenario)
    writes, eas = asked["write"], asked["exam"]
    question = INSTRUCTION_TOKENS + problem_tokens * (1 + 2 * scenario.task.demonstrations)
    shown = problem_tokens + lesson.sampling.max_tokens + one.mistakes * (problem_tokens + exam.sampling.max_tokens)
    written = asked["reflect"] + writes
    material = problem_tokens + one.writing.max_tokens
    each = (eas + asked["grade"] + asked["ask"] + asked["explain"]) // len(scenario.students)
    return Counts(
        teaching_problems=0,
        teaching_rationales=0,
        greedy=0,
        exam_answers=eas,
        grades=asked["grade"],
        questions=asked["ask"],
        reflections=asked["reflect"],
        revisions=writes,
        requests=asked.total(),
        prompt_tokens=written * (question + shown + _persona_tokens(scenario.teacher))
        + sum(each * (question + material + _persona_tokens(student)) for student in scenario.students),
        completion_tokens=written * one.writing.max_tokens
        + (eas + asked["ask"]) * exam.sampling.max_tokens
        + asked["explain"] * lesson.sampling.max_tokens,
    )


class AgentWork(msgspec.Struct, frozen=True):
    """What one agent is asked, for the memory that it takes."""

    requests: int
    """At most; 0: not known."""
    tokens: int
    """Prompt and completion of its longest request, about."""


def problem_tokens(scenario: Scenario) -> int:
    """About how many tokens the longest of a class's problems and labelled texts have.

    Raises:
        TaskError: one of its tasks cannot be built.
    """
    from scenarios.tasks import build
    from scenarios.tasks.sources import labelled

    problem = build.typical_tokens(scenario.task, Path()) if scenario.solves else 0
    return max(problem, labelled.typical_tokens(scenario.iterate.task, Path()) if scenario.classifies else 0)


def asked(scenario: Scenario, problem_tokens: int) -> dict[str, AgentWork]:
    """What each agent is asked, when a problem or labelled text is `problem_tokens` long."""
    from scenarios.tasks.demonstrations import demonstrations

    lesson, exam, one = scenario.lesson.sampling.max_tokens, scenario.exam.sampling.max_tokens, scenario.iterate
    taught, examined = [0], [0]
    question = INSTRUCTION_TOKENS + problem_tokens
    if scenario.solves:
        worked = demonstrations(scenario.task.family or "number", scenario.task.demonstrations)
        question += sum(len(each.problem) + len(each.rationale) for each in worked) // CHARACTERS_PER_TOKEN
        dialogue = scenario.exam.questions * (exam + lesson)
        taught.append(question + lesson + scenario.exam.questions * (problem_tokens + dialogue))
        answer = max(exam, problem_tokens) if scenario.exam.score == "logprob" else exam
        examined.append(question + problem_tokens + lesson + dialogue + answer)
    if scenario.rewrites:
        mistakes = one.mistakes * (problem_tokens + exam)
        taught.append(question + problem_tokens + lesson + mistakes + one.writing.max_tokens)
        examined.append(question + problem_tokens + one.writing.max_tokens + exam)
    if scenario.classifies:
        exemplars = INSTRUCTION_TOKENS + one.exemplars * (problem_tokens + ANSWER_TOKENS)
        mistakes = one.mistakes * (one.reflections if one.mix else 1) * (problem_tokens + one.answering.max_tokens)
        examined.append(exemplars + problem_tokens + one.answering.max_tokens)
        taught += [exemplars + mistakes + one.writing.max_tokens, examined[-1]]
    requests = dict.fromkeys((agent.name for agent in scenario.agents), 0)
    if scenario.solves and not scenario.classifies:
        counted = [count(scenario, problem_tokens)]
        counted += [count_rewrite(scenario, problem_tokens)] if scenario.rewrites else []
        of_students = sum(one.exam_answers + one.later_exam_answers + one.grades + one.questions for one in counted)
        requests |= {student.name: of_students // len(scenario.students) for student in scenario.students}
        requests[scenario.teacher.name] = sum(one.requests for one in counted) - of_students
    return {
        agent.name: AgentWork(
            requests[agent.name], max(taught if agent is scenario.teacher else examined) + _persona_tokens(agent)
        )
        for agent in scenario.agents
    }


def _persona_tokens(agent: Agent) -> int:
    return -(-len(agent.persona) // CHARACTERS_PER_TOKEN)
