"""Notes for the summary that an agent at a server writes to the run's folder: one JSON file, `server-AGENT`, a process.

agents/engines/openai writes them; scenarios/report reads them.
"""

import msgspec

PREFIX = "server-"


class ServerNotes(msgspec.Struct, frozen=True):
    """Differences from what the scenario asks for, over all sessions of a run."""

    without: tuple[str, ...] = ()
    """Parameters that the server does not accept, such as `seed`; requests were sent without them."""
    role_marks_broken: int = 0
    """How many role marks were broken in texts that were sent."""
    answers_cut: int = 0
    """How many answers were cut off because the server did not stop at `max_tokens`."""
