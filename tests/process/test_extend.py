"""`extend`: a class goes on with a larger scenario, and is then the class that began with it."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from scenarios.store.sqlite import Store
from tests import classes

SMALL = ("task.problems=3", "lesson.rationales=3", "students=[{name: peer, engine: simulated}]")
LARGE = ("task.problems=5", "lesson.rationales=5", "exam.problems=3", "exam.repeats=2")
STUDENTS = "students=[{name: peer, engine: simulated}, {name: twin, engine: simulated, copies: 2}]"
TOO_LATE = "exam.repeats=2"
"""With repeats, a further identical student would take over repeats of the others."""


def extend(out: Path, *overrides: str, code: int = 0) -> str:
    return classes.say("extend", out, "--monitor", "off", *classes.sets(*overrides), code=code)


def views(out: Path) -> object:
    """What a class comes to, but for what depends on the time and the order of its sessions."""
    found = json.loads((out / "summary.json").read_text())
    with Store(out) as store:
        rationales = store.query("SELECT request_id, tp, repeat, correct FROM teaching_rationale ORDER BY 1")
        exams = store.query("SELECT request_id, tr, student, correct FROM exam_answer ORDER BY 1")
    names = ("methods", "students", "lineups", "paired", "assumption")
    return rationales, exams, {name: found[name] for name in names}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("small") / "run"
    classes.finish(classes.start(out, *SMALL))
    return out


@pytest.fixture
def run(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "run"))


def test_a_class_that_is_extended_twice_is_the_class_that_began_so(run: Path, tmp_path: Path) -> None:
    before = classes.gradebook(run)
    said = extend(run, STUDENTS, "lesson.rationales=4")
    assert f"({len(before)} results reused from earlier sessions)" in " ".join(said.split())
    said = extend(run, "task.problems=4", "exam.problems=3", "lesson.rationales=6", "lesson.equal_cost=true")
    assert "The class was extended: " in said and "false positives are more frequent" in " ".join(said.split())
    first, second = classes.summary(run)["changes"]["extended"]
    assert "lesson.rationales: 3 -> 4" in first and "task.problems: 3 -> 4" in second
    assert before < classes.gradebook(run)
    whole = tmp_path / "whole"
    classes.finish(
        classes.start(
            whole,
            *SMALL,
            STUDENTS,
            "task.problems=4",
            "exam.problems=3",
            "lesson.rationales=6",
            "lesson.equal_cost=true",
        )
    )
    assert classes.gradebook(run) == classes.gradebook(whole)
    assert views(run) == views(whole)
    assert (run / "scenario.yaml").read_text() == (whole / "scenario.yaml").read_text()
    said = extend(run, "lesson.rationales=6")
    assert "Nothing that the class asks changes. It is complete: there is nothing to do." in said
    assert f"python run.py report {run}" in said and "Go on with" not in said


def test_an_extension_that_is_interrupted_goes_on_with_resume(run: Path, tmp_path: Path) -> None:
    before = classes.results(run)
    process = classes.extend(run, *LARGE, "students.*.engine_args={tokens_per_second: 5}")
    classes.wait_until(process, lambda: classes.results(run) > before)
    process.send_signal(signal.SIGINT)
    assert f"python run.py resume {run}" in classes.finish(process, code=130)
    classes.finish(classes.resume(run, "students.*.engine_args={}"))
    whole = tmp_path / "whole"
    classes.finish(classes.start(whole, *SMALL, *LARGE))
    assert classes.gradebook(run) == classes.gradebook(whole)
    assert views(run) == views(whole)


def test_further_rationales_of_a_smaller_class_are_rationales_of_a_larger_one(run: Path) -> None:
    extend(run, "lesson.equal_cost=true")
    with Store(run) as store:
        ((votes,),) = store.query("SELECT count(*) FROM result WHERE stage = 'votes' AND repeat < 5")
    assert votes == 6
    extend(run, "lesson.rationales=5")
    with Store(run) as store:
        assert store.query("SELECT count(*) FROM teaching_rationale") == [(15,)]
        assert store.query("SELECT count(*) FROM result WHERE stage = 'votes' AND repeat < 5") == [(0,)]


@pytest.mark.parametrize(
    ("overrides", "difference"),
    [
        (["lesson.rationales=2"], "lesson.rationales: 3 -> 2"),
        (["task.problems=2", "lesson.rationales=9"], "task.problems: 3 -> 2"),
        (["exam.problems=1"], "exam.problems: 2 -> 1"),
        (["seed=8"], "seed: 7 -> 8"),
        (["exam.sampling.temperature=1"], "exam.sampling.temperature: 0.7 -> 1.0"),
        (["students.0.sampling.temperature=1"], "students.0.sampling.temperature"),
        (["students.0.persona=brief"], "students.0.persona"),
        (["students=[{name: other, engine: simulated}]"], "students: peer would be gone"),
        (["teacher.engine_args.ability=1"], "teacher.engine_args.ability"),
        (["task.family=chain_sum"], "task.family: 'gsm_symbolic' -> 'chain_sum'"),
    ],
)
def test_an_extension_that_would_change_what_was_asked_is_refused(
    run: Path, overrides: list[str], difference: str
) -> None:
    before = classes.gradebook(run), (run / "scenario.yaml").read_text(), (run / "summary.json").read_text()
    said = extend(run, *overrides, code=2)
    assert difference in " ".join(said.split())
    assert "start a new class" in said
    assert before == (classes.gradebook(run), (run / "scenario.yaml").read_text(), (run / "summary.json").read_text())


def test_an_identical_student_that_would_take_over_the_repeats_of_another_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    classes.finish(classes.start(out, *SMALL, TOO_LATE, "students.0.copies=2"))
    before = classes.tables(out)
    said = extend(out, "students.0.copies=3", code=2)
    assert "are not among those that it asks so far" in said
    assert classes.tables(out) == before


def test_a_file_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    problems, out = tmp_path / "problems.jsonl", tmp_path / "run"
    lines = [json.dumps({"question": f"What is {n} + {n}?", "answer": str(2 * n)}) for n in range(12)]
    problems.write_text("\n".join(lines))
    one = f"task={{file: {problems}, problems: 3}}"
    classes.finish(classes.start(out, *SMALL, one))
    extend(out, "task.problems=4")
    problems.write_text("\n".join(lines).replace("What is", "How much is"))
    before = classes.tables(out)
    said = " ".join(extend(out, "task.problems=5", STUDENTS, code=2).split())
    assert "problems.jsonl gives other problems for the larger class than this class has" in said
    assert classes.tables(out) == before
