"""Whether students differ at all, and how a student with a persona differs from the same model without it.

Two questions per pair. Is one right more often? By the paired test over TPs. Are they right on other exams? By a
permutation test: if two students were one, their answers to one EP under one TR could be exchanged. That needs repeats
(or copies), since with one answer each an exchange changes nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec

from broker.engine_args import EXECUTION_ONLY
from broker.protocol import digest
from scenarios.config.schema import Agent
from scenarios.scoring.exam_counts import ExamCounts
from scenarios.scoring.over_problems import OverProblems, over_problems
from scenarios.scoring.statistics import LEVEL

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MOST_STUDENTS = 12
"""With more, not all pairs are tested."""
PERMUTATIONS = 9_999
PLACEMENT: dict[str, Any] = {
    "gpu": "auto",
    "replicas": 1,
    "capacity": 0,
    "memory_share": None,
    "elsewhere": False,
    "resources": {},
}
"""What decides where an agent runs, not what it answers."""


class StudentDifference(msgspec.Struct, frozen=True):
    """A student against another, on the EPs under TRs that both answered."""

    student: str
    base: str
    n: int
    """EPs under TRs that both answered."""
    accuracy: OverProblems
    """Accuracy of the student minus that of its base."""
    same: float
    """Share of these on which both are right or both are wrong: over all pairs of their answers."""
    same_with_itself: float | None
    """The same for two answers of one student to one EP, the mean of both students; None without repeats."""
    p_answers: float | None
    """Of being right on the same exams equally often (permutation test); None without repeats."""

    @property
    def p_value(self) -> float:
        """Of not differing at all: the smaller of both, corrected for being two."""
        p = self.accuracy.p_value
        return p if self.p_answers is None else min(1.0, 2 * min(p, self.p_answers))


class Fidelity(msgspec.Struct, frozen=True):
    """Whether the students of a class are more than one student."""

    to_base: list[StudentDifference]
    """Every student that has a base: see `bases`."""
    smallest_p: float
    """Of all pairs of students that are not copies, corrected by Holm's method for their number; 1 without a pair."""
    pairs: int
    """0: all students with exams are copies of one."""
    n: int
    """TPs."""

    @property
    def differ(self) -> bool:
        """Whether some two students differ significantly."""
        return self.smallest_p < LEVEL


def kinds(students: Sequence[Agent]) -> dict[str, str]:
    """By student, the first student that answers as it does: itself, or the one that it is a copy of.

    Programs of others (engine external) are never copies: their settings do not say what they answer.
    """
    first: list[Agent] = []
    found = {}
    for student in students:
        plain = msgspec.structs.replace(student, **PLACEMENT)
        alike = [one for one in first if msgspec.structs.replace(one, name=student.name) == plain]
        like = alike[0] if alike and student.engine != "external" else None
        if like is None:
            first.append(plain)
        found[student.name] = like.name if like else student.name
    return found


def bases(students: Sequence[Agent]) -> dict[str, str]:
    """By student, the one to compare it with: of its model, without persona if possible, else the first.

    The engine and those of its arguments that decide answers belong to the model: a simulated student of another
    ability is another model. Students without another of their model, and copies of such a student, have none.
    """
    found, kind = {}, kinds(students)
    for student in students:
        family = [one for one in students if _model(one) == _model(student)]
        base = min(family, key=lambda one: bool(one.persona))
        if kind[base.name] != kind[student.name]:
            found[student.name] = base.name
    return found


def _model(student: Agent) -> tuple[str, str, dict[str, Any]]:
    args = {name: value for name, value in student.engine_args.items() if name not in EXECUTION_ONLY}
    return student.model, student.engine, args


