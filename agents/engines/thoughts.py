"""The thoughts of reasoning models: told apart from the answer by the marks that models put around them.

Thoughts are no part of an answer: they are not graded, taught or trained on. They stand between an opening and a
closing mark (`<think>...</think>` and the like), in one block or several, at the beginning of what a model says or of a
line or sentence in it. A closing mark that nothing opened ends thoughts that a chat template opened. An opening mark
within a sentence, a mark in quotes and a closing mark before punctuation are text: an answer may explain HTML. This
file knows no engine.
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
"""What opens thoughts, and what closes them."""
OPENING = "<think>"
SPECIAL_TOKENS = frozenset({*CLOSED_BY, *CLOSED_BY.values(), "<|channel|>", "<|message|>"})
"""Marks, or parts of marks: as tokens they stay in a decoded text, even where the tokenizer calls them special."""

_OPENING, _CLOSING = ("|".join(map(re.escape, marks)) for marks in (CLOSED_BY, CLOSED_BY.values()))
MARK = re.compile(
    rf"([`'\"])(?:{_OPENING}|{_CLOSING})\1"
    rf"|(?P<opening>{_OPENING})|(?P<closing>{_CLOSING})(?![.,;:!?)](?:\s|\Z))",
    re.IGNORECASE,
)
"""The first alternative is text about a mark."""
LATER = re.compile(rf"(?:(?<=\n)|(?<=[.!?:]\s))(?:{_OPENING})", re.IGNORECASE)
"""Opens thoughts within an answer."""
OPENED = re.compile(rf"({_OPENING})\s*\Z", re.IGNORECASE)
GRANITE = re.compile(r"\s*Here(?: is|'s) my thought process:(?:.*?(Here(?: is|'s) my response:)|.*)", re.I | re.S)
"""Granite 3.2 has sentences in place of marks."""
AROUND_ANSWER = re.compile(
    r"\A\s*<\|(?:begin_of_solution|START_RESPONSE)\|>|<\|(?:end_of_solution|END_RESPONSE)\|>\s*\Z", re.IGNORECASE
)
FinishReason = Literal["stop", "length"]


class Parts(NamedTuple):
    """What a model said, in its two parts."""

    thoughts: str
    answer: str
    """Empty where the thoughts have no end."""


def split(said: str, finish_reason: FinishReason = "stop") -> Parts:
    """Tell thoughts and answer apart. `finish_reason` is `length` where what was said is cut off."""
    first = _end_of_thoughts(said, finish_reason)
    end = len(said) if first is None else first
    thoughts, answer = [said[:end]], []
    while later := LATER.search(said, end):
        length = _end_of_thoughts(said[later.start() :], finish_reason)
        if length is None and finish_reason == "stop":
            break  # An answer speaks of a mark, and closes nothing.
        answer.append(said[end : later.start()])
        end = len(said) if length is None else later.start() + length
        thoughts.append(said[later.start() : end])
    if not any(thoughts):
        return Parts("", said)
    return Parts("".join(thoughts), AROUND_ANSWER.sub("", "".join([*answer, said[end:]])))


def _end_of_thoughts(said: str, finish_reason: FinishReason) -> int | None:
    """Where the thoughts at the beginning end; None: nowhere."""
    # Without its second sentence, the first one may be any model's words.
    if (granite := GRANITE.match(said)) and (granite[1] or finish_reason == "length"):
        return granite.end()
    depth = end = last_closing = 0
    for mark in MARK.finditer(said):
        if mark["opening"]:
            if depth == 0 and said[end : mark.start()].strip():
                break
            depth += 1
        elif mark["closing"]:
            depth, last_closing = max(0, depth - 1), mark.end()
            end = end if depth else last_closing
    if depth == 0:
        return end
    # Thoughts may speak of an opening mark without closing it. In a text that was cut off, they may as well go on.
    return last_closing if last_closing > end and finish_reason == "stop" else None


def completion(said: str, begun: str, usage: Usage, *, keep: bool) -> Completion:
    """What a model said, as the completion of a prompt.

    Args:
        said: the answer, with or without its beginning.
        begun: that beginning; models say it again after their thoughts.
        usage: `thought_tokens` counts the thoughts that a server sent apart from the text.
        keep: leave thoughts in the text.
    """
    thoughts, answer = split(said, usage.finish_reason)
    if keep or not thoughts:
        return Completion(said, usage)
    if MARK.sub("", thoughts).strip():  # Models that are told not to think leave an empty block.
        # Tokens are shared out by characters: an estimate.
        tokens = max(1, round(usage.completion_tokens * len(thoughts) / len(said)))
        usage = msgspec.structs.replace(usage, thought_tokens=max(usage.thought_tokens, tokens))
    return Completion(without_begun(answer, begun), usage)


def begins_inside(said: str) -> bool:
    """Whether it begins with thoughts that were opened before."""
    first = next((mark for mark in MARK.finditer(said) if mark["opening"] or mark["closing"]), None)
    return first is not None and bool(first["closing"])


def without_begun(text: str, begun: str) -> str:
    """An answer without its beginning, where the model said it again; bold type and headings go with it."""
    return re.sub(rf"\A[\s*#_]*{re.escape(begun)}[*_]*", "", text) if begun else text


def opened(prompt: str) -> str:
    """The mark at the end of a prompt with which a chat template opened thoughts; empty: there is none."""
    mark = OPENED.search(prompt)
    return mark[1] if mark else ""


def closing(prompt: str) -> str:
    """What closes the thoughts that a chat template opened at the end of a prompt; empty: it opened none."""
    mark = opened(prompt).lower()
    return next((f"\n{closing}\n\n" for opening, closing in CLOSED_BY.items() if opening.lower() == mark), "")
