r"""Reads numbers out of text as exact values.

A number's canonical form is its value as a reduced fraction: `42`, `7/2`, `-3/4`. So 3.5, 7/2, 3 1/2, 3½, "three and a
half" and \frac{7}{2} are one number, and so are 1,250,000 and "1.25 million". Units, currencies and % do not count.
Every function takes time bounded by `LONGEST` and never raises.
"""

# ruff: noqa: RUF001 - signs that look like others are what this module reads

import itertools
import re
from fractions import Fraction

from scenarios.tasks.grading.number_words import MULTIPLIERS, PART, SCALE, as_digits, mixed, values

LONGEST = 400
"""Characters of a text that are read."""
DIGITS = 120
"""Most characters of one number, both in the text and as its value is written."""

PLAIN = (
    r"(?:\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?"
    r"|\d{1,3}(?:[ ]\d{3})+(?![\d/]|[ ]\d)(?:\.\d+)?|\d{1,3}(?:'\d{3})+(?![\d'])"
    r"|\d*\.\d*⟨\d+⟩|\d+\.\d+|\d+|\.\d+)"
)
POWER = r"10\s?\^\s?[({]?(?P<%s>-?\d{1,3})(?!\d)[)}]?"
NUMBER = re.compile(
    rf"(?P<sign>(?:[-+]\s?)?)[$£€¥₹]?\s?(?P<sign2>-?)"
    rf"(?:{POWER % 'alone'}"
    rf"|(?:(?P<whole>\d{{1,12}}) (?P<num>\d{{1,12}})/(?P<den>\d{{1,12}})|(?P<a>{PLAIN})(?:\s?/\s?(?P<b>{PLAIN}))?)"
    rf"(?:e(?P<exp>[-+]?\d{{1,3}})\b|\s?[x*]\s?{POWER % 'power'})?"
    rf"(?:k\b|(?-i:M)\b|[\s-]?(?!k\b)(?P<scale>{SCALE})s?\b)?)",
    re.IGNORECASE,
)
SIMPLE = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?", re.ASCII)
"""A number as most answers have it."""
STARTS = re.compile(r"(?<![\w.^])" + NUMBER.pattern, re.IGNORECASE)

SIGNS = str.maketrans(
    {
        "\u2212": "-", "\u2013": "-", "\u2010": "-", "\u2011": "-", "\u2014": " - ", "\u2018": "'", "\u2019": "'",
        "\u202f": " ", "\xa0": " ", "\u2009": " ", "…": "...",
        "×": "*", "·": "*", "⋅": "*", "∙": "*", "⁄": "/", "≈": "=",
        "→": "=", "⇒": "=", "π": " pi ", "√": " √", "½": " 1/2", "⅓": " 1/3", "⅔": " 2/3", "¼": " 1/4", "¾": " 3/4",
        "⅕": " 1/5", "⅖": " 2/5", "⅗": " 3/5", "⅘": " 4/5", "⅙": " 1/6", "⅚": " 5/6", "⅛": " 1/8", "⅜": " 3/8",
        "⅝": " 5/8", "⅞": " 7/8",
    }
)  # fmt: skip
SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺"
SUBSCRIPT = "₀₁₂₃₄₅₆₇₈₉"
RAISED = str.maketrans(SUPERSCRIPT, "0123456789-+")
LOWERED = str.maketrans(SUBSCRIPT, "0123456789")
FRACTION = re.compile(r"\\[dt]?frac\s?\{\s?(-?[\d.,]{1,40})\s?\}\s?\{\s?(-?[\d.,]{1,40})\s?\}")
SHORT_FRACTION = re.compile(r"\\[dt]?frac\s?(\d)\s?(\d)(?!\d)")
WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox)\s?\{([^{}]{0,80})\}")
REPEATING = re.compile(
    r"(?<=\.)(\d{0,40})(?:\\(?:overline|overbar|bar|dot)\s?\{?(\d{1,40})\}?|\((\d{1,40})\)(?![\d(]))"
)
GOES_ON = re.compile(r"(?<=\.)(\d{1,60})\s?(?:\.{3,}|\\[lc]?dots)")
"""A decimal with an ellipsis; it is a number if its last digits repeat, as in 0.1666..."""

