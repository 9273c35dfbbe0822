from pathlib import Path

import pytest

from agents import hiring, placement
from agents.engines.base import EngineStartError
from agents.models import ModelError
from scenarios.schema import Agent

TEACHER = Agent(name="teacher", engine="simulated")


def told(one: hiring.Hired) -> dict[str, object]:
    spec = hiring.spec(one, {}, seed=1, endpoint="ipc://x", keys="", answer_key=Path("/key"))
    return {"name": spec.name, "pool": spec.pool, "role": spec.role, "answerer": spec.answerer}


def test_everybody_gets_a_seat_and_an_engine_teacher_first() -> None:
    hired = hiring.hire(TEACHER, [Agent(name="ada", model="simulated"), Agent(name="bob", engine="external")])
    assert [(one.name, one.role, one.engine) for one in hired] == [
        ("teacher", "teacher", "simulated"),
        ("ada", "student", "simulated"),
        ("bob", "student", "external"),
    ]


def test_replicas_are_processes_of_one_pool_that_answer_alike() -> None:
    _, *ada = hiring.hire(TEACHER, [Agent(name="ada", engine="simulated", replicas=3)])
    assert [one.name for one in ada] == ["ada", "ada.2", "ada.3"]
    assert {told(one)["pool"] for one in ada} == {"ada"}
    assert len({told(one)["answerer"] for one in ada}) == 1


def test_who_would_answer_otherwise_is_another_answerer() -> None:
    _, *students = hiring.hire(
        TEACHER,
        [
            Agent(name="a", engine="simulated"),
            Agent(name="b", engine="simulated", persona="You are terse."),
            Agent(name="c", engine="simulated", engine_args={"ability": 2}),
            Agent(name="d", engine="simulated", engine_args={"tokens_per_second": 9}, capacity=4),
        ],
    )
    a, b, c, d = (told(one)["answerer"] for one in students)
    assert len({a, b, c}) == 3
    assert a == d


def test_an_unknown_model_and_a_wrong_engine_argument_are_refused_before_anything_starts() -> None:
    with pytest.raises(ModelError, match="smollm2-135m-instruct"):
        hiring.hire(TEACHER, [Agent(name="ada", model="smollm2-135m")])
    with pytest.raises(EngineStartError, match="abilty"):
        hiring.hire(TEACHER, [Agent(name="ada", engine="simulated", engine_args={"abilty": 1})])


def test_agents_that_take_turns_each_have_the_machine_to_themselves() -> None:
    machine = placement.described(["memory=1.5", "cores=4"])
    students = [Agent(name=name, model="qwen2.5-coder-0.5b-instruct") for name in ("ada", "bob")]
    with pytest.raises(placement.PlacementError, match=r"need 1\.9 GB"):
        hiring.hire(TEACHER, students, machine)
    _, *seated = hiring.hire(TEACHER, students, machine, in_turn=True)
    assert [one.seat.threads for one in seated] == [4, 4]
