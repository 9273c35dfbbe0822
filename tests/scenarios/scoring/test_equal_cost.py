from msgspec.structs import replace

from scenarios.records.observe import ExamCost, ExplanationCost, Rationale, TeachingProblemRecord
from scenarios.scoring.equal_cost import MOST, affordable, further, with_votes


def tr(repeat: int, completion: int = 10, prompt: int = 90) -> Rationale:
    return Rationale(f"tr{repeat}", repeat, "1", True, completion, (), prompt_tokens=prompt)


def lesson(*rationales: Rationale, completion: int, prompt: int) -> TeachingProblemRecord:
    return TeachingProblemRecord("tp", "number", None, rationales, completion, prompt)


def test_m1s_tokens_buy_as_many_rationales_as_fit_into_them() -> None:
    two = (tr(0, completion=10), tr(1, completion=20, prompt=80))
    bought = affordable(lesson(*two, completion=70, prompt=400))
    # 200 tokens for two rationales and 470 for their exams; 30 completion tokens, and 70.
    assert bought == (6, 6, False)
    assert further(lesson(*two, completion=70, prompt=400)) == 4
    assert affordable(lesson(*two, completion=70, prompt=100)) == (3, 6, False)
    assert further(lesson(*two, completion=70, prompt=100)) == 4, "the larger of both"


def test_at_most_so_many_further_rationales_are_sampled_and_that_is_said() -> None:
    dear = lesson(tr(0), completion=10, prompt=200 * MOST)
    assert affordable(dear) == (1 + MOST, 2, True)
    assert further(dear) == MOST


def test_without_rationales_exams_or_counted_tokens_nothing_further_is_sampled() -> None:
    assert further(lesson(completion=5, prompt=5)) == 0
    assert further(lesson(tr(0), completion=0, prompt=0)) == 0
    assert further(lesson(tr(0, completion=0, prompt=0), completion=5, prompt=5)) == 0


def test_a_line_up_pays_for_the_exams_of_its_students_alone() -> None:
    two = (tr(0, completion=10), tr(1, completion=20, prompt=80))
    costs = (ExamCost("ada", 100, 20), ExamCost("bob", 300, 50))
    one = replace(lesson(*two, completion=70, prompt=400), exam_costs=costs)
    assert affordable(one, ["ada", "bob"]) == affordable(one) == (6, 6, False)
    # 200 tokens for two rationales and 120 for the exams of ada; 30 completion tokens, and 20.
    assert affordable(one, ["ada"]) == (3, 3, False)
    assert affordable(one, ["nobody"]) == (2, 2, False), "no exams: SC"


def test_a_line_up_pays_for_an_answer_to_its_questions_even_if_others_use_it_too() -> None:
    one = replace(
        lesson(tr(0), completion=60, prompt=0),
        exam_costs=(ExamCost("ada", 0, 10), ExamCost("bob", 0, 10)),
        explanation_costs=(ExplanationCost(("ada",), 0, 10), ExplanationCost(("ada", "bob"), 0, 30)),
    )
    # One rationale took 10 completion tokens.
    assert affordable(one, ["ada", "bob"]).by_completion == affordable(one).by_completion == 7
    assert affordable(one, ["ada"]).by_completion == 6
    assert affordable(one, ["bob"]).by_completion == 5
    assert affordable(one, ["nobody"]).by_completion == 1


def test_votes_follow_the_rationales_of_the_lesson() -> None:
    one = replace(lesson(tr(0), tr(1), completion=9, prompt=9), votes=(tr(2), tr(3)))
    assert [r.repeat for r in with_votes(one, 3).rationales] == [0, 1, 2]
