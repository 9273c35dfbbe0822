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
    """Your own JSON-lines file, or a folder of MATH, relative to the scenario file; docs/your-own-problems.md shows
    the formats."""
    only: str | None = None
    """A text file with an id on each line: only these problems of `file` are used."""
    exam_files: tuple[str, ...] = ()
    """Files or folders with other versions of the problems in `file`, such as snapshots of MATH(): the EPs of a TP are
    the problems with the same id in them, in the order given. Only problems with at least `exam.problems` EPs become
    TPs."""
    problems: Positive = 6
    """Number of teaching problems (TPs)."""
    difficulty: Annotated[float, Meta(ge=0, le=2)] = 1.0
    """Difficulty of the generated variants, for families with such a setting (gsm_symbolic)."""
    templates: tuple[int, ...] | None = None
    """Use only these templates of the family (gsm_symbolic), numbered from 0. Default: drawn by the seed."""
    demonstrations: Annotated[int, Meta(ge=0, le=4)] = 2
    """Worked examples before every question, for the teacher and the students."""
    sandbox: Literal["auto", "none"] = "auto"
    """For code problems: where the programs of the agents run. auto: in a sandbox; without a working sandbox the class
    is refused. none: without a sandbox, with your rights on this machine (docs/code-tasks.md)."""


class StudentSampling(Section, frozen=True, kw_only=True):
    """How one student's exam answers are sampled. Keys without a value are those of `exam.sampling`."""

    temperature: float | None = None
    """0: greedy, always the most likely token."""
    top_k: int | None = None
    """Sample among the k most likely tokens; 0: all."""
    top_p: float | None = None
    """Sample among the most likely tokens that together have this probability."""
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
    """Largest number of tokens of prompt and answer together; 0: the model's limit."""
    memory_share: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Share of the memory of each of its GPUs. Default: the agents on a GPU share the free memory evenly."""
    thoughts: Literal["drop", "keep"] = "drop"
    """For reasoning models: drop removes their thoughts (`<think>...</think>` and the like) from their answers, keep
    leaves them in; docs/models.md has details. Answers of external agents are not changed."""
    engine_args: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it
    """Arguments for the engine: docs/engines.md lists them, docs/servers.md those of openai, docs/students.md those of
    simulated agents; `plan` refuses unknown ones."""
    elsewhere: bool = False
    """true: its processes run on other hosts, and each joins by an invitation (`python run.py invite`); see
    docs/cluster.md."""
    resources: dict[str, Annotated[float, Meta(gt=0)]] = {}  # noqa: RUF012 - msgspec copies it
    """With `--launcher ray`, what each of its processes needs of its node besides GPUs, by Ray's names: CPU (default
    1), memory (bytes), or any other, such as accelerator_type:H100."""
    copies: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Students only: with 3, the student `peer` becomes the students peer-1, peer-2 and peer-3. They share one model
    and its processes, and each samples its own answers: as many exams as three students take, without any diversity."""
    sampling: StudentSampling = StudentSampling()
    """Students only: how this student's exam answers (and its questions before them) are sampled, where that differs
    from `exam.sampling`. Students that differ only in it do not share answers. Level 3 with exemplar sets uses
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
    """Number of teaching rationales (TRs) sampled per TP; n in the paper."""
    sampling: Sampling = Sampling()
    material: Literal["rationale", "answer"] = "rationale"
    """What students read of a TR. rationale: all of it. answer: the TP and its answer (TA) alone, the paper's ablation;
    only at level 1. In both cases each TR has its own exams."""
    greedy: bool = True
    """Also answer once at temperature 0, as the greedy baseline."""
    self_debug: bool = False
    """Level 1, code problems: if the program of a TR fails a visible case, the teacher sees it once more with these
    cases, and repairs it. Students read the repaired program if it passes more cases."""
    equal_cost: bool = False
    """Level 1: when a TP is complete, sample further TRs (at most 512) with as many tokens as its exams took. No
    student takes exams under them; their votes give SC (self-consistency) at M1's cost, a baseline."""


