"""The options that say where the agents of a class run. Imports little: run.py loads it with every command."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from broker.errors import ScenarioError

if TYPE_CHECKING:
    from agents.placement.ray_cluster import RayCluster


@Parameter(name="*")
@dataclass(frozen=True)
class LaunchOptions:
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

    def cluster(self, beyond: bool = False) -> "RayCluster | None":
        """The Ray cluster that they name; None: agents run on this host.

        `beyond`: the command asks for an estimate or describes a machine, which no cluster allows.

        Raises:
            ScenarioError: options of Ray without it, or an estimate or a described machine with it.
            PlacementError: Ray is not installed, or the address is none.
        """
        if self.launcher == "ray" and beyond:
            raise ScenarioError("plan --launcher ray goes without --estimate and --set machine")
        if self.launcher == "local" and (self.ray_address is not None or self.ray_strategy != "spread"):
            wrong = "--ray-strategy" if self.ray_address is None else "--ray-address"
            raise ScenarioError(f"{wrong} goes with --launcher ray")
        if self.launcher == "local":
            return None
        from agents.placement.ray_cluster import RayCluster

        return RayCluster(self.ray_address, self.ray_strategy)


LOCAL = LaunchOptions()
"""All processes run on this host."""
