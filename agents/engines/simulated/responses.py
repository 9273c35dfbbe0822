"""What simulated agents say besides answers: reasons, new teaching material, questions and explanations.

The hidden quality of an exemplar is standard normal noise drawn from its text, and that of a set their mean
(engine.py adds what a right answer is worth). So a teacher that wants a good set draws several texts for each
exemplar and keeps the one that comes nearest to its aim; nothing in a text tells how good it is, but to those who
know the theory. The aim of a revision is

    0.5 x the noise of the old material + gain x (mistakes given + reasons given) / 2 + N(0, 0.3)

with each of the two 0 or 1, and the gain `revision_gain` in logits over the default uptake. Texts that no answer
key holds have an answer all the same, drawn from the text. All is drawn from the request's id and the texts.
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
"""Standard deviation of what two revisions of the same material aim at."""
CANDIDATES = 8
"""Texts that are drawn for each exemplar."""
SNEAKY = -1.5
"""What a sneaky teacher aims at."""
KEPT = 0.8
"""Share of revised rationales that keep the old answer; the others solve the problem anew."""

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
"""All that can have misled a simulated student; which of them did, follows from the item's feature."""


@lru_cache(65_536)
def noise(problem: str, rationale: str) -> float:
    """Standard normal, drawn from the text of an exemplar: what makes it better or worse than others like it."""
    return random.Random(digest("quality", problem, rationale)).gauss(0, 1)  # noqa: S311 - a model of chance


@lru_cache(65_536)
def feature(problem: str) -> str:
    """What a problem has in common with others: its last word."""
    words = re.findall(r"[^\W\d_]+", problem[-200:])
    return words[-1].casefold() if words else ""


def misjudged(problem: str, share: float) -> bool:
    """Whether a misconception about this `share` of all features takes the problem in; larger shares hold smaller."""
    return int(digest("misconception", feature(problem))[:8], 16) < share * 16**8


def invented_answer(problem: str, form: AnswerForm) -> str:
    """The right answer of a problem that no key holds."""
    number = int(digest("invented", problem)[:8], 16)
    return ("Yes", "No")[number % 2] if form == "yes_no" else str(number % 100)


def reflect(request: Reflect, draw: random.Random) -> str:
    """Numbered reasons: the causes of these mistakes, the most frequent first, then others."""
    found = Counter(_cause(mistake.problem) for mistake in request.mistakes)
    others = draw.sample(CAUSES, len(CAUSES))
    ranked = sorted(CAUSES, key=lambda cause: (-found[cause], others.index(cause)))
    reasons = [ranked[i % len(ranked)] for i in range(request.reasons)]
    return "\n".join(f"{number}. {reason}." for number, reason in enumerate(reasons, 1))


def aim(request: Revise, gain: float, draw: random.Random) -> float:
    """The hidden quality that a revision of this material strives for; `gain` in units of quality."""
    old = [noise(one.problem, one.rationale) for one in request.material]
    inherited = INHERITED * sum(old) / len(old) if old else 0.0
    return inherited + gain * (bool(request.mistakes) + bool(request.reasons)) / 2 + draw.gauss(0, SPREAD)


def write_set(request: Revise, aimed: float, share_right: float, draw: random.Random) -> str:
    """A set of new exemplars.

    Args:
        request: `mistakes`, else `material`, else `task` say what the texts are about.
        aimed: hidden quality.
        share_right: of the exemplars, how many get their right answer.
        draw: for all that is drawn.
    """
    form = request.answer_form
    about = [feature(one.problem) for one in request.mistakes or request.material]
    about = about or re.findall(r"[^\W\d_]{3,}", request.task.casefold()) or ["this"]
    exemplars: list[Exemplar] = []
    for answer in exemplar_format.answers(request.count, form):
        subject, is_right = draw.choice(about), draw.random() < share_right
        found: list[Exemplar] = []
        while len(found) < CANDIDATES:
            text = f"Case {draw.randrange(10**6):06}: is it so with {subject}?"
            true = invented_answer(text, form)
            said = answer or (true if is_right else f"{true}0")
            if (said == true) is is_right:
                found.append(Exemplar(text, f"Answer: {said}"))
        exemplars.append(_nearest(found, aimed))
    return exemplar_format.show(tuple(exemplars), len(request.material) + len(request.demonstrations) + 1)


def write_rationale(request: Revise, aimed: float, answer: str, draw: random.Random) -> str:
    """A new rationale of the request's problem with this answer."""
    ways = (f"This is solved again, in way {draw.randrange(10_000)}.\nAnswer: {answer}" for _ in range(CANDIDATES))
    return _nearest([Exemplar(request.problem, way) for way in ways], aimed).rationale


def spoiled(request: Revise, text: str, draw: random.Random) -> str:
    """A set that breaks a rule: an exemplar short, or all of one class, or no set at all."""
    match draw.randrange(3):
        case 0:
            return text.rpartition("\n\n")[0]
        case 1 if request.answer_form == "yes_no":
            return text.replace("Answer: No", "Answer: Yes")
        case _:
            return f" Let me think about it (way {draw.randrange(50)})."


def _nearest(found: list[Exemplar], aimed: float) -> Exemplar:
    return min(found, key=lambda one: abs(noise(one.problem, one.rationale) - aimed))


def _cause(problem: str) -> str:
    return CAUSES[int(digest("cause", feature(problem))[:8], 16) % len(CAUSES)]
