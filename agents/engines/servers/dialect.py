"""What one server takes of what we would like to say, found out from what it refuses.

OpenAI-compatible servers agree on the path and differ in the rest. A `Dialect` starts by believing that a server
takes everything; every refusal that names something is learnt once, for all later requests. It makes no calls.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

from agents.engines.base import Turn
from agents.engines.chat import merge_system
from agents.engines.servers.options import Feature
from broker.messages import Sampling

log = logging.getLogger(__name__)

INSTEAD: dict[Feature, str] = {
    "continuation": "the begun answer is sent without saying that it is to be continued",
    "prefill": "answers are asked for from their beginning, and a repeated beginning is cut off",
    "top_k": "it samples without top_k",
    "seed": "it draws as it likes: another run draws other texts",
    "stream_options": "tokens are counted by what comes",
    "top_p": "it samples without top_p",
    "temperature": "it samples at its own temperature, where greedy decoding was asked for too",
    "system": "instructions stand at the head of the first question",
    "max_tokens": "the limit is called max_completion_tokens",
    "stream": "answers come in one piece",
}
"""What is done where a server does not take something, in the order in which it is given up where a server does not
say what it refuses."""

REFUSALS: dict[Feature, re.Pattern[str]] = {
    "continuation": re.compile(r"\b(continue_final_message|add_generation_prompt)\b", re.I),
    "prefill": re.compile(
        r"prefill|prefix|(last|final) (role|message)|must end with|conversation roles must alternate", re.I
    ),
    "system": re.compile(r"system (role|message|prompt)|roles?\W+system|roles must alternate", re.I),
    "max_tokens": re.compile(r"\bmax_completion_tokens\b", re.I),
    "stream": re.compile(r"\bstream(ing)?\b", re.I),
    **{name: re.compile(rf"\b{name}\b", re.I) for name in ("top_k", "seed", "stream_options", "top_p", "temperature")},
}
SEEDS = 1 << 31
"""Seeds stay below it: some servers read them as 32 bits."""


class Dialect:
    """What one server takes."""

    def __init__(self, omit: Iterable[Feature] = ()) -> None:
        """`omit`: what is not tried at all."""
        self._without: set[Feature] = set(omit)
        self._guessed: list[Feature] = []

    def takes(self, feature: Feature) -> bool:
        """Whether the server takes it, for all we know."""
        return feature not in self._without

    def give_up(self, feature: Feature, why: str) -> None:
        """Do without a feature from now on, and note it, once."""
        if feature not in self._without:
            self._without.add(feature)
            log.warning("the server takes no %s, so %s (%s)", feature, INSTEAD[feature], why)

    def body(self, turns: Sequence[Turn], begun: str, sampling: Sampling, seed: int) -> dict[str, Any]:
        """The body of a chat completion, but for the model's name."""
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        if not self.takes("system"):
            messages = merge_system(messages)
        wished: dict[Feature, dict[str, Any]] = {
            "temperature": {"temperature": sampling.temperature},
            "seed": {"seed": seed % SEEDS},
            "stream": {"stream": True},
        }
        if sampling.top_k:
            wished["top_k"] = {"top_k": sampling.top_k}
        if sampling.top_p < 1:
            wished["top_p"] = {"top_p": sampling.top_p}
        if self.takes("stream"):
            wished["stream_options"] = {"stream_options": {"include_usage": True}}
        if begun and self.takes("prefill"):
            messages.append({"role": "assistant", "content": begun})
            # Servers built on chat templates begin another turn unless told to go on with this one.
            wished["continuation"] = {"continue_final_message": True, "add_generation_prompt": False}
        body: dict[str, Any] = {"messages": messages}
        body["max_tokens" if self.takes("max_tokens") else "max_completion_tokens"] = sampling.max_tokens
        for feature, fields in wished.items():
            if self.takes(feature):
                body |= fields
        return body

    def learn(self, body: dict[str, Any], refusal: str) -> bool:
        """Give up what `refusal` names of what `body` held; False: it names nothing of it."""
        named = [feature for feature, name in REFUSALS.items() if name.search(refusal) and holds(body, feature)]
        for feature in named:
            self.give_up(feature, refusal)
        return bool(named)

    def guess(self, body: dict[str, Any]) -> bool:
        """Give up one thing of what `body` held, where no refusal says which; False: there is nothing left."""
        for feature in INSTEAD:
            if feature != "max_tokens" and holds(body, feature):
                self._without.add(feature)
                self._guessed.append(feature)
                return True
        return False

    def note_guesses(self) -> None:
        """The server answers now: note what was given up on the way."""
        for feature in self._guessed:
            log.warning("asked without %s the server answers, so %s", feature, INSTEAD[feature])
        self._guessed.clear()


def holds(body: dict[str, Any], feature: Feature) -> bool:
    """Whether a body makes use of a feature."""
    match feature:
        case "continuation":
            return "continue_final_message" in body
        case "prefill":
            return bool(body["messages"][-1]["role"] == "assistant")
        case "system":
            return any(message["role"] == "system" for message in body["messages"])
    return feature in body
