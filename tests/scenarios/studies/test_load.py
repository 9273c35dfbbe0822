"""A study file becomes one class per cell, and every mistake in it is reported with its file, line and key."""

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import ScenarioError
from scenarios.config import load as scenarios
from scenarios.session.run_dir import RunFolder
from scenarios.studies import load
from scenarios.studies.folder import StudyFolder
from scenarios.studies.terms import named_lineups, primary_terms
from tests import classes

STUDY = """\
study: trial
base: base.yaml
set: {task.problems: 5, lesson: {rationales: 4}}
students:
  - {name: peer-1, model: simulated}
  - {name: peer-2, model: simulated}
  - name: bold
    persona: You are bold.
lineups:
  copies: [peer]
  mixed: [peer.1, bold]
cross:
  teacher: [simulated, {persona: You are calm., engine_args: {ability: 1.0}}]
  lesson.sampling.temperature: [0.5, 1.0]
seeds: [1, 2]
primary: [mixed - copies, mixed.sum - sc]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text((classes.ROOT / classes.SMOKE).read_text())
    path = tmp_path / "trial.yaml"
    path.write_text(STUDY)
    return path


def refusal(file: Path, old: str, new: str) -> str:
    """The error of the study with one text replaced."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ScenarioError) as caught:
        _, found = load.read(file)
        load.refuse_many(len(found))
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def test_every_combination_of_factors_and_seed_is_one_class(file: Path) -> None:
    study, found = load.read(file)
    assert len(found) == 2 * 2 * 2
    assert [one.cell.seed for one in found[:2]] == [1, 2]
    assert len({one.cell.name for one in found}) == 8
    for one in found:
        scenario = one.scenario
        assert (scenario.name, scenario.seed) == ("trial", one.cell.seed)
        assert (scenario.task.problems, scenario.lesson.rationales) == (5, 4)
        assert scenario.lesson.sampling.temperature == one.cell.factors["lesson.sampling.temperature"]
        assert [student.name for student in scenario.students] == ["peer-1", "peer-2", "bold"]
    assert [one.scenario.teacher.persona for one in found] == [""] * 4 + ["You are calm."] * 4
    # A section changes only the entries that it names.
    assert all(one.scenario.teacher.engine == "simulated" for one in found)
    assert study.seeds == (1, 2)


def test_the_arguments_of_an_engine_are_replaced_as_a_whole(file: Path) -> None:
    _, found = load.read(file, ["cross={teacher: [{engine_args: {uptake: 1.0}}, {persona: You are calm.}]}"])
    assert [one.scenario.teacher.engine_args for one in found[::2]] == [{"uptake": 1.0}, {"ability": 0.0}]


def test_a_study_without_students_factors_and_seeds_is_the_base_alone(file: Path) -> None:
    file.write_text("study: trial\nbase: base.yaml\n")
    _, (only,) = load.read(file)
    base = scenarios.read(file.parent / "base.yaml")
    assert only.cell.name == "seed=7"
    assert scenarios.difference(base, only.scenario) == ["name: 'smoke' -> 'trial'"]


def test_files_and_model_folders_are_relative_to_the_study(file: Path, tmp_path: Path) -> None:
    (tmp_path / "studies" / "model").mkdir(parents=True)
    moved = tmp_path / "studies" / "trial.yaml"
    moved.write_text(
        "study: trial\nbase: ../base.yaml\nset: {task: {file: mine.jsonl, family: null}}\n"
        "cross: {teacher: [{model: model, engine: transformers}]}\n"
    )
    _, (only,) = load.read(moved)
    assert only.scenario.task.file == str(tmp_path / "studies" / "mine.jsonl")
    assert only.scenario.teacher.model == str(tmp_path / "studies" / "model")


def test_a_copy_is_named_with_a_dot_or_a_dash_and_all_copies_by_their_student(file: Path) -> None:
    study, (first, *_) = load.read(file)
    lineups = named_lineups(study, [student.name for student in first.scenario.students], 1)
    assert lineups == {"copies": ("peer-1", "peer-2"), "mixed": ("peer-1", "bold")}
    assert primary_terms(study, first.scenario, lineups) == [("mixed", "copies"), ("mixed.sum", "sc")]


