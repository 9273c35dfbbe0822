"""What each agent of a class did: its requests, tokens and costs, added up from the gradebook."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import asdict, astuple

from broker.agent_notes import ServerNotes
from broker.protocol import pool_of
from scenarios.records.iterate import Iteration
from scenarios.report.counts import FailedRequests
from scenarios.report.run_info import AgentFacts, RunFacts
from scenarios.store.sqlite import Store


class AgentSummary(msgspec.Struct, frozen=True):
    """What one agent did."""

    name: str
    role: str
    model: str
    engine: str
    device: str
    requests: int
    prompt_tokens: int
    cached_prompt_tokens: int
    cacheable_prompt_tokens: int
    """What a perfect prefix cache would have served: an estimate."""
    completion_tokens: int
    busy_seconds: float
    """Request-seconds: how long its requests took in the engine, added up. An engine that works on several at once
    comes to more than the class lasted."""
    restarts: int
    failed: int
    dtype: str = ""
    """Of its weights; empty: it computes nothing here."""
    prompts: str = ""
    """Version of its prompts; empty: an earlier version of the program ran the class."""
    spent: float | None = None
    """In the currency of its prices, its replicas and all sessions included; None: nothing, or not known."""
    shared: dict[str, int] = {}
    """At level 3, by agent: answers of that agent that also count as this one's, since both answer alike (same model,
    persona and sampling). They are not among `requests`."""
    thoughts: int = 0
    """Answers that came with thoughts, which are left out of their texts."""
    thought_tokens: int = 0
    """Of `completion_tokens`: those of thoughts. Where no server counts them, an estimate by characters."""
    without: list[str] = []
    """What its server does not take, such as `seed`: it was asked without, in some session at least."""
    role_marks_broken: int = 0
    """In texts for its server, each time that they were sent."""
    answers_cut: int = 0
    """Answers of its server that were cut off because they went on far beyond `max_tokens`."""


class _Work(msgspec.Struct, frozen=True, array_like=True):
    """The sums over one agent's results, in the order of the query in `_work`."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    cacheable_prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_seconds: float = 0.0
    thoughts: int = 0
    thought_tokens: int = 0


def agents_of(
    store: Store,
    facts: RunFacts,
    failures: Sequence[FailedRequests],
    iteration: Iteration | None,
    pools: Mapping[str, str],
) -> list[AgentSummary]:
    """The agents of the run in their order, then any other agents that left results.

    `pools` names, by student, the agent that answers for it: the copies of a student are one agent.
    """
    work = _work(store, pools)
    others = work.keys() - {agent.name for agent in facts.agents}
    teachers = {row[0] for row in store.query("SELECT DISTINCT agent FROM result WHERE kind = 'Teach'")}
    agents = [
        *facts.agents,
        *(AgentFacts(name, "teacher" if name in teachers else "student", "", "", "") for name in sorted(others)),
    ]
    failed = Counter(pools.get(failure.agent, failure.agent) for failure in failures)
    spent: dict[str, float] = {}
    for name, amount in facts.spent.items():
        spent[pool_of(name)] = spent.get(pool_of(name), 0.0) + amount
    notes: dict[str, list[ServerNotes]] = defaultdict(list)
    for name, of_process in facts.server_notes.items():
        notes[pool_of(name)].append(of_process)
    shared: dict[str, Counter[str]] = defaultdict(Counter)
    for answers in iteration.answers if iteration else ():
        shared[pools.get(answers.agent, answers.agent)].update(answers.shared)
    return [
        AgentSummary(
            **asdict(agent),
            **asdict(work.get(agent.name, _Work())),
            failed=failed[agent.name],
            spent=spent.get(agent.name),
            shared=dict(shared[agent.name]),
            without=sorted({name for one in notes[agent.name] for name in one.without}),
            role_marks_broken=sum(one.role_marks_broken for one in notes[agent.name]),
            answers_cut=sum(one.answers_cut for one in notes[agent.name]),
        )
        for agent in agents
    ]


def _work(store: Store, pools: Mapping[str, str]) -> dict[str, _Work]:
    thoughts = store.column("thought_tokens")
    rows = store.query(
        "SELECT agent, count(*), sum(prompt_tokens), sum(cached_tokens), sum(cacheable_tokens), "  # noqa: S608 - our own names
        f"sum(completion_tokens), round(sum(seconds), 3), sum({thoughts} > 0), sum({thoughts}) "
        "FROM result GROUP BY agent"
    )
    work: dict[str, _Work] = {}
    for name, *sums in rows:
        agent, more = pools.get(str(name), str(name)), msgspec.convert(sums, _Work, strict=False)
        if agent in work:
            both = zip(astuple(work[agent]), astuple(more), strict=True)
            more = _Work(*(round(one + other, 3) for one, other in both))
        work[agent] = more
    return work
