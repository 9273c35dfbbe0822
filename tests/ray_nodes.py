"""A Ray cluster of several nodes on this machine, for tests: `python -m tests.ray_nodes`.

The head has no room for agents. Lines on standard input: `add NAME CPUS RESOURCE=AMOUNT...` starts a node, `kill NAME`
ends one as a power cut would. Each is answered by itself on standard output, after a first line with the address.
"""

import os
import sys
from typing import Any

os.environ["RAY_gcs_server_port_wait_time_s"] = "600"  # noqa: SIM112

from ray.cluster_utils import Cluster

SMALL = {"object_store_memory": 80_000_000, "include_dashboard": False}
SETTINGS = {
    # A killed node is noticed within a second; a busy one has ten seconds for each answer.
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 2,
    "enable_worker_prestart": False,
    "prestart_worker_first_driver": False,
    "memory_monitor_refresh_ms": 0,  # other programs may fill this machine
}


ATTEMPTS = 10


def added(cluster: Cluster, cpus: int, has: dict[str, float]) -> Any:
    """A new node. Ray gives a node 30 s to start, in which a busy machine may not start it."""
    for _ in range(ATTEMPTS):
        try:
            return cluster.add_node(num_cpus=cpus, resources=has, **SMALL)
        except Exception as error:  # Ray raises no class of its own
            if "timed out during startup" not in str(error):
                raise
    raise AssertionError(f"Ray has not started a node in {ATTEMPTS} attempts")


def main() -> None:
    """Serve until standard input ends."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": SETTINGS, **SMALL})
    print(cluster.address, flush=True)
    nodes = {}
    for line in sys.stdin:
        match line.split():
            case ["add", name, cpus, *resources]:
                has = {key: float(value) for key, _, value in (one.partition("=") for one in resources)}
                nodes[name] = added(cluster, int(cpus), has)
            case ["kill", name]:
                cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print(line.strip(), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
