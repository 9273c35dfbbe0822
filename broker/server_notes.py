"""What an agent at a server leaves in the run's folder for the summary: one file per process, `server-AGENT`, in JSON.

agents/engines/openai writes it; scenarios/gradebook reads it.
"""

import msgspec

PREFIX = "server-"


class ServerNotes(msgspec.Struct, frozen=True):
    """What differs from what the scenario asked for, over all sessions of a run."""

    without: tuple[str, ...] = ()
    """What the server does not take, such as `seed`: answers were asked for without it."""
    role_marks_broken: int = 0
    """In texts that were sent."""
    answers_cut: int = 0
    """Answers cut off because the server did not stop at `max_tokens`."""
