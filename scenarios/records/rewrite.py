"""Records of rewritten rationales (level 3 with `material: rationale`). Pure data."""

import msgspec

from scenarios.records.observe import TeachingProblemRecord


class Tailored(msgspec.Struct, frozen=True):
    """One TR, rewritten for one student from its mistakes."""

    parent: str
    """Digest of the TR's text: `Rationale.material`."""
    student: str
    failures: tuple[str, ...]
    """Request ids of the wrong EAs that the teacher was shown."""
    reasons: tuple[str, ...]
    """What misled the student, in the teacher's words; empty: no usable text."""
    repeats: tuple[int, ...]
    """Repeats of the new TRs in the lesson, which holds those that did not fail."""


class Rewritten(msgspec.Struct, frozen=True):
    """One TP with its sampled and its rewritten TRs."""

    lesson: TeachingProblemRecord
    """The sampled TRs, followed by the rewritten ones."""
    sampled: int
    """TRs with a smaller repeat were sampled, the others rewritten."""
    originals: int
    """TRs with a smaller repeat could be rewritten; the other sampled ones serve only the comparison."""
    tailored: tuple[Tailored, ...] = ()
    """Sorted by rank of the TR, then by student."""
    reflections: int = 0
    """Number of requests for what misled a student."""
    over: bool = False
    """Whether every result has arrived or failed."""


class Rewriting(msgspec.Struct, frozen=True):
    """All TPs, finished or not."""

    lessons: tuple[Rewritten, ...] = ()
