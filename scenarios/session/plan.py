"""The plan of a class, formatted: its counts, the seats of its agents and the order of its steps.

scenarios/session/request_counts.py computes the counts; agents/placement chooses the seats, which come in as rows.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scenarios.config.schema import Exam, Scenario
from scenarios.config.validate import copy_names
from scenarios.levels.iterate.budget import originals
from scenarios.report.console import print_json, say
from scenarios.report.formatting import entries, many, money, several
from scenarios.scoring.equal_cost import MOST
from scenarios.session.request_counts import Counts
from scenarios.session.seating import seating
from scenarios.tasks.build import asks_for_programs

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

AT_MOST = "at most"
ESTIMATED = "at most, estimated"


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One agent of the plan, ready to print."""

    name: str
    role: str
    model: str
    size: str
    """Size of the weights, such as `1.3 GB`; empty where there are none."""
    needs: str = ""
    """The least memory that it can work with, estimated."""
    weights_mb: int = 0
    """Estimated use of memory, as are the next two; 0: none, or unknown."""
    cache_mb: int = 0
    """Keys and values; on a GPU, as much as its share allows."""
    engine_mb: int = 0
    """Libraries, activations and buffers of the engine."""
    memory_share: float | None = None
    """Share of each of its GPUs; None: it has no GPU."""
    engine: str
    device: str
    dtype: str = ""
    why: str


def order(scenario: Scenario, counted: Counts) -> tuple[str, ...]:
    """The steps of the class in their order, a sentence each."""
    return (
        *(_order_observe(scenario, counted) if scenario.solves else ()),
        *(_order_learn(scenario, counted) if 2 in scenario.levels else ()),
        *(_order_rewrite(scenario) if scenario.rewrites else ()),
        *(_order_iterate(scenario, counted) if scenario.classifies else ()),
    )


def unprotected(scenario: Scenario) -> list[str]:
    """A warning where programs of models would run without a sandbox; its files are in the current folder."""
    if scenario.task.sandbox != "none" or not asks_for_programs(scenario, folder=Path()):
        return []
    return [
        "programs that models write run without a sandbox (task.sandbox: none): they can read, change and send "
        "whatever you can"
    ]


def _order_observe(scenario: Scenario, counted: Counts) -> Iterator[str]:
    lesson, exam, task, teacher = scenario.lesson, scenario.exam, scenario.task, scenario.teacher.name
    source = task.family or Path(task.file or "").name
    taught = "it" if lesson.material == "rationale" else "the problem with nothing but its answer"
    greedy = " once greedily (temperature 0) and" if lesson.greedy else ""
    exams = (
        f"each with at most {many(exam.problems, 'exam problem')} that {exam.invent.by or teacher} writes"
        if exam.maker == "invented"
        else _exam_problems(exam)
    )
    yield f"Seed {scenario.seed} draws {many(task.problems, 'teaching problem')} of {source}, {exams}."
    if exam.abstain_below is not None:
        yield (
            f"If the most similar exam problem of a problem is less similar than {exam.abstain_below:g}, the problem "
            "has no exams, and the majority vote chooses its answer. The class counts these problems when it begins."
        )
    if exam.maker == "invented":
        by = exam.invent.by or teacher
        yield (
            f"{by} writes {many(exam.invent.candidates, 'candidate')} for exam problems like each teaching problem, "
            f"and answers each candidate {_times(exam.invent.answers)}. The first candidates with an answer that more "
            "than half agree on are the exam problems. A teaching problem without any has no exams, and the majority "
            "vote chooses its answer."
        )
    yield (
        f"{teacher} solves each problem{greedy} {_times(lesson.rationales)} with sampling. Each sampled solution is a "
        "rationale."
    )
    if lesson.self_debug:
        yield f"{teacher} repairs once each program that fails a visible case; the better one counts and is taught."
    begins = "As soon as a rationale has an answer" if exam.allocation == "full" else "For each rationale"
    names = [student.name for student in scenario.students]
    reads, answers = ("reads", "answers") if len(names) == 1 else ("read", "answer")
    yield (
        f"{begins}, {several(names)} {reads} {taught} as an example and {answers} each exam problem "
        f"{_times(exam.repeats)}."
    )
    for entry in scenario.entries:
        if entry.copies > 1:
            yield (
                f"{several(copy_names(entry))} are copies of {entry.name}: they share one model, and each samples its "
                "own answers."
            )
    for student in scenario.students:
        if own := scenario.own_sampling(student):
            yield f"{student.name} samples its exam answers with its own settings: {entries(own)}."
    if exam.allocation != "full":
        worse = ", or an answer does worse than another by confidence bounds" * (exam.allocation == "halving")
        yield (
            f"These are at most {many(counted.exam_answers, 'exam')}. They come in rounds, once all rationales of a "
            "problem are written. Exams are left out if all rationales have the same answer, or no exam can change the "
            f"choice{worse}."
        )
    if exam.questions:
        yield f"Before its exam each student asks one question about the rationale, and {teacher} answers it."
    if exam.self_debug:
        yield "Each student repairs once each program of its exams that fails a visible case; the better one counts."
    if exam.score == "logprob":
        yield (
            "Each student also computes once for each rationale and exam problem how likely the worked solution is; "
            "these dense scores choose an answer, too."
        )
    if lesson.equal_cost:
        yield (
            f"When a problem is complete, {teacher} writes further rationales with as many tokens as its exams, at "
            f"most {MOST} of them. No student reads them; they are votes for SC at M1's cost (a baseline)."
        )
    repeats = _times(exam.problems * exam.repeats)
    if "students_alone" in scenario.baselines:
        yield f"Without a rationale each student also answers each teaching problem {repeats} (a baseline)."
    if "self_evaluation" in scenario.baselines:
        yield f"{teacher} says of each rationale {repeats} whether it is right (self-evaluation, a baseline)."
    if "universal" in scenario.baselines:
        yield f"{teacher} names the rationale of a problem that agrees best with the others (universal SC, a baseline)."
    baselines = "greedy decoding and self-consistency" if lesson.greedy else "self-consistency"
    yield (
        "For each problem the exam scores choose one of the answers, by the rules MAX, SUM and AVG. For comparison: "
        f"{baselines} (the majority vote)."
    )


