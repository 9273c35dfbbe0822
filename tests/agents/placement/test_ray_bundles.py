"""What each agent takes of a Ray cluster, and what the cluster cannot hold."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

import run
from agents.placement import hardware, ray_bundles, ray_launcher, resolve
from agents.placement.clusters import cluster_of
from agents.placement.crew import Crew
from agents.placement.hardware import Machine
from agents.placement.ray_cluster import RayCluster, RayNode
from agents.placement.ray_launcher import RayLauncher
from agents.placement.resolve import ResolvedAgent
from broker import auth
from broker.errors import PlacementError, ScenarioError
from broker.invitation import Invitation
from broker.members import BROKER, Member, Members
from broker.protocol import Hello
from broker.server import BrokerSpec
from scenarios.config import load
from scenarios.config.process_schema import Broker
from scenarios.config.schema import Agent
from scenarios.session.launching import Launching, chosen_address
from scenarios.session.run_dir import RunFolder
from tests import classes

MODEL = "smollm2-135m-instruct"
TEACHER = Agent(name="teacher", model=MODEL, engine="transformers")
BIG = RayNode("10.0.0.1", {"CPU": 8, "GPU": 2, "memory": 64e9, "node:10.0.0.1": 1})
SMALL = RayNode("10.0.0.2", {"CPU": 4})


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests need no Ray."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: name == "ray" or found(name, *rest))


def cluster(*nodes: RayNode) -> RayCluster:
    made = RayCluster("10.0.0.1:6379")
    made.__dict__["nodes"] = nodes
    return made


def student(name: str = "ada", **entries: Any) -> Agent:
    return Agent(name=name, **{"model": MODEL, "engine": "transformers", **entries})


def placed(*students: Agent, on: tuple[RayNode, ...] = (BIG, SMALL), teacher: Agent = TEACHER) -> list[ResolvedAgent]:
    return list(ray_bundles.resolve_agents(cluster(*on), teacher, students, trained=False))


def test_an_agent_takes_one_gpu_and_one_core_unless_it_says_otherwise() -> None:
    asked = [
        student("auto", memory_share=0.5),
        student("none", gpu="none", resources={"CPU": 2, "memory": 1e9}),
        student("sim", model="simulated", engine="simulated"),
        student("server", engine="openai", engine_args={"base_url": "http://h/v1"}),
    ]
    agents = placed(*asked)
    assert [one.bundle for one in agents] == [
        {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.5}, {"CPU": 2.0, "memory": 1e9}, {"CPU": 0.1}, {},
    ]  # fmt: skip
    assert [one.seat.device for one in agents[:3]] == ["Ray, 1 GPU", "Ray, 0.5 GPU", "Ray, CPU"]
    assert [one.joins for one in agents] == [False] * 5
    assert placed(student(), on=(SMALL,))[1].bundle == {"CPU": 1.0}


def test_all_gpus_of_an_agent_are_on_one_node_which_numbers_them_from_0() -> None:
    two = student(gpu=(4, 7), engine="vllm")
    one = placed(two, teacher=student("teacher", gpu="none"))[1]
    assert (one.bundle, one.config.gpu) == ({"CPU": 1.0, "GPU": 2.0}, (0, 1))
    halves = (RayNode("a", {"CPU": 8, "GPU": 1}), RayNode("b", {"CPU": 8, "GPU": 1}))
    with pytest.raises(
        PlacementError, match="ada: gpu: needs 2 GPU, 1 CPU on one node, and no node of the Ray"
    ) as error:
        placed(two, on=halves, teacher=student("teacher", gpu="none"))
    assert "There are: a (1 GPU, 8 CPU); b (1 GPU, 8 CPU)" in str(error.value)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (student(gpu=0, resources={"accelerator_type:H100": 0.1}), "1 GPU, 1 CPU, 0.1 accelerator_type:H100 on one"),
        (student(replicas=2), "the agents need 3 GPU together, and the Ray cluster has 2 GPU"),
        (student(resources={"GPU": 1}), "resources.GPU: is not set here: `gpu` says how many GPUs"),
        (student(gpu=(0, 1, 2), engine="vllm"), "needs 3 GPU, 1 CPU on one node"),
    ],
)  # fmt: skip
def test_what_the_cluster_cannot_hold_is_refused(asked: Agent, says: str) -> None:
    with pytest.raises(PlacementError, match=re.escape(says)) as error:
        placed(asked)
    assert len(str(error.value).splitlines()) <= 3


def test_too_many_simulated_students_and_a_teacher_to_be_trained_stay() -> None:
    many = student("many", model="simulated", engine="simulated", replicas=51)
    assert [one.bundle for one in placed(many)][1:] == [{}] * 51
    teacher = student("teacher", gpu="none")
    agents = ray_bundles.resolve_agents(cluster(BIG), teacher, [student()], trained=True)
    assert [bool(one.bundle) for one in agents] == [False, True]


def test_an_agent_of_the_cluster_is_started_by_the_class_with_its_own_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    auth.make_keys(keys, ["teacher", "ada"])
    broker = BrokerSpec(endpoint="tcp://h:1", gauges="tcp://h:2", keys=str(keys))
    sim = {"model": "simulated", "engine": "simulated"}
    agents = placed(student(**sim), teacher=student("teacher", **sim))
    crew = Crew(
        agents, {}, broker, run=tmp_path, answer_key=tmp_path / "key", seed=1, in_turn=False, cluster=cluster(BIG)
    )
    assert (crew.own, crew.far) == ({"teacher": ["teacher"], "ada": ["ada"]}, ("teacher", "ada"))
    assert crew.notices(keys) == []
    launcher: Any = crew.launcher(BROKER, broker, tmp_path, 0)
    invited = launcher._children["ada"].spec.spec
    assert isinstance(invited, Invitation)
    assert (invited.address, invited.role, invited.answerer) == ("tcp://h:1", "student", crew.answerers["ada"])
    assert invited.secret_key == auth.secret_key(keys, "ada")
    assert invited.secret_key not in repr(invited)


def test_a_pid_of_another_host_means_nothing_to_the_broker() -> None:
    members = Members({"ada": Member("student", "ada", far=True), "bob": Member("student", "bob")}, ["ada", "bob"], 1)
    said = Hello(name="ada", role="student", state="ready", pid=7)
    assert [members.process(msgspec.structs.replace(said, name=name)) for name in ("ada", "bob")] == [0, 7]


def test_ray_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PlacementError, match=r'not installed: pip install -e "\.\[cluster\]"'):
        cluster_of(Launching(launcher="ray"))
    assert cluster_of(Launching()) is None
    with pytest.raises(ScenarioError, match="without --estimate"):
        Launching(launcher="ray").check(True)


def test_agents_on_the_cpu_of_this_host_must_fit_in_its_memory_together(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Machine(cores=(0, 1), memory_mb=8000)
    monkeypatch.setattr(hardware, "look", lambda: msgspec.structs.replace(there, free_mb=1500))
    agents = ray_bundles.resolve_agents(RayCluster(None), TEACHER, [student()], there, trained=False)
    assert [(one.bundle, one.config.elsewhere, one.seat.shared) for one in agents] == [({"CPU": 1.0}, True, None)] * 2
    assert all(one.memory() for one in agents)
    assert "need about" in resolve.short_now(agents, in_turn=False)
    with pytest.raises(PlacementError, match="The agents on the CPU need about"):
        ray_bundles.resolve_agents(RayCluster(None), TEACHER, [student(replicas=20)], there, trained=False)


def test_a_described_machine_does_not_go_with_a_cluster() -> None:
    with pytest.raises(ScenarioError, match="without --estimate and --set machine"):
        run.plan(classes.ROOT / classes.SMOKE, overrides=("machine.gpus=8x80",), launch=Launching(launcher="ray"))


def test_the_address_that_the_launcher_chooses_lasts_as_long_as_the_session(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    scenario = load.read(classes.ROOT / classes.SMOKE)
    local = RayCluster(None)
    chosen = chosen_address(local, scenario)
    assert (chosen, chosen_address(None, scenario)) == (local.broker_address(), "")
    named = msgspec.structs.replace(scenario, broker=Broker(address="tcp://10.0.0.1:5599"))
    assert chosen_address(local, named) == ""
    (tmp_path / "broker-address").write_text("tcp://10.0.0.9:1")  # of a session that was killed
    with folder.sockets(scenario, chosen):
        assert folder.broker(scenario).endpoint == chosen
        assert folder.keys_of(scenario) == folder.keys
    with folder.sockets(scenario):
        assert folder.broker(scenario).endpoint.startswith("ipc://")
    assert not (tmp_path / "broker-address").exists()


def test_no_agent_is_started_before_the_broker_listens_or_if_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = RayLauncher([], cluster(BIG), {}, restarts=0)
    alive = [set[str](), {BROKER}, {BROKER}]
    monkeypatch.setattr(launcher, "alive", alive.pop)
    monkeypatch.setattr(launcher, "last_words", lambda name: f"the {name} has no port")
    tried = ["refused", "refused", ""]
    monkeypatch.setattr(ray_launcher, "unreachable", lambda *_: tried.pop(0))
    launcher._await_broker("tcp://h:1")
    assert (tried, len(alive)) == ([], 1)
    tried += ["refused"]
    with pytest.raises(PlacementError, match="the broker cannot be started: the broker has no port"):
        launcher._await_broker("tcp://h:1")
