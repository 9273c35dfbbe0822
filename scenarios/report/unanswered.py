"""Requests without an answer, by agent and stage: those that failed, and those whose answer is empty.

An empty answer is graded as wrong, so a model that says nothing looks like one that knows nothing; the report names
it. Sets and reasons of level 3 are stored with the words that the prompt begins them with, so they are never empty;
level 3 asks again for those that it cannot use.
"""

from collections import Counter, defaultdict

import msgspec

from scenarios.store.sqlite import Store

WHITESPACE = "char(9) || char(10) || char(13) || ' '"
WITHOUT_TEXT = "('Grade', 'Train')"
"""Requests whose result is not a text."""
ASKED = {
    "teach": "teaching rationales",
    "greedy": "greedy answers",
    "exam": "exam answers",
    "repair": "repairs of the teacher's programs",
    "exam_repair": "repairs of programs in exams",
    "votes": "further rationales",
    "alone": "students' answers without a rationale",
    "rate": "judgements of rationales",
    "universal": "choices among all rationales",
    "invent": "invented exam problems",
    "agree": "answers to invented exam problems",
    "ask": "questions",
    "explain": "answers to questions",
    "measure": "answers to held-out problems",
    "train": "trainings",
    "grade": "log-probabilities of solutions",
    "probe": "new rationales",
    "probe_exam": "exam answers under new rationales",
    "write": "new rationales",
    "score": "answers to training items",
    "test": "answers to held-out items",
}
"""What a stage asks for; of others their name is shown."""
EXAM = "exam.sampling.max_tokens"
WRITER = f"lesson.sampling.max_tokens, or {EXAM} where a student writes the exam problems"
MAX_TOKENS = {
    "invent": WRITER,
    "agree": WRITER,
    "exam": f"{EXAM}, or iterate.answering.max_tokens where sets of exemplars are examined",
    "alone": EXAM,
    "exam_repair": EXAM,
    "ask": EXAM,
    "probe_exam": EXAM,
    "reflect": "iterate.writing.max_tokens",
    "write": "iterate.writing.max_tokens",
    "score": "iterate.answering.max_tokens",
    "test": "iterate.answering.max_tokens",
}
"""The entry that limits the answers of a stage; of others it is lesson.sampling.max_tokens."""


class Unanswered(msgspec.Struct, frozen=True):
    """One agent in one stage, where it left something unanswered."""

    agent: str
    stage: str
    requests: int
    """All of this agent in this stage, but for failed ones that were asked again."""
    empty: int
    """Answers without a text."""
    empty_after_thoughts: int
    """Those of them that are thoughts and nothing else: mostly `max_tokens` ended them."""
    failed: int
    reasons: dict[str, int]
    """Of the failures: their kind, or the server's reason where it refused."""

    @property
    def is_total(self) -> bool:
        """Whether there is no answer at all."""
        return self.empty + self.failed == self.requests


def unanswered(store: Store, given_up: frozenset[str]) -> list[Unanswered]:
    """Every agent and stage with an empty answer or a failure, by name; failures in `given_up` were asked again."""
    failures: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    again = Counter[tuple[str, str]]()
    for id, agent, stage, kind, detail in store.query(
        "SELECT request_id, agent, stage, failed, detail FROM result WHERE failed <> ''"
    ):
        place = str(agent), str(stage)
        if id in given_up:
            again[place] += 1
        else:
            failures[place][_reason(str(kind), str(detail))] += 1
    empty = f"failed = '' AND kind NOT IN {WITHOUT_TEXT} AND trim(text, {WHITESPACE}) = ''"
    rows = store.query(
        f"SELECT agent, stage, count(*), sum({empty}), sum({empty} AND {store.column('thought_tokens')} > 0) "  # noqa: S608 - our own names
        "FROM result GROUP BY agent, stage ORDER BY agent, stage"
    )
    found = []
    for agent, stage, *counted in rows:
        place = str(agent), str(stage)
        requests, without_text, thought = msgspec.convert(counted, list[int])
        reasons = failures[place]
        if without_text or reasons:
            asked = requests - again[place]
            found.append(
                Unanswered(*place, asked, without_text, thought, reasons.total(), dict(sorted(reasons.items())))
            )
    return found


def _reason(kind: str, detail: str) -> str:
    """`context`, `engine` and so on; what a server says when it refuses stands before the second colon of `detail`."""
    return ": ".join(detail.split(": ")[:2]) if detail.startswith("refused: ") else kind


def sentence(one: Unanswered) -> str:
    """A sentence on what an agent left unanswered in a stage."""
    parts = []
    if one.empty:
        parts.append(f"{one.empty:,} {'was' if one.empty == 1 else 'were'} empty")
    if one.empty_after_thoughts:
        entry = MAX_TOKENS.get(one.stage, "lesson.sampling.max_tokens")
        parts[-1] += f" ({one.empty_after_thoughts:,} of them thoughts and nothing else: raise {entry})"
    if one.failed:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in one.reasons.items())
        parts.append(f"{one.failed:,} failed ({reasons})")
    asked = ASKED.get(one.stage, f"requests of stage {one.stage}")
    return f"{one.agent}: of {one.requests:,} {asked}, {' and '.join(parts)}."
