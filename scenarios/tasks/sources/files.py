r"""Reads and draws problems from a JSON-lines file of the user; all lines of a file have one shape.

Functional: `{"id": ..., "variants": [{"problem": ..., "solution": "... \\boxed{7}"}, ...]}`. The first variant is
the TP, the others are its EPs, in their order; answers are LaTeX, taken from the last box of the solution.
Plain: `{"question": ..., "answer": ...}`, optionally `id`, `form`, `solution` (worked out, for exam.score: logprob) and
`group`. EPs are other problems of the file of the same form, and of the same group where the TP has one, drawn by the
seed. scenarios/tasks/grading/gold.py reads the gold answers. docs/your-own-problems.md describes the shapes for users.
Lines of code problems are read by code_files.py; their EPs are drawn like those of plain ones.
Every error names file and line.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from broker.errors import TaskError
from broker.work_messages import AnswerForm
from scenarios.config.schema import Exam, Task
from scenarios.tasks.grading.answers import parse
from scenarios.tasks.grading.gold import Answer, read_gold
from scenarios.tasks.problems import CHARACTERS_PER_TOKEN, Problem, ProblemGroup, same_text, worked_out
from scenarios.tasks.sources import code_files, jsonlines
from scenarios.tasks.sources.gym import number


class Variant(msgspec.Struct, frozen=True):
    """One problem of a functional line."""

    problem: str
    solution: str


class FunctionalLine(msgspec.Struct, frozen=True):
    """A problem with variants: other numbers, the same solution steps."""

    variants: tuple[Variant, ...]
    id: str | int = ""


class PlainLine(msgspec.Struct, frozen=True):
    """A question and its answer."""

    question: str
    answer: Answer
    id: str | int = ""
    form: str | None = None
    group: str | int | None = None
    solution: str = ""


Line = TypeVar("Line", FunctionalLine, PlainLine)


class Entry(msgspec.Struct, frozen=True):
    """One line of the file, checked."""

    line: int
    problems: tuple[Problem, ...]
    """The TP, and for functional lines its EPs."""
    group: str | None = None


def read(path: Path) -> list[Entry]:
    """All problems of a file.

    Raises:
        TaskError: the file or a line cannot be used.
    """
    entries: list[Entry] = []
    shape: str | None = None
    lines_of: dict[str, int] = {}
    for n, where, data in jsonlines.objects(path, ("task", "file")):
        shape = shape or _shape(data)
        if shape not in data:
            raise TaskError(f"{where}: no `{shape}`, which the lines before it have" if entries else _neither(where))
        if shape in code_files.SHAPES:
            problem, group = code_files.read(data, shape, n, where)
            entry = Entry(n, (problem,), group)
        else:
            entry = (_functional if shape == "variants" else _plain)(data, n, where)
        problem_id = entry.problems[0].id
        if problem_id in lines_of:
            raise TaskError(f"{where}: the id {problem_id!r} is already in line {lines_of[problem_id]}")
        lines_of[problem_id] = n
        entries.append(entry)
    if not entries:
        raise TaskError(f"{path} holds no problems", key=("task", "file"))
    return entries


def check(path: Path, task: Task, exam: Exam, held_out: int = 0) -> list[Entry]:
    """Read a file and refuse it if it has fewer problems than the task asks for.

    Raises:
        TaskError: the file or a line cannot be used; the file has too few problems, a line too few variants or a group
            too few other problems.
    """
    entries = read(path)
    if task.problems > len(entries):
        raise TaskError(f"{task.problems} are asked for, and {path} has {len(entries)}", key=("task", "problems"))
    if task.problems + held_out > len(entries):
        raise TaskError(
            f"{held_out} problems besides the {task.problems} of task.problems are asked for, and {path} has "
            f"{len(entries)}",
            key=("learn", "held_out"),
        )
    if _functional_file(entries):
        for entry in entries:
            _enough(len(entry.problems) - 1, exam, f"{path}, line {entry.line}", "variants besides the first")
        return entries
    groups = Counter(_kin(entry) for entry in entries)
    for entry in entries:
        _enough(groups[_kin(entry)] - 1, exam, f"{path}, line {entry.line}", _others(entry))
    return entries


def draw(
    entries: list[Entry], path: Path, task: Task, exam: Exam, seed: int, held_out: int = 0
) -> tuple[tuple[ProblemGroup, ...], tuple[Problem, ...]]:
    """Draw problems from the entries of a file that `check` accepted, without replacement.

    Returns:
        The groups that are taught, and `held_out` other problems. These are the last in the order of drawing, so that
        classes with more or fewer TPs are measured on the same ones.

    Raises:
        TaskError: too few other problems differ from a TP in their text.
    """
    drawn = _drawn(entries, seed, "tp")
    left = drawn[: len(drawn) - held_out]
    alone = tuple(entry.problems[0] for entry in drawn[len(left) :][::-1])
    chosen = left[: task.problems]
    if _functional_file(entries):
        return tuple(ProblemGroup(e.problems[0], e.problems[1 : exam.problems + 1]) for e in chosen), alone
    return tuple(_with_others(entry, left, exam, seed, path) for entry in chosen), alone


def typical_tokens(entries: Sequence[Entry]) -> int:
    """The estimated tokens of a problem of median length."""
    lengths = sorted(len(entry.problems[0].text) for entry in entries)
    return lengths[len(lengths) // 2] // CHARACTERS_PER_TOKEN + 1


def _shape(data: dict[str, Any]) -> str:
    """The key that marks the shape of a file, by its first line."""
    known = next((key for key in ("variants", "question") if key in data), "")
    return known or code_files.shape_of(data) or "question"


def _functional(data: dict[str, Any], n: int, where: str) -> Entry:
    line = _convert(data, FunctionalLine, where)
    if len(line.variants) < 2:
        raise TaskError(f"{where}: `variants` needs a teaching problem and at least one exam problem")
    tp_id = _id(line, n)
    problems: list[Problem] = []
    for k, variant in enumerate(line.variants):
        gold = _boxed(variant.solution, f"{where}: variants[{k}].solution")
        text = _text(variant.problem, f"{where}: variants[{k}].problem")
        if k and same_text(text, problems[0].text):
            raise TaskError(f"{where}: variants[{k}] is the same problem as variants[0]; an exam needs others")
        id = tp_id if k == 0 else f"{tp_id}/ep{k}"
        problems.append(Problem(id, text, gold, "latex", worked_out(variant.solution, gold)))
    return Entry(n, tuple(problems))


def _plain(data: dict[str, Any], n: int, where: str) -> Entry:
    line = _convert(data, PlainLine, where)
    text = _text(line.question, f"{where}: `question`")
    gold = read_gold(line.answer, line.form, where)
    problem = Problem(
        _id(line, n), text, gold.answer, gold.form, worked_out(line.solution or gold.solution, gold.answer)
    )
    return Entry(n, (problem,), None if line.group is None else str(line.group))


def _id(line: FunctionalLine | PlainLine, n: int) -> str:
    return f"line-{n}" if line.id == "" else str(line.id)


def _convert(data: dict[str, Any], cls: type[Line], where: str) -> Line:
    try:
        return msgspec.convert(data, cls)
    except msgspec.ValidationError as error:
        raise TaskError(f"{where}: {error}") from None


def _text(value: str, where: str) -> str:
    if not value.strip():
        raise TaskError(f"{where} is empty")
    return value.strip()


def _boxed(solution: str, where: str) -> str:
    start = max(solution.rfind("\\boxed"), solution.rfind("\\fbox"))
    gold = parse(solution[start:], "latex") if start >= 0 else None
    if gold is None:
        raise TaskError(f"{where} has no answer in a \\boxed{{...}}")
    return gold


def _functional_file(entries: list[Entry]) -> bool:
    return len(entries[0].problems) > 1


def _kin(entry: Entry) -> tuple[str | None, AnswerForm]:
    return entry.group, entry.problems[0].form


def _others(entry: Entry) -> str:
    group = f" and of its group {entry.group!r}" if entry.group is not None else ""
    return f"other problems of its form ({entry.problems[0].form}){group}"


def _enough(there: int, exam: Exam, where: str, what: str) -> None:
    if there < exam.problems:
        raise TaskError(
            f"{where}: {there} {what}, and exam.problems asks for {exam.problems}", key=("exam", "problems")
        )


def _neither(where: str) -> str:
    return (
        f"{where}: neither `variants` (functional problems) nor `question` and `answer` (plain ones) nor `statement` "
        "and `signature` (code problems)"
    )


def _drawn(entries: list[Entry], seed: int, *why: str) -> list[Entry]:
    """`entries` in an order drawn by the seed; it stays the same in a longer file or a larger task."""
    return sorted(entries, key=lambda entry: number(seed, *why, entry.problems[0].id))


def _with_others(entry: Entry, entries: list[Entry], exam: Exam, seed: int, path: Path) -> ProblemGroup:
    tp = entry.problems[0]
    kin = [e for e in entries if _kin(e) == _kin(entry) and not same_text(e.problems[0].text, tp.text)]
    _enough(len(kin), exam, f"{path}, line {entry.line}", _others(entry) + " with another text")
    eps = [e.problems[0] for e in _drawn(kin, seed, "ep", tp.id)[: exam.problems]]
    return ProblemGroup(tp, tuple(msgspec.structs.replace(ep, id=f"{tp.id}/ep/{ep.id}") for ep in eps))
