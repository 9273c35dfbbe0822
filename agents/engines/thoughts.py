"""Separate the thoughts of reasoning models from their answers.

Thoughts are not part of an answer: they are not graded, taught or trained on. They stand between an opening and a
closing mark (`<think>...</think>` and similar), in one or more blocks, at the beginning of a text or of a line or
sentence in it. A closing mark without an opening one ends thoughts that a chat template opened. An opening mark within
a sentence, a mark in quotes and a closing mark before punctuation are text: an answer may explain HTML.
"""

import re
from typing import Literal, NamedTuple

import msgspec

from agents.engines.base import Completion
from broker.work_messages import Usage

TAGS = ("think", "thinking", "thought", "thoughts", "seed:think")
CLOSED_BY = {
    **{f"<{tag}>": f"</{tag}>" for tag in TAGS},
    "[THINK]": "[/THINK]",  # Magistral
    "<|begin_of_thought|>": "<|end_of_thought|>",  # Sky-T1, OpenThinker
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A
    "◁think▷": "◁/think▷",  # Kimi
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",  # gpt-oss
}
"""Closing marks by opening mark."""
OPENING = "<think>"
SPECIAL_TOKENS = frozenset({*CLOSED_BY, *CLOSED_BY.values(), "<|channel|>", "<|message|>"})
"""Marks, or parts of marks: these tokens stay in a decoded text, even if the tokenizer calls them special."""

_OPENING, _CLOSING = ("|".join(map(re.escape, marks)) for marks in (CLOSED_BY, CLOSED_BY.values()))
MARK = re.compile(
    rf"([`'\"])(?:{_OPENING}|{_CLOSING})\1"
    rf"|(?P<opening>{_OPENING})|(?P<closing>{_CLOSING})(?![.,;:!?)](?:\s|\Z))",
    re.IGNORECASE,
)
"""The first alternative is text about a mark."""
LATER = re.compile(rf"(?:(?<=\n)|(?<=[.!?:]\s))(?:{_OPENING})", re.IGNORECASE)
"""An opening mark within an answer."""
OPENED = re.compile(rf"({_OPENING})\s*\Z", re.IGNORECASE)
GRANITE = re.compile(r"\s*Here(?: is|'s) my thought process:(?:.*?(Here(?: is|'s) my response:)|.*)", re.I | re.S)
"""Granite 3.2 uses sentences instead of marks."""
AROUND_ANSWER = re.compile(
    r"\A\s*<\|(?:begin_of_solution|START_RESPONSE)\|>|<\|(?:end_of_solution|END_RESPONSE)\|>\s*\Z", re.IGNORECASE
)
FinishReason = Literal["stop", "length"]


class Parts(NamedTuple):
    """A text in its two parts."""

    thoughts: str
    answer: str
    """Empty if the thoughts have no end."""


def split(text: str, finish_reason: FinishReason = "stop") -> Parts:
    """Split a text into thoughts and answer. `finish_reason` is `length` if the text is cut off."""
    first = _end_of_thoughts(text, finish_reason)
    end = len(text) if first is None else first
    thoughts, answer = [text[:end]], []
    while later := LATER.search(text, end):
        length = _end_of_thoughts(text[later.start() :], finish_reason)
        if length is None and finish_reason == "stop":
            break  # The answer mentions a mark, and closes nothing.
        answer.append(text[end : later.start()])
        end = len(text) if length is None else later.start() + length
        thoughts.append(text[later.start() : end])
    if not any(thoughts):
        return Parts("", text)
    return Parts("".join(thoughts), AROUND_ANSWER.sub("", "".join([*answer, text[end:]])))


def _end_of_thoughts(text: str, finish_reason: FinishReason) -> int | None:
    """Return the index at which the thoughts at the beginning end; None if they do not end."""
    # Without the second sentence, the first one may come from any model.
    if (granite := GRANITE.match(text)) and (granite[1] or finish_reason == "length"):
        return granite.end()
    depth = end = last_closing = 0
    for mark in MARK.finditer(text):
        if mark["opening"]:
            if depth == 0 and text[end : mark.start()].strip():
                break
            depth += 1
        elif mark["closing"]:
            depth, last_closing = max(0, depth - 1), mark.end()
            end = end if depth else last_closing
    if depth == 0:
        return end
    # Thoughts may mention an opening mark without closing it. In a text that was cut off, they may also continue.
    return last_closing if last_closing > end and finish_reason == "stop" else None


def completion(text: str, begun: str, usage: Usage, *, keep: bool) -> Completion:
    """Return a model's text as the completion of a prompt.

    Args:
        text: the answer, with or without its beginning.
        begun: that beginning; models repeat it after their thoughts.
        usage: `thought_tokens` counts the thoughts that a server sent apart from the text.
        keep: leave thoughts in the text.
    """
    thoughts, answer = split(text, usage.finish_reason)
    if keep or not thoughts:
        return Completion(text, usage)
    if MARK.sub("", thoughts).strip():  # Models with thinking turned off leave an empty block.
        # An estimate: tokens in proportion to characters.
        tokens = max(1, round(usage.completion_tokens * len(thoughts) / len(text)))
        usage = msgspec.structs.replace(usage, thought_tokens=max(usage.thought_tokens, tokens))
    return Completion(without_begun(answer, begun), usage)


def begins_inside(text: str) -> bool:
    """Whether a text begins within thoughts that the prompt opened."""
    first = next((mark for mark in MARK.finditer(text) if mark["opening"] or mark["closing"]), None)
    return first is not None and bool(first["closing"])


def without_begun(text: str, begun: str) -> str:
    """Remove the beginning from an answer that repeats it, with its bold type or heading."""
    return re.sub(rf"\A[\s*#_]*{re.escape(begun)}[*_]*", "", text) if begun else text


def opened(prompt: str) -> str:
    """Return the mark with which a chat template opened thoughts at the end of a prompt; empty if there is none."""
    mark = OPENED.search(prompt)
    return mark[1] if mark else ""


def closing(prompt: str) -> str:
    """Return the text that closes thoughts opened at the end of a prompt; empty if none are open."""
    mark = opened(prompt).lower()
    return next((f"\n{closing}\n\n" for opening, closing in CLOSED_BY.items() if opening.lower() == mark), "")
