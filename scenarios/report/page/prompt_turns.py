"""The exact prompts in a pack of texts: prompts that begin alike share their turns, as they do in class.db."""

from collections.abc import Iterable

import msgspec

from scenarios.report.show_pieces import ROLES
from scenarios.store import prompts
from scenarios.store.prompts import PromptTurn
from scenarios.store.sqlite import Store


class PackedTurn(msgspec.Struct, frozen=True, array_like=True):
    """One turn of a prompt; the first one of each is the beginning of the answer."""

    before: int
    """Number of the turn before it; -1: none."""
    heading: str
    text: int
    """Number of its text."""


class PackedPrompts:
    """The prompts of one pack.

    Args:
        store: The gradebook.
        ids: `Record.prompt` of each; None: it was not kept.
    """

    def __init__(self, store: Store, ids: Iterable[int | None]) -> None:
        wanted = {id for id in ids if id is not None}
        self._found = prompts.read_turns(store.query, wanted) if wanted else {}
        self._numbers: dict[int, int] = {}
        self._texts: dict[str, int] = {}
        self._turns: list[PackedTurn] = []

    def number(self, id: int | None) -> int | None:
        """The number of the last turn of a prompt; None: it was not kept."""
        if id is None or id not in self._found:
            return None
        chain: list[PromptTurn] = []
        while id not in self._numbers and id in self._found:
            chain.append(self._found[id])
            id = chain[-1].before
        for turn in reversed(chain):
            text = self._texts.setdefault(turn.text, len(self._texts))
            before = self._numbers.get(turn.before, -1)
            self._numbers[turn.id] = len(self._turns)
            self._turns.append(PackedTurn(before, ROLES.get(turn.role, turn.role), text))
        return self._numbers[chain[0].id] if chain else self._numbers[id]

    @property
    def turns(self) -> tuple[PackedTurn, ...]:
        """The turns of the prompts that were numbered."""
        return tuple(self._turns)

    @property
    def texts(self) -> tuple[str, ...]:
        """Their texts, by number."""
        return tuple(self._texts)


def prompt_ids(store: Store, requests: Iterable[str]) -> dict[str, int | None]:
    """By request id, `Record.prompt`."""
    rows = store.query(
        f"SELECT request_id, {store.column('prompt')} FROM result "  # noqa: S608 - our own names
        "WHERE request_id IN (SELECT value FROM json_each(?))",
        msgspec.json.encode(list(requests)).decode(),
    )
    return {str(request): prompt if isinstance(prompt, int) else None for request, prompt in rows}
