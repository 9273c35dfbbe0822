"""What a class would ask, before anything starts: counts, who sits where, and in which order.

Pure, cheap and without a model: `run.py plan` must answer at once. Where agents sit is decided elsewhere and
comes in as plain rows. Tokens are estimates from above; TRs without an answer or alike save exams, and only
the class can know.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scenarios.levels.amounts import Amounts, originals, rewrite_amounts
from scenarios.schema import Agent, Scenario

if TYPE_CHECKING:
    from rich.console import RenderableType

INSTRUCTION_TOKENS = 80
"""The instructions before every question, and the marks of a chat."""
CHARACTERS_PER_TOKEN = 4
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
    trainings: int = 0
    """At level 2."""
    pairs: int = 0
    """Preference pairs of one training, at most."""
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


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One agent in the plan, all in words."""

    name: str
    role: str
    model: str
    size: str
    """Of the weights: `1.3 GB`; empty where there are none."""
    needs: str = ""
    """Memory it cannot do without, about; the next three are what it will take, on GPUs as much as it is granted."""
    weights_mb: int = 0
    """0, like the next two: needs none, or not known."""
    cache_mb: int = 0
    """Keys and values."""
    engine_mb: int = 0
    """The engine itself: libraries, activations, buffers."""
    memory_share: float | None = None
    """Of each of its GPUs; None: it has none."""
    engine: str
    device: str
    why: str


