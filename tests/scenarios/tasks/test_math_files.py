"""Problems in the shapes of MATH: folders, MATH500 lines, functional snapshots, lists of ids, held-out files."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.errors import TaskError
from scenarios.config.schema import Exam, Scenario, Task
from scenarios.tasks.build import build, build_class, check_class
from scenarios.tasks.grading.answers import ClassGrader, boxed, parse
from scenarios.tasks.problems import Problem
from scenarios.tasks.sources import files

ONE = Exam(problems=1)


def math(n: int, **more: Any) -> dict[str, Any]:
    """A problem as Hendrycks' MATH has it."""
    return {
        "problem": f"A shelf holds ${n}$ books, and ${n}$ more come. How many are there?",
        "level": f"Level {n % 5 + 1}",
        "type": "Algebra" if n % 2 else "Number Theory",
        "solution": f"There are $2 \\cdot {n} = \\boxed{{{2 * n}}}$ books.",
    } | more


def math500(n: int, **more: Any) -> dict[str, Any]:
    """The same as a line of MATH500."""
    one = math(n)
    return {
        "problem": one["problem"], "solution": one["solution"], "answer": str(2 * n), "subject": one["type"],
        "level": n % 5 + 1, "unique_id": f"test/shelves/{n}.json",
    } | more  # fmt: skip


def snapshot(n: int, draw: int) -> dict[str, Any]:
    """Another draw of its template."""
    return math(n) | {
        "problem": f"A shelf holds ${n + 100 * draw}$ books, and ${n}$ more come. How many are there?",
        "solution": f"\\boxed{{{2 * n + 100 * draw}}}",
    }


def folder(path: Path, problems: dict[str, dict[str, Any] | str]) -> Path:
    for name, one in problems.items():
        file = path / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(one if isinstance(one, str) else json.dumps(one, indent=2), encoding="utf-8")
    return path


def lines(path: Path, *objects: Any) -> Path:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in objects), encoding="utf-8")
    return path


def shelves(path: Path, problems: int = 6) -> Path:
    return folder(path / "MATH", {f"test/shelves/{n}": math(n) for n in range(1, problems + 1)})


def test_a_folder_of_math_is_read_with_level_and_subject(tmp_path: Path) -> None:
    entries = files.read(shelves(tmp_path))
    assert [entry.tp.id for entry in entries] == [f"test/shelves/{n}" for n in range(1, 7)]
    first = entries[0].tp
    assert (first.answer, first.form, first.level, first.subject) == ("2", "latex", "Level 2", "Algebra")
    assert first.solution == "There are $2 \\cdot 1 = \\boxed{2}$ books.\nAnswer: 2"


@pytest.mark.parametrize("part", ["MATH", "MATH/test", "MATH/test/shelves"])
def test_a_problem_has_one_id_however_much_of_math_is_named(tmp_path: Path, part: str) -> None:
    shelves(tmp_path)
    assert files.read(tmp_path / part)[0].tp.id == "test/shelves/1"


def test_a_line_of_math500_is_the_same_problem_as_its_file_in_math(tmp_path: Path) -> None:
    of_lines = files.read(lines(tmp_path / "math500.jsonl", *map(math500, range(1, 7))))
    assert [entry.tp for entry in of_lines] == [entry.tp for entry in files.read(shelves(tmp_path))]


def test_exams_in_math_stay_within_the_subject(tmp_path: Path) -> None:
    shelves(tmp_path)
    bank = build(Task(file="MATH", problems=6), Exam(problems=2), 1, folder=tmp_path)
    assert all(ep.subject == item.tp.subject for item in bank.items for ep in item.eps)


