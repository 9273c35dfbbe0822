"""Records of level 1: the input of all scoring. Pure data."""

from collections.abc import Collection

import msgspec

from broker.work_messages import AnswerForm


class ExamAnswer(msgspec.Struct, frozen=True, gc=False):
    """One exam answer (EA)."""

    student: str
    ep: str
    repeat: int
    correct: bool

    @property
    def slot(self) -> tuple[str, str, int]:
        """Student, EP and repeat, which TRs of one TP have in common."""
        return self.student, self.ep, self.repeat


class ExamGrade(msgspec.Struct, frozen=True):
    """Likelihood of an EP's worked solution for a student, after a TR."""

    student: str
    ep: str
    logprob: float
    """Mean over the solution's tokens, in nats."""


class Rationale(msgspec.Struct, frozen=True):
    """One sampled TR-TA pair of a TP. Identical TRs appear as often as they were drawn, with the same exams."""

    id: str
    repeat: int
    answer: str | None
    correct: bool
    completion_tokens: int
    exams: tuple[ExamAnswer, ...]
    """Sorted by student, EP, repeat. Empty where the TR has no answer, or was not examined yet."""
    material: str = ""
    """Digest of the text, equal for identical TRs. Empty: the id stands for it."""
    grades: tuple[ExamGrade, ...] = ()
    """Sorted by student and EP. Empty unless exam.score is logprob."""
    ended: bool = True
    """False: it was cut off."""
    talks: int = 0
    """Number of questions of students about it and of answers of the teacher."""
    ratings: tuple[ExamAnswer, ...] = ()
    """Its teacher's judgements (self-evaluation), sorted by repeat: `correct` where it says that the TR is right."""
    silent: int = 0
    """Number of students whose dialogue failed, who took their exams without one."""
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    """Of `prompt_tokens`: those that came from a prefix cache."""
    dropped: bool = False
    """Its exams ended early, since others did better (`exam.allocation: halving`); then it is not chosen."""
    behaviour: str = ""
    """Of a program: a digest of what it returns for the inputs on which programs are compared."""
    hidden: float | None = None
    """Of a program: the share of hidden cases that pass (S-score); None where there are none."""

    @property
    def compared(self) -> str:
        """What answers are compared by: programs by what they do."""
        return self.behaviour or self.answer or ""

    @property
    def shown(self) -> str | None:
        """The answer in a table; of a program, a name that programs that do the same share."""
        return f"program {self.behaviour[:8]}" if self.behaviour else self.answer


class Tokens(msgspec.Struct, frozen=True):
    """The tokens of some requests."""

    completion_tokens: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        """The tokens of both."""
        return Tokens(*map(sum, zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)))


class AloneAnswers(msgspec.Struct, frozen=True):
    """One student's answers to a TP without any teaching material."""

    student: str
    answers: tuple[Rationale, ...]
    """Sorted by repeat, without failed ones; they are never examined."""


class UniversalChoice(msgspec.Struct, frozen=True):
    """The TR that the teacher named when it saw all TRs of a TP with an answer."""

    tr: str
    """Empty: it named none, or there was none."""
    tokens: Tokens = Tokens()


class ExamCost(msgspec.Struct, frozen=True):
    """The tokens of one student's distinct exams under one TP and of its questions before them."""

    student: str
    prompt_tokens: int
    completion_tokens: int


class ExplanationCost(msgspec.Struct, frozen=True):
    """The tokens of the teacher's answers to the same students' questions under one TP (`exam.questions`).

    Students who ask the same about a TR share one answer.
    """

    students: tuple[str, ...]
    """Those who share each of these answers, sorted by name; at least one."""
    prompt_tokens: int
    completion_tokens: int


class Saved(msgspec.Struct, frozen=True):
    """Exams of one TP that `exam.allocation: full` would have asked, by the reason why they were not."""

    by_agreement: int = 0
    """All TRs have one answer."""
    by_certainty: int = 0
    """No EA could change the choice any more."""
    by_halving: int = 0
    """Other answers did better, by confidence bounds."""

    @property
    def exams(self) -> int:
        """All of them."""
        return self.by_agreement + self.by_certainty + self.by_halving

    def __add__(self, more: "Saved") -> "Saved":
        return Saved(
            *(a + b for a, b in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(more), strict=True))
        )


