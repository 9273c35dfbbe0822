"""F1 against definitions written down in another way: precision and recall, and accuracy."""

from hypothesis import given
from hypothesis import strategies as st

from scenarios.records.confusion import Confusion, confusion

ANSWERS = st.lists(st.tuples(st.sampled_from(["Yes", "No"]), st.sampled_from(["yes", "no", None])), max_size=40)


def by_precision_and_recall(pairs: list[tuple[str, str]], positive: str) -> float:
    hits = sum(gold == said == positive for gold, said in pairs)
    said = [gold for gold, said in pairs if said == positive]
    there = [said for gold, said in pairs if gold == positive]
    if not hits:
        return 0.0
    precision, recall = hits / len(said), hits / len(there)
    return 2 * precision * recall / (precision + recall)


@given(ANSWERS)
def test_f1_is_the_harmonic_mean_of_precision_and_recall_where_no_answer_is_the_wrong_answer(
    answers: list[tuple[str, str | None]],
) -> None:
    found = confusion(answers)
    other = {"yes": "no", "no": "yes"}
    pairs = [(gold.lower(), other[gold.lower()] if said is None else said) for gold, said in answers]
    if not pairs:
        assert (found.f1, found.macro, found.micro, found.neither_share) == (None, None, None, None)
        return
    yes, no = (by_precision_and_recall(pairs, label) for label in ("yes", "no"))
    assert found.f1 is not None
    assert found.macro is not None
    assert abs(found.f1 - yes) < 1e-12
    assert abs(found.macro - (yes + no) / 2) < 1e-12
    assert found.micro == sum(gold == said for gold, said in pairs) / len(pairs)
    assert found.neither_share == sum(said is None for _, said in answers) / len(pairs)
    assert found.n == len(pairs)


@given(ANSWERS, ANSWERS)
def test_counts_add_up(one: list[tuple[str, str | None]], other: list[tuple[str, str | None]]) -> None:
    assert confusion(one) + confusion(other) == confusion(one + other)


def test_a_student_that_never_decides_gets_everything_wrong() -> None:
    found = confusion([("Yes", None), ("No", None)])
    assert found == Confusion(0, 1, 1, 0, 2)
    assert (found.f1, found.macro, found.micro, found.neither_share) == (0.0, 0.0, 0.0, 1.0)
