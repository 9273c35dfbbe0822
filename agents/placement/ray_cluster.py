"""A Ray cluster: what its nodes have, what each agent takes of it, and what it cannot hold.

Ray is imported when it is asked something, and says nothing on the terminal: what it reports goes to its own logs.
"""

import contextlib
import importlib.util
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from agents.placement import hardware
from agents.placement.resolve import ResolvedAgent
from broker.child_process import ROOT
from broker.errors import PlacementError
from broker.reach import REACH_S, unreachable
from broker.version import package_version

Strategy = Literal["spread", "pack"]

OBJECT_STORE = 80_000_000
"""Bytes of Ray's object store on this host: messages go over the broker, and Ray takes no less."""
CPUS = 1_000_000
"""Those of a cluster of this host, as Ray counts: agents share the cores as if Ray did not run, and more may join."""
OWN = {"enable_worker_prestart": False, "prestart_worker_first_driver": False, "memory_monitor_refresh_ms": 0}
"""Settings of a cluster of this host: no processes in advance, since those of agents have another environment; and none
is ended where other programs take much memory, since this program has checked that there is enough."""
NODES_ENVIRONMENT = {"RAY_kill_child_processes_on_worker_exit": "0"}
"""Environment of actors. Ray would kill the agent of an actor that ends with its node, and the actor would still report
this as the agent's own end. Without it an agent ends right after its actor (broker/child_process.py)."""
ROOM_S = 600.0
"""How long the class waits until Ray has room for all agents."""
ATTEMPTS = 10
"""How often Ray is started on a machine so busy that it does not start in time."""
INSTALL = 'pip install -e ".[cluster]"'


class RayNode(NamedTuple):
    """A node of the cluster."""

    name: str
    has: dict[str, float]
    """Its resources: CPU, GPU, and others by the names that Ray has for them."""

    def in_words(self) -> str:
        """As text: `10.0.0.1 (8 CPU, 4 GPU)`."""
        return f"{self.name} ({resources_text(self.has) or 'nothing to give'})"


