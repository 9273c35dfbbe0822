"""How fast agents answer: published figures by model and GPU, options of engines, and what the user says (`--rate`).

`python run.py plan SCENARIO --estimate` computes the time of a class from them. Every figure has its source.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agents.engines import WITH_LOCAL_MODEL
from agents.engines.openai.options import read_options as server_options
from agents.engines.simulated.options import read_options as simulated_options
from agents.placement.hardware import Machine
from agents.placement.memory import REQUESTS_AT_ONCE
from agents.placement.resolve import ResolvedAgent
from agents.placement.seats import MPS
from broker.errors import PlacementError

RATE = re.compile(r"(?P<agent>[^=]+)=(?P<speed>[0-9.]{1,20})@(?P<at_once>[0-9]{1,9})(/(?P<prompt>[0-9.]{1,20}))?")
"""The numbers have few enough digits that no time becomes 0 or infinite."""
HOW = (
    "--rate NAME=8000@256/50000 is 8000 completion tokens/s with 256 requests at once, and 50000 prompt tokens/s; "
    "/50000 may be left out"
)
CPU = "CPU"


class PublishedSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """A published speed of one process that serves a model."""

    models: tuple[str, ...]
    """The last part of the model's name, in lower case."""
    gpu: str = ""
    """Part of the GPU's name; empty: a server."""
    gpus: int = 1
    tokens_per_second: float = 0.0
    """Completion tokens of all requests together, the work for their prompts included; 0: a server, which gives every
    request the speed `alone`."""
    measured_with: int = 1
    """Requests at once."""
    alone: float
    """Completion tokens per second of a request among few."""
    source: str


VLLM = (
    "vLLM 0.6.0 with 10 scheduler steps, bfloat16, ShareGPT prompts about as long as the answers "
    "(github.com/LambdaLabsML/vllm-benchmark, benchmark_v0.md and results/: "
)
PUBLISHED = (
    PublishedSpeed(
        models=("meta-llama-3-8b-instruct", "meta-llama-3.1-8b-instruct", "llama-3.1-8b-instruct"),
        gpu="H100",
        tokens_per_second=8088,
        measured_with=256,
        alone=138,
        source=f"{VLLM}5,000 prompts, at most 256 at once; among 10 requests 7.2 ms a token)",
    ),
    PublishedSpeed(
        models=("mistral-7b-instruct-v0.2", "mistral-7b-instruct-v0.3"),
        gpu="H100",
        tokens_per_second=7715,
        measured_with=256,
        alone=147,
        source=f"{VLLM}0.954 times Llama 3 8B, as with 320 prompts (5749 and 6027 tokens/s); among 10 requests 6.8 ms)",
    ),
    PublishedSpeed(
        models=("meta-llama-3-70b-instruct", "meta-llama-3.1-70b-instruct", "llama-3.1-70b-instruct"),
        gpu="H100",
        gpus=4,
        tokens_per_second=3543,
        measured_with=256,
        alone=57,
        source=f"{VLLM}5,000 prompts, at most 256 at once, 4 GPUs; among 10 requests 17.5 ms a token)",
    ),
    PublishedSpeed(
        models=("gpt-4o",), alone=63.3, source="one request of gpt-4o-2024-05-13 (community.openai.com/t/768559)"
    ),
    PublishedSpeed(
        models=("gpt-3.5-turbo",), alone=67.8, source="one request of gpt-35-turbo-0125 (community.openai.com/t/768559)"
    ),
    PublishedSpeed(models=("gpt-4o-mini",), alone=59.0, source="one request in 2025 (community.openai.com/t/1307310)"),
)


def process_speeds(agents: Sequence[ResolvedAgent], machine: Machine, rates: Sequence[str]) -> list[dict[str, Any]]:
    """Return the fields of a `ProcessSpeed` (scenarios/session/schedule.py) for every process of a class.

    Args:
        agents: the processes.
        machine: where they are seated.
        rates: what the user says of single agents, as HOW describes.

    Raises:
        PlacementError: the speeds of some agents are not known, all of which are named; or a rate cannot be read.
    """
    given = _read_rates(rates, {agent.config.name for agent in agents})
    found = [_of(agent, machine, given) for agent in agents]
    unknown: dict[tuple[str, str], list[str]] = {}
    for agent, speed in zip(agents, found, strict=True):
        if speed is None:
            unknown.setdefault(_unknown(agent, machine), []).append(agent.config.name)
    if unknown:
        raise _refusal({why: list(dict.fromkeys(names)) for why, names in unknown.items()})
    return [speed for speed in found if speed is not None]


