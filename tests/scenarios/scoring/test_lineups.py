"""What other line-ups would have chosen: by hand, and against the definition, one line-up and one exam at a time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.protocol import digest
from scenarios.config.schema import Scoring
from scenarios.records.observe import ExamAnswer, TeachingProblemRecord
from scenarios.scoring import exam_table as module
from scenarios.scoring.exam_table import DRAWS
from scenarios.scoring.lbt import Rule, Sheet, Slot, best_possible, exam_marks, on_common_slots
from scenarios.scoring.lineups import (
    PAIRS,
    LineUp,
    ProblemResults,
    Students,
    compare_lineups,
    lineups,
    results_by_problem,
    shown,
)
from scenarios.scoring.statistics import paired, wilson
from tests.scenarios.scoring.test_lbt import BOTH, COINS, ROSES, SCORING, lesson, rationale, same


def compared(
    lessons: list[TeachingProblemRecord], students: tuple[str, ...], scoring: Scoring = SCORING, seed: int = 1
) -> list[LineUp]:
    return compare_lineups([Sheet(one, same) for one in lessons], students, scoring, seed)


def test_the_line_ups_of_the_two_problems() -> None:
    one, other, both = compared([ROSES, COINS], BOTH)
    assert (one.students, one.m1_max, one.m1_sum) == (("ada",), 0.5, 1.0)
    assert (other.students, other.m1_max, other.m1_sum) == (("bob",), 0.5, 0.5)  # roses: 1/4 < 2/4 of 5.0
    assert (both.students, both.m1_max, both.m1_sum) == (BOTH, 1.0, 1.0)
    assert (one.m1_max_equal, one.m1_sum_equal) == (one.m1_max, one.m1_sum)
    # Four of the five TRs of roses have an answer, and all of coins: each was sat in full.
    assert [up.exams_per_rationale for up in (one, other, both)] == [4.0, 4.0, 8.0]


def test_every_accuracy_has_its_interval_and_its_differences() -> None:
    one, other, both = compared([ROSES, COINS], BOTH)
    assert (one.m1_max_ci95, one.m1_sum_ci95, both.m1_sum_equal_ci95) == (
        wilson(1, 2), wilson(2, 2), wilson(2 * (both.m1_sum_equal or 0), 2),
    )  # fmt: skip
    assert (one.best_single, other.best_single, both.best_single) == (True, False, False)
    assert {(d.rule, d.against, d.students) for d in both.differences} == {
        (rule, *which)
        for rule in ("m1_max", "m1_sum")
        for which in (("sc", ()), ("best_single", ("ada",)), ("without_one", ("ada",)), ("without_one", ("bob",)))
    }
    assert {(d.against, d.students) for d in one.differences} == {("sc", ())}
    by_rule = {d.rule: d for d in both.differences if d.against == "best_single"}
    sheets = [Sheet(lesson, same) for lesson in (ROSES, COINS)]
    of = results_by_problem(sheets, [BOTH, ("ada",)], SCORING, 1)
    expected = paired(of[BOTH].m1_max, of["ada",].m1_max, 1)
    found = by_rule["m1_max"]
    assert (found.difference, found.ci95, found.p_value) == (0.5, expected.ci95, expected.p_value)
    assert (by_rule["m1_sum"].wins, by_rule["m1_sum"].losses) == (0, 0)


def test_with_many_students_everybody_is_compared_with_everybody_but_one() -> None:
    students = tuple("abcdefgh")
    rows = [rationale(n, str(n % 2), right=n == 1, **dict.fromkeys(students, "10"[n % 2])) for n in range(3)]
    found = compared([lesson(*rows)], students)
    assert len(found) == 8 + 28 + 1
    assert {len(d.students) for d in found[-1].differences if d.against == "without_one"} == {7}


def test_line_ups_are_all_subsets_up_to_six_students() -> None:
    assert lineups("abc", 1) == [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    assert len(lineups("abcdef", 1)) == 63
    assert len(lineups("abcdefg", 1)) == 7 + 21 + 1
    assert [shown(n) for n in (1, 6, 7)] == ["all", "all", "singles, pairs, and everybody"]


def test_of_many_pairs_some_are_drawn_by_the_seed_and_kept_in_order() -> None:
    students = [f"s{n:02}" for n in range(40)]
    found = lineups(students, 1)
    singles, pairs, everybody = found[:40], found[40:-1], found[-1]
    assert (singles, everybody) == ([(name,) for name in students], tuple(students))
    assert (len(set(pairs)), pairs) == (PAIRS, sorted(pairs))
    assert found == lineups(students, 1) != lineups(students, 2)
    assert shown(40) == "singles, 100 of 780 pairs, drawn by the seed, and everybody"
    # Each pair is as likely as any other: 100 pairs hold each of 40 students 5 times on average.
    often = Counter(name for seed in range(40) for pair in lineups(students, seed)[40:-1] for name in pair)
    assert all(130 < often[name] < 270 for name in students)  # 200 expected, standard deviation 13


def test_an_equal_budget_takes_away_what_more_exams_gave() -> None:
    # Ada's one exam cannot tell the answers apart; bob's can. With both exams the pair always chooses right, with
    # one exam in about half of the draws.
    one = lesson(rationale(0, "a", ada="1", bob="0"), rationale(1, "b", right=True, ada="1", bob="1"))
    *_, pair = compared([replace(one, tp=str(i)) for i in range(20)], BOTH)
    assert pair.m1_max == pair.m1_sum == 1.0
    assert pair.m1_max_equal == pair.m1_sum_equal
    assert pair.m1_max_equal == pytest.approx(0.5, abs=0.12)  # 400 draws, standard deviation 0.025


def test_line_ups_of_nothing_have_no_accuracy() -> None:
    (alone,) = compared([], ("ada",))
    assert (alone.m1_max, alone.m1_sum_equal, alone.exams_per_rationale) == (None, None, 0.0)
    assert best_possible([]) is None


def test_a_line_up_without_an_exam_has_no_accuracy() -> None:
    one = lesson(rationale(0, "1", right=True, ada="10"), rationale(1, "2", ada="00"))
    ada, bob, both = compared([one], BOTH)
    assert (ada.m1_max, both.m1_max, both.m1_sum_equal) == (1.0, 1.0, 1.0)
    assert (bob.m1_max, bob.m1_sum, bob.m1_max_equal, bob.m1_sum_equal, bob.exams_per_rationale) == (*[None] * 4, 0.0)


# --- against the definition -----------------------------------------------------------------------------


def compared_marks(one: TeachingProblemRecord, students: tuple[str, ...]) -> list[dict[Slot, bool]]:
    marks = {r.id: exam_marks(r) for r in one.rationales if r.answer is not None}
    return list(on_common_slots(marks, students).values())


def slots_of(one: TeachingProblemRecord, students: tuple[str, ...]) -> list[Slot]:
    return sorted({slot for marks in compared_marks(one, students) for slot in marks})


def share(one: TeachingProblemRecord, students: tuple[str, ...], size: int, seed: int, draw: int) -> list[Slot]:
    """A random share of a line-up's slots: the first of every student, then the second, and so on."""
    slots, ranked = slots_of(one, students), []
    for student in students:
        own = sorted((digest(seed, draw, one.tp, *slot), slot) for slot in slots if slot[0] == student)
        ranked += [(rank, key, slot) for rank, (key, slot) in enumerate(own)]
    return [slot for _, _, slot in sorted(ranked)[:size]]


