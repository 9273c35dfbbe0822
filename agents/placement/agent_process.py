"""The process of each resolved agent: its spec, its environment, its log."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from agents import engines, prompts
from agents.core_sharing import CoreSeat, CoreTable
from agents.models.catalogue import Model
from agents.models.home import home_env
from agents.placement import seats
from agents.placement.launcher import ChildSpec
from agents.placement.resolve import ResolvedAgent, ScenarioAgent
from agents.placement.server_keys import key_env
from agents.spec import AgentSpec
from broker import agent_notes
from broker.work_messages import Recipe

KEPT_PRODUCTS = "256"
"""Compiled matrix products that each cache of torch's CPU build keeps: of 32 numbers of rows, eight matrices each."""


def agent_spec(
    agent: ResolvedAgent,
    models: Mapping[str, Model],
    *,
    seed: int,
    endpoint: str,
    keys: str,
    answer_key: Path,
    run: Path,
    in_turn: bool = False,
    recipe: Recipe | None = None,
    invited: bool = False,
) -> AgentSpec:
    """Return the spec of one agent process. An external agent has one too: it says how it is expected to answer.

    Args:
        agent: the resolved agent.
        models: the fetched models, by name.
        seed: seed of the scenario.
        endpoint: address of the broker.
        keys: folder with the agent's CURVE keys; empty: an endpoint without encryption.
        answer_key: file with the gold answers, for simulated agents.
        run: folder of the run.
        in_turn: agents start when they are asked something.
        recipe: how the teacher is trained; None: it is not.
        invited: it joins a class of another host; `keys` is then its invitation.
    """
    config: ScenarioAgent = agent.config
    model = models[agent.model.name] if agent.model else None
    args = dict(config.engine_args)
    trained = recipe is not None and agent.role == "teacher"
    if agent.engine == "simulated":
        args["answer_key"] = str(answer_key)
    elif agent.engine == "openai":
        args["ledger"] = str(answer_key.with_name(f"{agent_notes.SPENT_PREFIX}{agent.name}"))
        args["notes"] = str(answer_key.with_name(f"{agent_notes.SERVER_PREFIX}{agent.name}"))
    return AgentSpec(
        name=agent.name,
        pool=config.name,
        role=agent.role,
        endpoint=endpoint,
        keys=keys,
        invited=invited,
        model=config.model,
        folder=str(model.folder) if model else "",
        # Of weights at a server only their name there is known; two names are two answerers.
        weights=model.digest if model else f"openai:{config.model}" if agent.engine == "openai" else agent.engine,
        engine=agent.engine,
        persona=config.persona,
        seed=seed,
        device=agent.seat.device,
        capacity=config.capacity,
        threads=agent.seat.threads,
        dtype=config.dtype,
        max_context=config.max_context,
        gpus=len([token for token in agent.seat.gpus if token != seats.MPS]),
        memory_share=agent.seat.engine_share,
        cache_mb=agent.seat.cache_mb,
        thoughts=config.thoughts,
        engine_args=args,
        # The host of the class, which names the run's folder, has no say in what is written on another host.
        weights_folder="" if invited else str(run / "weights"),
        lora_rank=recipe.lora_rank if trained and recipe and recipe.lora else 0,
        sleeps=trained and agent.seat.may_sleep(in_turn=in_turn),
        training_folder="" if invited else str(run / "training"),
        lazy_start=in_turn and agent.role == "teacher" and agent.engine in engines.WITH_LOCAL_MODEL,
        prompts=prompts.VERSION,
    )


def child_spec(
    agent: ResolvedAgent, spec: AgentSpec, logs: Path, table: CoreTable | None = None, entry: int | None = None
) -> ChildSpec:
    """Return the child process of one agent, for the launcher; `entry`: its entry in the table of agents at work."""
    if table and entry is not None and (shared := agent.seat.shared):
        seat = CoreSeat(table.descriptor, entry, table.entries, shared.at_once, shared.threads, shared.most_threads)
        spec = msgspec.structs.replace(spec, core_seat=seat)
    env = {**agent_env(agent.seat), **(home_env() if spec.folder else {}), "LBT_AGENT": agent.name}
    secrets = tuple(filter(None, [key_env(agent)]))
    return ChildSpec(agent.name, "agents.main", spec, env, agent.seat.cores, logs / f"{agent.name}.log", secrets, entry)


def agent_env(seat: seats.Seat) -> dict[str, str]:
    """Return the environment of an agent, set before its Python starts so that every library reads it in time."""
    threads = str(seat.threads)
    cuda = [token for token in seat.gpus if token != seats.MPS]
    return {
        "LBT_DEVICE": "cuda" if cuda else seats.MPS if seat.gpus else "cpu",
        "CUDA_VISIBLE_DEVICES": ",".join(cuda),
        # Placement counts GPUs as nvidia-smi does; CUDA's own order is by speed.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        # torch's CPU build compiles a matrix product anew for every number of rows and keeps 1,024 of them, in two
        # caches, at about half a megabyte each; glibc keeps what they free in an arena for each thread.
        "LRU_CACHE_CAPACITY": KEPT_PRODUCTS,
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": KEPT_PRODUCTS,
        "MALLOC_ARENA_MAX": "2",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONFAULTHANDLER": "1",
    }
