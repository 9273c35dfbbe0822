"""The section of scenario files for exam problems that an agent writes (`exam.maker: invented`)."""

from typing import Annotated

from msgspec import Meta

from scenarios.config.section import Section

Number = Annotated[int, Meta(ge=2, le=64)]


class Invention(Section, frozen=True, kw_only=True):
    """With `exam.maker: invented`: who writes the exam problems (EPs) of a TP, and how often each is answered."""

    by: str | None = None
    """Name of the agent that writes the problems and answers them: the teacher, or a student. The teacher
    samples with `lesson.sampling`, a student as in exams. Default: the teacher."""
    candidates: Number = 6
    """Number of problems written per TP. The EPs are the first `exam.problems` of them that are usable."""
    answers: Number = 5
    """How often the writer answers each. The answer of more than half of these is the EP's gold answer; without one the
    problem is not used."""