def fidelity(counts: Sequence[ExamCounts], students: Sequence[Agent], seed: int) -> Fidelity | None:
    """Compare the students of a class; None where fewer than two of them have exams in common.

    Args:
        counts: of each TP, with a row per student.
        students: in the order of the counts.
        seed: of the tests.
    """
    kind, base = kinds(students), bases(students)
    rows = {
        name: [i for i, one in enumerate(students) if kind[one.name] == name] for name in dict.fromkeys(kind.values())
    }
    wanted = {(name, kind[of]) for name, of in base.items() if kind[name] == name}
    pairs = wanted | (set(combinations(rows, 2)) if len(rows) <= MOST_STUDENTS else set())
    # Copies of one student are repeats of it. A pair is tested once, in the direction of its base.
    found = {
        pair: one
        for pair in sorted(pairs)
        if pair in wanted or pair[::-1] not in wanted
        if (one := _difference(counts, pair, rows, seed))
    }
    if not found:
        copies = len(rows) == 1 and len(students) > 1 and any((one.asked.sum(axis=(1, 2)) > 0).all() for one in counts)
        return Fidelity([], 1.0, 0, len(counts)) if copies else None
    smallest = min(one.p_value for one in found.values())
    return Fidelity(
        [found[pair] for name in rows if (pair := (name, kind[base.get(name, name)])) in found and pair in wanted],
        min(1.0, len(found) * smallest),
        len(found),
        len(counts),
    )


def _difference(
    counts: Sequence[ExamCounts], pair: tuple[str, str], rows: Mapping[str, Sequence[int]], seed: int
) -> StudentDifference | None:
    """Two students; None where they have no exam in common."""
    import numpy as np

    by_tp, cells = [], []
    for one in counts:
        asked, right = (
            np.stack([table[list(rows[name])].sum(axis=0).ravel() for name in pair]) for table in (one.asked, one.right)
        )
        both = asked.all(axis=0)
        if both.any():
            share = right[:, both] / asked[:, both]
            by_tp.append(float((share[0] - share[1]).mean()))
            cells.append(np.concatenate([asked[:, both], right[:, both]]))
    if not by_tp:
        return None
    asked, right = np.split(np.concatenate(cells, axis=1), 2)
    (p, q), wrong = right / asked, asked - right
    repeated = asked > 1
    itself = [
        float((1 - 2 * right[i] * wrong[i] / (asked[i] * (asked[i] - 1.0)))[repeated[i]].mean())
        for i in (0, 1)
        if repeated[i].any()
    ]
    return StudentDifference(
        *pair,
        n=asked.shape[1],
        accuracy=over_problems(by_tp, seed),
        same=float((p * q + (1 - p) * (1 - q)).mean()),
        same_with_itself=sum(itself) / len(itself) if itself else None,
        p_answers=_p_exchanged(asked, right, seed, pair) if repeated.any() else None,
    )


def _p_exchanged(asked: "Array", right: "Array", seed: int, pair: tuple[str, str]) -> float:
    """The chance of shares that differ as much if the answers to each EP under a TR are dealt to both at random.

    The statistic is the sum of squared differences of the two shares. Cells with equal numbers of answers and of right
    ones have the same hypergeometric distribution, so only their number for each outcome is drawn.
    """
    import numpy as np
    from scipy.stats import hypergeom

    rng = np.random.default_rng(int(digest(seed, "exchange", *pair)[:16], 16))
    kept = (asked > 1).any(axis=0)
    asked, right = asked[:, kept], right[:, kept]
    observed = float((((right[0] / asked[0]) - (right[1] / asked[1])) ** 2).sum())
    # As one number each: numpy sorts these much faster than columns.
    base = 2 * int(asked.max()) + 1
    alike, times = np.unique((asked[0] * base + asked[1]) * base + right.sum(axis=0), return_counts=True)
    drawn = np.zeros(PERMUTATIONS)
    for code, n in zip(alike.tolist(), times.tolist(), strict=True):
        first, second, total = code // base**2, code // base % base, code % base
        outcomes = np.arange(max(0, total - second), min(first, total) + 1)
        chances = hypergeom.pmf(outcomes, first + second, total, first)
        apart = (outcomes / first - (total - outcomes) / second) ** 2
        drawn += rng.multinomial(n, chances / chances.sum(), size=PERMUTATIONS) @ apart
    return float((1 + (drawn >= observed - 1e-9 * max(1.0, observed)).sum()) / (PERMUTATIONS + 1))


def sentence(found: Fidelity) -> str | None:
    """What to print first where the students do not differ significantly; None where they do."""
    if found.differ:
        return None
    if not found.pairs:
        return (
            "All students are copies of one, so a line-up can be better than another only because of more exams or by "
            "chance."
        )
    return (
        f"The exams on {found.n} teaching problem{'s' * (found.n != 1)} show no significant difference between the "
        f"students (smallest p, corrected: {found.smallest_p:.2g}). So if a line-up is better than another, more exams "
        "or chance may be the reason."
    )
