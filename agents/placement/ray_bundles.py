"""Which agents of a class run on a Ray cluster, and what each of their processes takes of a node."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec.structs import replace

from agents import engines
from agents.placement import hardware, resolve
from agents.placement.memory import Workload
from agents.placement.ray_cluster import RayCluster, resources_text
from agents.placement.resolve import ResolvedAgent, ScenarioAgent
from agents.placement.shared_processes import OWN_PROCESS, PROCESSES
from broker.errors import PlacementError

NOT_ON_CLUSTER = ("openai", "external")
"""Engines of agents that stay on the host of the class, or join by themselves."""
SIMULATED_CPU = 0.1
"""A simulated agent sleeps most of the time."""


class RayAgent(ScenarioAgent, Protocol):
    """The settings of an agent that Ray may place."""

    @property
    def resources(self) -> Mapping[str, float]: ...  # noqa: D102


def resolve_agents(
    cluster: RayCluster,
    teacher: RayAgent,
    students: Sequence[RayAgent],
    machine: hardware.Machine | None = None,
    *,
    trained: bool,
    workloads: Mapping[str, Workload] | None = None,
) -> tuple[ResolvedAgent, ...]:
    """Choose engine and model of every agent, and what it takes of the cluster; see resolve.resolve_agents.

    A teacher that is trained stays on the host of the class, and so do agents at servers, and simulated students that
    share processes. All others go to the cluster, where Ray numbers the GPUs of each process from 0.

    Raises:
        EngineStartError, ModelError, PlacementError: as there, or the cluster cannot hold the agents.
    """
    any_gpu = any(node.has.get("GPU") for node in cluster.nodes)
    stay = _in_shared_processes(students) | ({teacher.name} if trained else set())
    bundles: dict[str, dict[str, float]] = {}
    configs: list[Any] = []
    for config in (teacher, *students):
        if config.name in stay or config.engine in NOT_ON_CLUSTER or config.elsewhere:
            configs.append(config)
            continue
        gpus = _gpus(config, any_gpu=any_gpu)
        bundles[config.name] = _bundle(config, gpus)
        chosen = engines.choose(config.engine, config.model, gpu=gpus > 0)
        indices: Any = tuple(range(gpus)) if gpus > 1 else "auto" if gpus else "none"
        configs.append(replace(config, elsewhere=True, engine=chosen, gpu=indices))  # type: ignore[type-var]
    if not bundles:
        raise PlacementError("no agent of this class can run on a Ray cluster; leave --launcher ray out")
    resolved = resolve.resolve_agents(configs[0], configs[1:], machine, workloads=workloads)
    here = resolved
    if cluster.address is None:  # its agents on the CPU must fit in the memory of this host together
        on_cpu = {name for name, bundle in bundles.items() if "GPU" not in bundle}
        all_here = [replace(one, elsewhere=False) if one.name in on_cpu else one for one in configs]
        here = resolve.resolve_agents(all_here[0], all_here[1:], machine, workloads=workloads)
    pairs = zip(resolved, here, strict=True)
    agents = tuple(_placed(one, local, bundles.get(one.config.name)) for one, local in pairs)
    cluster.check(agents)
    return agents


def _placed(agent: ResolvedAgent, here: ResolvedAgent, bundle: dict[str, float] | None) -> ResolvedAgent:
    """The agent on the cluster, with the memory that it takes if it is `here`."""
    if bundle is None:
        return agent
    device = f"Ray, {bundle['GPU']:g} GPU" if "GPU" in bundle else "Ray, CPU"
    seat = replace(agent.seat, device=device, why=f"takes {resources_text(bundle)}", memory=here.seat.memory)
    return replace(agent, bundle=bundle, seat=seat, request=here.request)


def _bundle(config: RayAgent, gpus: int) -> dict[str, float]:
    if "GPU" in config.resources:
        raise PlacementError(
            "is not set here: `gpu` says how many GPUs an agent has, and memory_share: 0.5 lets two share one",
            agent=config.name,
            key=("resources", "GPU"),
        )
    bundle = {"CPU": SIMULATED_CPU if _is_simulated(config) else 1.0}
    if gpus:
        bundle["GPU"] = config.memory_share if gpus == 1 and config.memory_share else float(gpus)
    return bundle | dict(config.resources)


def _gpus(config: RayAgent, *, any_gpu: bool) -> int:
    """How many GPUs each process of an agent needs."""
    if _is_simulated(config) or config.gpu == "none":
        return 0
    if config.gpu == "auto":
        return int(any_gpu)
    return len(config.gpu) if isinstance(config.gpu, tuple) else 1


def _is_simulated(config: RayAgent) -> bool:
    return config.engine == "simulated" or config.model == "simulated"


def _in_shared_processes(students: Sequence[RayAgent]) -> set[str]:
    """Simulated students that are too many for a process each."""
    alike = [one for one in students if _is_simulated(one) and not OWN_PROCESS & one.engine_args.keys()]
    return {one.name for one in alike} if sum(one.replicas for one in alike) > PROCESSES else set()