class RayCluster:
    """The cluster of a class, or of the classes of a study.

    Args:
        address: HOST:PORT of its head, or `auto` for the one that runs on this host; None: one of this host, which is
            started with the class and ends with this program.
        strategy: whether agents are spread over the nodes or packed on few of them.

    Raises:
        PlacementError: Ray is not installed, or the address is none.
    """

    def __init__(self, address: str | None, strategy: Strategy = "spread") -> None:
        if importlib.util.find_spec("ray") is None:
            raise PlacementError(f"--launcher ray needs Ray, which is not installed: {INSTALL}")
        if address is not None and address != "auto" and not _is_address(address):
            raise PlacementError(
                f"--ray-address {address}: needs HOST:PORT of the head of a cluster, or auto on one of its nodes\n"
                "run.py takes part in the cluster itself, so ray:// addresses of clients are of no use to it."
            )
        self.address = address
        self.strategy = strategy

    @property
    def options(self) -> str:
        """The options of the command line that name it; those that are left at their defaults are not repeated."""
        address = [] if self.address is None else ["--ray-address", self.address]
        strategy = [] if self.strategy == "spread" else ["--ray-strategy", self.strategy]
        return shlex.join(["--launcher", "ray", *address, *strategy])

    @property
    def nodes(self) -> tuple[RayNode, ...]:
        """The nodes that are alive, each with all that it has, in use or not."""
        if self.address is None:
            here = hardware.this_machine()
            cores = here.core_quota or len(here.cores)
            return (RayNode("this host", {"CPU": cores, "GPU": len(here.gpus)}),)
        self.connect()
        import ray

        return tuple(RayNode(one["NodeManagerAddress"], one["Resources"]) for one in ray.nodes() if one["Alive"])

    def in_words(self) -> str:
        """A sentence for the plan."""
        where = f"at {self.address}" if self.address else "on this host, started with the class"
        return f"Ray {where}: {'; '.join(node.in_words() for node in self.nodes)}. Agents are {self._how}."

    @property
    def _how(self) -> str:
        return "spread over the nodes" if self.strategy == "spread" else "packed on few nodes"

    def check(self, agents: Sequence[ResolvedAgent]) -> None:
        """Refuse agents that the cluster could not hold even if nobody else used it.

        Raises:
            PlacementError: what is missing, and what there is.
        """
        nodes = self.nodes
        there = "; ".join(node.in_words() for node in nodes)
        has: Counter[str] = Counter()
        for node in nodes:
            has.update(node.has)
        wants: Counter[str] = Counter()
        for one in agents:
            if one.seat.gpus and has["GPU"] and self._manages_gpus_here:
                raise PlacementError(
                    "it stays on the host of the class, since level 2 trains it, and Ray would give its GPU to others\n"
                    "Start Ray on this host with --num-gpus 0, or take gpu: none or --launcher local.",
                    agent=one.config.name,
                    key=("gpu",),
                )
            wants.update(one.bundle)
            if one.bundle and not any(_fits(one.bundle, node.has, local=self.address is None) for node in nodes):
                raise PlacementError(
                    f"needs {resources_text(one.bundle)} on one node, and no node of the Ray cluster has that\n"
                    f"There are: {there}. Let it need less, or add a node that has this.",
                    agent=one.config.name,
                    key=("resources",) if set(one.bundle) - {"CPU", "GPU"} else ("gpu",),
                )
        for name, amount in wants.items():
            if amount > has[name] + 1e-6 and not (self.address is None and name == "CPU"):
                raise PlacementError(
                    f"the agents need {resources_text({name: amount})} together, and the Ray cluster has "
                    f"{resources_text({name: has[name]}) or f'no {name}'}\nThere are: {there}. Let agents share a GPU "
                    "(memory_share: 0.5), take fewer replicas, or add nodes."
                )

    @property
    def _manages_gpus_here(self) -> bool:
        if self.address is None:
            return True
        import ray

        here = ray.get_runtime_context().get_node_id()
        return any(one["NodeID"] == here and one["Resources"].get("GPU") for one in ray.nodes())

    def broker_address(self) -> str:
        """A new address for a broker on this host, which the nodes reach, with two free ports."""
        host = "127.0.0.1"
        if self.address is not None:
            self.connect()
            import ray

            host = ray.util.get_node_ip_address()
        return f"tcp://{host}:{_free_port(host)}"

    def addresses(self) -> dict[str, str]:
        """HOST:PORT of what a class needs of the cluster, which is connected: its head, and its node on this host."""
        import ray

        here = ray.get_runtime_context()
        (node,) = (one for one in ray.nodes() if one["NodeID"] == here.get_node_id())
        own = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
        return {"its head": here.gcs_address, "its node on this host": own}

    def connected(self) -> "RayCluster":
        """Itself, once it is connected: see `connect`."""
        self.connect()
        return self

    def connect(self) -> None:
        """Connect to the cluster, and give its nodes this program; does nothing a second time.

        Raises:
            PlacementError: no cluster answers there, or its versions of Ray or Python differ from those here.
        """
        import ray

        if ray.is_initialized():
            return
        if self.address not in (None, "auto"):
            why = unreachable(f"tcp://{self.address}", time.monotonic() + REACH_S)
            if why:
                raise PlacementError(f"--ray-address {self.address}: no Ray cluster answers there: {why}")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # A job of Ray may have an environment of its own; this program's code comes first.
        os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
        # Without its head Ray ends this program after this time. The class ends before, once ClusterWatch says so.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", f"{ROOM_S:.0f}")
        options: dict[str, Any] = {"address": self.address}
        if self.address is None:
            options = {"address": "local", "num_cpus": CPUS, "object_store_memory": OBJECT_STORE}
            options |= {"include_dashboard": False, "_system_config": OWN}
            os.environ.setdefault("RAY_gcs_server_port_wait_time_s", f"{ROOM_S:.0f}")
            print("Ray starts on this host. On a busy machine this takes minutes.", file=sys.stderr, flush=True)
        options |= {"log_to_driver": False, "logging_level": logging.ERROR}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with _program() as folder:
                _init(options | {"runtime_env": {"working_dir": folder, "env_vars": NODES_ENVIRONMENT}})
        except Exception as error:  # Ray raises this class itself, too
            raise PlacementError(_refused(self.address, str(error))) from error
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own in its place
        with contextlib.suppress(AttributeError):
            # Ray prints on standard output what happens to nodes, also where no log of a worker is asked for.
            ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _init(options: Mapping[str, Any]) -> None:
    """Call `ray.init`, again where a busy machine does not start a node in the 30 s that Ray gives it."""
    import psutil
    import ray

    for attempt in range(1, ATTEMPTS + 1):
        before = set(psutil.Process().children(recursive=True))
        try:
            ray.init(**options)
            return
        except Exception as error:
            ray.shutdown()
            for child in set(psutil.Process().children(recursive=True)) - before:  # which Ray leaves behind
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            if "timed out during startup" not in str(error) or attempt == ATTEMPTS:
                raise


def resources_text(resources: Mapping[str, float]) -> str:
    """Resources as text: `2 GPU, 1 CPU`. Those that Ray adds of itself are left out."""
    own = {name: amount for name, amount in resources.items() if amount and not name.startswith(("node:", "object_"))}
    return ", ".join(
        f"{amount / 1e9:.1f} GB of memory" if name == "memory" else f"{amount:g} {name}"
        for name, amount in sorted(own.items(), key=lambda one: (one[0] != "GPU", one[0] != "CPU", one[0]))
    )


def _fits(bundle: Mapping[str, float], node: Mapping[str, float], *, local: bool) -> bool:
    return all(node.get(name, 0.0) >= amount or (local and name == "CPU") for name, amount in bundle.items())


def _refused(address: str | None, said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if "Version mismatch" in said:
        return f"the Ray cluster has other versions than this host: {' '.join(lines)}\nInstall the same on all nodes."
    where = f"--ray-address {address}: no cluster can be joined" if address else "Ray cannot be started on this host"
    why = lines[0].partition(". ")[0] if lines else "it does not say why"  # Ray's advice names its own options
    return f"{where}: {why}\nrun.py runs on a node of the cluster: ray start."


def _is_address(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and "/" not in address and port.isdecimal() and 0 < int(port) < 1 << 16


def _free_port(host: str) -> int:
    """A port of this host that nothing uses, with a free one after it for the monitor."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind((host, 0))
            port: int = first.getsockname()[1]
            try:
                second.bind((host, port + 1))
            except (OSError, OverflowError):
                continue
            return port


@contextlib.contextmanager
def _program() -> Iterator[str]:
    """A folder with what nodes need of this program, for Ray to copy."""
    with tempfile.TemporaryDirectory(prefix="lbt-program-") as name:
        folder = Path(name)
        for package in ("agents", "broker"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        version = package_version()
        (folder / "pyproject.toml").write_text(f'[project]\nname = "lbt-classroom"\nversion = "{version}"\n')
        yield name
