"""What the summary says of rewritten rationales: choices, costs, level 1 at the same cost, before and after."""

import msgspec
import pytest

from scenarios.config.schema import Scoring
from scenarios.records.observe import ExamAnswer, Rationale, TeachingProblemRecord
from scenarios.records.rewrite import Rewriting, Rewritten, Tailored
from scenarios.report.rewrite import RewriteSummary, summarize_rewriting
from scenarios.report.rewrite_tables import rewritten_tables
from scenarios.session.plan import order
from scenarios.session.request_counts import count, counts
from tests import printing
from tests.scenarios.levels.played import STUDENTS, Played
from tests.scenarios.levels.test_rewrite import answer, level, scenario


def rationale(repeat: int, answer: str | None, ada: bool, bob: bool, text: str = "") -> Rationale:
    """One TR, with one exam of each student; "7" is right."""
    exams = () if answer is None else (ExamAnswer("ada", "ep", 0, ada), ExamAnswer("bob", "ep", 0, bob))
    return Rationale(f"tr{repeat}", repeat, answer, answer == "7", 5, exams, text or f"text {repeat}")


def told(*rationales: Rationale, tailored: tuple[Tailored, ...] = (), reflections: int = 0) -> RewriteSummary:
    lesson = TeachingProblemRecord("tp", "number", None, rationales)
    one = Rewritten(lesson, 4, 2, tailored, reflections, over=True)
    made = summarize_rewriting(Rewriting((one,)), STUDENTS, Scoring(), lambda a, b, _: a == b, 0)
    assert made is not None
    return made


SAMPLED = (
    rationale(0, "5", True, False), rationale(1, "6", False, False), rationale(2, "5", False, False),
    rationale(3, "6", False, False),
)  # fmt: skip
FOR_BOB = Tailored("text 0", "bob", ("x",), ("Too short.",), (4,))
FOR_ADA = Tailored("text 1", "ada", ("y",), (), (5,))


def test_a_rewritten_rationale_may_win_what_no_original_does() -> None:
    made = told(*SAMPLED, rationale(4, "7", True, True), tailored=(FOR_BOB,), reflections=1)
    assert {way.name: way.m1_max for way in made.ways} == {
        "originals": 0.0, "level_1": 0.0, "rewritten": 1.0, "rewritten_only": 1.0,
    }  # fmt: skip
    assert {(gain.a, gain.b, gain.rule): gain.difference for gain in made.gains}["rewritten", "level_1", "m1_sum"] == 1


def test_completions_are_the_rationales_their_exams_and_the_reasons() -> None:
    made = told(*SAMPLED, rationale(4, "7", True, True), tailored=(FOR_BOB,), reflections=2)
    costs = {way.name: (way.rationales, way.completions) for way in made.ways}
    assert costs["originals"] == (2, 6)
    assert costs["rewritten"] == (3, 11)
    assert costs["rewritten_only"] == (1, 11)
    assert costs["level_1"] == (4, 12)
    assert made.matched == 1


def test_it_is_said_where_level_1_has_too_few_rationales_to_cost_as_much() -> None:
    more = (rationale(4, "7", True, True), rationale(5, "7", True, True))
    made = told(*SAMPLED, *more, tailored=(FOR_BOB, FOR_ADA), reflections=4)
    assert made.matched == 0
    assert "enough on 0.0 % of the problems" in printed(made)


def test_a_problem_with_nothing_rewritten_keeps_its_originals() -> None:
    made = told(rationale(0, "7", True, True), rationale(1, "6", False, False))
    ways = {way.name: way.m1_max for way in made.ways}
    assert ways["rewritten_only"] == ways["originals"] == 1.0
    unread = told(rationale(0, "7", True, True), rationale(4, None, False, False), tailored=(FOR_BOB,))
    assert {way.name: way.m1_max for way in unread.ways}["rewritten_only"] == 1.0


