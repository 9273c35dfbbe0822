r"""Normal forms of answers in words, and of yes and no.

Answers in words are compared as a whole. Case, quotes, articles, full stops and LaTeX commands do not count; everything
else does, so that "St. Louis" is not "St. Paul" and "A, C" is not "A, B".
"""

import re

ROUNDS = 20
"""Most layers of quotes, brackets and the like that are removed."""

WRAPPED = re.compile(
    r"\\(?:boxed|fbox|text|textbf|textit|textrm|textsf|mathrm|mathbf|mathit|mathsf|mbox|emph)\s?\{([^{}]*)\}"
)
QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2011": "-",
                        "\u2010": "-", "\u2212": "-", "\xa0": " ", "\u202f": " "})  # fmt: skip
EDGES = " \t\n\"'`*_.,:;!?$"
PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}
TITLES = "dr mr mrs ms mx st prof jr sr mt ft no vs gen col sgt capt lt rev hon inc ltd co corp etc ave rd"
SHORT = frozenset(TITLES.split())
"""Abbreviations: a full stop behind them does not end a sentence."""
LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore|then),?\s+)?(?:(?:the|my|our)\s+)?(?:(?:final|correct|right|best|only)\s+)?"
    r"(?:answer|option|choice)\s*(?:is|would be|must be|:)\s*:?\s+"
    r"|(?:option|choice|answer|letter)\s+(?=\(?[a-z]\b\)?$)|(?:it|this|that)(?:\s+is|\s+will\s+be|'s)\s+(?=\S)",
    re.IGNORECASE,
)
"""Words before an answer in a sentence."""
SENTENCE = re.compile(r"(?<=[^\W\d_]{2})\.\s+(?=[^\s\d]\S*\s+\S)")
REASON = re.compile(r",?\s+(?:(?:because|since)\s|(?:explanation|reason|note)\s*:)", re.IGNORECASE)
MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
INITIALS = re.compile(r"\b(?:[^\W\d_]\.\s?)+[^\W\d_]\b\.?(?!\w)")
DATE = re.compile(
    rf"(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<month>{MONTHS})"
    rf"|(?P<month2>{MONTHS}) (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?)(?:,? (?P<year>\d{{3,4}}))?"
)
LABEL = re.compile(r"\(?([a-z])(?:[):]\s*|\s+-\s+(?=[^\W\d_]{2}))(\S.*)")
"""A choice with its label: `B) twelve`."""
SEVERAL = re.compile(
    r"(?:and|or|&|,|/|also|plus|not)(?!\w)|(?:.*[\W_])?[a-z][):](?!\w)"
    r"|.*(?:\b(?:and|or)\b|[,&/]) ?\(?[a-z](?:\)?$|\.\s)"
)
"""Another choice behind a choice."""
CHOSEN = re.compile(
    r"(?:(?:option|choice|answer)\s+)?\(?([a-z])\)?\s+is\s+"
    r"(?:correct|right|true|(?:the|my|our)\s+(?:(?:correct|right|best|final|only)\s+)?(?:answer|option|choice|one))"
)
"""A choice as the subject of a sentence: `B is correct`."""
GLOSS = r"\((?!(?:or|and|also|but|possibly|perhaps|maybe|alternatively)\b|[a-z]\))[^()]*\)"
"""A remark in brackets."""
SURELY = re.compile(
    r"(?:(?:so|thus|hence|therefore|then),?\s+|(?:i|we)\s+(?:think|believe|conclude|say)\s+(?:that\s+)?)"
)
DOUBT = re.compile(
    r"[,;:?]|\b(?:not|no|non\w*|nobody|nothing|never|neither|nor|cannot|few|hardly|rarely|impossible|un\w*ly"
    r"|un(?:clear|known|true|sure|certain)|doubt\w*|deny|denies|false|wrong|incorrect|mistaken|opposite|if|unless|until"
    r"|whether|that|or|either|but|except|although|though|may|might|could|would|maybe|perhaps|possibly|says?|said|claims?"
    r"|thinks?|believes?|guess|suppose|assume|hope|wonder|pretend|what|who|where|when|which|how|why)\b|n't\b"
)
"""Words before `is` that make a sentence doubtful or negative."""
NAMED = re.compile(r"([a-z])\.\s+(\S.*)")
"""A choice with its label, or a name: `B. twelve`, `J. Brahms`."""
COUNTRY_NAMES = """
usa us uk uae america england scotland wales argentina australia austria belgium brazil canada chile china
colombia cuba denmark egypt ethiopia finland france germany greece hungary iceland india indonesia iran iraq ireland
israel italy japan kenya mexico morocco netherlands nigeria norway pakistan peru philippines poland portugal russia
spain sweden switzerland thailand turkey ukraine vietnam
"""
LONG_NAMES = (
    "united states",
    "united states of america",
    "united kingdom",
    "new zealand",
    "south africa",
    "south korea",
)
COUNTRIES = frozenset(COUNTRY_NAMES.split()) | {*LONG_NAMES, *(f"the {name}" for name in LONG_NAMES), "the netherlands"}
"""Behind a comma they locate a place."""
BEHIND = re.compile(r"\s*[,;:!?.\u2014-]\s+|\s*\u2014\s*")
REMARK = re.compile(
    r"(?:which|who|whose|that|as|so|i\.e|namely|where|when|not|if|by|from|in|on|at|of|for|with|it|he|she|they|this|i|hope)\b|"
    r"(?:the|an?|his|her|its|their)\b(?=(?:\s+\S+){2})|the (?:city|town|capital|country|state)$"
)
"""The start of a remark behind a comma or semicolon; items of a list do not start like this."""