def with_only(one: TeachingProblemRecord, slots: list[Slot]) -> TeachingProblemRecord:
    kept = [replace(r, exams=tuple(e for e in r.exams if e.slot in slots)) for r in one.rationales]
    return replace(one, rationales=tuple(kept))


def by_definition(
    lessons: list[TeachingProblemRecord], subsets: list[Students], scoring: Scoring, seed: int
) -> dict[Students, ProblemResults]:
    table = {}
    for subset in subsets:
        right: dict[tuple[Rule, str], list[float]] = {(r, k): [] for r in ("max", "sum") for k in ("whole", "cut")}
        sat = any(exam.student in subset for one in lessons for each in one.rationales for exam in each.exams)
        for one in lessons:
            budget = min((len(found) for other in subsets if (found := slots_of(one, other))), default=0)
            for rule in ("max", "sum"):
                by: Rule = rule if sat else "sc"
                right[rule, "whole"].append(Sheet(one, same).choose(by, subset, scoring).correct)
                cuts = [with_only(one, share(one, subset, budget, seed, draw)) for draw in range(DRAWS)]
                chosen = [Sheet(cut, same).choose(by, subset, scoring).correct for cut in cuts]
                right[rule, "cut"].append(sum(chosen) / DRAWS)
        table[subset] = ProblemResults(
            right["max", "whole"], right["sum", "whole"], right["max", "cut"], right["sum", "cut"],
            sum(len(marks) for one in lessons for marks in compared_marks(one, subset)),
        )  # fmt: skip
    return table


