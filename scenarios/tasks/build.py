"""Builds the bank of problems of a class from its scenario.

`check_class` is for plans: it reads files, but draws nothing from a generator and fetches nothing. The modules of
scenarios/tasks/sources know how problems are drawn.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from broker.errors import TaskError
from broker.work_messages import AnswerForm, Exemplar
from scenarios.config.schema import Exam, Scenario, Task
from scenarios.tasks import embedding, exam_makers
from scenarios.tasks.demonstrations import demonstrations
from scenarios.tasks.grading.code import check_sandbox
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from scenarios.tasks.sources import code_files, files, gym, labelled
from scenarios.tasks.sources.families import FAMILIES
from scenarios.tasks.sources.shapes import Entry

DRAWN = 200
"""Problems of a family that `exam.maker: retrieval` chooses from: about two draws of each template of gsm_symbolic."""


Make = Callable[[Sequence[Problem], Iterable[Problem], str, Exam], tuple[ProblemGroup, ...]]


ExamBank = tuple[Iterable[Problem], str]
"""The problems that EPs are chosen from, and their source for messages."""


class TaskSizes(NamedTuple):
    """How large the tasks of a class are; 0 where it has no such task."""

    problem_tokens: int
    """Estimated tokens of a typical problem."""
    train: int
    """Labelled texts for training."""
    held_out: int
    """Labelled texts that are held out."""
    text_tokens: int
    """Estimated tokens of a typical labelled text."""


def build_class(scenario: Scenario, *, folder: Path) -> Bank:
    """Build everything that the levels of a class need; file names are relative to `folder`.

    Raises:
        TaskError: one of its tasks cannot be built.
    """
    bank = Bank("", (), ())
    if scenario.solves:
        held_out, file = scenario.held_out, scenario.held_out_file
        bank = build(scenario.task, scenario.exam, scenario.seed, folder=folder, held_out=held_out, held_out_file=file)
    if scenario.classifies:
        texts = labelled.build(scenario.iterate.task, scenario.seed, folder=folder)
        _refuse_large_sets(scenario, len(texts.train))
        bank = msgspec.structs.replace(bank, source=bank.source or texts.source, labelled=texts)
    return bank


def check_class(scenario: Scenario, *, folder: Path) -> TaskSizes:
    """Refuse a class whose tasks cannot be built, as far as that is known without a generator or the hub.

    Problems of a file are drawn as the class draws them: a plan reports what the run would report.

    Raises:
        TaskError: one of its tasks cannot be built.
    """
    problem_tokens, texts = 0, labelled.TextSizes(0, 0, 0)
    if scenario.solves:
        _refuse_two_sources(scenario.task)
        task, exam, file = scenario.task, scenario.exam, scenario.held_out_file
        apart, alone, never = _held_out(file, scenario.held_out, scenario.seed, folder)
        if task.family is None:
            entries = files.check(task, exam, apart, folder=folder, never=never)
            form = entries[0].tp.form
            if form == "code":
                _check_code(task, exam)
            _refuse_mixed(alone, form, file)
            _from_file(entries, task, exam, scenario.seed, apart, alone, folder, exam_makers.check)
            problem_tokens = files.typical_tokens(entries)
        else:
            problem_tokens = check(task, exam, folder=folder, held_out=apart)
            form = FAMILIES[task.family].form
            _refuse_mixed(alone, form, file)
        for section in ("lesson", "exam") if form != "code" else ():
            if getattr(scenario, section).self_debug:
                why = "is for code problems, whose programs can fail visible cases; take it out"
                raise TaskError(why, key=(section, "self_debug"))
    if scenario.classifies:
        texts = labelled.check(scenario.iterate.task, folder=folder)
        if texts.train is not None:
            _refuse_large_sets(scenario, texts.train)
    train = texts.train
    if train is None:
        train = scenario.iterate.task.train or scenario.iterate.score_items
    return TaskSizes(problem_tokens, train, texts.held_out, texts.tokens)


def asks_for_programs(scenario: Scenario, *, folder: Path) -> bool:
    """Whether the teaching problems of a class are code problems; their file is read for that.

    Raises:
        TaskError: the file cannot be used.
    """
    file = scenario.task.file if scenario.solves else None
    return file is not None and files.read(code_files.located(folder / file))[0].tp.form == "code"


def _check_code(task: Task, exam: Exam) -> None:
    if exam.score == "logprob":
        raise TaskError(
            "logprob shows students the reference solutions, and those of code problems stay in the classroom; leave "
            "exam.score out",
            key=("exam", "score"),
        )
    check_sandbox(task.sandbox)


def _refuse_large_sets(scenario: Scenario, train: int) -> None:
    """Refuse sets of exemplars that leave too few training items to score them on."""
    exemplars = scenario.iterate.exemplars
    if 2 * exemplars > train:
        raise TaskError(
            f"{exemplars} of a set leave too little of {train} training items to learn from and to score it on;\n"
            f"ask for {train // 2} at most, or for more in iterate.task.train",
            key=("iterate", "exemplars"),
        )


def build(
    task: Task, exam: Exam, seed: int, *, folder: Path, held_out: int = 0, held_out_file: str | None = None
) -> Bank:
    """Draw the problems of a class and `held_out` more; names of files are relative to `folder`.

    Raises:
        TaskError: the task cannot be built.
    """
    _refuse_two_sources(task)
    apart, alone, never = _held_out(held_out_file, held_out, seed, folder)
    if task.family is None:
        entries = files.check(task, exam, apart, folder=folder, never=never)
        _refuse_mixed(alone, entries[0].tp.form, held_out_file)
        return _from_file(entries, task, exam, seed, apart, alone, folder, exam_makers.make)
    gym.check(task, apart)
    form = FAMILIES[task.family].form
    _refuse_mixed(alone, form, held_out_file)
    source = f"reasoning-gym {task.family}"
    if exam.maker == "variants":
        items = gym.build(task, exam, seed, apart)
    else:
        tps = [item.tp for item in gym.build(task, msgspec.structs.replace(exam, problems=0), seed, apart)]
        endless = gym.others(task, seed)
        others = islice(endless, DRAWN) if exam.maker == "retrieval" else endless
        bank: ExamBank = _exam_bank(exam, seed, folder, form) or (others, source)
        items = exam_makers.make(tps, *bank, exam)
    alone = alone or gym.hold_out(task, seed, apart, items)
    return _bank(source, items, alone, demonstrations(task.family, task.demonstrations))


def check(task: Task, exam: Exam, *, folder: Path, held_out: int = 0) -> int:
    """Refuse a task that cannot be built, as far as that is known without building it.

    Returns:
        The estimated tokens of a typical problem.

    Raises:
        TaskError: the task cannot be built.
    """
    _refuse_two_sources(task)
    if task.family is None:
        return files.typical_tokens(files.check(task, exam, held_out, folder=folder))
    gym.check(task, held_out)
    if exam.maker == "retrieval":
        embedding.check(exam.embedding)
    form = FAMILIES[task.family].form
    if exam.maker == "invented":
        exam_makers.refuse_form(form)
    if bank := _exam_bank(exam, 0, folder, form):
        exam_makers.check((), *bank, exam)
    return FAMILIES[task.family].tokens


def _held_out(file: str | None, count: int, seed: int, folder: Path) -> tuple[int, tuple[Problem, ...], frozenset[str]]:
    """How many problems of the task are held out, those of a file of their own instead, and what is never taught."""
    return (0, *files.hold_out(folder / file, count, seed)) if file else (count, (), frozenset())


def _from_file(
    entries: list[Entry],
    task: Task,
    exam: Exam,
    seed: int,
    apart: int,
    alone: tuple[Problem, ...],
    folder: Path,
    make: Make,
) -> Bank:
    """The bank of a file's problems; `apart` of them are held out, or the problems `alone`."""
    name = Path(task.file or "").name
    if exam.maker == "variants":
        items, left = files.draw(entries, task, exam, seed, apart)
    else:
        tps, others, left = files.draw_apart(entries, task, seed, apart)
        bank: ExamBank = _exam_bank(exam, seed, folder, entries[0].tp.form) or (others, name)
        items = make(tps, *bank, exam)
    return _bank(name, items, alone or left, demonstrations(items[0].tp.form, task.demonstrations))


