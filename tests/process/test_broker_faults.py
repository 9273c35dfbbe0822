"""A class whose broker runs but cannot be reached goes on with another broker, or ends resumable."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from broker.endpoints import endpoints
from tests import classes
from tests.process.test_faults import IMPATIENT, PROBLEMS, Gradebook, midway

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a class over ipc, watched by /proc")
SOON = ("limits.broker_s=3", "limits.restarts=20")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Gradebook:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    classes.finish(classes.start(out, PROBLEMS, *IMPATIENT))
    return classes.gradebook(out)


def socket_of(out: Path) -> Path:
    endpoint, _ = endpoints("ipc", out)
    return Path(endpoint.removeprefix("ipc://"))


def next_broker(process: subprocess.Popen[str], before: psutil.Process) -> psutil.Process:
    """The broker that was started in place of `before`."""
    found = before

    def there() -> bool:
        nonlocal found
        brokers = [
            one for one, line in classes.children(process.pid) if one.pid != before.pid and line[-1:] == ["broker"]
        ]
        found = brokers[0] if brokers else found
        return bool(brokers)

    classes.wait_until(process, there)
    return found


def test_a_broker_that_is_stopped_for_good_is_replaced(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out, *SOON) as process:
        classes.child(process, "broker").suspend()
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed
    assert any(event.startswith("broker no word for") for event in classes.events(out, "quiet"))
    restart, *_ = classes.events(out, "restart")
    assert restart == "broker ended by this program: it said nothing for 3 s (limits.broker_s)"


def test_a_class_without_restarts_names_the_broker_and_can_be_resumed(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out, "limits.broker_s=3", "limits.restarts=0") as process:
        classes.child(process, "broker").suspend()
    said = classes.finish(process, code=1)
    assert "the broker cannot be kept running: ended by this program: it said nothing for 3 s" in said
    assert "no restart is left (limits.restarts: 0)" in said
    assert f"Go on with: python run.py resume {out}" in said
    classes.finish(classes.resume(out, "limits.restarts=2"))
    assert classes.gradebook(out) == undisturbed


def test_a_broker_that_lost_its_socket_as_it_began_to_serve_is_replaced(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    log, socket = out / "logs" / "broker.log", socket_of(out)
    with midway(out, "limits.restarts=20") as process:
        first = classes.child(process, "broker")
        first.suspend()  # so that its successor cannot be reached before the socket is gone
        agents = classes.agents(process)
        for one in agents:
            one.suspend()
        first.kill()
        next_broker(process, first)
        classes.wait_until(process, lambda: log.read_text().count("serving at") >= 2)
        socket.unlink()
        for one in agents:
            one.resume()
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed


def test_a_temporary_folder_that_is_cleaned_ends_no_class(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        shutil.rmtree(socket_of(out).parent)
        classes.child(process, "average").kill()
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed
    assert any("is gone: does a program clean the temporary folder?" in one for one in classes.events(out, "restart"))


def test_a_broker_that_is_terminated_is_started_again(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        classes.child(process, "broker").send_signal(signal.SIGTERM)
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed
    assert classes.events(out, "restart") == ["broker signal 15 (SIGTERM)"]


def test_a_class_that_is_suspended_for_long_blames_nobody(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out, "limits.broker_s=5", "limits.stalled_s=60", "limits.empty_pool_s=5") as process:
        classroom = psutil.Process(process.pid)
        family = [classroom, *classroom.children()]
        for one in family:
            one.suspend()
        psutil.wait_procs(family, timeout=8)  # longer than the limits of what is idle
        for one in reversed(family):
            one.resume()
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed
    assert classes.events(out, "restart") == []
