"""What a class knows that rewrites rationales (level 3 with `material: rationale`). Pure data.

Made by scenarios/levels/rewrite/level.py; what it says is scenarios/report/rewrite.py.
"""

import msgspec

from scenarios.records.observe import TeachingProblemRecord


class Tailored(msgspec.Struct, frozen=True):
    """One TR, rewritten for one student, from its mistakes."""

    parent: str
    """Digest of the TR's text: `Rationale.material`."""
    student: str
    failures: tuple[str, ...]
    """Request ids of the wrong EAs that the teacher was shown."""
    reasons: tuple[str, ...]
    """What misled the student, as the teacher says; none: it found no words for it."""
    repeats: tuple[int, ...]
    """Of the TRs that came of it, in the lesson; those that failed are not there."""


class Rewritten(msgspec.Struct, frozen=True):
    """One TP and all that came of it."""

    lesson: TeachingProblemRecord
    """With its sampled TRs, and behind them the rewritten ones."""
    sampled: int
    """TRs with smaller repeats were sampled, the others rewritten."""
    originals: int
    """TRs with smaller repeats might be rewritten; the sampled ones behind them serve the comparison alone."""
    tailored: tuple[Tailored, ...] = ()
    """Best TR first, then in the order of the students."""
    reflections: int = 0
    """Times that the teacher said what misled a student, or tried to."""
    over: bool = False
    """Whether everything is there."""


class Rewriting(msgspec.Struct, frozen=True):
    """All of it, finished or not."""

    lessons: tuple[Rewritten, ...] = ()
