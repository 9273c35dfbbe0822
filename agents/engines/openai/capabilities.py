"""The request features that a server supports, learnt from its refusals. Makes no calls.

OpenAI-compatible servers differ in the features they support. `ServerCapabilities` first assumes that a server supports
all of them. A feature is disabled for all later requests when a refused request is answered without it.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from agents.engines.base import Turn
from agents.engines.chat import merge_system
from agents.engines.openai.options import Feature
from broker.work_messages import Sampling

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
"""The substitute for each feature, in the order of tries for a server that does not say what it refuses."""

UNKNOWN = r"not (supported|permitted|allowed|recognized)|un(supported|known|recognized|expected)"
"""Text next to the name of an unknown parameter, as opposed to one with a value out of range."""
REFUSALS: dict[Feature, re.Pattern[str]] = {
    "continuation": re.compile(r"\b(continue_final_message|add_generation_prompt)\b", re.I),
    "prefill": re.compile(
        r"prefill|prefix|(last|final) (role|message)|must end with|conversation roles must alternate", re.I
    ),
    "system": re.compile(
        r"(system|developer) (role|message|prompt|instruction)|\broles?\b.{0,30}\bsystem\b|roles must alternate", re.I
    ),
    "max_tokens": re.compile(
        rf"\bmax_completion_tokens\b|({UNKNOWN}).{{0,30}}\bmax_tokens\b|\bmax_tokens\b.{{0,30}}({UNKNOWN})", re.I
    ),
    "stream": re.compile(r"\bstream(ing)?\b", re.I),
    **{name: re.compile(rf"\b{name}\b", re.I) for name in ("top_k", "seed", "stream_options", "top_p", "temperature")},
}
SEEDS = 1 << 31
"""Upper limit of seeds: some servers read them as 32 bits."""


class ServerCapabilities:
    """The features of a server.

    Args:
        omit: features that are never used.
        note: called with each feature that is disabled.
    """

    def __init__(self, omit: Iterable[Feature] = (), note: Callable[[str], None] = lambda feature: None) -> None:
        self.reports_end = True
        """Whether its streams report their end."""
        self._without: set[Feature] = set(omit)
        self._note = note

    def supports(self, feature: Feature) -> bool:
        """Whether the server supports a feature, as far as known."""
        return feature not in self._without

    def disable(self, feature: Feature, why: str) -> None:
        """Disable a feature from now on, with one note."""
        if feature not in self._without:
            self._without.add(feature)
            log.warning("the server takes no %s, so %s (%s)", feature, INSTEAD[feature], why)
            self._note(feature)

    def assume_no_end(self) -> None:
        """From now on, count a stream that just closes as complete."""
        self.reports_end = False
        log.warning("the server does not say that an answer ends: one that breaks off is not noticed")
        self._note("finish_reason")

    def body(
        self, turns: Sequence[Turn], begun: str, sampling: Sampling, seed: int, without: Collection[Feature] = ()
    ) -> dict[str, Any]:
        """Build the body of a chat completion, except the model's name, also without the features in `without`."""

        def supports(feature: Feature) -> bool:
            return self.supports(feature) and feature not in without

        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        if not supports("system"):
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
        if supports("stream"):
            wished["stream_options"] = {"stream_options": {"include_usage": True}}
        if begun and supports("prefill"):
            messages.append({"role": "assistant", "content": begun})
            # Servers with chat templates start a new turn unless these fields say to continue.
            wished["continuation"] = {"continue_final_message": True, "add_generation_prompt": False}
        body: dict[str, Any] = {"messages": messages}
        body["max_tokens" if supports("max_tokens") else "max_completion_tokens"] = sampling.max_tokens
        for feature, fields in wished.items():
            if supports(feature):
                body |= fields
        return body


class FeatureSearch:
    """Search for the feature that makes a server refuse a request.

    The request is tried unchanged once more, since a refusal may be temporary; then without each named feature, then
    without several. When a try is answered, the features that it left out are disabled for all later requests.

    Args:
        capabilities: the known features of the server.
        at_start: a refusal that names no feature may mean any; one that names features is believed at once.
    """

    def __init__(self, capabilities: ServerCapabilities, *, at_start: bool = False) -> None:
        self.without: frozenset[Feature] = frozenset()
        """The features that the next try leaves out."""
        self._capabilities = capabilities
        self._at_start = at_start
        self._guessing = False
        self._needed: frozenset[Feature] = frozenset()
        """Without these features, the server refuses the request for another reason."""
        self._suspects: list[Feature] = []
        self._tried: set[frozenset[Feature]] = set()
        self._refusal = ""

    def refused(self, body: dict[str, Any], refusal: str) -> bool:
        """Choose what the next try leaves out; return False if nothing is left to try."""
        self._refusal = refusal
        used = [feature for feature in INSTEAD if holds(body, feature) or feature in self.without]
        named = [feature for feature in used if REFUSALS[feature].search(refusal)]
        left_out = self.without - self._needed
        if left_out and left_out.isdisjoint(named) and (named or not self._guessing):
            # The reason has changed, so keep these features out and continue the search from here.
            self._needed, self._suspects, self._guessing = self.without, [], False
        if named and self._at_start:
            self._tried.add(self._needed)
        if not named and self._at_start:
            self._guessing = True
            named = [feature for feature in used if feature != "max_tokens"]
        self._suspects += [f for f in named if f not in self._needed and f not in self._suspects]
        alone = [self._needed | {feature} for feature in self._suspects]
        several = [self._needed | set(self._suspects[:n]) for n in range(2, len(self._suspects) + 1)]
        for plan in (self._needed, *alone, *several) if self._suspects else ():
            if plan not in self._tried:
                self._tried.add(plan)
                self.without = plan
                return True
        return False

    def answered(self) -> None:
        """Disable the features that the answered try left out."""
        for feature in self.without:
            why = f"asked without {feature} the server answers" if self._guessing else self._refusal
            self._capabilities.disable(feature, why)


def holds(body: dict[str, Any], feature: Feature) -> bool:
    """Whether a body uses a feature."""
    match feature:
        case "continuation":
            return "continue_final_message" in body
        case "prefill":
            return bool(body["messages"][-1]["role"] == "assistant")
        case "system":
            return any(message["role"] == "system" for message in body["messages"])
    return feature in body
