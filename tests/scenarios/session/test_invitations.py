"""The commands `invite` and `revoke`, without processes."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from broker import invitation
from broker.errors import ScenarioError, SecurityError
from scenarios.config.process_schema import Broker, Limits
from scenarios.config.schema import Agent, Scenario, Task
from scenarios.session.invitations import invite, revoke
from scenarios.session.run_dir import RunFolder
from scenarios.store.sqlite import Store

CLASS = Scenario(
    name="test",
    seed=7,
    task=Task(family="gsm_symbolic"),
    teacher=Agent(name="teacher", engine="simulated"),
    students=(
        Agent(name="far", engine="simulated", elsewhere=True, replicas=2, persona="You are brief."),
        Agent(name="near", engine="simulated"),
        Agent(name="mine", engine="external"),
    ),
    limits=Limits(restarts=5),
    broker=Broker(address="tcp://10.0.0.1:5599"),
)


def run_of(scenario: Scenario, path: Path) -> Path:
    """The folder of a class that has begun."""
    folder = RunFolder(path)
    folder.make()
    with Store(path, write=True) as store:
        store.keep_answerers({agent.name: f"{agent.name}'s" for agent in scenario.agents})
    folder.keep(scenario)
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return run_of(CLASS, tmp_path / "run")


def test_an_invitation_holds_what_the_agent_needs_and_its_secret_key_is_nowhere_else(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invite(run, name="far.2") == 0
    file = Path("far.2.invite")
    found = invitation.read(file)
    assert (found.run, found.name, found.role, found.address) == ("run", "far.2", "student", "tcp://10.0.0.1:5599")
    assert (found.answerer, found.seed, found.restarts) == ("far's", 7, 5)
    assert (found.agent["name"], found.agent["persona"]) == ("far", "You are brief.")
    assert (run / "keys" / "far.2.pub").read_text().strip() == found.public_key
    assert (run / "keys" / "broker.pub").read_text().strip() == found.broker_key
    assert not [path for path in run.rglob("*") if path.is_file() and found.secret_key.encode() in path.read_bytes()]
    said = capsys.readouterr().out
    assert found.secret_key not in said and "python -m agents.main --invite far.2.invite" in said


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("gate", "tcp://gate:5599"),
        ("gate:22", "tcp://gate:22"),
        ("tcp://127.0.0.1:5600", "tcp://127.0.0.1:5600"),
        ("[::1]", "tcp://[::1]:5599"),
    ],
)
def test_the_other_host_may_see_the_broker_under_another_address(run: Path, address: str, written: str) -> None:
    invite(run, name="far", address=address)
    assert invitation.read(Path("far.invite")).address == written


@pytest.mark.parametrize("address", ["", "two words", "gate:0", "gate:99999", "::1"])
def test_an_address_that_is_none_is_refused(run: Path, address: str) -> None:
    with pytest.raises(ScenarioError, match="needs HOST or HOST:PORT"):
        invite(run, name="far", address=address)
    assert not Path("far.invite").exists() and not (run / "keys" / "far.pub").exists()


@pytest.mark.parametrize("bound", ["0.0.0.0", "127.0.0.1", "localhost", "[::1]"])  # noqa: S104
def test_an_address_that_other_hosts_cannot_use_is_refused(
    bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_of(replace(CLASS, broker=Broker(address=f"tcp://{bound}:5599")), tmp_path / "run")
    with pytest.raises(ScenarioError, match="--address HOST"):
        invite(run, name="far")


def test_what_cannot_be_invited_is_named_with_what_to_do(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no agent 'fra'; it has teacher, far, far\.2, near, mine"):
        invite(run, name="fra")
    with pytest.raises(ScenarioError, match=r"--set students\.1\.elsewhere=true"):
        invite(run, name="near")
    with pytest.raises(ScenarioError, match=r"--set teacher\.elsewhere=true"):
        invite(run, name="teacher", role="teacher")
    with pytest.raises(ScenarioError, match="far is a student of this class"):
        invite(run, name="far", role="teacher")
    local = run_of(replace(CLASS, broker=Broker()), tmp_path / "local")
    with pytest.raises(ScenarioError, match="for this host alone"):
        invite(local, name="far")


def test_an_agent_has_one_invitation_at_a_time(run: Path) -> None:
    invite(run, name="far")
    with pytest.raises(ScenarioError, match="is invited already"):
        invite(run, name="far", out=Path("other.invite"))
    first = invitation.read(Path("far.invite"))
    revoke(run, name="far")
    with pytest.raises(ScenarioError, match="was revoked before"):
        revoke(run, name="far")
    with pytest.raises(SecurityError, match="is there already"):
        invite(run, name="far")
    assert not (run / "keys" / "far.pub").exists(), "no key is accepted that no file has"
    invite(run, name="far", out=Path("other.invite"))
    assert invitation.read(Path("other.invite")).secret_key != first.secret_key


def test_the_key_of_a_program_of_the_user_can_be_revoked_and_that_of_an_agent_of_the_class_cannot(run: Path) -> None:
    RunFolder(run).keys_of(CLASS)
    assert revoke(run, name="mine") == 0
    assert not list((run / "keys").glob("mine.*"))
    with pytest.raises(ScenarioError, match="is started by the class itself"):
        revoke(run, name="near")
    assert (run / "keys" / "near.key").exists()


def test_no_secret_key_is_in_the_error_about_a_damaged_invitation(run: Path) -> None:
    invite(run, name="far")
    file = Path("far.invite")
    plain = json.loads(file.read_text())
    file.write_text(json.dumps(plain | {"secret_key": plain["secret_key"] + "x"}))
    with pytest.raises(Exception, match="secret_key") as refused:
        invitation.read(file)
    assert plain["secret_key"] not in str(refused.value)
