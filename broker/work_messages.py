"""The requests of the classroom to its agents, and their results.

A request states the task, and the agent builds the prompt. No message from which a prompt is built has a field for a
gold answer; only `Grade` carries one. Frames, and the messages by which peers join and leave, are in
broker/protocol.py.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_COUNT = 2**53
"""Every whole number up to this one is exact in JSON, and fits SQLite."""
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
"""The bounds exclude NaN and the infinities, too."""
Figures = Annotated[dict[Annotated[str, Meta(max_length=64)], float], Meta(max_length=64)]
"""Measurements of a training, by name; a loss may be NaN."""
FileName = Annotated[str, Meta(pattern=r"^\w[\w.-]{0,99}\Z")]
"""A file name that cannot lead to another folder."""

AnswerForm = Literal["number", "latex", "word", "yes_no", "code"]
"""The form of an answer, for prompts and graders; code: a program that defines the function of the problem."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, cache_hash=True):
    """Base of all messages."""


class Exemplar(msgspec.Struct, frozen=True, omit_defaults=True):
    """A worked problem: a demonstration, a TP with its TR, or one exemplar of a set (level 3)."""

    problem: str
    rationale: str = ""
    """Why the answer is right. Of a demonstration or TR it is the whole solution, with the answer in its last line."""
    answer: str = ""
    """The answer of an exemplar of a set; empty: the rationale has it."""

    @property
    def solution(self) -> str:
        """The whole solution as text: the rationale, then the answer in a line of its own."""
        if not self.answer:
            return self.rationale
        return f"{self.rationale}\nAnswer: {self.answer}" if self.rationale else f"Answer: {self.answer}"


class Exchange(msgspec.Struct, frozen=True):
    """A student's question about the teaching material, and the teacher's answer."""

    question: str
    answer: str


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a completion is sampled. `temperature: 0` is greedy decoding."""

    temperature: float = 0.7
    """0: greedy, always the most likely token."""
    top_k: int = 20
    """Sample among the k most likely tokens; 0: all."""
    top_p: float = 1.0
    """Sample among the most likely tokens that together have this probability."""
    max_tokens: int = 200
    """Where a completion is cut off."""


# --- requests: classroom to agent; the result is an `Answered` where nothing else is said --------------------


class Teach(Message, frozen=True, kw_only=True):
    """Solve a teaching problem (TP) and explain the solution."""

    problem: str
    answer_form: AnswerForm
    sampling: Sampling
    demonstrations: tuple[Exemplar, ...] = ()
    complaint: str = ""
    """Visible cases that the program of an earlier answer fails, one a line: review and repair it. Empty: none."""
    previous: str = ""
    """That earlier answer."""
    weights: str = ""
    """Digest of the weights that must answer; empty: the weights that the agent has loaded."""


class Examine(Message, frozen=True, kw_only=True):
    """Solve an exam problem (EP), with teaching material as in-context example."""

    problem: str
    answer_form: AnswerForm
    sampling: Sampling
    material: tuple[Exemplar, ...]
    demonstrations: tuple[Exemplar, ...] = ()
    dialogue: tuple[Exchange, ...] = ()
    """The student's questions about the material, and its teacher's answers."""
    task: str = ""
    """The task of all problems of this exam, in a sentence or two; empty: the problems state it."""
    complaint: str = ""
    previous: str = ""
    """Both as in `Teach`."""
    weights: str = ""


class Grade(Message, frozen=True, kw_only=True):
    """Score how likely a student finds a given solution of an EP, after this teaching material. Answered by `Graded`.

    This is the only message that carries a gold solution. No prompt for generation is built from it: the student's
    model only computes the probability of the solution's tokens.
    """

    problem: str
    answer_form: AnswerForm
    solution: str
    """The gold solution in the form of a student's answer: rationale, and `Answer: ...` as its last line."""
    material: tuple[Exemplar, ...]
    demonstrations: tuple[Exemplar, ...] = ()
    weights: str = ""