CHOICE_AND_TEXT = re.compile(r"([a-z]),\s+(?!.*\b(?:or|and|nor|not|but|maybe|perhaps|possibly)\b)[^\W\d_]{2}[^,;/&]*")
"""A label and the text of the choice behind a comma: `C, red`."""
WEEKDAY = re.compile(r"(?:mon|tues|wednes|thurs|fri|satur|sun)day")
KIN = (
    r"(?:great[ -])*(?:step|half[ -])?(?:grand)?(?:mother|father|brother|sister|aunt|uncle|niece|nephew|cousin|son"
    r"|daughter|wife|husband|parent|child|mom|dad)"
)
RELATIVE = re.compile(rf"{KIN}(?:[ -]in[ -]law)?")
OWNER = rf"(?:his|her|their|my|our|your|the|(?!{KIN}'s)[\w-]+'s) "
"""The possessive before a relative."""

TRUTH = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
POLAR = re.compile(r"\b(yes|no|true|false)\b", re.IGNORECASE)
EITHER = re.compile(r"(?:yes|no|true|false)\s*(?:/|or|\|)\s*(?:yes|no|true|false)\b", re.IGNORECASE)
JOINED = re.compile(
    r"[\W_]*(?:(?:and|or|but|also|wait|actually|then|maybe)\b[\W_]*)*(yes|no|true|false)\b", re.IGNORECASE
)
PREAMBLE = re.compile(
    r"(?:[\W_]|\b(?:the|a|an|my|our|final|correct|answer|option|choice|is|it|its|this|that|statement|claim"
    r"|argument|conclusion|sentence|text|i|think|say|would|will|be|believe|conclude|so|thus|hence|therefore|then|must|should"
    r"|definitely|certainly|clearly|obviously|absolutely|probably|of|course|without|any|no|doubt|problem|question|well|sure|verdict|result"
    r"|given|to|for|above|your|we|d|in|fact|indeed|all|things|considered|s)\b)*"
)
DENIES = re.compile(r"[ \t]+(?:way|chance)\b(?!\s+(?:to|of|for)\b)", re.IGNORECASE)
"""Words behind `no` that emphasize it."""
CONCLUDES = re.compile(
    r"(?:\b(?P<so>so|thus|hence|therefore|which means|but)\b[,:]?\s+|[,;:.]\s+)"
    r"(?:(?:(?:the|my|our)\s+)?(?:final\s+|correct\s+)?(?:answer|verdict)\s+is\s+|(?:it|this|that)(?:\s+is|'s)\s+)?"
    r"(?P<said>yes|no|true|false)[\W_]*$",
    re.IGNORECASE,
)
"""A conclusion at the end of an answer: `It does not follow, so no.`"""
THIS = r"(?:it|this|that|(?:the\s+)?(?:conclusion|claim|statement|argument))\s+"
VERDICT = re.compile(
    r"(?:^|\b(?:so|thus|hence|therefore)\b,?\s+)(?:"
    rf"(?P<no>(?:{THIS})?(?:cannot|can't|can\s+not)\s+be\s+(?:true|correct|the\s+case)|{THIS}(?:does\s+not|doesn't)\s+follow"
    rf"|{THIS}(?:is\s+not|isn't)\s+(?:the\s+case|correct|right)|(?:{THIS}is\s+)?(?:incorrect|wrong)"
    r"|(?:the\s+answer\s+is\s+)?not\s+(?:yes|correct)|nope|n)"
    rf"|{THIS}(?:logically\s+)?follows|{THIS}is\s+(?:right|the\s+case)|(?:{THIS}is\s+)?correct"
    r"|(?:the\s+answer\s+is\s+)?not\s+no|yeah|yep|y)[\W_]*$",
    re.IGNORECASE,
)
"""An answer or a conclusion in other words than yes and no."""
UNSURE = re.compile(
    r"^if\b|\bdepends\b|\b(?:maybe|perhaps|possibly|either|whether|not\s+(?:sure|certain|clear)|un(?:sure|certain|clear|known)"
    r"|(?:cannot|can't|could\s+not|couldn't|don't|do\s+not)\s+(?:say|tell|know|decide))\b",
    re.IGNORECASE,
)
NOUN_AFTER_NO = re.compile(
    r"[ \t]+(?!(?:it|its|it's|the|this|that|that's|these|those|they|there|he|she|we|you|i|because|since|as|for|not|all"
    r"|some|only|but|so|every|each|any|an?|if|does|is|because|means?|in|by|according|given|based)\b)[^\W\d_]",
    re.IGNORECASE,
)
"""A noun or adverb behind `no`, as in "no longer" and "no doubt"."""


