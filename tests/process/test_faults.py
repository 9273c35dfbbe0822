"""A class that is disturbed ends with the same gradebook as one that is not."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from scenarios.store.sqlite import Store
from tests import classes

PROBLEMS = "task.problems=6"
SLOW = (PROBLEMS, "teacher.engine_args.tokens_per_second=300", "students.*.engine_args.tokens_per_second=300")
IMPATIENT = ("broker.heartbeat_s=0.3",)
STALLED = ("limits.stalled_s=10", "limits.restarts=20")
"""Much longer than a busy machine keeps a simulated agent from its next token; and if it does, the class goes on."""
ENOUGH = 60
"""Results after which a class is disturbed: in the midst of it, with requests under way at every agent."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str, str | None, bool | None]]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    classes.finish(classes.start(out, PROBLEMS, *IMPATIENT))
    return classes.gradebook(out)


AGENTS = ("average", "strong", "teacher", "weak")


def midway(out: Path, *overrides: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """A class that has come so far, and cannot finish before the end of the block.

    The last of the teacher's 54 answers are missing, and most of the exams.
    """
    return classes.held(out, *SLOW, *IMPATIENT, *overrides, enough=ENOUGH, teacher=50, students=5)


Gradebook = set[tuple[str, str, str | None, bool | None]]


@pytest.mark.parametrize("name", ["teacher", "average", "broker"])
def test_kill_9_of_one_process(name: str, tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        classes.child(process, name).kill()
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed
    assert any(event.startswith(name) for event in classes.events(out, "restart"))


def test_kill_9_of_all_agents_at_once(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        for one in classes.agents(process):
            one.kill()
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed


def test_an_agent_that_is_stopped_for_a_while_keeps_its_place(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"

    def noted(kind: str, event: str) -> bool:
        return any(each.startswith(event) for each in classes.events(out, kind))

    with midway(out) as process:
        average = classes.child(process, "average")
        average.suspend()
        classes.wait_until(process, lambda: noted("quiet", "average no heartbeat"))
        average.resume()
        classes.wait_until(process, lambda: noted("heard", "average again"))
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed
    assert classes.events(out, "restart") == classes.events(out, "lost") == []
    # On a busy machine some may need longer to leave than a complete class waits for them.
    assert set(classes.events(out, "left")) <= {f"{name} finished" for name in AGENTS}


def test_an_agent_that_is_stopped_for_good_is_replaced(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out, *STALLED) as process:
        classes.child(process, "average").suspend()
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed
    assert any("limits.stalled_s" in event for event in classes.events(out, "restart"))


def test_a_loader_that_hangs_is_ended_and_the_limit_is_named(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="pip install -e '.[openai]'")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        at = f"{{base_url: 'http://127.0.0.1:{mute.getsockname()[1]}/v1', timeout_s: 3600}}"
        hangs = ("teacher.engine=openai", "teacher.model=any", f"teacher.engine_args={at}")
        process = classes.start(tmp_path / "run", *hangs, "limits.loading_s=10", "limits.restarts=1")
        said = " ".join(classes.finish(process, code=1).split())
    assert "(no key) The class stopped: " in said, "nothing was answered, so there is nothing to show before"
    assert "agent 'teacher' has ended: ended by this program: still loading after 10 s (limits.loading_s)" in said
    assert "no restart is left (limits.restarts: 1)" in said
    assert "resume with --set limits.loading_s=20" in said
    assert "SIGKILL" not in said


@pytest.mark.parametrize("name", ["broker", "run.py"])
def test_nobody_is_lost_where_the_broker_or_the_classroom_is_stopped(
    name: str, tmp_path: Path, undisturbed: Gradebook
) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        stopped = psutil.Process(process.pid) if name == "run.py" else classes.child(process, name)
        stopped.suspend()
        # Longer than three heartbeats.
        psutil.wait_procs([stopped], timeout=3)
        stopped.resume()
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed
    assert classes.events(out, "restart") == []


def test_kill_9_of_the_class_leaves_no_process_and_nothing_finished_is_asked_again(
    tmp_path: Path, undisturbed: Gradebook
) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 5
        process.kill()
        process.communicate()
    _, alive = psutil.wait_procs(family, timeout=classes.WAIT_S)
    assert alive == []
    before = classes.gradebook(out)
    assert len(before) >= ENOUGH
    said = classes.finish(classes.resume(out))
    assert classes.gradebook(out) == undisturbed
    assert before < undisturbed
    assert f"{len(before)} results reused" in said


def test_ctrl_c_drains_says_how_to_resume_and_the_resumed_class_is_the_same(
    tmp_path: Path, undisturbed: Gradebook
) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        classes.interrupt(process, out)
    said = classes.finish(process, code=130)
    assert f"resume {out}" in said
    assert classes.gradebook(out) < undisturbed
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == undisturbed


@pytest.mark.parametrize("fault", ["crash_after", "hang_after"])
def test_an_engine_that_dies_or_hangs(fault: str, tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    extra = (f"students.1.engine_args.{fault}=20", *STALLED)
    classes.finish(classes.start(out, *SLOW, *IMPATIENT, *extra))
    assert classes.gradebook(out) == undisturbed


def test_an_agent_that_cannot_be_kept_running_ends_the_class_resumable(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out, "limits.restarts=0") as process:
        classes.child(process, "average").kill()
    said = classes.finish(process, code=1)
    assert "average" in said
    assert f"resume {out}" in said
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == undisturbed


def test_a_second_run_py_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = classes.start(out, "students.*.engine_args.tokens_per_second=5")
    classes.wait_until(process, lambda: classes.results(out) > 0)
    assert "another run.py is at work" in classes.say("resume", out, code=2)
    process.send_signal(signal.SIGINT)
    classes.finish(process, code=130)


def test_failed_requests_are_listed_and_asked_again_on_demand(tmp_path: Path) -> None:
    out = tmp_path / "run"
    overrides = ("students.0.engine_args.failure_rate=0.1",)
    said = classes.finish(classes.start(out, *overrides), code=3)
    assert "failed" in said
    first = classes.gradebook(out)
    again = classes.say("resume", out, "--retry-failed", "--monitor", "off", code=3)
    assert "failed" in again
    assert len(classes.gradebook(out)) > len(first)


def test_a_further_rationale_that_takes_the_place_of_a_failed_one_is_recorded_as_one_with_exams(tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ("task.problems=4", "lesson.rationales=3", "lesson.equal_cost=true")
    classes.finish(classes.start(out, *small, "teacher.engine_args.failure_rate=0.25"), code=3)
    with Store(out) as store:
        ((before,),) = store.query("SELECT count(*) FROM result WHERE stage = 'votes'")
    classes.say("resume", out, "--retry-failed", "--monitor", "off", code=3)
    counts = json.loads((out / "summary.json").read_text())["counts"]
    with Store(out) as store:
        ((rationales,),) = store.query("SELECT count(*) FROM teaching_rationale")
    assert before and rationales == counts["teaching_rationales"]


def test_a_full_disk_ends_the_class_resumable(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        classes.command(classes.SMOKE, "--out", out, "--monitor", "off", *classes.sets(*SLOW, *IMPATIENT)),
        cwd=classes.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limit_file_size,
    )
    said = classes.finish(process, code=1)
    assert "nothing recorded was lost" in said
    assert 0 < len(classes.gradebook(out) & undisturbed) == classes.results(out)
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == undisturbed


def limit_file_size() -> None:
    """Writing beyond this fails as it does on a full disk."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))


def test_replicas_share_the_work_and_one_of_them_may_die(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    log = out / "logs" / "broker.log"
    with midway(out, "students.1.replicas=3", "limits.restarts=0") as process:
        replicas = ("average", "average.2", "average.3")
        classes.wait_until(process, lambda: all(f"{name} joined pool average" in log.read_text() for name in replicas))
        classes.child(process, "average.2").kill()
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed


def test_agents_that_take_turns_do_the_same_work_one_after_the_other(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    process = classes.start(out, PROBLEMS, *IMPATIENT, "time_share=true")
    classes.finish(process)
    here: set[str] = set()
    orders: list[int] = []
    for name, what in re.findall(r"(\w+) (joined|is lost|left)", (out / "logs" / "broker.log").read_text()):
        here = here | {name} if what == "joined" else here - {name}
        orders.append(len(here))
    assert max(orders) == 1
    assert orders.count(1) >= len(AGENTS)
    assert classes.gradebook(out) == undisturbed
    assert classes.events(out, "restart") == []


def test_a_class_whose_folder_is_removed_says_so_and_ends(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        for file in out.glob("class.db*"):
            file.unlink()
    said = classes.finish(process, code=1)
    assert "class.db was removed, moved or replaced while the class ran" in said
    assert f"{out} holds no run to continue" in said


def test_a_class_whose_folder_is_moved_goes_on_in_its_new_place(tmp_path: Path, undisturbed: Gradebook) -> None:
    out, moved = tmp_path / "run", tmp_path / "another name"
    with midway(out) as process:
        out.rename(moved)
    said = classes.finish(process, code=1)
    assert f"{out} was moved to {moved} while the class ran" in said
    assert f"Go on with: python run.py resume '{moved}'" in said
    classes.finish(classes.resume(moved))
    assert classes.gradebook(moved) == undisturbed


def test_a_file_that_agents_need_and_that_is_gone_fails_no_request(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        (out / "answer-key").unlink()
        classes.child(process, "average").kill()
    said = classes.finish(process, code=1)
    assert "agent 'average' has ended" in said
    assert f"there is no answer key at {out / 'answer-key'}" in said
    assert f"Go on with: python run.py resume {out}" in said
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == undisturbed


def test_a_gradebook_that_is_damaged_claims_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        classes.interrupt(process, out)
    classes.finish(process, code=130)
    content = (out / "class.db").read_bytes()
    (out / "class.db").write_bytes(content[:100] + os.urandom(len(content) - 100))
    said = classes.say("resume", out, "--monitor", "off", code=1)
    assert "class.db: it is damaged" in said and "nothing recorded was lost" not in said


def test_a_class_writes_no_gradebook_that_nobody_will_read(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with midway(out) as process:
        (out / "copy").write_bytes((out / "class.db").read_bytes())
        (out / "copy").rename(out / "class.db")
    assert "class.db was removed, moved or replaced while the class ran" in classes.finish(process, code=1)


def test_texts_too_long_for_a_message_are_failed_requests_and_the_class_goes_on(tmp_path: Path) -> None:
    lines = [{"question": f"{n} + {n}? " + "long " * 120_000, "answer": str(2 * n)} for n in range(4)]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scenario, out = tmp_path / "class.yaml", tmp_path / "run"
    scenario.write_text(LONG)
    classes.finish(classes.start(out, scenario=scenario), code=3)
    found = json.loads((out / "summary.json").read_text())
    assert found["status"] == "complete"
    assert 0 < found["counts"]["failed"] < found["counts"]["requests"]
    assert all("go over the wire; use shorter texts" in failure["detail"] for failure in found["failures"])
    classes.finish(classes.resume(out), code=3)


LONG = """\
name: long
task: {file: long.jsonl, problems: 2}
teacher: {name: teacher, engine: simulated}
students:
  - {name: ada, engine: simulated}
lesson: {rationales: 2}
exam: {problems: 1}
"""


def test_a_reader_that_leaves_does_not_disturb_a_class(tmp_path: Path) -> None:
    process = subprocess.Popen(
        classes.command(classes.SMOKE, "--out", tmp_path / "run", "--monitor", "plain"),
        cwd=classes.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    process.stderr.close()
    assert process.wait(classes.WAIT_S) == 0


def test_ctrl_c_twice_ends_at_once_and_leaves_no_process_and_no_picture(tmp_path: Path) -> None:
    out = tmp_path / "run"
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color"}
    slow = classes.sets("students.*.engine_args.tokens_per_second=5")
    process = subprocess.Popen(
        classes.command(classes.SMOKE, "--out", out, *slow),
        cwd=classes.ROOT,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = Screen(ours)
    while not (out / "class.db").is_file() or not classes.results(out):
        screen.read()
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(signal.SIGINT)
    while not classes.events(out, "drain"):
        screen.read()
    process.send_signal(signal.SIGINT)
    screen.read_all()
    assert process.wait(classes.WAIT_S) == 130
    _, after = screen.text.rsplit("\x1b[?1049l", 1)
    assert "\x1b[?1049h" not in after
    assert f"Go on with: python run.py resume {out}" in after
    _, alive = psutil.wait_procs(family, timeout=classes.WAIT_S)
    assert alive == []


class Screen:
    """The other end of a terminal. Fails a test that reads it for longer than WAIT_S."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._deadline = time.monotonic() + classes.WAIT_S
        self.text = ""

    def read(self) -> bool:
        """Take what is written within a moment; whether the terminal is still in use."""
        if time.monotonic() > self._deadline:
            raise AssertionError(f"waited {classes.WAIT_S} s in vain; the terminal shows:\n{self.text[-2000:]}")
        if select.select([self._descriptor], [], [], 0.1)[0]:
            try:
                self.text += os.read(self._descriptor, 65_536).decode(errors="replace")
            except OSError:  # its last user is gone
                os.close(self._descriptor)
                return False
        return True

    def read_all(self) -> None:
        """Read until nobody writes any more."""
        while self.read():
            pass


@pytest.mark.parametrize(
    "wanted", ["difflib", "cyclopts", "rich.console", "agents", "scenarios.config", "scenarios.session.request_counts"]
)
def test_ctrl_c_while_the_program_starts(wanted: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS.format(wanted=wanted), classes.SMOKE, "--out", tmp_path / "run"],
        cwd=classes.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said, _ = process.communicate(timeout=classes.WAIT_S)
    assert process.returncode == 130, said
    assert said.startswith("Interrupted")
    assert len(said.splitlines()) == 1


STARTS = """
import builtins, os, runpy, signal, sys
real = builtins.__import__
def importing(name, *args, **more):
    if name == "{wanted}":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *args, **more)
builtins.__import__ = importing
sys.path.insert(0, os.getcwd())
sys.argv = ["run.py", *sys.argv[1:]]
runpy.run_path("run.py", run_name="__main__")
"""
"""run.py, which is sent Ctrl-C as it begins to import something."""


def test_ctrl_c_while_the_summary_is_computed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    classes.finish(classes.start(out))
    (out / "summary.json").unlink()
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS.format(wanted="scenarios.report.build"), "resume", out, "--monitor", "off"],
        cwd=classes.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said, _ = process.communicate(timeout=classes.WAIT_S)
    assert process.returncode == 130
    assert said == f"Interrupted; summary.json is not written. Later: python run.py report {out}\n"
    classes.say("report", out)
    assert (out / "summary.json").exists()


@pytest.mark.parametrize("stage", ["drawing", "loading"])
def test_ctrl_c_before_the_class_has_begun(stage: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = classes.start(out, "students.*.engine_args.tokens_per_second=0.05")
    classes.wait_until(process, lambda: (out / "logs" / "broker.log").exists())
    if stage == "loading":
        classes.wait_until(process, lambda: bool(classes.events(out, "joined")))
    process.send_signal(signal.SIGINT)
    said = classes.finish(process, code=130)
    assert "nterrupted" in said
    assert classes.results(out) < 300
