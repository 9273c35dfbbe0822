"""How figures and texts are written for people: shares, intervals, numbered nouns, lines of a width.

Texts that others wrote go through `broker.printable`; `harmless` is for a screen of fixed cells.
"""

import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence

from rich.cells import get_character_cell_size

from broker.printable import printable

ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]*[0-~])?")
NO_BREAK = "\xa0"
"""Stands for a blank at which textwrap breaks no line."""


def wrapped(text: str, width: int, indent: str = "") -> str:
    """`text` in lines of at most `width`; no line begins with a percent sign."""
    lines = textwrap.wrap(text.replace(" %", f"{NO_BREAK}%"), max(4, width), subsequent_indent=indent)
    return "\n".join(lines).replace(NO_BREAK, " ")


def figure(value: float | None, spec: str) -> str:
    """A number in the format `spec`; a dash where there is none."""
    return "-" if value is None else format(value, spec)


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def interval(ci95: tuple[float, float] | None) -> str:
    """A 95 % interval of a share in percent; a dash where there is none."""
    return "-" if ci95 is None else f"{100 * ci95[0]:.0f} to {100 * ci95[1]:.0f} %"


def points(difference: float, ci95: tuple[float, float]) -> str:
    """A difference of two shares in percentage points, with its interval."""
    low, high = ci95
    return f"{signed(difference)} points (95 % interval {signed(low)} to {signed(high)})"


def signed(difference: float | None) -> str:
    """A difference of two shares in percentage points, without a unit; a dash where there is none."""
    return "-" if difference is None else f"{100 * difference:+z.1f}"


def signed_interval(ci95: tuple[float, float]) -> str:
    """The interval of a difference, as `signed` writes it."""
    return f"{100 * ci95[0]:+z.0f} to {100 * ci95[1]:+z.0f}"


def uncorrected(comparisons: int, *, others: bool = False) -> str:
    """A caveat for several p-values; `others`: the p-values of some more comparisons are corrected."""
    which = f"of the other {comparisons} comparisons (descriptive)" if others else f"of these {comparisons} comparisons"
    return (
        f"The p {which} is not corrected for their number: where nothing differs, one in twenty is below 0.05 by "
        "chance."
    )


def money(amount: float) -> str:
    """An amount in the currency of the prices: two decimals, or three digits of less than 1."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.3g}"


def many(n: int, noun: str, nouns: str = "") -> str:
    """A number with its noun: `1 exam answer`, `1,216 exam answers`; `nouns` is an irregular plural."""
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence: `ada`, `ada and bob`, `ada, bob and cyd`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def several(names: Sequence[str], most: int = 64) -> str:
    """Names in a line, or of more than `most` the first and how many more there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:3])} and {len(names) - 3:,} more"


def causes(counted: Mapping[str, int]) -> str:
    """How often each cause came: `count: 3, form: 1`."""
    return ", ".join(f"{cause}: {n}" for cause, n in sorted(counted.items()))


def entries(values: Mapping[str, float]) -> str:
    """Entries of a scenario in a line: `temperature 1.2, max_tokens 300`."""
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def harmless(text: str) -> str:
    """`printable` text in which every character takes as many cells in any terminal as rich counts for it.

    Escape sequences and combining characters are removed; `?` stands for a character whose width terminals dispute.
    """
    text = text[:2000]
    if text.isascii() and text.isprintable():
        return text
    text = unicodedata.normalize("NFC", printable(ESCAPES.sub("", text)))
    return "".join(_cell(character) for character in text)


def _cell(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "M":
        return ""
    wide = 2 if unicodedata.east_asian_width(character) in "WF" else 1
    disputed = category[0] == "C" or get_character_cell_size(character) != wide
    return "?" if disputed else " " if character.isspace() else character
