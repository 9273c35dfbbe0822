"""What the parties of a class say to one another about the subject: pieces of work, and their results.

Semantic, and not "generate this prompt": agents know their trade. No message from which a prompt is built has a
field for a gold answer; `Grade` alone carries one. How messages become bytes, and those by which peers come, live
and leave, are broker/protocol.py, which has all of these names too.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_COUNT = 2**53
"""Up to here every whole number is exact in JSON, and fits SQLite."""
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
"""These bounds leave out NaN and the infinities, too."""
Figures = Annotated[dict[Annotated[str, Meta(max_length=64)], float], Meta(max_length=64)]
"""Measurements of a training by name; a loss may be NaN."""
FileName = Annotated[str, Meta(pattern=r"^\w[\w.-]{0,99}\Z")]
"""A name that leads into no other folder."""

AnswerForm = Literal["number", "latex", "word", "yes_no"]
"""What an answer looks like: prompts ask for it and graders parse it."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all messages."""


class Exemplar(msgspec.Struct, frozen=True):
    """A problem and a worked solution of it: a demonstration, or teaching material (TP and TR)."""

    problem: str
    rationale: str


class Exchange(msgspec.Struct, frozen=True):
    """A student's question about the teaching material, and the teacher's answer."""

    question: str
    answer: str


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a completion is drawn. `temperature: 0` is greedy decoding."""

    temperature: float = 0.7
    """0: greedy, always the likeliest token."""
    top_k: int = 20
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability."""
    max_tokens: int = 200
    """Where a completion is cut off."""


# --- work: classroom to agent ---------------------------------------------------------------------------


class Teach(Message, frozen=True, kw_only=True):
    """Solve a teaching problem (TP) and explain the solution. Answered by `Taught`."""

    problem: str
    answer_form: AnswerForm
    sampling: Sampling
    demonstrations: tuple[Exemplar, ...] = ()
    weights: str = ""
    """Digest of the weights that must answer; empty: whatever the agent holds."""


class Examine(Message, frozen=True, kw_only=True):
    """Solve an exam problem (EP), with teaching material as in-context example. Answered by `Answered`."""

    problem: str
    answer_form: AnswerForm
    sampling: Sampling
    material: tuple[Exemplar, ...]
    demonstrations: tuple[Exemplar, ...] = ()
    dialogue: tuple[Exchange, ...] = ()
    """What the student asked about the material before, and what its teacher said."""
    task: str = ""
    """What is asked of every problem of this exam, in a sentence or two; empty: the problems say it themselves."""
    weights: str = ""


class Grade(Message, frozen=True, kw_only=True):
    """How likely does a student find a given solution of an EP, after this teaching material? Answered by `Graded`.

    The one message that carries a gold solution, and one that no prompt for generation is ever built from: the
    student's model only says how likely it finds each of these tokens.
    """

    problem: str
    answer_form: AnswerForm
    solution: str
    """The gold solution, as the student would have written it: rationale, and `Answer: ...` as its last line."""
    material: tuple[Exemplar, ...]
    demonstrations: tuple[Exemplar, ...] = ()
    weights: str = ""


class Mistake(msgspec.Struct, frozen=True):
    """One exam item that a student got wrong: the item and what the student said. What is right is not part of it."""

    problem: str
    rationale: str
    """The student's whole answer (ER and EA)."""
    student: str = ""


class Reflect(Message, frozen=True, kw_only=True):
    """Say what in the teaching material misled the student on these items (paper, M3 step 3). -> `Reflected`."""

    task: str
    """What the exam is about, in a sentence or two."""
    answer_form: AnswerForm
    material: tuple[Exemplar, ...]
    mistakes: tuple[Mistake, ...]
    reasons: int
    """How many are asked for."""
    sampling: Sampling
    complaint: str = ""
    """What was wrong with an earlier answer to this; empty: it is asked for the first time."""
    previous: str = ""
    """That earlier answer."""
    weights: str = ""


class Revise(Message, frozen=True, kw_only=True):
    """Write teaching material anew (paper, M3 step 4). Answered by `Revised`.

    Without material: write it from the description alone. With `problem`: the material is a rationale of that
    problem (appendix E), else a set of `count` exemplars, half of them positive.
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
    """A student may ask one question about the material before its exam. Answered by `Asked`."""

    material: tuple[Exemplar, ...]
    sampling: Sampling
    weights: str = ""


class Explain(Message, frozen=True, kw_only=True):
    """A student's question about the material, for its teacher. Answered by `Explained`."""

    material: tuple[Exemplar, ...]
    question: str
    sampling: Sampling
    weights: str = ""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a teacher is trained (paper, M2). Part of the request's id; what it cannot change is left to the agent."""

    method: Literal["dpo", "ipo", "kto", "sft"] = "dpo"
    """sft: on the chosen answers alone: the best TR of each TP (best of n, rejection sampling). kto: on each answer as
    good or bad by itself."""
    lora: bool = True
    """Train an adapter; false: all weights."""
    lora_rank: Annotated[int, Meta(ge=1, le=512)] = 16
    beta: Annotated[float, Meta(gt=0)] = 0.1
    learning_rate: Annotated[float, Meta(ge=0)] = 0.0
    """Of the first step, falling to 0 on a line. 0: 5e-7 for all weights (paper); 2e-4 for an adapter
    (measured; docs/training.md)."""
    batch: Annotated[int, Meta(ge=1)] = 16
    """Pairs of one step."""
    epochs: Annotated[int, Meta(ge=1)] = 1
    nll_weight: Annotated[float, Meta(ge=0)] = 50.0
    """Of the chosen answer's negative log-likelihood beside the preference loss, with dpo and ipo."""
    max_tokens: Annotated[int, Meta(ge=16)] = 1024
    """Prompt and answer together; longer pairs are left out and counted."""
    seed: int = 0


