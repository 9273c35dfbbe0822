"""The schema of scenario files: their sections, keys, types, bounds, defaults and meanings.

docs/scenarios.md is generated from these structs and the docstrings under their fields. scenarios/config/load.py reads
files.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from broker.work_messages import Recipe, Sampling

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,31}$")]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
LevelNumber = Literal[1, 2, 3]
Share = Annotated[float, Meta(ge=0, le=1)]
ArmName = Literal["m2", "correctness", "shuffled", "dense"]
EngineName = Literal["auto", "vllm", "transformers", "openai", "simulated", "external"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections, which refuse unknown keys."""


class Task(Section, frozen=True, kw_only=True):
    """The source of the problems: a family of reasoning-gym or your own file."""

    family: str | None = None
    """The name of a reasoning-gym family, such as gsm_symbolic; `python run.py doctor` lists the checked ones."""
    file: str | None = None
    """Your own JSON-lines file, relative to the scenario file; docs/your-own-problems.md has its shapes."""
    problems: Positive = 6
    """Number of teaching problems (TPs)."""
    difficulty: Annotated[float, Meta(ge=0, le=2)] = 1.0
    """Difficulty of the generated variants, for families with such a setting (gsm_symbolic)."""
    templates: tuple[int, ...] | None = None
    """Use only these templates of the family (gsm_symbolic), numbered from 0. Default: drawn by the seed."""
    demonstrations: Annotated[int, Meta(ge=0, le=4)] = 2
    """Worked examples before every question, for teacher and students alike."""


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
    """A file of the same shape for dev and test; then `file` is for train alone. Default: all come from `file`."""
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


class StudentSampling(Section, frozen=True, kw_only=True):
    """How one student's exam answers are drawn. What is not given comes from `exam.sampling`."""

    temperature: float | None = None
    """0: greedy, always the likeliest token."""
    top_k: int | None = None
    """Only the k likeliest tokens; 0: all."""
    top_p: float | None = None
    """Only the likeliest tokens that together have this probability."""
    max_tokens: int | None = None
    """Where an answer is cut off."""


class Agent(Section, frozen=True, kw_only=True):
    """A teacher or student, which runs in its own process."""

    name: Name
    """Unique in the class; it names its requests, its log and its rows in class.db."""
    model: str = "simulated"
    """A catalogue alias, a hub id, or a folder with safetensors, relative to the scenario file; for the engine openai,
    the model's name at the server."""
    engine: EngineName = "auto"
    """auto: the best that this machine can run; openai: an OpenAI-compatible server, see docs/servers.md; simulated: no
    language model, simulated answers; external: your own program, which connects by itself."""
    gpu: Literal["auto", "none"] | Count | tuple[Count, ...] = "auto"
    """auto, none, an index, or a list of them; indices count within CUDA_VISIBLE_DEVICES if it is set."""
    persona: str = ""
    """A system prompt that describes the agent."""
    replicas: Annotated[int, Meta(ge=1, le=64)] = 1
    """Number of processes that share the agent's requests, each with its own copy of the model."""
    capacity: Count = 0
    """Requests that each of its processes handles at once; 0: the engine chooses."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Data type of the weights. auto: bfloat16 if the device supports it, else the best that it supports."""
    max_context: Count = 0
    """Most tokens of prompt and answer together; 0: the model's limit."""
    memory_share: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Share of the memory of each of its GPUs. Default: the agents on a GPU share the free memory evenly."""
    thoughts: Literal["drop", "keep"] = "drop"
    """For reasoning models: drop removes their thoughts (`<think>...</think>` and the like) from their answers, keep
    leaves them in; docs/engines.md has details. Answers of external agents are not changed."""
    engine_args: dict[str, Any] = {}
    """Arguments for the engine: docs/engines.md lists them, docs/servers.md those of openai; `plan` refuses unknown
    ones."""
    sampling: StudentSampling = StudentSampling()
    """Students only: how this student's exam answers (and its questions before them) are drawn, where it differs from
    `exam.sampling`. Students that are alike but for it are asked separately. Level 3 with exemplar sets draws with
    `iterate.answering` alone."""


class Lesson(Section, frozen=True, kw_only=True):
    """The teacher's work on each TP."""

    rationales: Positive = 6
    """n: teaching rationales (TRs) sampled per TP."""
    sampling: Sampling = Sampling()
    greedy: bool = True
    """Also answer once at temperature 0, as the greedy baseline."""


class Exam(Section, frozen=True, kw_only=True):
    """The students' exam under each TR."""

    maker: Literal["variants"] = "variants"
    """variants: other draws of the TP's template (functional variants)."""
    problems: Positive = 2
    """Exam problems (EPs) per TP."""
    repeats: Positive = 1
    """How often each student answers each EP under each TR."""
    questions: Annotated[int, Meta(ge=0, le=1)] = 0
    """1: before the exam under a TR every student asks one question about it, and the teacher answers; the student's
    exam prompts contain both. This takes two more completions per TR and student."""
    sampling: Sampling = Sampling()
    score: Literal["accuracy", "logprob"] = "accuracy"
    """accuracy: the share of right exam answers (paper). logprob: also the log-probability of each EP's worked
    solution, once per student, TR and EP; the summary then has choices by this dense score, too."""


