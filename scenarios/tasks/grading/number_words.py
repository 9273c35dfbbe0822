"""Reads English number words: "forty-two", "two thirds", "a hundred and five"."""

import re

SMALL = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
UNITS = {word: n for n, word in enumerate(SMALL.split())}
ROUND = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
TENS = {word: 10 * n for n, word in enumerate(ROUND, start=2)}
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
MULTIPLIERS = {
    **SCALES, "hundred": 100, "dozen": 12, "k": 10**3, "mil": 10**6, "mln": 10**6, "mn": 10**6, "bn": 10**9,
    "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
"""Words and letters that multiply the digits before them."""
SCALE = "|".join(sorted(MULTIPLIERS, key=len, reverse=True))
PARTS = {
    "half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12, "fifteenth": 15, "sixteenth": 16, "twentieth": 20,
    "hundredth": 100, "thousandth": 1000,
}  # fmt: skip
"""The denominators of fractions in words, by the singular."""
PART = "|".join(PARTS)
WORD = "|".join([*UNITS, *TENS, "hundred", *SCALES])
PHRASE = re.compile(
    rf"\b(?:{WORD})\b(?:[\s-]+(?!and\s+[a-z]+[\s-]+(?:{PART}))(?:and\s+)?(?:{WORD})\b){{0,24}}", re.IGNORECASE
)
MINUS = re.compile(r"(?:minus|negative)\s+(?=\w)", re.IGNORECASE)
ONE = re.compile(
    rf"\ban?\s+(?=(?:hundred|dozen|{'|'.join(SCALES)}|{PART}|[a-z]{{2,20}}\s+and\s+an?\s+(?:{PART}))\b)", re.IGNORECASE
)
HALF = re.compile(r"half\b(?!\s+(?:past|as)\b)(?:(?:\s+of)?\s+an?\b)?", re.IGNORECASE)
ORDINAL = re.compile(rf"[\s-]+(?:first|second|{PART})\b", re.IGNORECASE)
"""An ordinal behind a round number: "twenty-fifth", "two hundred first"."""
COUNTED = re.compile(rf"(?<![\d.,/])(?:1[\s-]+({PART})|(\d{{1,12}})[\s-]+({PART})s)\b", re.IGNORECASE)
UNIT_AND_PART = re.compile(
    rf"(?<![\d.,/])(\d{{1,12}})\s+(?!(?:{SCALE})s?\b)([a-z]{{2,20}})\s+(and\s+an?\s+(?:{PART}))\b", re.IGNORECASE
)
"""A unit within a mixed number: `2 hours and a half`."""
AND_PARTS = re.compile(rf"(?<=\d)\s+and\s+(an?|[a-z]+|\d{{1,12}})[\s-]+({PART})s?\b", re.IGNORECASE)


def as_digits(text: str) -> str:
    """`text` with number words at its start written as digits, and `2 thirds` as 2/3."""
    minus = MINUS.match(text)
    words = text[minus.end() :] if minus else text
    if half := HALF.match(words):
        words = f"1/2{words[half.end() :]}"
    words = ONE.sub("one ", words, count=1) if ONE.match(words) else words
    found = PHRASE.match(words)
    value = None if found is None else _value(found[0])
    if found and value is not None:
        if value and value % 10 == 0 and ORDINAL.match(words, found.end()):
            return text
        words = f"{value}{words[found.end() :]}"
    elif minus:
        return text
    return ("-" if minus else "") + COUNTED.sub(_parts, mixed(words))


def mixed(text: str) -> str:
    """`text` with `2 and two thirds` as 2 2/3, `2 hours and a half` as 2 1/2 hours."""
    return AND_PARTS.sub(_and_parts, UNIT_AND_PART.sub(r"\1 \3 \2", text))


def values(text: str) -> list[int]:
    """The numbers written as words in `text`, without `one`, which is also a pronoun."""
    found = (_value(phrase[0]) for phrase in PHRASE.finditer(ONE.sub("one ", text)) if phrase[0].casefold() != "one")
    return [value for value in found if value is not None]


def _parts(found: re.Match[str]) -> str:
    return f"{found[2] or 1}/{PARTS[(found[1] or found[3]).casefold()]}"


def _and_parts(found: re.Match[str]) -> str:
    """The fraction of a mixed number; unchanged if the word before the part is not a number."""
    count = found[1].casefold()
    n = 1 if count in ("a", "an") else int(count) if count.isdigit() else UNITS.get(count)
    return found[0] if n is None else f" {n}/{PARTS[found[2].casefold()]}"


def _value(phrase: str) -> int | None:
    """The value of number words; None if they are several numbers ("two three") or none ("hundred")."""
    total = group = 0
    last, small = 10**15, 1000
    """The smallest scale so far, and the bound of the next number in its group."""
    for word in re.findall(rf"\b(?:{WORD})\b", phrase.casefold()):
        if word in SCALES:
            if not group or SCALES[word] >= last:
                return None
            total, group, last = total + group * SCALES[word], 0, SCALES[word]
            small = 1000
        elif word == "hundred":
            if not 0 < group < 100 or group % 10 == 0:
                return None
            group, small = group * 100, 100
        else:
            n = UNITS.get(word, TENS.get(word, 0))
            if group and (n >= small or not n):
                return None
            group, small = group + n, 10 if word in TENS else 1
    return total + group
