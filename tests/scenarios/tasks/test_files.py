"""Problems from the user's own files."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.errors import TaskError
from scenarios.config.schema import Exam, Scenario, Task
from scenarios.tasks.build import build, build_class, check, check_class
from scenarios.tasks.grading.answers import ClassGrader, parse
from scenarios.tasks.sources import files

ONE = Exam(problems=1)
SCENARIO = {"name": "own", "teacher": {"name": "t"}, "students": [{"name": "s"}]}


def functional(n: int, variants: int = 3) -> dict[str, Any]:
    return {
        "id": f"algebra/{n}",
        "level": "Level 1",
        "variants": [{"problem": f"What is ${n}+{k}$?", "solution": f"\\boxed{{{n + k}}}"} for k in range(variants)],
    }


def plain(n: int, **more: Any) -> dict[str, Any]:
    return {"id": f"q{n}", "question": f"What is {n} + {n}?", "answer": 2 * n, **more}


def write(folder: Path, *lines: Any) -> Task:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "mine.jsonl").write_text(text, encoding="utf-8")
    return Task(file="mine.jsonl", problems=1)


def of(task: Task, problems: int) -> Task:
    return Task(file=task.file, problems=problems)


def test_the_first_variant_is_taught_and_the_others_are_the_exam(tmp_path: Path) -> None:
    bank = build(write(tmp_path, functional(40)), Exam(problems=2), 1, folder=tmp_path)
    (item,) = bank.items
    assert (item.tp.id, item.tp.text, item.tp.answer, item.tp.form) == ("algebra/40", "What is $40+0$?", "40", "latex")
    assert [(ep.id, ep.answer) for ep in item.eps] == [("algebra/40/ep1", "41"), ("algebra/40/ep2", "42")]
    assert bank.source == "mine.jsonl"


def test_the_exam_of_a_plain_problem_are_others_of_the_file(tmp_path: Path) -> None:
    task = of(write(tmp_path, *map(plain, range(5))), 5)
    bank = build(task, Exam(problems=2), 1, folder=tmp_path)
    assert sorted(item.tp.id for item in bank.items) == ["q0", "q1", "q2", "q3", "q4"]
    for item in bank.items:
        assert len({item.tp.text, *(ep.text for ep in item.eps)}) == 3
        assert all(ep.id.startswith(f"{item.tp.id}/ep/q") for ep in item.eps)


def test_solutions_are_kept_with_the_gold_answer_in_their_last_line(tmp_path: Path) -> None:
    lines = [
        plain(1, solution="  1 + 1 = 2  \n"),
        plain(2, solution="2 + 2 = 4\nAnswer: 5"),
        plain(3),
        plain(4, solution="Answer: 8"),
    ]
    task = of(write(tmp_path, *lines), 4)
    bank = build(task, Exam(problems=3), 1, folder=tmp_path)
    kept = {problem.text: problem.worked for problem in bank.problems}
    assert kept == {
        "What is 1 + 1?": "1 + 1 = 2\nAnswer: 2",
        "What is 2 + 2?": "2 + 2 = 4\nAnswer: 4",
        "What is 3 + 3?": "Answer: 6",
        "What is 4 + 4?": "Answer: 8",
    }


def test_the_solution_of_a_variant_is_kept(tmp_path: Path) -> None:
    bank = build(write(tmp_path, functional(40)), Exam(problems=1), 1, folder=tmp_path)
    assert bank.items[0].eps[0].solution == "\\boxed{41}\nAnswer: 41"


@pytest.mark.parametrize("solution", [7, None, ["7"]])
def test_a_solution_that_is_no_text_is_refused(tmp_path: Path, solution: Any) -> None:
    task = write(tmp_path, plain(1), plain(2, solution=solution))
    with pytest.raises(TaskError, match=r"line 2: .*solution"):
        build(task, ONE, 1, folder=tmp_path)


def test_the_exam_stays_within_the_group_and_the_form(tmp_path: Path) -> None:
    lines = [plain(n, group="even" if n % 2 == 0 else "odd") for n in range(6)]
    bank = build(of(write(tmp_path, *lines), 6), Exam(problems=2), 1, folder=tmp_path)
    for item in bank.items:
        assert {int(ep.answer) % 4 for ep in item.eps} == {int(item.tp.answer) % 4}


def test_the_seed_decides_and_more_of_anything_keeps_what_was_drawn(tmp_path: Path) -> None:
    task = write(tmp_path, *map(plain, range(20)))
    few = build(of(task, 4), ONE, 7, folder=tmp_path).items
    many = build(of(task, 9), Exam(problems=3), 7, folder=tmp_path).items
    assert [item.tp for item in many[:4]] == [item.tp for item in few]
    assert [item.eps[:1] for item in many[:4]] == [item.eps for item in few]
    assert [item.tp for item in build(of(task, 9), ONE, 8, folder=tmp_path).items] != [item.tp for item in many]


@pytest.mark.parametrize(
    ("answer", "form", "read"),
    [(3.5, "number", "7/2"), ("1,000", "number", "1000"), ("No", "yes_no", "no"), ("aunt", "word", "aunt"),
     ("$\\pi$", "latex", "\\pi")],
)  # fmt: skip
def test_the_form_of_a_plain_answer_is_derived_from_it(tmp_path: Path, answer: object, form: str, read: str) -> None:
    write(tmp_path, plain(1) | {"answer": answer})
    (entry,) = files.read(tmp_path / "mine.jsonl")
    problem = entry.problems[0]
    assert problem.form == form
    assert parse(f"Answer: {problem.answer}", problem.form) == read


def test_a_form_that_is_given_counts(tmp_path: Path) -> None:
    write(tmp_path, plain(1, form="word"))
    assert files.read(tmp_path / "mine.jsonl")[0].problems[0].form == "word"


def test_blank_lines_windows_line_ends_and_missing_ids_are_no_mistakes(tmp_path: Path) -> None:
    line = json.dumps({"question": "1 + 1?", "answer": "2"})
    (tmp_path / "mine.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\r\n{line}\r\n".encode())
    assert [entry.problems[0].id for entry in files.read(tmp_path / "mine.jsonl")] == ["line-1", "line-3"]


GOOD = functional(1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD, "{bad"], "line 2: not JSON"),
        ([GOOD, "[1]"], "line 2: a JSON object is wanted, not list"),
        ([GOOD, "[" * 100_000], "line 2: not JSON"),
        ([{"id": "x"}], "line 1: neither `variants`"),
        ([GOOD, plain(2)], "line 2: no `variants`, which the lines before it have"),
        ([plain(1), GOOD], "line 2: no `question`, which the lines before it have"),
        ([plain(1), {"question": "?"}], "line 2: .*missing required field `answer`"),
        ([{"question": 5, "answer": "5"}], r"line 1: Expected `str`, got `int` - at `\$.question`"),
        ([plain(1, form="prose")], "line 1: `form`: there is no 'prose'\nThe forms are number, latex, word, yes_no"),
        ([plain(1, form="Yes/No")], "line 1: `form`: there is no 'Yes/No'; did you mean yes_no"),
        ([plain(7, id=7), plain(8, id="7")], "line 2: the id '7' is already in line 1"),
        ([plain(1, form="number") | {"answer": "many"}], "line 1: `answer`: 'many' cannot be read as number"),
        ([plain(1) | {"question": " \n"}], "line 1: `question` is empty"),
        ([plain(1) | {"answer": ""}], "line 1: `answer` is empty"),
        ([plain(1), plain(2), plain(1)], "line 3: the id 'q1' is already in line 1"),
        ([GOOD, GOOD], "line 2: the id 'algebra/1' is already in line 1"),
        ([{"variants": [{"problem": "1?"}]}], "line 1: .*missing required field `solution`"),
        ([functional(1, 1)], "line 1: `variants` needs a teaching problem and at least one"),
        ([{"variants": [{"problem": "1?", "solution": "1"}] * 2}], r"line 1: variants\[0\].solution has no answer in"),
        ([{"variants": [{"problem": "1?", "solution": "\\boxed{1}"}] * 2}], r"variants\[1\] is the same problem"),
        (["", ""], "holds no problems"),
        ([plain(1)], "line 1: 0 other problems of its form .*exam.problems asks for 1"),
        ([plain(1, group="a"), plain(2, group="b")], "of its group 'a'"),
        ([plain(1), plain(2) | {"answer": "Yes"}], r"0 other problems of its form \(number\)"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path: Path, lines: list[Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        check(write(tmp_path, *lines), ONE, folder=tmp_path)


def test_a_line_with_too_few_variants_for_the_exam_is_named(tmp_path: Path) -> None:
    task = write(tmp_path, functional(1, 3), functional(2, 2))
    with pytest.raises(TaskError, match=r"line 2: 1 variants besides the first, and exam.problems asks for 2"):
        check(task, Exam(problems=2), folder=tmp_path)


def test_more_problems_than_the_file_has_are_refused_with_both_numbers(tmp_path: Path) -> None:
    task = of(write(tmp_path, functional(1), functional(2)), 3)
    with pytest.raises(TaskError, match=r"3 are asked for, and .*mine.jsonl has 2"):
        build(task, ONE, 1, folder=tmp_path)


def test_a_problem_that_stands_twice_under_two_ids_never_examines_itself(tmp_path: Path) -> None:
    task = write(tmp_path, plain(1), plain(1) | {"id": "again"})
    with pytest.raises(TaskError, match=r"0 other problems .*with another text"):
        build(task, ONE, 1, folder=tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_refuses_duplicates_exactly_as_the_run_does(tmp_path: Path, seed: int) -> None:
    write(tmp_path, plain(1), plain(1, id="again"), *map(plain, range(2, 6)))
    scenario = SCENARIO | {"task": {"file": "mine.jsonl", "problems": 4}, "exam": {"problems": 1}, "seed": seed}
    errors = []
    for refuse in (check_class, build_class):
        try:
            refuse(msgspec.convert(scenario, Scenario), folder=tmp_path)
            errors.append("")
        except TaskError as error:
            errors.append(str(error))
    assert errors[0] == errors[1]
    assert not errors[0] or "mine.jsonl: " in errors[0]


def test_whole_numbers_name_problems_and_groups(tmp_path: Path) -> None:
    lines = [plain(n, group=n % 2) | {"id": n} for n in range(4)]
    bank = build(of(write(tmp_path, *lines), 4), ONE, 1, folder=tmp_path)
    assert {item.tp.id: item.eps[0].id for item in bank.items} == {
        "0": "0/ep/2",
        "1": "1/ep/3",
        "2": "2/ep/0",
        "3": "3/ep/1",
    }


def test_a_raw_file_of_gsm8k_is_read(tmp_path: Path) -> None:
    worked = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72 clips.\n#### 72"
    write(tmp_path, {"question": "How many clips?", "answer": worked})
    (entry,) = files.read(tmp_path / "mine.jsonl")
    (problem,) = entry.problems
    assert (problem.answer, problem.form) == ("72", "number")
    assert problem.solution == "Natalia sold 48/2 = 24 clips in May.\nShe sold 48+24 = 72 clips.\nAnswer: 72"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"mine.jsonl: No such file"):
        check(Task(file="mine.jsonl"), ONE, folder=tmp_path)


SHARED = Path(__file__).parents[3] / ".." / "shared" / "data" / "math_functional.jsonl"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_file():
        pytest.skip("../shared/data/math_functional.jsonl is not there: the published data sets are not shipped")
    return SHARED.resolve()


@pytest.mark.shared_data
def test_a_class_on_the_published_variants_is_built_from_their_file(shared: Path) -> None:
    task = Task(file=shared.name, problems=181)
    bank = build(task, Exam(problems=2), 7, folder=shared.parent)
    assert len(bank.items) == 181
    assert all(len(item.eps) == 2 and item.tp.form == "latex" for item in bank.items)
    assert 10 < check(task, Exam(), folder=shared.parent) < 200


@pytest.mark.shared_data
def test_every_published_gold_answer_is_found_and_right(shared: Path) -> None:
    entries = files.read(shared)
    assert len(entries) == 1664
    with ClassGrader() as grader:
        for entry in entries:
            tp = entry.problems[0]
            assert grader.correct(tp, parse(f"So it is.\nAnswer: ${tp.answer}$", "latex")), tp
            assert grader.correct(tp, parse(f"\\boxed{{{tp.answer}}}", "latex")), tp


@pytest.mark.shared_data
def test_published_gold_answers_verify_against_themselves_as_mathematics(shared: Path) -> None:
    with ClassGrader() as grader:
        failed = [
            entry.problems[0].answer
            for entry in files.read(shared)[::8]
            if not grader._verifier.equivalent(entry.problems[0].answer, entry.problems[0].answer)
        ]
    assert failed == []
