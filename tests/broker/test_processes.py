"""What the operating system knows about processes."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from broker.processes import is_running, memory_mb, parent_of, process_of


def test_a_process_runs_until_it_has_ended_though_nobody_has_reaped_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_running(process.pid)
    assert parent_of(process.pid) in (os.getpid(), 0)
    process.kill()
    if sys.platform == "linux":
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_running(process.pid)
    process.communicate()
    assert not is_running(process.pid)
    assert parent_of(process.pid) == 0


def test_a_process_may_have_any_name_and_the_broker_any_number_of_connections() -> None:
    if sys.platform != "linux":
        pytest.skip("processes are looked up in /proc")
    rename = r"import ctypes; ctypes.CDLL(None).prctl(15, b'\xff) \xfe'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        assert parent_of(process.pid) == os.getpid()
        many = [os.dup(0) for _ in range(min(1100, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200))]
        assert is_running(process.pid)
        for one in many:
            os.close(one)
        process.kill()


@pytest.mark.parametrize("address", ["", "127.0.0.1:5", "localhost:0:0", "::1"])
def test_an_address_without_a_process_names_none(address: str) -> None:
    assert process_of(address) == 0


def test_memory_is_measured() -> None:
    assert memory_mb() > 1 or not Path("/proc/self/statm").exists()
