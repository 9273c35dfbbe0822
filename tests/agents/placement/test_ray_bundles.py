"""What each agent takes of a Ray cluster, and what the cluster cannot hold."""

import importlib.util
import json
import re
import threading
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

import run
from agents.placement import hardware, ray_bundles, ray_cluster, ray_launcher, resolve
from agents.placement.class_agents import AgentProcesses
from agents.placement.hardware import Machine
from agents.placement.launch_options import LaunchOptions
from agents.placement.launcher import ChildSpec
from agents.placement.ray_cluster import RayCluster, RayNode
from agents.placement.ray_launcher import RayLauncher
from agents.placement.ray_watch import ClusterWatch
from agents.placement.resolve import ResolvedAgent
from broker import auth
from broker.errors import PlacementError, ScenarioError
from broker.interrupts import INTERRUPTS
from broker.invitation import Invitation
from broker.members import BROKER, Member, Members
from broker.protocol import Hello
from broker.server import BrokerSpec
from scenarios.config import load
from scenarios.config.process_schema import Broker
from scenarios.config.schema import Agent
from scenarios.session import session
from scenarios.session.ending import Ending
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


class Cluster(RayCluster):
    """A cluster with these nodes."""

    nodes: tuple[RayNode, ...] = ()


def cluster(*nodes: RayNode) -> RayCluster:
    made = Cluster("10.0.0.1:6379")
    made.nodes = nodes
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
    processes = AgentProcesses(
        placed(student(**sim), teacher=student("teacher", **sim)),
        {},
        broker,
        run=tmp_path,
        answer_key=tmp_path / "key",
        seed=1,
        in_turn=False,
        cluster=cluster(BIG),
    )
    assert (processes.own, processes.far) == ({"teacher": ["teacher"], "ada": ["ada"]}, ("teacher", "ada"))
    assert processes.notices(keys) == []
    launcher: Any = processes.launcher(BROKER, broker, tmp_path, 0)
    invited = launcher._children["ada"].spec.spec
    assert isinstance(invited, Invitation)
    assert (invited.address, invited.role, invited.answerer) == ("tcp://h:1", "student", processes.answerers["ada"])
    assert invited.secret_key == auth.secret_key(keys, "ada")
    assert invited.secret_key not in repr(invited)


def test_a_pid_of_another_host_means_nothing_to_the_broker() -> None:
    members = Members({"ada": Member("student", "ada", far=True), "bob": Member("student", "bob")}, ["ada", "bob"], 1)
    said = Hello(name="ada", role="student", state="ready", pid=7)
    assert [members.process(msgspec.structs.replace(said, name=name)) for name in ("ada", "bob")] == [0, 7]


def test_ray_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PlacementError, match=r'not installed: pip install -e "\.\[cluster\]"'):
        LaunchOptions(launcher="ray").cluster()
    assert LaunchOptions().cluster() is None
    with pytest.raises(ScenarioError, match="without --estimate"):
        LaunchOptions(launcher="ray").cluster(True)