def unwrapped(value: str) -> str:
    r"""`value` without `\text{...}`, boxes, dollars and bold marks."""
    value = re.sub(r"\\[()\[\]]|\*\*|__|`|(?<!\\)\$(?=\s*\\?[a-zA-Z(])|(?<=[\w}).])\$", "", value.translate(QUOTES))
    value = value.replace("\\$", "$").replace("\\%", "%").replace("\\&", "&").replace("\\#", "#").replace("\\ ", " ")
    for _ in range(8):
        value, times = WRAPPED.subn(r" \1 ", value)
        if not times:
            break
    return " ".join(value.split())


def phrase(value: str) -> str | None:
    """The normal form of an answer in words: the whole phrase without decoration and without the reason behind it."""
    for _ in range(ROUNDS):  # a removed layer may reveal another
        before, value = value, _bare(_first_sentence(unwrapped(value)))
        if value == before:
            break
    return value or None


def _first_sentence(value: str) -> str:
    value = REASON.split(value, maxsplit=1)[0]
    for end in SENTENCE.finditer(value):
        if re.split(r"[\W_]", value[: end.start()])[-1].casefold() not in SHORT:
            return value[: end.start()]
    return value


def _bare(value: str) -> str:
    value = value.strip(EDGES).casefold()
    value = LEAD.sub("", value, count=1) if LEAD.match(value) else value
    if chosen := CHOSEN.fullmatch(value):
        value = chosen[1]
    if len(value) > 1 and PAIRS.get(value[0]) == value[-1] and value[0] not in value[1:-1]:
        value = value[1:-1]
    elif value[:1] in PAIRS and not re.search(r"[\])}>]", value):
        value = value[1:]
    elif value[-1:] in PAIRS.values() and not re.search(r"[(\[{<]", value):
        value = value[:-1]
    value = INITIALS.sub(lambda run: re.sub(r"[.\s]", "", run[0]), value)
    value = re.sub(r"(?<=\w\w)\.(?=\s)", "", value)
    words = value.split()
    if len(words) > 1 and words[0] in ("a", "an", "the") and words[1] not in ("and", "or", "&"):
        words = words[1:]
    value = " ".join(words)
    if date := DATE.fullmatch(value):
        year = f" {date['year']}" if date["year"] else ""
        value = f"{date['month'] or date['month2']} {int(date['day'] or date['day2'])}{year}"
    return value


def group_key(value: str) -> str:
    """A key that phrases with the same answer share, whatever the gold answer is: the label of a choice, no remark."""
    if choice := _choice(value, LABEL):
        return choice[1]
    return _listed(re.sub(rf"\s+{GLOSS}$", "", value))


