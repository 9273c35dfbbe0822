"""How exams become a choice: by hand, and by what must hold whatever a class does."""

from collections import defaultdict
from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.work_messages import AnswerForm
from scenarios.config.schema import Scoring
from scenarios.records.observe import ExamAnswer, Rationale, TeachingProblemRecord
from scenarios.scoring.lbt import (
    ChosenAnswer,
    Rule,
    Sheet,
    assumption,
    best_possible,
    lbt_score,
    lbt_scores,
)

SCORING = Scoring()
RULES: tuple[Rule, ...] = ("greedy", "sc", "max", "sum", "avg")


def same(a: str, b: str, form: AnswerForm) -> bool:
    return a.strip("0.") == b.strip("0.")


def rationale(repeat: int, answer: str | None, *, right: bool = False, **marks: str) -> Rationale:
    """A TR with exams per student as a string of marks: `ada="10"` is EP 0 right, EP 1 wrong."""
    exams = [
        ExamAnswer(s, f"ep{i}", 0, mark == "1") for s, all_ in sorted(marks.items()) for i, mark in enumerate(all_)
    ]
    return Rationale(f"tr{repeat}", repeat, answer, right, 10, tuple(exams))


def lesson(*rationales: Rationale, greedy: Rationale | None = None, tp: str = "tp") -> TeachingProblemRecord:
    return TeachingProblemRecord(tp, "number", greedy, rationales, 100)


def pick(rule: Rule, one: TeachingProblemRecord, *students: str, scoring: Scoring = SCORING) -> ChosenAnswer:
    return Sheet(one, same).choose(rule, students or ("ada",), scoring)


# --- a class of two TPs, by hand ------------------------------------------------------------------------

ROSES = lesson(
    rationale(0, "5", ada="0000", bob="0000"),
    rationale(1, "7", right=True, ada="1110", bob="1000"),
    rationale(2, "5", ada="1000", bob="0000"),
    rationale(3, "5.0", ada="0000", bob="1100"),
    rationale(4, None),
    greedy=rationale(-1, "5"),
    tp="roses",
)
"""LbT scores of both: 5: 0, 1/8, 2/8; 7: 4/8."""
COINS = lesson(
    rationale(0, "12", right=True, ada="1100", bob="1100"),
    rationale(1, "30", ada="1110", bob="1000"),
    rationale(2, "12", right=True, ada="1000", bob="1000"),
    greedy=rationale(-1, "12", right=True),
    tp="coins",
)
"""LbT scores of both: 12: 4/8, 2/8; 30: 4/8."""
BOTH = ("ada", "bob")


def test_the_two_problems_worked_out_by_hand() -> None:
    expected = {
        ("greedy", "roses"): ChosenAnswer("5", False, False, 0.0),
        ("sc", "roses"): ChosenAnswer("5", False, False, 0.0),
        ("max", "roses"): ChosenAnswer("7", True, False, 1.0),
        ("sum", "roses"): ChosenAnswer("7", True, False, 1.0),
        ("avg", "roses"): ChosenAnswer("7", True, False, 1.0),
        ("greedy", "coins"): ChosenAnswer("12", True, False, 1.0),
        ("sc", "coins"): ChosenAnswer("12", True, False, 1.0),
        ("max", "coins"): ChosenAnswer("12", True, True, 0.5),
        ("sum", "coins"): ChosenAnswer("12", True, False, 1.0),
        ("avg", "coins"): ChosenAnswer("30", False, False, 0.0),
    }
    assert {(rule, one.tp): pick(rule, one, *BOTH) for rule in RULES for one in (ROSES, COINS)} == expected


def test_another_line_up_sees_only_its_own_exams() -> None:
    assert pick("max", COINS, "ada") == ChosenAnswer("30", False, False, 0.0)  # 3/4 against 2/4
    assert pick("max", COINS, "bob") == ChosenAnswer("12", True, False, 1.0)  # 1/4 against 2/4
    assert pick("sum", COINS, "ada") == ChosenAnswer("12", True, True, 0.5)  # 3/4 against 2/4 + 1/4


def test_the_assumption_of_the_two_problems() -> None:
    found = assumption([ROSES, COINS], BOTH, SCORING.merge)
    # roses: 1/2 beats 0, 1/8 and 1/4. coins: 1/2 ties with 1/2, and 1/4 loses to it.
    assert (found.right_beats_wrong, found.ties, found.pairs) == (3 / 5, 1 / 5, 5)


# --- scores ---------------------------------------------------------------------------------------------


