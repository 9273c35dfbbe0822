"""Gathers labelled texts from the rows of any source: finds the text and the label of each row, and its class.

Texts that differ only in case and white space are kept once, and not at all if they have both labels. Which of the
spellings is kept does not depend on the order of the rows. scenarios/tasks/sources/splits.py splits the texts.
"""

from collections import Counter
from typing import Any

import msgspec

from broker.errors import TaskError
from scenarios.config.iterate_schema import LabelledTask
from scenarios.tasks.problems import folded

ENTRY = ("iterate", "task")
SECTION = ".".join(ENTRY)
"""The section of a scenario with its `LabelledTask`."""
LONGEST = 32_000
"""Most characters of one text: an exam contains several, and the size of a message is bounded."""
MOST_CHARACTERS = 64 << 20
"""Most characters of all texts together: they are kept in memory."""
BOOLEANS = (
    "\nYAML reads yes, no, on and off without quotes as true and false: "
    f'write the label in quotes, {SECTION}.positive: "yes"'
)
SHOWN = 6
"""Most labels or keys that an error names."""


class Text(msgspec.Struct, frozen=True):
    """A text and its class."""

    text: str
    positive: bool
    held_out: bool
    """Whether its source is for dev and test alone."""


class TextPool:
    """The texts gathered so far, by their folded text.

    Args:
        task: its `text`, `label`, `positive` and `negative` define how rows are read.

    Raises:
        TaskError: these entries contradict each other, or one is missing.
    """

    def __init__(self, task: LabelledTask) -> None:
        self._keys = (task.text,) if isinstance(task.text, str) else task.text
        self._label = task.label
        if not self._keys or len(set(self._keys)) < len(self._keys) or self._label in self._keys:
            raise TaskError(
                "needs a key, or several different ones, and none that is the label's", key=(*ENTRY, "text")
            )
        if task.positive is None:
            raise TaskError("is missing; name the label that stands for Yes", key=(*ENTRY, "positive"))
        self._hint = BOOLEANS if isinstance(task.positive, bool) or isinstance(task.negative, bool) else ""
        self._positive = as_text(task.positive)
        self._negative = None if task.negative is None else as_text(task.negative)
        if self._positive == self._negative:
            raise TaskError(f"is the same label as positive, {self._positive!r}", key=(*ENTRY, "negative"))
        self._seen: Counter[str] = Counter()
        self._both: set[str] = set()
        self._characters = 0
        self.texts: dict[str, Text] = {}
        self.repeated = 0
        """Rows that are left out because another row has the same text and label."""

    @property
    def contradicting(self) -> int:
        """Texts that are left out because they have both labels."""
        return len(self._both)

    def add(self, row: dict[str, Any], where: str, *, held_out: bool) -> None:
        """Add one row.

        Args:
            row: a line of a file or of a data set.
            where: its position, for messages.
            held_out: whether its source is for dev and test alone.

        Raises:
            TaskError: a value is missing or is not text, or the label is neither `positive` nor `negative`.
        """
        positive = self._class_of(row, where)
        text = self._text(row, where)
        self._characters += len(text)
        if self._characters > MOST_CHARACTERS:
            raise TaskError(f"{where}: more than {MOST_CHARACTERS:,} characters of text so far; use a part of the data")
        key = folded(text)
        known = self.texts.get(key)
        if known is None:
            self.texts[key] = Text(text, positive, held_out)
            return
        if known.positive != positive:
            self._both.add(key)
        # The kept spelling must not depend on the order of the rows; texts published for testing stay held out.
        self.texts[key] = Text(min(known.text, text), known.positive, known.held_out or held_out)

    def finish(self, source: str) -> None:
        """Remove the texts that have both labels; call it once, after the last row.

        Raises:
            TaskError: no text is left, or all rows are of one class.
        """
        for key in self._both:
            del self.texts[key]
        rows = sum(self._seen.values())
        self.repeated = rows - len(self.texts) - self.contradicting
        if not self.texts:
            both = f": all {self.contradicting} of them have both labels" if rows else ""
            raise TaskError(f"{source} holds no texts that can be used{both}")
        if not self._seen[self._positive]:
            raise TaskError(
                f"no text of {source} has the label {self._positive!r}; the {self._label!r} there: "
                + self._labels()
                + self._hint,
                key=(*ENTRY, "positive"),
            )
        if self._seen[self._positive] == rows:
            raise TaskError(f"{source}: every {self._label!r} is {self._positive!r}: the negative class has no text")

    def _class_of(self, row: dict[str, Any], where: str) -> bool:
        value = _value(row, self._label, where)
        if not isinstance(value, str | int | bool):
            kind = "nothing" if value is None else type(value).__name__
            raise TaskError(f"{where}: `{self._label}`: text, a whole number, true or false is wanted, not {kind}")
        label = as_text(value)
        if self._negative is not None and label not in (self._positive, self._negative):
            raise TaskError(
                f"{where}: `{self._label}`: {label[:60]!r} is neither {self._positive!r} (positive) nor "
                f"{self._negative!r} (negative); leave `negative` out to have all others count as No{self._hint}"
            )
        self._seen[label] += 1
        return label == self._positive

    def _text(self, row: dict[str, Any], where: str) -> str:
        first, *others = self._keys
        value = _value(row, first, where)
        if not isinstance(value, str):
            raise TaskError(f"{where}: `{first}`: text is wanted, not {type(value).__name__}")
        if not value.strip():
            raise TaskError(f"{where}: `{first}` is empty")
        text = value.strip()
        if others:
            context = [(key, _context(row.get(key), f"{where}: `{key}`")) for key in others]
            text = "\n".join(f"{_heading(key)}: {value}" for key, value in [(first, text), *context] if value)
        if len(text) > LONGEST:
            raise TaskError(f"{where}: the text has {len(text):,} characters, and at most {LONGEST:,} fit an exam")
        return text

    def _labels(self) -> str:
        shown = ", ".join(f"{label[:40]!r} ({n})" for label, n in self._seen.most_common(SHOWN))
        return shown + (f" and {len(self._seen) - SHOWN} more" if len(self._seen) > SHOWN else "")


def as_text(label: str | int | bool) -> str:
    """The form in which labels are compared: text in lower case without surrounding white space."""
    return str(label).strip().casefold()


def _context(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | int | float):
        raise TaskError(f"{where}: text or a number is wanted, not {type(value).__name__}")
    return str(value).strip()


def _value(row: dict[str, Any], key: str, where: str) -> Any:
    if key not in row:
        keys = ", ".join(list(row)[:SHOWN]) or "nothing"
        raise TaskError(f"{where}: no `{key}`; there: {keys} (`text` and `label` in the scenario name the keys)")
    return row[key]


def _heading(key: str) -> str:
    return key.replace("_", " ").strip().capitalize()
