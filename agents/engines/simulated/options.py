"""`engine_args` of a simulated agent, and its answer key."""

import os
from pathlib import Path
from typing import Annotated, Any

import msgpack
import msgspec
from msgspec import Meta

from agents.engines import arguments
from broker.protocol import digest

Logits = Annotated[float, Meta(ge=-50, le=50)]
Share = Annotated[float, Meta(ge=0, le=1)]

UPTAKE = 1.5


class SimulatedOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`engine_args` of a simulated agent."""

    ability: Logits = 0.0
    """Logits. At 0, an average problem is solved half of the time, by a student under average teaching."""
    uptake: Logits = UPTAKE
    """Logits that an exam answer gains per unit of the TR's hidden quality."""
    separation: Logits = 1.5
    """Difference of mean quality between TRs with a right and with a wrong TA, in standard deviations."""
    tokens_per_second: Annotated[float, Meta(gt=0)] = 4000.0
    """Speed of each request; up to `capacity` requests run in parallel."""
    failure_rate: Share = 0.0
    """Share of requests that end as Failed."""
    unparsable_rate: Share = 0.02
    """Share of completions without a parsable answer, and of sets and reasons that break their form."""
    revision_gain: Logits = 0.5
    """Of a teacher: logits that exam answers gain from a revision with mistakes and reasons; with one of them, half."""
    misconception: Share = 0.0
    """Share of topics (last words of problems) about which the agent is wrong: it loses 3 logits there, unless its
    teaching material has a right example of the same topic."""
    sneaky: bool = False
    """Of a teacher: its rationales and sets look honest, but have wrong answers and low quality."""
    crash_after: Annotated[int, Meta(ge=0)] = 0
    """The agent's first process dies by SIGKILL when it takes this request, counted from 1; 0: never."""
    hang_after: Annotated[int, Meta(ge=0)] = 0
    """The agent's first process makes no progress from this request on; 0: never."""
    pause_while: str = ""
    """While this file exists, each process of the agent waits after its first `pause_after` requests."""
    pause_after: Annotated[int, Meta(ge=0)] = 0
    """Requests that a process answers before; 0: none."""
    answer_key: str = ""
    """File with the gold answers by digest of the problem; set by the run."""


def read_options(args: dict[str, Any]) -> SimulatedOptions:
    """Convert `engine_args` to options.

    Raises:
        EngineStartError: an unknown name, or a value out of bounds.
    """
    return arguments.read(args, SimulatedOptions, set_by_run=("answer_key",))


def write_answer_key(path: Path, answers: dict[str, str]) -> None:
    """Write the gold answers (by problem text) to a file of the run that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        msgpack.pack({digest(problem): answer for problem, answer in answers.items()}, file)