def test_a_baseline_may_be_compared_with_where_the_classes_ask_for_it(file: Path) -> None:
    study, (first, *_) = load.read(file, ["primary=[mixed - random_pick]"])
    lineups = named_lineups(study, [student.name for student in first.scenario.students], 1)
    assert primary_terms(study, first.scenario, lineups) == [("mixed", "random_pick")]
    asked = "primary=[mixed - self_evaluation_max, mixed - students_alone.bold]"
    with pytest.raises(ScenarioError, match=r"self_evaluation_max needs `baselines: \[self_evaluation\]`"):
        load.read(file, [asked])
    study, (first, *_) = load.read(file, [asked, "set.baselines=[self_evaluation, students_alone]"])
    assert primary_terms(study, first.scenario, lineups) == [
        ("mixed", "self_evaluation_max"),
        ("mixed", "students_alone.bold"),
    ]


def test_all_line_ups_are_named_by_their_students(file: Path) -> None:
    study, (first, *_) = load.read(file, ["lineups=all", "primary=[bold+peer-2 - sc]", "primary=[peer-1+bold - sc]"])
    names = named_lineups(study, [student.name for student in first.scenario.students], 1)
    assert list(names) == [
        "peer-1", "peer-2", "bold", "peer-1+peer-2", "peer-1+bold", "peer-2+bold", "peer-1+peer-2+bold",
    ]  # fmt: skip