def _refuse_mixed(held_out: Sequence[Problem], form: AnswerForm, file: str | None) -> None:
    """Refuse held-out problems of `file` that teachers of TPs of this form cannot be measured on."""
    files.refuse_mixed(held_out, form, file, ("learn", "held_out_file"))


def _exam_bank(exam: Exam, seed: int, folder: Path, form: AnswerForm) -> ExamBank | None:
    """The problems in `exam.bank`, for TPs of this form; None: EPs are chosen from the task's problems."""
    if exam.bank is None:
        return None
    path = folder / exam.bank
    problems = files.bank(path, seed)
    files.refuse_mixed(problems, form, path, ("exam", "bank"))
    return problems, path.name


def _bank(
    source: str, items: tuple[ProblemGroup, ...], alone: tuple[Problem, ...], examples: tuple[Exemplar, ...]
) -> Bank:
    try:
        return Bank(source, items, examples, alone)
    except TaskError as error:
        raise TaskError(f"{source}: {error}") from None


def _refuse_two_sources(task: Task) -> None:
    """Raises TaskError: the task names both a family and a file, or neither."""
    if (task.family is None) == (task.file is None):
        both = "both are given" if task.family is not None else "neither is given"
        raise TaskError(f"give a `family` of reasoning-gym or a `file`, and not the other; {both}", key=("task",))
