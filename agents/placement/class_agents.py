"""The agents of a class as processes: what each is started with, and what the user must know before the start."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents import prompts
from agents.core_sharing import CoreTable
from agents.engines.simulated.options import write_answer_key
from agents.models.catalogue import Model
from agents.placement import agent_process, resolve
from agents.placement.launcher import ChildSpec, LocalLauncher
from agents.placement.server_keys import check_keys, keys_sent
from agents.placement.shared_processes import SharedProcessLauncher, shared_processes
from agents.spec import AgentSpec, SharedProcessSpec
from agents.training import preflight
from broker import auth, invitation
from broker.errors import LbtError, PlacementError
from broker.members import BROKER
from broker.work_messages import Message, Recipe

if TYPE_CHECKING:
    from agents.doctor import Check, Verdict
    from agents.placement.ray_cluster import RayCluster
    from broker.server import BrokerSpec


def check_ready(agents: Sequence[resolve.ResolvedAgent], *, in_turn: bool) -> None:
    """Refuse a class without a key that it needs, or that needs more memory than other programs leave now.

    Raises:
        PlacementError: with what to do.
    """
    check_keys(agents)
    if short := resolve.short_now(agents, in_turn=in_turn):
        raise PlacementError(short)


def warnings(agents: Sequence[resolve.ResolvedAgent], *, in_turn: bool, training: bool = False) -> list[str]:
    """What would keep a planned class from running here now; `training`: the teacher is trained."""
    missing = preflight.missing_for_training(agents[0]) if training else []
    short = resolve.short_now(agents, in_turn=in_turn)
    return [*missing, short] if short else missing


def check_class(
    name: str, find: Callable[[], Sequence[resolve.ResolvedAgent]], *, in_turn: bool
) -> tuple[Sequence[resolve.ResolvedAgent], "list[Check]"]:
    """The agents of the class `name`, and what keeps it from running here now; `find` resolves its agents."""
    from agents.doctor import Check  # a class that starts does not need it

    agents: Sequence[resolve.ResolvedAgent] = ()
    found: list[tuple[Verdict, str]]
    try:
        agents = find()
        found = [("partly", words) for words in warnings(agents, in_turn=in_turn)]
    except LbtError as error:
        found = [("no", str(error))]
    return agents, [Check(name, ok, *words.partition("\n")[::2]) for ok, words in found]


class AgentProcesses:
    """The agents of one class, with their specs.

    Args:
        agents: every process, teacher first.
        models: of `resolve.fetch_models`.
        broker: the broker to connect to.
        run: the run's folder.
        answer_key: where simulated agents find the gold answers.
        seed: of the class.
        in_turn: the agents take turns.
        recipe: how the teacher is trained; None: it is not.
        cluster: where agents with a bundle run.
    """

    def __init__(
        self,
        agents: Sequence[resolve.ResolvedAgent],
        models: Mapping[str, Model],
        broker: "BrokerSpec",
        *,
        run: Path,
        answer_key: Path,
        seed: int,
        in_turn: bool,
        recipe: Recipe | None = None,
        cluster: "RayCluster | None" = None,
    ) -> None:
        self._agents = agents
        self._run = run
        self._seed = seed
        self._cluster = cluster
        self._answer_key = answer_key
        self._in_turn = in_turn
        self._specs = [
            agent_process.agent_spec(
                one,
                models,
                seed=seed,
                endpoint=broker.endpoint,
                keys=broker.keys,
                answer_key=answer_key,
                run=run,
                in_turn=in_turn,
                recipe=recipe,
            )
            for one in agents
        ]
        self._started = [pair for pair in zip(agents, self._specs, strict=True) if not pair[0].joins]
        self.answerers = {spec.pool: spec.answerer for spec in self._specs}
        self.weights = {spec.pool: spec.weights for spec in self._specs if spec.engine != "external"}
        self._personas = {spec.pool: spec.persona for spec in self._specs if spec.engine != "external"}
        self.own: dict[str, list[str]] = {}
        for _, spec in self._started:
            self.own.setdefault(spec.pool, []).append(spec.name)
        self.far = tuple(one.name for one in agents if one.bundle)

    def prompt(self, agent: str, message: Message) -> tuple[tuple[str, str], ...]:
        """The prompt that an agent makes of a request: see `prompts.parts`.

        Empty: it makes none, or it is a program of the user's, which makes its own.
        """
        return prompts.parts(message, self._personas[agent]) if agent in self._personas else ()

    def facts(self) -> list[dict[str, str]]:
        """The description of every process, for class.db and the report."""
        return [{**one.facts(), "prompts": prompts.VERSION} for one in self._agents]

    def check_ready(self) -> None:
        """See the function of this name."""
        check_ready(self._agents, in_turn=self._in_turn)

    def notices(self, keys: Path) -> list[str]:
        """Which key goes to which server, and how to start each external agent."""
        waiting = [spec for spec in self._specs if spec.engine == "external"]
        invited = [f"--role {one.role} --name {one.name}" for one in self._agents if one.joins and one.config.elsewhere]
        return (
            keys_sent([one for one, _ in self._started])
            + [f"Elsewhere: python run.py invite {keys.parent} {who}" for who in invited]
            + [
                f"Start the program of {spec.name} with endpoint {spec.endpoint} and name {spec.name}"
                + (f", with {spec.name}.key and broker.pub of {keys}." if spec.keys else ".")
                for spec in waiting
            ]
        )

    def give_answers(self, answers: Mapping[str, str]) -> None:
        """Write the gold answers, by problem text, for simulated agents; does nothing for a class without them."""
        if any(spec.engine == "simulated" for spec in self._specs):
            write_answer_key(self._answer_key, dict(answers))

    def launcher(
        self, name: str, broker: "BrokerSpec", logs: Path, restarts: int
    ) -> LocalLauncher | SharedProcessLauncher:
        """The launcher of the broker, as `name`, and of every agent that does not join by itself.

        Raises:
            SecurityError: a key of an agent on the cluster cannot be read.
        """
        on_cpu = [one for one, _ in self._started if one.seat.shared]
        table = CoreTable(len(on_cpu)) if len(on_cpu) > 1 else None
        shared = shared_processes([one for one, _ in self._started], in_turn=self._in_turn)
        in_shared = {agent for agents in shared.values() for agent in agents}
        children = [
            self._far_child(one, spec, broker, logs)
            if one.bundle
            else agent_process.child_spec(
                one, spec, logs, table, on_cpu.index(one) if table and one in on_cpu else None
            )
            for one, spec in self._started
            if one.name not in in_shared
        ]
        specs = {spec.name: spec for spec in self._specs}
        children += [
            ChildSpec(
                process,
                "agents.shared_process",
                SharedProcessSpec(tuple(specs[agent] for agent in agents)),
                {"LBT_AGENT": process},
                (),
                logs / f"{process}.log",
            )
            for process, agents in shared.items()
        ]
        first = ChildSpec(name, "broker.server", broker, {}, (), logs / f"{name}.log")
        if self._cluster:
            from agents.placement.ray_launcher import RayLauncher

            bundles = {one.name: one.bundle for one in self._agents if one.bundle}
            launcher: LocalLauncher = RayLauncher(
                [first, *children], self._cluster, bundles, restarts=restarts, table=table
            )
        else:
            launcher = LocalLauncher([first, *children], restarts=restarts, table=table)
        return SharedProcessLauncher(launcher, shared) if shared else launcher

    def _far_child(self, agent: resolve.ResolvedAgent, spec: AgentSpec, broker: "BrokerSpec", logs: Path) -> ChildSpec:
        """The process of an agent on the cluster: it joins by an invitation, which its node keeps for itself."""
        keys = Path(broker.keys)
        own = invitation.make(
            agent.name,
            agent.role,
            agent.config,
            run=self._run,
            address=broker.endpoint,
            broker_key=auth.public_key(keys, BROKER),
            own_keys=(auth.public_key(keys, agent.name), auth.secret_key(keys, agent.name)),
            answerer=spec.answerer,
            seed=self._seed,
        )
        return ChildSpec(agent.name, "agents.placement.ray_actor", own, {}, (), logs / f"{agent.name}.log")