def _exam_problems(exam: Exam) -> str:
    number, of = many(exam.problems, "exam problem"), Path(exam.bank or "").name or "the others"
    if exam.maker == "fixed":
        return f"all with the same {number} of {of}"
    nearest = f", the nearest of {of} by {exam.embedding}" * (exam.maker == "retrieval")
    return f"each with {number}{nearest}"


def _order_learn(scenario: Scenario, counted: Counts) -> Iterator[str]:
    learn, teacher, recipe = scenario.learn, scenario.teacher.name, scenario.learn.training
    scores = f"{learn.weight:g} correctness, {1 - learn.weight:g} exams"
    if recipe.method == "sft":
        yield (
            f"The best rationale of each problem by its score ({scores}) is chosen, if its score exceeds the worst by "
            f"more than {learn.gap:g}."
        )
    else:
        yield (
            f"Rationales of a problem make pairs if their scores ({scores}) differ by more than {learn.gap:g}, at most "
            f"{counted.pairs_per_problem} per problem."
        )
    yield (
        f"{teacher} is trained on them ({recipe.method}, {'an adapter' if recipe.lora else 'all weights'}) in these "
        f"variants: {', '.join(learn.arms)}; each {_times(learn.seeds)}, from the same weights, on the same number."
    )
    of = f" of {Path(learn.held_out_file).name}" if learn.held_out_file else ""
    again = f" The teacher of {learn.lead} then begins the next of {learn.rounds} rounds." if learn.rounds > 1 else ""
    yield (
        f"The original and every trained teacher answer {many(learn.held_out, 'held-out problem')}{of} once greedily "
        f"and {_times(learn.samples)} with sampling. The trained ones also write "
        f"{many(learn.rationales, 'new rationale')} per teaching problem, for the same exams.{again}"
    )


def _order_rewrite(scenario: Scenario) -> Iterator[str]:
    iterate, first = scenario.iterate, originals(scenario)
    yield (
        f"Of the first {many(first, 'rationale')} of a problem {scenario.teacher.name} rewrites the best "
        f"{min(iterate.beam, first)} with which a student failed an exam, {_times(iterate.revisions)} for each such "
        f"student. It uses at most {many(iterate.mistakes, 'wrong answer')} of that student, and its own reasons for "
        "them."
    )
    yield (
        "Students take exams with the new rationales, too. The comparison is level 1 with the same number of "
        "completions."
    )


def _order_iterate(scenario: Scenario, counted: Counts) -> Iterator[str]:
    iterate, teacher = scenario.iterate, scenario.teacher.name
    students = [student.name for student in scenario.students] + [f"{teacher} itself"] * iterate.itself
    start = "writes" if iterate.start == "description" else "takes from the training items"
    yield f"{teacher} {start} {many(iterate.beam, 'set')} of {many(iterate.exemplars, 'exemplar')}."
    yield (
        f"{many(iterate.rounds, 'round')}: {_answer(students)} {many(counted.minibatch, 'training item')} with each "
        f"set; {teacher} says {_times(iterate.reflections)} per set what misled them, and writes "
        f"{many(iterate.revisions, 'new set')} for each set."
    )
    yield (
        f"{teacher} answers {many(counted.score_items, 'training item')} with every set; the best "
        f"{'is' if iterate.beam == 1 else f'{iterate.beam} are'} kept. Its answers to held-out items with the best "
        "set are only reported."
    )
    if iterate.curriculum != "all":
        first = iterate.curriculum.partition("_")[0]
        yield f"Students join over the rounds, {first} ones first, by their exams in round 1."
    if iterate.baselines:
        yield f"For comparison: {', '.join(iterate.baselines)}."
    if iterate.repeats > 1:
        yield f"The class does all of this {_times(iterate.repeats)}, independently."


