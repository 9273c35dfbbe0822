"""Checks of agents that run on other hosts: `elsewhere: true`, as a part of validate.py, or a Ray cluster."""

from collections.abc import Iterator

from broker.errors import Key, ScenarioError
from scenarios.config.schema import Scenario


def elsewhere_mistakes(scenario: Scenario) -> Iterator[tuple[Key, str]]:
    """What agents on other hosts need, and what they cannot do: the key of the entry, and the message."""
    agents: list[tuple[Key, str]] = [(("teacher",), "teacher")]
    agents += [(("students", i), "student") for i in range(len(scenario.students))]
    for (key, role), agent in zip(agents, (scenario.teacher, *scenario.students), strict=True):
        if not agent.elsewhere:
            continue
        where = (*key, "elsewhere")
        if scenario.broker.address == "ipc":
            yield (
                ("broker", "address"),
                (
                    f"ipc is for this host alone, and {agent.name} runs elsewhere; take tcp://HOST:PORT, an address of "
                    "this host that the other one can reach"
                ),
            )
        if agent.engine == "external":
            yield where, "a program of yours (engine: external) joins by itself from any host; take this out"
        if agent.engine == "openai":
            yield where, "a server (engine: openai) can be called from this host as well; take this out"
        if agent.engine == "auto" and agent.model != "simulated":
            yield (*key, "engine"), "auto depends on the host, which is another one; name it: transformers or vllm"
        if role == "teacher" and 2 in scenario.levels:
            yield where, "level 2 trains the teacher on the host of the class; take this out"
        if role == "student" and scenario.exam.score == "logprob":
            yield where, "exam.score: logprob would send the gold solutions to another host; take one of them out"


def check_cluster(scenario: Scenario) -> None:
    """Raises ScenarioError: the class cannot run on a Ray cluster."""
    if scenario.time_share:
        message = "is for one machine, and with --launcher ray every agent has its place in the cluster; take it out"
        raise ScenarioError(message, key=("time_share",))
    if scenario.exam.score == "logprob":
        message = "logprob would send the gold solutions to the nodes of the cluster; take --launcher local"
        raise ScenarioError(message, key=("exam", "score"))
