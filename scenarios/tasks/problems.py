"""Problems, the bank of all problems of a class, and the interface of graders."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple, Protocol

import msgspec

from broker.errors import TaskError
from broker.work_messages import AnswerForm, Exemplar
from scenarios.records.observe import InventedExam
from scenarios.tasks.programs import program_task

ANSWER_MARK = "Answer:"
"""Start of the last line of a solution; prompts ask for it."""
CHARACTERS_PER_TOKEN = 4
"""Of typical English text: an estimate for plans."""


class Problem(msgspec.Struct, frozen=True):
    """A problem and its gold answer. The gold answer never leaves the classroom."""

    id: str
    text: str
    answer: str
    form: AnswerForm
    solution: str = ""
    """A worked solution that ends in the gold answer, where the source has one. Only a `Grade` sends it to agents."""
    level: str = ""
    """How hard its source says it is, such as `Level 5` (MATH); for reports alone, like `subject`."""
    subject: str = ""
    program: str = ""
    """Form code: what a program must do, a `ProgramTask` as JSON (programs.py). `answer` is then a reference solution,
    or empty."""

    @property
    def worked(self) -> str:
        """The text that a `Grade` scores: the worked solution, or else the gold answer as a student would write it."""
        return self.solution or f"{ANSWER_MARK} {self.answer}"

    @property
    def shown(self) -> str:
        """The gold answer in a table; a program is too long for one."""
        return ("a program" if self.answer else "none") if self.program else self.answer

    @property
    def function(self) -> str:
        """Form code: the function that a program defines; else empty."""
        return program_task(self.program).function if self.program else ""


class ProblemGroup(msgspec.Struct, frozen=True):
    """A teaching problem (TP) with its exam problems (EPs)."""

    tp: Problem
    eps: tuple[Problem, ...]
    similarities: tuple[float, ...] = ()
    """Of EPs by retrieval: cosine similarity of each to the TP, or, without EPs, of those that were not near enough."""
    invented: InventedExam | None = None
    """Of EPs that an agent wrote. A bank in class.db has none: they follow from the results."""

    @property
    def abstains(self) -> bool:
        """Whether the TP has no exams since no EP is near enough (`exam.abstain_below`), or no invented one usable."""
        return not self.eps and (bool(self.similarities) or self.invented is not None)


class Labelled(msgspec.Struct, frozen=True):
    """Texts of two classes, for level 3; the answer to each is Yes (the positive class) or No."""

    source: str
    """For people: the family, the files' names or the data set's name."""
    description: str
    """A sentence or two for teacher and students: what the texts are, and what Yes and No mean."""
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
    """Problems that are not taught; trained teachers are measured on them (level 2)."""
    labelled: Labelled | None = None
    """The texts that level 3 classifies."""

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
        """Refuse an exam that asks the TP itself, and problems with the same text.

        Raises:
            TaskError: with the problem's id.
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

    def grown(self, larger: "Bank") -> "Bank":
        """This bank with the problems that `larger` has besides.

        Raises:
            TaskError: `larger` has other problems in the place of these.
        """
        common = zip(self.items, larger.items, strict=False)
        other = [one.tp.id for one, now in common if not _starts_alike(one, now)]
        other += ["the worked examples"] * bool(self.items and larger.demonstrations != self.demonstrations)
        other += ["the held-out problems"] * (self.held_out != () and not _same(larger.held_out, self.held_out))
        other += ["the texts of level 3"] * (larger.labelled != self.labelled is not None)
        if other:
            raise TaskError(
                f"{larger.source} gives other problems for the larger class than this class has (first: {other[0]}), "
                "so it cannot keep them.\nStart a new class: python run.py SCENARIO.yaml --set ..."
            )
        both = zip_longest(self.items, larger.items)
        items = tuple(max((one for one in pair if one), key=lambda one: len(one.eps)) for pair in both)
        return msgspec.structs.replace(
            larger,
            items=items,
            demonstrations=larger.demonstrations or self.demonstrations,
            held_out=larger.held_out or self.held_out,
            labelled=larger.labelled or self.labelled,
        )

    def with_exams(self, groups: Sequence[ProblemGroup]) -> "Bank":
        """This bank with these groups in place of those with the same TPs."""
        if not groups:
            return self
        by_tp = {group.tp.id: group for group in groups}
        return msgspec.structs.replace(self, items=tuple(by_tp.get(item.tp.id, item) for item in self.items))

    def only(self, problems: int, exams: int) -> "Bank":
        """The first `problems` TPs, with their first `exams` EPs.

        Raises:
            TaskError: the bank has fewer.
        """
        each = min((len(item.eps) for item in self.items if item.eps), default=exams)
        if problems > len(self.items) or exams > each:
            raise TaskError(
                f"this class has {len(self.items)} teaching problems with {each} exam problems each; "
                f"{problems} with {exams} would be other questions: start a new run for them"
            )
        return msgspec.structs.replace(
            self,
            items=tuple(
                ProblemGroup(item.tp, item.eps[:exams], item.similarities[:exams]) for item in self.items[:problems]
            ),
        )


