"""Break role marks in texts for servers, where `<|im_end|>` in a problem could end a turn.

A server puts texts into a chat template and may read a mark in them as a control token. Its tokenizer is unknown here,
so the marks of all known model families are broken. Roles in plain words (`USER:`) are not tokens and stay.
"""

import re
import unicodedata

_NAMES = (
    r"s|bos|eos|pad|unk|sep|cls|mask|sop|eop|im_start|im_end|endoftext|bom|eom|eoh|eoa"
    r"|(?:start|end|begin|beginning)_of_\w+|(?:start|end)_function_\w+|\w+_token|extra_id_\d+"
    r"|(?:reserved|special|unused)_?\d+"
    r"|think|thinking|tools?|tool_(?:call|response|output|result|use)s?|function_(?:call|response|result)s?|arg_(?:key|value)"
)
MARKS = re.compile(
    r"<\|[^\W\d][\w .:/+▁-]{1,63}\|>"  # <|im_end|>; after normalization also DeepSeek's, with other bars
    r'|<\|"\|>|<\|(?:turn|channel|tool|tool_call|tool_response|image|audio|think)>'
    r"|<(?:turn|channel|tool|tool_call|tool_response|image|audio|think)\|>"
    r"|\[\|/?[a-z_]+\|\]"  # [|assistant|]
    rf"|</?(?:\w+:)?(?:{_NAMES})>"
    r"|<<\s?/?sys\s?>>"
    r"|\[/?(?-i:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|MODEL_SETTINGS|ARGS|CALL_ID"
    r"|THINK|PREFIX|MIDDLE|SUFFIX|IMG|IMG_BREAK|IMG_END|BOS|EOS|PAD|UNK|CLS|SEP|MASK|gMASK|sMASK)\]"
    r"|\]~!?b\[|\]~b\]|\[e~\[",
    re.IGNORECASE,
)
INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Mn"})
"""Unicode categories that some tokenizers delete before they look for marks."""
PLAIN = re.compile(r"[\t\n\r\x20-\x7e]*")


def break_role_marks(text: str) -> tuple[str, int]:
    """Put a space after the first character of every role mark; return the text and the number of marks.

    Tokenizers may delete invisible characters, which would restore the mark, but none deletes a single space. Marks in
    other Unicode forms (fullwidth, with invisible characters in them) count, too.
    """
    seen, places = _as_tokenizers_see(text)
    broken: list[str] = []
    end = 0
    for match in MARKS.finditer(seen):
        start = places[match.start()] + 1
        broken.append(text[end:start])
        end = start
    return " ".join([*broken, text[end:]]), len(broken)


def _as_tokenizers_see(text: str) -> tuple[str, range | list[int]]:
    """Normalise `text`, drop invisible characters, and return the original index of each character."""
    if PLAIN.fullmatch(text):
        return text, range(len(text))
    seen: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for form in unicodedata.normalize("NFKD", character):
            if form in "\t\n\r" or unicodedata.category(form) not in INVISIBLE:
                seen.append(form)
                places.append(place)
    return "".join(seen), places