def test_students_merge_by_answers_or_by_students() -> None:
    uneven = rationale(0, "1", ada="1111", bob="0")
    assert lbt_score(uneven, BOTH, "answers") == Fraction(4, 5)
    assert lbt_score(uneven, BOTH, "students") == Fraction(1, 2)
    assert lbt_score(uneven, ("bob",), "answers") == 0
    assert lbt_score(uneven, ("eve",), "students") == 0


def test_a_student_who_sat_nothing_is_not_part_of_the_mean() -> None:
    assert lbt_score(rationale(0, "1", ada="10"), BOTH, "students") == Fraction(1, 2)


def test_merging_changes_the_choice() -> None:
    one = lesson(rationale(0, "1", ada="1111", bob="0"), rationale(1, "2", ada="1100", bob="1"))
    assert pick("max", one, *BOTH).answer == "1"  # 4/5 against 3/5
    assert pick("max", one, *BOTH, scoring=Scoring(merge="students")).answer == "2"  # 1/2 against 3/4


def test_rationales_are_compared_on_the_exams_that_all_of_them_have() -> None:
    # EP 1 is hard, and the request failed for the first TR: on EP 0 alone it looks better than it is.
    lucky = rationale(0, "a", ada="1")
    one = lesson(lucky, rationale(1, "b", right=True, ada="11"), rationale(2, "b", right=True, ada="10"))
    assert lbt_scores(one.rationales, ("ada",), "answers") == {"tr0": 1, "tr1": 1, "tr2": 1}
    assert pick("max", one) == ChosenAnswer("b", True, True, 0.5)
    assert pick("sum", one) == ChosenAnswer("b", True, False, 1.0)
    assert pick("avg", one).tied
    assert assumption([one], ("ada",), SCORING.merge).ties == 1.0
    # Without the TR that lacks it, EP 1 counts again.
    assert lbt_scores(one.rationales[1:], ("ada",), "answers") == {"tr1": 1, "tr2": Fraction(1, 2)}


def test_exams_of_others_and_rationales_without_an_exam_do_not_make_slots_uncommon() -> None:
    one = lesson(
        rationale(0, "a", ada="10", bob="1"), rationale(1, "b", ada="11"), rationale(2, "c"), rationale(3, None)
    )
    assert lbt_scores(one.rationales, ("ada",), "answers") == {"tr0": Fraction(1, 2), "tr1": 1}
    assert lbt_scores(one.rationales, BOTH, "answers") == {"tr0": Fraction(1, 2), "tr1": 1}
    assert lbt_scores(one.rationales, ("bob",), "students") == {"tr0": 1}


def test_where_no_exam_is_common_nothing_is_scored_and_votes_decide() -> None:
    first, second = (ExamAnswer("ada", ep, 0, True) for ep in ("ep0", "ep1"))
    one = lesson(
        replace(rationale(0, "a"), exams=(first,)),
        replace(rationale(1, "b", right=True), exams=(replace(second, correct=False),)),
        rationale(2, "b", right=True),
    )
    assert lbt_scores(one.rationales, ("ada",), "answers") == {}
    assert {pick(rule, one) for rule in ("max", "sum", "avg")} == {ChosenAnswer("b", True, True, 0.5)}
    assert assumption([one], ("ada",), SCORING.merge).pairs == 0


def test_scores_that_floats_would_tell_apart_are_ties() -> None:
    tenths = [rationale(i, "a", s="1" * right + "0" * (10 - right)) for i, right in enumerate((1, 2))]
    chosen = pick("sum", lesson(*tenths, rationale(2, "b", s="1110000000")), "s")  # 0.1 + 0.2 > 0.3 in floats
    assert (chosen.answer, chosen.tied) == ("a", True)


def test_a_rationale_nobody_was_examined_under_adds_nothing() -> None:
    one = lesson(rationale(0, "a"), rationale(1, "a", ada="01"), rationale(2, "b", ada="0"), rationale(3, "c"))
    assert pick("max", one).answer == "a"
    assert pick("sum", one).answer == "a"
    assert pick("avg", replace(one, rationales=(*one.rationales, rationale(4, "b", ada="01")))).answer == "a"
    assert pick("sc", one).answer == "a"


def test_average_leaves_unexamined_rationales_out_of_the_mean() -> None:
    one = lesson(rationale(0, "a", ada="1010"), rationale(1, "a"), rationale(2, "b", ada="1000"))
    assert pick("avg", one) == ChosenAnswer("a", False, False, 0.0)  # 1/2 against 1/4, not (1/2 + 0)/2 against 1/4


