r"""Extracts LaTeX answers from the text around them and normalizes them.

`formula` returns the text that is stored as the answer; `read` the `Formula` that comparisons use. verifier.py decides
whether two formulas are equivalent. Every function takes time linear in its text.
"""

# ruff: noqa: RUF001 - signs that look like others are what this module reads

import re
from functools import lru_cache
from typing import NamedTuple

from scenarios.tasks.grading.values import KNOWN_UNITS, REPEATING, SUBSCRIPT, SUPERSCRIPT, THOUSANDS, exact

LONGEST = 800
"""Characters of a text that are read."""
CACHE = 16_384
"""Formulas that are cached: gold answers are compared again with every exam."""

DELIMITER = re.compile(r"\\\\|\\\$|\\[()\[\]]|\$\$?")
LISTED = re.compile(r"\s*(?:[,;]|,?\s*(?:and|or|&))\s*(?:and|or)?\s*", re.IGNORECASE)
"""Text between two formulas that are items of one list."""
GLUE = re.compile(r"\s*[-=+*/^<>|:]?\s*")
"""Text between two parts of one formula."""
SAYS = re.compile(r"\b(?:is|are|equals|be|becomes|get)\b\W*$|=\s*$", re.IGNORECASE)
"""Text before the formula that a sentence gives as its answer."""
DENIES = re.compile(r"(?:\bnot|n't|\bnever)\s+(?:\w+\s+)?$", re.IGNORECASE)
PERCENT = re.compile(r"\s*(?:\\?%|percent\b|per cent\b)")
MORE = re.compile(r"\s*,?\s*(?:and|or)\s+(-?\d[\d.,/]*)")
"""Another item of the list, without dollars, behind the last formula."""
SCALE = re.compile(r"\s*(hundred|thousand|million|billion|trillion)\b")
WORDS_BEFORE = re.compile(r"(?:[A-Za-z][\w',-]*\s+){0,12}?(?:is|are|equals|be)\b:?\s+(?=\S)", re.IGNORECASE)
WORDS_BEHIND = re.compile(
    r"(?<=[\d})\]a-z])\s+(?P<unit>(?:(?:square|cubic|sq\.?|cu\.?)\s+)?[A-Za-z]{1,20}(?:\^?[23])?)\.?$"
)
UNICODE = {
    "−": "-", "–": "-", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "÷": "\\div ", "π": "\\pi ", "∞": "\\infty ",
    "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "±": "\\pm ", "°": "^\\circ ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ",
    "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "ℝ": "\\mathbb{R}", "∅": "\\emptyset ",
    "\\varnothing": "\\emptyset", "½": "\\frac{1}{2}",
    "⅓": "\\frac{1}{3}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "⅔": "\\frac{2}{3}", "\xa0": " ", "\u202f": " ",
    "\u2019": "'",
}  # fmt: skip
BOX = re.compile(r"\\(?:boxed|fbox)\s{0,3}(?=\{)")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
SYSTEM = re.compile(
    r"(?:\\left\s*\\(?:\{|lbrace)\s*)?\\begin\{(cases|array|aligned)\}(?:\{[lcr| ]{0,9}\})?(.*?)\\end\{\1\}"
    r"(?:\s*\\right\s*\.)?",
    re.DOTALL,
)
TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox)\s?\{([^{}]*)\}")
UNIT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mbox)\s?\{\s*(?:[A-Za-z.]+ )?([A-Za-z]+)\.?\s*\}(?:\s*\^\s?\{?\d\}?)?$"
)
SHORT_UNITS = {
    "millimeter": "mm", "centimeter": "cm", "centimetre": "cm", "meter": "m", "metre": "m", "kilometer": "km",
    "kilometre": "km", "inche": "in", "inch": "in", "foot": "ft", "feet": "ft", "yard": "yd", "mile": "mi",
    "gram": "g", "kilogram": "kg", "kilo": "kg", "pound": "lb", "ounce": "oz", "second": "s", "sec": "s",
    "minute": "min", "hour": "h", "hr": "h", "liter": "l", "litre": "l", "degree": "deg", "kph": "kmh",
    "dollar": "usd", "euro": "eur", "ton": "t", "tonne": "t",
}  # fmt: skip
"""Short names of units by the singular of their long names."""
NUMERAL = re.compile(r"(?<![\w}\\^_])([0-9][0-9A-Fa-f]*)\s?_\s?(?:\{?\s?(\d{1,2}|\\text\{[a-z ]{1,16}\})\s?\}?)")
"""A number with its base: 1010_2."""
ASSIGNED = re.compile(
    r"(\(\s?[A-Za-z](?:\s?,\s?[A-Za-z])+\s?\)|(?:\\angle\s*)?\\?[A-Za-z]+(?:_(?:\w|\{\w{1,9}\}))?(?:\([A-Za-z]\))?)\s*(?:=|\\in\b)\s*([^=<>]+)"
)
TRIGONOMETRY = re.compile(
    r"\\(sin|cos|tan|cot|sec|csc)\s*((?:\^\s?\{?-?\d\}?)?)\s*(?:\\left)?[({]?\s*(-?\d+(?:\.\d+)?)\s*\^\s?\{?\s?\\(?:circ|degree)"
    r"\s?\}?\s*(?:\\right)?[)}]?"
)


