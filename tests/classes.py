"""Real classes for tests and benchmarks: run.py as a user runs it, with simulated engines, and how to disturb one."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from broker.errors import StoreError
from scenarios.store.sqlite import Store

ROOT = Path(__file__).parents[1]
SMOKE = "scenarios/smoke.yaml"
WAIT_S = 1800
"""Nothing here takes as long, even on a busy machine; a test that waits in vain ends by then."""


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "run.py", *map(str, words)]


def sets(*overrides: str) -> list[str]:
    return [word for one in overrides for word in ("--set", one)]


def start(
    out: Path, *overrides: str, scenario: str | Path = SMOKE, under: Sequence[str] = (), words: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """`python run.py SCENARIO --out OUT`, without a monitor.

    Args:
        out: Its folder.
        overrides: Of its scenario.
        scenario: The file.
        under: Words before the command, as `ip netns exec`.
        words: Further words of the command.
    """
    return subprocess.Popen(
        [*under, *command(scenario, "--out", out, "--monitor", "off", *words, *sets(*overrides))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def held(
    out: Path,
    *overrides: str,
    enough: int = 1,
    teacher: int | None = None,
    students: int | None = None,
    under: Sequence[str] = (),
    words: Sequence[str] = (),
) -> Iterator[subprocess.Popen[str]]:
    """A class of which `enough` results are recorded, and which cannot finish before the end of the block.

    Args:
        out: Its folder.
        overrides: Of its scenario.
        enough: Results that the block waits for.
        teacher: Requests that the teacher answers before; None: all.
        students: Requests that each process of a student answers before; None: all.
        under: Words before the command.
        words: Further words of the command.
    """
    hold = out.with_name(f"{out.name}.hold")
    hold.touch()
    after = {"teacher": teacher, "students.*": students}
    pauses = [
        f"{who}.engine_args.{entry}"
        for who, number in after.items()
        if number is not None
        for entry in (f"pause_while={hold}", f"pause_after={number}")
    ]
    process = start(out, *overrides, *pauses, under=under, words=words)
    try:
        wait_until(process, lambda: results(out) >= enough)
        yield process
    finally:
        release(out)


def release(out: Path) -> None:
    """Let a class that is held go on."""
    out.with_name(f"{out.name}.hold").unlink(missing_ok=True)


def interrupt(process: subprocess.Popen[str], out: Path) -> None:
    """Send Ctrl-C to a class, and wait until it finishes what is under way."""
    process.send_signal(signal.SIGINT)
    wait_until(process, lambda: bool(events(out, "drain")))


def resume(out: Path, *overrides: str) -> subprocess.Popen[str]:
    return go_on("resume", out, *overrides)


def extend(out: Path, *overrides: str) -> subprocess.Popen[str]:
    return go_on("extend", out, *overrides)


def go_on(how: str, out: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(how, out, "--monitor", "off", *sets(*overrides)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a class to end with this exit code; returns what it printed."""
    said, _ = process.communicate(timeout=WAIT_S)
    if process.returncode != code:
        raise AssertionError(f"exit code {process.returncode}, not {code}:\n{said}")
    return said


def say(*words: str | Path, code: int = 0) -> str:
    """What a command prints, both streams."""
    done = subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False)
    if done.returncode != code:
        raise AssertionError(f"exit code {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def wait_until(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    """Wait until something is so; fails where the class ends before."""
    for _ in range(WAIT_S * 50):
        ended = process.poll() is not None  # before the look: what it does last is seen, too
        if there():
            return
        if ended:
            raise AssertionError(f"the class ended too early: {process.communicate()[0]}")
        with suppress(subprocess.TimeoutExpired):  # psutil would take its exit code
            process.wait(0.02)
    raise AssertionError(f"waited {WAIT_S} s in vain")


def results(out: Path) -> int:
    """How many results are committed."""
    try:
        with Store(out) as store:
            return int(str(store.query("SELECT count(*) FROM result")[0][0]))
    except StoreError:
        return 0


def gradebook(out: Path) -> set[tuple[str, str, str | None, bool | None]]:
    """What two runs of one class must agree on."""
    with Store(out) as store:
        return {(r.request_id, r.text, r.answer, r.correct) for r in store.results()}


def tables(out: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables of the gradebook."""
    with Store(out) as store:
        names = [str(name) for (name,) in store.query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        return {name: store.query(f"SELECT * FROM {name}") for name in names}  # noqa: S608 - our own names


def summary(out: Path) -> dict[str, Any]:
    """What summary.json says."""
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def events(out: Path, kind: str) -> list[str]:
    with Store(out) as store:
        return [f"{e.agent} {e.detail}" for e in store.events(kinds=[kind])]


def child(process: subprocess.Popen[str], name: str) -> psutil.Process:
    """The process of one agent, or of the broker, of a running class."""
    for one, line in children(process.pid):
        if line[-1:] == [name]:
            return one
    raise AssertionError(f"no process is called {name}")


def children(pid: int, *, recursive: bool = False) -> list[tuple[psutil.Process, list[str]]]:
    """The child processes of a process with their command lines; without those that have just ended."""
    found = []
    for one in psutil.Process(pid).children(recursive=recursive):
        with suppress(psutil.NoSuchProcess):
            found.append((one, one.cmdline()))
    return found


def agents(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of all agents of a running class."""
    return [one for one, line in children(process.pid) if "agents.main" in line]


def first_asked(out: Path) -> float:
    """When the first request was at its agent, in seconds since the epoch: its result's time less its seconds."""
    with Store(out) as store:
        return min(_seconds(at) - float(str(took)) for at, took in store.query("SELECT at, seconds FROM result"))


def last_answered(out: Path) -> float:
    """When the last result was committed, in seconds since the epoch."""
    with Store(out) as store:
        return _seconds(store.query("SELECT max(at) FROM result")[0][0])


def busy_seconds(out: Path) -> dict[str, float]:
    """The engine's own seconds, by agent, added over its requests."""
    with Store(out) as store:
        rows = store.query("SELECT agent, sum(seconds) FROM result GROUP BY agent")
        return {str(agent): float(str(seconds)) for agent, seconds in rows}


def _seconds(at: object) -> float:
    return datetime.fromisoformat(str(at)).timestamp()
