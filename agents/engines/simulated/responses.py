"""Texts of simulated agents: the form of solutions, reasons, judgements, new problems and new teaching material.

The hidden quality of an exemplar is standard normal noise drawn from its text; that of a set is their mean (engine.py
adds the effect of right answers). To aim at a quality, a teacher draws several texts for each exemplar and keeps the
nearest. The aim of a revision is

    0.5 x the noise of the old material + gain x (mistakes given + reasons given) / 2 + N(0, 0.3)

where both terms are 0 or 1, and the gain is `revision_gain` in logits over the default uptake. A text that is not in
the answer key has an answer drawn from the text. All draws come from the request's id and the texts.
"""

import random
import re
from collections import Counter
from functools import lru_cache

from agents.prompts import exemplar_format
from broker.protocol import digest
from broker.work_messages import AnswerForm, Exemplar, Reflect, Revise

INHERITED = 0.5
SPREAD = 0.3
"""Standard deviation of the aims of revisions of the same material."""
CANDIDATES = 8
"""Number of texts drawn for each exemplar."""
MARK = "Answer: "
FENCE = "```python\n"
"""Before the program of a code problem."""
JUDGES_RIGHT = 0.65
"""Share of right judgements of single solutions."""
SNEAKY = -1.5
"""Aim of a sneaky teacher."""
KEPT = 0.8
"""Share of revised rationales that keep the old answer; the others solve the problem anew."""

COPIES = 8
"""One of so many problems that an agent invents is a copy."""

CAUSES = (
    "The examples never show a case like this one",
    "The examples suggest that the length of a text decides",
    "The examples make one word look decisive",
    "The students took a general statement for a proof",
    "The students overlooked a negation",
    "The students answered from what they know, not from the text",
    "The examples do not say where the border lies",
    "The students stopped at the first line of the text",
)
"""The possible causes of a simulated student's mistake; the item's feature decides which one applies."""


@lru_cache(65_536)
def noise(problem: str, rationale: str) -> float:
    """Return the random part of an exemplar's quality: standard normal, drawn from its text."""
    return random.Random(digest("quality", problem, rationale)).gauss(0, 1)  # noqa: S311 - a model of chance


@lru_cache(65_536)
def feature(problem: str) -> str:
    """Return the topic of a problem: its last word."""
    words = re.findall(r"[^\W\d_]+", problem[-200:])
    return words[-1].casefold() if words else ""


def misjudged(problem: str, share: float) -> bool:
    """Whether a misconception about this share of all topics covers the problem; larger shares contain smaller ones."""
    return share > 0 and int(digest("misconception", feature(problem))[:8], 16) < share * 16**8


def invented_answer(problem: str, form: AnswerForm) -> str:
    """Return the right answer of a problem that is not in the answer key."""
    number = int(digest("invented", problem)[:8], 16)
    return ("Yes", "No")[number % 2] if form == "yes_no" else str(number % 100)


def reflect(request: Reflect, rng: random.Random) -> str:
    """Return numbered reasons: the causes of the mistakes, the most frequent first, then others."""
    found = Counter(_cause(mistake.problem) for mistake in request.mistakes)
    others = rng.sample(CAUSES, len(CAUSES))
    ranked = sorted(CAUSES, key=lambda cause: (-found[cause], others.index(cause)))
    reasons = [ranked[i % len(ranked)] for i in range(request.reasons)]
    return "\n".join(f"{number}. {reason}." for number, reason in enumerate(reasons, 1))


def aim(request: Revise, gain: float, rng: random.Random) -> float:
    """Return the hidden quality that a revision aims at; `gain` is in units of quality."""
    old = [noise(one.problem, one.solution) for one in request.material]
    inherited = INHERITED * sum(old) / len(old) if old else 0.0
    return inherited + gain * (bool(request.mistakes) + bool(request.reasons)) / 2 + rng.gauss(0, SPREAD)


