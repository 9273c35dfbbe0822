from pathlib import Path

import pytest

from agents.placement import resolve
from agents.placement.class_agents import AgentProcesses, check_class
from broker.errors import PlacementError
from broker.server import BrokerSpec
from broker.work_messages import Examine, Sampling
from scenarios.config.schema import Agent

STUDENTS = [Agent(name="ada", engine="simulated", replicas=2), Agent(name="bob", engine="external")]


def class_agents(run: Path, keys: str = "") -> AgentProcesses:
    hired = resolve.resolve_agents(Agent(name="teacher", engine="simulated"), STUDENTS)
    broker = BrokerSpec(endpoint="ipc://x", gauges="ipc://y", keys=keys, heartbeat_s=1.0, stalled_s=1.0)
    return AgentProcesses(hired, {}, broker, run=run, answer_key=run / "answer-key", seed=1, in_turn=False)


def test_external_agents_are_not_started_but_the_store_knows_how_they_answer(tmp_path: Path) -> None:
    agents = class_agents(tmp_path)
    assert agents.own == {"teacher": ["teacher"], "ada": ["ada", "ada.2"]}
    assert set(agents.weights) == set(agents.own)
    assert set(agents.answerers) == {"teacher", "ada", "bob"}
    assert [one["name"] for one in agents.facts()] == ["teacher", "ada", "ada.2", "bob"]


def test_an_agent_elsewhere_is_not_started_but_answers_as_if_it_were_here(tmp_path: Path) -> None:
    broker = BrokerSpec(endpoint="tcp://h:1", gauges="tcp://h:2", keys="/run/keys")

    def made(*, elsewhere: bool) -> AgentProcesses:
        ada = Agent(name="ada", engine="simulated", persona="You are brief.", elsewhere=elsewhere)
        agents = resolve.resolve_agents(Agent(name="teacher", engine="simulated"), [ada])
        return AgentProcesses(
            agents, {}, broker, run=tmp_path, answer_key=tmp_path / "answer-key", seed=1, in_turn=False
        )

    far, near = made(elsewhere=True), made(elsewhere=False)
    assert (far.own, near.own) == ({"teacher": ["teacher"]}, {"teacher": ["teacher"], "ada": ["ada"]})
    assert (far.answerers, far.weights) == (near.answerers, near.weights)
    exam = Examine(problem="2 + 2?", answer_form="number", sampling=Sampling(), material=())
    assert far.prompt("ada", exam) == near.prompt("ada", exam) != ()
    assert far.notices(Path("/run/keys")) == ["Elsewhere: python run.py invite /run --role student --name ada"]
    assert [one["device"] for one in far.facts()] == ["CPU, 1 thread", "elsewhere"]


def test_the_prompts_of_a_program_of_the_user_are_not_known(tmp_path: Path) -> None:
    exam = Examine(problem="2 + 2?", answer_form="number", sampling=Sampling(), material=())
    agents = class_agents(tmp_path)
    assert agents.prompt("bob", exam) == ()
    assert ("user", "2 + 2?") in agents.prompt("ada", exam)


def test_the_user_is_told_how_to_start_an_external_agent(tmp_path: Path) -> None:
    start = "Start the program of bob with endpoint ipc://x and name bob"
    assert class_agents(tmp_path).notices(Path("/run/keys")) == [f"{start}."]
    with_keys = f"{start}, with bob.key and broker.pub of /run/keys."
    assert class_agents(tmp_path, keys="/run/keys").notices(Path("/run/keys")) == [with_keys]


def test_the_gold_answers_are_written_for_their_owner_alone(tmp_path: Path) -> None:
    class_agents(tmp_path).give_answers({"1 + 1": "2"})
    assert (tmp_path / "answer-key").stat().st_mode & 0o777 == 0o600


def test_a_class_is_checked_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[resolve.ResolvedAgent, ...]:
        raise PlacementError("too large\ntake a smaller model")

    hired, checks = check_class("small", refuse, in_turn=False)
    assert not hired
    assert [(one.name, one.ok, one.says, one.do) for one in checks] == [
        ("small", "no", "too large", "take a smaller model")
    ]
    monkeypatch.setattr("agents.placement.resolve.short_now", lambda hired, *, in_turn: "9 GB\nclose programs")
    _, checks = check_class("small", lambda: (), in_turn=False)
    assert [(one.ok, one.says, one.do) for one in checks] == [("partly", "9 GB", "close programs")]
