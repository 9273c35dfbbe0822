"""Which responses are right for which gold answers, which answers are the same, and the command that tries it."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import run
from broker.errors import TaskError
from broker.work_messages import AnswerForm
from scenarios.config.iterate_schema import LabelledTask
from scenarios.report.graded_file import grade_file
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.grading.gold import Answer, read_gold
from scenarios.tasks.problems import Problem
from scenarios.tasks.sources import files, jsonlines
from scenarios.tasks.sources.labels import TextPool

HERE = Path(__file__).parent
JUDGED = HERE / "graded_answers.jsonl"
"""Responses with the verdict that a careful person would give."""
SHARED = HERE.parents[2] / ".." / "shared" / "data" / "answers.jsonl"
PAGE = HERE.parents[2] / "docs" / "your-own-problems.md"
FORMS: tuple[AnswerForm, ...] = ("number", "latex", "word", "yes_no")


@pytest.fixture(scope="module")
def grader() -> Iterator[ClassGrader]:
    with ClassGrader() as one:
        yield one


def judged(form: str | None) -> list[dict[str, Any]]:
    return [pair for _, _, pair in jsonlines.objects(JUDGED, ()) if pair.get("form") == form]


def verdict(grader: ClassGrader, gold: Answer, form: str | None, response: str) -> bool:
    read = read_gold(gold, form, "line 1")
    return grader.correct(Problem("p", "", read.answer, read.form), grader.parse(response, read.form))


@pytest.mark.parametrize("form", [*FORMS, None], ids=str)
def test_answers_are_graded_as_a_careful_person_grades_them(form: str | None, grader: ClassGrader) -> None:
    pairs = judged(form)
    assert len(pairs) > 60
    assert [p for p in pairs if verdict(grader, p["gold"], form, p["response"]) != p["right"]] == []


@pytest.mark.parametrize("form", [*FORMS, None], ids=str)
def test_a_copy_of_the_gold_answer_is_right_in_every_notation(form: str | None, grader: ClassGrader) -> None:
    golds = {pair["gold"] for pair in judged(form) if isinstance(pair["gold"], str) and "\n" not in pair["gold"]}
    dresses = ("Answer: {}", "**Answer:** {}.", "\\boxed{{{}}}", "#### {}")
    wrong = [(g, d) for g in golds for d in dresses if not verdict(grader, g, form, d.format(g))]
    assert wrong == []


@pytest.mark.parametrize("form", ["number", "word", "yes_no"])
def test_sameness_is_transitive(form: AnswerForm, grader: ClassGrader) -> None:
    read = {grader.parse(pair["response"], form) for pair in judged(form)}
    assert_transitive(grader, sorted(answer for answer in read if answer is not None), form)


def test_sameness_of_formulas_is_transitive(grader: ClassGrader) -> None:
    answers = """
        5  x=5  y=5  28  28\\%  0.28  (2,3)  2,3  3,2  \\{2,3\\}  120_4  120_{5}  120  2x+1  y=2x+1  y=1+2x  0
        10^{-34}  10^{-33}  12\\text{cm}  12\\text{m}  12\\mathrm{centimeters}  12
    """
    assert_transitive(grader, answers.split(), "latex")


def assert_transitive(grader: ClassGrader, answers: list[str], form: AnswerForm) -> None:
    same = {(a, b): grader.same(a, b, form) for a, b in itertools.product(answers, answers)}
    assert all(same[a, a] for a in answers)
    assert [pair for pair in same if same[pair] != same[pair[::-1]]] == []
    broken = [(a, b, c) for a, b in same if same[a, b] for c in answers if same[b, c] and not same[a, c]]
    assert broken == []


def test_of_fifty_thousand_marks_the_last_is_read(grader: ClassGrader) -> None:
    assert verdict(grader, 42, None, "answer is " * 50_000 + "\nAnswer: 42")


@pytest.mark.parametrize("answer", ["1" * 1_000_000, "10**10**9", "1e999999999", "9" * 300 + "!" * 300, "-" * 400])
def test_huge_numbers_are_not_answers(answer: str, grader: ClassGrader) -> None:
    assert grader.parse(f"Answer: {answer}", "number") is None
    assert grader.parse(f"Answer: {answer}", "yes_no") is None
    assert not grader.same(answer, "10", "word")


@pytest.mark.shared_data
def test_the_shared_pairs_are_graded_as_they_were_judged() -> None:
    if not SHARED.is_file():
        pytest.skip("../shared/data/answers.jsonl is not there: it is not shipped")
    # One response is abridged in the file, to `... (500011 chars)`: its answer is not there.
    abridged = {pair["id"] for _, _, pair in jsonlines.objects(SHARED, ()) if pair["response"].endswith(" chars)")}
    graded = grade_file(SHARED)
    assert len(abridged) == 1
    assert [one.id for one in graded.results if one.correct != one.right and one.id not in abridged] == []


# --- the command ----------------------------------------------------------------------------------------


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path


def test_grade_counts_the_lines_that_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path,
        {"gold": 18, "response": "Answer: 18 eggs", "right": True, "id": 7},
        {"gold": "18", "response": "Answer: 19", "right": True},
        {"gold": "no", "response": "I cannot say."},
    )
    assert run.main(["grade", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {key: printed[key] for key in ("pairs", "correct", "judged", "agree")} == {
        "pairs": 3, "correct": 1, "judged": 2, "agree": 1,
    }  # fmt: skip
    shown = [(one["id"], one["form"], one["answer"], one["correct"], one["right"]) for one in printed["results"]]
    assert shown == [
        ("7", "number", "18", True, True),
        ("line-2", "number", "19", False, True),
        ("line-3", "yes_no", None, False, None),
    ]


def test_grade_prints_the_lines_that_disagree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path,
        {"gold": 18, "response": "Answer: 18", "right": True, "id": "agrees"},
        {"gold": 18, "response": "Answer: 18", "right": False, "id": "differs"},
    )
    assert run.main(["grade", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "differs" in printed and "agrees" not in printed
    assert "2 pairs, 2 graded right; the verdict is that of the file in 1 of 2 (50.0 %)" in " ".join(printed.split())


def test_grade_prints_every_line_where_no_verdict_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["grade", str(write(tmp_path, {"gold": "aunt", "response": "Answer: uncle"}))]) == 0
    printed = capsys.readouterr().out
    assert "line-1" in printed and "uncle" in printed and "wrong" in printed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"gold": 1}, "line 1: .*missing required field `response`"),
        ({"gold": "", "response": "1"}, "line 1: `gold` is empty"),
        ({"gold": "x", "response": "1", "form": "number"}, "line 1: `gold`: 'x' cannot be read as number"),
        ({"gold": "x", "response": "1", "form": "yes-no"}, "line 1: `form`: there is no 'yes-no'; did you mean yes_no"),
        ({"gold": 1, "response": "1", "right": "yes"}, r"line 1: Expected `bool \| null`, got `str`"),
    ],
)
def test_a_mistake_in_a_pair_is_reported_with_its_line(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        grade_file(write(tmp_path, line))


def test_a_file_without_pairs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("\n", "utf-8")
    with pytest.raises(TaskError, match="holds no pairs"):
        grade_file(tmp_path / "none.jsonl")


# --- docs/your-own-problems.md --------------------------------------------------------------------------


def examples() -> list[str]:
    blocks = PAGE.read_text("utf-8").split("```jsonl\n")[1:]
    return [block.partition("```")[0] for block in blocks]


def test_every_example_of_the_page_is_accepted(tmp_path: Path) -> None:
    seen = set()
    for block in examples():
        path = tmp_path / "example.jsonl"
        path.write_text(block, "utf-8")
        first = json.loads(block.splitlines()[0])
        assert len(block.splitlines()) == 3
        if "gold" in first:
            seen.add("gold")
            assert grade_file(path).agree == 3
        elif "label" in first:
            seen.add("label")
            pool = TextPool(LabelledTask(file=path.name, positive="yes", description="Animals."))
            for line in block.splitlines():
                pool.add(json.loads(line), "example", held_out=False)
            pool.finish("example")
            assert sorted(text.positive for text in pool.texts.values()) == [False, True, True]
        else:
            shape = files.shape_of(first, "example")
            seen.add("####" if "####" in str(first.get("answer")) else shape)
            assert len(files.read(path)) == 3
    assert seen == {"question", "####", "variants", "problem", "signature", "label", "gold"}


def test_an_equal_text_is_read_by_the_form_of_its_problem_however_often_it_comes(grader: ClassGrader) -> None:
    number, word = (Problem("p", "?", "7", form) for form in ("number", "word"))
    for _ in range(2):
        assert grader.read("Answer: 7.0", number) == "7"
        assert grader.read("Answer: 7.0", word) == "7.0"
        assert grader.correct(number, "7") and not grader.correct(word, "7.0") and not grader.correct(number, None)
    long = "so " * 1000 + "\nAnswer: 7"  # longer than what is remembered
    assert grader.read(long, number) == grader.read(long[-20:], number) == "7"
