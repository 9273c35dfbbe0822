"""A running batch of one causal language model: rows join, get a token per step, and leave.

All new tokens of a step, whole prompts and single tokens alike, pass through the model as one flat sequence without
padding; only attention distinguishes rows. Each row has a slot for its keys and values (agents/engines/local/slots.py).
Keys and values of recent prompts are cached (agents/engines/local/prefixes.py), so a prompt computes only what follows
its longest cached prefix. A row with a given text is scored in one step and leaves. agents/engines/local/attention.py
has the attention, agents/engines/local/sampling.py chooses the tokens.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from agents.engines.local.attention import AttentionPlan
from agents.engines.local.prefixes import PrefixCache, Tokens, shared
from agents.engines.local.sampling import choose
from agents.engines.local.slots import Slots, out_of_memory, release_cached_memory
from broker.work_messages import Sampling

PREFILL = 2048
"""Most new prompt tokens in one step, unless a single prompt is longer."""
SCORED = 512
"""Most given tokens that are scored in one step, unless a single text has more: each needs logits over the whole
vocabulary."""
PART = 64
"""Number of scored tokens that are converted to float32 at once."""
WORTH_WAITING = 16
"""A prompt waits a step for another one that joins if it then finds at least this many more cached tokens."""

RECOVERY = 100
"""After a lack of memory one more row may run after every so many steps, since others may have freed theirs. If memory
lacks again, one step in so many is computed twice, and all tokens of one row. Which rows run together decides no text,
except by rounding."""


class BatchRow:
    """A running completion, or a text to score."""

    def __init__(self, tokens: list[int], sampling: Sampling, seed: int, given: Sequence[int] = ()) -> None:
        """`given`: score these tokens after `tokens`, and sample none."""
        self.given = tuple(given)
        self.logprob = float("nan")
        """Mean log-probability of the given tokens, in nats."""
        tokens = [*tokens, *self.given[:-1]]
        self.tokens = tokens
        """Prompt and completion."""
        self.prompt_tokens = len(tokens)
        self.known: Tokens = np.asarray(tokens[:-1], dtype=np.int64)
        """The tokens before the last one of the prompt: the slot holds them whenever the row has one new token."""
        self.sampling = sampling
        self.held = 0
        """Number of tokens with keys and values in the slot."""
        self.cached = 0
        """Number of prompt tokens that came from the prefix cache."""
        generator = torch.Generator().manual_seed(seed)
        self.draws: list[float] = torch.rand(sampling.max_tokens, generator=generator, dtype=torch.float64).tolist()
        """One uniform number per token to come; they depend only on the seed, not on the other rows."""

    @property
    def logits_wanted(self) -> int:
        """Number of last tokens for which the model must compute logits."""
        return len(self.given) or 1

    @property
    def prompt(self) -> list[int]:
        """The tokens that other rows may share: all but the text to score."""
        return self.tokens[: self.prompt_tokens - self.logits_wanted + 1]

    @property
    def completion(self) -> list[int]:
        """The tokens drawn so far."""
        return self.tokens[self.prompt_tokens :]


class Batch:
    """The running rows and their slots: row i has slot i."""

    def __init__(self, model: Any, *, capacity: int, memory: int, prefix_memory: int) -> None:
        """`memory`, `prefix_memory`: bytes for the slots and for the prefix cache."""
        self.rows: list[BatchRow] = []
        self._model = model
        self._slots = Slots(model, capacity, memory)
        self._prefixes = PrefixCache(prefix_memory)
        self._prefix_memory = prefix_memory
        self._steps = 0
        """Number of steps since memory lacked."""

    def use(self, model: Any, weights: str) -> None:
        """Compute from now on with this model of the same shapes, and with the cache of these weights.

        `model`: None frees the old model until the next call.
        """
        assert not self.rows, "rows of two models in one batch"  # noqa: S101
        self._model, self._prefixes.weights = model, weights

    def join(self, waiting: list[BatchRow]) -> list[BatchRow]:
        """Move rows from `waiting` into the batch, in order, as many as fit into the slots and one step."""
        joined: list[BatchRow] = []
        leaders: list[Tokens] = []
        new_tokens = scored = 0
        for row in list(waiting):
            length, room = len(row.tokens), row.prompt_tokens + row.sampling.max_tokens
            if not self._slots.fits(len(self.rows), room):
                break
            found, parts = self._prefixes.find(row.tokens)
            found = min(found, length - row.logits_wanted)
            tokens = np.asarray(row.prompt, dtype=np.int64)
            if any(shared(other, tokens) >= min(found + WORTH_WAITING, len(tokens) - 1) > found for other in leaders):
                continue
            scored += len(row.given)
            if joined and (new_tokens + length - found > PREFILL or scored > SCORED):
                break
            try:
                self._slots.reserve(room, [row.held for row in self.rows])
            except (RuntimeError, MemoryError) as error:
                if not (self.rows and out_of_memory(error)):
                    raise
                self._slots.keep_block()  # it waits until the others have left
                break
            self._slots.write(len(self.rows), parts, found)
            row.held = row.cached = found
            self.rows.append(row)
            waiting.remove(row)
            joined.append(row)
            if length * self._slots.per_token <= self._prefix_memory:
                leaders.append(tokens)
            new_tokens += length - found
        return joined

    def relieve(self, waiting: list[BatchRow]) -> BatchRow | None:
        """After a lack of memory, run fewer rows; every RECOVERY steps one more may run again.

        The last row goes back to `waiting`, where it keeps its tokens. A row that runs alone, or would, is tried again
        without cached prompts. Returns one that lacks memory nevertheless: it cannot be computed.
        """
        self._steps = 0
        dropped = len(self.rows) < 2 and self._prefixes.drop()
        release_cached_memory()
        if dropped:
            return None
        if not self.rows:
            if self._slots.capacity == 1:
                return waiting.pop(0)
            self._slots.halve()
        elif len(self.rows) == 1:
            return self.rows[0]
        else:
            row = self.rows[-1]
            self.leave(row)
            row.held = row.cached = 0
            waiting.insert(0, row)
            self._slots.capacity = len(self.rows)
        return None

    def step(self) -> None:
        """Compute one more token, or the score, of every row. If that fails, the rows are as they were before."""
        held = [row.held for row in self.rows]
        try:
            self._step()
        except BaseException:
            for row, tokens in zip(self.rows, held, strict=True):
                row.held = tokens
            raise
        self._steps += 1
        if self._steps % RECOVERY == 0:
            self._slots.recover()

    def _step(self) -> None:
        joined = [(slot, row) for slot, row in enumerate(self.rows) if not row.completion]
        logits = self.logits()
        completed: list[tuple[int, BatchRow]] = []
        end = 0
        for row in self.rows:
            begin, end = end, end + row.logits_wanted
            if row.given:
                row.logprob = mean_logprob(logits[begin:end], row.given)
            else:
                completed.append((begin, row))
        if completed:
            rows = [row for _, row in completed]
            drawn = logits if len(rows) == len(logits) else logits[[index for index, _ in completed]]
            for row, token in zip(rows, choose(drawn, rows), strict=True):
                row.tokens.append(token)
        # Last, so that a step that lacks memory leaves no prompt here, or `relieve` would drop it again and again.
        for slot, row in joined:
            self._prefixes.add(row.prompt, self._slots.all[slot, ..., : len(row.prompt), :])

    def leave(self, row: BatchRow) -> None:
        """Remove a row; the last row moves into its slot."""
        slot, last = self.rows.index(row), len(self.rows) - 1
        if slot != last:
            held = self.rows[last].held
            self._slots.all[slot, ..., :held, :] = self._slots.all[last, ..., :held, :]
            self.rows[slot] = self.rows[last]
        self.rows.pop()

    def logits(self) -> torch.Tensor:
        """Return logits [wanted of all rows, vocabulary] after each row's last tokens; then slots hold all tokens."""
        slots = self._slots.all
        device, plan = slots.device, AttentionPlan(self.rows, slots)
        tokens = [token for row in self.rows for token in row.tokens[row.held :]]
        ends = np.cumsum([len(row.tokens) - row.held for row in self.rows])
        kept = np.concatenate([range(end - row.logits_wanted, end) for end, row in zip(ends, self.rows, strict=True)])
        output = self._model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=plan.positions[None],
            use_cache=False,
            logits_to_keep=torch.from_numpy(kept).to(device),
            slots=slots,
            plan=plan,
        )
        for row in self.rows:
            row.held = len(row.tokens)
        logits: torch.Tensor = output.logits[0]
        return logits


def mean_logprob(logits: torch.Tensor, tokens: Sequence[int]) -> float:
    """Return the mean log-probability in nats of `tokens` under `logits` [token, vocabulary]."""
    total = 0.0
    for begin in range(0, len(tokens), PART):
        # In parts, since float32 logits take as much memory again as the vocabulary for each token.
        part = logits[begin : begin + PART].float()
        picked = torch.tensor(tokens[begin : begin + PART], device=part.device)[:, None]
        # Summed in float64 on the CPU: Apple GPUs have none.
        total += float((part.gather(1, picked)[:, 0] - part.logsumexp(1)).cpu().double().sum())
    return total / len(tokens)