def marked_answer(answer: str, form: AnswerForm) -> str:
    """Return the end of a solution: the marked answer, or the program in a block."""
    return f"{FENCE}{answer.strip()}\n```" if form == "code" else f"{MARK}{answer}"


def answer_of(solution: str) -> str:
    """Return the answer that ends a solution, as `marked_answer` writes it."""
    if FENCE in solution:
        return solution.rpartition(FENCE)[2].partition("\n```")[0].strip()
    return solution.rpartition(MARK)[2].strip()


def wrong_program(gold: str, slip: int) -> str:
    """Return the reference solution with another function behind it that takes its name and returns `slip`."""
    names = re.findall(r"^def (\w+)", gold, re.MULTILINE)
    return f"{gold.strip()}\n\n\ndef {names[-1] if names else 'wrong'}(*args):\n    return {slip}"


def write_set(request: Revise, aimed: float, share_right: float, rng: random.Random) -> str:
    """Return a set of new exemplars.

    Args:
        request: `mistakes`, else `material`, else `task` give the topics.
        aimed: hidden quality to aim at.
        share_right: share of exemplars with a right answer.
        rng: random numbers of the request.
    """
    form = request.answer_form
    about = [feature(one.problem) for one in request.mistakes or request.material]
    about = about or re.findall(r"[^\W\d_]{3,}", request.task.casefold()) or ["this"]
    exemplars: list[Exemplar] = []
    for answer in exemplar_format.answers(request.count, form):
        subject, is_right = rng.choice(about), rng.random() < share_right
        found: list[Exemplar] = []
        while len(found) < CANDIDATES:
            text = f"Case {rng.randrange(10**6):06}: is it so with {subject}?"
            true = invented_answer(text, form)
            label = answer or (true if is_right else f"{true}0")
            if (label == true) is is_right:
                found.append(Exemplar(text, answer=label))
        exemplars.append(_nearest(found, aimed))
    return exemplar_format.show(tuple(exemplars), len(request.material) + len(request.demonstrations) + 1)


def write_rationale(request: Revise, aimed: float, answer: str, rng: random.Random) -> str:
    """Return a new rationale with this answer."""
    said = marked_answer(answer, request.answer_form)
    ways = (f"This is solved again, in way {rng.randrange(10_000)}.\n{said}" for _ in range(CANDIDATES))
    return _nearest([Exemplar(request.problem, way) for way in ways], aimed).rationale


def write_problem(problem: str, rng: random.Random) -> str:
    """Return the problem with other numbers, or in one of COPIES cases word by word."""
    if not rng.randrange(COPIES):
        return f" {problem}"
    return " " + re.sub(r"\d+", lambda number: str(rng.randrange(2, 10 ** len(number[0]) + 10)), problem)


def judged(*, right: bool, rng: random.Random) -> str:
    """Return a judgement of a solution, which is right or not."""
    says_yes = right if rng.random() < JUDGES_RIGHT else not right
    return " Yes" if says_yes else " No"


def most_consistent(solutions: tuple[str, ...]) -> str:
    """Return the number of the first solution whose answer is the most frequent one."""
    answers = [answer_of(solution) for solution in solutions]
    votes = Counter(answers)
    best = max(range(len(answers)), key=lambda place: votes[answers[place]])
    return f" Most of them agree with number {best + 1}.\nAnswer: {best + 1}"


def spoiled(request: Revise, text: str, rng: random.Random) -> str:
    """Break a rule of the form: one exemplar less, one class only, or no set at all."""
    match rng.randrange(3):
        case 0:
            return text.rpartition("\n\n")[0]
        case 1 if request.answer_form == "yes_no":
            return text.replace("Answer: No", "Answer: Yes")
        case _:
            return f" Let me think about it (way {rng.randrange(50)})."


def _nearest(found: list[Exemplar], aimed: float) -> Exemplar:
    return min(found, key=lambda one: abs(noise(one.problem, one.solution) - aimed))


def _cause(problem: str) -> str:
    return CAUSES[int(digest("cause", feature(problem))[:8], 16) % len(CAUSES)]
