"""The embedded labelled texts: their answers worked out anew, and what their surface gives away."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from functools import cache
from itertools import product

import pytest

from broker.errors import TaskError
from scenarios.tasks.problems import folded
from scenarios.tasks.sources import syllogisms
from scenarios.tasks.sources.labels import Text
from scenarios.tasks.sources.syllogisms import FORMS, form_of

SIZES = {"train": 240, "dev": 96, "test": 49}
SORTS = list(product((False, True), repeat=3))
"""What somebody can be: S or not, M or not, P or not."""
HOLDS: dict[str, Callable[[bool, bool], bool]] = {
    "All": lambda a, b: not a or b,
    "No": lambda a, b: not (a and b),
    "Some": lambda a, b: a and b,
    "Some not": lambda a, b: a and not b,
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[Text, ...]]:
    return dict(zip(("train", "dev", "test"), syllogisms.build(SIZES, 7), strict=True))


@cache
def follows(statements: tuple[tuple[str, int, int], ...], empty: bool) -> bool:
    """By trying every world: the third statement holds wherever the first two do.

    empty: whether in some of them nobody is of one of the three kinds (the modern reading), or in none (the
    traditional one).
    """
    for there in product((False, True), repeat=len(SORTS)):
        world = [sort for sort, is_there in zip(SORTS, there, strict=True) if is_there]
        if not empty and not all(any(sort[kind] for sort in world) for kind in range(3)):
            continue
        *premises, conclusion = [
            (any if how.startswith("Some") else all)(HOLDS[how](sort[a], sort[b]) for sort in world)
            for how, a, b in statements
        ]
        if all(premises) and not conclusion:
            return False
    return True


def read(text: str) -> tuple[tuple[str, int, int], ...]:
    found = re.findall(r"^(?:\d\. )?(All|No|Some) (\w+) are (not )?(\w+)\??$", text, re.MULTILINE)
    assert len(found) == 3, text
    names = list(dict.fromkeys(name for _, a, _, b in found for name in (a, b)))
    assert len(names) == 3, text
    return tuple((f"{how} {no}".strip(), names.index(a), names.index(b)) for how, a, no, b in found)


def test_every_answer_is_right_whether_or_not_groups_may_be_empty(drawn: dict[str, tuple[Text, ...]]) -> None:
    for text in (text for part in drawn.values() for text in part):
        statements = read(text.text)
        assert follows(statements, empty=True) == follows(statements, empty=False) == text.positive, text


def test_half_of_each_split_is_positive_and_every_form_comes_equally_often(drawn: dict[str, tuple[Text, ...]]) -> None:
    assert {name: len(part) for name, part in drawn.items()} == SIZES
    for name, part in drawn.items():
        assert abs(2 * sum(text.positive for text in part) - len(part)) == SIZES[name] % 2
    forms = Counter(form_of(text.text) for text in drawn["train"])
    assert forms == Counter(form for forms in FORMS.values() for form in forms * 10)


def test_no_text_is_in_two_splits_or_twice_in_one(drawn: dict[str, tuple[Text, ...]]) -> None:
    names = [folded(text.text) for part in drawn.values() for text in part]
    assert len(set(names)) == len(names) == sum(SIZES.values())


def test_a_question_does_not_say_how_to_answer(drawn: dict[str, tuple[Text, ...]]) -> None:
    for text in drawn["train"]:
        assert "Answer" not in text.text
        assert text.text == text.text.strip()
        assert text.text.endswith("?")


def test_more_of_a_split_leaves_its_earlier_texts_and_the_other_splits_as_they_were(
    drawn: dict[str, tuple[Text, ...]],
) -> None:
    train, dev, test = syllogisms.build({"train": 50, "dev": 0, "test": 20}, 7)
    assert drawn["train"][:50] == train
    assert drawn["test"][:20] == test
    assert dev == ()
    assert syllogisms.build({"train": 50, "dev": 0, "test": 20}, 8)[0] != train


def accuracy(texts: tuple[Text, ...], feature: Callable[[str], Hashable]) -> float:
    """Of the best guess from one feature of the question."""
    counts: defaultdict[Hashable, Counter[bool]] = defaultdict(Counter)
    for text in texts:
        counts[feature(text.text)][text.positive] += 1
    return sum(max(count.values()) for count in counts.values()) / len(texts)


def test_no_word_and_no_statement_reveals_the_answer(drawn: dict[str, tuple[Text, ...]]) -> None:
    for word in ("all", "no", "some", "not"):
        assert accuracy(drawn["train"], lambda text, word=word: folded(text).split().count(word)) < 0.67  # type: ignore[misc]
    for n in range(3):
        assert accuracy(drawn["train"], lambda text, n=n: form_of(text)[n]) < 0.67  # type: ignore[misc]
    for without in range(3):
        pair = accuracy(drawn["train"], lambda text, n=without: form_of(text)[:n] + form_of(text)[n + 1 :])  # type: ignore[misc]
        assert pair < 0.84
    assert accuracy(drawn["train"], form_of) == 1


@pytest.mark.parametrize(
    "text", ["", "All a are b", "1. All a are b\n2. All c are b\nAll a are c?", "All a are b. All b are c. No c are a."]
)
def test_other_questions_have_no_form(text: str) -> None:
    assert form_of(text) == ""


@pytest.mark.parametrize(("name", "size"), [("train", 1), ("test", 0), ("dev", 1), ("train", 5001)])
def test_sizes_that_cannot_be_drawn_are_refused(name: str, size: int) -> None:
    with pytest.raises(TaskError, match=rf"iterate.task.{name}: {size} "):
        syllogisms.build({"train": 2, "dev": 2, "test": 2, name: size}, 1)
