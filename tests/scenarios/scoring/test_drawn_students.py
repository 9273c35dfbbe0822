from random import Random

from msgspec.structs import replace

from scenarios.records.observe import ExamCost, ExamGrade, ExplanationCost
from scenarios.scoring.drawn_students import MOST, drawn_students, examined_by
from scenarios.scoring.lineups import lineups, shown
from tests.scenarios.scoring.students import made_up

NAMES = tuple(f"s{number}" for number in range(3 * MOST))


def test_a_class_of_usual_size_is_analysed_whole() -> None:
    assert drawn_students(NAMES[:MOST], 7) == NAMES[:MOST]
    assert drawn_students((), 7) == ()


def test_of_a_large_class_so_many_are_drawn_in_its_order() -> None:
    drawn = drawn_students(NAMES, 7)
    assert len(drawn) == MOST
    assert list(drawn) == sorted(drawn, key=NAMES.index)
    assert drawn != NAMES[:MOST]


def test_the_seed_and_the_names_alone_decide_who_is_drawn() -> None:
    other = list(NAMES)
    Random(1).shuffle(other)
    assert set(drawn_students(other, 7)) == set(drawn_students(NAMES, 7)) != set(drawn_students(NAMES, 8))


def test_a_tp_as_if_only_some_students_had_taken_its_exams() -> None:
    (lesson,) = made_up((0.0, 1.0, 2.0), tps=1, trs=2)
    graded = [replace(one, grades=(ExamGrade("s0", "ep0", -1.0), ExamGrade("s2", "ep0", -2.0))) for one in
              lesson.rationales]  # fmt: skip
    costs = (ExamCost("s0", 10, 1), ExamCost("s1", 20, 2), ExamCost("s2", 40, 4))
    answers = (ExplanationCost(("s0", "s1"), 100, 10), ExplanationCost(("s1",), 200, 20))
    lesson = replace(lesson, rationales=tuple(graded), exam_costs=costs, explanation_costs=answers,
                     exam_tokens=37, exam_prompt_tokens=370)  # fmt: skip
    less = examined_by(lesson, ("s2", "s0"))
    assert {exam.student for one in less.rationales for exam in one.exams} == {"s0", "s2"}
    assert [len(one.exams) for one in less.rationales] == [6, 6]
    assert (less.exam_tokens, less.exam_prompt_tokens, len(less.exam_costs)) == (15, 150, 2)
    assert less.explanation_costs == (ExplanationCost(("s0",), 100, 10),)
    assert examined_by(lesson, ("s0",)).rationales[0].grades == (ExamGrade("s0", "ep0", -1.0),)
    assert examined_by(lesson, ("s0", "s1", "s2")) == lesson


def test_the_words_about_line_ups_say_who_was_drawn() -> None:
    assert shown(MOST) == "singles, 100 of 2,016 pairs, drawn by the seed, and everybody"
    assert shown(1000) == f"of 64 of the 1,000 students, drawn by the seed: {shown(MOST)} of them"
    assert len(lineups(drawn_students(NAMES, 1), 1)) == MOST + 100 + 1
