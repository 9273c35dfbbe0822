"""Children tied to their parents, with real processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import child_process
from tests.agents.placement.children.child import Orders, Report
from tests.agents.placement.children.middle import Plan
from tests.agents.placement.children.witness import PATIENCE_S, Witness

CHILD = "tests.agents.placement.children.child"


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    with Witness(tmp_path) as it:
        yield it


@pytest.fixture
def family(tmp_path: Path) -> Iterator["Family"]:
    it = Family(tmp_path)
    yield it
    it.end()


class Family:
    """Starts children and buries them at the end of the test."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "logs" / "child.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def child(
        self, orders: Orders, module: str = CHILD, env: dict[str, str] | None = None, cores: tuple[int, ...] = ()
    ) -> subprocess.Popen[bytes]:
        return self._keep(child_process.spawn(module, orders, env=env or {}, log=self.log, cores=cores))

    def middle(self, plan: Plan) -> subprocess.Popen[bytes]:
        return self._keep(child_process.spawn("tests.agents.placement.children.middle", plan, env={}, log=self.log))

    def _keep(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(PATIENCE_S)
            assert process.stdin
            process.stdin.close()


def report(witness: Witness) -> Report:
    data = json.loads(witness.line())
    return Report(**{**data, "cores": tuple(data["cores"]), "note": tuple(data["note"])})


def test_the_spec_arrives_as_it_was_sent_and_standard_input_is_empty_after_it(family: Family, witness: Witness) -> None:
    note = ("teach", "\x00 ünïcode", "x" * 300_000)
    family.child(Orders(witness=witness.path, note=note), env={"LBT_TEST": "yes"})
    reported = report(witness)
    assert reported.note == note
    assert reported.stdin == ""
    assert reported.variable == "yes"


def test_a_child_leads_a_group_of_its_own_so_that_ctrl_c_in_the_terminal_does_not_reach_it(
    family: Family, witness: Witness
) -> None:
    process = family.child(Orders(witness=witness.path))
    reported = report(witness)
    assert reported.pid == reported.group == process.pid != os.getpgrp()


def test_the_packages_are_found_from_another_working_directory(
    family: Family, witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broker.py").write_text("raise SystemExit('the wrong broker')")
    monkeypatch.chdir(tmp_path)
    process = family.child(Orders(witness=witness.path))
    assert report(witness).pid == process.pid


@pytest.mark.skipif(sys.platform != "linux", reason="cores can be chosen on Linux alone")
def test_a_child_keeps_to_its_cores(family: Family, witness: Witness) -> None:
    core = max(os.sched_getaffinity(0))
    family.child(Orders(witness=witness.path), cores=(core,))
    assert report(witness).cores == (core,)


@pytest.mark.skipif(sys.platform != "linux", reason="cores can be chosen on Linux alone")
def test_a_missing_core_is_logged_and_the_child_runs_anyway(family: Family, witness: Witness) -> None:
    family.child(Orders(witness=witness.path), cores=(1000,))
    assert report(witness).cores == tuple(sorted(os.sched_getaffinity(0)))
    assert "cannot keep to the cores (1000,)" in family.log.read_text()


def test_output_of_children_is_appended_to_the_log(family: Family) -> None:
    assert family.child(Orders(say="first", exit_code=0)).wait(PATIENCE_S) == 0
    assert family.child(Orders(say=" second", exit_code=child_process.NO_RESTART)).wait(PATIENCE_S) == 3
    assert family.log.read_text() == "first second"


def test_a_child_receives_structs_until_there_are_no_more(family: Family) -> None:
    process = family.child(Orders(say="one ", more=True, exit_code=0))
    for word in ("two ", "three " * 100_000, "four"):
        child_process.send(process, Orders(say=word))
    child_process.send(process, None)
    assert process.wait(PATIENCE_S) == 0
    assert family.log.read_text() == "one two " + "three " * 100_000 + "four"
    child_process.send(process, Orders(say="nobody hears it"))


def test_a_child_that_waits_for_more_dies_with_the_pipe(family: Family) -> None:
    process = family.child(Orders(more=True))
    child_process.send(process, Orders(say="heard"))
    assert process.stdin
    # In the midst of a word.
    process.stdin.write((100).to_bytes(child_process.LENGTH_BYTES, "big") + b"x")
    process.stdin.close()
    assert process.wait(PATIENCE_S) == -signal.SIGKILL


def test_a_child_that_dies_before_it_reads_a_word_is_an_exit_code_and_not_an_error(family: Family) -> None:
    process = family.child(Orders(note=("x" * 300_000,)), module="tests.agents.placement.children.nobody")
    assert process.wait(PATIENCE_S) == 1
    assert "No module named tests.agents.placement.children.nobody" in family.log.read_text()


def test_a_module_started_by_hand_names_the_program_that_starts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", CHILD],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=child_process.ROOT,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"standard input ended before the spec")
    assert b"Traceback" not in done.stderr


def test_closing_the_pipe_ends_the_child_and_all_that_it_started(family: Family, witness: Witness) -> None:
    process = family.child(Orders(witness=witness.path, grandchild=True, deaf=True))
    report(witness)
    assert process.stdin
    process.stdin.close()
    assert witness.everybody_left()
    assert process.wait(PATIENCE_S) == -signal.SIGKILL


@pytest.mark.parametrize("frozen", [False, True])
def test_no_child_outlives_a_killed_parent_even_if_a_fork_of_it_keeps_the_pipe_open(
    frozen: bool, family: Family, tmp_path: Path
) -> None:
    # Two witnesses: the fork must not be taken for the child.
    (tmp_path / "m").mkdir()
    with Witness(tmp_path) as of_child, Witness(tmp_path / "m") as of_middle:
        orders = Orders(witness=of_child.path, grandchild=True, deaf=True)
        middle = family.middle(Plan(child=orders, log=str(family.log), witness=of_middle.path))
        fork = int(of_middle.line())
        child = report(of_child).pid
        if frozen:
            os.killpg(child, signal.SIGSTOP)
        middle.kill()
        left = of_child.everybody_left()
        if not left:
            os.killpg(child, signal.SIGKILL)
        os.kill(fork, signal.SIGKILL)  # raises if it was gone, and the pipe with it
        assert left