THOUSANDS = re.compile(r"(?<=\d)(?:,\s?\\!|\{,\\!\})\s*(?=\d{3}(?!\d)|\d{2},\s?\\!)")
"""A comma behind thousands with LaTeX's negative space."""
BOLD = re.compile(r"(?<![\w)])(?:\*\*|__)|(?:\*\*|__)(?![\w(])|`")
MINUS = re.compile(r"\b(?:minus|negative)\s+(?=[$£€¥]?\s?\.?\d)", re.IGNORECASE)

UNIT_LETTERS = frozenset("mgshlLNJWVAKCFTd°")
"""Letters that are units behind a number; other letters are variables, so `3x` is not a number."""
UNIT_NAMES = """
    % ° °c °f percent pct cent cents dollar dollars usd euro euros eur pound pounds rupee rupees yen degree degrees deg
    mm cm dm km m meter meters metre metres centimeter centimeters kilometer kilometers kilometre kilometres in inch
    inches ft foot feet yd yard yards mi mile miles mg g kg gram grams kilogram kilograms kilo kilos t ton tons tonne
    tonnes oz ounce ounces lb lbs ml l liter liters litre litres gallon gallons s sec second seconds min minute minutes
    h hr hour hours day days week weeks month months year years mph kmh kph km/h m/s unit units
"""
KNOWN_UNITS = frozenset(UNIT_NAMES.split())
"""Units behind a number in a gold answer without a form: such an answer is a number."""
CALCULATES = r"[-+]?\s?[*^/÷:_±√|~&]+[ \t]*[\d(.\\$£€\w-]|\+|[-+][ \t]*(?:[$£€(]?[ \t]*[.(]?\d|\\|[a-z]\b)"
LISTS = r"\.\d|[x,](?=[ \t]*\d)|\(\d|\(?\s*(?:to|or|and(?!\s+not\b))\b"
WORDS = r"\(?\s*(?:pi|base|p?mod|modulo|choose|squared|cubed|factorial|sqrt|root|in (?:base|binary|hex)|tens)\b"
DENIED = r"\W*(?:(?:is|was)\s*(?:not|n't|wrong|incorrect|false)|(?:cannot|can't|can not) be)\b"
LEFT_OVER = re.compile(rf"[ \t]*(?:{CALCULATES}|{LISTS}|{WORDS})|[ \t]+\d|{DENIED}", re.IGNORECASE)
"""Text behind a number that is part of an unfinished calculation, a ratio, a range or a list, or that denies it."""
BELOW_ZERO = re.compile(r"(?<![-\d.,/])(\d[\d.,/]*(?: ?[°a-z]+){0,2}) below (?:zero|0)\b", re.IGNORECASE)
DOLLARS_AND_CENTS = re.compile(
    r"(?<![\d.,])(?:\$ ?(\d[\d,]*)|(\d[\d,]*) dollars?),?(?: and)? ([a-z\d-]{1,12}) cents?\b", re.IGNORECASE
)
NONE = re.compile(
    r"(?:none|nothing)(?: (?:at all|(?:is |are )?left(?: over)?|remains?|of (?:them|it)))?[\s.!*_$]*", re.IGNORECASE
)
"""Zero in words."""
BAD_BEFORE = re.compile(
    r"(?:\b(?:at least|at most|(?<![a-z]{3} )up to)\b"
    r"|\b(?:not|never|no(?!\.\s?$)|neither|than|between|half|third|quarter|twice|double|triple|root|square of|cube of"
    r"|log|ln|sin|cos|tan|sqrt|mod|base|binary|octal|hexadecimal)\b|n't\b|[<>≤≥≠√|^*/±]|\\[a-z]|\b[a-z]\()",
    re.IGNORECASE,
)
"""Text before a number that is not the answer, or not all of it."""
COPULA = re.compile(r"\b(?:is|are|was|were|be|equals|makes|gives|get|gets)\b|:", re.IGNORECASE)
REMARK = re.compile(
    r"[.!?](?=\s|$)|;(?=\s*[^\d\s$-])|\s\(|\s-\s|,(?=\s*(?:as|which|where|so that)\b)"
    r"|\b(?:because|since|where|given|not|rather than|instead of)\b"
    r"|\b(?:explanation|reason|note)\b",
    re.IGNORECASE,
)
"""The start of a remark behind a number, which does not change the number."""
ASIDE = re.compile(
    r"(?P<share>\b(?:out )?of (?:all )?(?:the|these|those) (?:\d[\d,]*(?!\s*%)\b|[a-z-]+)"
    r"|[a-z] out of \d[\d,]*\b| out of \d[\d,]* [a-z])"
    r"|\bper (?:1|one) [a-z]|\band (?:0|zero|no) cents?\b|\bor so\b"
    r"|\b(?:(?:rounded|correct|accurate) )?to (?:the nearest \S{1,12}|\S{1,8} (?:decimal|significant) \w{1,12})"
    r"|\brounded to \S{1,8} (?:place|figure|digit)s?",
    re.IGNORECASE,
)
"""A second number behind a number that does not change it. Before a share (`of the 30`) the number must be whole."""
SECOND = re.compile(rf"\b(?:and|plus) (?:an? |one )?(?:{PART})\b", re.IGNORECASE)
ANOTHER = re.compile(r"(?:[,;]|\band\b|\bor\b)[^=]{0,20}?[A-Za-z]\w?[ \t]*$")
"""The text before the second `=` if two variables have values: `x = 3, y`."""
BEFORE_SIDE = re.compile(r"\b(?:is|are|was|were|be|has|have|get|so|thus|hence|therefore|then)\b,?", re.IGNORECASE)
"""Words before the number that is one side of an equation."""
UNIT = r"[^\W\d_][\w'/^°-]*"
UNITS = re.compile(rf"(?:[ \t]?(?:{UNIT}|[%°]))?(?:[ \t]+{UNIT}){{0,4}}[\s.!)\]*_$]*")


