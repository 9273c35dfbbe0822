"""The scenario file: what may stand in it, and what each entry means.

The structs below are the file. docs/scenarios.md is made from them. Reading a file, naming the line of a
mistake and overriding entries is `scenarios/config/load.py`.
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
    """Base of all sections: unknown keys are refused."""


class Task(Section, frozen=True, kw_only=True):
    """Where the problems come from: a family of reasoning-gym, or a file of your own."""

    family: str | None = None
    """A reasoning-gym family by name, such as gsm_symbolic; `python run.py doctor` lists the checked ones."""
    file: str | None = None
    """A JSON-lines file of your own, relative to the scenario file: docs/your-own-problems.md has its shapes."""
    problems: Positive = 6
    """How many teaching problems (TPs) the class has."""
    difficulty: Annotated[float, Meta(ge=0, le=2)] = 1.0
    """Of the generated variants, where the family has such a dial (gsm_symbolic)."""
    templates: tuple[int, ...] | None = None
    """Only these templates of the family (gsm_symbolic): their numbers, from 0. Default: drawn by the seed."""
    demonstrations: Annotated[int, Meta(ge=0, le=4)] = 2
    """Worked examples that stand before every question, for teacher and students alike."""


class LabelledTask(Section, frozen=True, kw_only=True):
    """Texts with a question of yes and no, for level 3: from reasoning-gym, a file of your own, or the hub.

    Where none is named they come from the family syllogism. Of texts that come twice (but for case and white space)
    one is kept, and none where they have both labels. What goes where is drawn by the seed and the text: the order of
    a file changes nothing.
    """

    family: str | None = None
    """A family by name: syllogism, whether a statement follows from two others. Endless, and half positive."""
    file: str | None = None
    """A JSON-lines file with a text and a label in each line. Relative to the scenario file, as is `test_file`."""
    test_file: str | None = None
    """Of the same shape: dev and test come from it and train from `file` alone. Default: all come from `file`."""
    hub: str | None = None
    """A data set by its name at the Hugging Face hub, OWNER/NAME; needs `pip install -e ".[datasets]"`. Its
    split train is taken as `file` would be, validation and test, where it has them, together as `test_file`."""
    hub_config: str | None = None
    """Which configuration of that data set, where it has several."""
    text: str | tuple[str, ...] = "text"
    """The key of the text; or several, such as [statement, speaker, party]: their values on a line each, behind their
    keys (`Speaker: ...`). Those behind the first may be absent or empty, and are left out there."""
    label: str = "label"
    """The key of the label: text, a whole number, or true or false. Labels are compared as text, in any case."""
    positive: str | int | bool | None = None
    """The label that stands for Yes. A file and a hub need it."""
    negative: str | int | bool | None = None
    """The label that stands for No; any third one is then refused. Default: every other label."""
    description: str = ""
    """One or two sentences for teacher and students: what the texts are, and what Yes and No mean. A file and a hub
    need it; a family has its own."""
    train: Count = 200
    """Texts that teaching material is made from and scored on; 0: all that are left."""
    dev: Count = 100
    """Texts held out besides those of test; 0: none."""
    test: Count = 100
    """Texts held out until the end; 0: all that are left."""
    balanced: bool = True
    """Half of train is positive. false: it has the data's share of positives, as dev and test always have."""


class Agent(Section, frozen=True, kw_only=True):
    """One teacher or student: a process of its own."""

    name: Name
    """Unique in the class; its requests, its log and its rows in the gradebook bear it."""
    model: str = "simulated"
    """A catalogue alias, a hub id, or a folder with safetensors, relative to the scenario file; for engine openai, its
    name at the server."""
    engine: EngineName = "auto"
    """auto: the best one this machine can run; openai: any OpenAI-compatible server, see docs/servers.md; simulated: a
    model of a class, not of a language; external: a program of yours that joins by itself."""
    gpu: Literal["auto", "none"] | Count | tuple[Count, ...] = "auto"
    """auto, none, one index, or a list; counted within CUDA_VISIBLE_DEVICES where it is set."""
    persona: str = ""
    """A system prompt: who this agent is."""
    replicas: Annotated[int, Meta(ge=1, le=64)] = 1
    """How many processes stand in for one another as this agent, each with a model of its own."""
    capacity: Count = 0
    """Requests that each of its processes works on at once; 0: the engine chooses."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Of the weights. auto: bfloat16 where the device computes in it, else what it does best."""
    max_context: Count = 0
    """Tokens of prompt and answer; 0: the model's own limit."""
    memory_share: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Of each of its GPUs. Default: what is left, shared evenly among the agents there."""
    thoughts: Literal["drop", "keep"] = "drop"
    """Of reasoning models: drop takes what they think (`<think>...</think>` and the like) out of their answers, keep
    leaves it in; docs/engines.md says more. Answers of external agents are taken as they are sent."""
    engine_args: dict[str, Any] = {}
    """Passed to the engine as they are: docs/engines.md says which, docs/servers.md those of openai; `plan`
    refuses an unknown one."""


class Lesson(Section, frozen=True, kw_only=True):
    """What the teacher does with each TP."""

    rationales: Positive = 6
    """n: how many TRs are sampled per TP."""
    sampling: Sampling = Sampling()
    greedy: bool = True
    """Also ask once at temperature 0: the greedy baseline."""


class Exam(Section, frozen=True, kw_only=True):
    """What the students sit, under each TR."""

    maker: Literal["variants"] = "variants"
    """variants: other draws of the TP's own template (functional variants)."""
    problems: Positive = 2
    """EPs per TP."""
    repeats: Positive = 1
    """How often each student answers each EP under each TR."""
    questions: Annotated[int, Meta(ge=0, le=1)] = 0
    """1: before its exam under a TR every student asks one question about it, and the teacher answers; both stand in
    the student's exams. Two more completions per TR and student."""
    sampling: Sampling = Sampling()
    score: Literal["accuracy", "logprob"] = "accuracy"
    """accuracy: how often exam answers are right (paper). logprob: besides, each student tells once per TR and EP how
    likely it finds the EP's worked solution; the summary then has choices by this dense score, too."""


