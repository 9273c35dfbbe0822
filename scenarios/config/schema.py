"""The schema of scenario files: their sections, keys, types, bounds, defaults and meanings.

docs/scenarios.md is generated from these structs and the docstrings under their fields. scenarios/config/load.py reads
files.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from broker.work_messages import Recipe, Sampling
from scenarios.config.invention_schema import Invention
from scenarios.config.iterate_schema import Iterate
from scenarios.config.process_schema import Broker, Limits
from scenarios.config.published import PublishedFigures
from scenarios.config.section import Count, Positive, Section, Share

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,31}$")]
LevelNumber = Literal[1, 2, 3]
ArmName = Literal["m2", "correctness", "shuffled", "dense"]
BaselineName = Literal["students_alone", "self_evaluation", "universal"]
EngineName = Literal["auto", "vllm", "transformers", "openai", "simulated", "external"]


class Task(Section, frozen=True, kw_only=True):
    """The source of the problems: a family of reasoning-gym or your own file."""

    family: str | None = None
    """The name of a reasoning-gym family, such as gsm_symbolic; `python run.py doctor` lists the checked ones."""
    file: str | None = None
    """Your own JSON-lines file, or a folder of MATH, relative to the scenario file; docs/your-own-problems.md has the
    shapes."""
    only: str | None = None
    """A text file with an id on each line: of the `file`, only these problems are used."""
    exam_files: tuple[str, ...] = ()
    """Files or folders with other draws of the problems in `file`, such as snapshots of MATH(): the EPs of a TP are the
    problems with its id in them, in the order given. TPs are drawn from those problems that have `exam.problems` of
    them."""
    problems: Positive = 6
    """Number of teaching problems (TPs)."""
    difficulty: Annotated[float, Meta(ge=0, le=2)] = 1.0
    """Difficulty of the generated variants, for families with such a setting (gsm_symbolic)."""
    templates: tuple[int, ...] | None = None
    """Use only these templates of the family (gsm_symbolic), numbered from 0. Default: drawn by the seed."""
    demonstrations: Annotated[int, Meta(ge=0, le=4)] = 2
    """Worked examples before every question, for teacher and students alike."""
    sandbox: Literal["auto", "none"] = "auto"
    """For code problems: where the programs of the agents run. auto: in a sandbox, and the class is refused where none
    works; none: without one, with your rights on this machine (docs/code-tasks.md)."""


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
    engine_args: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it
    """Arguments for the engine: docs/engines.md lists them, docs/servers.md those of openai; `plan` refuses unknown
    ones."""
    elsewhere: bool = False
    """true: its processes run on other hosts, and each joins by an invitation (`python run.py invite`); see
    docs/cluster.md."""
    resources: dict[str, Annotated[float, Meta(gt=0)]] = {}  # noqa: RUF012 - msgspec copies it
    """With `--launcher ray`, what each of its processes needs of its node besides GPUs, by Ray's names: CPU (default
    1), memory (bytes), or any other, such as accelerator_type:H100."""
    copies: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Students only: with 3, the student `peer` is the students peer-1, peer-2 and peer-3 of the class. They share one
    model and its processes, and draw their own answers: as many exams as three students take, without any diversity."""
    sampling: StudentSampling = StudentSampling()
    """Students only: how this student's exam answers (and its questions before them) are drawn, where it differs from
    `exam.sampling`. Students that are alike but for it are asked separately. Level 3 with exemplar sets draws with
    `iterate.answering` alone."""

    @property
    def pool(self) -> str:
        """Name of the agent whose processes answer for it."""
        return self.name


class StudentCopy(Agent, frozen=True, kw_only=True):
    """A student of a class that is one of several copies of a student in the file."""

    entry: str
    """Name of that student."""

    @property
    def pool(self) -> str:
        """Name of the agent whose processes answer for it."""
        return self.entry


class Lesson(Section, frozen=True, kw_only=True):
    """The teacher's work on each TP."""

    rationales: Positive = 6
    """n: teaching rationales (TRs) sampled per TP."""
    sampling: Sampling = Sampling()
    material: Literal["rationale", "answer"] = "rationale"
    """What students are taught of a TR. rationale: all of it. answer: the TP with nothing but its answer (TA), the
    paper's ablation; level 1 alone. Each TR has exams of its own either way."""
    greedy: bool = True
    """Also answer once at temperature 0, as the greedy baseline."""
    self_debug: bool = False
    """Level 1, code problems: a TR whose program fails a visible case is shown to the teacher once more with these
    cases, for review and repair; its students are taught the repaired program where it passes more of them."""
    equal_cost: bool = False
    """Level 1: when a TP is complete, sample as many further TRs as its exams cost in tokens, at most 512. They are not
    examined; their votes are self-consistency (SC) at M1's cost, the fair baseline of M1."""


