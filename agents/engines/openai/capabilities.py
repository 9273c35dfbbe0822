"""Which features of a request one server takes, found out from what it refuses.

OpenAI-compatible servers agree on the path and differ in the rest. A `ServerCapabilities` assumes that a server takes
everything. A feature is given up, for all later requests, when the same request is answered without it. This file
makes no calls.
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
"""What is done where a server does not take something, in the order in which it is given up where a server does not
say what it refuses."""

UNKNOWN = r"not (supported|permitted|allowed|recognized)|un(supported|known|recognized|expected)"
"""Before or after the name of a parameter that is not too large or too small, but not known at all."""
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
"""Seeds stay below it: some servers read them as 32 bits."""


class ServerCapabilities:
    """What one server takes.

    Args:
        omit: what is not tried at all.
        note: called with each feature that is given up.
    """

    def __init__(self, omit: Iterable[Feature] = (), note: Callable[[str], None] = lambda feature: None) -> None:
        self.reports_end = True
        """Whether its streams say that they end."""
        self._without: set[Feature] = set(omit)
        self._note = note

    def supports(self, feature: Feature) -> bool:
        """Whether the server takes it, for all we know."""
        return feature not in self._without

    def disable(self, feature: Feature, why: str) -> None:
        """Do without a feature from now on, and note it, once."""
        if feature not in self._without:
            self._without.add(feature)
            log.warning("the server takes no %s, so %s (%s)", feature, INSTEAD[feature], why)
            self._note(feature)

    def assume_no_end(self) -> None:
        """From now on a stream that closes without a word is a whole answer."""
        self.reports_end = False
        log.warning("the server does not say that an answer ends: one that breaks off is not noticed")
        self._note("finish_reason")

    def body(
        self, turns: Sequence[Turn], begun: str, sampling: Sampling, seed: int, without: Collection[Feature] = ()
    ) -> dict[str, Any]:
        """The body of a chat completion, but for the model's name; `without`: what this one also does not use."""

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
            # Servers built on chat templates begin another turn unless told to go on with this one.
            wished["continuation"] = {"continue_final_message": True, "add_generation_prompt": False}
        body: dict[str, Any] = {"messages": messages}
        body["max_tokens" if supports("max_tokens") else "max_completion_tokens"] = sampling.max_tokens
        for feature, fields in wished.items():
            if supports(feature):
                body |= fields
        return body


class FeatureSearch:
    """One request that the server refuses: which feature is it that the server does not take?

    It is tried once more as it was, since the refusal may pass; then without each feature alone that the refusal
    names, then without several. What the answered try went without is given up for all later requests.

    Args:
        capabilities: what is known of the server.
        at_start: a refusal that names nothing may mean any feature, and one that names some is believed.
    """

    def __init__(self, capabilities: ServerCapabilities, *, at_start: bool = False) -> None:
        self.without: frozenset[Feature] = frozenset()
        """What the next try does not use."""
        self._capabilities = capabilities
        self._at_start = at_start
        self._guessing = False
        self._needed: frozenset[Feature] = frozenset()
        """Without these the server complains of something else."""
        self._suspects: list[Feature] = []
        self._tried: set[frozenset[Feature]] = set()
        self._refusal = ""

    def refused(self, body: dict[str, Any], refusal: str) -> bool:
        """Choose what the next try goes without; False: there is nothing left to try."""
        self._refusal = refusal
        used = [feature for feature in INSTEAD if holds(body, feature) or feature in self.without]
        named = [feature for feature in used if REFUSALS[feature].search(refusal)]
        left_out = self.without - self._needed
        if left_out and left_out.isdisjoint(named) and (named or not self._guessing):
            # It complains of something else now, so what was left out stays out, and the search goes on from there.
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
        """The server answers this try: give up what it went without."""
        for feature in self.without:
            why = f"asked without {feature} the server answers" if self._guessing else self._refusal
            self._capabilities.disable(feature, why)


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