def test_exam_problems_are_the_other_draws_of_the_same_id(tmp_path: Path) -> None:
    lines(tmp_path / "math500.jsonl", *map(math500, range(1, 7)))
    for draw, month in enumerate(("oct", "nov"), 1):  # number 6 was drawn once only
        folder(tmp_path / month, {f"test/shelves/{n}": snapshot(n, draw) for n in range(1, 8 - draw)})
    task = Task(file="math500.jsonl", problems=5, exam_files=("oct", "nov"))
    bank = build(task, Exam(problems=2), 1, folder=tmp_path)
    assert {item.tp.id for item in bank.items} == {f"test/shelves/{n}" for n in range(1, 6)}
    for item in bank.items:
        n = int(item.tp.id.rpartition("/")[2])
        assert [(ep.id, ep.answer) for ep in item.eps] == [
            (f"{item.tp.id}/ep{k}", str(2 * n + 100 * k)) for k in (1, 2)
        ]
    with pytest.raises(TaskError, match=r"6 are asked for, .* has 6; 5 have 2 exam problems .*\(not test/shelves/6\)"):
        build(msgspec.structs.replace(task, problems=6), Exam(problems=2), 1, folder=tmp_path)


def test_variants_of_one_line_are_exam_problems_for_another_file(tmp_path: Path) -> None:
    lines(tmp_path / "math500.jsonl", math500(1), math500(2))
    drawn = [{key: snapshot(1, draw)[key] for key in ("problem", "solution")} for draw in range(3)]
    lines(tmp_path / "functional.jsonl", {"id": "test/shelves/1", "variants": drawn})
    task = Task(file="math500.jsonl", problems=1, exam_files=("functional.jsonl",))
    (item,) = build(task, Exam(problems=2), 1, folder=tmp_path).items
    assert item.tp.id == "test/shelves/1"
    assert [ep.answer for ep in item.eps] == ["102", "202"]  # the first is the TP itself
    with pytest.raises(TaskError, match="0 have 3 exam problems"):
        build(task, Exam(problems=3), 1, folder=tmp_path)


def test_lines_without_ids_are_never_matched_by_their_numbers(tmp_path: Path) -> None:
    for name in ("static.jsonl", "drawn.jsonl"):
        lines(tmp_path / name, {"problem": f"{name}?", "solution": "\\boxed{1}"})
    task = Task(file="static.jsonl", problems=1, exam_files=("drawn.jsonl",))
    with pytest.raises(TaskError, match=r"; 0 have 1 exam problems in task.exam_files"):
        build(task, ONE, 1, folder=tmp_path)


def test_a_list_of_ids_chooses_the_problems(tmp_path: Path) -> None:
    shelves(tmp_path)
    (tmp_path / "chosen.txt").write_text("# as in the paper\ntest/shelves/1.json\n\ntest/shelves/3\ntest/shelves/5\n")
    task = Task(file="MATH/test", problems=3, only="chosen.txt")
    bank = build(task, Exam(problems=2), 1, folder=tmp_path)
    assert {item.tp.id for item in bank.items} == {"test/shelves/1", "test/shelves/3", "test/shelves/5"}
    with pytest.raises(TaskError, match=r"4 are asked for, and task.only leaves 3 of"):
        build(msgspec.structs.replace(task, problems=4), ONE, 1, folder=tmp_path)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("a\nb\nc\nd\ntest/shelves/1", r"chosen.txt names 4 of 5 problems that .*MATH does not have: a, b, c, \.\.\."),
        ("test/shelves/1\ntest/shelves/1.json", "chosen.txt, line 2: test/shelves/1 is already in line 1"),
        ("# nothing", "chosen.txt names no problem"),
        ("\xff".encode("latin-1"), "chosen.txt, line 1: not UTF-8"),
    ],
)
def test_a_list_of_ids_with_a_mistake_is_refused(tmp_path: Path, listed: str | bytes, message: str) -> None:
    shelves(tmp_path)
    (tmp_path / "chosen.txt").write_bytes(listed if isinstance(listed, bytes) else listed.encode())
    with pytest.raises(TaskError, match=message) as refused:
        build(Task(file="MATH", problems=1, only="chosen.txt"), ONE, 1, folder=tmp_path)
    assert refused.value.key in ((), ("task", "only"))


