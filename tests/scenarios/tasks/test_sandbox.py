"""Programs of models run, and the hostile ones are contained."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenarios.tasks.sandbox import bubblewrap, worker
from scenarios.tasks.sandbox.outcome import CallOutcome, ProgramLimits, SandboxError
from scenarios.tasks.sandbox.pool import Sandbox, available
from tests import classes
from tests.scenarios.tasks import hostile

WORKS, WHY = available()
confined = pytest.mark.skipif(not WORKS, reason=WHY)
SQUARE = "def square(x):\n    return x * x"
NOBODY = 65534


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def surroundings() -> Iterator[dict[str, Any]]:
    with hostile.surroundings() as found:
        yield found


@confined
@pytest.mark.parametrize("name", hostile.PROGRAMS)
def test_a_hostile_program_is_contained_and_a_good_one_works_after_it(
    name: str, sandbox: Sandbox, surroundings: dict[str, Any]
) -> None:
    assert hostile.uncontained(name, sandbox, surroundings) == ""


@confined
@pytest.mark.skipif(os.getuid() != 0, reason="the other tests run as an ordinary user already; this one needs root")
def test_hostile_programs_are_contained_when_an_ordinary_user_runs_them() -> None:
    # The interpreter may be in a folder of root, such as /root: nobody gets a view of the machine in which it is not.
    view = [bubblewrap.executables()[0], "--bind", "/", "/", "--dev-bind", "/dev", "/dev"]
    for folder in {Path(path) for path in (sys.base_prefix, sys.prefix, str(classes.ROOT))}:
        above = [parent for parent in reversed(folder.parents) if parent != Path("/")]
        closed = [parent for parent in above if not parent.stat().st_mode & 0o001]
        if closed:
            view += ["--perms", "0755", "--tmpfs", str(closed[0])]
            for parent in above[above.index(closed[0]) + 1 :]:
                view += ["--perms", "0755", "--dir", str(parent)]
            view += ["--ro-bind", str(folder), str(folder)]
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    run = [sys.executable, "-B", "-c", PROOF_AND_ATTACK]
    done = subprocess.run([*view, "--", *nobody, *run], capture_output=True, text=True, check=False, cwd=classes.ROOT)
    lines = done.stdout.splitlines()
    if lines[:1] == ["refused"]:
        pytest.skip(f"an ordinary user cannot use bubblewrap here: {lines[1:]}")
    assert lines == [str(NOBODY), *(f"contained: {name}" for name in hostile.PROGRAMS)], done.stderr


PROOF_AND_ATTACK = """
import os
from scenarios.tasks.sandbox.pool import available
from tests.scenarios.tasks import hostile
kind, why = available()
print(os.getuid() if kind else f"refused\\n{why}", flush=True)
kind and hostile.main()
"""


@confined
def test_each_call_has_its_own_outcome_and_its_own_process(sandbox: Sandbox) -> None:
    code = "seen = []\ndef f(x):\n    seen.append(x)\n    assert x != 2, 'two'\n    return (seen, {1: x})"
    found = sandbox.run(code, "f", [[1], [2], [3]])
    assert found == [
        CallOutcome([[1], {"1": 1}]),
        CallOutcome(error="exception", detail="AssertionError: two"),
        CallOutcome([[3], {"1": 3}]),
    ]


@confined
def test_a_method_is_called_on_an_object_made_without_arguments(sandbox: Sandbox) -> None:
    code = "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b"
    assert sandbox.run(code, "Solution.add", [[1, 2]]) == [CallOutcome(3)]


@confined
def test_a_program_may_write_into_its_folder_and_print(sandbox: Sandbox) -> None:
    code = "def f():\n    print('x')\n    open('x', 'w').write('y')\n    return open('x').read()"
    assert sandbox.run(code, "f", [[], []]) == [CallOutcome("y")] * 2


@confined
def test_a_program_sees_no_installed_package(sandbox: Sandbox) -> None:
    code = """import glob