class InventedProblem(msgspec.Struct, frozen=True):
    """An EP that an agent wrote."""

    ep: str
    agreeing: int
    """How many of the writer's answers are the one that is its gold answer."""


class InventedExam(msgspec.Struct, frozen=True):
    """The EPs that an agent wrote for one TP (`exam.maker: invented`), and what became of all that it was asked for."""

    writer: str
    problems: tuple[InventedProblem, ...] = ()
    """The EPs."""
    candidates: int = 0
    """Problems that were asked for."""
    unusable: int = 0
    """Those that failed, were empty or cut off."""
    duplicates: int = 0
    """Near duplicates of the TP or of an earlier one."""
    disputed: int = 0
    """Those without an answer that more than half of the writer's answers gave."""
    answers: int = 0
    """How often each was answered."""
    tokens: Tokens = Tokens()
    """Of all of these requests."""

    def mark(self, ep: str) -> str:
        """Words that mark an EP as invented."""
        (agreeing,) = [one.agreeing for one in self.problems if one.ep == ep]
        return f"written by {self.writer}; answers agreed by {agreeing} of {self.answers}"


class TeachingProblemRecord(msgspec.Struct, frozen=True):
    """One TP with its TRs and their exams."""

    tp: str
    form: AnswerForm
    greedy: Rationale | None
    """Drawn at temperature 0, without exams. None: not asked, or failed."""
    rationales: tuple[Rationale, ...]
    """Sorted by repeat, without failed ones."""
    exam_tokens: int = 0
    """Completion tokens of all distinct exams under this TP and of the dialogues before them."""
    exam_prompt_tokens: int = 0
    """Prompt tokens of the same."""
    exam_cached_prompt_tokens: int = 0
    """Of `exam_prompt_tokens`: those that came from a prefix cache."""
    exam_costs: tuple[ExamCost, ...] = ()
    """The same tokens by student, sorted by name, without `explanation_costs`."""
    explanation_costs: tuple[ExplanationCost, ...] = ()
    """The rest of them: the teacher's answers to questions, sorted by the students who share them."""
    votes: tuple[Rationale, ...] = ()
    """Further TRs (`lesson.equal_cost`), which are never examined, sorted by repeat, without failed ones."""
    similarities: tuple[float, ...] = ()
    """Of its EPs to it, if they were retrieved (`ProblemGroup.similarities`)."""
    abstains: bool = False
    """It has no EP, so there are no exams, and SC chooses the answer (`exam.abstain_below`, `exam.maker: invented`)."""
    saved: Saved = Saved()
    """Exams that `exam.allocation` did not ask so far."""
    alone: tuple[AloneAnswers, ...] = ()
    """Sorted by student. This and what follows: where `baselines` of the scenario asks for it."""
    rating_tokens: Tokens = Tokens()
    """Of all judgements of single TRs."""
    universal: UniversalChoice | None = None
    """None: not asked, or failed."""
    invented: InventedExam | None = None
    """None: its EPs are not invented."""
    unread_judgements: int = 0
    """Judgements, of one TR or of all, in which none could be read."""

    def exam_cost(self, students: Collection[str]) -> Tokens:
        """The tokens of these students' exams and of the dialogues before them, cached prompts not counted apart.

        An answer that several of them share counts once.
        """
        paid: list[ExamCost | ExplanationCost] = [one for one in self.exam_costs if one.student in students]
        paid += [one for one in self.explanation_costs if any(name in students for name in one.students)]
        return sum((Tokens(one.completion_tokens, one.prompt_tokens) for one in paid), Tokens())

    @property
    def tokens_of_exam_maker(self) -> Tokens:
        """What its EPs took, which is part of M1's cost."""
        return self.invented.tokens if self.invented else Tokens()
