"""The folder of a run: what may lie in it before the class begins."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from broker import auth
from broker.errors import ScenarioError
from broker.files import write_atomically
from scenarios.config.process_schema import Broker
from scenarios.config.schema import Agent, Scenario
from scenarios.session.run_dir import RunFolder


def test_a_start_that_was_killed_while_it_wrote_the_scenario_leaves_a_folder_that_can_be_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.make()
    with monkeypatch.context() as patch:
        # As after SIGKILL: nothing is renamed and nothing is removed.
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(folder.scenario_file, b"seed: 1\n")
    assert [path.name for path in folder.path.iterdir()] == [f".scenario.yaml.{os.getpid()}.partial"]
    folder.make()


def test_a_folder_with_files_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").touch()
    (tmp_path / "class.db.txt").touch()
    with pytest.raises(ScenarioError, match=r"holds other things \(class\.db\.txt\)"):
        RunFolder(tmp_path).make()


def test_a_class_with_more_agents_has_keys_for_them_and_keeps_the_others(tmp_path: Path) -> None:
    folder, teacher = RunFolder(tmp_path), Agent(name="teacher")
    over_tcp = Broker(address="tcp://127.0.0.1:5599")
    first = Scenario(name="test", teacher=teacher, students=(Agent(name="ada", engine="external"),), broker=over_tcp)
    keys = folder.keys_of(first)
    assert keys is not None
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    (keys / "ada.key").unlink()  # moved to the machine of an external agent
    folder.keys_of(replace(first, students=(*first.students, Agent(name="bob"))))
    after = {path.name: path.read_bytes() for path in keys.iterdir()}
    assert after.keys() - before.keys() == {"bob.key", "bob.pub"}
    assert before.keys() - after.keys() == {"ada.key"}
    assert all(before[name] == after[name] for name in before.keys() & after.keys())


def test_an_agent_that_runs_elsewhere_has_a_key_only_while_it_is_invited(tmp_path: Path) -> None:
    folder, teacher = RunFolder(tmp_path), Agent(name="teacher")
    over_tcp = Broker(address="tcp://127.0.0.1:5599")
    here = Scenario(name="test", teacher=teacher, students=(Agent(name="ada"),), broker=over_tcp)
    there = replace(here, students=(Agent(name="ada", elsewhere=True),))
    keys = folder.keys_of(there)
    assert keys is not None
    assert not list(keys.glob("ada.*"))
    invited, _ = auth.admit(keys, "ada")
    folder.keys_of(there)
    assert auth.public_key(keys, "ada") == invited
    folder.keys_of(here)
    assert (keys / "ada.key").exists()
    assert auth.public_key(keys, "ada") != invited, "the invitation ends when the class starts the agent itself"