class Mistake(msgspec.Struct, frozen=True):
    """An exam problem that a student answered wrong, and its answer. The gold answer is not part of it."""

    problem: str
    rationale: str
    """The student's complete answer (ER and EA)."""
    student: str = ""


class Reflect(Message, frozen=True, kw_only=True):
    """Name what in the teaching material misled the student (paper, M3 step 3)."""

    task: str
    """The task of the exam, in a sentence or two."""
    answer_form: AnswerForm
    material: tuple[Exemplar, ...]
    mistakes: tuple[Mistake, ...]
    reasons: int
    """How many reasons to give."""
    sampling: Sampling
    complaint: str = ""
    """What was wrong with an earlier answer to this request; empty: there was none."""
    previous: str = ""
    """That earlier answer."""
    weights: str = ""


class Revise(Message, frozen=True, kw_only=True):
    """Write new teaching material (paper, M3 step 4).

    Without `material`, write it from the task alone. With `problem`, write a rationale of that problem (appendix E);
    otherwise a set of `count` exemplars, half of them positive.
    """

    task: str
    answer_form: AnswerForm
    material: tuple[Exemplar, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    reasons: tuple[str, ...] = ()
    count: int = 0
    problem: str = ""
    demonstrations: tuple[Exemplar, ...] = ()
    sampling: Sampling
    complaint: str = ""
    previous: str = ""
    weights: str = ""


class Ask(Message, frozen=True, kw_only=True):
    """Ask one question about the material, before the exam."""

    material: tuple[Exemplar, ...]
    sampling: Sampling
    weights: str = ""


class Explain(Message, frozen=True, kw_only=True):
    """Answer a student's question about the material, as its teacher."""

    material: tuple[Exemplar, ...]
    question: str
    sampling: Sampling
    weights: str = ""


class Judge(Message, frozen=True, kw_only=True):
    """Judge solutions of one problem, as a baseline of M1. The last line of the answer is `Answer: ...`.

    Of one: Yes if it is right, else No. Of several, numbered from 1: the one that agrees best with the others.
    """

    problem: str
    solutions: tuple[str, ...]
    """Whole TRs."""
    sampling: Sampling
    weights: str = ""


class Invent(Message, frozen=True, kw_only=True):
    """Write a new problem like this one, for an exam (`exam.maker: invented`). The answer is its text alone."""

    problem: str
    """The TP."""
    answer_form: AnswerForm
    sampling: Sampling
    weights: str = ""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a teacher is trained (paper, M2). All of it is part of the request's id."""

    method: Literal["dpo", "ipo", "kto", "sft"] = "dpo"
    """dpo, ipo: on preference pairs. kto: on each TR of a pair, as good or bad by itself. sft: on the best TR of each
    TP alone (rejection sampling)."""
    lora: bool = True
    """Train an adapter; false: all weights."""
    lora_rank: Annotated[int, Meta(ge=1, le=512)] = 16
    """Rank of the adapter."""
    beta: Annotated[float, Meta(gt=0)] = 0.1
    """How strongly the training keeps the teacher near its first weights; with dpo, ipo and kto."""
    learning_rate: Annotated[float, Meta(ge=0)] = 0.0
    """Learning rate of the first step; it falls linearly to 0. 0: 5e-7 for all weights (paper); 2e-4 for an adapter
    (measured; docs/training.md)."""
    batch: Annotated[int, Meta(ge=1)] = 16
    """Number of pairs in one step."""
    epochs: Annotated[int, Meta(ge=1)] = 1
    """How often the training goes through all pairs."""
    nll_weight: Annotated[float, Meta(ge=0)] = 50.0
    """Weight of the chosen answer's negative log-likelihood beside the preference loss, with dpo and ipo."""
    max_tokens: Annotated[int, Meta(ge=16)] = 1024
    """Prompt and answer together; longer pairs are left out and counted."""
    seed: int = 0
    """Decides the order of the pairs and the first weights of an adapter."""


class PreferencePair(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a file of preference pairs: two solutions of one TP, of which `chosen` taught better."""

    prompt: str
    """The text of the TP; the training builds the same prompt from it as for a `Teach`."""
    chosen: str
    rejected: str
    score_chosen: float = 0.0
    score_rejected: float = 0.0
    tp: str = ""
    answer_form: AnswerForm
    demonstrations: tuple[Exemplar, ...] = ()
    """The demonstrations that the teacher got with the TP."""
    chosen_ended: bool = True
    """False: it was cut off, so the model must not learn that an answer ends there."""
    rejected_ended: bool = True


class Train(Message, frozen=True, kw_only=True):
    """Train on preference pairs (paper, M2). Answered by `Trained`; the agent sends `Progress` meanwhile."""

    pairs: str
    """Name of the file in the run's folder of training data, with a `PreferencePair` as JSON on each line."""
    pairs_digest: str
    """Of the file's bytes, so that other pairs are another request."""
    recipe: Recipe
    weights: str = ""
    """Digest of the weights to start from."""


class Feedback(Message, frozen=True, kw_only=True):
    """The outcome of a lesson, sent once to a teacher (for each TR) or a student (for each TP). It needs no answer."""

    about: str
    """Request id of the TR, or the id of the TP."""
    lbt_scores: dict[str, float] = {}
    """Mean correctness of the exam answers, by student."""
    failed: tuple[str, ...] = ()
    """Texts of the exam problems with at least one wrong answer."""


# --- results: agent to classroom ------------------------------------------------------------------------


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tokens and the time of one completion."""

    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    """Prompt tokens that the engine had cached from earlier prompts."""
    cacheable_tokens: Count = 0
    """Prompt tokens that a perfect prefix cache would have had cached: an estimate."""
    completion_tokens: Count = 0
    thought_tokens: Count = 0
    """Completion tokens of thoughts, which are not in the text; an estimate unless the server counts them."""
    seconds: Seconds = 0.0
    """From the start of the request in the engine to its last token."""
    finish_reason: Literal["stop", "length"] = "stop"


class Answered(Message, frozen=True, kw_only=True):
    """The text of one completion. The classroom parses it as the kind of request demands.

    It is a teaching rationale (TR) with its answer for `Teach`, an exam rationale (ER) with its answer for `Examine`,
    numbered reasons for `Reflect`, new material for `Revise`, a question for `Ask`, its answer for `Explain`,
    the reasons for a judgement with its answer for `Judge`, and a problem for `Invent`.
    """

    text: str
    usage: Usage = Usage()


class Graded(Message, frozen=True, kw_only=True):
    """The likelihood of the solution of a `Grade` under the student's model."""

    logprob: Annotated[float, Meta(ge=-1e6, le=1e-3)]
    """Mean log-probability of the solution's tokens, in nats. At most 0, except for rounding errors of the engine."""
    tokens: Count
    """Number of tokens of the solution."""
    usage: Usage = Usage()


class Trained(Message, frozen=True, kw_only=True):
    """New weights. The agent answers requests that name them with them."""

    trained: FileName
    """Digest of the new weights, and their name in the run's folder of weights, as safetensors."""
    pairs: Count
    """How many pairs were used."""
    steps: Count
    seconds: Seconds
    figures: Figures = {}
    """Of the last step: loss, reward_margin, reward_accuracy, peak_memory_mb and the like."""
    usage: Usage = Usage()


class Progress(Message, frozen=True, kw_only=True):
    """How far a training is, from its agent to the classroom. It is sent at most once and ends no request."""

    step: Count
    steps: Count
    figures: Figures = {}


FailedKind = Literal["context", "engine", "deaths", "unsupported", "refused"]


class Failed(Message, frozen=True, kw_only=True):
    """The result of a request that failed. It is recorded like any other result.

    context: longer than the model's context; engine: the engine refused it or broke; deaths: three agents died while
    they held it alone; unsupported: the agent does not know this kind; refused: the broker accepted no more requests.
    """

    kind: FailedKind
    detail: str = ""
