"""The process that compares LaTeX: what it costs to be wrong, slow or dead."""

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from scenarios.tasks.grading import verifier
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.grading.verifier import Verifier, VerifierError

ENDLESS = "(x+1)^{5000}"


def gone(pid: int) -> bool:
    """Waits for a process that is not our child to end."""
    handle = os.pidfd_open(pid)
    try:
        return bool(select.select([handle], [], [], 600)[0])
    finally:
        os.close(handle)


def test_the_process_starts_with_the_first_comparison_and_ends_on_close() -> None:
    one = Verifier()
    assert one.pid is None
    assert one.equivalent("\\frac{1}{2}", "0.5")
    pid = one.pid
    assert pid is not None
    assert not one.equivalent("\\frac{1}{2}", "0.6")
    assert one.pid == pid
    one.close()
    one.close()
    assert one.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_comparison_that_takes_too_long_is_not_equivalent_and_the_next_one_works() -> None:
    one = Verifier(limit_s=5.0)
    assert not one.equivalent(ENDLESS, "5")
    assert one.given_up == 1
    pid = one.pid
    assert one.equivalent("2\\pi", "\\pi + \\pi")
    assert one.pid == pid  # sympy is not imported again
    one.close()


def test_a_text_that_takes_too_long_is_evaluated_once_whatever_it_is_compared_with() -> None:
    with ClassGrader(limit_s=2.0) as grader:
        for other in ("x", "2x + 1", "\\sqrt{8}", "\\frac{x}{3}"):
            assert not grader.same(ENDLESS, other, "latex")
            assert not grader.same(other, ENDLESS, "latex")
        assert grader.given_up == 1
        assert grader.same(ENDLESS, ENDLESS.replace("5000", " 5000 "), "latex")  # as text


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9^9}}",
        "9^{9^9}",
        "2^(3^(4^5))",
        "10^{-99999999}",
        "x + 7^{99999999}",
        "{" * 150 + "x" + "}" * 150,
        "(" * 40 + "x",
    ],
)
def test_an_obviously_excessive_text_starts_no_process(text: str) -> None:
    one = Verifier()
    assert not one.workable(text)
    assert (one.pid, one.given_up) == (None, 1)


@pytest.mark.parametrize("text", ["2^{2^{10}}", "10^{-5}", "2^{1000}", "1^{9999999999}", "((((x+1))))^2", "x^{100}"])
def test_large_but_common_formulas_are_compared(text: str) -> None:
    one = Verifier()
    assert one.workable(text)
    assert one.equivalent(text, text)
    assert one.given_up == 0
    one.close()


def test_a_spent_budget_lowers_the_limit_of_later_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    write = verifier._write

    def noting(pipe: IO[bytes], message: dict[str, Any]) -> None:
        limits.append(message["limit_s"])
        write(pipe, message)

    monkeypatch.setattr(verifier, "_write", noting)
    one = Verifier(limit_s=5.0, budget_s=4.0)
    assert one.workable("x + 1")
    assert not one.workable(ENDLESS)
    assert not one.workable(ENDLESS.replace("5", "6"))
    assert one.workable("\\sqrt{8}")
    assert limits == [5.0, 5.0, 1.0, 1.0]
    one.close()


def test_a_process_that_is_paused_for_longer_than_its_limit_still_answers() -> None:
    one = Verifier(limit_s=2.0)
    assert one.equivalent("x", "x")
    assert one.pid is not None
    os.killpg(one.pid, signal.SIGSTOP)
    wake = threading.Timer(2.5, os.killpg, (one.pid, signal.SIGCONT))
    wake.start()
    assert one.equivalent("2\\pi", "\\pi + \\pi")
    assert one.given_up == 0
    wake.join()
    one.close()


def test_a_process_that_was_killed_is_replaced_and_costs_no_grade() -> None:
    one = Verifier()
    assert one.equivalent("x", "x")
    assert one.pid is not None
    os.killpg(one.pid, signal.SIGKILL)
    assert one.equivalent("x", "x")
    assert one.given_up == 0
    one.close()


def test_texts_that_kill_the_process_twice_are_not_equivalent(monkeypatch: pytest.MonkeyPatch) -> None:
    write, asked = verifier._write, []

    def killing(pipe: IO[bytes], message: dict[str, Any]) -> None:
        asked.append(message["texts"])
        assert one.pid is not None
        os.killpg(one.pid, signal.SIGKILL)
        write(pipe, message)

    one = Verifier()
    monkeypatch.setattr(verifier, "_write", killing)
    assert not one.equivalent("x", "x")
    assert (asked, one.given_up, one.pid) == ([["x", "x"]] * 2, 1, None)


def test_garbage_is_not_equivalent_and_harms_nothing() -> None:
    one = Verifier()
    for text in ("", "}{", "\\frac{", "\0", "$$$", "{" * 20, "\\begin{pmatrix}", "\ud83d", "x" * 100_000, "1/0"):
        assert one.equivalent("5", text) is False
        assert one.equivalent(text, "5") is False
    assert one.equivalent("5", "5")
    one.close()


@pytest.mark.parametrize("python_path", ["", ":", ".", ":/nowhere"])
def test_modules_in_the_current_folder_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python_path: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", python_path)
    for name in ("random", "math_verify", "sympy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    one = Verifier()
    try:
        assert one.equivalent("\\sqrt{8}", "2\\sqrt{2}")
    finally:
        one.close()


def test_ctrl_c_does_not_reach_the_process() -> None:
    one = Verifier()
    try:
        assert one.equivalent("1", "1")
        assert os.getpgid(one.pid or 0) == one.pid
    finally:
        one.close()


def test_a_process_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(VerifierError, match="math-verify cannot be used"):
        Verifier().equivalent("x", "x")


@pytest.mark.skipif(sys.platform != "linux", reason="watches the process through a Linux handle")
@pytest.mark.parametrize("busy", [False, True])
def test_the_process_does_not_outlive_its_parent(busy: bool) -> None:
    last = f"one.equivalent({ENDLESS!r}, 'x')" if busy else "os.kill(os.getpid(), 9)"
    code = (
        "import os; from scenarios.tasks.grading.verifier import Verifier; one = Verifier(limit_s=2.0);"
        f"one.equivalent('x', 'x'); print(one.pid, flush=True); {last}"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)