class PreferencePair(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a file of preference pairs: two solutions of one TP, of which the first taught better."""

    prompt: str
    """The text of the TP; whoever trains makes the same prompt of it as for a `Teach`."""
    chosen: str
    rejected: str
    score_chosen: float = 0.0
    score_rejected: float = 0.0
    tp: str = ""
    answer_form: AnswerForm
    demonstrations: tuple[Exemplar, ...] = ()
    """Those that the teacher was given with the TP."""
    chosen_ended: bool = True
    """False: it was cut off, so its last token is not where an answer ends."""
    rejected_ended: bool = True


class Train(Message, frozen=True, kw_only=True):
    """Become better at what these pairs prefer (paper, M2). Answered by `Trained`; tells its `Progress` on the way."""

    pairs: str
    """Name of the file in the run's folder of training data, a `PreferencePair` as JSON on each line."""
    pairs_digest: str
    """Of the file's bytes: other pairs are another training."""
    recipe: Recipe
    weights: str = ""
    """What is trained on: digest of the original weights."""


class Feedback(Message, frozen=True, kw_only=True):
    """What a lesson did, told once to a teacher (per TR) or a student (per TP). Asks for no answer."""

    about: str
    """Request id of the TR, or the id of the TP."""
    lbt_scores: dict[str, float] = {}
    """Mean correctness of the exam answers, by student."""
    failed: tuple[str, ...] = ()
    """Texts of the exam problems that were answered wrong at least once."""


# --- results: agent to classroom ------------------------------------------------------------------------


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one completion cost."""

    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    """Prompt tokens that the engine had from earlier prompts."""
    cacheable_tokens: Count = 0
    """Prompt tokens that a perfect prefix cache would have had: an estimate."""
    completion_tokens: Count = 0
    thought_tokens: Count = 0
    """Completion tokens of thoughts, which are no part of the text; an estimate unless a server counts them."""
    seconds: Seconds = 0.0
    """From the moment the engine took the request up to its last token."""
    finish_reason: Literal["stop", "length"] = "stop"


class Taught(Message, frozen=True, kw_only=True):
    """A teaching rationale (TR), with the teaching answer (TA) in its text."""

    text: str
    usage: Usage = Usage()


class Answered(Message, frozen=True, kw_only=True):
    """An exam rationale (ER), with the exam answer (EA) in its text."""

    text: str
    usage: Usage = Usage()


class Graded(Message, frozen=True, kw_only=True):
    """How likely the student's model finds the solution of a `Grade`."""

    logprob: Annotated[float, Meta(ge=-1e6, le=1e-3)]
    """Mean log-probability of the solution's tokens, in nats. At most 0, but for what an engine rounds."""
    tokens: Count
    """How many tokens the solution has."""
    usage: Usage = Usage()


class Reflected(Message, frozen=True, kw_only=True):
    """The teacher's reasons, as text; whoever asked parses it."""

    text: str
    usage: Usage = Usage()


class Revised(Message, frozen=True, kw_only=True):
    """New teaching material, as text; whoever asked parses it."""

    text: str
    usage: Usage = Usage()


class Asked(Message, frozen=True, kw_only=True):
    """A student's question."""

    text: str
    usage: Usage = Usage()


class Explained(Message, frozen=True, kw_only=True):
    """A teacher's answer to a student's question."""

    text: str
    usage: Usage = Usage()


class Trained(Message, frozen=True, kw_only=True):
    """New weights. Requests that name them are answered with them from now on."""

    trained: FileName
    """Digest of the new weights; they lie in the run's folder of weights under this name, as safetensors."""
    pairs: Count
    """How many were used."""
    steps: Count
    seconds: Seconds
    figures: Figures = {}
    """Of the last step: loss, reward_margin, reward_accuracy, peak_memory_mb and the like."""
    usage: Usage = Usage()


class Progress(Message, frozen=True, kw_only=True):
    """How a training goes on. From its agent through the broker to the classroom, told at most once; ends nothing."""

    step: Count
    steps: Count
    figures: Figures = {}


FailedKind = Literal["context", "engine", "deaths", "unsupported", "refused"]


class Failed(Message, frozen=True, kw_only=True):
    """A request that has no result and will get none: data, recorded like a result."""

    kind: FailedKind
    """context: longer than the model's context; engine: the engine refused or broke on it; deaths: agents
    died three times while holding it alone; unsupported: not a kind this agent knows; refused: the broker
    took no more requests."""
    detail: str = ""