def clean(text: str) -> str:
    """`text` without LaTeX commands, bold marks and special signs around numbers; numbers are in ASCII."""
    text = text[:LONGEST]
    if "\\" in text or not text.isascii():
        text = _plain_signs(text)
    text = BOLD.sub("", text).replace("{,}", ",").replace("~", " ")
    text = GOES_ON.sub(_repeated, REPEATING.sub(lambda found: f"{found[1]}⟨{found[2] or found[3]}⟩", text))
    text = re.sub(r"\s*([\^_])\{(-?\d{1,9})\}", r"\1\2", re.sub(r"\s+\^", "^", text))
    text = re.sub(r"[-=]>", "=", re.sub(r"\bRs\.?\s?(?=\d)", "₹", text))
    text = MINUS.sub("-", text)
    if " and " in text:
        text = re.sub(r"(?<=\d)\s+and\s+(?=\d{1,12}/\d)", " ", text)
        text = mixed(text)
    return re.sub(r"[^\S\n]+", " ", text).strip()


def _plain_signs(text: str) -> str:
    """Signs beyond ASCII and LaTeX commands in plain text."""
    text = re.sub(f"[{SUPERSCRIPT}]+", lambda run: "^" + run[0].translate(RAISED), text)
    text = re.sub(f"[{SUBSCRIPT}]+", lambda run: "_" + run[0].translate(LOWERED), text).translate(SIGNS)
    text = THOUSANDS.sub("", text).replace("\\left", "").replace("\\right", "").replace("\\pi", " pi ")
    text = re.sub(r"\\!|\\displaystyle|\\[()\[\]]", "", text)
    text = re.sub(r"\\[,;: ]|\\q?quad\b", " ", text)
    text = text.replace("\\$", "$").replace("\\%", "%").replace("\\div", "÷").replace("\\pm", "±")
    text = re.sub(r"\\approx|\\simeq|\\(?:Right|right|)arrow|\\implies", "=", re.sub(r"\\times|\\cdot", "*", text))
    text = re.sub(r"\^?\s?\{?\\(?:circ|degree)\b\}?|\\textdegree", "°", text)
    text = FRACTION.sub(_fraction, SHORT_FRACTION.sub(r" \1/\2", text))
    return WRAPPED.sub(r" \1 ", text)


