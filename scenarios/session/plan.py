"""What a class would ask, before anything starts: how much, who sits where, and in which order.

Cheap and without a model: `run.py plan` must answer at once. How much is counted is
scenarios/session/request_counts.py; where agents sit is decided elsewhere and comes in as plain rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scenarios.config.schema import Scenario
from scenarios.levels.iterate.budget import originals
from scenarios.report.formatting import many
from scenarios.session.request_counts import Counts

if TYPE_CHECKING:
    from rich.console import RenderableType


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
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
    dtype: str = ""
    why: str


def order(scenario: Scenario, counted: Counts) -> tuple[str, ...]:
    """The order of things in the class, a sentence each; `counted` is what the class asks."""
    return (
        *(_order_observe(scenario) if scenario.solves else ()),
        *(_order_learn(scenario, counted) if 2 in scenario.levels else ()),
        *(_order_rewrite(scenario) if scenario.rewrites else ()),
        *(_order_iterate(scenario, counted) if scenario.classifies else ()),
    )


def _order_rewrite(scenario: Scenario) -> tuple[str, ...]:
    one, teacher = scenario.iterate, scenario.teacher.name
    first = originals(scenario)
    return (
        f"Of the first {many(first, 'rationale')} of a problem {teacher} rewrites the best {min(one.beam, first)} "
        f"that an exam was failed with, {_times(one.revisions)} for each student that failed one: from at most "
        f"{many(one.mistakes, 'wrong answer')} of that student, and what misled it.",
        "What is rewritten is examined as any rationale, and compared with level 1 at as many completions.",
    )


def _order_iterate(scenario: Scenario, counted: Counts) -> tuple[str, ...]:
    one, teacher = scenario.iterate, scenario.teacher.name
    students = [student.name for student in scenario.students] + [f"{teacher} itself"] * one.itself
    start = "writes" if one.start == "description" else "takes from the training items"
    steps = [
        f"{teacher} {start} {many(one.beam, 'set')} of {many(one.exemplars, 'exemplar')}.",
        f"{many(one.rounds, 'round')}: {_answer(students)} {many(counted.minibatch, 'training item')} with each set; "
        f"{teacher} says {_times(one.reflections)} per set what misled them, and writes "
        f"{many(one.revisions, 'new set')} for each.",
        f"{teacher} answers {many(counted.score_items, 'training item')} with every set; the best "
        f"{'is' if one.beam == 1 else f'{one.beam} are'} kept. Its answers to held-out items with the best one are "
        "reported, and choose nothing.",
    ]
    if one.curriculum != "all":
        first = one.curriculum.partition("_")[0]
        steps.append(f"Students join over the rounds, {first} ones first, as the exams of round 1 have them.")
    if one.baselines:
        steps.append(f"For comparison: {', '.join(one.baselines)}.")
    if one.repeats > 1:
        steps.append(f"All of this {_times(one.repeats)}, independently.")
    return tuple(steps)


def _answer(names: Sequence[str]) -> str:
    """`ada answers`, `ada, bob answer`."""
    return f"{', '.join(names)} answer{'s' * (len(names) == 1)}"


def _order_observe(scenario: Scenario) -> tuple[str, ...]:
    lesson, exam = scenario.lesson, scenario.exam
    task = scenario.task
    source = task.family or Path(task.file or "").name
    names = [student.name for student in scenario.students]
    greedy = " once greedily, then" if lesson.greedy else ""
    return (
        f"{many(task.problems, 'teaching problem')} of {source}, each with {many(exam.problems, 'exam problem')}, "
        f"drawn with seed {scenario.seed}.",
        f"{scenario.teacher.name} answers each{greedy} {_times(lesson.rationales)} with a sampled rationale.",
        f"As soon as a rationale has an answer, {_answer(names)} its exam problems, "
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


def _order_learn(scenario: Scenario, counted: Counts) -> tuple[str, ...]:
    learn, teacher = scenario.learn, scenario.teacher.name
    recipe = learn.training
    what = "an adapter" if recipe.lora else "all weights"
    again = f" The teacher of {learn.lead} then begins the next of {learn.rounds} rounds." if learn.rounds > 1 else ""
    scores = f"{learn.weight:g} correctness, {1 - learn.weight:g} exams"
    chosen = (
        f"The best rationale of each problem is taken by its score ({scores}), if the worst is behind by more than "
        f"{learn.gap:g}."
        if recipe.method == "sft"
        else f"Rationales of a problem whose scores ({scores}) differ by more than {learn.gap:g} make pairs, at most "
        f"{counted.pairs_per_problem} per problem."
    )
    return (
        chosen,
        f"{teacher} is trained on them ({recipe.method}, {what}): {', '.join(learn.arms)}, "
        f"each {_times(learn.seeds)} from the same weights, on equally many.",
        f"The original and every trained teacher answer {many(learn.held_out, 'held-out problem')} greedily and "
        f"{_times(learn.samples)} sampled; the trained ones write {many(learn.rationales, 'new rationale')} per "
        f"teaching problem for the same exams.{again}",
    )


def _rows_of_level_2(scenario: Scenario, counted: Counts) -> tuple[tuple[str, int, str], ...]:
    what = "best rationales" if scenario.learn.training.method == "sft" else "preference pairs"
    return (
        ("trainings", counted.trainings, "at most"),
        (f"{what} in each", counted.pairs, "at most"),
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


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def to_dict(scenario: Scenario, counted: Counts, rows: Sequence[PlanRow]) -> dict[str, Any]:
    """The plan for programs (`--json`)."""
    return {
        "scenario": scenario.name,
        "level": scenario.level,
        "seed": scenario.seed,
        "counts": msgspec.to_builtins(counted),
        "agents": [msgspec.to_builtins(row) for row in rows],
        "order": list(order(scenario, counted)),
    }


def tables(scenario: Scenario, counted: Counts, rows: Sequence[PlanRow], notes: Sequence[str] = ()) -> "RenderableType":
    """The plan for people: counts, who sits where, the order of things; `notes` stand below the seats."""
    from rich.console import Group
    from rich.text import Text

    from scenarios.report.layout import Ruled, Sentences, Trimmed

    amounts = Ruled(f"{scenario.name}: what it asks")
    amounts.add_column("what")
    amounts.add_column("how many", right=True)
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
        *(_rows_of_level_2(scenario, counted) if counted.trainings else ()),
        *(rows_of_level_3 if scenario.classifies else ()),
        *(rows_of_rewriting if scenario.rewrites else ()),
        ("requests", counted.requests, "at most"),
        ("prompt tokens", counted.prompt_tokens, "about, at most"),
        ("completion tokens", counted.completion_tokens, "at most"),
    ):
        amounts.add_row(label, f"{number:,}", note)
    steps = [Sentences(f"{number}. {step}") for number, step in enumerate(order(scenario, counted), 1)]
    sitting: list[RenderableType] = [Text(), seating(rows)] if rows else []
    sitting += [Sentences(note) for note in notes]
    return Trimmed(Group(amounts, *sitting, Text("\nThe order of things", style="bold"), *steps))


def seating(rows: Sequence[PlanRow]) -> "RenderableType":
    """Who sits where, why, and what it takes of memory, for people."""
    from rich.console import Group
    from rich.text import Text

    from scenarios.report.formatting import harmless
    from scenarios.report.layout import Ruled, Sentences, Trimmed

    seats = Ruled("Who sits where")
    for heading in ("agent", "role", "model", "size", "engine", "device"):
        seats.add_column(heading, fold=heading in ("agent", "model", "device"))
    for row in rows:
        seats.add_row(*map(harmless, (row.name, row.role, row.model, row.size, row.engine, row.device)))
    whys = dict.fromkeys(row.why for row in rows if row.why)
    reasons = [Sentences(f"{', '.join(row.name for row in rows if row.why == why)}: {why}") for why in whys]
    memory = Ruled("Memory, about, in GB (10^9 bytes)")
    memory.add_column("agent", fold=True)
    for heading in ("weights", "keys and\nvalues", "engine\nitself", "in all", "share of\nits GPUs"):
        memory.add_column(heading, right=True)
    for row in (row for row in rows if row.weights_mb):
        mbs = (row.weights_mb, row.cache_mb, row.engine_mb)
        share = "-" if row.memory_share is None else f"{row.memory_share * 100:.0f} %"
        memory.add_row(harmless(row.name), *(f"{mb / 1000:.1f}" for mb in (*mbs, sum(mbs))), share)
    taking: list[RenderableType] = [Text(), memory] if memory.row_count else []
    return Trimmed(Group(seats, *reasons, *taking))