class Formula(NamedTuple):
    """An answer in LaTeX, prepared for comparisons."""

    body: str
    """The formula without its variable and without %."""
    variable: str
    """`x` in `x = 5`; empty if there is none."""
    percent: bool
    shape: str
    """The opening bracket if brackets enclose all of it: `(`, `[` or `{` (a set); else empty."""
    numerals: tuple[tuple[str, str], ...]
    """Numbers that have a base, each with its base."""
    equations: int
    """The number of `=` in it."""
    unit: str = ""
    """The short name of the unit behind it, if the unit is known."""
    cells: tuple[str, ...] = ()
    """The cells of a system of equations or a case distinction, row by row."""


def formula(value: str) -> str | None:
    """The formula in `value` without the sentence, the dollars and the dots around it; a number as its exact value."""
    value = value[:LONGEST]
    parts = _parts(value)
    if any(is_math and text.strip() for is_math, text in parts):
        found = _joined(parts)
    else:
        found = _undelimited("".join(text for _, text in parts))
    found = _tidy(found) if found else ""
    return (exact(found) or found) if found else None


def _parts(value: str) -> list[tuple[bool, str]]:
    """`value` split at its delimiters: for each part, whether it is a formula, and its text."""
    parts: list[tuple[bool, str]] = []
    until, start = "", 0
    for found in DELIMITER.finditer(value):
        mark = found[0]
        if mark in ("\\\\", "\\$"):
            continue
        if not until and mark in ("$", "$$", "\\(", "\\["):
            parts.append((False, value[start : found.start()]))
            until, start = {"\\(": "\\)", "\\[": "\\]"}.get(mark, mark), found.end()
        elif mark == until:
            if mark == "$" and value[found.end() : found.end() + 1].isdigit() and value[found.start() - 1] == " ":
                continue  # an amount of money
            parts.append((True, value[start : found.start()]))
            until, start = "", found.end()
    # Text behind an unclosed delimiter is not a formula: `$18.90`, or a line of a longer formula.
    parts.append((False, value[start:]))
    return parts


