"""Joining a class of another host: what is checked there before anything is loaded."""

from pathlib import Path

import msgspec
import pytest

from agents.placement import agent_process, invited, resolve
from agents.spec import AgentSpec
from broker import invitation
from broker.errors import LbtError, ModelError, PlacementError, ProtocolError
from broker.invitation import Invitation
from broker.protocol import PROTOCOL
from scenarios.config.schema import Agent
from tests import bigrams

KEY = "k" * 40


def invitation_of(agent: Agent, run: Path, name: str = "far.2") -> Invitation:
    """The invitation of an agent, as the host of the class would write it; the class has the same models."""
    [resolved] = resolve.resolve_agents(msgspec.structs.replace(agent, elsewhere=False), ())
    models = resolve.fetch_models([resolved], invited.console)
    spec = agent_process.agent_spec(
        resolved, models, seed=7, endpoint="", keys="", answer_key=run / "answer-key", run=run
    )
    return invitation.make(
        name, "student", agent, run=run, address="tcp://10.0.0.1:5599", broker_key=KEY, own_keys=(KEY, KEY),
        answerer=spec.answerer, seed=7, restarts=2,
    )  # fmt: skip


def real(model: Path) -> Agent:
    return Agent(name="far", model=str(model), engine="transformers", gpu="none", capacity=3, elsewhere=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bigrams.model(tmp_path_factory.mktemp("models") / "model")


def test_the_process_is_that_of_the_scenario_placed_on_this_host(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "far.invite"
    child = invited.prepare(invitation_of(real(model), tmp_path), file)
    spec = child.spec
    assert isinstance(spec, AgentSpec)
    assert (spec.name, spec.pool, spec.role, spec.capacity, spec.seed) == ("far.2", "far", "student", 3, 7)
    assert (spec.endpoint, spec.keys, spec.invited) == ("tcp://10.0.0.1:5599", str(file), True)
    assert (spec.folder, spec.threads >= 1) == (str(model), True)
    assert (child.name, child.log) == ("far.2", tmp_path / "far.2.log")
    assert (spec.weights_folder, spec.training_folder) == ("", ""), "the class names no folder to write to"
    assert KEY not in repr(spec), "the process reads its key from the invitation"


def test_the_model_may_be_in_another_folder_here(model: Path, tmp_path: Path) -> None:
    moved = invitation_of(real(model), tmp_path)
    moved = msgspec.structs.replace(moved, agent=moved.agent | {"model": "/only/on/the/other/host"})
    with pytest.raises(ModelError, match="there is no such folder: /only/on/the/other/host") as missing:
        invited.prepare(moved, tmp_path / "far.invite")
    assert missing.value.agent == "far"
    spec = invited.prepare(moved, tmp_path / "far.invite", str(model)).spec
    assert isinstance(spec, AgentSpec) and spec.folder == str(model)


def test_other_weights_than_those_of_the_class_are_refused(model: Path, tmp_path: Path) -> None:
    other = bigrams.model(tmp_path / "other", layers=1)
    with pytest.raises(ModelError, match=r"other .* on this host is not what the class asks: other weights"):
        invited.prepare(invitation_of(real(model), tmp_path), tmp_path / "far.invite", str(other))


def test_a_simulated_agent_needs_the_folder_of_the_run(tmp_path: Path) -> None:
    agent = Agent(name="far", engine="simulated", elsewhere=True)
    run = tmp_path / "run"
    asked = invitation_of(agent, run)
    with pytest.raises(PlacementError, match=f"this host has no {run}"):
        invited.prepare(asked, tmp_path / "far.invite")
    run.mkdir()
    spec = invited.prepare(asked, tmp_path / "far.invite").spec
    assert isinstance(spec, AgentSpec) and spec.engine_args["answer_key"] == str(run / "answer-key")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"engine": "openai", "engine_args": {"base_url": "https://h/v1", "key_env": "HF_TOKEN"}}, "openai"),
        ({"capacity": "many"}, "capacity"),
    ],
)
def test_an_agent_that_sends_this_hosts_secrets_to_a_server_or_is_none_is_refused(
    change: dict[str, object], named: str, tmp_path: Path
) -> None:
    asked = invitation_of(Agent(name="far", engine="simulated", elsewhere=True), tmp_path)
    asked = msgspec.structs.replace(asked, agent=asked.agent | change)
    with pytest.raises(ProtocolError, match=f"its agent cannot run on this host: .*{named}"):
        invited.prepare(asked, tmp_path / "far.invite")


def test_too_little_memory_on_this_host_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = invitation_of(real(model), tmp_path)
    monkeypatch.setattr(resolve, "short_now", lambda agents, *, in_turn: "9 GB are missing")
    with pytest.raises(LbtError, match="9 GB are missing"):
        invited.prepare(asked, tmp_path / "far.invite")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "0.0.7"}, f"the class runs version 0.0.7, protocol {PROTOCOL}; this host has version "),
        (None, "no invitation"),
    ],
)
def test_what_keeps_an_agent_from_joining_is_said_without_a_traceback(
    change: dict[str, str] | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "far.invite"
    if change:
        asked = invitation_of(Agent(name="far", engine="simulated", elsewhere=True), tmp_path)
        invitation.write(file, msgspec.structs.replace(asked, **change))
    assert invited.main(["--invite", str(file)]) == 2
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) <= 3 and KEY not in told