class Learn(Section, frozen=True, kw_only=True):
    """Level 2: the training of the teacher and its measurement.

    Defaults are the paper's (M2) if it gives a figure.
    """

    rounds: Positive = 1
    """Number of rounds; each begins with new TRs of the teacher that the previous one trained."""
    weight: Share = 0.5
    """w: the final score of a TR is w x correctness + (1 - w) x LbT score; 0: the LbT score alone."""
    gap: Annotated[float, Meta(ge=0, lt=1)] = 0.3
    """Two TRs of one TP make a preference pair if their final scores differ by more than this. With training.method:
    sft, the best TR of a TP is used if its score exceeds the worst by more than this."""
    pairs_per_tp: Positive = 8
    """Most pairs of one TP; those with the largest gaps are used. No effect with sft."""
    uses_per_rationale: Positive = 2
    """Most pairs of a TP with the same TR. No effect with sft."""
    arms: Annotated[tuple[ArmName, ...], Meta(min_length=1)] = ("m2", "correctness", "shuffled")
    """The trainings; each starts from the same weights and has as many pairs, from the same TRs and exams. m2: as
    above; correctness: w = 1, the baseline; shuffled: scores are shuffled among the TRs of a TP, the control; dense:
    the dense LbT score instead of the exams' (needs exam.score: logprob). The teacher of m2, or else of the first,
    continues."""
    seeds: Positive = 1
    """Number of trainings of each arm, from the same weights on the same pairs with other seeds (shuffled: with other
    shuffles; sft: with other draws among equally good TRs). An arm's figures are means over them; the teacher of the
    first continues."""
    training: Recipe = Recipe()
    held_out: Count = 20
    """Problems that are not taught, on which teachers are measured; from other templates if the family has
    templates."""
    samples: Count = 4
    """k: sampled answers of each teacher to each held-out problem, besides the greedy one; pass@1 is their mean."""
    rationales: Count = 2
    """New TRs of each trained teacher per TP, for exams of the same students."""

    @property
    def lead(self) -> ArmName:
        """The arm whose teacher continues in the next round and the next level."""
        return "m2" if "m2" in self.arms else self.arms[0]


class Scoring(Section, frozen=True, kw_only=True):
    """How exam answers become a choice. `replay` can change it without new requests.

    At level 2, however, it may choose other pairs than those that were used for training.
    """

    merge: Literal["answers", "students"] = "answers"
    """With several students: the mean over all their exam answers (paper), or the mean of the students' means."""
    ties: Literal["votes", "first"] = "votes"
    """With equal scores: the answer with more votes, then the smallest repeat; or the smallest repeat at once."""
    cut_off: Literal["graded", "wrong"] = "graded"
    """An answer cut off at max_tokens is graded as it is, or always wrong."""


class Iterate(Section, frozen=True, kw_only=True):
    """Level 3 (M3): the teacher writes sets of exemplars and rewrites them from its students' mistakes.

    Defaults are the paper's if it gives a figure.
    """

    task: LabelledTask = LabelledTask()
    material: Literal["exemplars", "rationale"] = "exemplars"
    """exemplars: the teacher writes sets of texts with their answers, from `iterate.task`. rationale: it rewrites its
    TRs of `task` for each student, from that student's mistakes; only `beam`, `mistakes`, `reasons`, `revisions`,
    `originals` and `writing` apply."""
    originals: Count = 0
    """For rationales: how many of the lesson's TRs per TP may be rewritten; the comparison is level 1 with all of them.
    0: half of them, rounded up."""
    start: Literal["description", "training"] = "description"
    """The first sets: written by the teacher from the description of the task, or drawn from the training items."""
    rounds: Positive = 5
    """Number of rounds, in each of which the current sets are taught and revised."""
    beam: Positive = 4
    """Sets kept from round to round. For rationales: how many per TP are rewritten; these are different ones with
    failed exams, the best first."""
    exemplars: Annotated[int, Meta(ge=2, le=64)] = 8
    """K: exemplars of a set, from both classes."""
    minibatch: Positive = 64
    """Training items that every student answers with every current set; drawn again every round."""
    reflections: Positive = 4
    """Reflections per current set: in each the teacher explains what misled the students, about other mistakes."""
    mistakes: Positive = 4
    """Wrong answers shown for each reflection."""
    reasons: Positive = 2
    """Reasons in each reflection. For rationales there is one reflection per rationale and student."""
    mix: bool = False
    """Every revision sees all reflections on its set; false: one of them."""
    revisions: Positive = 8
    """New sets per current set; new rationales per rationale and student."""
    score_items: Positive = 200
    """Training items that the teacher answers with every set; their F1 decides which sets are kept. All sets have the
    same items."""
    curriculum: Literal["all", "strong_first", "weak_first"] = "all"
    """The students whose mistakes the teacher sees in each round. all: all students; strong_first, weak_first: students
    join evenly over the rounds, in the order of their F1 in the first round, whose exams all students take."""
    itself: bool = False
    """The teacher takes the exams, too, as one more student."""
    baselines: tuple[Literal["random", "self", "search"], ...] = ()
    """Baselines to run as well. random: as many sets of random training items; self: the teacher as its only student;
    search: revisions without students, with the same number of requests."""
    repeats: Positive = 1
    """Independent runs in one class: other texts are sampled; the items and their splits are the same."""
    writing: Sampling = Sampling(max_tokens=1024)
    """For reflections and new sets."""
    answering: Sampling = Sampling(temperature=0.0, max_tokens=48)
    """For all answers to items."""


