"""The cluster that the options of a command name. Imports little: run.py loads it with every command."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from agents.placement.ray_cluster import RayCluster, Strategy


class LaunchOptions(Protocol):
    """Options that say where agents run: see scenarios/session/launching.py."""

    @property
    def launcher(self) -> str: ...  # noqa: D102
    @property
    def ray_address(self) -> str | None: ...  # noqa: D102
    @property
    def ray_strategy(self) -> "Strategy": ...  # noqa: D102
    def check(self) -> None: ...  # noqa: D102


def cluster_of(options: LaunchOptions) -> "RayCluster | None":
    """The Ray cluster of a class; None: its agents run on this host.

    Raises:
        LbtError: the options do not go together, or Ray is not installed.
    """
    options.check()
    if options.launcher != "ray":
        return None
    from agents.placement.ray_cluster import RayCluster

    return RayCluster(options.ray_address, options.ray_strategy)