def test_a_student_that_is_called_as_a_method_does_not_take_its_place(file: Path) -> None:
    file.write_text(file.read_text().replace("bold\n    persona", "sc\n    persona"))
    study, (first, *_) = load.read(file, ["lineups=all", "primary=[sc alone - sc]"])
    lineups = named_lineups(study, [student.name for student in first.scenario.students], 1)
    assert lineups["sc alone"] == ("sc",) and "sc" not in lineups and "peer-1+sc" in lineups
    assert primary_terms(study, first.scenario, lineups) == [("sc alone", "sc")]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("rationales: 4", "rationales: 0", ":3: set.lesson.rationales: needs a whole number, at least 1, has 0"),
        ("task.problems", "task.problms", ":3: set.task.problms: no such key; did you mean 'problems'?"),
        (
            "persona: You are b",
            "persna: You are b",
            ":8: students.2.persna (bold): no such key; did you mean 'persona'?",
        ),
        (
            "persona: You are b",
            "copies: 63\n    persona: You are b",
            "students: 65 students; a study has at most 64, since it compares each with all others",
        ),
        ("name: peer-2", "name: peer-1", ":6: students.1.name: 'peer-1' is taken by students.0"),
        (", bold]", ", bolt]", ":11: lineups.mixed.1: 'bolt' is no student of this study; did you mean 'bold'?"),
        (
            "[peer.1, bold]",
            "[peer.3]",
            ":11: lineups.mixed.0: 'peer.3' is no student of this study; there are peer.1, ",
        ),
        ("[peer.1, bold]", "[]", ":11: lineups.mixed: names nobody"),
        ("[peer.1, bold]", "[peer.1, peer-1]", ":11: lineups.mixed.1: peer-1 is in this line-up twice"),
        ("[peer.1, bold]", "bold", ":11: lineups.mixed: needs a list of students' names, has 'bold'"),
        ("  mixed:", "  sc:", ":11: lineups.sc: is the name of a method"),
        ("  lesson.sampling.temp", "  lesson.samplin.temp", ":14: cross.lesson.samplin.temperature"),
        ("[0.5, 1.0]", "[0.5, hot]", ":14: cross.lesson.sampling.temperature.1: "),
        ("[0.5, 1.0]", "[]", ":14: cross.'lesson.sampling.temperature': has no values"),
        ("[0.5, 1.0]", "[0.5, 0.5]", ":14: cross.'lesson.sampling.temperature': has a value twice"),
        ("[0.5, 1.0]", "0.5", ":14: cross.'lesson.sampling.temperature': needs a list of values, has 0.5"),
        (
            "{ability: 1.0}}",
            "{ability: 1.0}, modl: x}",
            ":13: cross.teacher.1.modl: teacher.modl (teacher): no such key",
        ),
        ("[1, 2]", "[]", ":15: seeds: needs a list of at least 1"),
        ("[1, 2]", "[1, 1]", ":15: seeds: names a seed twice"),
        ("mixed - copies", "mixed - copis", ":16: primary.0: 'copis' is neither a line-up nor a method; did you mean"),
        ("mixed - copies", "mixed - by_visible_cases", ":16: primary.0: by_visible_cases is compared by S-score"),
        ("mixed - copies", "mixed-copies", ":16: primary.0: needs A - B with blanks around the minus"),
        ("mixed - copies", "mixed - mixed.max", ":16: primary.0: compares mixed with itself"),
        ("mixed - copies", "mixed - sc_at_cost", ":16: primary.0: sc_at_cost needs `lesson.equal_cost: true`"),
        ("base.yaml", "nowhere.yaml", "nowhere.yaml: no such file; name a scenario, relative to this study"),
        ("base.yaml", "trial.yaml", "trial.yaml is a study; the base is a scenario"),
        ("lineups:", "line_ups:", ":9: line_ups: no such key; did you mean 'lineups'?"),
        ("[1, 2]", str(list(range(51))), "this study has 204 classes (factors times seeds); at most 200 are run"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_key(file: Path, old: str, new: str, error: str) -> None:
    assert error in refusal(file, old, new)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("task.problems=4", "--set set.task.problems=4"),
        ("exam={problems: 1}", "--set 'set.exam={problems: 1}'"),
        ("seed=3", "--set 'seeds=[3]'"),
    ],
)
def test_an_override_of_an_entry_of_the_classes_is_refused_with_the_one_for_a_study(
    file: Path, override: str, hint: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        load.read(file, [override])
    assert str(caught.value).endswith(f"For all its classes: {hint}")


def test_a_mistake_in_the_base_is_reported_with_its_own_line(file: Path) -> None:
    base = file.parent / "base.yaml"
    base.write_text(base.read_text().replace("problems: 2", "problems: two"))
    with pytest.raises(ScenarioError, match=r"base\.yaml:\d+: exam\.problems: needs a whole number"):
        load.read(file)


def test_a_study_compares_classes_with_teaching_problems(file: Path) -> None:
    (file.parent / "base.yaml").write_text((classes.ROOT / "scenarios" / "smoke_iterate.yaml").read_text())
    file.write_text("study: trial\nbase: base.yaml\n")
    with pytest.raises(ScenarioError, match=r"trial\.yaml:2: base: has level 3 alone"):
        load.read(file)


def test_a_study_needs_every_exam(file: Path) -> None:
    said = refusal(file, "task.problems: 5,", "task.problems: 5, exam.allocation: lossless,")
    assert "exam.allocation: lossless: a study compares line-ups" in said


def test_a_study_written_back_gives_the_same_cells(file: Path) -> None:
    study, found = load.read(file)
    copy = file.parent / "copy.yaml"
    copy.write_text(scenarios.dump(study))
    again, cells = load.read(copy)
    assert again == study
    assert [one.cell for one in cells] == [one.cell for one in found]
    assert [one.scenario for one in cells] == [one.scenario for one in found]


def test_a_study_given_as_a_scenario_names_the_command(file: Path) -> None:
    with pytest.raises(ScenarioError, match="is a study, not a scenario"):
        scenarios.read(file)


@pytest.mark.parametrize("read", [load.read, scenarios.read])
def test_a_study_without_a_name_is_told_to_add_it(file: Path, read: Callable[[Path], object]) -> None:
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith("study:")))
    with pytest.raises(ScenarioError, match=r"has lineups, as only studies have, .* add study: NAME"):
        read(file)


def test_a_folder_with_a_study_file_alone_is_no_study(file: Path) -> None:
    (file.parent / "mine").mkdir()
    alone = file.rename(file.parent / "mine/study.yaml").parent
    assert not load.is_study(alone)
    assert not StudyFolder(alone).used
    with pytest.raises(ScenarioError, match=r"has no classes; to run them: python run.py study"):
        RunFolder(alone).scenario()
