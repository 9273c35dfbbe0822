"""Starting, watching, restarting and ending children, with real processes."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agents import exit_status
from agents.core_sharing import CoreSeat, CoreShare, CoreTable
from agents.placement.agent_process import agent_env
from agents.placement.launcher import (
    STEADY_S,
    UNKILLABLE_S,
    ChildEnded,
    ChildSpec,
    LocalLauncher,
)
from agents.placement.process_log import last_error_line
from agents.placement.seats import Seat
from broker.child_process import NO_RESTART
from tests import classes
from tests.agents.placement.children.child import Orders
from tests.agents.placement.children.witness import PATIENCE_S, Witness


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Room:
    """Makes launchers, hears their children, and leaves nobody behind."""

    def __init__(self, folder: Path, witness: Witness) -> None:
        self.folder = folder
        self.witness = witness
        self.clock = Clock()
        self._launchers: list[LocalLauncher] = []

    def launcher(self, *, restarts: int = 0, **children: Orders) -> LocalLauncher:
        specs = [self.child(name, orders) for name, orders in children.items()]
        launcher = LocalLauncher(specs, restarts=restarts, backoff_s=0.5, clock=self.clock)
        self._launchers.append(launcher)
        return launcher

    def child(self, name: str, orders: Orders) -> ChildSpec:
        return ChildSpec(name, "tests.agents.placement.children.child", orders, {}, (), self.log(name))

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def pid(self) -> int:
        """Of the next child that reports."""
        pid: int = json.loads(self.witness.line())["pid"]
        return pid

    def end(self) -> None:
        for launcher in self._launchers:
            assert launcher.stop(0.0) == []


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Witness(tmp_path) as witness:
        it = Room(tmp_path, witness)
        yield it
        it.end()


def without_pid(ended: list[ChildEnded]) -> list[ChildEnded]:
    return [msgspec.structs.replace(one, pid=0) for one in ended]


def is_reaped(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_all_children_are_started_and_alive(room: Room) -> None:
    orders = Orders(witness=room.witness.path)
    launcher = room.launcher(tutor=orders, peer=orders)
    assert launcher.alive() == set()
    launcher.start()
    assert room.pid() != room.pid()
    assert launcher.alive() == {"tutor", "peer"}
    assert launcher.ended() == []


def test_a_child_that_dies_at_work_leaves_its_cores_to_the_others(room: Room) -> None:
    table = CoreTable(2)
    peer = msgspec.structs.replace(room.child("peer", Orders(exit_code=1)), core_entry=1)
    launcher = LocalLauncher([peer], restarts=0, table=table)
    one, dying = (CoreShare(CoreSeat(table.descriptor, entry, 2, 2, 1, 2)) for entry in range(2))
    dying.set_at_work(True)
    assert one._fair_share() == 1
    launcher.start()
    assert len(launcher.ended(PATIENCE_S)) == 1
    assert one._fair_share() == 2
    assert launcher.stop(0.0) == []


def test_a_child_that_dies_is_started_again_after_a_pause_that_doubles_until_the_budget_is_spent(room: Room) -> None:
    launcher = room.launcher(restarts=2, peer=Orders(exit_code=1))
    launcher.start()
    assert without_pid(launcher.ended(PATIENCE_S)) == [ChildEnded("peer", "exit code 1", True, 1)]
    used_up = "exit code 1; no restart is left (limits.restarts: 2)"
    for pause, after in [
        (0.5, ChildEnded("peer", "exit code 1", True, 2)),
        (1.0, ChildEnded("peer", used_up, False, 2)),
    ]:
        room.clock.now += pause - 0.01
        assert launcher.ended() == []
        assert launcher.alive() == set()
        room.clock.now += 0.01
        assert without_pid(launcher.ended(PATIENCE_S)) == [after]
    room.clock.now += 1000
    assert launcher.tick() == []
    assert launcher.alive() == set()


def test_the_pause_has_a_limit_and_begins_anew_after_a_process_that_ran_for_long(room: Room) -> None:
    launcher = room.launcher(restarts=20, peer=Orders(exit_code=1))
    launcher.start()
    for pause in (0.5, 1, 2, 4, 8, 16, 30, 30):
        assert launcher.ended(PATIENCE_S)
        room.clock.now += pause - 0.01
        assert launcher.ended() == [] and launcher.alive() == set()
        room.clock.now += 0.01
        launcher.tick()
    room.clock.now += STEADY_S
    assert launcher.ended(PATIENCE_S)
    room.clock.now += 0.5
    launcher.tick()
    assert launcher.ended(PATIENCE_S)


def test_a_child_that_leaves_on_purpose_is_not_started_again(room: Room) -> None:
    launcher = room.launcher(restarts=5, peer=Orders(exit_code=0))
    launcher.start()
    assert without_pid(launcher.ended(PATIENCE_S)) == [ChildEnded("peer", "left (exit code 0)", False, 0, left=True)]


def test_a_child_whose_failure_a_restart_would_not_mend_is_not_started_again(room: Room) -> None:
    launcher = room.launcher(restarts=5, peer=Orders(exit_code=NO_RESTART))
    launcher.start()
    assert without_pid(launcher.ended(PATIENCE_S)) == [
        ChildEnded("peer", "exit code 3; starting it again would not help", False, 0)
    ]


@pytest.mark.parametrize("frozen", [False, True])
def test_kill_ends_a_child_with_all_it_started_even_when_it_is_stopped_and_counts_as_a_death(
    frozen: bool, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_for_memory = [2]
    monkeypatch.setattr(exit_status, "oom_kills", lambda: killed_for_memory[0])
    launcher = room.launcher(restarts=1, peer=Orders(witness=room.witness.path, grandchild=True, deaf=True))
    launcher.start()
    pid = room.pid()
    if frozen:
        os.killpg(pid, signal.SIGSTOP)
    launcher.kill("peer", "it hangs", pid)
    assert launcher.ended(PATIENCE_S) == [
        ChildEnded("peer", "ended by this program: it hangs", True, 1, killed=True, pid=pid)
    ]
    assert room.witness.everybody_left()
    assert is_reaped(pid)
    room.clock.now += 0.5
    launcher.tick()
    again = room.pid()
    assert again != pid
    assert launcher.alive() == {"peer"}
    killed_for_memory[0] += 1
    os.kill(again, signal.SIGKILL)
    [ended] = launcher.ended(PATIENCE_S)
    assert ended.detail.startswith("signal 9 (SIGKILL): out of memory, the kernel killed it")


def test_a_child_that_cannot_be_watched_is_ended_and_told_as_one_that_cannot_be_started(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = room.launcher(restarts=1, peer=Orders(witness=room.witness.path))

    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr("agents.placement.launcher.threading.Thread.start", no_thread)
        with pytest.raises(BlockingIOError):
            launcher.start()
    assert launcher.alive() == set()
    assert not [line for _, line in classes.children(os.getpid()) if line[-1:] == ["peer"]]


def test_killing_somebody_else_or_one_who_is_gone_does_nothing(room: Room) -> None:
    launcher = room.launcher(peer=Orders(exit_code=0))
    launcher.start()
    launcher.ended(PATIENCE_S)
    launcher.kill("peer", "it hangs")
    launcher.kill("an external agent", "it hangs")
    assert launcher.ended() == []


def test_kill_spares_the_successor_of_the_process_that_is_meant(room: Room) -> None:
    launcher = room.launcher(restarts=2, peer=Orders(witness=room.witness.path))
    launcher.start()
    first = room.pid()
    os.kill(first, signal.SIGKILL)
    [ended] = launcher.ended(PATIENCE_S)
    assert ended.pid == first
    assert room.witness.everybody_left()
    room.clock.now += 0.5
    launcher.tick()
    second = room.pid()
    launcher.kill("peer", "it hangs", first)
    os.kill(second, signal.SIGKILL)
    [ended] = launcher.ended(PATIENCE_S)
    assert (ended.killed, ended.pid) == (False, second)


def test_a_process_that_survives_sigkill_for_long_is_unkillable(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = room.launcher(restarts=1, peer=Orders(witness=room.witness.path))
    launcher.start()
    pid = room.pid()
    with monkeypatch.context() as patched:
        patched.setattr("agents.placement.running_process._kill_group", lambda group: None)
        launcher.kill("peer", "it hangs")
        room.clock.now += UNKILLABLE_S
        assert launcher.unkillable() == set()
        launcher.kill("peer", "it still hangs")
        room.clock.now += 0.1
        assert launcher.unkillable() == launcher.alive() == {"peer"}
    os.kill(pid, signal.SIGKILL)
    assert launcher.ended(PATIENCE_S)
    assert launcher.unkillable() == set()
    assert room.witness.everybody_left()
    room.clock.now += UNKILLABLE_S
    launcher.tick()
    room.pid()
    assert launcher.unkillable() == set()


def test_a_child_that_is_sent_away_is_named_by_its_pid(room: Room) -> None:
    launcher = room.launcher(peer=Orders(witness=room.witness.path))
    launcher.start()
    pid = room.pid()
    assert launcher.stop_child("peer") == pid
    assert launcher.ended(PATIENCE_S) == []
    assert launcher.stop_child("peer") == 0


def test_what_a_child_started_does_not_outlive_its_crash(room: Room) -> None:
    launcher = room.launcher(peer=Orders(witness=room.witness.path, grandchild=True, exit_code=1))
    launcher.start()
    room.pid()
    used_up = "exit code 1; no restart is left (limits.restarts: 0)"
    assert without_pid(launcher.ended(PATIENCE_S)) == [ChildEnded("peer", used_up, False, 0)]
    assert room.witness.everybody_left()


def test_stop_lets_the_willing_leave_and_kills_the_deaf_and_the_frozen_and_leaves_no_zombie(room: Room) -> None:
    path = room.witness.path
    launcher = room.launcher(
        restarts=3,
        a=Orders(witness=path, polite=True),
        b=Orders(witness=path, deaf=True, grandchild=True),
        c=Orders(witness=path),
    )
    launcher.start()
    pids = [room.pid() for _ in range(3)]
    os.kill(pids[0], signal.SIGSTOP)
    assert launcher.stop(0.3) == []
    assert room.witness.everybody_left()
    assert all(is_reaped(pid) for pid in pids)
    assert launcher.alive() == set()
    room.clock.now += 1000
    assert launcher.ended() == []
    assert launcher.alive() == set()


def test_stop_gives_a_willing_child_time_to_leave(room: Room) -> None:
    launcher = room.launcher(peer=Orders(witness=room.witness.path, polite=True, farewell="goodbye"))
    launcher.start()
    room.pid()
    launcher.stop(PATIENCE_S)
    assert room.log("peer").read_text() == "goodbye"


def test_stop_cancels_a_restart_that_is_due(room: Room) -> None:
    launcher = room.launcher(restarts=1, peer=Orders(exit_code=1))
    launcher.start()
    launcher.ended(PATIENCE_S)
    launcher.stop(0.0)
    room.clock.now += 1000
    assert launcher.tick() == []
    assert launcher.alive() == set()


def test_a_class_that_cannot_be_started_leaves_nobody_behind(room: Room) -> None:
    orders = Orders(witness=room.witness.path)
    launcher = room.launcher(first=orders, second=orders)
    room.log("second").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        launcher.start()
    assert launcher.alive() == set()


def test_a_restart_that_fails_counts_as_a_death(room: Room) -> None:
    launcher = room.launcher(restarts=2, peer=Orders(exit_code=1))
    launcher.start()
    launcher.ended(PATIENCE_S)
    room.log("peer").unlink()
    room.log("peer").mkdir()
    room.clock.now += 0.5
    (ended,) = launcher.ended()
    assert ended.detail == f"cannot be started: {room.log('peer')}: Is a directory"
    assert (ended.will_restart, ended.restarts) == (True, 2)


def test_last_words_are_those_of_the_last_process(room: Room) -> None:
    launcher = room.launcher(restarts=1, peer=Orders(exit_code=1))
    room.log("peer").parent.mkdir()
    room.log("peer").write_text("an error of an earlier session\n")
    launcher.start()
    assert launcher.ended(PATIENCE_S)
    assert launcher.last_error("peer") == f"its log tells of no error (log: {room.log('peer')})"


def test_last_words_of_a_child_come_with_the_place_of_its_log(room: Room) -> None:
    launcher = room.launcher(peer=Orders(say="no memory left\n", exit_code=1), tiny=Orders(exit_code=1))
    launcher.start()
    while launcher.alive():
        assert launcher.ended(PATIENCE_S)
    assert launcher.last_error("peer") == f"no memory left (log: {room.log('peer')})"
    assert launcher.last_error("tiny") == f"its log tells of no error (log: {room.log('tiny')})"


# --- without processes ----------------------------------------------------------------------------------


def test_last_words_are_the_error_and_not_the_traceback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "2026-11-26 12:00:01,250 WARNING little memory\n"
        "an engine that starts\n"
        "2026-11-26 12:00:02,500 INFO ready on cpu\n"
        "INFO 11-26 12:00:03 [core.py:58] ready\n"
        "(EngineCore pid=7) INFO 11-26 12:00:04 [core.py:60] ready\n"
        "Traceback (most recent call last):\n"
        '  File "agent.py", line 1, in <module>\n'
        "    engine.start()\n"
        "    ^^^^^^^^^^^^^^\n"
        "\x1b[31mRuntimeError: out of\x07 memory\x1b[0m\n\n"
    )
    assert last_error_line(log) == "RuntimeError: out of memory"
    with log.open("a") as file:
        file.write("2026-11-26 12:00:05,000 ERROR the engine broke: no core\n")
        file.write("/lib/python3.11/multiprocessing/resource_tracker.py:254: UserWarning: 1 leaked semaphore\n")
        file.write("  warnings.warn('leaked')\n2026-11-26 12:00:05,001 WARNING slow\n")
    assert last_error_line(log) == "2026-11-26 12:00:05,000 ERROR the engine broke: no core"


def test_last_words_of_a_crash_in_native_code_are_the_crash(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n"
        '  File "x.py", line 3 in f\n\nExtension modules: numpy (total: 1)\n'
    )
    assert last_error_line(log) == "Fatal Python error: Segmentation fault"


def test_last_words_of_a_long_binary_or_missing_log_are_short_text(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_error_line(log) == ""
    log.write_bytes(b"x" * 200_000)
    assert len(last_error_line(log)) == 300
    log.write_bytes(b"x" * 200_000 + b"\n\xff\x00\x9b end\n")
    assert len(last_error_line(log)) == 6


def test_an_agent_sees_its_own_gpus_and_its_own_threads_and_no_network() -> None:
    env = agent_env(Seat("tutor", ("2", "GPU-ab"), 0.5, (0, 1, 2, 3), 3, "", ""))
    assert env["CUDA_VISIBLE_DEVICES"] == "2,GPU-ab"
    assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"] == "3"
    assert env["HF_HUB_OFFLINE"] == env["TRANSFORMERS_OFFLINE"] == "1"
    assert env["LBT_DEVICE"] == "cuda"


@pytest.mark.parametrize(("gpus", "device"), [((), "cpu"), (("mps",), "mps")])
def test_an_agent_without_a_cuda_gpu_sees_none(gpus: tuple[str, ...], device: str) -> None:
    env = agent_env(Seat("tutor", gpus, 0.0, (0,), 1, "", ""))
    assert (env["CUDA_VISIBLE_DEVICES"], env["LBT_DEVICE"]) == ("", device)