class Learn(Section, frozen=True, kw_only=True):
    """Level 2: what the teacher is trained on, and how that is measured.

    The defaults are the paper's (M2), where it names a figure.
    """

    rounds: Positive = 1
    """Each begins with new TRs of the teacher that the one before made."""
    weight: Share = 0.5
    """w: the final score of a TR is w x correctness + (1 - w) x LbT score; 0: the LbT score alone."""
    gap: Annotated[float, Meta(ge=0, lt=1)] = 0.3
    """Two TRs of one TP make a preference pair if their final scores differ by more than this. With training.method:
    sft, the best TR of a TP is trained on if it is ahead of the worst by more than this."""
    pairs_per_tp: Positive = 8
    """At most so many pairs of one TP: those with the largest gaps. Without effect with sft."""
    uses_per_rationale: Positive = 2
    """At most so many of them hold the same TR. Without effect with sft."""
    arms: Annotated[tuple[ArmName, ...], Meta(min_length=1)] = ("m2", "correctness", "shuffled")
    """What is trained, each from the same weights on as many pairs, out of the same TRs and exams. m2: as above;
    correctness: the same with w = 1, the baseline; shuffled: the scores change places among the TRs of a TP, the
    control; dense: the dense LbT score in place of the exams' (needs exam.score: logprob). m2, or else the first, is
    the teacher from then on."""
    seeds: Positive = 1
    """How often each arm is trained, from the same weights on the same pairs with other seeds (shuffled: with other
    shuffles; sft: with other draws among equally good TRs). An arm's figures are means over them; the first is the
    teacher from then on."""
    training: Recipe = Recipe()
    held_out: Count = 20
    """Problems that nothing is learnt from, of other templates where the family has some: what teachers are measured
    on."""
    samples: Count = 4
    """k: sampled answers of each teacher to each of them, besides the greedy one; and for pass@1 the mean over them."""
    rationales: Count = 2
    """New TRs of each trained teacher per TP, put to the same students as those of the teacher before."""

    @property
    def lead(self) -> ArmName:
        """The arm whose teacher goes on: to the next round, and to the level after."""
        return "m2" if "m2" in self.arms else self.arms[0]


class Scoring(Section, frozen=True, kw_only=True):
    """How exam answers become a choice. `replay` may change all of it without a new request.

    But at level 2 it can choose other pairs, and those were not trained on.
    """

    merge: Literal["answers", "students"] = "answers"
    """Several students: the mean over all their EAs (paper), or the mean of each student's mean."""
    ties: Literal["votes", "first"] = "votes"
    """Equal scores: the answer with more votes, then the smallest repeat; or the smallest repeat at once."""
    cut_off: Literal["graded", "wrong"] = "graded"
    """An answer cut off at max_tokens: graded as it stands, or always wrong."""


