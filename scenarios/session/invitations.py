"""The commands `invite` and `revoke`: which agents may join a class from other hosts. Both work while it runs."""

import re
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from broker import auth, invitation
from broker.errors import ScenarioError
from broker.members import BROKER
from broker.protocol import LAST_PORT, pool_of
from scenarios.config.schema import Agent, Scenario
from scenarios.config.validate import is_address
from scenarios.report.console import say
from scenarios.session.command_line import RunDir
from scenarios.session.exit_codes import COMPLETE
from scenarios.session.run_dir import RunFolder
from scenarios.session.running import members
from scenarios.store.sqlite import Store

AgentName = Annotated[str, Parameter(help="Name of the agent, such as far; of its other replicas far.2, far.3 ...")]
NOWHERE = re.compile(r"tcp://(0\.0\.0\.0|\[::\]|127\.[\d.]+|localhost|\[::1\]):")
"""Addresses that mean another host to every host."""


def invite(
    run_dir: RunDir,
    /,
    *,
    name: AgentName,
    role: Annotated[Literal["teacher", "student"], Parameter(help="Role of the agent.")] = "student",
    address: Annotated[
        str | None,
        Parameter(help="HOST or HOST:PORT at which the other host reaches the broker; default: broker.address."),
    ] = None,
    out: Annotated[Path | None, Parameter(help="The file to write; default: NAME.invite in this folder.")] = None,
) -> int:
    """Write the credential file with which an agent joins a class from another host."""
    folder = RunFolder(run_dir)
    scenario = folder.scenario()
    agent = _agent(scenario, name)
    if not agent.elsewhere:
        raise ScenarioError(
            f"{name} is started by the class itself; an agent that joins from another host needs `elsewhere: true` in "
            f"the scenario:\npython run.py resume {folder} --set {_entry(scenario, agent)}.elsewhere=true"
        )
    if role != (wanted := members(scenario)[name].role):
        raise ScenarioError(f"--role {role}: {name} is a {wanted} of this class")
    reached = _reached(scenario.broker.address, address)
    keys = folder.keys_of(scenario)
    with Store(folder.path) as store:
        answerer = store.answerers().get(next(one for one, pool in scenario.pools.items() if pool == agent.name))
    if keys is None or answerer is None:
        raise ScenarioError(f"{folder}: the class has not begun; start it, then invite")
    if (keys / f"{name}.pub").is_file() and not (keys / f"{name}.key").is_file():
        raise ScenarioError(
            f"{name} is invited already\nTo invite it anew, first: python run.py revoke {folder} --name {name}"
        )
    path = (out or Path(f"{name}.invite")).absolute()
    own_keys = auth.admit(keys, name)
    try:
        invited = invitation.make(
            name,
            role,
            agent,
            run=folder.path,
            address=reached,
            broker_key=auth.public_key(keys, BROKER),
            own_keys=own_keys,
            answerer=answerer,
            seed=scenario.seed,
            restarts=scenario.limits.restarts,
        )
        invitation.write(path, invited)
    except BaseException:
        auth.revoke(keys, name)
        raise
    say(
        Console(),
        f"{path} lets {name} join {folder.path.name} at {reached}. It holds a secret key: move it to the other host, "
        f"by ssh for instance, and there run\npython -m agents.main --invite {path.name}",
    )
    return COMPLETE


def revoke(run_dir: RunDir, /, *, name: AgentName) -> int:
    """Withdraw an invitation: the agent's connection ends, its requests go to others, and its key never works again."""
    folder = RunFolder(run_dir)
    scenario = folder.scenario()
    agent = _agent(scenario, name)
    if not agent.elsewhere and agent.engine != "external":
        raise ScenarioError(f"{name} is started by the class itself, and has no invitation")
    if not auth.revoke(folder.keys, name):
        raise ScenarioError(f"{name} has no invitation to this class, or it was revoked before")
    say(Console(), f"The key of {name} is revoked. A new one: python run.py invite {folder} --role ROLE --name {name}")
    return COMPLETE


def _agent(scenario: Scenario, name: str) -> Agent:
    """The agent with a process of this name.

    Raises:
        ScenarioError: there is none, or the class is for this host alone.
    """
    if scenario.broker.address == "ipc":
        raise ScenarioError(
            "this class is for this host alone (broker.address: ipc)\n"
            "Continue it with --set broker.address=tcp://HOST:PORT, an address of this host that others can reach."
        )
    if name not in (known := members(scenario)):
        raise ScenarioError(f"this class has no agent {name!r}; it has {', '.join(known)}")
    return next(agent for agent in scenario.agents if agent.name == pool_of(name))


def _entry(scenario: Scenario, agent: Agent) -> str:
    """The agent's section, as --set takes it."""
    return "teacher" if agent.name == scenario.teacher.name else f"students.{scenario.entries.index(agent)}"


def _reached(bound: str, asked: str | None) -> str:
    """The address for the invitation: the one that the broker is bound to, or the one that was asked for.

    Raises:
        ScenarioError: it is no address, or no other host can reach it.
    """
    port = bound.rpartition(":")[2]
    if asked is None:
        if NOWHERE.match(bound):
            raise ScenarioError(
                f"{bound} (broker.address) means another host to every host; add --address HOST, the name or address "
                "under which the other host reaches this one"
            )
        return bound
    asked = asked.removeprefix("tcp://")
    named = f"tcp://{asked if re.search(r':[0-9]+$', asked) and not asked.endswith(']') else f'{asked}:{port}'}"
    if not is_address(named):
        raise ScenarioError(f"--address {asked}: needs HOST or HOST:PORT, the port from 1 to {LAST_PORT}")
    return named
