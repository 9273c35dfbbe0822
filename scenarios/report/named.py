"""Things that a command names: found by a unique beginning, or refused with those that are nearly so."""

import difflib
from collections.abc import Sequence

from broker.errors import ScenarioError

SHOWN = 3


def pick(noun: str, wanted: str, ids: Sequence[str], hint: str = "") -> str:
    """The one of `ids` that is, or alone begins with, `wanted`.

    Raises:
        ScenarioError: there is none, or several.
    """
    found = [id for id in ids if id == wanted] or [id for id in ids if wanted and id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        more = ", ..." if len(found) > SHOWN else ""
        raise ScenarioError(f"{len(found)} begin with {wanted!r}: {', '.join(found[:SHOWN])}{more}; write more of it")
    return near(noun, wanted, ids, hint)


def near(noun: str, wanted: str, names: Sequence[str], hint: str = "") -> str:
    """The one of `names` that is `wanted`.

    Raises:
        ScenarioError: there is none.
    """
    if wanted in names:
        return wanted
    close = difflib.get_close_matches(wanted, names, n=SHOWN, cutoff=0.5)
    if not close and not hint:
        hint = f"there is {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}" if names else "none yet"
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ScenarioError(f"there is no {noun} {wanted!r}{f' ({hint})' if hint else ''}.{meant}")