def scenario(**more: Any) -> Scenario:
    plain = {"name": "own", "level": 2, "teacher": {"name": "t"}, "students": [{"name": "s"}], "exam": {"problems": 1}}
    return msgspec.convert(plain | more, Scenario)


def test_problems_of_a_held_out_file_are_measured_and_never_taught(tmp_path: Path) -> None:
    shelves(tmp_path, 8)
    lines(tmp_path / "math500.jsonl", *map(math500, (2, 4, 30)))
    task, learn = {"file": "MATH", "problems": 6}, {"held_out_file": "math500.jsonl", "held_out": 3}
    one = scenario(task=task, learn=learn)
    check_class(one, folder=tmp_path)
    bank = build_class(one, folder=tmp_path)
    assert {item.tp.id for item in bank.items} == {f"test/shelves/{n}" for n in (1, 3, 5, 6, 7, 8)}
    assert {problem.id for problem in bank.held_out} == {f"test/shelves/{n}" for n in (2, 4, 30)}
    fewer = build_class(scenario(task=task, learn=learn | {"held_out": 2}), folder=tmp_path)
    assert (fewer.items, fewer.held_out) == (bank.items, bank.held_out[:2])
    for refuse in (check_class, build_class):
        with pytest.raises(TaskError, match=r"7 are asked for, and .*MATH has 8, 6 of them not in learn.held_out_file"):
            refuse(scenario(task=task | {"problems": 7}, learn=learn), folder=tmp_path)
        with pytest.raises(TaskError, match=r"4 are asked for, and .*math500.jsonl has 3"):
            refuse(scenario(task=task, learn=learn | {"held_out": 4}), folder=tmp_path)


def test_training_and_test_files_of_gsm8k_have_lines_of_the_same_numbers(tmp_path: Path) -> None:
    for name, add in (("train", 0), ("test", 50)):
        worked = [{"question": f"{n} + {add}?", "answer": f"It is {n + add}.\n#### {n + add}"} for n in range(4)]
        lines(tmp_path / f"{name}.jsonl", *worked)
    one = scenario(task={"file": "train.jsonl", "problems": 4}, learn={"held_out_file": "test.jsonl", "held_out": 4})
    bank = build_class(one, folder=tmp_path)
    assert {problem.answer for problem in bank.held_out} == {"50", "51", "52", "53"}
    assert all(item.tp.form == "number" for item in bank.items)