def _of(agent: ResolvedAgent, machine: Machine, given: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The fields of one process; None: its speed is not known."""
    local = agent.engine in WITH_LOCAL_MODEL
    devices = agent.seat.gpus or ((CPU,) if local else ())
    at_once = agent.config.capacity
    if local or agent.engine == "simulated":
        kind = MPS if MPS in devices else "cuda" if agent.seat.gpus else "cpu"
        kinds = REQUESTS_AT_ONCE[agent.engine]
        at_once = at_once or kinds.get(kind, kinds["cpu"])
    elif agent.engine == "openai":
        parallel = server_options(agent.config.engine_args).max_parallel
        at_once = min(at_once or parallel, parallel)
    same = {"agent": agent.config.name, "devices": devices, "at_once": at_once}
    if rate := given.get(agent.config.name):
        # The scenario does not say how many requests an external agent takes at once.
        return same | rate | {"at_once": at_once or rate["measured_with"]}
    if agent.engine == "simulated":
        each = simulated_options(agent.config.engine_args).tokens_per_second
        return same | _constant(each, at_once, "engine_args.tokens_per_second of the simulated agent")
    found = _published(agent, machine)
    if found is None:
        return None
    if not found.tokens_per_second:
        return same | _constant(found.alone, at_once, found.source)
    fields = ("tokens_per_second", "measured_with", "alone", "source")
    return same | {name: getattr(found, name) for name in fields}


def _constant(each: float, at_once: int, source: str) -> dict[str, Any]:
    """Every request has the same speed, however many there are."""
    return {"tokens_per_second": each * at_once, "measured_with": at_once, "alone": each, "source": source}


def _published(agent: ResolvedAgent, machine: Machine) -> PublishedSpeed | None:
    names = _gpu_names(agent, machine)
    for one in _of_model(agent):
        on_gpus = agent.engine == "vllm" and len(names) == one.gpus and all(one.gpu in name for name in names)
        if on_gpus if one.gpu else agent.engine == "openai":
            return one
    return None


def _unknown(agent: ResolvedAgent, machine: Machine) -> tuple[str, str]:
    """What has no known speed, and how the speed of its model is known; empty: it is not."""
    names = _gpu_names(agent, machine)
    elsewhere = {"openai": "on a server", "external": "elsewhere"}.get(agent.engine, "on a CPU")
    where = f"on {len(names)} x {names[0]}" if names else elsewhere
    known = (f"with vllm on {one.gpus} x {one.gpu}" if one.gpu else "at its server" for one in _of_model(agent))
    return f"{agent.config.model} with {agent.engine} {where}", ", ".join(known)


def _refusal(unknown: Mapping[tuple[str, str], Sequence[str]]) -> PlacementError:
    """The error that names all agents whose speed is not known, by what `_unknown` says of them."""
    agents = [name for names in unknown.values() for name in names]
    if len(agents) == 1:
        ((what, known),) = unknown
        hint = f"; it is known {known} (--set machine.gpus=8xH100)" if known else ""
        return PlacementError(f"the speed of {what} is not known{hint}\ngive it: {HOW}", agent=agents[0])
    each = ", ".join(
        f"{' and '.join(names)} ({what}{'; known ' + known if known else ''})"
        for (what, known), names in unknown.items()
    )
    return PlacementError(f"the speeds of these agents are not known: {each}\ngive one --rate for each: {HOW}")


def _of_model(agent: ResolvedAgent) -> list[PublishedSpeed]:
    model = agent.config.model.rstrip("/").rpartition("/")[2].casefold()
    return [one for one in PUBLISHED if model in one.models]


def _gpu_names(agent: ResolvedAgent, machine: Machine) -> list[str]:
    return [gpu.name for gpu in machine.gpus if gpu.token in agent.seat.gpus]


def _read_rates(rates: Sequence[str], agents: set[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in rates:
        match = RATE.fullmatch(text)
        try:
            if match is None:
                raise ValueError(text)
            speed, prompt, at_once = float(match["speed"]), float(match["prompt"] or 0), int(match["at_once"])
            if not (speed > 0 and at_once > 0) or (match["prompt"] and not prompt > 0):
                raise ValueError(text)
        except ValueError:
            raise PlacementError(f"--rate {text}: cannot be read; {HOW}") from None
        if match["agent"] not in agents:
            raise PlacementError(f"--rate {text}: no agent has this name; there are {', '.join(sorted(agents))}")
        if match["agent"] in found:
            raise PlacementError(f"--rate {text}: {match['agent']} has two rates; give one")
        found[match["agent"]] = {
            "tokens_per_second": speed,
            "measured_with": at_once,
            "alone": speed / at_once,
            "prompt_tokens_per_second": prompt,
            "source": f"--rate {text}",
        }
    return found