def f(roots):
    return [path for root in roots for path in glob.glob(f"{root}/python*/*-packages/*")]"""
    (found,) = sandbox.run(code, "f", [[["/lib", "/usr/lib", f"{sys.base_exec_prefix}/lib"]]])
    assert found == CallOutcome([])


@confined
def test_calls_after_five_that_ran_out_of_time_are_not_made(sandbox: Sandbox) -> None:
    code = "def f(x):\n    while x:\n        pass"
    found = sandbox.run(code, "f", [[0], *[[1]] * 6, [0]], ProgramLimits(seconds=0.1))
    assert [outcome.error for outcome in found] == ["", *["timeout"] * 7]
    assert "not run" in found[-1].detail and "not run" not in found[5].detail


PACED = """import time
def f(work, pause):
    while time.process_time() < work:
        begun = time.process_time()
        while time.process_time() < begun + 0.01:
            pass
        time.sleep(pause)
    return 'done'"""


def test_a_program_that_waits_most_of_its_time_is_stopped_although_it_uses_little() -> None:
    with Sandbox(kind="none") as made:
        # It would take 190 half seconds. The supervisor needs some seconds of processor time, on a busy machine too.
        (found,) = made.run(PACED, "f", [[1.9, 0.5]], ProgramLimits(seconds=2.0))
    assert found.error == "timeout"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux, which puts processes on one core")
def test_a_program_that_computes_is_not_stopped_where_the_machine_gives_it_little() -> None:
    # The program and its supervisor share one core with processes that only compute.
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(16)]
    try:
        with Sandbox(kind="none") as made:
            (found,) = made.run(PACED, "f", [[0.6, 0.0]], ProgramLimits(seconds=10.0))
    finally:
        os.sched_setaffinity(0, cores)
        for other in others:
            other.kill()
            other.wait()
    assert found == CallOutcome("done")


@confined
def test_threads_share_the_workers_and_get_their_own_outcomes(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda x: sandbox.run(SQUARE, "square", [[x], [-x]]), range(40)))
    assert found == [[CallOutcome(x * x)] * 2 for x in range(40)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
SAME = """import random
def f(x):
    text = {str(n) for n in range(20)} | {str(x)}
    return [x, list(text), random.random(), hash(str(x))]"""


@confined
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(JSON, min_size=1, max_size=4))
def test_values_pass_unchanged_and_a_program_has_the_same_outcomes_in_every_sandbox(
    values: list[Any], sandbox: Sandbox, other_sandbox: Sandbox
) -> None:
    calls = [[value] for value in values]
    found = sandbox.run(SAME, "f", calls)
    assert [outcome.value[0] for outcome in found] == values
    assert found == other_sandbox.run(SAME, "f", calls)


@pytest.fixture(scope="module")
def other_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


@confined
def test_a_call_whose_worker_is_killed_is_made_again() -> None:
    with Sandbox() as made:
        found: list[CallOutcome] = []
        code = "import sys\ndef f():\n    n = 0\n    for n in range(10**7):\n        pass\n    return n"
        running = threading.Thread(target=lambda: found.extend(made.run(code, "f", [[]], ProgramLimits(seconds=60))))
        (first,) = supervisors_of(made)
        running.start()
        while running.is_alive() and not first.children():  # until the call's process exists
            running.join(0.001)
        first.kill()
        running.join()
        assert found == [CallOutcome(10**7 - 1)]


def supervisors_of(sandbox: Sandbox) -> list[psutil.Process]:
    """The supervisors of a sandbox: what bubblewrap has started."""
    starters = [w._process for w in sandbox._all if w._process]
    return [child for starter in starters for child in psutil.Process(starter.pid).children()]


@confined
def test_a_sandbox_that_disappears_ends_in_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as made:
        assert made.run(SQUARE, "square", [[2]]) == [CallOutcome(4)]
        for process in supervisors_of(made):
            process.kill()
        monkeypatch.setattr(worker.Worker, "_confined", lambda self, rules: ["/no/bwrap", "--"])
        with pytest.raises(SandboxError, match=r"ended 3 times during one call: .*/no/bwrap"):
            made.run(SQUARE, "square", [[2]])
        monkeypatch.undo()
        assert made.run(SQUARE, "square", [[3]]) == [CallOutcome(9)]


@confined
def test_after_an_interrupted_call_the_next_one_gets_its_own_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    send = socket.send_fds

    def interrupted(*args: Any) -> None:
        send(*args)
        raise KeyboardInterrupt

    with Sandbox() as made:
        monkeypatch.setattr(socket, "send_fds", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made.run(SQUARE, "square", [[2]])
        monkeypatch.undo()
        assert made.run(SQUARE, "square", [[3]]) == [CallOutcome(9)]


@confined
def test_a_closed_sandbox_leaves_no_process() -> None:
    with Sandbox(workers=2) as made:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda x: made.run(SQUARE, "square", [[x]]), range(9)))
        processes = supervisors_of(made)
        assert processes
    psutil.wait_procs(processes)
    assert not any(process.is_running() for process in processes)


def test_a_machine_without_bubblewrap_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "executables", list)
    with pytest.raises(SandboxError, match=r"bubblewrap is not installed\ninstall bubblewrap \(apt-get install"):
        Sandbox()
    kind, why = available()
    assert (kind, why.count("\n")) == ("", 2)


def test_a_bubblewrap_that_may_not_make_namespaces_is_refused_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forbidden = tmp_path / "bwrap"
    forbidden.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    forbidden.chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "executables", lambda: [str(forbidden)])
    with pytest.raises(SandboxError, match="setting up uid map: Permission denied"):
        Sandbox(kind="bubblewrap")


def test_without_protection_good_programs_work_and_slow_ones_are_stopped() -> None:
    with Sandbox(kind="none") as made:
        assert made.kind == "none"
        code = "import os\ndef f(x):\n    while x < 0:\n        pass\n    return [x, sorted(os.listdir('.'))]"
        found = made.run(code, "f", [[1], [-1], [2]], ProgramLimits(seconds=0.1))
        assert [outcome.error for outcome in found] == ["", "timeout", ""]
        assert found[2].value == [2, []]
        assert made.run("def f():\n    raise SystemExit", "f", [[]])[0].error == "exception"