def _answer(names: Sequence[str]) -> str:
    """`ada answers`, `ada, bob answer`."""
    return f"{several(names)} answer{'s' * (len(names) == 1)}"


def to_dict(scenario: Scenario, counted: Counts, rows: Sequence[PlanRow]) -> dict[str, Any]:
    """The plan as `--json` prints it."""
    return {
        "scenario": scenario.name,
        "level": scenario.level,
        "seed": scenario.seed,
        "counts": msgspec.to_builtins(counted),
        "agents": [msgspec.to_builtins(row) for row in rows],
        "order": list(order(scenario, counted)),
    }


def _labels(scenario: Scenario, counted: Counts) -> Iterator[tuple[str, str, str]]:
    """The rows of the table of counts: the field of `Counts`, its label and a note."""
    if scenario.solves:
        yield "teaching_problems", "teaching problems (TPs)", ""
        yield "teaching_rationales", "teaching rationales (TRs)", ""
        yield "greedy", "greedy answers", ""
    if counted.invented:
        yield "invented", "candidates for exam problems", ""
        yield "invented_answers", "their writer's answers", AT_MOST
    yield "exam_answers", "exam answers (EAs)", AT_MOST
    if counted.further_rationales:
        yield "further_rationales", "further TRs, for SC at M1's cost", ESTIMATED
    if counted.alone_answers:
        yield "alone_answers", "students' answers without a TR", ""
    if counted.judgements:
        yield "judgements", "judgements of rationales", AT_MOST
    if counted.questions:
        yield "questions", "questions, and as many answers", AT_MOST
    if counted.repairs:
        yield "repairs", "programs repaired", AT_MOST
    if counted.grades:
        yield "grades", "solutions graded", AT_MOST
    if counted.trainings:
        pairs = "best rationales" if scenario.learn.training.method == "sft" else "preference pairs"
        yield "trainings", "trainings", AT_MOST
        yield "pairs", f"{pairs} in each", AT_MOST
        yield "measured", "answers to held-out problems", AT_MOST
        yield "likelihoods", "likelihoods of such answers", AT_MOST
        yield "later_rationales", "new rationales", AT_MOST
        yield "later_exam_answers", "exam answers under them", AT_MOST
    if 3 in scenario.levels:
        yield "reflections", "reflections", AT_MOST
        yield "revisions", "rationales rewritten" if scenario.rewrites else "sets of exemplars written", AT_MOST
    if scenario.classifies:
        yield "own_answers", "teacher's own answers, training", AT_MOST
        yield "held_out_answers", "teacher's own answers, held out", AT_MOST
    yield "requests", "requests", AT_MOST
    yield "prompt_tokens", "prompt tokens", ESTIMATED
    yield "completion_tokens", "completion tokens", AT_MOST


def tables(scenario: Scenario, counted: Counts, rows: Sequence[PlanRow], notes: Sequence[str] = ()) -> "RenderableType":
    """The plan as tables: counts, seats, `notes` below the seats, and the order of the steps."""
    from rich.console import Group
    from rich.text import Text

    from scenarios.report.layout import Ruled, Sentences, Trimmed

    amounts = Ruled(f"{scenario.name}: problems, requests and tokens")
    amounts.add_column("what")
    amounts.add_column("how many", right=True)
    amounts.add_column("")
    for field, label, note in _labels(scenario, counted):
        amounts.add_row(label, f"{getattr(counted, field):,}", note)
    if counted.cost is not None:
        amounts.add_row("cost", money(counted.cost), ESTIMATED)
    steps = [Sentences(f"{number}. {step}") for number, step in enumerate(order(scenario, counted), 1)]
    sitting: list[RenderableType] = [Text(), seating(rows)] if rows else []
    sitting += [Sentences(note) for note in notes]
    return Trimmed(Group(amounts, *sitting, Text("\nWhat happens, in order", style="bold"), *steps))


def show_checks(
    out: "Console",
    checks: Sequence[object],
    table: "RenderableType",
    rows: Sequence[PlanRow],
    keys: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Print what works on this machine, and where the agents of a class would run, if there is one.

    Args:
        out: where to.
        checks: what works, for JSON.
        table: the same, for people.
        rows: the agents.
        keys: which key goes to which server.
        as_json: print JSON.
    """
    from scenarios.report.layout import Trimmed
    from scenarios.tasks.sources.families import FAMILIES

    if as_json:
        print_json({"checks": checks, "agents": rows, "keys": keys, "families": sorted(FAMILIES)})
        return
    out.print(Trimmed(table))
    say(out, f"Checked task families: {', '.join(sorted(FAMILIES))}")
    if rows:
        out.print(seating(rows))
    say(out, *keys)


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"
