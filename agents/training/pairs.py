"""Convert preference pairs to tokens, exactly those of later requests and answers.

The prompt is that of a `Teach`, with the model's chat template, up to and including the begun turn. Texts are data: a
control token spelled out in one never becomes the token.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from agents import prompts
from agents.engines.base import EngineFailure
from agents.engines.chat import Chat, common_prefix
from agents.training.spec import TrainingFailed
from broker.protocol import digest
from broker.work_messages import PreferencePair, Recipe, Sampling, Teach


class TokenPair(NamedTuple):
    """One pair in tokens. Answers end with the token that ends a turn, unless they were cut off."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longer answer."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def read(path: Path, expected: str = "") -> tuple[list[PreferencePair], str]:
    """Read the pairs of a JSON-lines file, and the SHA-256 of its bytes.

    Args:
        path: the file.
        expected: SHA-256 of its bytes; empty: any.

    Raises:
        TrainingFailed: the file is missing, empty or not the expected one, or a line is no pair.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingFailed(f"no preference pairs: {path}: {error.strerror}", for_good=True) from error
    found = hashlib.sha256(content).hexdigest()
    if expected and found != expected:
        raise TrainingFailed(f"{path} is not the file that was asked for: its SHA-256 is another", for_good=True)
    pairs = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            pairs.append(msgspec.json.decode(line, type=PreferencePair))
        except msgspec.DecodeError as error:
            raise TrainingFailed(f"{path}, line {number}: no preference pair: {error}", for_good=True) from error
    if not pairs:
        raise TrainingFailed("no pair to train on: the file of preference pairs is empty", for_good=True)
    return pairs, found


def encode(pairs: Sequence[PreferencePair], chat: Chat, persona: str, max_tokens: int) -> tuple[list[TokenPair], int]:
    """Return the pairs that fit into `max_tokens`, in tokens, and the number of others.

    Raises:
        TrainingFailed: no pair fits, or the model's chat template refuses them.
    """
    try:
        rows = [_row(pair, chat, persona) for pair in pairs]
    except EngineFailure as error:
        raise TrainingFailed(str(error), for_good=True) from error
    fitting = [row for row in rows if row.longest <= max_tokens]
    if not fitting:
        shortest = min(row.longest for row in rows)
        raise TrainingFailed(
            f"no pair to train on: all {len(rows)} are longer than {max_tokens} tokens, the shortest has {shortest}\n"
            "raise recipe.max_tokens (at most the model's context), or lower lesson.sampling.max_tokens",
            for_good=True,
        )
    return fitting, len(rows) - len(fitting)


def without_rejected(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """Put the chosen answer in place of the rejected one, for `sft`: a long rejected answer then excludes no pair."""
    return [replace(pair, rejected=pair.chosen, rejected_ended=pair.chosen_ended) for pair in pairs]


def order(rows: Sequence[TokenPair], recipe: Recipe) -> Iterator[TokenPair]:
    """Yield every row once per epoch, in an order that depends on seed and epoch."""
    for epoch in range(recipe.epochs):
        yield from (rows[index] for index in sorted(range(len(rows)), key=lambda i: digest(recipe.seed, epoch, i)))


def _row(pair: PreferencePair, chat: Chat, persona: str) -> TokenPair:
    # Sampling is part of the message, but not of the prompt.
    request = Teach(
        problem=pair.prompt,
        answer_form=pair.answer_form,
        demonstrations=pair.demonstrations,
        sampling=Sampling(),
    )
    turns = prompts.turns(request, persona)

    def answer_tokens(text: str, ended: bool) -> list[int]:
        tokens = chat.encode(turns, f"{prompts.BEGUN} {text.strip()}")
        return [*tokens, chat.end] if ended and chat.end is not None else tokens

    asked = chat.encode(turns, prompts.BEGUN)
    chosen = answer_tokens(pair.chosen, pair.chosen_ended)
    rejected = answer_tokens(pair.rejected, pair.rejected_ended)
    # A tokenizer may merge the end of the prompt with the answer, which begins where the tokens differ.
    shared = min(common_prefix(asked, chosen), common_prefix(asked, rejected))
    return TokenPair(asked[:shared], chosen[shared:], rejected[shared:])
