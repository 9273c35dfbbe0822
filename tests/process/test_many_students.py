"""A class of more simulated students than have a process each: it is the same class, and a process may die."""

from pathlib import Path

import psutil
import pytest

from agents.placement.shared_processes import PROCESSES
from tests import classes

STUDENTS = PROCESSES + 2
NAMES = [f"s{n}" for n in range(STUDENTS)]
SMALL = ("task.problems=1", "lesson.rationales=2", "exam.problems=1")
WRITTEN_OUT = (f"students=[{', '.join(f'{{name: {name}, engine: simulated}}' for name in NAMES)}]", *SMALL)
ONE_PROCESS = (f"students=[{{name: s, engine: simulated, copies: {STUDENTS}}}]", *SMALL)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class whose first two processes of students are killed when it has some results."""
    out = tmp_path_factory.mktemp("many") / "run"
    process = classes.start(out, *WRITTEN_OUT)
    classes.wait_until(process, lambda: classes.results(out) >= 1)
    for name in ("simulated.1", f"simulated.{PROCESSES}"):
        classes.child(process, name).kill()
    classes.finish(process)
    return out


def test_students_share_processes_and_their_logs(shared: Path) -> None:
    logs = {path.stem for path in (shared / "logs").glob("*.log")}
    assert logs == {"broker", "teacher", *(f"simulated.{number}" for number in range(1, PROCESSES + 1))}
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(shared) in " ".join(one.info["cmdline"] or ())]


def test_every_student_of_a_process_that_dies_comes_back_and_no_exam_is_lost(shared: Path) -> None:
    summary = classes.summary(shared)
    assert summary["status"] == "complete"
    assert {one["name"] for one in summary["agents"]} == {"teacher", *NAMES}
    assert len({one["exam_answers"] for one in summary["students"]}) == 1
    restarted = {line.partition(" ")[0] for line in classes.events(shared, "restart")}
    assert {"s0", NAMES[-1]} <= restarted <= {*NAMES[:2], *NAMES[-2:]}


def test_the_students_of_one_process_give_the_same_answers_as_copies_of_one(shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    classes.finish(classes.start(out, *ONE_PROCESS))

    def answers(run: Path) -> list[tuple[str, str, str | None, bool | None]]:
        return sorted(classes.gradebook(run), key=str)

    assert answers(out) == answers(shared)
