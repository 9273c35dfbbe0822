"""Agents that join a class from another host: the class ends as if they were here, whatever the network does."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import classes
from tests.ports import free_port

SLOW = ("task.problems=6", "students.*.engine_args.tokens_per_second=2000")
FAR = (*SLOW, "students.0.elsewhere=true", "limits.empty_pool_s=3600")
IP = shutil.which("ip") or ""
Gradebook = set[tuple[str, str, str | None, bool | None]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Gradebook:
    """The gradebook of the class with all agents on one host."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    classes.finish(classes.start(out, *SLOW))
    return classes.gradebook(out)


def local(address: str, *overrides: str) -> tuple[str, ...]:
    return *FAR, f"broker.address={address}", *overrides


def invite(out: Path, name: str, address: str = "127.0.0.1", code: int = 0) -> Path:
    """The invitation of an agent; the class has begun once it has problems."""
    file = out.with_name(f"{name}.invite")
    classes.say("invite", out, "--name", name, "--address", address, "--out", file, code=code)
    return file


@contextlib.contextmanager
def joined(file: Path, under: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """An agent that joins by an invitation; it is killed at the end of the block if it still runs."""
    words = [*under, sys.executable, "-m", "agents.main", "--invite", str(file)]
    agent = subprocess.Popen(words, cwd=classes.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield agent
    finally:
        agent.kill()
        agent.communicate()


def joins(out: Path, name: str) -> int:
    """How often an agent has joined."""
    return sum(one.startswith(f"{name} ") for one in classes.events(out, "joined"))


def losses(out: Path, name: str) -> int:
    """How often an agent was lost."""
    return sum(one.startswith(f"{name} ") for one in classes.events(out, "lost"))


def event(out: Path, kind: str, start: str) -> Callable[[], bool]:
    return lambda: any(one.startswith(start) for one in classes.events(out, kind))


def begun(out: Path) -> Callable[[], bool]:
    return lambda: classes.results(out) > 0


def test_an_agent_that_was_invited_joins_answers_and_leaves_with_the_class(
    tmp_path: Path, undisturbed: Gradebook
) -> None:
    out = tmp_path / "run"
    process = classes.start(out, *local(f"tcp://127.0.0.1:{free_port()}"))
    classes.wait_until(process, begun(out))
    file = invite(out, "weak")
    with joined(file) as far:
        classes.finish(process)
        said, _ = far.communicate(timeout=classes.WAIT_S)
    assert (far.returncode, "weak has left the class" in said) == (0, True), said
    assert classes.gradebook(out) == undisturbed
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().partition('"secret_key": "')[2][:40]
    assert len(secret) == 40
    kept = [path for path in out.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert (kept, secret in said, secret in file.with_name("weak.log").read_text()) == ([], False, False)


def test_a_revoked_agent_ends_at_once_and_never_comes_back_and_its_work_is_done_by_others(
    tmp_path: Path, undisturbed: Gradebook
) -> None:
    out = tmp_path / "run"
    with classes.held(out, *local(f"tcp://127.0.0.1:{free_port()}", "students.0.replicas=2"), students=3) as process:
        file = invite(out, "weak")
        with joined(file) as far, joined(invite(out, "weak.2")):
            classes.wait_until(process, lambda: joins(out, "weak") > 0)
            classes.wait_until(process, lambda: joins(out, "weak.2") > 0)
            classes.say("revoke", out, "--name", "weak")
            said, _ = far.communicate(timeout=classes.WAIT_S)
            assert (far.returncode, "does not accept the key of weak: it was revoked" in said) == (1, True), said
            assert "weak revoked: its key was revoked" in classes.events(out, "lost")
            with joined(file) as again:
                said, _ = again.communicate(timeout=classes.WAIT_S)
            assert (again.returncode, "does not accept the key of weak: it was revoked" in said) == (2, True), said
            assert "was revoked before" in classes.say("revoke", out, "--name", "weak", code=2)
            file.unlink()
            with joined(invite(out, "weak")):
                classes.wait_until(process, lambda: joins(out, "weak") > losses(out, "weak"))
                classes.release(out)
                classes.finish(process)
    assert classes.gradebook(out) == undisturbed


def test_ctrl_c_lets_an_agent_leave_and_another_host_go_on_with_its_work(
    tmp_path: Path, undisturbed: Gradebook
) -> None:
    out = tmp_path / "run"
    with classes.held(out, *local(f"tcp://127.0.0.1:{free_port()}"), students=3) as process:
        file = invite(out, "weak")
        with joined(file) as far:
            classes.wait_until(process, lambda: joins(out, "weak") > 0)
            far.send_signal(signal.SIGINT)
            assert far.stdout
            # Released before, the class may be over before the agent has seen the signal.
            assert any("weak leaves" in line for line in iter(far.stdout.readline, ""))
            classes.release(out)
            assert far.wait(classes.WAIT_S) == 0
            classes.wait_until(process, event(out, "left", "weak "))
    with joined(file):
        classes.finish(process)
    assert classes.gradebook(out) == undisturbed


# --- two hosts ------------------------------------------------------------------------------------------------------


class Hosts:
    """Two hosts, each a Linux network namespace, that see each other only through a third one with a relay."""

    def __init__(self) -> None:
        number = os.getpid()
        self.names = [f"lbt{number}{end}" for end in "abp"]
        self.near, self.far, self.between = ((IP, "netns", "exec", name) for name in self.names)
        self.port = free_port()

    def __enter__(self) -> "Hosts":
        near, far, between = self.names
        for name in self.names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for end, net in ((near, 1), (far, 2)):
            _ip("link", "add", end, "netns", end, "type", "veth", "peer", "name", f"{end}p", "netns", between)
            for name, link, host in ((end, end, 2), (between, f"{end}p", 1)):
                _ip("-n", name, "address", "add", f"10.77.{net}.{host}/24", "dev", link)
                _ip("-n", name, "link", "set", link, "up")
        self.relay = subprocess.Popen(
            [*self.between, sys.executable, "-m", "tests.relay", str(self.port), "10.77.1.2", str(self.port)],
            cwd=classes.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.read("listening")
        return self

    def __exit__(self, *_: object) -> None:
        assert self.relay.stdin and self.relay.stdout
        self.relay.stdin.close()
        self.relay.kill()
        self.relay.wait()
        self.relay.stdout.close()
        for name in self.names:
            _ip("netns", "del", name)

    def tell(self, line: str) -> None:
        """Have the relay do something, and wait until it has."""
        assert self.relay.stdin
        print(line, file=self.relay.stdin, flush=True)
        self.read(line)

    def read(self, line: str) -> None:
        """Wait for a line of the relay."""
        assert self.relay.stdout
        for found in self.relay.stdout:
            if found.strip() == line:
                return
        raise AssertionError(f"the relay ended before {line!r}")


def _ip(*words: str) -> None:
    subprocess.run([IP, *words], check=True, capture_output=True)


def _why_not() -> str:
    """Why no network namespace can be made here; empty: one can."""
    if sys.platform != "linux" or os.geteuid() or not IP:
        return "network namespaces need Linux, root and iproute2"
    name = f"lbt{os.getpid()}t"
    made = subprocess.run([IP, "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if why := _why_not():
        pytest.skip(why)
    with Hosts() as found:
        yield found


def _reachable(out: Path, hosts: Hosts) -> Path:
    """The invitation to the relay, after one to the broker itself, which the other host cannot reach."""
    file = invite(out, "weak", "10.77.1.2")
    with joined(file, hosts.far) as far:
        said, _ = far.communicate(timeout=classes.WAIT_S)
    assert far.returncode == 2
    assert f"tcp://10.77.1.2:{hosts.port}: no broker can be reached there from this host: " in said
    classes.say("revoke", out, "--name", "weak")
    file.unlink()
    return invite(out, "weak", "10.77.2.1")


def test_a_slow_network_that_breaks_and_parts_changes_no_gradebook(
    hosts: Hosts, tmp_path: Path, undisturbed: Gradebook
) -> None:
    """After a short partition the connection goes on; after one of more than 30 s the agent makes another one."""
    out = tmp_path / "run"
    hosts.tell("delay 0.05")
    address = f"broker.address=tcp://10.77.1.2:{hosts.port}"
    with (
        classes.held(out, *FAR, address, "broker.heartbeat_s=1", students=20, under=hosts.near) as process,
        joined(_reachable(out, hosts), hosts.far) as far,
    ):
        classes.wait_until(process, lambda: joins(out, "weak") > 0)
        hosts.tell("cut")
        for closed in (False, True):
            hosts.tell("part")
            classes.wait_until(process, lambda: losses(out, "weak") == joins(out, "weak"))
            if closed:
                hosts.read("closed while parted")
            hosts.tell("heal")
            classes.wait_until(process, lambda: joins(out, "weak") > losses(out, "weak"))
        classes.release(out)
        classes.wait_until(process, lambda: classes.results(out) > len(undisturbed) // 2)
        hosts.tell("cut")
        classes.finish(process)
        said, _ = far.communicate(timeout=classes.WAIT_S)
    assert (far.returncode, "has left" in said) == (0, True), said
    assert classes.gradebook(out) == undisturbed
    assert losses(out, "weak") == len(classes.events(out, "lost")) >= 2
