"""What the doctor says of machines that are described, and that it looks at this one without heavy imports."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from agents import doctor
from agents.doctor import Check, run_checks, to_table
from agents.models.catalogue import CATALOGUE
from agents.placement.hardware import Gpu, Machine
from broker.child_process import ROOT

BARE = Machine(cores=(0, 1), memory_mb=16_000)
WITH_GPU = Machine(cores=(0,), memory_mb=4000, gpus=(Gpu("0", "A10", 24_000),))


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def program(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_everything_is_looked_at_once_and_what_is_not_right_says_why() -> None:
    checks = run_checks(("bubblewrap", ""))
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert {
        "transformers",
        "vllm",
        "torch",
        "devices",
        "cores",
        "memory",
        "model cache",
        "sandbox",
        "open files",
    } < set(names)
    assert set(CATALOGUE) < set(names)
    assert all(check.says for check in checks)
    assert msgspec.convert(msgspec.to_builtins(checks), list[Check]) == checks


def test_looking_imports_nothing_heavy() -> None:
    code = "import sys; from agents.doctor import run_checks; run_checks(('', '')); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=600, check=True
    )
    assert not {"torch", "transformers", "vllm", "numpy", "scipy", "math_verify"} & set(done.stdout.split())


def test_the_table_shows_what_to_do_and_takes_text_as_it_is() -> None:
    console = Console(width=100)
    with console.capture() as shown:
        console.print(to_table([Check("disk", "partly", "[red]1 GB[/red]\x1b[2J", "make \u202eroom")]))
    assert "\x1b[2J" not in shown.get()
    assert all(text in shown.get() for text in ("disk", "partly", "[red]1 GB[/red]", "make room"))


def test_a_part_of_a_gpu_is_said_and_ends_no_examination(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, "nvidia-smi", "echo 0, GPU-a, NVIDIA A10, 24000, 0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")
    found = {check.name: check for check in run_checks(("bubblewrap", ""))}
    assert found["devices"].ok == "no"
    assert "MIG-1" in found["devices"].says
    assert found["open files"].says


# --- packages -------------------------------------------------------------------------------------------


def test_a_missing_package_is_named_with_what_to_install() -> None:
    assert doctor.package("no-such-package", "pip install it") == Check(
        "no-such-package", "no", "not installed", "pip install it"
    )


def test_a_torch_that_cannot_use_the_gpu_is_only_partly_right() -> None:
    assert doctor.torch("2.13.0+cpu", "the CPU", BARE).ok == "yes"
    assert doctor.torch("2.13.0", "CUDA 13.0", WITH_GPU).ok == "yes"
    for build in ("the CPU", "ROCm 6.4"):
        found = doctor.torch("2.13.0", build, WITH_GPU)
        assert (found.ok, found.says) == ("partly", f"2.13.0, built for {build}: it cannot use the GPU")
        assert found.do.startswith("pip install --force-reinstall torch")


def installed(folder: Path, **versions: str) -> None:
    """As pip leaves them: a folder for each package and version."""
    for name, version in versions.items():
        metadata = folder / f"{name}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_packages_that_are_missing_there_twice_or_of_another_version_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor.packages().ok == "yes"
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["lbt_one==2.13.0", "lbt_two>=5,<6", "lbt_three[more]>=1", "lbt_four"]\n'
    )
    installed(tmp_path / "a", lbt_one="2.13.0+cpu", lbt_two="6.1", lbt_four="1.0")
    installed(tmp_path / "a", lbt_four="0.9")
    installed(tmp_path / "b", lbt_one="1.0")  # hidden by the other
    monkeypatch.syspath_prepend(tmp_path / "b")
    monkeypatch.syspath_prepend(tmp_path / "a")
    monkeypatch.syspath_prepend(tmp_path / "a")
    found = doctor.packages(tmp_path / "pyproject.toml")
    assert found.ok == "no" and found.says == (
        "lbt_two is 6.1, where <6,>=5 is needed; lbt_three is not installed; lbt_four is installed 2 times: 0.9, 1.0"
    )
    assert found.do.startswith("pip uninstall lbt_four")


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    return folder


def test_another_package_of_our_name_is_said_whether_it_is_imported_or_not(tmp_path: Path) -> None:
    other = package(tmp_path / "other", "agents")
    (tmp_path / "scripts" / "broker").mkdir(parents=True)  # a folder of the user's, and no package
    assert doctor.names([str(ROOT), str(tmp_path / "scripts")]) == Check(
        "names", "yes", "agents, broker, scenarios are imported from this project"
    )
    behind = doctor.names([str(ROOT), str(other)])
    assert behind.ok == "yes" and behind.says.endswith(f"; not imported: agents in {other}")
    before = doctor.names([str(other), str(ROOT)])
    assert before.ok == "no" and str(other / "agents") in before.says and f"python {ROOT}/run.py" in before.do


def test_another_package_is_called_by_the_name_it_was_installed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = package(tmp_path / "other", "agents")
    installed(other, openai_agents="0.3.1")
    (other / "openai_agents-0.3.1.dist-info" / "top_level.txt").write_text("agents\n")
    monkeypatch.syspath_prepend(other)
    assert f"not imported: agents in {other} (openai_agents 0.3.1)" in doctor.names([str(ROOT), str(other)]).says


@pytest.mark.parametrize("how", [[], ["-P"], ["-I"]])
def test_a_class_is_held_with_our_packages_wherever_others_of_their_names_are(tmp_path: Path, how: list[str]) -> None:
    for name in ("agents", "broker", "scenarios"):
        (package(tmp_path / "other", name) / name / "__init__.py").write_text("raise SystemExit('another package')")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "other")} | ({} if how == [] else {"PYTHONSAFEPATH": "1"})
    command = [sys.executable, *how, str(ROOT / "run.py"), str(ROOT / "scenarios" / "smoke.yaml")]
    done = subprocess.run(
        [*command, "--monitor", "off", "--out", str(tmp_path / "run")],
        env=env, cwd=tmp_path / "other", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_missing_vllm_is_no_failure_for_there_is_another_engine() -> None:
    assert doctor.vllm("", "", BARE).ok == "partly"


def test_a_vllm_built_for_another_device_is_only_partly_right() -> None:
    assert doctor.vllm("0.32.0", "cpu", BARE).ok == doctor.vllm("0.32.0", "cuda", WITH_GPU).ok == "yes"
    assert doctor.vllm("0.32.0", "cuda", BARE).ok == doctor.vllm("0.32.0", "cpu", WITH_GPU).ok == "partly"


# --- the machine ----------------------------------------------------------------------------------------


def test_gpus_are_counted_as_scenarios_count_them() -> None:
    assert doctor.devices(WITH_GPU).says == "GPU 0: A10 24 GB"


def test_no_gpu_is_no_error_but_a_driver_that_fails_is() -> None:
    assert doctor.devices(BARE).ok == "partly"
    assert doctor.devices(msgspec.structs.replace(BARE, gpu_trouble="nvidia-smi does not answer")).ok == "no"


def test_the_driver_is_quoted_when_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, "nvidia-smi", "echo Driver/library version mismatch; exit 18")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    devices = next(check for check in run_checks(("bubblewrap", "")) if check.name == "devices")
    assert devices.says == "no GPU: nvidia-smi says: Driver/library version mismatch"


def test_a_container_s_quota_is_told_apart_from_cores() -> None:
    quota = Machine(cores=tuple(range(64)), memory_mb=1, core_quota=2)
    assert doctor.cores(quota).says == "2 cores' worth of time, on 64 (a container's quota)"
    assert doctor.cores(Machine(cores=(0,), memory_mb=1)).ok == "partly"


def test_little_memory_is_said() -> None:
    assert doctor.memory(BARE) == doctor.Check("memory", "yes", "16.0 GB; agents may take 14.4 GB")
    assert doctor.memory(WITH_GPU).ok == "partly"


def test_memory_that_other_programs_hold_is_said_and_does_not_count() -> None:
    busy = doctor.memory(msgspec.structs.replace(BARE, free_mb=6000))
    assert busy.says == "16.0 GB, 6.0 GB free; agents may take 4.4 GB"
    assert busy.ok == "partly" and "close other programs" in busy.do
    swapping = doctor.memory(msgspec.structs.replace(BARE, free_mb=6000, swap_mb=4000))
    assert swapping.says == "16.0 GB, 6.0 GB free, 4.0 GB of swap free; agents may take 8.4 GB"


def test_a_cache_folder_that_does_not_exist_yet_is_judged_by_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "ROOM_GB", 0.0)
    assert doctor.disk(tmp_path / "a" / "b").ok == "yes"
    monkeypatch.setattr(doctor, "ROOM_GB", 1e9)
    assert doctor.disk(tmp_path / "a" / "b").ok == "partly"


def test_a_model_that_is_not_at_hand_says_how_much_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LBT_CACHE", str(tmp_path))
    found = doctor.model("smollm2-135m-instruct")
    assert (found.ok, found.says) == ("partly", "not downloaded yet: 99 MB are downloaded when a class needs it")


def test_a_folder_on_a_network_or_without_a_place_for_files_is_refused(tmp_path: Path) -> None:
    assert doctor.run_files(tmp_path, "ext4").ok == "yes"
    assert doctor.run_files(tmp_path, "nfs4").ok == "no"
    assert doctor.run_files(tmp_path / "missing", "").ok == "no"


def test_a_machine_without_a_sandbox_says_what_to_install_and_what_needs_one() -> None:
    assert doctor.sandbox("bubblewrap", "") == Check("sandbox", "yes", "bubblewrap")
    found = doctor.sandbox("", "no programs here: bubblewrap is not installed\ninstall it\nor do without")
    says = "no programs here: bubblewrap is not installed; only code problems need it"
    assert found == Check("sandbox", "partly", says, "install it\nor do without")


def test_a_low_limit_on_open_files_says_how_to_raise_it() -> None:
    assert doctor.open_files(20_000, 20_000).ok == "yes"
    assert doctor.open_files(resource.RLIM_INFINITY, resource.RLIM_INFINITY).says == "no limit"
    assert doctor.open_files(256, resource.RLIM_INFINITY).do == "ulimit -n 1024"
    assert doctor.open_files(256, 512).do == "ulimit -n 512"


def test_shared_memory_that_is_missing_or_small_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.shared_memory(tmp_path / "shm").ok == "partly"
    monkeypatch.setattr(doctor, "SHARED_GB", 1e9)
    assert doctor.shared_memory(tmp_path).ok == "partly"


def test_the_live_monitor_wants_a_terminal_of_some_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    assert doctor.terminal(True, "xterm") == Check("terminal", "yes", "80x24")
    assert doctor.terminal(False, "xterm").ok == doctor.terminal(True, "dumb").ok == "partly"
    monkeypatch.setenv("COLUMNS", "60")
    assert doctor.terminal(True, "xterm").do == "make it at least 80x24"
