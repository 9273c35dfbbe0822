"""The command `slurm`: a batch file that runs a class on the nodes of a Slurm job.

The class and its broker run on the job's first node, and each agent's process on one of the others, where it joins by
an invitation. The folder of the project and the run's folder are on a file system that all nodes share.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from cyclopts import Parameter
from rich.console import Console

from broker.child_process import ROOT
from broker.errors import ScenarioError
from broker.protocol import replica
from scenarios.config import load
from scenarios.config.schema import Agent, Scenario
from scenarios.report.console import say
from scenarios.session.command_line import OutDir, Overrides, ScenarioFile, Seed, with_seed
from scenarios.session.exit_codes import COMPLETE
from scenarios.session.run_dir import RunFolder

ANY_ADDRESS = "tcp://0.0.0.0:5599"  # CURVE keeps strangers out; the job has a port of its own
PATIENCE_S = 3600
"""limits.empty_pool_s of the class: how long its agents may take to start."""
STAY = ("openai", "external")
"""Engines of agents that stay with the class, or join by themselves."""

BATCH = """\
#!/bin/bash
# Runs the class {name}. If the time limit ends the job, submit this file again: the class goes on.
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={tasks}
#SBATCH --cpus-per-task={cpus}
#SBATCH --signal=B:TERM@120
{more}
set -euo pipefail
cd {root}
python={python}
run={run}
host=${{SLURMD_NODENAME:-$(hostname)}}
port=$((20000 + 2 * (SLURM_JOB_ID % 6000)))
address=broker.address=tcp://0.0.0.0:$port
log=$run/logs/broker.log

served() {{
    cat "$log" 2>/dev/null | grep -c serving || true
}}

join() {{ # NAME ROLE NODE GPUS
    local file=$run/invitations/$1.invite
    mkdir -p "$run/invitations"
    if [ -e "$file" ] || [ -e "$run/keys/$1.pub" ]; then # of an earlier job, which may have been killed in between
        "$python" run.py revoke "$run" --name "$1" || true
        rm -f "$file"
    fi
    "$python" run.py invite "$run" --name "$1" --role "$2" --address "$host:$port" --out "$file"
    local gpus=()
    [ "$4" = 0 ] || gpus=(--gpus="$4")
    srun --nodes=1 --ntasks=1 --relative="$3" --cpus-per-task={cpus} ${{gpus[@]+"${{gpus[@]}}"}} --exact --mem=0 \\
        "$python" -m agents.main --invite "$file" &
}}

before=$(served)
if [ -e "$run/class.db" ]; then
    "$python" run.py resume "$run" --monitor plain --set "$address" &
else
    "$python" run.py {file} --out "$run" --monitor plain --set "$address" {sets} &
fi
class=$!
trap 'kill -TERM "$class" 2>/dev/null || true' INT TERM # it finishes what is under way

until [ "$(served)" != "$before" ]; do # the broker of this job is there
    kill -0 "$class" 2>/dev/null || {{ wait "$class"; exit; }}
    sleep 1
done
{joins}

while true; do # a signal ends `wait`, and not the class
    ended=0
    wait "$class" || ended=$?
    [ "$ended" -gt 128 ] && kill -0 "$class" 2>/dev/null || break
