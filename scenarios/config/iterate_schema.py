"""The sections of scenario files for level 3; scenarios/config/schema.py has the others."""

from typing import Annotated, Literal

from msgspec import Meta

from broker.work_messages import Sampling
from scenarios.config.section import Count, Positive, Section


class LabelledTask(Section, frozen=True, kw_only=True):
    """Texts with a yes/no question, for level 3: from reasoning-gym, your own file, or the Hugging Face hub.

    The default is the family syllogism. Of texts that differ only in case and white space one is kept, and none if they
    have both labels. The seed and the text decide which split a text is in; the order of a file does not matter.
    """

    family: str | None = None
    """The only family is syllogism: whether a statement follows from two others. It makes as many texts as needed, half
    of them positive."""
    file: str | None = None
    """A JSON-lines file with a text and a label in each line; relative to the scenario file, like `test_file`."""
    test_file: str | None = None
    """A file in the same format for dev and test; then `file` is for train alone. Default: all come from `file`."""
    hub: str | None = None
    """The name of a data set at the Hugging Face hub, OWNER/NAME; needs `pip install -e ".[datasets]"`. Its split
    train is used like `file`; validation and test, if it has them, together like `test_file`."""
    hub_config: str | None = None
    """The configuration of that data set, if it has several."""
    text: str | tuple[str, ...] = "text"
    """The key of the text; or several, such as [statement, speaker, party]: each value gets a line with its key
    (`Speaker: ...`). Values of all keys but the first may be absent or empty; their lines are left out."""
    label: str = "label"
    """The key of the label: text, a whole number, true or false. Labels are compared as text without regard to case."""
    positive: str | int | bool | None = None
    """The label that means Yes. Required for a file or the hub."""
    negative: str | int | bool | None = None
    """The label that means No; other labels are then refused. Default: every other label."""
    description: str = ""
    """One or two sentences for teacher and students: what the texts are, and what Yes and No mean. Required for a file
    or the hub; a family has its own."""
    train: Count = 200
    """Texts for making and scoring teaching material; 0: all that are left."""
    dev: Count = 100
    """Held-out texts besides those of test; 0: none."""
    test: Count = 100
    """Held-out texts; 0: all that are left."""
    balanced: bool = True
    """true: half of train is positive; false: it has the data's share of positives, as dev and test always have."""


class Iterate(Section, frozen=True, kw_only=True):
    """Level 3 (M3): the teacher writes sets of exemplars and rewrites them from its students' mistakes.

    Defaults are the paper's if it gives a figure.
    """

    task: LabelledTask = LabelledTask()
    material: Literal["exemplars", "rationale"] = "exemplars"
    """exemplars: the teacher writes sets of texts with their answers, from `iterate.task`. rationale: it rewrites its
    TRs of `task` for each student, from that student's mistakes; of this section only `beam`, `mistakes`, `reasons`,
    `revisions`, `originals` and `writing` have an effect."""
    originals: Count = 0
    """For rationales: how many of the lesson's TRs per TP may be rewritten; the comparison is level 1 with all of them.
    0: half of them, rounded up."""
    start: Literal["description", "training"] = "description"
    """The first sets: written by the teacher from the description of the task, or drawn from the training items."""
    rounds: Positive = 5
    """Number of rounds, in each of which the current sets are taught and revised."""
    beam: Positive = 4
    """Number of sets kept after each round. For rationales: how many different ones per TP are rewritten, the best of
    those with failed exams."""
    exemplars: Annotated[int, Meta(ge=2, le=64)] = 8
    """Number of exemplars in a set, with both labels; K in the paper."""
    minibatch: Positive = 64
    """Number of training items that every student answers with every current set; new ones each round."""
    reflections: Positive = 4
    """Number of reflections per current set. In each the teacher explains what misled the students, from other
    mistakes."""
    mistakes: Positive = 4
    """Number of wrong answers that the teacher sees for each reflection."""
    reasons: Positive = 2
    """Number of reasons in each reflection. For rationales there is one reflection per rationale and student."""
    mix: bool = False
    """true: each revision uses all reflections on its set; false: one of them."""
    revisions: Positive = 8
    """Number of new sets per current set; for rationales, of new ones per rationale and student."""
    score_items: Positive = 200
    """Training items that the teacher answers with every set; their F1 decides which sets are kept. All sets have the
    same items."""
    curriculum: Literal["all", "strong_first", "weak_first"] = "all"
    """The students whose mistakes the teacher sees in each round. all: all students; strong_first, weak_first: students
    join evenly over the rounds, in the order of their F1 in the first round, whose exams all students take."""
    itself: bool = False
    """The teacher takes the exams, too, as one more student."""
    baselines: tuple[Literal["random", "self", "search"], ...] = ()
    """Baselines that also run. random: the same number of sets, of random training items; self: the teacher as its only
    student; search: revisions without students, with the same number of requests."""
    repeats: Positive = 1
    """Independent runs in one class: other texts are sampled; the items and their splits are the same."""
    writing: Sampling = Sampling(max_tokens=1024)
    """For reflections and new sets."""
    answering: Sampling = Sampling(temperature=0.0, max_tokens=48)
    """For all answers to items."""