class Exam(Section, frozen=True, kw_only=True):
    """The students' exam under each TR."""

    maker: Literal["variants", "fixed", "retrieval", "invented"] = "variants"
    """Where the exam problems (EPs) of a TP come from. variants: other draws of the TP's template, or other problems of
    its group; fixed: the same for every TP; retrieval: the problems of `exam.bank` that are nearest to the TP;
    invented: an agent writes them (`exam.invent`). docs/exam-makers.md compares them."""
    bank: str | None = None
    """fixed, retrieval: a file to choose EPs from, of any shape that `task.file` takes. Default: the other problems."""
    embedding: str = "wordllama"
    """retrieval: what measures how near two problems are. wordllama needs `pip install -e ".[retrieval]"` and no
    network; any other name is a model of sentence-transformers (a hub id, or the absolute path of a folder), such as
    the paper's sentence-transformers/all-mpnet-base-v2, and needs `pip install -e ".[embeddings]"`."""
    abstain_below: Annotated[float, Meta(ge=-1, le=1)] | None = None
    """retrieval: a TP without an EP of this similarity (cosine) has no exams; SC chooses. Default: all have exams."""
    problems: Positive = 2
    """Exam problems (EPs) per TP."""
    invent: Invention = Invention()
    repeats: Positive = 1
    """How often each student answers each EP under each TR."""
    questions: Annotated[int, Meta(ge=0, le=1)] = 0
    """1: before the exam under a TR every student asks one question about it, and the teacher answers; the student's
    exam prompts contain both. This takes two more completions per TR and student."""
    allocation: Literal["full", "lossless", "halving"] = "full"
    """Level 1: which exams are asked. full: all. lossless: in rounds, without those that cannot change the choice of
    MAX, SUM or AVG. halving: also without those of answers that do worse, by confidence bounds; docs/results.md."""
    sampling: Sampling = Sampling()
    self_debug: bool = False
    """Level 1, code problems: a student whose program fails a visible case of the EP repairs it once, as the teacher
    does with `lesson.self_debug`."""
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
    held_out_file: str | None = None
    """A file or folder of the same shapes as `task.file`, from which the seed draws the held-out problems. What it has
    is not taught."""
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
    # In a scenario that was read, the copies of a student are students; `entries` are those of the file.
    time_share: bool = False
    """The agents take turns on the machine, the teacher first, then the students one by one; for models that do not fit
    on it together."""
    lesson: Lesson = Lesson()
    exam: Exam = Exam()
    learn: Learn = Learn()
    scoring: Scoring = Scoring()
    iterate: Iterate = Iterate()
    baselines: tuple[BaselineName, ...] = ()
    """Level 1: further baselines of M1. students_alone: each student answers the TP without a TR, as often as it takes
    exams under one TR; majority. self_evaluation: the teacher says as often of each TR whether it is right; MAX and SUM
    over the shares of yes. universal: it names the TR that agrees best with the others (one request)."""
    limits: Limits = Limits()
    broker: Broker = Broker()
    published: PublishedFigures = PublishedFigures()
    metrics: Literal["jsonl", "tensorboard"] = "jsonl"
    """Where the figures of trainings and rounds go, step by step. jsonl: the run's `metrics.jsonl`. tensorboard: also
    event files in its folder `metrics`; needs `pip install -e ".[metrics]"`."""

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of the class in their order."""
        return self.level if isinstance(self.level, tuple) else (self.level,)

    @property
    def self_debugs(self) -> bool:
        """Whether agents repair programs that fail visible cases."""
        return self.lesson.self_debug or self.exam.self_debug

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
    def entries(self) -> tuple[Agent, ...]:
        """The students as the file has them: copies are one entry."""
        groups: dict[str, list[Agent]] = {}
        for student in self.students:
            groups.setdefault(student.pool, []).append(student)
        return tuple(
            Agent(**{f: getattr(one, f) for f in Agent.__struct_fields__} | {"name": one.pool, "copies": len(group)})
            if isinstance(one := group[0], StudentCopy)
            else one
            for group in groups.values()
        )

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The teacher, then the students in the order of the file: each has processes, which its copies share."""
        return (self.teacher, *self.entries)

    @property
    def pools(self) -> dict[str, str]:
        """By name of the teacher and of every student: the agent whose processes answer for it."""
        return {one.name: one.pool for one in (self.teacher, *self.students)}

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

    @property
    def held_out_file(self) -> str | None:
        """The file that these problems come from; None: the source of the others."""
        return self.learn.held_out_file if self.held_out else None
