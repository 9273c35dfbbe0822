"""The prompts of a class in class.db, as chains of turns: each distinct text is kept once, and each distinct beginning.

`result.prompt` names the last turn of a prompt, and every turn names the one before it. The exams under one TR have all
their turns but the last in common, so a prompt costs one short row of `prompt_turn`. An id is a digest of what it
names, so equal turns have equal ids in every class.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

REMEMBERED = 1024
"""Turns whose ids are not computed again, about: the exams of the TRs under way."""
WRITTEN = 100_000
"""Ids of written turns that a writer remembers."""
Parts = Sequence[tuple[str, str]]
"""A prompt as it is kept: role and text of each part. The first part has the role `begun`: it is the beginning of the
agent's answer, which most prompts have in common. The turns of the chat follow. A `Grade` ends in its solution,
with the role `scored`."""


class PromptTurn(msgspec.Struct, frozen=True):
    """One turn of a chain."""

    id: int
    before: int
    """Id of the turn before it; 0: none."""
    role: str
    text_id: int
    text: str


Chain = Sequence[PromptTurn]
"""A prompt as the rows of its parts."""


def chain(parts: Parts) -> Chain:
    """The turns of a prompt as they are kept; the id of the last one is that of the prompt."""
    turns: list[PromptTurn] = []
    for role, text in parts:
        turns.append(_turn(turns[-1].id if turns else 0, role, text))
    return turns


@lru_cache(REMEMBERED)
def _turn(before: int, role: str, text: str) -> PromptTurn:
    text_id = _id(text)
    return PromptTurn(_id(f"{before} {role} {text_id}"), before, role, text_id, text)


def _id(text: str) -> int:
    """A digest as a whole number that SQLite holds, of 64 bits with its sign."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


class PromptWriter:
    """Inserts turns, and remembers which ones it inserted lately."""

    def __init__(self) -> None:
        self._written: set[int] = set()

    def write(self, db: sqlite3.Connection, chains: Iterable[Chain]) -> dict[int, PromptTurn]:
        """Insert what is not there yet; the caller holds the transaction. Returns the turns for `committed`."""
        distinct = {one[-1].id: one for one in chains if one and one[-1].id not in self._written}
        new = {turn.id: turn for one in distinct.values() for turn in one if turn.id not in self._written}
        turns = [(turn.id, turn.before, turn.role, turn.text_id) for turn in new.values()]
        texts = {turn.text_id: turn.text for turn in new.values()}
        db.executemany("INSERT INTO prompt_text VALUES (?, ?) ON CONFLICT DO NOTHING", texts.items())
        db.executemany("INSERT INTO prompt_turn VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", turns)
        return new

    def committed(self, turns: Iterable[int]) -> None:
        """Remember these: their transaction is committed."""
        if len(self._written) > WRITTEN:
            self._written.clear()
        self._written.update(turns)


def read(query: Callable[..., Iterable[tuple[Any, ...]]], prompt: int | None) -> Parts:
    """The parts of a prompt; empty: it is not there.

    Args:
        query: `Store.query`.
        prompt: `Record.prompt`.
    """
    if prompt is None:
        return []
    rows = query(
        "WITH RECURSIVE link(id, depth) AS (VALUES (?, 0) UNION ALL "
        "  SELECT before, depth + 1 FROM link JOIN prompt_turn USING(id) WHERE before <> 0) "
        "SELECT role, t.text FROM link JOIN prompt_turn p USING(id) JOIN prompt_text t ON t.id = p.text "
        "ORDER BY depth DESC",
        prompt,
    )
    return [(str(role), str(text)) for role, text in rows]


def read_turns(query: Callable[..., Iterable[tuple[Any, ...]]], found: Iterable[int]) -> dict[int, PromptTurn]:
    """The turns of many prompts by their ids, those that prompts share once; prompts that are not there have none.

    Args:
        query: `Store.query`.
        found: `Record.prompt` of each.
    """
    rows = query(
        "WITH RECURSIVE link(id) AS (SELECT value FROM json_each(?) UNION "
        "  SELECT before FROM link JOIN prompt_turn USING(id) WHERE before <> 0) "
        "SELECT p.id, p.before, p.role, p.text, t.text FROM link JOIN prompt_turn p USING(id) "
        "JOIN prompt_text t ON t.id = p.text",
        msgspec.json.encode(sorted(set(found))).decode(),
    )
    return {turn.id: turn for turn in (PromptTurn(*row) for row in rows)}


def common_start(a: Parts, b: Parts) -> int:
    """How many parts two prompts have in common, at their beginning; at least the last one of `b` is its own."""
    same = 0
    while same < min(len(a), len(b) - 1) and a[same] == b[same]:
        same += 1
    return same if same > 1 else 0
