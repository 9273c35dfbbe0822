"""The options that say where the agents of a class run, and what a class on a Ray cluster needs."""

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from cyclopts import Parameter

from broker.errors import ScenarioError
from scenarios.config.schema import Scenario


@Parameter(name="*")
@dataclass(frozen=True)
class Launching:
    """Where the agents of a class run."""

    launcher: Annotated[
        Literal["local", "ray"], Parameter(help="Where processes run: on this host, or on the nodes of a Ray cluster.")
    ] = "local"
    ray_address: Annotated[
        str | None,
        Parameter(help="With --launcher ray: HOST:PORT of a cluster, or auto; default: a cluster on this host alone."),
    ] = None
    ray_strategy: Annotated[
        Literal["spread", "pack"], Parameter(help="With --launcher ray: spread agents over the nodes, or pack them.")
    ] = "spread"

    def check(self, beyond: bool = False) -> None:
        """Refuse options that do not go together; `beyond`: the command does what is not known of a cluster.

        Raises:
            ScenarioError: options of Ray without it, or an estimate, a study or a described machine with it.
        """
        if self.launcher == "ray" and beyond:
            raise ScenarioError("--launcher ray goes with the plan of one class, without --estimate and --set machine")
        if self.launcher == "local" and (self.ray_address is not None or self.ray_strategy != "spread"):
            wrong = "--ray-strategy" if self.ray_address is None else "--ray-address"
            raise ScenarioError(f"{wrong} goes with --launcher ray")


LOCAL = Launching()
"""All processes run on this host."""


class Reachable(Protocol):
    """A cluster whose nodes connect to the broker."""

    def broker_address(self) -> str:
        """An address of this host that the nodes reach."""


def check_cluster(cluster: Reachable | None, scenario: Scenario) -> None:
    """Raises ScenarioError: the class cannot run on a cluster. `cluster`: None: it stays on this host."""
    if cluster is None:
        return
    if scenario.time_share:
        message = "is for one machine, and with --launcher ray every agent has its place in the cluster; take it out"
        raise ScenarioError(message, key=("time_share",))
    if scenario.exam.score == "logprob":
        message = "logprob would send the gold solutions to the nodes of the cluster; take --launcher local"
        raise ScenarioError(message, key=("exam", "score"))


def chosen_address(cluster: Reachable | None, scenario: Scenario) -> str:
    """An address for the broker that the nodes reach; empty: that of the scenario will do."""
    return cluster.broker_address() if cluster and scenario.broker.address == "ipc" else ""
