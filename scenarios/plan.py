"""What a class would ask, before anything starts: how much, who sits where, and in which order.

Cheap and without a model: `run.py plan` must answer at once. How much is counted is scenarios/counts.py; where agents
sit is decided elsewhere and comes in as plain rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scenarios.counts import Counts
from scenarios.levels.amounts import originals
from scenarios.schema import Scenario

if TYPE_CHECKING:
    from rich.console import RenderableType


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
    recipe = learn.training
    what = "an adapter" if recipe.lora else "all weights"
    again = f" The teacher of {learn.lead} then begins the next of {learn.rounds} rounds." if learn.rounds > 1 else ""
    scores = f"{learn.weight:g} correctness, {1 - learn.weight:g} exams"
    chosen = (
        f"The best rationale of each problem is taken by its score ({scores}), if the worst is behind by more than "
        f"{learn.gap:g}."
        if recipe.method == "sft"
        else f"Rationales of a problem whose scores ({scores}) differ by more than {learn.gap:g} make pairs, at most "
        f"{learn.pairs_per_tp} per problem."
    )
    return (
        chosen,
        f"{teacher} is trained on them ({recipe.method}, {what}): {', '.join(learn.arms)}, "
        f"each {_times(learn.seeds)} from the same weights, on equally many.",
        f"The original and every trained teacher answer {_many(learn.held_out, 'held-out problem')} greedily and "
        f"{_times(learn.samples)} sampled; the trained ones write {_many(learn.rationales, 'new rationale')} per "
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
        *(_rows_of_level_2(scenario, counted) if counted.trainings else ()),
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
        box=SIMPLE_HEAD,
        title="Memory, about, in GB (10^9 bytes)",
        title_justify="left",
        pad_edge=False,
        collapse_padding=True,
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