def _joined(parts: list[tuple[bool, str]]) -> str:
    """The formula that a sentence gives as its answer; several joined by commas if they are a list."""
    first = next(i for i, (is_math, text) in enumerate(parts) if is_math and text.strip())
    before = "".join(text for _, text in parts[:first])
    if DENIES.search(before):
        return ""
    found = parts[first][1]
    if re.search(r"[\d\\][^A-Za-z]*$|[=+*/^(-]\s*$", before) and not re.search(
        r"[A-Za-z]{2}", re.sub(r"\\\w+", "", before)
    ):
        found = f"{before} {found}"
    between = ""
    for is_math, text in parts[first + 1 :]:
        if not is_math:
            between = text
        elif GLUE.fullmatch(between) and text.strip():
            found, between = f"{found} {between} {text}", ""
        elif LISTED.fullmatch(between):
            found, between = f"{found}, {text}", ""
        elif SAYS.search(between) and not DENIES.search(between):
            found, between = text, ""
        else:
            break
    if re.search(r"\b(?:minus|negative)\s+$", before, re.IGNORECASE):
        found = f"-{found}"
    if more := MORE.match(between):
        found = f"{found}, {more[1]}"
    if scale := SCALE.match(between):
        return f"{found} {scale[1]}"
    behind = PERCENT.match(between)
    return f"{found}\\%" if behind and "%" not in found else found


def _undelimited(value: str) -> str:
    """A formula without delimiters, without the words before it and the unit behind it."""
    value = re.sub(r"(?<!\\)\$", "", value).strip().rstrip(".,;:")
    if DENIES.search(value[:12]):
        return ""
    if "=" not in value and (lead := WORDS_BEFORE.match(value)):
        value = value[lead.end() :]
    value = re.split(r",?\s+(?:because|since|where)\s", value, maxsplit=1)[0]
    unit = WORDS_BEHIND.search(value)
    if unit and re.sub(r"\^?[23]$", "", unit["unit"].casefold().split()[-1]) in KNOWN_UNITS - {"in", "t"}:
        value = value[: unit.start()]
    return value


