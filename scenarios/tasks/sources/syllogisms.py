"""Draws labelled texts from reasoning-gym's syllogisms: does a statement follow from two others?

The library accepts the undistributed middle (All A are B, some B are C, so some A are C) as valid, so an eighth of its
answers are wrong. This file draws only the forms of FORMS, whose answers are certain and hard to guess, and repeats a
draw that has another form or a wrong answer.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import count

from broker.errors import TaskError
from scenarios.tasks.problems import folded
from scenarios.tasks.sources.families import FAMILIES
from scenarios.tasks.sources.gym import dataset, number
from scenarios.tasks.sources.labels import ENTRY, SECTION, Text
from scenarios.tasks.sources.splits import Split

NAME = "syllogism"
DESCRIPTION = (
    "Each question gives two statements about groups, to be taken as true, and then a third one. The answer is Yes "
    "if the third statement must be true whenever the first two are, and No if it need not be."
)
TOKENS = 34
"""Estimated tokens of a typical question, at 4 characters per token."""
MOST = 5_000
"""Most texts of one split: the rarest forms of a larger one take too many draws."""
DRAWS = 1_000_000
"""Draws after which a form is considered exhausted."""
INVALID = 0.7
"""Share of invalid draws requested from the library; most of them have other forms than FORMS."""

FORMS: dict[bool, tuple[str, ...]] = {
    True: ("AAA", "AEE", "IAI", "IEO") * 3,
    False: ("AAE", "AIA", "EAA", "EAE", "EEA", "IAA", "IAO", "IEE", "IIA", "IOE", "IOO", "OAI"),
}
"""By class (valid or not), the forms of twelve questions: their statements about S-M, M-P and S-P, in this order.

A: all are; E: none is; I: some are; O: some are not. They are valid or invalid even if a group may be empty. The choice
limits guessing: neither the count of a word nor the kind of one statement separates the classes in more than 2 of 3
questions, and the kinds of two statements do so in at most 5 of 6.
"""
LETTERS = {("All", ""): "A", ("No", ""): "E", ("Some", ""): "I", ("Some", "not "): "O"}
STATEMENT = re.compile(r"\b(All|No|Some) (\w+) are (not )?(\w+)")

Key = tuple[str, str]
"""Split and form."""


def check(sizes: dict[str, int]) -> None:
    """Refuse splits that cannot be drawn.

    Args:
        sizes: texts by split.

    Raises:
        TaskError: a split is too small to hold both classes, or too large.
    """
    for name, size in sizes.items():
        if size > MOST:
            raise TaskError(f"{size} are asked for, and {NAME} gives at most {MOST} a split", key=(*ENTRY, name))
        if size < 2 and not (name == "dev" and size == 0):
            raise TaskError(
                f"{size} cannot hold a Yes and a No; {NAME} is endless: ask for 2 or more", key=(*ENTRY, name)
            )


def build(sizes: dict[str, int], seed: int) -> Split:
    """Draw texts; half of each split is valid, give or take one.

    A larger split keeps its earlier texts and does not change the other splits: a text decides by its hash which split
    it may be in.

    Args:
        sizes: numbers of texts of `train`, `dev` and `test`.
        seed: the seed of the class.

    Raises:
        TaskError: a split is too small or too large.
    """
    check(sizes)
    wanted = {name: list(_forms(seed, name, size)) for name, size in sizes.items()}
    missing: defaultdict[Key, int] = defaultdict(int)
    for name, forms in wanted.items():
        for form in forms:
            missing[name, form] += 1
    drawn = _draw(missing, seed)
    train, dev, test = (
        tuple(Text(next(drawn[name, form]), form in FORMS[True], held_out=name != "train") for form in wanted[name])
        for name in ("train", "dev", "test")
    )
    return train, dev, test


def _forms(seed: int, name: str, size: int) -> Iterator[str]:
    """The forms of a split's texts: each pair has one of each class, in either order, and each 24 have all of FORMS."""
    pairs = (size + 1) // 2
    by_class = [
        [form for cycle in range(pairs // 12 + 1) for form in _shuffled(FORMS[valid], seed, name, cycle)]
        for valid in (False, True)
    ]
    for pair in range(pairs):
        first = number(seed, SECTION, name, "first", pair) % 2
        for valid in (first, 1 - first)[: size - 2 * pair]:
            yield by_class[valid][pair]


def _shuffled(forms: tuple[str, ...], seed: int, name: str, cycle: int) -> list[str]:
    deck = sorted(enumerate(forms), key=lambda card: number(seed, SECTION, name, cycle, *card))
    return [form for _, form in deck]


def _draw(missing: dict[Key, int], seed: int) -> dict[Key, Iterator[str]]:
    """Different texts with right answers, as many of each key as `missing` says."""
    settings = {"inversion_probability": 0.0, "invalid_ratio": INVALID}
    items = dataset(NAME, settings)
    found: dict[Key, dict[str, str]] = {key: {} for key in missing}
    left = sum(missing.values())
    for draw in count():
        if not left:
            break
        if draw == DRAWS:
            raise TaskError(f"{NAME} has too few different texts; ask for fewer", key=ENTRY)
        made = items[number(seed, SECTION, NAME, draw)]  # The library seeds item i with seed + i.
        text = made["question"]
        for sentence in FAMILIES[NAME].without:
            text = text.replace(sentence, "")
        form = form_of(text)
        if form not in FORMS[made["answer"] == "Yes"]:
            continue
        same = folded(text)
        key = (("train", "dev", "test")[number(seed, SECTION, same) % 3], form)
        if len(found.get(key, ())) < missing.get(key, 0) and same not in found[key]:
            found[key][same] = text.strip()
            left -= 1
    return {key: iter(texts.values()) for key, texts in found.items()}


def form_of(text: str) -> str:
    """The form of a question, such as `AAA`; empty if its three statements are not about S-M, M-P and S-P."""
    statements = STATEMENT.findall(text)
    if len(statements) != 3:
        return ""
    (_, s, _, m), (_, middle, _, p), (_, subject, _, predicate) = statements
    if (middle, subject, predicate) != (m, s, p) or len({s, m, p}) < 3:
        return ""
    return "".join(LETTERS.get((quantifier, negation), "?") for quantifier, _, negation, _ in statements)