def says(answer: str, gold: str) -> bool:
    """Whether a phrase gives the gold phrase as its answer: alone, as a choice, in a sentence, or with a remark."""
    if len(gold) == 1 and (choice := CHOICE_AND_TEXT.fullmatch(answer)):
        return gold == choice[1]
    answer, gold = _listed(answer), _listed(gold)
    if RELATIVE.fullmatch(gold):
        answer = re.sub(rf"^(.* is )?{OWNER}(?={re.escape(gold)}\b)", r"\1", answer)
        answer = re.sub(rf"(?<={re.escape(gold)}) of (?!his|her|their|my|our|your|the)[\w-]+$", "", answer)
    if answer == gold:
        return True
    if choice := _choice(answer, LABEL) or _choice(answer, NAMED):
        return gold == choice[1] if len(gold) == 1 else gold == choice[2]
    if choice := _choice(gold, LABEL):
        return answer == choice[1]
    if re.fullmatch(rf"(?:on|in|at) (?:the )?{re.escape(gold)}", answer):
        return True
    if sentence := re.fullmatch(rf"(.+) is (?:(?:an?|the) )?{re.escape(gold)}", answer):
        return DOUBT.search(SURELY.sub("", sentence[1], count=1)) is None
    if not answer.startswith(gold):
        return False
    rest = answer[len(gold) :]
    if re.fullmatch(rf"\s+{GLOSS}", rest):
        return True
    behind = BEHIND.match(rest)
    if behind is None:
        return False
    remark = rest[behind.end() :]
    if WEEKDAY.fullmatch(gold) and DATE.fullmatch(remark):
        return True
    if remark in COUNTRIES:
        return ", " not in gold and gold not in COUNTRIES
    return (
        not re.search(r", |\b(?:or|could|maybe|perhaps|possibly|alternatively)\b", remark)
        and REMARK.match(remark) is not None
    )


def _choice(value: str, shape: re.Pattern[str]) -> re.Match[str] | None:
    """The match of a choice with its text; None if the phrase names two choices."""
    choice = shape.fullmatch(value)
    return choice if choice and not SEVERAL.match(choice[2]) else None


def _listed(value: str) -> str:
    """`value` with lists (red, green, and blue) and compounds (ice-cream) in one form."""
    value = re.sub(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})", " ", value)
    return re.sub(r"\s*[,;]\s*(?:and\s+)?|\s+(?:and|&)\s+", ", ", value)


def polarity(value: str) -> str | None:
    """`yes` or `no`, if an answer gives one of them and not the other; true and false count as yes and no."""
    value = re.sub(r"[\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff]", " ", unwrapped(value)).strip(
        " \t\"'([{<*_"
    )
    value = re.sub(r"^\(?(?:[A-Za-z]|\d{1,2})[).:]\s*(?=\S)", "", value).strip()
    if either := EITHER.match(value):  # The question again: `True or False: True`.
        asked = re.match(r"\s*[:?-]\s*", value[either.end() :])
        if asked is None:
            return None
        value = value[either.end() + asked.end() :]
    elif (question := re.match(r"[^.?!\n]{0,200}\?\s+(?=\S)", value)) is not None:
        value = value[question.end() :]
    verdict = VERDICT.search(value)
    if verdict and not POLAR.search(before := value[: verdict.start()]) and not UNSURE.search(before):
        return "no" if verdict["no"] else "yes"
    conclusion = CONCLUDES.search(value)
    first = next((found for found in POLAR.finditer(value) if not _of_a_noun(value, found)), None)
    if first is None:
        return None
    before = value[: first.start()]
    denied = re.search(r"(?:\bnot|n't)\s+$", before, re.IGNORECASE)
    if denied and first[1].casefold() in ("true", "false"):
        before = before[: denied.start()]
    else:
        denied = None
    if not PREAMBLE.fullmatch(before.casefold()):
        return _concluded(value, conclusion) if conclusion else None
    said = TRUTH[first[1].casefold()]
    other = JOINED.match(value, first.end())
    if other and not _of_a_noun(value, other) and TRUTH[other[1].casefold()] != said:
        return None
    if denied:
        said = "no" if said == "yes" else "yes"
    if conclusion and conclusion["so"] and conclusion["said"].casefold() in {"yes", "no"} - {said}:
        return None
    return said


def _of_a_noun(value: str, found: re.Match[str]) -> bool:
    """Whether a `no` belongs to the noun or adverb behind it."""
    no = found[1].casefold() == "no" and NOUN_AFTER_NO.match(value, found.end())
    return bool(no) and not DENIES.match(value, found.end())


def _concluded(value: str, conclusion: re.Match[str]) -> str | None:
    """The verdict of the conclusion, unless the text before it contradicts it or is unsure."""
    before, said = value[: conclusion.start()], TRUTH[conclusion["said"].casefold()]
    others = {TRUTH[one[1].casefold()] for one in POLAR.finditer(before) if one[1].casefold() in ("yes", "no")}
    return None if UNSURE.search(before) or others - {said} else said