def test_a_family_can_be_measured_on_a_file(tmp_path: Path) -> None:
    lines(tmp_path / "math500.jsonl", *map(math500, range(1, 4)))
    one = scenario(task={"family": "chain_sum", "problems": 2}, learn={"held_out_file": "math500.jsonl", "held_out": 2})
    check_class(one, folder=tmp_path)
    assert [problem.subject for problem in build_class(one, folder=tmp_path).held_out] != ["", ""]


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        ("So $x = \\boxed{\\frac{3}{4}}$.", "3/4"),
        ("The cable is $\\boxed{12\\text{ cm}}$ long.", "12\\text{ cm}"),
        ("Hence $x \\in \\boxed{[0,1)}$.", "[0,1)"),
        ("The set is $\\boxed{\\{1,2,5\\}}$.", "\\{1,2,5\\}"),
        ("$\\boxed{\\begin{pmatrix}1&0\\\\0&2\\end{pmatrix}}$", "\\begin{pmatrix}1&0\\\\0&2\\end{pmatrix}"),
        ("$\\boxed{(-\\infty,2] \\cup (3,\\infty)}$", "(-\\infty,2] \\cup (3,\\infty)"),
        ("First $\\boxed{7}$ is tried, and it fails. So it is $\\boxed{9}$.", "9"),
        ("The roots are $\\boxed{2}$ and $\\boxed{3}$.", "2, 3"),
        ("\\fbox{5}", "5"),
        ("$\\boxed 5$", "5"),
        ("$\\boxed{\\frac{1}{}$ is not closed", None),
        ("It is 5.", None),
        ("$\\boxed{}$", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_answer_is_in_the_box_of_the_solution(solution: str, gold: str | None) -> None:
    assert boxed(solution) == gold
    if gold is not None:
        with ClassGrader() as grader:
            problem = Problem("p", "?", gold, "latex")
            assert grader.correct(problem, parse(f"Thus it is $\\boxed{{{gold}}}$.", "latex"))


def test_gold_answers_that_are_no_formula_are_compared_as_text(tmp_path: Path) -> None:
    broken = "\\sqrt{x \\over"
    (entry,) = files.read(lines(tmp_path / "one.jsonl", math500(1, solution="?", answer=broken)))
    with ClassGrader() as grader:
        assert grader.correct(entry.tp, parse(f"Answer: ${broken}$", "latex"))
        assert not grader.correct(entry.tp, parse("Answer: $\\frac{1}{2}}{$", "latex"))


def test_without_a_box_the_answer_of_a_line_counts(tmp_path: Path) -> None:
    (entry,) = files.read(lines(tmp_path / "one.jsonl", math500(4, solution="Count them.")))
    assert entry.tp.answer == "8"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"1": '{\n  "problem": "?",\n  oops\n}'}, r"1\.json, line 3: not JSON"),
    ({"1": '{\n  "problem": "?",'}, r"1\.json, line 2: not JSON"),
    ({"1": "{oops}"}, r"1\.json, line 1: not JSON"),
    ({"1": "[1]"}, r"1\.json: a JSON object is wanted, not list"),
    ({"1": math(1), "2": math(2, solution="It is 5.")}, r"2\.json: `solution` has no answer in a \\boxed"),
    ({"1": math(1, problem=" ")}, r"1\.json: `problem` is empty"),
    ({"1": math(1, problem=7)}, r"1\.json: Expected `str`, got `int`"),
    ({"1": math(1), "2": {"question": "?", "answer": 1}}, r"2\.json: no `problem`, which the files before it have"),
    ({"1": {"title": "?"}}, r"1\.json: neither `variants`"),
    ({"1": math(1, id="x"), "2": math(2, id="x")}, r"2\.json: the id 'x' is already in 1\.json"),
    ({}, r"a folder without problems \(SUBJECT/NUMBER\.json\)$"),
]


@pytest.mark.parametrize(("problems", "message"), BAD)
def test_a_mistake_in_a_folder_is_named_with_its_file(tmp_path: Path, problems: dict[str, Any], message: str) -> None:
    (tmp_path / "mine").mkdir()
    folder(tmp_path / "mine", problems)
    with pytest.raises(TaskError, match=message):
        files.read(tmp_path / "mine")


def test_a_folder_of_files_with_lines_says_to_name_one(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", math500(1))
    with pytest.raises(TaskError, match=r"name one of its \.jsonl files instead"):
        files.read(tmp_path)


def test_labels_that_are_no_text_are_left_out_as_before(tmp_path: Path) -> None:
    odd = [{"question": f"{n}?", "answer": n, "level": level} for n, level in enumerate(({"a": 1}, None, True, 3))]
    assert [one.tp.level for one in files.read(lines(tmp_path / "odd.jsonl", *odd))] == ["", "", "", "Level 3"]


SHARED = Path(__file__).parents[3] / ".." / "shared" / "data" / "math_functional.jsonl"


@pytest.mark.shared_data
def test_the_boxes_of_the_published_variants_are_read_as_answers_are() -> None:
    if not SHARED.is_file():
        pytest.skip("../shared/data/math_functional.jsonl is not there: the published data sets are not shipped")
    entries = files.read(SHARED.resolve())
    assert {entry.tp.level for entry in entries} == {f"Level {n}" for n in range(1, 6)}
    assert len({entry.tp.subject for entry in entries}) == 7
