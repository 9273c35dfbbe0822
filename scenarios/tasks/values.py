r"""Reads numbers out of text as exact values.

A number's canonical form is its value as a reduced fraction: `42`, `7/2`, `-3/4`. So 3.5, 7/2, 3 1/2 and
\frac{7}{2} are one. Every function ends in time linear in its text and never raises. Knows nothing of marks.
"""

import re
from fractions import Fraction

LONGEST = 400
"""Characters that are looked at."""
DIGITS = 60
"""Characters of one number, as it stands and as it is written down; longer ones are not read."""

PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+\.\d+|\d+|\.\d+)"
SIGN = r"(?:[-+]\s?)?"
NUMBER = re.compile(
    rf"(?P<sign>{SIGN})[$£€¥]?\s?(?P<sign2>-?)"
    rf"(?:(?P<whole>\d{{1,12}}) (?P<num>\d{{1,12}})/(?P<den>\d{{1,12}})|(?P<a>{PLAIN})(?:\s?/\s?(?P<b>{PLAIN}))?)"
    r"(?:e(?P<exp>[-+]?\d{1,2})\b)?",
    re.IGNORECASE,
)
STARTS = re.compile(r"(?<![\w.])" + NUMBER.pattern, re.IGNORECASE)
CALCULATION = re.compile(r"\.\d|\s*(?:[-+*\u00d7\u00b7\u00f7^/:]|[x,](?=\s*\d))\s*[$£€(]?\s*[-.]?[\d(]", re.IGNORECASE)
"""Behind a number: it is part of a calculation, a ratio or a list that nobody worked out."""
UNIT = r"[^\W\d_][\w'\u2019/^\u00b2\u00b3\u00b0-]*"
UNITS = re.compile(rf"(?:[ \t]?(?:{UNIT}|[%\u00b0\u00b2\u00b3]))?(?:[ \t]+{UNIT}){{0,4}}[\s.!)\]*_$]*")
FRACTION = re.compile(r"\\[dt]?frac\s?\{\s?(-?[\d.,]{1,40})\s?\}\s?\{\s?(-?[\d.,]{1,40})\s?\}")
SHORT_FRACTION = re.compile(r"\\[dt]?frac\s?(\d)\s?(\d)(?!\d)")
WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s?\{([^{}]{0,80})\}")


def clean(text: str) -> str:
    """`text` without LaTeX dress, bold marks and odd signs around numbers."""
    text = text[:LONGEST].replace("\u2212", "-").replace("\u2013", "-").replace("\u202f", " ").replace("\xa0", " ")
    text = text.replace("\\!", "").replace("{,}", ",").replace("\\,", " ").replace("\\;", " ").replace("~", " ")
    text = text.replace("\\left", "").replace("\\right", "").replace("\\$", "$").replace("\\%", "%")
    for sign in ("\\(", "\\)", "\\[", "\\]", "**", "__", "`"):
        text = text.replace(sign, "")
    text = text.replace("\\times", "*").replace("\\cdot", "*").replace("\\div", "\u00f7").replace("\\approx", "=")
    text = FRACTION.sub(_fraction, SHORT_FRACTION.sub(r" \1/\2", text))
    return WRAPPED.sub(r" \1", text).strip()


def exact(text: str) -> str | None:
    """The value of a text that is a number and nothing else."""
    found = NUMBER.fullmatch(clean(text).strip("$ "))
    return None if found is None else _value(found)


def leading(text: str) -> str | None:
    """The value of the number that `text` gives as its answer.

    The number at its beginning (`42 apples`), or behind its last `=`, or else the only one in it. A number that
    is part of a calculation not worked out (`6 * 7`), of a ratio or of a list is none.
    """
    text = clean(text)
    if "=" in text:
        text = text.rsplit("=", 1)[1].lstrip()
    text = text.lstrip(" \t*_:\"'([{$£€¥") if not NUMBER.match(text) else text
    found = NUMBER.match(text)
    if found is None:
        every = [each for each in STARTS.finditer(text) if _value(each) is not None]
        values = {_value(each) for each in every}
        if len(values) != 1:
            return None
        found = every[-1]
    return None if CALCULATION.match(text, found.end()) else _value(found)


def result(line: str) -> str | None:
    """The result of the equation that a line ends in, such as `6 * 7 = 42` or `... = $42 in total.`, or None."""
    text = clean(line).rsplit("=", 1)[-1].strip()
    found = NUMBER.match(text)
    return _value(found) if found is not None and UNITS.fullmatch(text, found.end()) else None


def _value(found: re.Match[str]) -> str | None:
    if len(found[0]) > DIGITS:
        return None
    try:
        if found["whole"]:
            value = int(found["whole"]) + Fraction(int(found["num"]), int(found["den"]))
        else:
            value = _plain(found["a"]) / (_plain(found["b"]) if found["b"] else 1)
    except ZeroDivisionError:
        return None
    if found["exp"]:
        value *= Fraction(10) ** int(found["exp"])
    negative = ("-" in found["sign"]) != bool(found["sign2"])
    written = str(-value if negative else value)
    return written if len(written) <= DIGITS else None


def _plain(digits: str) -> Fraction:
    return Fraction(digits.replace(",", ""))


def _fraction(found: re.Match[str]) -> str:
    r"""\frac{7}{2} as 7/2, with the sign in front, and a space between it and a whole number before it."""
    top, bottom = found[1], found[2]
    sign = "-" if top.startswith("-") != bottom.startswith("-") else ""
    return f"{sign}{top.lstrip('-')}/{bottom.lstrip('-')}" if sign else f" {top.lstrip('-')}/{bottom.lstrip('-')}"
