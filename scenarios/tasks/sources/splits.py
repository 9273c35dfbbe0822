"""Splits texts of two classes into train, dev and test, by seed and text alone.

`quotas` computes the sizes by class without a seed, so that a plan can check them; `split` draws the texts by hashing.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from broker.errors import TaskError
from scenarios.config.iterate_schema import LabelledTask
from scenarios.tasks.sources.gym import number
from scenarios.tasks.sources.labels import ENTRY, SECTION, Text


class Count(NamedTuple):
    """Numbers of texts by class."""

    positive: int
    negative: int

    @property
    def total(self) -> int:
        """Texts of both classes."""
        return self.positive + self.negative

    def __str__(self) -> str:
        return f"{self.positive} positive and {self.negative} negative"


class Quotas(NamedTuple):
    """The sizes of the three splits, by class."""

    train: Count
    dev: Count
    test: Count


Split = tuple[tuple[Text, ...], tuple[Text, ...], tuple[Text, ...]]
"""Train, dev and test."""


def quotas(texts: Iterable[Text], task: LabelledTask) -> Quotas:
    """The sizes of the splits by class.

    dev and test have the share of positives of the texts they are drawn from, rounded to whole numbers. So has train,
    unless `task.balanced` makes half of it positive; the extra one of an odd number is negative.

    Raises:
        TaskError: there are too few texts, or a split would lack a class; the message has the numbers.
    """
    rest, held = _counts(texts)
    separate = held.total > 0
    if not separate and not task.train and not task.test:
        raise TaskError("train and test are both 0, all that are left; give one of them a number", key=ENTRY)
    dev, pool = _take("dev", task.dev, held if separate else rest)
    if separate or task.test:
        test, pool = _take("test", task.test or pool.total, pool)
        train = _train(task, rest if separate else pool)
    else:
        train = _train(task, pool)
        test = _both_classes("test", Count(pool.positive - train.positive, pool.negative - train.negative))
    return Quotas(train, dev, test)


def split(texts: Mapping[str, Text], sizes: Quotas, seed: int) -> Split:
    """Draw the splits.

    Seed and text give every text a rank within its class: dev takes the first ones, test the next ones, and train
    those at the other end, so that a larger train changes neither dev nor test.

    Args:
        texts: the texts by folded text.
        sizes: the result of `quotas` for them.
        seed: the seed of the class.
    """
    rank = {key: number(seed, SECTION, key) for key in texts}
    train: list[str] = []
    dev: list[str] = []
    test: list[str] = []
    separate = any(text.held_out for text in texts.values())
    for positive in (True, False):
        of_train, of_dev, of_test = (count[0 if positive else 1] for count in sizes)
        ordered = sorted((key for key in texts if texts[key].positive is positive), key=lambda k: (rank[k], k))
        held = [key for key in ordered if texts[key].held_out is separate]
        apart = [key for key in ordered if not texts[key].held_out]
        dev += held[:of_dev]
        test += held[of_dev : of_dev + of_test]
        train += apart[len(apart) - of_train :]

    def in_order(keys: list[str]) -> tuple[Text, ...]:
        return tuple(texts[key] for key in sorted(keys, key=lambda k: (rank[k], k)))

    return in_order(train), in_order(dev), in_order(test)


def _counts(texts: Iterable[Text]) -> tuple[Count, Count]:
    """The counts of the texts that may be trained on, and of those that their source holds out."""
    counts = {(held, positive): 0 for held in (False, True) for positive in (False, True)}
    for text in texts:
        counts[text.held_out, text.positive] += 1
    return Count(counts[False, True], counts[False, False]), Count(counts[True, True], counts[True, False])


def _take(name: str, size: int, of: Count) -> tuple[Count, Count]:
    """`size` texts with the share of positives of `of`, rounded, and the remaining texts."""
    if size > of.total:
        raise TaskError(f"{size} texts are asked for, and {of.total} are left ({of})", key=(*ENTRY, name))
    positive = (2 * size * of.positive + of.total) // (2 * of.total) if size else 0
    taken = Count(positive, size - positive)
    if size or name != "dev":
        _both_classes(name, taken)
    return taken, Count(of.positive - taken.positive, of.negative - taken.negative)


def _train(task: LabelledTask, left: Count) -> Count:
    if not task.balanced:
        return _take("train", task.train or left.total, left)[0]
    if not task.train:
        return _both_classes("train", Count(min(left), min(left)))
    half = Count(task.train // 2, task.train - task.train // 2)
    if half.positive > left.positive or half.negative > left.negative:
        raise TaskError(
            f"{task.train}, half of them positive, take {half} texts, and {left} are left; "
            "ask for fewer, or set balanced to false",
            key=(*ENTRY, "train"),
        )
    return _both_classes("train", half)


def _both_classes(name: str, count: Count) -> Count:
    if not count.total:
        raise TaskError("no texts are left for it; ask for fewer elsewhere", key=(*ENTRY, name))
    if not count.positive or not count.negative:
        missing = "negative" if count.positive else "positive"
        raise TaskError(f"would be {count}: no {missing} one; ask for more texts", key=(*ENTRY, name))
    return count
