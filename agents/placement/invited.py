"""Join a class of another host: `python -m agents.main --invite FILE`.

Checks the invitation, the way to the broker, and the model on this host before anything is loaded; then starts the
agent's process, and starts it again if it dies. Ctrl-C lets the agent finish the requests that it has, and leave.
"""

import argparse
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.text import Text

from agents.placement import agent_process, resolve
from agents.placement.launcher import ChildSpec, LocalLauncher
from broker import invitation
from broker.errors import LbtError, ModelError, PlacementError, ProtocolError, in_words
from broker.invitation import Invitation
from broker.printable import printable_lines
from broker.protocol import pool_of
from broker.reach import check_reachable

LEAVE_S = 20.0
"""Time for unfinished requests after Ctrl-C; what is not finished then goes back to the class."""
LOOK_S = 0.5

console = Console(stderr=True, soft_wrap=True, highlight=False)


class InvitedAgent(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's section of the scenario, a `ScenarioAgent`; scenarios/config/schema.py explains each entry."""

    name: str
    model: str
    engine: Literal["auto", "transformers", "vllm", "simulated"]
    """Not `openai`: an invitation could have any variable of this host's environment sent to any server."""
    gpu: Literal["auto", "none"] | int | tuple[int, ...]
    persona: str
    capacity: int
    dtype: resolve.Dtype
    max_context: int
    memory_share: float | None
    thoughts: Literal["drop", "keep"]
    engine_args: dict[str, Any]
    replicas: int = 1
    elsewhere: bool = False


def main(words: Sequence[str]) -> int:
    """Join a class; returns the exit code: 0 the agent left, 1 it failed, 2 it cannot join, 130 interrupted."""
    parser = argparse.ArgumentParser("agents.main", description="Join a class of another host.", allow_abbrev=False)
    parser.add_argument("--invite", type=Path, required=True, help="the file that `run.py invite` wrote")
    parser.add_argument("--model", help="the model's name or folder on this host, if it has another one here")
    options = parser.parse_args(words)
    file: Path = options.invite.absolute()
    try:
        invited = invitation.read(file)
        check_reachable(invited.address, invited.name, file)
        return serve(prepare(invited, file, options.model), invited)
    except (LbtError, OSError) as error:
        say(in_words(error))
        return 2
    except KeyboardInterrupt:
        return 130


def prepare(invited: Invitation, file: Path, model: str | None = None) -> ChildSpec:
    """The process of an invited agent on this host; a model that is not here yet is fetched.

    Args:
        invited: the invitation.
        file: where it is: the process reads its keys there, and has its log beside it.
        model: a name or a folder in place of the scenario's.

    Raises:
        LbtError: see `resolve_here` and `child_spec_here`.
    """
    return child_spec_here(resolve_here(invited, file, model), invited, file)


def resolve_here(invited: Invitation, file: Path, model: str | None = None, *, cores: int = 0) -> resolve.ResolvedAgent:
    """Choose the place of an invited agent on this host; see `prepare`. Nothing is fetched.

    `cores`: those that it may use, if it computes on the CPU; 0: all.

    Raises:
        LbtError: there is no such model, an engine is not installed, or the memory does not suffice.
    """
    section = {**invited.agent, "name": pool_of(invited.name), "replicas": 1, "elsewhere": False}
    if model:
        section["model"] = str(Path(model).absolute()) if Path(model).is_dir() else model
    try:
        config = msgspec.convert(section, InvitedAgent)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"{file}: its agent cannot run on this host: {error}") from error
    if config.engine == "simulated" and not Path(invited.run_folder).is_dir():
        raise PlacementError(
            "simulated agents read the answer key in the folder of the run, and this host has no "
            f"{invited.run_folder}\nShare that folder between the hosts, or give the agent a model.",
            agent=invited.name,
        )
    [agent] = resolve.resolve_agents(config, ())
    if short := resolve.short_now([agent], in_turn=False):
        raise PlacementError(short)
    seat = agent.seat
    if cores and seat.shared and cores < seat.threads:
        seat = msgspec.structs.replace(seat, threads=cores, device=f"CPU, {cores} thread{'s' * (cores > 1)}")
    return msgspec.structs.replace(agent, name=invited.name, role=invited.role, seat=seat)


def child_spec_here(agent: resolve.ResolvedAgent, invited: Invitation, file: Path) -> ChildSpec:
    """The process of an invited agent that has its place on this host; see `prepare`.

    Raises:
        LbtError: its model cannot be fetched, or is another one than that of the class.
    """
    models, run = resolve.fetch_models([agent], console), Path(invited.run_folder)
    spec = agent_process.agent_spec(
        agent,
        models,
        seed=invited.seed,
        endpoint=invited.address,
        keys=str(file),
        answer_key=run / "answer-key",
        run=run,
        invited=True,
    )
    if spec.answerer != invited.answerer:
        what = f"{agent.config.model} ({spec.weights})" if agent.model else agent.engine
        raise ModelError(
            f"{what} on this host is not what the class asks: other weights, or other prompts\n"
            "Give both hosts the same model and the same version of this program.",
            agent=invited.name,
        )
    return agent_process.child_spec(agent, spec, file.parent)


def serve(child: ChildSpec, invited: Invitation) -> int:
    """Run the agent's process until it leaves the class, or until SIGINT or SIGTERM; returns the exit code."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    launcher = LocalLauncher([child], restarts=invited.restarts)
    launcher.start()
    say(f"{invited.name} joins {invited.run} at {invited.address}; its log is {child.log}. Ctrl-C lets it leave.")
    try:
        while not stop.is_set():
            for ended in launcher.ended(LOOK_S):
                if ended.left:
                    say(f"{invited.name} has left the class.")
                    return 0
                if not ended.will_restart:
                    say(f"{invited.name} has ended: {ended.detail}\n{launcher.last_error(invited.name)}")
                    return 1
                say(f"{invited.name} is started again: {ended.detail}")
        say(f"{invited.name} leaves; it has {LEAVE_S:g} s to finish what it has begun.")
        return 0
    finally:
        launcher.stop(LEAVE_S if stop.is_set() else 0.0)


def say(words: str) -> None:
    """Print to standard error."""
    console.print(Text(printable_lines(words)))
