"""Reads gold answers from files of users: finds their form, and the answer in GSM8K's worked solutions.

Classes and `run.py grade` both use it, so that they read a gold answer alike.
"""

import re
from difflib import get_close_matches
from typing import NamedTuple, cast, get_args

from broker.errors import TaskError
from broker.work_messages import AnswerForm
from scenarios.tasks.grading.answers import normal
from scenarios.tasks.grading.values import exact, measured

Answer = str | int | float | bool
"""The types of an answer in a file; true and false are yes and no."""

FORMS: tuple[str, ...] = tuple(form for form in get_args(AnswerForm) if form != "code")
"""Forms of an answer in a file; code problems have lines of another shape."""
WORKED = re.compile(r"^[ \t]*####(?!#)[ \t]*(?P<answer>\S.*?)[ \t]*\Z", re.MULTILINE)
"""The last line of an answer in GSM8K, `#### 72`."""
CALCULATOR = re.compile(r"<<[^<>\n]{0,200}>>")
"""GSM8K's calculator notes, such as `<<48/2=24>>`; they are removed."""
FUNCTION = re.compile(r"\b(?:sqrt|sin|cos|tan|log|ln|exp|pi)\b")
FORMULA = re.compile(r"(?=.*(?:\d|[=(\[]))(?=.*[\^=<>\[\](){}+*√π∞≤≥])(?!.*[A-Za-z]{2})[^?!\"']+|-?\d{1,4}[nx-z]{1,3}")
"""A formula without LaTeX commands: `(2, 3)`, `[0, 1)`, `x^2 + 1`, `2x`."""


class Gold(NamedTuple):
    """A gold answer with its form."""

    answer: str
    form: AnswerForm
    solution: str
    """The worked solution that ends in it; empty if the answer stands alone."""


def read_gold(value: Answer, form: str | None, where: str, *, key: str = "answer") -> Gold:
    """Read a gold answer.

    Args:
        value: the answer in the file.
        form: the form in the file; None: it is derived from the answer.
        where: file and line, for messages.
        key: the key of the answer in the line, for messages.

    Raises:
        TaskError: there is no such form, or the answer does not have it.
    """
    answer = ("Yes" if value else "No") if isinstance(value, bool) else str(value).strip()
    solution = ""
    if answer.rstrip().endswith("\n####"):
        raise TaskError(f"{where}: `{key}` has nothing behind its last `####`")
    if found := WORKED.search(answer):
        solution, answer = CALCULATOR.sub("", answer), found["answer"]
    if not answer:
        raise TaskError(f"{where}: `{key}` is empty")
    form = _form(answer) if form is None else _known(form, where)
    if normal(answer, form) is None:
        raise TaskError(f"{where}: `{key}`: {answer[:40]!r} cannot be read as {form}")
    return Gold(answer, form, solution)


def _known(form: str, where: str) -> AnswerForm:
    if form in FORMS:
        return cast(AnswerForm, form)
    close = get_close_matches(form.casefold().replace("-", "_").replace("/", "_"), FORMS, 1)
    raise TaskError(
        f"{where}: `form`: there is no {form[:40]!r}" + (f"; did you mean {close[0]}?" if close else "") + "\n"
        f"The forms are {', '.join(FORMS)}; without a form it is found from the answer."
    )


def _form(answer: str) -> AnswerForm:
    if exact(answer) or measured(answer):
        return "number"
    if answer.casefold().rstrip(".") in ("yes", "no", "true", "false"):
        return "yes_no"
    formula = re.search(r"[\\$]", answer) or FORMULA.fullmatch(FUNCTION.sub("", answer))
    return "latex" if formula else "word"
