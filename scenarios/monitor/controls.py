"""What the keys choose: a view, an agent, the help, and a picture that stands still."""

from typing import Literal

import msgspec

View = Literal["overview", "lessons", "agents", "log"]
VIEWS: tuple[View, ...] = ("overview", "lessons", "agents", "log")
NAMES = {b"\x1b[C": "right", b"\x1b[D": "left", b"\x1bOC": "right", b"\x1bOD": "left", b"\t": "tab", b"\x1b": "escape"}
"""Of keys that are no characters."""
HELP = (
    ("v, Tab", "next view: overview, lessons, agents, log"),
    ("n, right arrow", "next agent: its model, device and latest text"),
    ("p, left arrow", "previous agent"),
    ("Space", "let the picture stand still; the class goes on"),
    ("Esc", "back to the overview"),
    ("?", "this help"),
)


class Look(msgspec.Struct, frozen=True):
    """What is looked at."""

    view: View = "overview"
    agent: int | None = None
    """The place of the chosen agent; None: none was chosen."""
    paused: bool = False
    help: bool = False


def keys_in(pressed: bytes) -> list[str]:
    """The keys in what a terminal sent. Sequences that are not known are left out."""
    keys = []
    while pressed:
        size = 1
        if pressed[:2] in (b"\x1b[", b"\x1bO"):
            ends = (n for n, byte in enumerate(pressed[2:], 3) if 0x40 <= byte <= 0x7E)
            size = next(ends, len(pressed))
        one, pressed = pressed[:size], pressed[size:]
        keys.append(NAMES.get(one) or (one.decode("ascii", "ignore") if size == 1 else ""))
    return [key for key in keys if key]


def after(look: Look, key: str, agents: int) -> Look:
    """What is looked at after a key; `agents` is their number."""
    key = key.lower()
    if look.help:
        return msgspec.structs.replace(look, help=False)
    if key in ("v", "tab"):
        return msgspec.structs.replace(look, view=VIEWS[(VIEWS.index(look.view) + 1) % len(VIEWS)])
    if key in ("n", "right", "p", "left") and agents:
        step = 1 if key in ("n", "right") else -1
        first = 0 if step == 1 else agents - 1
        chosen = first if look.agent is None or look.view != "agents" else (look.agent + step) % agents
        return msgspec.structs.replace(look, view="agents", agent=chosen)
    if key == "escape":
        return msgspec.structs.replace(look, view="overview")
    if key == " ":
        return msgspec.structs.replace(look, paused=not look.paused)
    return msgspec.structs.replace(look, help=True) if key in ("?", "h") else look