def test_before_and_after_stand_by_the_student_it_was_written_for() -> None:
    new = (rationale(4, "7", True, True), rationale(5, None, False, False))
    made = told(*SAMPLED, *new, tailored=(FOR_BOB, FOR_ADA))
    ada, bob = made.students
    assert (bob.rewrites, bob.own_before, bob.own_after, bob.all_before, bob.all_after) == (1, 0, 1, 0.5, 1)
    assert (bob.right_before, bob.right_after) == (0, 1)
    assert (ada.rewrites, ada.unparsable, ada.own_before) == (1, 1, None)
    assert (made.rewritten, made.rewrites, made.without_reasons) == (2, 2, 1)


def test_before_and_after_are_of_the_same_exams_where_one_failed() -> None:
    new = rationale(4, "7", True, True)
    made = told(*SAMPLED, msgspec.structs.replace(new, exams=new.exams[1:]), tailored=(FOR_BOB,))
    _, bob = made.students
    # Of both students' exams with both texts bob's alone is there: wrong before, right after.
    assert (bob.own_before, bob.own_after, bob.all_before, bob.all_after) == (0, 1, 0, 1)
    lost = told(*SAMPLED, msgspec.structs.replace(new, exams=new.exams[:1]), tailored=(FOR_BOB,))
    assert (lost.students[1].own_before, lost.students[1].own_after) == (None, None)
    assert (lost.students[1].all_before, lost.students[1].all_after) == (1, 1)


def test_a_rewrite_with_an_earlier_text_is_counted_and_costs_no_exams() -> None:
    made = told(*SAMPLED, rationale(4, "5", True, False, "text 0"), tailored=(FOR_BOB,))
    assert made.repeated == 1
    assert {way.name: way.completions for way in made.ways}["rewritten"] == 7


@pytest.mark.parametrize("size", [0, 1])
def test_there_is_a_table_with_nothing_in_it_too(size: int) -> None:
    one = Rewritten(TeachingProblemRecord("tp", "number", None, SAMPLED[:2]), 4, 2, over=bool(size))
    made = summarize_rewriting(Rewriting((one,)), STUDENTS, Scoring(), lambda a, b, _: a == b, 0)
    assert made is not None
    assert made.teaching_problems == size
    assert "What rewriting rationales brought" in printed(made)
    assert rewritten_tables(None) == []
    assert summarize_rewriting(None, STUDENTS, Scoring(), lambda a, b, _: a == b, 0) is None


def test_names_and_figures_stand_in_the_table() -> None:
    shown = printed(told(*SAMPLED, rationale(4, "7", True, True), tailored=(FOR_BOB,), reflections=1))
    assert "rewritten ones only 100.0 %" in shown
    assert "Rationales rewritten: 1; new ones written from them: 1." in shown


def test_where_rewriting_improved_nothing_the_cause_is_named() -> None:
    cases = {
        "no mistakes": told(*SAMPLED),
        "refused": told(*SAMPLED, rationale(4, None, False, False), tailored=(FOR_BOB,)),
        "repeated": told(*SAMPLED, rationale(4, "5", True, False, "text 0"), tailored=(FOR_BOB,)),
        "students no better": told(*SAMPLED, rationale(4, "6", True, False), tailored=(FOR_BOB,)),
        "choices no better": told(*SAMPLED, rationale(4, "6", True, True), tailored=(FOR_BOB,)),
    }
    assert [one.unimproved and one.unimproved.cause for one in cases.values()] == list(cases)
    assert "new rationales exams went better for bob" in printed(cases["choices no better"])
    assert told(*SAMPLED, rationale(4, "7", True, True), tailored=(FOR_BOB,)).unimproved is None


def printed(made: RewriteSummary) -> str:
    return " ".join(printing.printed(*rewritten_tables(made)).split())


def test_the_plan_says_at_least_what_is_asked() -> None:
    described = scenario(beam=2, revisions=2)
    planned = count(described, 50)
    asked = [request.stage for request in Played(level(beam=2, revisions=2), answer).asked.values()]
    assert asked.count("reflect") <= planned.reflections
    assert asked.count("write") <= planned.revisions == 2 * 2 * 2 * 2
    assert asked.count("exam") <= planned.exam_answers
    first = count(msgspec.structs.replace(described, level=1), 50)
    assert planned.prompt_tokens - first.prompt_tokens > planned.completion_tokens - first.completion_tokens > 0
    assert any("rewrites the best 2" in step for step in order(described, counts(described)))