def _starts_alike(one: ProblemGroup, other: ProblemGroup) -> bool:
    """Whether two groups have the same TP and, as far as both have any, the same EPs."""
    shared = min(len(one.eps), len(other.eps))
    return _same((one.tp, *one.eps[:shared]), (other.tp, *other.eps[:shared]))


def _same(some: Sequence[Problem], others: Sequence[Problem]) -> bool:
    """Whether problems are the same but for level and subject, which class.db of an earlier version lacks."""
    bare = [[msgspec.structs.replace(one, level="", subject="") for one in problems] for problems in (some, others)]
    return bare[0] == bare[1]


def _refuse_twice(problems: Sequence[Problem], why: str) -> None:
    seen: dict[str, str] = {}
    for problem in problems:
        key = folded(problem.text)
        if key in seen:
            raise TaskError(f"{seen[key]} and {problem.id}: {why}")
        seen[key] = problem.id


def worked_out(lines: str, answer: str) -> str:
    """A source's solution with the gold answer in a last line, as a student would write it.

    That line replaces the answer line of the source. Empty if there are no other lines.
    """
    kept = [line.rstrip() for line in lines.strip().splitlines()]
    if kept and kept[-1].startswith((ANSWER_MARK, "####")):
        kept.pop()
    return "\n".join([*kept, f"{ANSWER_MARK} {answer}"]) if any(kept) else ""


def same_text(a: str, b: str) -> bool:
    """Whether two texts differ only in white space and case."""
    return folded(a) == folded(b)


def folded(text: str) -> str:
    """`text` in one normal form of white space and case."""
    return " ".join(text.casefold().split())


class Behaviour(NamedTuple):
    """What a program does beyond the visible cases."""

    behaviour: str
    """Digest of its outcomes on `ProgramTask.compared`: equal for programs that do the same."""
    hidden: float | None
    """S-score: the share of hidden cases that pass; None where there are none."""


class Grader(Protocol):
    """Finds answers in texts and judges them. Every call ends within a bounded time."""

    name: str
    version: str

    def read(self, text: str, problem: Problem, *, ended: bool = True) -> str | None:
        """The final answer to `problem` in `text`, normalized; None if there is none.

        Args:
            text: what a model wrote.
            problem: what it answers.
            ended: False: the text was cut off.
        """

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Whether `answer` is the gold answer of `problem`; of a program, whether all visible cases pass."""

    def behaviour(self, problem: Problem, answer: str) -> Behaviour:
        """What a program does beyond the visible cases."""

    def failing(self, problem: Problem, answer: str) -> str:
        """The visible cases that a program fails, one a line; empty: it fails none, or nobody asks (`self_debug`)."""

    def same(self, a: str, b: str, form: AnswerForm) -> bool:
        """Whether two answers are equivalent. Symmetric and transitive."""
