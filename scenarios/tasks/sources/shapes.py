r"""The shapes of the problems in files of the user: one JSON object each, made into an `Entry`.

Functional: `{"id": ..., "variants": [{"problem": ..., "solution": "... \\boxed{7}"}, ...]}`. The first variant is
the TP, the others are its EPs, in their order.
MATH: `{"problem": ..., "solution": "... \\boxed{7}", "level": ..., "type": ...}` (Hendrycks et al.), and MATH500 with
`answer`, `subject` and `unique_id`. In both shapes answers are LaTeX, taken from the last box of the solution.
Plain: `{"question": ..., "answer": ...}`, optionally `form`, `solution` (worked out, for exam.score: logprob) and
`group`. scenarios/tasks/grading/gold.py reads these answers.
Every shape may have `id`, `level` and `subject` (or `type`). docs/your-own-problems.md describes them for users.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from broker.errors import TaskError
from scenarios.tasks.grading.answers import boxed, normal
from scenarios.tasks.grading.gold import Answer, read_gold
from scenarios.tasks.problems import Problem, same_text, worked_out


class Entry(msgspec.Struct, frozen=True):
    """One object of a file or folder, checked."""

    where: str
    """The file, and the line if it has several, for messages."""
    problems: tuple[Problem, ...]
    """The TP, and for functional lines its EPs."""
    group: str | None = None

    @property
    def tp(self) -> Problem:
        """The problem that can be taught."""
        return self.problems[0]


class SourceLine(msgspec.Struct, frozen=True, kw_only=True):
    """What all shapes have."""

    id: str | int = ""
    level: Any = ""
    subject: Any = ""
    type: Any = ""
    """Another name of the subject."""

    def labels(self) -> tuple[str, str]:
        """Level and subject; empty where the object has none, or something that is no label."""
        level = _label(self.level)
        return f"Level {level}" if level.isdigit() else level, _label(self.subject) or _label(self.type)


class Variant(msgspec.Struct, frozen=True):
    """One problem of a functional line."""

    problem: str
    solution: str


class FunctionalLine(SourceLine, frozen=True, kw_only=True):
    """A problem with variants: other numbers, the same solution steps."""

    variants: tuple[Variant, ...]


class MathLine(SourceLine, frozen=True, kw_only=True):
    """A problem of MATH or MATH500."""

    problem: str
    solution: str = ""
    answer: str = ""
    """Counts where the solution has no box."""
    unique_id: str = ""
    """MATH500: the path of the problem in MATH."""


class PlainLine(SourceLine, frozen=True, kw_only=True):
    """A question and its answer."""

    question: str
    answer: Answer
    form: str | None = None
    group: str | int | None = None
    solution: str = ""


Line = TypeVar("Line", bound=msgspec.Struct)


def named(id: str) -> str:
    """The id of a problem of MATH without the ending of its file, so that MATH and MATH500 agree."""
    return id.removesuffix(".json")


def _functional(data: dict[str, Any], unnamed: str, where: str) -> Entry:
    line = convert(data, FunctionalLine, where)
    if len(line.variants) < 2:
        raise TaskError(f"{where}: `variants` needs a teaching problem and at least one exam problem")
    tp_id, labels = _id(line.id, unnamed), line.labels()
    problems: list[Problem] = []
    for k, variant in enumerate(line.variants):
        gold = boxed(variant.solution)
        if gold is None:
            raise TaskError(f"{where}: variants[{k}].solution has no answer in a \\boxed{{...}}")
        text = _text(variant.problem, f"{where}: variants[{k}].problem")
        if k and same_text(text, problems[0].text):
            raise TaskError(f"{where}: variants[{k}] is the same problem as variants[0]; an exam needs others")
        id = tp_id if k == 0 else f"{tp_id}/ep{k}"
        problems.append(Problem(id, text, gold, "latex", worked_out(variant.solution, gold), *labels))
    return Entry(where, tuple(problems))


def _math(data: dict[str, Any], unnamed: str, where: str) -> Entry:
    line = convert(data, MathLine, where)
    text = _text(line.problem, f"{where}: `problem`")
    gold = boxed(line.solution) or normal(line.answer, "latex")
    if gold is None:
        raise TaskError(f"{where}: `solution` has no answer in a \\boxed{{...}}, and there is no `answer` instead")
    level, subject = line.labels()
    problem_id = named(_id(line.id or line.unique_id, unnamed))
    problem = Problem(problem_id, text, gold, "latex", worked_out(line.solution, gold), level, subject)
    return Entry(where, (problem,), subject or None)


def _plain(data: dict[str, Any], unnamed: str, where: str) -> Entry:
    line = convert(data, PlainLine, where)
    text = _text(line.question, f"{where}: `question`")
    gold = read_gold(line.answer, line.form, where)
    solution = worked_out(line.solution or gold.solution, gold.answer)
    problem = Problem(_id(line.id, unnamed), text, gold.answer, gold.form, solution, *line.labels())
    return Entry(where, (problem,), None if line.group is None else str(line.group))


SHAPES: dict[str, Callable[[dict[str, Any], str, str], Entry]] = {
    "variants": _functional,
    "problem": _math,
    "question": _plain,
}
"""By the key that an object of the shape has: how it is read, from the object, its id if it names none, and its place.

Raises:
    TaskError: the object cannot be used.
"""


def _id(id: str | int, unnamed: str) -> str:
    return unnamed if id == "" else str(id)


def _label(value: object) -> str:
    return " ".join(str(value).split()) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def convert(data: dict[str, Any], cls: type[Line], where: str) -> Line:
    """The object as a struct.

    Raises:
        TaskError: a key is missing, or a value is of another type.
    """
    try:
        return msgspec.convert(data, cls)
    except msgspec.ValidationError as error:
        raise TaskError(f"{where}: {error}") from None


def _text(value: str, where: str) -> str:
    if not value.strip():
        raise TaskError(f"{where} is empty")
    return value.strip()
