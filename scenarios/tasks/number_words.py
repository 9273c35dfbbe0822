"""Reads English number words: "forty-two", "minus one hundred and five". Owns no digits and no units."""

import re

SMALL = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
UNITS = {word: n for n, word in enumerate(SMALL.split())}
ROUND = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
TENS = {word: 10 * n for n, word in enumerate(ROUND, start=2)}
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
WORD = "|".join([*UNITS, *TENS, "hundred", *SCALES])
PHRASE = re.compile(
    rf"(?P<minus>(?:minus|negative)\s+)?(?P<words>(?:{WORD})\b(?:[\s-]+(?:and\s+)?(?:{WORD})\b){{0,24}})", re.IGNORECASE
)
FRACTIONS = {"half": 2, "third": 3, "quarter": 4, "fifth": 5}
FRACTION = re.compile(rf"(?:an?|one)[\s-]+({'|'.join(FRACTIONS)})\b(?!\s+(?:of|an?)\b)", re.IGNORECASE)


def as_digits(text: str) -> str:
    """`text` with the number words that it begins with as digits; as it is where it begins otherwise."""
    if found := FRACTION.match(text):
        return f"1/{FRACTIONS[found[1].casefold()]}{text[found.end() :]}"
    found = PHRASE.match(text)
    value = None if found is None else _value(re.findall(rf"\b(?:{WORD})\b", found["words"].casefold()))
    if found is None or value is None:
        return text
    rest = re.sub(
        r"^\s+and\s+an?\s+(half|third|quarter)\b", lambda part: f" 1/{FRACTIONS[part[1].casefold()]}",
        text[found.end() :], flags=re.IGNORECASE,
    )  # fmt: skip
    return f"{'-' if found['minus'] else ''}{value}{rest}"


def _value(words: list[str]) -> int | None:
    """Their value, or None where they are several numbers ("two three") or none ("hundred")."""
    total = group = 0
    last, small = 10**15, 1000
    """The smallest scale so far, and what the next part of its group must stay under."""
    for word in words:
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
