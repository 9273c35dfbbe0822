"""How a session of a class ended."""

from typing import Literal

import msgspec


class Ending(msgspec.Struct, frozen=True):
    """How a session of a class ended."""

    status: Literal["complete", "budget", "interrupted", "failed"]
    """budget: it concluded with what it had, since its budget was spent."""
    reason: str = ""
    reused: int = 0
    """Results that were in the store already."""
    nothing_asked: bool = False
    """All results were there, so no process was started."""
    joins: bool = False
    """A student joins: the class goes on with it in another session."""
