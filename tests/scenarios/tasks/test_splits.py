"""How labelled texts are split, for all sizes; and the published data sets."""

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.errors import TaskError
from scenarios.config.iterate_schema import LabelledTask
from scenarios.tasks.problems import Labelled
from scenarios.tasks.sources.labelled import build, gather
from scenarios.tasks.sources.labels import Text, TextPool
from scenarios.tasks.sources.splits import Split, quotas, split


@st.composite
def drawn(draw: st.DrawFn) -> tuple[dict[str, Text], LabelledTask]:
    def some(held_out: bool, least: int) -> dict[str, Text]:
        counts = [draw(st.integers(least, 40)) for _ in range(2)]
        return {
            f"{held_out} {positive} {n}": Text(f"{held_out} {positive} {n}", bool(positive), held_out)
            for positive, count in enumerate(counts)
            for n in range(count)
        }

    pool = some(False, 1) | (some(True, 1) if draw(st.booleans()) else {})
    sizes = [draw(st.integers(0, 40)) for _ in range(3)]
    task = LabelledTask(train=sizes[0], dev=sizes[1], test=sizes[2], balanced=draw(st.booleans()))
    return pool, task


def made_of(pool: dict[str, Text], task: LabelledTask, seed: int) -> Split | None:
    try:
        return split(pool, quotas(pool.values(), task), seed)
    except TaskError:
        return None


@given(drawn(), st.integers(0, 2**40))
def test_splits_are_disjoint_of_the_sizes_asked_for_and_of_both_classes(
    case: tuple[dict[str, Text], LabelledTask], seed: int
) -> None:
    pool, task = case
    made = made_of(pool, task, seed)
    assume(made is not None)
    assert made is not None
    train, dev, test = made
    names = [text.text for part in made for text in part]
    assert len(set(names)) == len(names)
    assert set(names) <= set(pool)
    separate = any(text.held_out for text in pool.values())
    assert {text.held_out for text in (*dev, *test)} <= {separate}
    assert not any(text.held_out for text in train)
    for part, size in ((train, task.train), (dev, task.dev), (test, task.test)):
        assert len(part) == size or size == 0
        assert not part or {text.positive for text in part} == {True, False}
    if task.balanced:
        assert sum(text.positive for text in train) == len(train) // 2


@given(drawn(), st.integers(0, 2**40))
def test_a_size_of_0_takes_all_that_are_left(case: tuple[dict[str, Text], LabelledTask], seed: int) -> None:
    pool, task = case
    made = made_of(pool, task, seed)
    assume(made is not None)
    assert made is not None
    train, dev, test = made
    held = sum(text.held_out for text in pool.values())
    if held and not task.test:
        assert len(dev) + len(test) == held
    if not task.train and not task.balanced:
        assert len(train) == len(pool) - (held or len(dev) + len(test))
    if not held and not task.test:
        assert len(train) + len(dev) + len(test) == len(pool)
    assert dev or not task.dev


@given(drawn(), st.integers(0, 2**40))
def test_dev_and_test_have_the_share_of_positives_of_what_they_are_drawn_from(
    case: tuple[dict[str, Text], LabelledTask], seed: int
) -> None:
    pool, task = case
    made = made_of(pool, task, seed) if task.test else None
    assume(made is not None)
    assert made is not None
    separate = any(text.held_out for text in pool.values())
    of = [text.positive for text in pool.values() if text.held_out is separate]
    for part in made[1:]:
        assert abs(sum(text.positive for text in part) - len(part) * sum(of) / len(of)) <= 1


@given(drawn(), st.integers(0, 2**40), st.randoms(use_true_random=False))
def test_splits_do_not_depend_on_the_order_of_the_texts(
    case: tuple[dict[str, Text], LabelledTask], seed: int, order: random.Random
) -> None:
    pool, task = case
    shuffled = list(pool.items())
    order.shuffle(shuffled)
    assert made_of(pool, task, seed) == made_of(dict(shuffled), task, seed)


@given(st.lists(st.tuples(st.sampled_from(["a", "A", " a", "b", "B ", "c", "d"]), st.booleans(), st.booleans())))
def test_what_a_pool_keeps_does_not_depend_on_the_order_of_the_rows(cases: list[tuple[str, bool, bool]]) -> None:
    def kept(order: list[tuple[str, bool, bool]]) -> tuple[dict[str, Text], int, int]:
        pool = TextPool(LabelledTask(positive=True))
        for text, label, held_out in [*order, ("e", True, False), ("f", False, False)]:
            pool.add({"text": text, "label": label}, "row", held_out=held_out)
        pool.finish("it")
        assert len(pool.texts) + pool.repeated + pool.contradicting == len(cases) + 2
        return pool.texts, pool.repeated, pool.contradicting

    assert kept(cases) == kept(cases[::-1]) == kept(sorted(cases))


# --- published data -------------------------------------------------------------------------------------

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
FALLACY = LabelledTask(
    file="fallacy_train.jsonl",
    label="fallacy",
    positive="faulty generalization",
    description="Is it a faulty generalization?",
)


@pytest.fixture
def shared() -> Path:
    if not (SHARED / "liar_train.jsonl").is_file():
        pytest.skip("../shared/data is not there: the published data sets are not shipped")
    return SHARED.resolve()


def counted(made: Labelled) -> list[tuple[int, int]]:
    return [(len(part), sum(p.answer == "Yes" for p in part)) for part in (made.train, made.dev, made.test)]


@pytest.mark.shared_data
def test_liar_is_read_as_it_was_published(shared: Path) -> None:
    task = LabelledTask(
        file="liar_train.jsonl", positive=1, negative=0, description="Is it a lie?", train=0, balanced=False
    )
    made = build(task, 7, folder=shared)
    assert counted(made) == [(3481, 1890), (100, 54), (100, 54)]
    pool = gather(task, shared)
    assert (pool.repeated, pool.contradicting) == (0, 0)
    assert all(p.text.startswith("Statement: ") for p in made.train)


@pytest.mark.shared_data
def test_logical_fallacy_is_read_as_it_was_published(shared: Path) -> None:
    both = msgspec.structs.replace(FALLACY, test_file="fallacy_dev.jsonl", train=0, dev=100, test=0, balanced=False)
    made = build(both, 7, folder=shared)
    assert counted(made) == [(1805, 314), (100, 20), (199, 41)]
    pool = gather(both, shared)
    assert (pool.repeated, pool.contradicting) == (44, 1)
    by_number = build(msgspec.structs.replace(both, label="label", positive=1, negative=0), 7, folder=shared)
    assert (by_number.train, by_number.test) == (made.train, made.test)


@pytest.mark.shared_data
def test_the_order_of_a_published_file_changes_nothing(shared: Path, tmp_path: Path) -> None:
    lines = (shared / "fallacy_train.jsonl").read_text("utf-8").splitlines()
    random.Random(1).shuffle(lines)
    (tmp_path / "fallacy_train.jsonl").write_text("\n".join(lines), "utf-8")
    assert build(FALLACY, 7, folder=tmp_path) == build(FALLACY, 7, folder=shared)
