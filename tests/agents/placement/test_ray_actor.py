"""The actor of an agent: what its node checks before anything is loaded."""

import importlib.util
import platform
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.placement import ray_actor
from agents.placement.ray_actor import MAY_RESTART, AgentActor, RayOrder, RayReport
from broker.child_process import NO_RESTART
from broker.errors import PlacementError
from broker.invitation import Invitation
from broker.version import package_version
from tests.ports import free_port

KEY = "k" * 40


@pytest.fixture(autouse=True)
def private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Actors of other programs have folders in the shared one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def refusal(
    monkeypatch: pytest.MonkeyPatch,
    *,
    python: str = platform.python_version(),
    again: bool = False,
    code: int = NO_RESTART,
    **entries: Any,
) -> str:
    """What an actor says that may not run its agent."""
    monkeypatch.setattr(ray_actor, "_node", lambda: "10.0.0.9")
    own = Invitation(
        run="class", name="ada", role="student", broker_key=KEY, public_key=KEY, secret_key=KEY, answerer="a", seed=1,
        **{"address": "tcp://127.0.0.1:1", "version": package_version(), "agent": {}, **entries},
    )  # fmt: skip
    order = RayOrder(invitation=own, python=python, host="10.0.0.1", cores=1, again=again)
    assert KEY not in repr(order)
    actor = AgentActor()
    report = msgspec.msgpack.decode(actor.run(msgspec.msgpack.encode(order)), type=RayReport)
    assert not list(Path(tempfile.gettempdir()).iterdir())
    assert (report.code, report.words) == (code, actor.refusal())
    return report.words


def test_the_key_of_an_actor_that_was_killed_goes_with_the_next_one(
    tmp_path: Path,
) -> None:
    with ray_actor._own_folder() as living:
        killed = living.with_name(f"{living.name}-killed")
        killed.mkdir()
        (killed / ray_actor.LOCK).touch()
        (killed / "ada.invite").touch()
        with ray_actor._own_folder() as folder:
            assert set(tmp_path.iterdir()) == {living, folder}
            assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())


def test_a_node_with_other_versions_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(monkeypatch, version="0.0.7")
    ours = f"Python {platform.python_version()}, version {package_version()} of this program"
    assert said.startswith(f"on node 10.0.0.9: it has {ours}, and the host of the class, 10.0.0.1, has Python")
    assert "version 0.0.7 of this program" in said
    assert "Python 3.8.1, version" in refusal(monkeypatch, python="3.8.1", again=True)


def test_a_broker_that_the_node_cannot_reach_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_actor, "REACH_S", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    said = refusal(monkeypatch, address=address)
    assert said.startswith(
        f"on node 10.0.0.9: {address}: no broker can be reached there from this host: Connection refused"
    )
    assert "--set broker.address=tcp://HOST:PORT" in said
    assert refusal(monkeypatch, address=address, again=True, code=MAY_RESTART) == said, "a restart may find it again"


def test_a_node_without_the_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ray_actor, "check_reachable", lambda *_: None)
    agent = {
        "name": "ada", "model": str(tmp_path / "gone"), "engine": "transformers", "gpu": "none", "persona": "",
        "capacity": 0, "dtype": "auto", "max_context": 0, "memory_share": None, "thoughts": "drop", "engine_args": {},
    }  # fmt: skip
    said = refusal(monkeypatch, agent=agent)
    assert f"on node 10.0.0.9: model: there is no such folder: {tmp_path / 'gone'}" in said
    assert refusal(monkeypatch, agent=agent, again=True) == said, "nor is there at a restart"


def test_memory_that_is_short_ends_a_class_that_begins_and_no_agent_that_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def short(*_: Any, **__: Any) -> Any:
        raise PlacementError("9 GB are missing")

    monkeypatch.setattr(ray_actor, "check_reachable", lambda *_: None)
    monkeypatch.setattr("agents.placement.invited.resolve_here", short)
    said = refusal(monkeypatch)
    assert refusal(monkeypatch, again=True, code=MAY_RESTART) == said


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='Ray is not installed: pip install -e ".[cluster]"')
def test_what_ray_says_of_a_lost_actor_becomes_a_line() -> None:
    from agents.placement.ray_launcher import report_of_lost

    died = "The actor died.\n\tip: 10.0.0.9\nThe actor died because its node has died. Node Id: 1\n\tterminated"
    assert report_of_lost(RuntimeError(died)).words == "its node 10.0.0.9 was lost"
    full = "2 worker(s) were killed due to the node running low on memory.\nRefer to the documentation"
    assert report_of_lost(RuntimeError(full)).words == "Ray ended it, since its node has too little memory left"
    assert report_of_lost(RuntimeError("The actor died.\n\tip: 10.0.0.9\nWorker exit")).words == (
        "its actor on node 10.0.0.9 was lost: Worker exit"
    )