done
kill $(jobs -p) 2>/dev/null || true # agents of a class that failed would wait for it
exit "$ended"
"""


class FarProcess(NamedTuple):
    """A process that runs on another node than the class."""

    name: str
    role: str
    gpus: int


def slurm(
    scenario: ScenarioFile,
    /,
    *,
    out_dir: OutDir = None,
    overrides: Overrides = (),
    seed: Seed = None,
    nodes: Annotated[int, Parameter(help="Nodes of the job; 0: one for the class, and one for each process.")] = 0,
    cpus: Annotated[int, Parameter(help="Cores of each process.")] = 8,
    sbatch: Annotated[
        tuple[str, ...], Parameter(help="A further option of the job, such as --sbatch=--partition=gpu.", negative="")
    ] = (),
    file: Annotated[Path | None, Parameter(help="The file to write; default: NAME.sbatch in this folder.")] = None,
    overwrite: Annotated[
        bool, Parameter(help="Replace the file if it is there.", negative="", show_default=False)
    ] = False,
    dry_run: Annotated[bool, Parameter(help="Print the file; write nothing.", negative="", show_default=False)] = False,
) -> int:
    """Write a batch file that runs a class on the nodes of a Slurm job."""
    overrides = with_seed(overrides, seed)
    described = load.read(scenario, overrides)
    _check_engines(described)
    far = list(far_processes(described))
    moved = [*overrides, *job_overrides(described)]
    with load.located(scenario, moved):
        load.read(scenario, [*moved, f"broker.address={ANY_ADDRESS}"])
    if not far:
        raise ScenarioError(f"{scenario}: no agent of this class can run on another node")
    nodes = nodes or 1 + len(far)
    if nodes < 2 or cpus < 1:
        raise ScenarioError(
            "slurm needs --nodes 2 or more, one for the class and the others for agents, and --cpus 1 or more"
        )
    if wrong := next((one for one in sbatch if not one.startswith("-") or not one.isprintable()), None):
        raise ScenarioError(f"--sbatch {wrong!r}: needs an option of sbatch, as --sbatch=--partition=gpu")
    run = RunFolder(out_dir or Path("runs") / f"{described.name}-slurm")
    run.refuse_used()
    text = batch_file(described.name, scenario.absolute(), run.path, far, moved, nodes, cpus, sbatch)
    if dry_run:
        print(text, end="")
        return COMPLETE
    path = file or Path(f"{described.name}.sbatch")
    try:
        with path.open("w" if overwrite else "x") as written:
            written.write(text)
    except FileExistsError as error:
        raise ScenarioError(
            f"{path} is there already: replace it with --overwrite, or name another file with --file"
        ) from error
    say(Console(), f"{path} runs the class on {nodes} nodes, with its records in {run}. Submit it: sbatch {path}")
    return COMPLETE


def far_processes(scenario: Scenario) -> Iterator[FarProcess]:
    """The processes that run on other nodes: all but servers, programs of the user, and a teacher to be trained."""
    for place, agent in _far_agents(scenario):
        role = "teacher" if place == "teacher" else "student"
        for number in range(1, agent.replicas + 1):
            yield FarProcess(replica(agent.name, number), role, _gpus(agent))


def job_overrides(scenario: Scenario) -> list[str]:
    """The entries that differ in the job. None of them changes a request.

    Slurm numbers the GPUs of each process from 0, so entries about GPUs keep their number alone.
    """
    changed = [f"limits.empty_pool_s={max(PATIENCE_S, scenario.limits.empty_pool_s):g}"]
    for place, agent in _far_agents(scenario):
        changed.append(f"{place}.elsewhere=true")
        if _gpus(agent) > 1 or isinstance(agent.gpu, int):
            changed.append(f"{place}.gpu={list(range(_gpus(agent)))}")
    return changed


def batch_file(
    name: str,
    scenario: Path,
    run: Path,
    far: Sequence[FarProcess],
    overrides: Sequence[str],
    nodes: int,
    cpus: int,
    options: Sequence[str],
) -> str:
    """The text of the batch file; paths are absolute."""
    at = [1 + number % (nodes - 1) for number in range(len(far))]
    gpus = max(sum(one.gpus for one, node in zip(far, at, strict=True) if node == each) for each in set(at))
    more = [f"--gpus-per-node={gpus}"] * bool(gpus) + [f"--output={name}-%j.out", *options]
    joins = [f"join {one.name} {one.role} {node} {one.gpus}" for one, node in zip(far, at, strict=True)]
    return BATCH.format(
        file=shlex.quote(str(scenario)),
        name=name,
        nodes=nodes,
        tasks=max(map(at.count, at)),
        cpus=cpus,
        more="\n".join(f"#SBATCH {option}" for option in more),
        root=shlex.quote(str(ROOT)),
        python=shlex.quote(sys.executable),
        run=shlex.quote(str(run)),
        sets=" ".join(f"--set {shlex.quote(one)}" for one in overrides),
        joins="\n".join(joins),
    )


def _far_agents(scenario: Scenario) -> Iterator[tuple[str, Agent]]:
    """The agents that run on other nodes, each with its place in the scenario: `teacher`, `students.0`."""
    if 2 not in scenario.levels and scenario.teacher.engine not in STAY:
        yield "teacher", scenario.teacher
    for number, student in enumerate(scenario.entries):
        if student.engine not in STAY:
            yield f"students.{number}", student


def _check_engines(scenario: Scenario) -> None:
    """Raises ScenarioError: agents leave their engine to the host. It names them all, and what to add."""
    far = _far_agents(scenario)
    names = {place: agent.name for place, agent in far if agent.engine == "auto" and agent.model != "simulated"}
    if names:
        more = " ".join(f"--set {place}.engine=vllm" for place in names)
        raise ScenarioError(
            f"engine: auto depends on the host, and these agents run on other nodes: {', '.join(names.values())}\n"
            f"Name the engine of each, transformers or vllm: {more}"
        )


def _gpus(agent: Agent) -> int:
    """How many GPUs each process of an agent needs."""
    simulated = agent.engine == "simulated" or agent.model == "simulated"
    if simulated or agent.gpu == "none":
        return 0
    return len(agent.gpu) if isinstance(agent.gpu, tuple) else 1
