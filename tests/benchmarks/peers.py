"""Exam answers per second of a class, beside what people would use instead for the same exams.

Each round starts every way anew, in another order, and gives it the same exams, greedy, in bfloat16 (llama.cpp: the
4-bit weights that bfloat16 was made of) and on all cores. A round has problems of its own. The start of an engine is
said apart. Of a class, the time runs from its first exam request to its last exam answer in class.db; of the others,
from the first prompt to the last answer. Tokens are those of the answers' texts, counted alike for all.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents import engines
from agents.engines.chat import Chat
from agents.engines.local.loading import chat_of
from agents.models.catalogue import ensure
from tests.benchmarks.peers_class import Attended, Exams, Work, attend, prompt_text, teacher
from tests.benchmarks.peers_others import Job, Outcome, PeerError, Way, ways

OURS = "class, "
GOALS = {"reference": 10.0, "bare vLLM": 0.97}
"""A class's exam answers per second over those of the way."""
BUSY_GOAL = 1.05
"""Seconds of a whole class over the student's busy seconds."""
SIMULATED = "engine: simulated"


class Measured(NamedTuple):
    """One way in one round."""

    answers_per_s: float
    tokens_per_s: float
    tokens_per_answer: float
    start_s: float
    pss_mb: float
    same: float
    """Share of the answers whose text is that of the reference."""
    over_busy: float = 0.0
    """Of a class: its whole time over the busy seconds of its student."""


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks peers` prints."""
    model = "smollm2-135m-instruct" if quick else "qwen2.5-coder-0.5b-instruct"
    work = Work(1, 2, 9, 24, seed) if quick else Work(4, 4, 9, 120, seed)
    found = measure(ensure(model).folder, work, rounds=2 if quick else 3, others=ways(model))
    return {
        "name": "peers",
        "ratio": max((middle for middle, _, _ in found["times the reference"].values()), default=0.0),
        "goal": GOALS["reference"],
        "better": "higher",
        "detail": {"model": model, "work": work._asdict(), **found},
    }


def measure(folder: Path, work: Work, *, rounds: int, others: Mapping[str, Way]) -> dict[str, Any]:
    """Rounds of all ways that can run here."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = ["transformers", *(["vllm"] if engines.vllm_build() == "cpu" else [])]
    left_out = {name: way.missing for name, way in others.items() if way.missing}
    if len(local) == 1:
        left_out[f"{OURS}vllm"] = "the CPU build of vLLM is not installed (docs/engines.md)"
    names = [*(name for name in others if name not in left_out), *(OURS + engine for engine in local)]
    found: dict[str, list[Measured]] = {name: [] for name in names}
    chat = chat_of(folder)
    with teacher() as url:
        for number in range(rounds):
            asked = work._replace(seed=work.seed + number)
            exams = attended(folder, url, asked, "").answers
            answers: dict[str, list[str]] = {}
            took: dict[str, tuple[Attended | Outcome, float]] = {}
            for name in names:
                try:
                    if name.startswith(OURS):
                        one = attended(folder, url, asked, name.removeprefix(OURS))
                        answers[name], took[name] = texts_of(exams, one.answers), (one, one.exams_s)
                    else:
                        outcome = others[name].answer(job_of(folder, chat, exams, work.max_tokens, threads))
                        answers[name], took[name] = [text.strip() for text in outcome.texts], (outcome, outcome.seconds)
                # AssertionError: a class that ended otherwise than it should.
                except (PeerError, AssertionError) as error:
                    left_out[name] = f"it failed in round {number + 1}: {str(error)[-300:]}"
                    continue
                seconds = took[name][1]
                print(f"round {number + 1}: {name}: {len(answers[name]) / seconds:.2f} EAs/s", file=sys.stderr)
            for name in took:
                found[name].append(measured(chat, *took[name], answers[name], answers.get("reference", [])))
            names = [name for name in names[1:] + names[:1] if name not in left_out]
    kept = {name: found[name] for name in found if name not in left_out}
    return report(kept, left_out) | {"threads": threads, "load": os.getloadavg()}


def job_of(folder: Path, chat: Chat, exams: Exams, max_tokens: int, threads: int) -> Job:
    """The exams as all but a class get them."""
    texts = [[prompt_text(chat, turns) for turns in one] for one in exams.values()]
    longest = max(len(chat.encode(turns[:-1], turns[-1].text)) for one in exams.values() for turns in one)
    return Job(folder, texts, max_tokens, threads, longest + max_tokens)


def texts_of(exams: Exams, answers: Exams) -> list[str]:
    """A class's answers to these exams, in their order.

    Raises:
        PeerError: it was asked something else, or an exam has no answer.
    """
    given = {turns: text for one in answers.values() for turns, text in one.items()}
    asked = [turns for one in exams.values() for turns in one]
    if missing := len(set(asked) ^ set(given)):
        raise PeerError(f"{missing} of {len(asked)} exams differ, or have no answer")
    return [given[turns] for turns in asked]


def attended(folder: Path, url: str, work: Work, engine: str) -> Attended:
    """A class on this engine; empty: a class of a simulated student, which is asked the same."""
    student = f"model: {folder}, engine: {engine}, gpu: none, dtype: bfloat16" if engine else SIMULATED
    with tempfile.TemporaryDirectory() as place:
        return attend(Path(place), url, work, student)


def measured(
    chat: Chat, took: Attended | Outcome, seconds: float, answers: Sequence[str], standard: Sequence[str]
) -> Measured:
    """The figures of one way in one round."""
    tokens = sum(len(chat.tokenizer.encode(text, add_special_tokens=False)) for text in answers)
    return Measured(
        answers_per_s=len(answers) / seconds,
        tokens_per_s=tokens / seconds,
        tokens_per_answer=tokens / len(answers),
        start_s=took.start_s,
        pss_mb=took.pss_mb,
        same=statistics.mean(a == b for a, b in zip(answers, standard, strict=True)) if standard else 0.0,
        over_busy=took.class_s / took.busy_s if isinstance(took, Attended) else 0.0,
    )


def report(found: Mapping[str, Sequence[Measured]], left_out: Mapping[str, str]) -> dict[str, Any]:
    """Medians over the rounds, ratios of the classes to the other ways, and which goals are met."""
    ours = [name for name in found if name.startswith(OURS)]
    ratios = {
        (own, name): spread([a.answers_per_s / b.answers_per_s for a, b in zip(found[own], rounds, strict=True)])
        for own in ours
        for name, rounds in found.items()
    }
    goals = []
    for name, goal in GOALS.items():
        # Bare vLLM is compared with the class on vLLM.
        own = [one for one in ours if name != "bare vLLM" or one == f"{OURS}vllm"]
        best = max((ratios[one, name][0] for one in own if name in found), default=None)
        goals.append(said(f"times {name}, answers/s", best, goal, best is not None and best >= goal))
    for one in ours:
        busy = spread([each.over_busy for each in found[one]])[0]
        goals.append(said(f"{one}: whole time over the student's busy time", busy, BUSY_GOAL, busy <= BUSY_GOAL))
    return {
        "table": "\n" + "\n".join(table(found, ratios, ours)),
        "goals": goals,
        "left out": dict(left_out),
        "times the reference": {one: ratios[one, "reference"] for one in ours if "reference" in found},
        "rounds": {name: [tuple(round(x, 3) for x in each) for each in rounds] for name, rounds in found.items()},
    }


def said(what: str, value: float | None, goal: float, met: bool) -> str:
    if value is None:
        return f"{what}: not measured (goal {goal:g})"
    return f"{what}: {value:.2f} (goal {goal:g}: {'met' if met else 'not met'})"


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and greatest."""
    return round(statistics.median(values), 3), round(min(values), 3), round(max(values), 3)


def table(
    found: Mapping[str, Sequence[Measured]],
    ratios: Mapping[tuple[str, str], tuple[float, float, float]],
    ours: Sequence[str],
) -> list[str]:
    """Lines of a table in Markdown."""
    heads = ["way", "EAs/s", "tokens/s", "tokens/EA", *(f"{one}: times" for one in ours), "start, s", "PSS, GB", "same"]
    lines = [heads, ["---"] * len(heads)]
    for name, rounds in found.items():
        lines.append(
            [
                name,
                between(spread([each.answers_per_s for each in rounds]), 2),
                between(spread([each.tokens_per_s for each in rounds]), 0),
                f"{statistics.median(each.tokens_per_answer for each in rounds):.1f}",
                *(between(ratios[one, name], 2) for one in ours),
                f"{statistics.median(each.start_s for each in rounds):.0f}",
                f"{statistics.median(each.pss_mb for each in rounds) / 1000:.1f}",
                f"{statistics.median(each.same for each in rounds):.0%}",
            ]
        )
    return [f"| {' | '.join(line)} |" for line in lines]


def between(values: tuple[float, float, float], digits: int) -> str:
    """A median with its range."""
    middle, least, greatest = (f"{value:.{digits}f}" for value in values)
    return f"{middle} ({least} to {greatest})"
