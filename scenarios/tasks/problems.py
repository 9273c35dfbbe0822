"""Problems, and the bank a class draws them from. Knows no file format and no grader."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from broker.errors import TaskError
from broker.work_messages import AnswerForm, Exemplar

ANSWER = "Answer:"
"""How the last line of a solution begins."""
CHARACTERS_PER_TOKEN = 4
"""Of typical English text: an estimate for plans."""


class Problem(msgspec.Struct, frozen=True):
    """A problem and its gold answer. The gold answer never leaves the classroom."""

    id: str
    text: str
    answer: str
    form: AnswerForm
    solution: str = ""
    """A worked solution that ends in the gold answer, where the source has one. It stays here too, but for `Grade`."""

    @property
    def worked(self) -> str:
        """What a `Grade` asks about: the worked solution, or the gold answer alone as a student would write it."""
        return self.solution or f"{ANSWER} {self.answer}"


class ProblemGroup(msgspec.Struct, frozen=True):
    """A teaching problem (TP) with the exam problems (EPs) that test what was learnt from it."""

    tp: Problem
    eps: tuple[Problem, ...]


class Labelled(msgspec.Struct, frozen=True):
    """Texts of two classes, for level 3; the answer to each is Yes (the positive class) or No."""

    source: str
    description: str
    """What is to be told apart, in a sentence or two: teacher and students read it."""
    train: tuple[Problem, ...]
    dev: tuple[Problem, ...]
    test: tuple[Problem, ...]


class Bank(msgspec.Struct, frozen=True):
    """All the problems of a class."""

    source: str
    """For people: `reasoning-gym gsm_symbolic`, or the file's name."""
    items: tuple[ProblemGroup, ...]
    demonstrations: tuple[Exemplar, ...]
    held_out: tuple[Problem, ...] = ()
    """Teaching problems that nothing is learnt from: what a trained teacher is measured on (level 2)."""
    labelled: Labelled | None = None
    """What level 3 classifies."""

    @property
    def problems(self) -> Iterator[Problem]:
        """Every problem of the class, each once."""
        for item in self.items:
            yield item.tp
            yield from item.eps
        yield from self.held_out
        if self.labelled:
            yield from (*self.labelled.train, *self.labelled.dev, *self.labelled.test)

    def __post_init__(self) -> None:
        """Refuse an exam that asks the TP itself, and problems that come twice: one question has one answer.

        Raises:
            TaskError: names the problem.
        """
        for item in self.items:
            if any(same_text(ep.text, item.tp.text) for ep in item.eps):
                raise TaskError(f"{item.tp.id}: an exam problem is the teaching problem itself; an exam needs others")
        _refuse_twice(
            [item.tp for item in self.items], "two teaching problems have the same text: a class asks each once"
        )
        for item in self.items:
            _refuse_twice(list(item.eps), "two exam problems of one teaching problem have the same text")
        _refuse_twice(
            [*(item.tp for item in self.items), *self.held_out], "a held-out problem is also taught, or comes twice"
        )
        ids = [p.id for p in self.problems]
        if len(set(ids)) != len(ids):
            twice = next(i for i, times in Counter(ids).items() if times > 1)
            raise TaskError(f"{twice}: two problems have this id")

    def only(self, problems: int, exams: int) -> "Bank":
        """The first `problems` TPs, with their first `exams` EPs.

        Raises:
            TaskError: it does not have so many.
        """
        if problems > len(self.items) or any(exams > len(item.eps) for item in self.items):
            each = min((len(item.eps) for item in self.items), default=0)
            raise TaskError(
                f"this class has {len(self.items)} teaching problems with {each} exam problems each; "
                f"{problems} with {exams} would be other questions: start a new run for them"
            )
        return msgspec.structs.replace(
            self, items=tuple(ProblemGroup(item.tp, item.eps[:exams]) for item in self.items[:problems])
        )


def _refuse_twice(problems: Sequence[Problem], why: str) -> None:
    seen: dict[str, str] = {}
    for problem in problems:
        key = folded(problem.text)
        if key in seen:
            raise TaskError(f"{seen[key]} and {problem.id}: {why}")
        seen[key] = problem.id


def worked_out(lines: str, answer: str) -> str:
    """A source's own solution as a student would have written it: its lines, and the gold answer in a last one.

    Where the source has an answer line of its own, ours takes its place. Empty where there are no other lines.
    """
    kept = [line.rstrip() for line in lines.strip().splitlines()]
    if kept and kept[-1].startswith((ANSWER, "####")):
        kept.pop()
    return "\n".join([*kept, f"{ANSWER} {answer}"]) if any(kept) else ""


def same_text(a: str, b: str) -> bool:
    """Whether two problems are the same but for white space and case."""
    return folded(a) == folded(b)


def folded(text: str) -> str:
    """`text` without differences of white space and case."""
    return " ".join(text.casefold().split())


class Grader(Protocol):
    """Finds answers in texts and judges them. Every call ends within a bounded time."""

    name: str
    version: str

    def parse(self, text: str, form: AnswerForm) -> str | None:
        """The answer that `text` ends in, normalized, or None where there is none to find."""

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Whether `answer` is the gold answer of `problem`."""

    def same(self, a: str, b: str, form: AnswerForm) -> bool:
        """Whether two answers are equivalent. Symmetric and transitive."""
