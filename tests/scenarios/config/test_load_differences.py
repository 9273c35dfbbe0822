"""What is written out of a scenario, and which differences a class under way can live with."""

from pathlib import Path

import pytest

from broker.engine_args import EXECUTION_ONLY
from scenarios.config import yaml_tree
from scenarios.config.load import asked_differs, beyond_extension, beyond_replay, difference, dump, read
from scenarios.config.schema import Scenario
from tests.scenarios.config.test_load import GOOD


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "good.yaml"


def good(path: Path, *overrides: str) -> Scenario:
    path.write_text(GOOD)
    return read(path, overrides)


def test_every_default_is_written_out(path: Path) -> None:
    written = yaml_tree.parse(dump(good(path))).value
    assert list(written) == list(Scenario.__struct_fields__)
    assert written["limits"] == {
        "stalled_s": 300.0,
        "loading_s": 900.0,
        "training_s": 3600.0,
        "empty_pool_s": 120.0,
        "broker_s": 60.0,
        "restarts": 2,
        "drain_s": 20.0,
    }
    assert written["students"][0]["gpu"] == "auto"


# --- what differs ---------------------------------------------------------------------------------------


def test_differences_name_the_entry_and_both_values(path: Path) -> None:
    changed = good(path, "task.problems=9", "students.1.persona=", "teacher.gpu=[0, 1]", "task.templates=[1]")
    assert difference(good(path), changed) == [
        "task.problems: 6 -> 9",
        "task.templates: nothing (null) -> [1]",
        "teacher.gpu: 'auto' -> [0, 1]",
        "students.1.persona: 'brief' -> empty text",
    ]


def test_a_writer_that_is_the_teacher_anyway_is_no_difference(path: Path) -> None:
    default = good(path, "exam.maker=invented")
    assert difference(default, good(path, "exam.maker=invented", f"exam.invent.by={default.teacher.name}")) == []
    student = good(path, "exam.maker=invented", f"exam.invent.by={default.students[0].name}")
    assert difference(default, student) == [f"exam.invent.by: nothing (null) -> {default.students[0].name!r}"]


def test_an_added_or_removed_student_is_one_line_of_the_difference(path: Path) -> None:
    assert difference(good(path), good(path, "students=[{name: tiny}]")) == ["students.1: 'peer' -> not there"]
    third = "students=[{name: tiny}, {name: peer, persona: brief}, {name: third}]"
    assert difference(good(path), good(path, third)) == ["students.2: not there -> 'third'"]


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "teacher.gpu=none",
        "students.1.gpu=[0, 1]",
        "students.*.capacity=4",
        "students.0.replicas=2",
        "time_share=true",
        "students.0.engine_args.tokens_per_second=9",
        "students.0.memory_share=0.5",
        "limits.restarts=0",
        "teacher.model=n",
        "teacher.engine=transformers",
        "students.0.max_context=900",
        "limits.stalled_s=5",
        "broker.address=tcp://h:5555",
        "scoring.ties=first",
    ],
)
def test_entries_that_change_no_request_may_differ(path: Path, override: str) -> None:
    changed = good(path, override)
    assert difference(good(path), changed)
    assert asked_differs(good(path), changed) == []


def test_no_argument_of_an_engine_that_changes_no_answer_is_refused(path: Path) -> None:
    for name in EXECUTION_ONLY:
        changed = good(path, f"teacher.engine_args.{name}=1", f"students.1.engine_args.{name}=1")
        assert difference(good(path), changed)
        assert asked_differs(good(path), changed) == [], name


@pytest.mark.parametrize(
    "override",
    [
        "seed=8",
        "task.problems=7",
        "task.family=chain_sum",
        "task.templates=[1]",
        "lesson.rationales=7",
        "lesson.sampling.top_k=7",
        "lesson.greedy=false",
        "exam.repeats=2",
        "learn.gap=0.2",
        "teacher.name=eva",
        "students.1.persona=long",
        "students.0.dtype=float32",
        "students.0.engine_args.ability=1",
        "students=[{name: tiny}]",
        "students=[{name: tiny}, {name: peer, persona: brief}, {name: third}]",
    ],
)
def test_entries_that_change_a_request_are_reported(path: Path, override: str) -> None:
    changed = good(path, override)
    assert asked_differs(good(path), changed) == difference(good(path), changed) != []


def test_at_level_2_a_scoring_rule_changes_requests(path: Path) -> None:
    for level in ("2", "[1, 2]"):
        before, after = (
            good(path, f"level={level}", one) for one in ("scoring.merge=answers", "scoring.merge=students")
        )
        assert asked_differs(before, after) == ["scoring.merge: 'answers' -> 'students'"]


def test_every_section_either_may_change_or_decides_requests(path: Path) -> None:
    asked = {"level", "seed", "task", "teacher", "students", "lesson", "exam", "learn", "iterate", "baselines"}
    assert asked | {"name", "time_share", "scoring", "limits", "broker", "published", "metrics"} == set(
        Scenario.__struct_fields__
    )
    scenario = good(path)
    assert asked_differs(scenario, good(path, "seed=1")) == ["seed: 7 -> 1"]


def test_baselines_may_be_added_to_a_class_and_left_out_of_a_replay(path: Path) -> None:
    old, new = good(path), good(path, "baselines=[universal]")
    assert beyond_replay(old, new) == beyond_replay(new, old) == beyond_extension(old, new) == []
    assert asked_differs(old, new) == ["baselines: [] -> ['universal']"]


def test_another_score_may_be_replayed_and_not_resumed(path: Path) -> None:
    old, new = good(path), good(path, "exam.score=logprob")
    assert beyond_replay(old, new) == []
    assert asked_differs(old, new) == ["exam.score: 'accuracy' -> 'logprob'"]


def test_a_class_with_all_exams_is_replayed_with_fewer_and_no_other_way_round(path: Path) -> None:
    full, fewer = good(path), good(path, "exam.allocation=halving")
    assert beyond_replay(full, fewer) == []
    assert beyond_replay(fewer, good(path, "exam.allocation=halving", "name=other")) == []
    why = "exam.allocation: halving asked only the exams that its own rules need"
    for one in ("exam.allocation=full", "exam.allocation=lossless"):
        assert beyond_replay(fewer, good(path, one))[-1] == why
    for one in ("scoring.ties=first", "lesson.rationales=2", "students=[{name: tiny}]"):
        assert beyond_replay(fewer, good(path, "exam.allocation=halving", one))[-1] == why


def test_a_class_with_fewer_exams_keeps_its_scoring_and_does_not_grow(path: Path) -> None:
    fewer = good(path, "exam.allocation=lossless")
    other = good(path, "exam.allocation=lossless", "scoring.ties=first")
    assert asked_differs(fewer, other) == ["scoring.ties: 'votes' -> 'first'"]
    (why,) = beyond_extension(fewer, good(path, "exam.allocation=lossless", "task.problems=9"))
    assert "asked only the exams that this class needed" in why
    assert beyond_extension(fewer, fewer) == []
    assert beyond_extension(good(path), fewer) == ["exam.allocation: 'full' -> 'lossless'"]