class Limits(Section, frozen=True, kw_only=True):
    """Time limits and restarts."""

    stalled_s: Seconds = 300.0
    """If an agent makes no progress on a request for this long, the request is taken back and the agent restarted."""
    loading_s: Seconds = 900.0
    """An agent that takes longer to load is restarted."""
    training_s: Seconds = 3600.0
    """An agent whose training takes longer for one step is restarted; the training continues from its checkpoint."""
    empty_pool_s: Seconds = 120.0
    """If an agent that is needed has had no process, running or about to start, for this many seconds, the class stops;
    it can be resumed."""
    broker_s: Seconds = 60.0
    """If the broker's process runs but sends nothing for this long (at least three heartbeats), it is started again.
    The limit is ten times as long while that process waits for a processor or for the disk."""
    restarts: Count = 2
    """Most restarts of each process of an agent, and of the broker."""
    drain_s: Seconds = 20.0
    """Time for unfinished requests after Ctrl-C."""


class Broker(Section, frozen=True, kw_only=True):
    """How the processes connect."""

    address: Annotated[str, Meta(pattern="^(ipc$|tcp://)")] = "ipc"
    """ipc: this machine only. tcp://HOST:PORT: other hosts, too, encrypted (CURVE) with keys in the run's folder. The
    monitor uses the next port; an IPv6 address is in brackets, tcp://[::1]:5599."""
    heartbeat_s: Seconds = 2.0
    """How often an agent sends a heartbeat. If none comes for three times this long, an agent that the run started is
    shown as silent, and any other counts as lost."""


class Scenario(Section, frozen=True, kw_only=True):
    """The whole file."""

    name: Name
    """The name of the class, which names the run's folder."""
    level: LevelNumber | Annotated[tuple[LevelNumber, ...], Meta(min_length=1)] = 1
    """1: observe (M1), 2: learn (M2), 3: iterate (M3); a list: one class runs them in turn. Level 2 begins with level
    1's rationales and exams, so 2 and [1, 2] make the same requests; so does 3 with `iterate.material: rationale`."""
    seed: int = 0
    """The seed of every random choice."""
    task: Task = Task()
    """The problems of levels 1 and 2; the texts of level 3 are in `iterate.task`."""
    teacher: Agent
    students: tuple[Agent, ...]
    """At least one, unless the teacher is its own only student (`iterate.itself`)."""
    time_share: bool = False
    """The agents take turns on the machine, the teacher first, then the students one by one; for models that do not fit
    on it together."""
    lesson: Lesson = Lesson()
    exam: Exam = Exam()
    learn: Learn = Learn()
    scoring: Scoring = Scoring()
    iterate: Iterate = Iterate()
    limits: Limits = Limits()
    broker: Broker = Broker()

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of the class in their order."""
        return self.level if isinstance(self.level, tuple) else (self.level,)

    @property
    def rewrites(self) -> bool:
        """Whether level 3 rewrites rationales."""
        return 3 in self.levels and self.iterate.material == "rationale"

    @property
    def classifies(self) -> bool:
        """Whether level 3 writes sets of labelled texts."""
        return 3 in self.levels and self.iterate.material == "exemplars"

    @property
    def solves(self) -> bool:
        """Whether the class has teaching problems."""
        return bool({1, 2} & set(self.levels)) or self.rewrites

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The teacher, then the students in the order of the file."""
        return (self.teacher, *self.students)

    def own_sampling(self, student: Agent) -> dict[str, float]:
        """The entries of a student's sampling that differ from exam.sampling."""
        own, others = msgspec.structs.asdict(student.sampling), msgspec.structs.asdict(self.exam.sampling)
        return {key: value for key, value in own.items() if value not in (None, others[key])}

    def sampling_of(self, student: Agent) -> Sampling:
        """How a student's exam answers about rationales are drawn."""
        return msgspec.structs.replace(self.exam.sampling, **self.own_sampling(student))

    @property
    def held_out(self) -> int:
        """Number of problems that the class does not teach but measures teachers on."""
        return self.learn.held_out if 2 in self.levels else 0