def _tidy(value: str) -> str:
    value = unboxed(value)
    for sign, written in UNICODE.items():
        value = value.replace(sign, written)
    for signs, mark in ((SUPERSCRIPT, "^"), (SUBSCRIPT, "_")):
        plain = str.maketrans(signs, "0123456789-+"[: len(signs)])
        value = re.sub(f"([{signs}]+)", rf"{mark}{{\1}}", value).translate(plain)
    value = re.sub(r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi ", value)
    value = re.sub(r"(?<=[\w)}\]])\s?\*\*\s?(?:(-?\w+)|\(([^()]*)\))", r"^{\1\2}", value)
    value = re.sub(r"√\s?(\d+(?:\.\d+)?|[A-Za-z])", r"\\sqrt{\1}", value)
    value = re.sub(r"√\s?\(([^()]*)\)", r"\\sqrt{\1}", value)
    value = re.sub(r"\\\\\s*\[[^\]\n]{0,12}\]", r"\\\\", value)
    value = (
        THOUSANDS.sub("", value).replace("\\!", "").replace("{,}", ",").replace("\\$", "").replace("\\displaystyle", "")
    )
    value = re.sub(r"(?<=\d)(?:\\[,;: ]|~|\\ )(?=\d{3}(?!\d))", "", value)
    if re.fullmatch(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?", value.strip()):
        value = value.replace(" ", "")
    value = " ".join(value.split()).rstrip(".,;: ").strip()
    value = re.sub(r"^([^=]*[\d}])\s*=\s*([A-Za-z])$", r"\2 = \1", value)
    if SYSTEM.fullmatch(value):
        return value
    words = TEXT.sub(r"\1", value).strip(" $()")
    if (
        TEXT.search(value)
        and re.fullmatch(r"[A-Za-z][A-Za-z', -]*", words)
        and not re.search(r"\\(?!text|math|mbox)", value)
    ):
        value = words
    if re.fullmatch(r"[A-Za-z][a-z]{2,}(?:,? [A-Za-z]+)*", value):
        return value.casefold()
    return re.sub(r"^\(([A-Z])\)$", r"\1", value)


def unboxed(value: str) -> str:
    r"""`value` with each `\boxed{...}` replaced by its content."""
    for _ in range(8):
        start = BOX.search(value)
        if start is None:
            break
        end = closing(value, start.end() + 1)
        inside = value[start.end() + 1 : end - 1 if end else len(value)]
        value = value[: start.start()] + inside + (value[end:] if end else "")
    return value


def closing(text: str, start: int) -> int:
    r"""The position behind the brace that closes the one before `start`, or 0. `\{` and `\}` are not braces."""
    depth = 1
    for found in BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return 0


@lru_cache(CACHE)
def read(answer: str) -> Formula:
    """Prepare a stored answer for comparisons."""
    body = answer
    if system := SYSTEM.fullmatch(body):
        rows = [row.strip(" ,;.") for row in system[2].split("\\\\")]
        cells = [TEXT.sub("", cell).strip(" ,") for row in rows if row for cell in (*row.split("&"), "\\\\")]
        return Formula(body, "", False, "cases", (), body.count("="), "", tuple(cells))
    percent = re.search(r"\s*\\?%$|\s*(?:\\text\s?\{\s*)?\bper\s?cent\b\s*\}?$", body)
    if percent:
        body = body[: percent.start()].strip()
    variable = ""
    if (given := ASSIGNED.fullmatch(body)) and not _variables(given[2]):
        variable, body = re.sub(r"\s", "", given[1]), given[2].strip()
    if "=" in body and "," not in body and not _variables(body):
        body = body.rsplit("=", 1)[1].strip()  # A calculation: `5 + 2 = 7`.
    body = REPEATING.sub(lambda one: f"{one[1]}⟨{one[2] or one[3]}⟩", body)
    body = re.sub(r"\d*\.\d*⟨\d+⟩", lambda one: _fraction(one[0]), body)
    body = TRIGONOMETRY.sub(r"\\\1\2{(\\frac{\3\\pi}{180})}", body)
    numerals = tuple((one[1].casefold(), one[2]) for one in NUMERAL.finditer(body))
    bare = re.sub(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])|\s", "", body)
    equations = len(re.findall(r"(?<![<>!\\])=", body))
    return Formula(body, variable, percent is not None, _shape(bare), numerals, equations, _unit(body))


def _unit(body: str) -> str:
    found = UNIT.search(body)
    name = found[1].casefold() if found else ""
    one = name.removesuffix("s") if len(name) > 1 else name
    return SHORT_UNITS.get(one, one) if name in KNOWN_UNITS else ""


def squeezed(body: str) -> str:
    """A formula without spacing commands and white space."""
    return re.sub(r"\\(?:left|right|[,;:! ])(?![A-Za-z])|\s|\\quad", "", body)


def _shape(body: str) -> str:
    """The opening bracket of `body`, if its last sign closes it; else empty."""
    opening = {"\\{": "{", "\\lbrace": "{", "(": "(", "[": "["}
    start = next((mark for mark in opening if body.startswith(mark)), "")
    if not start or not body.endswith(("\\}", "\\rbrace", ")", "]")):
        return ""
    depth = 0
    marks = list(re.finditer(r"\\[{}]|\\[lr]brace|[()\[\]]", body))
    for found in marks:
        depth += 1 if found[0] in ("\\{", "\\lbrace", "(", "[") else -1
        if depth == 0:
            whole = found.end() == len(body)
            return opening[start] if whole and (start != "(" or "," in body) else ""
    return ""


def _variables(body: str) -> bool:
    """Whether `body` has letters that are neither commands nor text nor constants."""
    return re.search(r"[A-Za-df-hj-z]", re.sub(r"\\[A-Za-z]+(?:\{[A-Za-z ]*\})?", "", TEXT.sub("", body))) is not None


def differ_in_case(one: str, other: str) -> bool:
    """Whether the variables of two formulas differ only in case; math-verify considers `2X` and `2x` equal."""
    first, second = (
        set(re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", TEXT.sub("", body))) for body in (one, other)
    )
    return first != second and {name.casefold() for name in first} == {name.casefold() for name in second}


def _fraction(repeating: str) -> str:
    value = exact(repeating.replace("⟨", "\\overline{").replace("⟩", "}")) or repeating
    top, _, bottom = value.partition("/")
    return f"\\frac{{{top}}}{{{bottom}}}" if bottom else top
