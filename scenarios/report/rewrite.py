"""The level-3 part of the summary for rewritten rationales: choices with them, and with level 1 at the same cost.

The cost is the number of completions, whatever their length: TRs, reasons, questions and their answers, exam answers.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from broker.protocol import digest
from scenarios.config.schema import Scoring
from scenarios.records.observe import Rationale, TeachingProblemRecord
from scenarios.records.rewrite import Rewriting, Rewritten
from scenarios.report.unimproved import Unimproved
from scenarios.scoring.lbt import Same, Sheet, lbt_scores
from scenarios.scoring.statistics import mean, paired

DRAWS = 20
"""How many random shares of the TRs level 1 is averaged over."""
Figures = tuple[float, float, float, float]
"""Of one TP: whether MAX and SUM are right, the number of TRs, and the cost in completions."""


class Strategy(msgspec.Struct, frozen=True):
    """A strategy for spending completions on a TP."""

    name: str
    """originals: level 1 with the TRs that might be rewritten. level_1: level 1 with as many random TRs as cost what
    rewriting costs, the mean over draws. rewritten: originals and rewritten TRs together. rewritten_only: rewritten
    TRs alone; where a TP has none with an answer, its originals."""
    m1_max: float | None
    """Accuracy; null where no TP is complete."""
    m1_sum: float | None
    rationales: float | None
    """Per TP, on average."""
    completions: float | None
    """Per TP, on average: requests that it needs."""


class Gain(msgspec.Struct, frozen=True):
    """Rewriting against level 1, problem by problem."""

    rule: str
    """m1_max or m1_sum."""
    a: str
    b: str
    difference: float
    ci95: tuple[float, float]
    p_value: float
    n: int


class StudentRewrites(msgspec.Struct, frozen=True):
    """The TRs rewritten for one student."""

    name: str
    rewrites: int
    """New TRs."""
    unparsable: int
    """Those without a readable answer: not examined."""
    own_before: float | None
    """This student's share of right EAs with the original TRs: the mean over rewritten TRs, on the exams that it took
    with both."""
    own_after: float | None
    all_before: float | None
    """Likewise, the LbT score among all students."""
    all_after: float | None
    right_before: float | None
    """Share with a right TA."""
    right_after: float | None


class RewriteSummary(msgspec.Struct, frozen=True):
    """`levels["3"].rationales`."""

    teaching_problems: int
    """Complete ones."""
    rewritten: int
    """Different TRs that were rewritten."""
    rewrites: int
    """New TRs."""
    repeated: int
    """New TRs with the text of an earlier TR of the TP: examined once."""
    reflections: int
    """Times that the teacher was asked for reasons."""
    without_reasons: int
    """TRs rewritten for a student without reasons."""
    ways: list[Strategy]
    gains: list[Gain]
    students: list[StudentRewrites]
    matched: float | None
    """Share of the TPs with enough TRs for level 1 to cost as much as rewriting."""
    unimproved: Unimproved | None = None
    """Why neither MAX nor SUM is right more often than with level 1 at the same cost; null where one is."""


def summarize_rewriting(
    rewriting: Rewriting | None, students: Sequence[str], scoring: Scoring, same: Same, seed: int
) -> RewriteSummary | None:
    """The summary of rewriting; None for a class that rewrites nothing."""
    if rewriting is None:
        return None
    lessons = [one for one in rewriting.lessons if one.over]
    judged: Same = lru_cache(65_536)(same)
    found: dict[str, list[Figures]] = {name: [] for name in STRATEGIES}
    matched = 0
    for one in lessons:
        for name, rationales, cost in _pools(one):
            found[name].append((*_right(one.lesson, rationales, students, scoring, judged), len(rationales), cost))
        draws = [_share(one, seed, draw) for draw in range(DRAWS)]
        shares = [
            (*_right(one.lesson, share, students, scoring, judged), len(share), _cost(share)) for share, _ in draws
        ]
        found["level_1"].append(_mean(shares))
        matched += all(enough for _, enough in draws)
    every = [(one, tailored) for one in lessons for tailored in one.tailored]
    summary = RewriteSummary(
        teaching_problems=len(lessons),
        rewritten=len({(one.lesson.tp, tailored.parent) for one, tailored in every}),
        rewrites=sum(len(_new(one)) for one in lessons),
        repeated=sum(_repeated(one) for one in lessons),
        reflections=sum(one.reflections for one in lessons),
        without_reasons=sum(not tailored.reasons for _, tailored in every),
        ways=[Strategy(name, *(_mean(rows) if rows else (None,) * 4)) for name, rows in found.items()],
        gains=list(_gains(found, seed)) if lessons else [],
        students=[_student(name, lessons, students, scoring) for name in students],
        matched=matched / len(lessons) if lessons else None,
    )
    return msgspec.structs.replace(summary, unimproved=_unimproved(summary))


def _unimproved(summary: RewriteSummary) -> Unimproved | None:
    gains = [gain for gain in summary.gains if (gain.a, gain.b) == AGAINST[0]]
    if not gains or any(gain.difference > 0 for gain in gains):
        return None
    nothing = "Rewriting improved nothing: "
    if not summary.rewritten:
        return Unimproved("no mistakes", f"{nothing}the students made no mistakes to learn from.")
    if summary.rewrites == sum(one.unparsable for one in summary.students):
        return Unimproved("refused", f"{nothing}no new rationale had a readable answer.")
    if summary.rewrites == summary.repeated:
        return Unimproved("repeated", f"{nothing}every new rationale has the text of an earlier one.")
    examined = [one for one in summary.students if one.own_before is not None and one.own_after is not None]
    if better := [one.name for one in examined if (one.own_after or 0) > (one.own_before or 0)]:
        who = f"exams went better for {', '.join(better)}, but the answers that exams choose are not right more often"
        return Unimproved("choices no better", f"{nothing}with new rationales {who}.")
    return Unimproved("students no better", f"{nothing}no student did better in exams with the rationales made for it.")


STRATEGIES = ("originals", "level_1", "rewritten", "rewritten_only")
AGAINST = (("rewritten", "level_1"), ("rewritten_only", "level_1"), ("rewritten", "originals"))


def _pools(one: Rewritten) -> Iterator[tuple[str, list[Rationale], float]]:
    """The strategies but level_1: name, the TRs to choose from, and their cost."""
    originals = [r for r in one.lesson.rationales if r.repeat < one.originals]
    new = _new(one)
    together = [*originals, *new]
    whole = _cost(together) + one.reflections
    yield "originals", originals, _cost(originals)
    yield "rewritten", together, whole
    yield "rewritten_only", new if any(r.answer is not None for r in new) else originals, whole


def _share(one: Rewritten, seed: int, draw: int) -> tuple[list[Rationale], bool]:
    """Sampled TRs in an order drawn by hashing, until they cost what rewriting did; and whether there were enough."""
    originals = [r for r in one.lesson.rationales if r.repeat < one.originals]
    allowed = _cost([*originals, *_new(one)]) + one.reflections
    sampled = [r for r in one.lesson.rationales if r.repeat < one.sampled]
    share: list[Rationale] = []
    cost = 0
    seen: set[str] = set()
    for rationale in sorted(sampled, key=lambda r: digest(seed, draw, r.id)):
        if cost >= allowed:
            break
        cost += 1 + (0 if rationale.material in seen else len(rationale.exams) + rationale.talks)
        seen.add(rationale.material)
        share.append(rationale)
    return share, cost >= allowed


def _new(one: Rewritten) -> list[Rationale]:
    return [rationale for rationale in one.lesson.rationales if rationale.repeat >= one.sampled]


def _cost(rationales: Sequence[Rationale]) -> int:
    """Completions: the TRs, and the dialogues and exams of the different ones."""
    return len(rationales) + sum(len(r.exams) + r.talks for r in {r.material: r for r in rationales}.values())


def _repeated(one: Rewritten) -> int:
    before = {r.material for r in one.lesson.rationales if r.repeat < one.sampled}
    texts = [r.material for r in _new(one)]
    return len(texts) - len(set(texts) - before)


def _right(
    lesson: TeachingProblemRecord,
    rationales: Sequence[Rationale],
    students: Sequence[str],
    scoring: Scoring,
    same: Same,
) -> tuple[float, float]:
    sheet = Sheet(msgspec.structs.replace(lesson, rationales=tuple(rationales)), same)
    return (
        float(sheet.choose("max", students, scoring).correct),
        float(sheet.choose("sum", students, scoring).correct),
    )


def _mean(rows: Sequence[Figures]) -> Figures:
    right_max, right_sum, rationales, cost = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return right_max, right_sum, rationales, cost


def _gains(found: dict[str, list[Figures]], seed: int) -> Iterator[Gain]:
    for a, b in AGAINST:
        for column, rule in enumerate(("m1_max", "m1_sum")):
            one = paired([row[column] for row in found[a]], [row[column] for row in found[b]], seed)
            yield Gain(rule, a, b, one.difference, one.ci95, one.p_value, len(found[a]))


def _student(name: str, lessons: Sequence[Rewritten], students: Sequence[str], scoring: Scoring) -> StudentRewrites:
    """Before and after, over the rewritten TRs that were examined: each stands beside the TR it was made from."""
    made = unparsable = 0
    pairs: list[tuple[Rationale, Rationale]] = []
    for one in lessons:
        by_repeat = {r.repeat: r for r in one.lesson.rationales}
        by_text = {r.material: r for r in reversed(one.lesson.rationales)}
        for tailored in one.tailored:
            for rewrite in (by_repeat[n] for n in tailored.repeats if n in by_repeat):
                if tailored.student == name:
                    made += 1
                    unparsable += rewrite.answer is None
                    pairs += [(by_text[tailored.parent], rewrite)] if rewrite.exams else []

    def scores(who: Sequence[str]) -> tuple[float | None, float | None]:
        compared = [(before, after, lbt_scores((before, after), who, scoring.merge)) for before, after in pairs]
        found = [(float(both[before.id]), float(both[after.id])) for before, after, both in compared if len(both) == 2]
        return mean([before for before, _ in found]), mean([after for _, after in found])

    own_before, own_after = scores((name,))
    all_before, all_after = scores(students)
    return StudentRewrites(
        name=name,
        rewrites=made,
        unparsable=unparsable,
        own_before=own_before,
        own_after=own_after,
        all_before=all_before,
        all_after=all_after,
        right_before=mean([float(before.correct) for before, _ in pairs]),
        right_after=mean([float(after.correct) for _, after in pairs]),
    )