def exact(text: str) -> str | None:
    """The value of a text that is one number; None if it is anything else."""
    if SIMPLE.fullmatch(text):
        return str(Fraction(text))
    found = NUMBER.fullmatch(clean(text).strip("$ "))
    return None if found is None else _value(found)


def measured(text: str) -> bool:
    """Whether a text is a number alone or with a currency, a per cent sign or a unit of KNOWN_UNITS."""
    text = clean(text).strip("$ ")
    found = NUMBER.match(text)
    if found is None or _value(found) is None:
        return False
    rest = re.sub(r"\^?[23]$", "", text[found.end() :].strip().casefold())
    return not rest or re.sub(r"^(?:square|cubic|sq\.?|cu\.?) ", "", rest) in KNOWN_UNITS


def leading(text: str) -> str | None:
    """The value of the number that `text` gives as its answer; None if it gives no number, or several.

    A unit or a remark may follow the number. A second number, an operator, a variable, `or`, or anything else that
    changes the meaning may not. The last side of an equation counts.
    """
    if SIMPLE.fullmatch(text.strip()):
        return str(Fraction(text.strip()))
    if re.search(r"\d!+\s?(?:\$|\\[)\]]|[-+*/^=\d])", text[:LONGEST]):  # elsewhere `!` only ends a sentence
        text = text[:LONGEST].replace("!", " factorial ")
    text = re.sub(r"^[\s$]*\|(\d[\d.,/]{0,30})\|", r"\1", clean(text))
    text = as_digits(re.sub(r"^[\s$]*<([^<>=]{1,40})>", r"\1", text).lstrip(" \t*_:\"'([{"))
    if NONE.fullmatch(text):
        return "0"
    text = DOLLARS_AND_CENTS.sub(_with_cents, BELOW_ZERO.sub(r"-\1", text))
    return next((value for side in _sides(text) if (value := _only(side)) is not None), None)


def _only(text: str) -> str | None:
    """The value of the first number in `text`, unless the text around it shows that it is not the whole answer."""
    found = STARTS.search(text)
    if found is None or (value := _value(found)) is None:
        return None
    before = text[: found.start()]
    said = list(COPULA.finditer(before))
    if BAD_BEFORE.search(before[said[-1].start() :] if said else before) or re.search(r"\\[a-z]", before):
        return None
    return value if _stands_alone(text, found, value) else None


def result(line: str) -> str | None:
    """The result of the equation at the end of a line, such as `6 * 7 = 42` or `... = $42 in total.`, or None."""
    text = _last(clean(line).split("=")).strip()
    found = NUMBER.match(text)
    if found is None or not UNITS.fullmatch(text, found.end()):
        return None
    value = _value(found)
    return value if value is not None and _stands_alone(text, found, value) else None


def _sides(text: str) -> list[str]:
    """The sides of an equation that may be its value, the likelier first; none if there are two equations."""
    text = re.split(r"\b(?:because|since)\b|(?<=[\w%])\s\((?!\s*(?:or|base|mod)\b)", text, maxsplit=1)[0]
    first, *others = text.split("=")
    if any(ANOTHER.search(side) for side in others[:-1]):
        return []
    last = _last([first, *others])
    if last and others and NUMBER.fullmatch(first.strip(" .$*")):
        return [last.lstrip(), first]  # `42 = 6 * 7`, `5 = x`
    return [last.lstrip() if others else first]


def _last(sides: list[str]) -> str:
    """The last side of an equation, or the last without a % (`3/5 = 60%`); empty if two are different numbers."""
    numbers = [(side, value) for side in sides if (value := _measure(side)) is not None]
    bare = [one for one in numbers if not re.search(r"%|per ?cent", one[0])] or numbers
    for (_, one), (side, other) in itertools.pairwise(bare):
        places = len(side.partition(".")[2].rstrip(". "))
        if one != other and str(round(Fraction(one), places)) != other:  # 22/7 = 3.14 is rounded
            return ""
    return bare[-1][0] if len(bare) < len(numbers) and sides[-1] == numbers[-1][0] else sides[-1]


