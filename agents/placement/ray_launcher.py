"""Start, watch and restart the processes of a class on a Ray cluster; those that stay on this host are its children.

Each process of an agent has an actor of Ray, in its bundle of one placement group: a bundle is on one node, so all GPUs
of an agent are. Ray finds the nodes, reserves what agents need there, notices lost nodes, and moves their bundles to
others. Restarts are those of the launcher, with a new actor each time: `limits.restarts` counts every death alike, and
the broker is told of it before the successor joins.
"""

import contextlib
import math
import platform
import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from agents.core_sharing import CoreTable
from agents.placement.invited import LEAVE_S
from agents.placement.launcher import ChildEnded, ChildSpec, LocalLauncher
from agents.placement.ray_actor import MAY_RESTART, AgentActor, RayOrder, RayReport
from agents.placement.ray_cluster import ROOM_S, RayCluster, resources_text
from agents.placement.ray_watch import LOOK_S, ClusterWatch
from agents.placement.running_process import RunningProcess
from broker.child_process import NO_RESTART
from broker.errors import PlacementError
from broker.invitation import Invitation
from broker.members import BROKER
from broker.reach import unreachable


class RayProcess:
    """A process of an agent on a node of the cluster."""

    pid = 0

    def __init__(
        self, actor: Any, order: RayOrder, keep_log: Callable[[bytes], None], cluster_lost: threading.Event
    ) -> None:
        """Start it: `actor` is the handle of a new AgentActor; `keep_log` keeps the log that comes back."""
        self._actor = actor
        self._cluster_lost = cluster_lost
        self._keep_log = keep_log
        self._report = RayReport(MAY_RESTART, "")
        self._ended = threading.Event()
        self._killed = False
        self._run = actor.run.remote(msgspec.msgpack.encode(order))
        self.refusal = actor.refusal.remote()
        """The result of AgentActor.refusal, to be."""

    @property
    def returncode(self) -> int | None:
        """See RunningProcess."""
        return (-signal.SIGKILL if self._killed else self._report.code) if self._ended.is_set() else None

    def wait(self) -> None:
        """See RunningProcess."""
        import ray

        try:
            while not ray.wait([self._run], timeout=LOOK_S)[0]:
                if self._cluster_lost.is_set():
                    raise ConnectionError("the Ray cluster does not answer")
            self._report = msgspec.msgpack.decode(ray.get(self._run), type=RayReport)
            ray.get(self.refusal)  # known by now, and lost with the actor
        except Exception as error:  # of Ray, or of the actor itself
            self._report = report_of_lost(last_word(error, self._ask, self._cluster_lost))
        with contextlib.suppress(OSError):
            self._keep_log(self._report.log)
        self.kill(ended=True)
        self._ended.set()

    def _ask(self) -> None:
        import ray

        ray.get(self._actor.refusal.remote(), timeout=LOOK_S)

    def terminate(self) -> None:
        """See RunningProcess."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            self._actor.leave.remote()

    def kill(self, *, ended: bool = False) -> None:
        """End the actor; the process ends with it. `ended`: the process has."""
        import ray

        if not self._ended.is_set():
            self._killed = self._killed or not ended
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(self._actor)

    def close(self) -> None:
        """See RunningProcess."""

    def describe_exit(self) -> str:
        """See RunningProcess."""
        return self._report.words


def last_word(error: Exception, ask: Callable[[], None], cluster_lost: threading.Event) -> Exception:
    """What Ray finally says of an actor that it could not reach, by `ask`, which calls the actor again.

    For a second Ray may know only that an actor does not answer. If its node is lost, a new actor would be placed on
    the same node meanwhile, and be lost with it.
    """
    import ray

    while isinstance(error, ray.exceptions.ActorUnavailableError) and not cluster_lost.wait(LOOK_S):
        try:
            ask()
        except ray.exceptions.GetTimeoutError:
            continue
        except Exception as later:  # Ray has no class for all that it raises
            error = later
        else:
            break  # it lives; what it sent is lost
    return error


def report_of_lost(error: Exception) -> RayReport:
    """The report of a process whose actor gave none."""
    import ray

    said = str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()] or [type(error).__name__]
    found = re.search(r"^\s*ip: (\S+)", said, re.MULTILINE)
    at = f" {found[1]}" if found else ""
    if "node has died" in said:
        return RayReport(MAY_RESTART, f"its node{at} was lost")
    if "low on memory" in said:
        return RayReport(MAY_RESTART, f"Ray ended it, since its node{at} has too little memory left")
    if isinstance(error, ray.exceptions.RuntimeEnvSetupError) or getattr(error, "actor_init_failed", False):
        return RayReport(NO_RESTART, f"it cannot be started on node{at or 's of this cluster'}: {lines[-1]}")
    where = f" on node{at}" if at else ""
    return RayReport(MAY_RESTART, f"its actor{where} was lost: {lines[-1]}")


class RayLauncher(LocalLauncher):
    """The processes of one class, of which some run on a Ray cluster.

    Args:
        children: of the class. Those of the cluster have an Invitation as their spec.
        cluster: where they run; connected before the start.
        bundles: what each of these takes of a node, by name.
        restarts, table: see LocalLauncher.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        cluster: RayCluster,
        bundles: Mapping[str, Mapping[str, float]],
        *,
        restarts: int,
        table: CoreTable | None = None,
    ) -> None:
        super().__init__(children, restarts=restarts, table=table)
        self._cluster = cluster
        self._bundles = {name: dict(bundle) for name, bundle in bundles.items()}
        self._cluster_watch = ClusterWatch({})
        self._group: Any = None
        self._first: dict[str, RayProcess] = {}
        """The processes with which the class begins."""
        self._begun = False

    def start(self, later: Collection[str] = ()) -> None:
        """Start all children, and wait until every node has said whether it can run its agents.

        Raises:
            OSError: a child cannot be started; the others are stopped.
            PlacementError: the cluster has no room or is lost, or a node cannot run its agent; nothing is left of the
                class.
        """
        try:
            self._cluster_watch = ClusterWatch(self._cluster.addresses())
            self._cluster_watch.start()
            self._make_room()
            super().start(later)
            if refusals := list(dict.fromkeys(self._refusals())):
                raise PlacementError("\n".join(refusals[:3]))
            self._begun = True
        except BaseException:
            self.stop(0.0)
            raise

    def ended(self, timeout_s: float = 0.0) -> list[ChildEnded]:
        """See LocalLauncher.

        Raises:
            PlacementError: the cluster is lost.
        """
        self._refuse_lost()
        return super().ended(timeout_s)

    def tick(self) -> list[ChildEnded]:
        """See LocalLauncher. Starts nothing while the cluster does not answer: Ray would block this thread."""
        return [] if self.is_due() and self._cluster_watch.silent() else super().tick()

    def stop(self, grace_s: float) -> list[str]:
        """See LocalLauncher; the room in the cluster is free afterwards.

        Agents on the cluster have LEAVE_S if any time at all: their logs come back, and their keys go, as they leave. A
        cluster that does not answer is waited for until it is lost.
        """
        import ray

        self._cluster_watch.answers()  # else Ray would block this thread
        hanging = super().stop(max(grace_s, LEAVE_S) if grace_s else 0.0)
        self._cluster_watch.stop()
        if not self._cluster_watch.answers():
            ray.shutdown()  # else Ray ends this program later; the next class connects anew
        elif self._group is not None:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.util.remove_placement_group(self._group)
        self._group = None
        return hanging

    def _refuse_lost(self) -> None:
        """Raises PlacementError: the cluster is lost."""
        if self._cluster_watch.lost.is_set():
            again = "" if self._cluster.address is None else "\nStart Ray again first, or leave --launcher ray out."
            raise PlacementError(
                f"the Ray cluster is lost: {self._cluster_watch.why}. No recorded answer is lost.{again}"
            )

    def _make_room(self) -> None:
        import ray

        self._group = ray.util.placement_group(list(self._bundles.values()), strategy=self._cluster.strategy.upper())
        until = time.monotonic() + ROOM_S
        while not self._group.wait(LOOK_S):
            self._refuse_lost()
            if time.monotonic() >= until and not self._cluster_watch.silent():
                free = resources_text(ray.available_resources()) or "nothing"
                raise PlacementError(
                    f"the Ray cluster has had no room for the agents for {ROOM_S:g} s: others use it. "
                    f"Free now: {free}\nTry again later, or add nodes."
                )

    def _await_broker(self, address: str) -> None:
        """Wait until the broker listens, so that the time of the nodes to reach it is for the network alone.

        Raises:
            PlacementError: it has ended.
        """
        while unreachable(address, time.monotonic() + LOOK_S):
            if BROKER not in self.alive():
                raise PlacementError(f"the broker cannot be started: {self.last_error(BROKER)}")

    def _spawn(self, spec: ChildSpec) -> RunningProcess:
        if not isinstance(spec.spec, Invitation):
            return super()._spawn(spec)
        if not self._begun and not self._first:
            self._await_broker(spec.spec.address)
        try:
            process = self._spawn_far(spec, spec.spec)
        except Exception as error:  # Ray has no class for all that it raises
            raise OSError(f"Ray does not start it: {(str(error).strip() or repr(error)).splitlines()[0]}") from error
        if not self._begun:
            self._first[spec.name] = process
        return process

    def _spawn_far(self, spec: ChildSpec, invitation: Invitation) -> RayProcess:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        own = dict(self._bundles[spec.name])
        order = RayOrder(
            invitation=invitation,
            python=platform.python_version(),
            host=ray.util.get_node_ip_address(),
            cores=math.ceil(own.get("CPU", 1.0)),
            again=self._begun,
        )
        index = list(self._bundles).index(spec.name)
        actor = ray.remote(AgentActor).options(
            num_cpus=own.pop("CPU", 0.0),
            num_gpus=own.pop("GPU", 0.0),
            memory=own.pop("memory", None),
            resources=own,
            max_concurrency=3,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, index),
        )

        def keep(log: bytes) -> None:
            spec.log.parent.mkdir(parents=True, exist_ok=True)
            with spec.log.open("ab") as file:
                file.write(log)

        return RayProcess(actor.remote(), order, keep, self._cluster_watch.lost)

    def _refusals(self) -> list[str]:
        """Why nodes cannot run their agents. A node that is lost meanwhile says nothing; its agents start again."""
        import ray

        found = []
        until = time.monotonic() + ROOM_S
        for name, process in self._first.items():
            while not (done := ray.wait([process.refusal], timeout=LOOK_S)[0]) and time.monotonic() < until:
                self._refuse_lost()
            if not done:
                found.append(f"{name} has not been started by Ray for {ROOM_S:g} s; see the logs of its nodes")
                continue
            try:
                if refusal := ray.get(process.refusal):
                    found.append(f"{name} {refusal}")
            except ray.exceptions.RayError as error:
                if (report := report_of_lost(error)).code == NO_RESTART:
                    found.append(f"{name}: {report.words}")
        return found
