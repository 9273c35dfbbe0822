from pathlib import Path

import pytest

from agents.exit_status import describe_exit, oom_kills


def group(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_the_innermost_group_that_counts_is_asked_and_the_machine_where_there_is_none(tmp_path: Path) -> None:
    membership, root, vmstat = tmp_path / "cgroup", tmp_path / "fs", tmp_path / "vmstat"
    assert oom_kills(membership, root, vmstat) is None
    vmstat.write_text("pgfault 7\noom_kill 2\n")
    membership.write_text("4:memory:/outer/inner\n0::/outer/inner\n")
    assert oom_kills(membership, root, vmstat) == 2
    group(root / "outer", "memory.events", "low 0\noom 9\noom_kill 3\noom_group_kill 0\n")
    assert oom_kills(membership, root, vmstat) == 3
    group(root / "memory" / "outer" / "inner", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    assert oom_kills(membership, root, vmstat) == 4


@pytest.mark.parametrize(
    ("code", "before", "now", "words"),
    [
        (0, 0, 0, "exit code 0"),
        (7, None, None, "exit code 7"),
        (-11, 0, 1, "signal 11 (SIGSEGV)"),
        (-9, 1, 2, "signal 9 (SIGKILL): out of memory, the kernel killed it"),
        (-9, 1, 1, "signal 9 (SIGKILL), killed by another program and not for lack of memory"),
        (-9, None, 1, "signal 9 (SIGKILL), not from this program: the kernel may have run out of memory"),
    ],
)
def test_an_end_is_told_by_its_signal_and_by_what_the_kernel_counts(
    code: int, before: int | None, now: int | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.exit_status.oom_kills", lambda: now)
    assert describe_exit(code, before) == words
