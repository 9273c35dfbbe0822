"""What must hold of a broker's state after every event."""

from broker.pool import Pool, QueuedRequest
from broker.state import BrokerState


def queued(pool: Pool) -> list[QueuedRequest]:
    return [*pool.suspects.values(), *(request for group in pool.groups.values() for request in group.values())]


def check(state: BrokerState) -> None:
    work, peers = state.work, state.peers
    agents = peers.agents.values()
    waiting = {r.id: r for pool in work.pools.values() for r in queued(pool)}
    held = {r.id: r for agent in agents for r in agent.leases.values()}
    assert not waiting.keys() & held.keys(), "a request waits and is held"
    assert waiting.keys() | held.keys() == work.requests.keys(), "a request is nowhere"
    assert not work.finished.keys() & work.requests.keys(), "a request has a result and none"
    assert all(r.holder is None for r in waiting.values())
    for agent in agents:
        assert all(r.holder is agent and r.pool is agent.pool for r in agent.leases.values())
        assert agent.holds_suspect or not any(r.suspect for r in agent.leases.values()), "a suspect has company"
        assert not agent.claims & agent.leases.keys()
        assert agent.pool.agents[agent.identity] is agent
    for pool in work.pools.values():
        unfinished = [r for r in work.requests.values() if r.pool is pool]
        assert pool.unfinished == len(unfinished) <= work.credit, "the count of a pool is off"
        assert pool.waiting == len(queued(pool))
        assert pool.free.keys() == {key for key, agent in pool.agents.items() if agent.room > 0}
        idle = any(not agent.busy for agent in pool.free.values())
        free = idle if pool.suspects else bool(pool.free)
        assert work.draining or not (pool.waiting and free), "work waits beside somebody with room for it"
    assert all(agent.name == name for name, agent in peers.agents.items())
    connected = {peer: one.agent for peer, one in peers.connections.items() if one.agent}
    assert connected == {agent.identity: agent for agent in agents}, "an agent has not exactly one connection"
    assert not any(one.agent and one.end for one in peers.connections.values()), "an agent is connected and has ended"
    assert state.out.classroom not in connected