class Exam(Section, frozen=True, kw_only=True):
    """The students' exam under each TR."""

    maker: Literal["variants", "fixed", "retrieval", "invented"] = "variants"
    """Where the exam problems (EPs) of a TP come from. variants: other variants of the TP, or other problems of
    its group; fixed: the same for every TP; retrieval: the problems of `exam.bank` that are nearest to the TP;
    invented: an agent writes them (`exam.invent`). docs/exam-makers.md compares them."""
    bank: str | None = None
    """fixed, retrieval: a file to choose EPs from, in any format of `task.file`. Default: the other problems."""
    embedding: str = "wordllama"
    """retrieval: the embedding that measures similarity. wordllama needs `pip install -e ".[retrieval]"` and no
    network; any other name is a model of sentence-transformers (a hub id, or the absolute path of a folder), such as
    the paper's sentence-transformers/all-mpnet-base-v2, and needs `pip install -e ".[embeddings]"`."""
    abstain_below: Annotated[float, Meta(ge=-1, le=1)] | None = None
    """retrieval: a TP without an EP of at least this similarity (cosine) has no exams, and SC chooses its answer.
    Default: all have exams."""
    problems: Positive = 2
    """Exam problems (EPs) per TP."""
    invent: Invention = Invention()
    repeats: Positive = 1
    """How often each student answers each EP under each TR."""
    questions: Annotated[int, Meta(ge=0, le=1)] = 0
    """1: before the exam under a TR every student asks the teacher one question about it. The student's exam prompts
    contain the question and the answer. This takes two more completions per TR and student."""
    allocation: Literal["full", "lossless", "halving"] = "full"
    """Level 1: which exams take place. full: all. lossless: in rounds, without exams that cannot change the choice of
    MAX, SUM or AVG. halving: also without exams for answers that do worse, by confidence bounds (docs/results.md)."""
    sampling: Sampling = Sampling()
    self_debug: bool = False
    """Level 1, code problems: a student whose program fails a visible case of the EP repairs it once, as the teacher
    does with `lesson.self_debug`."""
    score: Literal["accuracy", "logprob"] = "accuracy"
    """accuracy: the share of right exam answers (paper). logprob: also the log-probability of each EP's worked
    solution, once per student, TR and EP; M1 then also chooses by this dense score."""


class Learn(Section, frozen=True, kw_only=True):
    """Level 2: the training of the teacher and its measurement.

    Defaults are the paper's (M2) if it gives a figure.
    """

    rounds: Positive = 1
    """Number of rounds; each begins with new TRs of the teacher that the previous one trained."""
    weight: Share = 0.5
    """w in: final score of a TR = w x correctness + (1 - w) x LbT score. 0: the LbT score alone."""
    gap: Annotated[float, Meta(ge=0, lt=1)] = 0.3
    """Two TRs of one TP make a preference pair if their final scores differ by more than this. With training.method:
    sft, the best TR of a TP is used if its score exceeds the worst by more than this."""
    pairs_per_tp: Positive = 8
    """Largest number of pairs per TP; those with the largest gaps are used. No effect with sft."""
    uses_per_rationale: Positive = 2
    """Largest number of pairs with the same TR. No effect with sft."""
    arms: Annotated[tuple[ArmName, ...], Meta(min_length=1)] = ("m2", "correctness", "shuffled")
    """Variants of the training; each starts from the same weights and has the same number of pairs, from the same TRs
    and exams. m2: by the final score; correctness: with w = 1, the paper's baseline; shuffled: with the scores
    shuffled among the TRs of a TP, a control; dense: with the dense score in place of the LbT score (needs
    exam.score: logprob). The next round or level continues with the teacher of m2, or else of the first arm."""
    seeds: Positive = 1
    """Number of trainings of each arm, from the same weights on the same pairs with other seeds (shuffled: with other
    shuffles; sft: with other draws among equally good TRs). An arm's figures are means over them; the class
    continues with the teacher of the first."""
    training: Recipe = Recipe()
    held_out: Count = 20
    """Problems that are not taught, on which teachers are measured; from other templates if the family has
    templates."""
    held_out_file: str | None = None
    """A file or folder in any format of `task.file`, from which the seed draws the held-out problems. None of its
    problems is taught."""
    samples: Count = 4
    """Sampled answers of each teacher to each held-out problem, besides the greedy one; pass@1 is the share of right
    ones."""
    rationales: Count = 2
    """New TRs of each trained teacher per TP; the same students take exams under them."""

    @property
    def lead(self) -> ArmName:
        """The arm whose teacher continues in the next round and the next level."""
        return "m2" if "m2" in self.arms else self.arms[0]


class Scoring(Section, frozen=True, kw_only=True):
    """How exam answers become a choice. `replay` can change this without new requests.

    At level 2 the new scores may give other pairs than those of the training.
    """

    merge: Literal["answers", "students"] = "answers"
    """The LbT score with several students. answers: the mean over all exam answers (paper). students: the mean of the
    students' means."""
    ties: Literal["votes", "first"] = "votes"
    """Which of several answers with equal scores is chosen. votes: the one with most votes, then the one of the first
    TR. first: the one of the first TR."""
    cut_off: Literal["graded", "wrong"] = "graded"
    """How an answer that max_tokens cut off counts. graded: as it is graded. wrong: always as wrong."""


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
    """true: only one agent runs at a time, the teacher first, then the students one by one; for models that do not fit
    on the machine together."""
    lesson: Lesson = Lesson()
    exam: Exam = Exam()
    learn: Learn = Learn()
    scoring: Scoring = Scoring()
    iterate: Iterate = Iterate()
    baselines: tuple[BaselineName, ...] = ()
    """Level 1: further baselines of M1. students_alone: each student answers the TP without a TR, as often as it
    answers exams under one TR; the majority answer counts. self_evaluation: the teacher judges each TR as often (yes
    or no); MAX and SUM use the shares of yes. universal: the teacher names the TR that agrees best with the others
    (one request)."""
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
