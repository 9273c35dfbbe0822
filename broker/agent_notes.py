"""Notes for the summary that agents write to the run's folder; scenarios/report reads them.

Each process of an agent at a server (agents/engines/openai) writes `server-PROCESS`, a `ServerNotes` as JSON, and with
prices `spent-PROCESS`, the amount. An agent on vLLM that merges an adapter into weights of 16 bits writes
`weights/DIGEST.merged`, with the dtype of these weights.
"""

import msgspec

SERVER_PREFIX, SPENT_PREFIX = "server-", "spent-"
MERGED_SUFFIX = ".merged"


class ServerNotes(msgspec.Struct, frozen=True):
    """Differences from what the scenario asks for, over all sessions of a run."""

    without: tuple[str, ...] = ()
    """Parameters that the server does not accept, such as `seed`; requests were sent without them."""
    role_marks_broken: int = 0
    """How many role marks were broken in texts that were sent."""
    answers_cut: int = 0
    """How many answers were cut off because the server did not stop at `max_tokens`."""
