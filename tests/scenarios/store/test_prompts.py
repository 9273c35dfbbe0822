"""Prompts in class.db: each distinct text once, whatever arrives, and readable as they were."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.store.prompts import Parts, chain, read, read_turns
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["a", "b", "a\0b", "\u202e\n"])
PROMPTS = st.lists(st.tuples(st.sampled_from(["begun", "system", "user", "assistant", "scored"]), TEXTS), max_size=5)


def keep(store: Store, id: str, parts: Parts, **more: object) -> None:
    turns = chain(parts)
    row = Record(request_id=id, kind="Teach", agent="t", stage="teach", tp="tp", prompt=turns[-1].id, **more)  # type: ignore[arg-type]
    store.record([row], grader="lbt", version="1", chains=[turns])


@given(st.lists(PROMPTS.filter(bool), max_size=12))
def test_every_prompt_reads_back_and_each_text_and_each_beginning_is_kept_once(prompts: list[Parts]) -> None:
    with TemporaryDirectory() as folder:
        with Store(Path(folder), write=True) as store:
            for number, parts in enumerate(prompts):
                keep(store, f"{number:03}", parts)
        with Store(Path(folder)) as store:
            assert [read(store.query, r.prompt) for r in store.results()] == prompts
            turns = read_turns(store.query, [r.prompt for r in store.results() if r.prompt is not None])
            assert turns == {turn.id: turn for parts in prompts for turn in chain(parts)}
            texts = {text for parts in prompts for _, text in parts}
            beginnings = {tuple(parts[:end]) for parts in prompts for end in range(1, len(parts) + 1)}
            assert store.query("SELECT count(*) FROM prompt_text") == [(len(texts),)]
            assert store.query("SELECT count(*) FROM prompt_turn") == [(len(beginnings),)]


def test_a_prompt_whose_group_was_not_committed_is_kept_with_the_next_one(tmp_path: Path) -> None:
    parts = [("begun", ""), ("user", "2 + 2?")]
    with Store(tmp_path, write=True) as store:
        with pytest.raises(sqlite3.IntegrityError):
            keep(store, "a", parts, text=None)
        assert store.query("SELECT count(*) FROM prompt_turn") == [(0,)]
        keep(store, "b", parts)
        assert [read(store.query, r.prompt) for r in store.results()] == [parts]


def test_a_gradebook_of_an_earlier_version_has_no_prompts_until_it_is_written_again(tmp_path: Path) -> None:
    parts = [("begun", ""), ("user", "2 + 2?")]
    with Store(tmp_path, write=True) as store:
        keep(store, "a", parts)
    with closing(sqlite3.connect(tmp_path / "class.db")) as db:
        db.executescript("DROP TABLE prompt_text; DROP TABLE prompt_turn; ALTER TABLE result DROP COLUMN prompt;")
    with Store(tmp_path) as store:
        assert [read(store.query, r.prompt) for r in store.results()] == [[]]
    with Store(tmp_path, write=True) as store:
        keep(store, "b", parts)
        assert [read(store.query, r.prompt) for r in store.results()] == [[], parts]