def counts(scenario: Scenario) -> Counts:
    """How much `scenario` asks, all its levels together.

    Raises:
        TaskError: one of its tasks cannot be built.
    """
    from scenarios.tasks import build, labelled

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
    return Counts(**{name: sum(part[name] for part in whole) for name in Counts.__struct_fields__})


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
    # A worked solution: about as long again as its problem.
    grades = trs * exam.problems if exam.score == "logprob" else 0
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
    trainings = learn.rounds * len(learn.arms)
    # A later round's teacher has written some of its TRs before, to be measured by.
    trs = tps * (trainings * learn.rationales + (learn.rounds - 1) * max(0, lesson.rationales - learn.rationales))
    of_a_tp = min(learn.pairs_per_tp, lesson.rationales * learn.uses_per_rationale // 2)
    return msgspec.structs.replace(
        none,
        trainings=trainings,
        pairs=tps * min(of_a_tp, lesson.rationales * (lesson.rationales - 1) // 2),
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


def _persona_tokens(agent: Agent) -> int:
    return -(-len(agent.persona) // CHARACTERS_PER_TOKEN)


def order(scenario: Scenario) -> tuple[str, ...]:
    """The order of things in the class, a sentence each."""
    return (
        *(_order_observe(scenario) if scenario.solves else ()),
        *(_order_learn(scenario) if 2 in scenario.levels else ()),
        *(_order_rewrite(scenario) if scenario.rewrites else ()),
        *(_order_iterate(scenario) if scenario.classifies else ()),
    )


def _order_rewrite(scenario: Scenario) -> tuple[str, ...]:
    one, teacher = scenario.iterate, scenario.teacher.name
    first = originals(scenario)
    return (
        f"Of the first {_many(first, 'rationale')} of a problem {teacher} rewrites the best {one.beam} that an exam "
        f"was failed with, {_times(one.revisions)} for each student that failed one: from {one.mistakes} of its wrong "
        "answers at most, and what misled it.",
        "What is rewritten is examined as any rationale, and compared with level 1 at as many completions.",
    )


def _order_iterate(scenario: Scenario) -> tuple[str, ...]:
    one, teacher = scenario.iterate, scenario.teacher.name
    names = ", ".join([student.name for student in scenario.students] + [f"{teacher} itself"] * one.itself)
    start = "writes" if one.start == "description" else "takes from the training items"
    steps = [
        f"{teacher} {start} {_many(one.beam, 'set')} of {one.exemplars} exemplars.",
        f"{_many(one.rounds, 'round')}: {names} answer {one.minibatch} training items with each set; {teacher} says "
        f"{_times(one.reflections)} per set what misled them, and writes {one.revisions} new sets for each.",
        f"{teacher} answers {one.score_items} training items with every set; the best {one.beam} are kept. Its answers "
        "to held-out items with the best one are reported, and choose nothing.",
    ]
    if one.curriculum != "all":
        first = one.curriculum.partition("_")[0]
        steps.append(f"Students join over the rounds, {first} ones first, as the exams of round 1 have them.")
    if one.baselines:
        steps.append(f"For comparison: {', '.join(one.baselines)}.")
    if one.repeats > 1:
        steps.append(f"All of this {_times(one.repeats)}, independently.")
    return tuple(steps)


def _order_observe(scenario: Scenario) -> tuple[str, ...]:
    lesson, exam = scenario.lesson, scenario.exam
    task = scenario.task
    source = task.family or Path(task.file or "").name
    names = ", ".join(student.name for student in scenario.students)
    greedy = " once greedily, then" if lesson.greedy else ""
    return (
        f"{_many(task.problems, 'teaching problem')} of {source}, each with {_many(exam.problems, 'exam problem')}, "
        f"drawn with seed {scenario.seed}.",
        f"{scenario.teacher.name} answers each{greedy} {_times(lesson.rationales)} with a sampled rationale.",
        f"As soon as a rationale has an answer, {names} answer{'s' * (len(scenario.students) == 1)} its exam problems, "
        f"each {_times(exam.repeats)}, with the rationale as their example.",
        *(
            [f"Before that each asks one question about the rationale, and {scenario.teacher.name} answers it."]
            if exam.questions
            else []
        ),
        *_grading(scenario),
        "Per problem, exam scores choose an answer (MAX, SUM), next to greedy decoding and self-consistency."
        if lesson.greedy
        else "Per problem, exam scores choose an answer (MAX, SUM), next to self-consistency.",
    )


def _order_learn(scenario: Scenario) -> tuple[str, ...]:
    learn, teacher = scenario.learn, scenario.teacher.name
    recipe, lead = learn.training, "m2" if "m2" in learn.arms else learn.arms[0]
    what = "an adapter" if recipe.lora else "all weights"
    again = f" The teacher of {lead} then begins the next of {learn.rounds} rounds." if learn.rounds > 1 else ""
    scores = f"{learn.weight:g} correctness, {1 - learn.weight:g} exams"
    return (
        f"Rationales of a problem whose scores ({scores}) differ by more than {learn.gap:g} make pairs, at most "
        f"{learn.pairs_per_tp} per problem.",
        f"{teacher} is trained on them ({recipe.method}, {what}): {', '.join(learn.arms)}, "
        "each from the same weights, on as many pairs.",
        f"The original and every trained teacher answer {_many(learn.held_out, 'held-out problem')} greedily and "
        f"{_times(learn.samples)} sampled; the trained ones write {_many(learn.rationales, 'new rationale')} per "
        f"teaching problem for the same exams.{again}",
    )


def _rows_of_level_2(counted: Counts) -> tuple[tuple[str, int, str], ...]:
    return (
        ("trainings", counted.trainings, "at most"),
        ("preference pairs in each", counted.pairs, "at most"),
        ("answers to held-out problems", counted.measured, "at most"),
        ("likelihoods of such answers", counted.likelihoods, "at most"),
        ("new rationales", counted.later_rationales, "at most"),
        ("exam answers under them", counted.later_exam_answers, "at most"),
    )


def _grading(scenario: Scenario) -> tuple[str, ...]:
    if scenario.exam.score != "logprob":
        return ()
    return (
        "Each student also says once per rationale and exam problem how likely it finds the worked solution; these "
        "dense scores choose, too.",
    )


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def to_dict(scenario: Scenario, counted: Counts, rows: Sequence[Row]) -> dict[str, Any]:
    """The plan for programs (`--json`)."""
    return {
        "scenario": scenario.name,
        "level": scenario.level,
        "seed": scenario.seed,
        "counts": msgspec.to_builtins(counted),
        "agents": [msgspec.to_builtins(row) for row in rows],
        "order": list(order(scenario)),
    }


def tables(scenario: Scenario, counted: Counts, rows: Sequence[Row], notes: Sequence[str] = ()) -> "RenderableType":
    """The plan for people: counts, who sits where, the order of things; `notes` stand below the seats."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    amounts = Table(box=SIMPLE_HEAD, title=f"{scenario.name}: what it asks", title_justify="left")
    amounts.add_column("what")
    amounts.add_column("how many", justify="right")
    amounts.add_column("")
    rows_of_level_1 = (
        ("teaching problems (TPs)", counted.teaching_problems, ""),
        ("teaching rationales (TRs)", counted.teaching_rationales, ""),
        ("greedy answers", counted.greedy, ""),
    )
    rows_of_level_3 = (
        ("reflections", counted.reflections, "at most"),
        ("sets of exemplars written", counted.revisions, "at most"),
        ("teacher's own answers, training", counted.own_answers, "at most"),
        ("teacher's own answers, held out", counted.held_out_answers, "at most"),
    )
    rows_of_rewriting = (
        ("reflections", counted.reflections, "at most"),
        ("rationales rewritten", counted.revisions, "at most"),
    )
    for label, number, note in (
        *(rows_of_level_1 if scenario.solves else ()),
        ("exam answers (EAs)", counted.exam_answers, "at most"),
        *([("questions, and as many answers", counted.questions, "at most")] if counted.questions else []),
        *([("solutions graded", counted.grades, "at most")] if counted.grades else []),
        *(_rows_of_level_2(counted) if counted.trainings else ()),
        *(rows_of_level_3 if scenario.classifies else ()),
        *(rows_of_rewriting if scenario.rewrites else ()),
        ("requests", counted.requests, "at most"),
        ("prompt tokens", counted.prompt_tokens, "about, at most"),
        ("completion tokens", counted.completion_tokens, "at most"),
    ):
        amounts.add_row(label, f"{number:,}", note)
    steps = [Text(f"{number}. {step}") for number, step in enumerate(order(scenario), 1)]
    sitting: list[RenderableType] = [seating(rows)] if rows else []
    sitting += [Text(note) for note in notes]
    return Group(amounts, *sitting, Text("\nThe order of things", style="italic"), *steps)


def seating(rows: Sequence[Row]) -> "RenderableType":
    """Who sits where, why, and what it takes of memory, for people."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from scenarios.monitor.lines import harmless

    seats = Table(box=SIMPLE_HEAD, title="Who sits where", title_justify="left", pad_edge=False, collapse_padding=True)
    for heading in ("agent", "role", "model", "size", "engine", "device"):
        seats.add_column(heading, overflow="fold")
    for row in rows:
        cells = (row.name, row.role, row.model, row.size, row.engine, row.device)
        seats.add_row(*(Text(harmless(cell)) for cell in cells))
    whys = dict.fromkeys(row.why for row in rows if row.why)
    reasons = [Text(f"{', '.join(row.name for row in rows if row.why == why)}: {why}") for why in whys]
    memory = Table(
        box=SIMPLE_HEAD, title="Memory, about, in GB", title_justify="left", pad_edge=False, collapse_padding=True
    )
    memory.add_column("agent", overflow="fold")
    for heading in ("weights", "keys and values", "engine itself", "in all", "share of its GPUs"):
        memory.add_column(heading, justify="right")
    taking = [row for row in rows if row.weights_mb]
    for row in taking:
        mbs = (row.weights_mb, row.cache_mb, row.engine_mb)
        share = "" if row.memory_share is None else f"{row.memory_share * 100:.0f} %"
        memory.add_row(Text(harmless(row.name)), *(f"{mb / 1000:.1f}" for mb in (*mbs, sum(mbs))), share)
    return Group(seats, *reasons, "", memory) if taking else Group(seats, *reasons)
