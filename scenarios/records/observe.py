"""What a finished (or half finished) class of level 1 knows: the input of all scoring. Pure data."""

import msgspec

from broker.work_messages import AnswerForm


class ExamAnswer(msgspec.Struct, frozen=True):
    """One EA."""

    student: str
    ep: str
    repeat: int
    correct: bool

    @property
    def slot(self) -> tuple[str, str, int]:
        """Whose exam on which EP, and for which time: what TRs of one TP have in common."""
        return self.student, self.ep, self.repeat


class ExamGrade(msgspec.Struct, frozen=True):
    """How likely a student finds the worked solution of an EP under a TR."""

    student: str
    ep: str
    logprob: float
    """Mean over the solution's tokens, in nats."""


class Rationale(msgspec.Struct, frozen=True):
    """One sampled TR-TA pair of a TP. Identical TRs appear as often as they came, with the same exams."""

    id: str
    repeat: int
    answer: str | None
    correct: bool
    completion_tokens: int
    exams: tuple[ExamAnswer, ...]
    """Sorted by student, EP, repeat. Empty where the TR has no answer, or was not examined yet."""
    material: str = ""
    """Digest of the text: identical TRs have it in common. Empty: the id stands for it."""
    grades: tuple[ExamGrade, ...] = ()
    """Sorted by student and EP. Empty unless exam.score is logprob."""
    ended: bool = True
    """False: it was cut off."""
    talks: int = 0
    """Questions of students about it, and the teacher's answers."""
    silent: int = 0
    """Students who were to ask, and sat their exams without a dialogue."""


class TeachingProblemRecord(msgspec.Struct, frozen=True):
    """One TP and all that came of it."""

    tp: str
    form: AnswerForm
    greedy: Rationale | None
    """Temperature 0, without exams. None: not asked, or failed."""
    rationales: tuple[Rationale, ...]
    """Sorted by repeat; failed ones are left out."""
    exam_tokens: int = 0
    """Completion tokens of all exams under this TP, each distinct exam once, and of the dialogues before them."""