def test_without_any_answer_there_is_none_and_it_is_wrong() -> None:
    nothing = lesson(rationale(0, None), rationale(1, None))
    assert {pick(rule, nothing) for rule in RULES} == {ChosenAnswer(None, False)}
    assert {pick(rule, lesson()) for rule in RULES} == {ChosenAnswer(None, False)}


# --- groups ---------------------------------------------------------------------------------------------


def test_a_group_hands_in_its_first_answer_with_that_answers_grade() -> None:
    one = lesson(rationale(2, "50", ada="11"), rationale(0, "5", right=True, ada="00"), rationale(1, "5.0", ada="11"))
    (group,) = Sheet(one, same).groups
    assert (group.representative.repeat, [m.repeat for m in group.members]) == (0, [0, 1, 2])
    assert group.mixed
    assert pick("max", one) == ChosenAnswer("5", True, False, 1.0)
    flipped = replace(one, rationales=tuple(replace(r, correct=not r.correct) for r in one.rationales))
    assert pick("max", flipped) == ChosenAnswer("5", False, False, 0.0)


def test_the_oracle_sees_a_right_answer_that_its_group_would_not_hand_in() -> None:
    one = lesson(rationale(0, "5", ada="1"), rationale(1, "5.0", right=True, ada="1"))
    assert not pick("max", one).correct
    assert best_possible([one]) == 1.0


def test_equal_strings_are_not_put_to_the_grader() -> None:
    asked = []

    def counting(a: str, b: str, form: AnswerForm) -> bool:
        asked.append((a, b, form))
        return False

    Sheet(lesson(*(rationale(i, "7" if i % 2 else "8") for i in range(10))), counting)
    assert asked == [("8", "7", "number")]


# --- ties -----------------------------------------------------------------------------------------------

TIED = lesson(
    rationale(0, "a", ada="1"), rationale(1, "b", right=True, ada="1"), rationale(2, "b", right=True, ada="0")
)


def test_ties_go_to_the_votes_then_to_the_smallest_repeat() -> None:
    assert pick("max", TIED) == ChosenAnswer("b", True, True, 0.5)
    two = replace(TIED, rationales=TIED.rationales[:2])
    assert pick("max", two) == ChosenAnswer("a", False, True, 0.5)


def test_ties_go_to_the_smallest_repeat_at_once_where_asked() -> None:
    assert pick("max", TIED, scoring=Scoring(ties="first")) == ChosenAnswer("a", False, True, 0.5)


def test_two_rationales_of_one_answer_are_no_tie() -> None:
    assert not pick("max", lesson(rationale(0, "a", ada="1"), rationale(1, "a", ada="1"))).tied


# --- whatever a class does ------------------------------------------------------------------------------

SLOTS = [(student, f"ep{n}", 0) for student in BOTH for n in range(3)]
marks = st.text("01", min_size=3, max_size=3) | st.just("")
rationales = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3", None]), marks, marks),
    min_size=1,
    max_size=8,
).map(
    lambda rows: tuple(
        rationale(i, answer, right=answer == "1", ada=ada if answer else "", bob=bob if answer else "")
        for i, (answer, ada, bob) in enumerate(rows)
    )
)
settings = st.builds(Scoring, merge=st.sampled_from(["answers", "students"]), ties=st.sampled_from(["votes", "first"]))
line_up = st.sampled_from([("ada",), ("bob",), BOTH])
rules = st.sampled_from(RULES)


def by_definition(one: TeachingProblemRecord, students: tuple[str, ...], scoring: Scoring) -> dict[str, Fraction]:
    """The LbT scores by id, by the definition alone: on the slots of every TR that somebody was examined under."""
    sat = {r.id: [e for e in r.exams if e.student in students] for r in one.rationales if r.answer is not None}
    examined = {id: exams for id, exams in sat.items() if exams}
    common = [s for s in SLOTS if all(s in [e.slot for e in exams] for exams in examined.values())]
    found = {}
    for id, exams in examined.items():
        kept = [e for e in exams if e.slot in common]
        rows = [kept] if scoring.merge == "answers" else [[e for e in kept if e.student == name] for name in students]
        shares = [Fraction(sum(e.correct for e in row), len(row)) for row in rows if row]
        if shares:
            found[id] = sum(shares, Fraction(0)) / len(shares)
    return found


def by_answer(one: TeachingProblemRecord, students: tuple[str, ...], scoring: Scoring) -> dict[str, list[Fraction]]:
    """The LbT scores per answer; those without any count as 0."""
    found = by_definition(one, students, scoring)
    scores = defaultdict(list)
    for r in one.rationales:
        if r.answer is not None:
            scores[r.answer].append(found.get(r.id, Fraction(0)))
    return scores