names = st.sampled_from([("ada",), ("bob", "ada"), ("ada", "bob", "eve")])
scorings = st.builds(Scoring, merge=st.sampled_from(["answers", "students"]), ties=st.sampled_from(["votes", "first"]))


@st.composite
def lessons(draw: st.DrawFn, students: tuple[str, ...]) -> list[TeachingProblemRecord]:
    """Up to three TPs with up to five TRs; some exams are missing, and some are those of a student who is not asked."""
    absent = draw(st.sets(st.sampled_from(students), max_size=1))
    slots = [
        (student, ep, n)
        for student in (*students, "other")
        if student not in absent
        for ep in ("ep1", "ep2")
        for n in (0, 1)
    ]
    some_missing: list[bool | None] = [*[True, False] * 4, None]
    kinds = draw(st.sampled_from([some_missing, some_missing[:2]]))
    made = []
    for tp in range(draw(st.integers(1, 3))):
        rows = []
        for repeat in range(draw(st.integers(0, 5))):
            answer = draw(st.sampled_from(["1", "2", "3", None]))
            marks = draw(st.lists(st.sampled_from(kinds), min_size=len(slots), max_size=len(slots)))
            exams = [ExamAnswer(*slot, mark) for slot, mark in zip(slots, marks, strict=True) if mark is not None]
            one = rationale(repeat, answer, right=answer == "1")
            rows.append(replace(one, exams=tuple(exams) if answer else ()))
        made.append(lesson(*rows, tp=f"tp{tp}"))
    return made


@given(st.data(), names, scorings, st.integers(0, 9))
def test_all_line_ups_at_once_are_the_line_ups_one_by_one(
    data: st.DataObject, students: tuple[str, ...], scoring: Scoring, seed: int
) -> None:
    class_ = data.draw(lessons(students))
    subsets = lineups(students, seed)
    sheets = [Sheet(one, same) for one in class_]
    found = results_by_problem(sheets, [*subsets, ()], scoring, seed)
    sc = [float(sheet.choose("sc", (), scoring).correct) for sheet in sheets]
    assert found.pop(()) == ProblemResults(sc, sc, sc, sc, 0)
    assert found == by_definition(class_, subsets, scoring, seed)


def test_scores_that_may_exceed_64_bits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [rationale(n, str(n % 3), right=n % 3 == 0, ada="10" * 3, bob="110", eve="1") for n in range(6)]
    by_students = Scoring(merge="students")
    found = compared([lesson(*rows)], ("ada", "bob", "eve"), by_students)
    monkeypatch.setattr(module, "LARGEST", 0)
    assert compared([lesson(*rows)], ("ada", "bob", "eve"), by_students) == found


def test_blocks_of_line_ups_are_scored_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    students = ("ada", "bob", "eve")
    class_ = [lesson(*(rationale(n, str(n % 2), right=n % 2 == 0, ada="10", bob="01", eve="11") for n in range(6)))]
    at_once = compared(class_, students)
    monkeypatch.setattr(module, "CELLS", 1)
    assert compared(class_, students) == at_once


def test_a_line_up_without_any_exam_is_sc_whatever_decides_ties() -> None:
    one = lesson(
        rationale(0, "a", ada="1"), rationale(1, "b", right=True, ada="0"), rationale(2, "b", right=True, ada="0")
    )
    found = results_by_problem([Sheet(one, same)], [("ada",), ("bob",)], Scoring(ties="first"), 1)
    assert (found["ada",].m1_max, found["bob",].m1_max, found["bob",].m1_sum) == ([0.0], [1.0], [1.0])


def test_without_line_ups_there_is_nothing_and_nobody_is_sc() -> None:
    sheets = [Sheet(lesson, same) for lesson in (ROSES, COINS)]
    assert results_by_problem(sheets, [], SCORING, 1) == {}
    of_nobody = results_by_problem(sheets, [()], SCORING, 1)[()]
    assert of_nobody.m1_max == of_nobody.m1_sum == [sheet.choose("sc", (), SCORING).correct for sheet in sheets]