class Iterate(Section, frozen=True, kw_only=True):
    """Level 3 (M3): the teacher writes sets of exemplars and rewrites them from its students' mistakes.

    The defaults are the paper's, where it says them.
    """

    task: LabelledTask = LabelledTask()
    material: Literal["exemplars", "rationale"] = "exemplars"
    """What is taught: sets of texts with their answers, from `iterate.task`; or rationales of problems, from `task`:
    the teacher rewrites its TRs for each student, from that student's mistakes. For rationales `beam`, `mistakes`,
    `reasons`, `revisions`, `originals` and `writing` count, and the other entries do not."""
    originals: Count = 0
    """For rationales: how many of the lesson's TRs per TP may be rewritten; level 1 with all of them is what that is
    compared with. 0: half of them, rounded up."""
    start: Literal["description", "training"] = "description"
    """The first sets: written by the teacher from the description of the task, or drawn from the training items."""
    rounds: Positive = 5
    """How often the current sets are taught and revised."""
    beam: Positive = 4
    """Sets that are kept from round to round; of rationales, how many per TP are rewritten: different ones that a
    student failed an exam with, the best first."""
    exemplars: Annotated[int, Meta(ge=2, le=64)] = 8
    """K: exemplars of a set, of both classes."""
    minibatch: Positive = 64
    """Training items that every student answers with every current set; drawn anew every round."""
    reflections: Positive = 4
    """Per current set: how often the teacher says what misled the students, each time about other mistakes."""
    mistakes: Positive = 4
    """Wrong answers shown for each reflection."""
    reasons: Positive = 2
    """Asked for in each reflection. For rationales there is one per rationale and student."""
    mix: bool = False
    """Every revision sees all reflections on its set; false: one of them."""
    revisions: Positive = 8
    """New sets per current set; new rationales per rationale and student."""
    score_items: Positive = 200
    """Training items that the teacher itself answers with every set: their F1 decides which sets are kept. They are the
    same for all sets."""
    curriculum: Literal["all", "strong_first", "weak_first"] = "all"
    """Whose mistakes the teacher is shown, round by round. all: everybody's; strong_first, weak_first: students join
    evenly over the rounds, in the order of their F1 in the first one, whose exams all of them sit."""
    itself: bool = False
    """The teacher sits its students' exams, too, as one more student."""
    baselines: tuple[Literal["random", "self", "search"], ...] = ()
    """Also, for comparison: random, as many sets of training items drawn at random; self, the teacher as its own only
    student; search, revisions without any student, at the same number of requests."""
    repeats: Positive = 1
    """Independent runs of all this in one class: other texts are drawn, the items and their splits are the same."""
    writing: Sampling = Sampling(max_tokens=1024)
    """Of reflections and new sets."""
    answering: Sampling = Sampling(temperature=0.0, max_tokens=48)
    """Of all answers to items."""


class Limits(Section, frozen=True, kw_only=True):
    """When the class stops waiting."""

    stalled_s: Seconds = 300.0
    """A request on which its agent makes no progress for this long is taken back, and the agent restarted."""
    loading_s: Seconds = 900.0
    """An agent that takes longer to load is restarted."""
    training_s: Seconds = 3600.0
    """An agent whose training takes longer for one step is restarted; the training goes on at its checkpoint."""
    empty_pool_s: Seconds = 120.0
    """If an agent that is needed has had no process, running or about to start, for this many seconds, the class stops;
    it can be resumed."""
    broker_s: Seconds = 60.0
    """If the broker's process runs but says nothing for this long (at least three heartbeats), it is started again. The
    limit is ten times as long while that process waits for a processor or for the disk."""
    restarts: Count = 2
    """How often each process of an agent, and the broker, is started again."""
    drain_s: Seconds = 20.0
    """After Ctrl-C, how long the work under way may take."""


class Broker(Section, frozen=True, kw_only=True):
    """How the parties reach each other."""

    address: Annotated[str, Meta(pattern="^(ipc$|tcp://)")] = "ipc"
    """ipc: this machine only. tcp://HOST:PORT: other hosts too, encrypted (CURVE), keys in the run's folder. The next
    port is taken too, for the monitor; an IPv6 address stands in brackets, tcp://[::1]:5599."""
    heartbeat_s: Seconds = 2.0
    """How often an agent sends a heartbeat. If none comes for three times this long, an agent that the run started is
    shown as silent, and any other counts as lost."""


class Scenario(Section, frozen=True, kw_only=True):
    """The whole file."""

    name: Name
    """Of the class; the run's folder bears it."""
    level: LevelNumber | Annotated[tuple[LevelNumber, ...], Meta(min_length=1)] = 1
    """1: observe (M1), 2: learn (M2), 3: iterate (M3); a list: one class goes through them in turn. Level 2 begins with
    level 1's rationales and exams, so that 2 and [1, 2] ask the same; so does 3 with `iterate.material: rationale`."""
    seed: int = 0
    """Every random choice comes from it."""
    task: Task = Task()
    """The problems of levels 1 and 2; level 3 has texts of its own, `iterate.task`."""
    teacher: Agent
    students: tuple[Agent, ...]
    """At least one; none where the teacher is its own only student (`iterate.itself`)."""
    time_share: bool = False
    """The agents take turns on the machine, the teacher first, then one student after the other: for models that do
    not fit on it together."""
    lesson: Lesson = Lesson()
    exam: Exam = Exam()
    learn: Learn = Learn()
    scoring: Scoring = Scoring()
    iterate: Iterate = Iterate()
    limits: Limits = Limits()
    broker: Broker = Broker()

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels that one class goes through, in this order."""
        return self.level if isinstance(self.level, tuple) else (self.level,)

    @property
    def rewrites(self) -> bool:
        """Whether level 3 is about rationales."""
        return 3 in self.levels and self.iterate.material == "rationale"

    @property
    def classifies(self) -> bool:
        """Whether level 3 is about sets of labelled texts."""
        return 3 in self.levels and self.iterate.material == "exemplars"

    @property
    def solves(self) -> bool:
        """Whether it has teaching problems."""
        return bool({1, 2} & set(self.levels)) or self.rewrites

    @property
    def agents(self) -> tuple[Agent, ...]:
        """Teacher first, then the students as they stand in the file."""
        return (self.teacher, *self.students)

    @property
    def held_out(self) -> int:
        """How many problems the class holds out from what it teaches."""
        return self.learn.held_out if 2 in self.levels else 0