@given(rationales, line_up, settings)
def test_the_choice_has_the_best_score_of_its_definition(
    rs: tuple[Rationale, ...], students: tuple[str, ...], scoring: Scoring
) -> None:
    one = lesson(*rs)
    scores = by_answer(one, students, scoring)
    definitions: dict[Rule, dict[str, Fraction]] = {
        "max": {answer: max(own) for answer, own in scores.items()},
        "sum": {answer: sum(own, Fraction(0)) for answer, own in scores.items()},
        "sc": {answer: Fraction(len(own)) for answer, own in scores.items()},
    }
    for rule, values in definitions.items():
        chosen = pick(rule, one, *students, scoring=scoring)
        best = [answer for answer, value in values.items() if value == max(values.values())]
        assert (chosen.answer in best) if best else chosen == ChosenAnswer(None, False)
        assert chosen.tied == (len(best) > 1)
        assert chosen.expected_correct == (("1" in best) / len(best) if best else 0.0)
        assert chosen.correct == (chosen.answer == "1")


@given(rationales, line_up, settings, rules, st.randoms(use_true_random=False))
def test_the_order_in_which_things_came_changes_nothing(
    rs: tuple[Rationale, ...], students: tuple[str, ...], scoring: Scoring, rule: Rule, random: Random
) -> None:
    mixed = list(rs)
    random.shuffle(mixed)
    backwards = [replace(r, exams=r.exams[::-1]) for r in mixed]
    assert pick(rule, lesson(*backwards), *students[::-1], scoring=scoring) == pick(
        rule, lesson(*rs), *students, scoring=scoring
    )


@given(rationales, line_up, settings, st.integers(0, 7))
def test_an_identical_rationale_is_a_vote(
    rs: tuple[Rationale, ...], students: tuple[str, ...], scoring: Scoring, which: int
) -> None:
    again = replace(rs[which % len(rs)], id="again", repeat=99)
    before, after = lesson(*rs), lesson(*rs, again)
    if again.answer is None:
        for rule in RULES:
            assert pick(rule, after, *students, scoring=scoring) == pick(rule, before, *students, scoring=scoring)
        return
    sheets = [Sheet(one, same) for one in (before, after)]
    votes = [{g.representative.answer: len(g.members) for g in sheet.groups} for sheet in sheets]
    assert votes[1] == {**votes[0], again.answer: votes[0][again.answer] + 1}
    # MAX is blind to it but for ties, SUM counts its score once more.
    old, new = (pick("max", one, *students, scoring=scoring) for one in (before, after))
    assert (old.tied, old.expected_correct) == (new.tied, new.expected_correct)
    assert old == new or old.tied
    sums = {a: sum(own, Fraction(0)) for a, own in by_answer(after, students, scoring).items()}
    assert sums[str(pick("sum", after, *students, scoring=scoring).answer)] == max(sums.values())


@given(rationales, settings)
def test_with_one_student_merging_makes_no_difference(rs: tuple[Rationale, ...], scoring: Scoring) -> None:
    for rule in RULES:
        assert pick(rule, lesson(*rs), "ada", scoring=replace(scoring, merge="answers")) == pick(
            rule, lesson(*rs), "ada", scoring=replace(scoring, merge="students")
        )


@given(rationales, rules, line_up, settings)
def test_no_rule_beats_the_oracle(
    rs: tuple[Rationale, ...], rule: Rule, students: tuple[str, ...], scoring: Scoring
) -> None:
    one = lesson(*rs)
    chosen = pick(rule, one, *students, scoring=scoring)
    assert max(float(chosen.correct), chosen.expected_correct) <= (best_possible([one]) or 0.0)
    assert chosen.tied or chosen.expected_correct == chosen.correct


@given(rationales)
def test_the_assumption_counts_every_pair_that_can_be_compared(rs: tuple[Rationale, ...]) -> None:
    scores = by_definition(lesson(*rs), BOTH, SCORING)
    right, wrong = ([scores[r.id] for r in rs if r.id in scores and r.correct is correct] for correct in (True, False))
    pairs = [(a, b) for a in right for b in wrong]
    found = assumption([lesson(*rs)], BOTH, SCORING.merge)
    assert found.pairs == len(pairs)
    if pairs:
        assert found.right_beats_wrong == sum(a > b for a, b in pairs) / len(pairs)
        assert found.ties == sum(a == b for a, b in pairs) / len(pairs)
    else:
        assert found.right_beats_wrong is found.ties is None