def _measure(side: str) -> str | None:
    """The value of a side that is a number, with or without a unit."""
    side = BEFORE_SIDE.split(side)[-1].strip(" .$*")
    found = NUMBER.match(side)
    return _value(found) if found and UNITS.fullmatch(side, found.end()) else None


def _stands_alone(text: str, found: re.Match[str], value: str) -> bool:
    """Whether nothing behind the number changes it."""
    rest = ASIDE.sub(lambda aside: "" if not aside["share"] or _counts(text, found) else aside[0], text[found.end() :])
    if LEFT_OVER.match(rest):
        return False
    rest = re.sub(r"^ ?(?:[ap]\.? ?m\b\.?|o'clock\b)", "", rest, flags=re.IGNORECASE)
    word = re.match(r" ?([^\W\d_]+)", rest)
    if word and len(word[1]) == 1 and word[1] not in UNIT_LETTERS and not re.match(r" an? [a-z]", rest):
        return False
    if re.match(r"[^\W\d_]+\d*(?<![23])\d", rest):  # 0x1F, 0b101
        return False
    rest = re.sub(r"(?<=[^\W\d_])\^?-?[1-9]\b", "", rest)  # the power of a unit
    end = REMARK.search(rest)
    rest = rest[: end.start()] if end else rest
    if re.search(r"\\[a-z]|[√^|<>]", rest) or SECOND.search(rest) or re.search(r",\s*[a-z]\w?\s*[=<>]", rest):
        return False
    if any(str(other) != value for other in values(rest)):
        return False
    return all(_value(other) == value for other in STARTS.finditer(rest))


def _counts(text: str, found: re.Match[str]) -> bool:
    """Whether the number is a count and not a share: `25 of the 30`, but not `25% of the 30`."""
    return found[0].strip().isdigit() and not re.match(r"\s*(?:%|per\s?cent|times)", text[found.end() :])


def _value(found: re.Match[str]) -> str | None:
    if len(found[0]) > DIGITS:
        return None
    try:
        if found["alone"]:
            value = Fraction(10) ** int(found["alone"])
        elif found["whole"]:
            value = int(found["whole"]) + Fraction(int(found["num"]), int(found["den"]))
        else:
            value = _plain(found["a"]) / (_plain(found["b"]) if found["b"] else 1)
    except ZeroDivisionError:
        return None
    if power := found["exp"] or found["power"]:
        value *= Fraction(10) ** int(power)
    if found["scale"] or found[0][-1] in "kKM":
        value *= MULTIPLIERS[(found["scale"] or ("million" if found[0][-1] == "M" else "k")).casefold()]
    negative = ("-" in found["sign"]) != bool(found["sign2"])
    written = str(-value if negative else value)
    return written if len(written) <= DIGITS else None


def _plain(digits: str) -> Fraction:
    digits, _, repeated = re.sub("[, ']", "", digits).rstrip("⟩").partition("⟨")
    value = Fraction(digits.removesuffix(".") or 0)
    if repeated:
        value += Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** len(digits.partition(".")[2]))
    return value


def _with_cents(found: re.Match[str]) -> str:
    """2 dollars and 50 cents as $2.50."""
    cents = as_digits(found[3])
    return f"${found[1] or found[2]}.{int(cents):02}" if re.fullmatch(r"\d\d?", cents) else found[0]


def _repeated(found: re.Match[str]) -> str:
    """0.1666... as one sixth; other decimals with an ellipsis become text that is not a number."""
    again = re.search(r"(\d+?)\1+$", found[1])
    return f"{found[1][: again.start()]}⟨{again[1]}⟩" if again else f"{found[1]}\\dots "


def _fraction(found: re.Match[str]) -> str:
    r"""\frac{7}{2} as 7/2, with its sign in front, or a space that separates it from a whole number."""
    top, bottom = found[1], found[2]
    sign = "-" if top.startswith("-") != bottom.startswith("-") else ""
    return f"{sign}{top.lstrip('-')}/{bottom.lstrip('-')}" if sign else f" {top.lstrip('-')}/{bottom.lstrip('-')}"
