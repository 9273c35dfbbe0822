"""Share the cores of a machine among the agents on the CPU."""

from collections.abc import Sequence

from agents.placement.hardware import Machine


def share_cores(agents: Sequence[str], machine: Machine) -> tuple[dict[str, tuple[tuple[int, ...], int]], str]:
    """Return cores and threads of each agent on the CPU, and the reason."""
    count, at_once = len(agents), machine.parallel or len(machine.cores)
    if not count:
        return {}, ""
    if count > at_once:
        # Agents share all cores: teacher and students are seldom all busy, so fixed cores would idle half the time.
        # One thread each, since more threads than cores wait for each other inside every matrix product.
        return dict.fromkeys(agents, (machine.cores, 1)), _sharing(count, at_once)
    if machine.parallel:
        # A quota limits time, not cores: with pinning, all containers of a host would share its first cores.
        threads = [len(range(i, at_once, count)) for i in range(count)]
        return (
            {agent: (machine.cores, threads[i]) for i, agent in enumerate(agents)},
            _sharing(count, at_once, "a quota of "),
        )
    ends = [round(len(machine.cores) * i / count) for i in range(count + 1)]
    own = {agent: machine.cores[ends[i] : ends[i + 1]] for i, agent in enumerate(agents)}
    return {agent: (cores, len(cores)) for agent, cores in own.items()}, _sharing(count, at_once)


def _sharing(agents: int, cores: int, quota: str = "") -> str:
    """Describe how agents share cores."""
    who = "1 agent has" if agents == 1 else f"{agents} agents share"
    return f"{who} {quota}{cores} core{'' if cores == 1 else 's'}"
