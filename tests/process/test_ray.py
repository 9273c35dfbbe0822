"""A class whose agents run on the nodes of a Ray cluster ends as if they were here, also where a node is lost."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import classes
from tests.ports import free_port

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='Ray is not installed: pip install -e ".[cluster]"'
)
SMALL = ("task.problems=3", "lesson.rationales=3")
FAR = (*SMALL, "teacher.resources.far=1", "students.*.resources.far=1")


class Nodes:
    """A Ray cluster on this machine: see tests/ray_nodes.py."""

    def __enter__(self) -> "Nodes":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray_nodes"],
            cwd=classes.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.address = self._process.stdout.readline().strip()
        assert self.address
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(classes.WAIT_S)
        self._process.stdout.close()

    def tell(self, line: str) -> None:
        """Have a node added or killed, and wait until it is done."""
        assert self._process.stdin and self._process.stdout
        print(line, file=self._process.stdin, flush=True)
        assert any(found.strip() == line for found in self._process.stdout)

    @property
    def words(self) -> tuple[str, ...]:
        """The options of a class on this cluster."""
        return "--launcher", "ray", "--ray-address", self.address


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with Nodes() as found:
        yield found


def test_a_class_on_a_cluster_that_loses_the_node_of_its_agents_has_the_gradebook_of_one_host(
    nodes: Nodes, tmp_path: Path
) -> None:
    here, out = tmp_path / "here", tmp_path / "run"
    classes.finish(classes.start(here, *SMALL))
    nodes.tell("add first 2 far=9")
    with classes.held(out, *FAR, students=2, words=nodes.words) as process:
        assert not classes.agents(process), "they are no children of run.py"
        nodes.tell("add second 2 far=9")
        nodes.tell("kill first")
        classes.wait_until(process, lambda: len(classes.events(out, "restart")) >= 4)
        classes.release(out)
        said = classes.finish(process)
    assert classes.gradebook(out) == classes.gradebook(here)
    lost = classes.events(out, "restart")
    assert all("its node" in one and "was lost" in one for one in lost), lost
    assert {one["name"]: one["restarts"] for one in classes.summary(out)["agents"]} == dict.fromkeys(
        ("teacher", "weak", "average", "strong"), 1
    )
    assert {one["device"] for one in classes.summary(out)["agents"]} == {"Ray, CPU"}
    assert "raylet" not in said
    secrets = [path.read_text().strip() for path in (out / "keys").glob("*.key")]
    logs = "".join(path.read_text() for path in (out / "logs").iterdir())
    assert len(secrets) > 4
    assert not any(secret in said + logs for secret in secrets)
    assert "serving" in (out / "logs" / "broker.log").read_text()

    # What the cluster cannot hold, or cannot reach, is refused before anything is asked.
    plan = classes.say("plan", classes.SMOKE, *nodes.words)
    assert f"Ray at {nodes.address}: " in plan
    assert "9 far" in plan
    words = ("--out", str(tmp_path / "refused"), *nodes.words)
    said = classes.say(classes.SMOKE, *words, *classes.sets("students.0.resources.gone=1"), code=2)
    assert "weak" in said and "needs 0.1 CPU, 1 gone on one node, and no node of the Ray cluster has that" in said
    assert not (tmp_path / "refused").exists()


def test_a_class_on_a_cluster_of_this_host_ends_and_goes_on_with_and_without_ray(tmp_path: Path) -> None:
    out = tmp_path / "run"
    classes.finish(classes.start(out, *SMALL, words=("--launcher", "ray")))
    assert {one["device"] for one in classes.summary(out)["agents"]} == {"Ray, CPU"}
    classes.finish(classes.extend(out, "task.problems=4"))
    here = tmp_path / "here"
    classes.finish(classes.start(here, "task.problems=4", "lesson.rationales=3"))
    assert classes.gradebook(out) == classes.gradebook(here)


def test_a_class_on_ray_is_watched_paused_and_goes_on_without_a_student(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, enough=12, students=2, words=("--launcher", "ray")) as process:
        watching = subprocess.Popen(
            classes.command("watch", out), cwd=classes.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for words in (("pause",), ("resume",), ("drop", "weak")):
            classes.say("ctl", out, *words)
        status = json.loads(classes.say("ctl", out, "status", "--json"))
        assert {one["name"]: one["state"] for one in status["agents"]}["weak"] == "dropped"
    classes.finish(process)
    assert "dropped" in classes.finish(watching)
    changes = classes.summary(out)["changes"]
    assert (changes["pauses"], changes["dropped"]) == (1, ["weak"])


def test_a_class_that_loses_the_head_of_ray_says_how_to_go_on_and_keeps_its_answers(tmp_path: Path) -> None:
    here, out = tmp_path / "here", tmp_path / "run"
    classes.finish(classes.start(here, *SMALL))
    with classes.held(out, *SMALL, enough=12, students=2, words=("--launcher", "ray")) as process:
        (head,) = (one for one in psutil.Process(process.pid).children() if one.name() == "gcs_server")
        head.kill()
        said = " ".join(classes.finish(process, code=1).split())
    assert "the Ray cluster is lost: its head" in said and f"resume {out} --launcher ray" in said
    before = classes.gradebook(out)
    assert len(before) >= 12
    classes.finish(classes.resume(out))
    assert before < classes.gradebook(out) == classes.gradebook(here)


STUDY = """
study: trial
base: {base}
set: {{task.problems: 2, lesson.rationales: 2, exam.problems: 1}}
students: [{{name: one, engine: simulated}}, {{name: two, engine: simulated}}]
lineups: {{first: [one], both: [one, two]}}
cross: {{teacher.engine_args.ability: [-0.5, 1.0]}}
seeds: [1]
primary: [both - first]
"""


def test_each_class_of_a_study_has_its_agents_on_ray(tmp_path: Path) -> None:
    file, out = tmp_path / "trial.yaml", tmp_path / "out"
    file.write_text(STUDY.format(base=classes.ROOT / classes.SMOKE))
    classes.say("study", file, "--out", out, "--monitor", "off", "--launcher", "ray")
    runs = sorted((out / "runs").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert {one["device"] for one in classes.summary(run)["agents"]} == {"Ray, CPU"}
    assert json.loads((out / "study.json").read_text())["status"] == "complete"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--ray-address", "10.0.0.1:6379"), "--ray-address goes with --launcher ray"),
        (("--ray-strategy", "pack"), "--ray-strategy goes with --launcher ray"),
        (("--launcher", "ray", "--ray-address", "ray://10.0.0.1:10001"), "needs HOST:PORT of the head of a cluster"),
        (("--launcher", "ray", "--set", "time_share=true"), "time_share: is for one machine"),
        (("--launcher", "ray", "--set", "students.*.engine=external", "--set", "teacher.engine=external"),
         "no agent of this class can run on a Ray cluster"),
        (("--launcher", "ray", "--set", "students.0.resources.GPU=1"), "resources.GPU"),
        (("--launcher", "ray", "--set", "students.0.resources.accelerator_type:H100=1"),
         "needs 0.1 CPU, 1 accelerator_type:H100 on one node"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_ray_is_refused_at_once(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    said = classes.say(classes.SMOKE, "--out", tmp_path / "run", *words, code=2)
    assert says in " ".join(said.split()), said
    assert len(said.strip().splitlines()) <= 3
    assert not (tmp_path / "run").exists()


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    said = classes.say(classes.SMOKE, "--out", tmp_path / "run", "--launcher", "ray", "--ray-address", address, code=2)
    assert f"--ray-address {address}: no Ray cluster answers there: Connection refused" in said