def test_agents_on_the_cpu_of_this_host_must_fit_in_its_memory_together(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Machine(cores=(0, 1), memory_mb=8000)
    monkeypatch.setattr(hardware, "this_machine", lambda: msgspec.structs.replace(there, free_mb=1500))
    agents = ray_bundles.resolve_agents(RayCluster(None), TEACHER, [student()], there, trained=False)
    assert [(one.bundle, one.config.elsewhere, one.seat.shared) for one in agents] == [({"CPU": 1.0}, True, None)] * 2
    assert all(one.memory() for one in agents)
    assert "need about" in resolve.short_now(agents, in_turn=False)
    with pytest.raises(PlacementError, match="The agents on the CPU need about"):
        ray_bundles.resolve_agents(RayCluster(None), TEACHER, [student(replicas=20)], there, trained=False)


def test_a_described_machine_does_not_go_with_a_cluster() -> None:
    with pytest.raises(ScenarioError, match="without --estimate and --set machine"):
        run.plan(classes.ROOT / classes.SMOKE, overrides=("machine.gpus=8x80",), launch=LaunchOptions(launcher="ray"))


@pytest.mark.parametrize("file", [classes.SMOKE, "scenarios/studies/smoke.yaml"])
def test_a_plan_says_what_the_cluster_has(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["plan", str(classes.ROOT / file), "--launcher", "ray"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Ray on this host, started with the class: this host (" in said
    assert run.main(["plan", str(classes.ROOT / file), "--launcher", "ray", "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_each_class_on_one_cluster_has_its_own_port_and_sees_the_nodes_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports, machines = [7003, 7001], [Machine((0, 1), 8000), Machine((0,), 8000)]
    monkeypatch.setattr(ray_cluster, "_free_port", lambda host: ports.pop())
    monkeypatch.setattr(hardware, "this_machine", machines.pop)
    local = RayCluster(None)
    assert [local.broker_address() for _ in range(2)] == ["tcp://127.0.0.1:7001", "tcp://127.0.0.1:7003"]
    assert [local.nodes[0].has["CPU"] for _ in range(2)] == [1, 2]


def test_the_address_that_the_launcher_chooses_lasts_as_long_as_the_session(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    scenario = load.read(classes.ROOT / classes.SMOKE)
    chosen = RayCluster(None).broker_address()
    assert chosen.startswith("tcp://127.0.0.1:")
    named = msgspec.structs.replace(scenario, broker=Broker(address="tcp://10.0.0.1:5599"))
    with folder.sockets(named, chosen):
        assert folder.broker(named).endpoint == "tcp://10.0.0.1:5599"
        assert not (tmp_path / "broker-address").exists()
    (tmp_path / "broker-address").write_text("tcp://10.0.0.9:1")  # of a session that was killed
    with folder.sockets(scenario, chosen):
        assert folder.broker(scenario).endpoint == chosen
        assert folder.keys_of(scenario) == folder.keys
    with folder.sockets(scenario):
        assert folder.broker(scenario).endpoint.startswith("ipc://")
    assert not (tmp_path / "broker-address").exists()


@pytest.mark.parametrize(
    ("launch", "options"),
    [
        (LaunchOptions(), ""),
        (LaunchOptions("ray"), " --launcher ray"),
        (
            LaunchOptions("ray", "10.0.0.1:6379", "pack"),
            " --launcher ray --ray-address 10.0.0.1:6379 --ray-strategy pack",
        ),
    ],
)
def test_the_command_that_goes_on_after_ctrl_c_names_the_cluster(
    launch: LaunchOptions,
    options: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(RayCluster, "connected", lambda self: self)
    monkeypatch.setattr(RayCluster, "broker_address", lambda self: "tcp://127.0.0.1:5599")
    monkeypatch.setattr(session, "_teach", lambda *_: Ending("interrupted"))
    monkeypatch.setattr(INTERRUPTS, "words", "")
    scenario, folder = load.read(classes.ROOT / classes.SMOKE), RunFolder(tmp_path)
    folder.keep(scenario)
    run.Sessions("off", launch.cluster()).hold(scenario, folder, run.agents_of(scenario), {})
    said = " ".join(capsys.readouterr().err.split())
    assert f"Go on with: python run.py resume {tmp_path}{options} The summary so far" in said


def test_no_agent_is_started_before_the_broker_listens_or_if_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = RayLauncher([], cluster(BIG), {}, restarts=0)
    alive = [set[str](), {BROKER}, {BROKER}]
    monkeypatch.setattr(launcher, "alive", alive.pop)
    monkeypatch.setattr(launcher, "last_error", lambda name: f"the {name} has no port")
    tried = ["refused", "refused", ""]
    monkeypatch.setattr(ray_launcher, "unreachable", lambda *_: tried.pop(0))
    launcher._await_broker("tcp://h:1")
    assert (tried, len(alive)) == ([], 1)
    tried += ["refused"]
    with pytest.raises(PlacementError, match="the broker cannot be started: the broker has no port"):
        launcher._await_broker("tcp://h:1")


@pytest.mark.parametrize(("ip", "where"), [("ip: 10.0.0.7\n", " on node 10.0.0.7"), ("", "")])
def test_the_error_of_a_lost_actor_names_its_node_if_ray_does(ip: str, where: str) -> None:
    pytest.importorskip("ray.exceptions")
    report = ray_launcher.report_of_lost(RuntimeError(f"The actor died.\n{ip}worker exited"))
    assert report.words == f"its actor{where} was lost: worker exited"


def test_an_actor_that_cannot_be_reached_is_not_given_up_before_ray_knows_why(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = pytest.importorskip("ray.exceptions")
    monkeypatch.setattr(ray_launcher, "LOOK_S", 0.0)
    silent = errors.ActorUnavailableError("socket closed", actor_id=None)
    died = RuntimeError("The actor died: its node has died")
    answers: list[Exception | None] = [errors.GetTimeoutError(), silent, died]

    def ask() -> None:
        if answer := answers.pop(0):
            raise answer

    assert ray_launcher.last_word(silent, ask, threading.Event()) is died
    assert not answers
    answers += [None]
    assert ray_launcher.last_word(silent, ask, threading.Event()) is silent, "it lives"
    lost = threading.Event()
    lost.set()
    assert ray_launcher.last_word(silent, ask, lost) is silent
    assert ray_launcher.last_word(died, ask, threading.Event()) is died


def test_nothing_is_started_and_ray_is_not_asked_while_the_cluster_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(spec: ChildSpec) -> NoReturn:
        raise OSError("tried")

    pytest.importorskip("ray")
    spec = ChildSpec("ada", "no.module", Broker(), {}, (), tmp_path / "log")
    launcher = RayLauncher([spec], cluster(BIG), {}, restarts=2)
    said = "refused"
    launcher._cluster_watch = ClusterWatch({"its head": "h:1"}, probe=lambda *_: said, clock=count(0.0, 10.0).__next__)
    monkeypatch.setattr(launcher, "_spawn", refuse)
    launcher._children["ada"].due = 0.0
    assert (launcher.tick(), launcher.is_due()) == ([], True)
    said = ""
    assert [one.detail for one in launcher.tick()] == ["cannot be started: tried"]
    said = "refused"
    launcher._group = "no group, which Ray would refuse to remove"
    assert launcher.stop(0.0) == []


def test_a_class_that_ends_waits_for_a_cluster_that_is_silent_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    launcher = RayLauncher([], cluster(BIG), {}, restarts=0)
    said, removed = ["refused", "", "refused", ""], list[str]()
    launcher._cluster_watch = ClusterWatch({"its head": "h:1"}, probe=lambda *_: said.pop(0))
    launcher._group = "its room"
    monkeypatch.setattr("ray.util.remove_placement_group", removed.append)
    assert launcher.stop(0.0) == []
    assert (removed, said, launcher._cluster_watch.lost.is_set()) == (["its room"], [], False)
