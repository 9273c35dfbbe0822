"""The batch file for Slurm, without running it: tests/process/test_slurm_job.py does that."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from broker.errors import ScenarioError
from scenarios.session.slurm import slurm
from tests import classes

AGENTS = {
    "teacher": {"name": "teacher", "engine": "vllm", "model": "org/large", "gpu": [4, 5]},
    "students": [
        {"name": "pair", "engine": "vllm", "model": "org/small", "replicas": 2, "gpu": 3},
        {"name": "slow", "engine": "transformers", "model": "org/small", "gpu": "none"},
        {"name": "server", "engine": "openai", "model": "gpt"},
    ],
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "it's a class.yaml"
    path.write_text(yaml.dump({"name": "far", "task": {"family": "gsm_symbolic"}, **AGENTS}))
    return path


def test_each_process_has_its_node_and_its_gpus_and_the_class_the_first_node(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slurm(file, overrides=("seed=8",), sbatch=("--partition=gpu",), dry_run=True) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^join .*", text, re.M) == [
        "join teacher teacher 1 2",
        "join pair student 2 1",
        "join pair.2 student 3 1",
        "join slow student 4 0",
    ]
    for line in ("--nodes=5", "--ntasks-per-node=1", "--gpus-per-node=2", "--partition=gpu"):
        assert f"\n#SBATCH {line}\n" in text
    overrides = "--set seed=8 --set limits.empty_pool_s=3600 --set teacher.elsewhere=true"
    assert f"{overrides} --set 'teacher.gpu=[0, 1]' --set students.0.elsewhere=true --set 'students.0.gpu=[0]'" in text
    assert "students.2.elsewhere" not in text
    assert not list(file.parent.glob("*.sbatch"))


def test_with_fewer_nodes_processes_share_them(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slurm(file, nodes=3, cpus=4, dry_run=True)
    text = capsys.readouterr().out
    assert [line.split()[3] for line in re.findall(r"^join .*", text, re.M)] == ["1", "2", "1", "2"]
    for line in ("--nodes=3", "--ntasks-per-node=2", "--gpus-per-node=3", "--cpus-per-task=4"):
        assert f"\n#SBATCH {line}\n" in text


def test_a_teacher_that_is_trained_stays_with_the_class(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slurm(file, overrides=("level=2",), dry_run=True)
    text = capsys.readouterr().out
    assert "join teacher" not in text and "teacher.elsewhere" not in text and "join pair" in text


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_file_is_a_bash_script_whatever_the_paths(file: Path) -> None:
    slurm(file, out_dir=file.parent / "a $run", file=Path("far.sbatch"))
    done = subprocess.run(["bash", "-n", "far.sbatch"], capture_output=True, text=True, check=False)  # noqa: S607
    assert (done.returncode, done.stderr) == (0, "")


def test_a_job_that_makes_no_sense_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="--nodes 2 or more"):
        slurm(file, nodes=1)
    for option in ("gpu", "--a\n--b"):
        with pytest.raises(ScenarioError, match="needs an option of sbatch"):
            slurm(file, sbatch=(option,))
    servers = tuple(f"{who}.{entry}" for who in ("teacher", "students.*") for entry in ("engine=openai", "gpu=auto"))
    with pytest.raises(ScenarioError, match="no agent of this class can run on another node"):
        slurm(file, overrides=servers)
    used = tmp_path / "run"
    used.mkdir()
    for name in ("scenario.yaml", "class.db"):
        (used / name).write_text("x")
    with pytest.raises(ScenarioError, match="holds a run"):
        slurm(file, out_dir=used)
    assert not list(tmp_path.glob("*.sbatch"))


def test_all_agents_without_a_named_engine_are_named_and_what_to_add_for_them_helps(file: Path) -> None:
    auto = tuple(f"{place}.engine=auto" for place in ("teacher", "students.0", "students.1"))
    with pytest.raises(ScenarioError, match="run on other nodes: teacher, pair, slow\n") as error:
        slurm(file, overrides=auto, dry_run=True)
    added = re.findall(r"--set (\S+)", str(error.value))
    assert added == ["teacher.engine=vllm", "students.0.engine=vllm", "students.1.engine=vllm"]
    assert slurm(file, overrides=(*auto, *added, "students.1.gpu=auto"), dry_run=True) == 0
    with pytest.raises(ScenarioError, match="run on other nodes: pair\n"):
        slurm(file, overrides=(*auto[:2], "level=2", "students.1.engine=transformers"), dry_run=True)


def test_a_file_that_is_there_is_replaced_only_if_asked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = file.parent / "far.sbatch"
    there.write_text("edited by hand")
    with pytest.raises(ScenarioError, match=r"far.sbatch is there already: replace it with --overwrite, or .* --file"):
        slurm(file)
    assert there.read_text() == "edited by hand"
    assert slurm(file, dry_run=True) == 0
    assert slurm(file, overwrite=True) == 0
    assert there.read_text().startswith("#!/bin/bash")
    assert "Submit it: sbatch far.sbatch" in " ".join(capsys.readouterr().out.split())


def test_the_scenarios_with_simulated_agents_can_be_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm(classes.ROOT / classes.SMOKE, out_dir=tmp_path / "run", dry_run=True)
    text = capsys.readouterr().out
    assert len(re.findall(r"^join .* 0$", text, re.M)) == 4 and "--gpus-per-node" not in text
