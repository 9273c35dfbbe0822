"""A teacher that is trained: its real process, a real broker, and a classroom that a test speaks for."""

import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agents.engines.simulated.options import write_answer_key
from agents.models import trained_weights
from broker import child_process
from broker.client import Client
from broker.protocol import Gone
from broker.work_messages import Answered, Failed, PreferencePair, Progress, Recipe, Sampling, Teach, Train, Trained
from tests.agents.specs import BASE, agent_spec
from tests.broker.running import CLASSROOM, await_message, is_a, local, serving, short_folder

PROBLEMS = {f"What is {a} + {a}?": str(2 * a) for a in range(1, 41)}
PAIRS = [
    PreferencePair(prompt=problem, chosen=f"Answer: {gold}", rejected="Answer: 0", answer_form="number")
    for problem, gold in PROBLEMS.items()
]


class Class:
    """A run's folder, its broker's endpoint, and the classroom's end of it."""

    def __init__(self, folder: Path, endpoint: str, client: Client) -> None:
        self.folder, self.client, self._endpoint = folder, client, endpoint

    @contextlib.contextmanager
    def teacher(self, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
        args = {"answer_key": str(self.folder / "answers"), "unparsable_rate": 0.0, **options}
        spec = agent_spec(
            endpoint=self._endpoint,
            model="simulated",
            engine="simulated",
            seed=1,
            engine_args=args,
            weights_folder=str(self.folder / "weights"),
            training_folder=str(self.folder / "training"),
        )
        process = child_process.spawn("agents.main", spec, env={}, log=self.folder / "ada.log")
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.kill()
            process.wait()


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[Class]:
    (folder / "training").mkdir()
    write_answer_key(folder / "answers", PROBLEMS)
    with short_folder() as sockets, serving(local(sockets, heartbeat_s=1.0)):
        spec = local(sockets)
        with Client(spec.endpoint, CLASSROOM) as client:
            yield Class(folder, spec.endpoint, client)


def test_a_teacher_killed_in_mid_training_is_trained_by_its_next_process(tmp_path: Path) -> None:
    content = b"\n".join(msgspec.json.encode(pair) for pair in PAIRS)
    with holding(tmp_path) as held:
        (tmp_path / "training" / "pairs.jsonl").write_bytes(content)
        asked = Train(
            pairs="pairs.jsonl",
            pairs_digest=hashlib.sha256(content).hexdigest(),
            recipe=Recipe(batch=1),
            weights=BASE,
        )
        held.client.send(asked, to="ada", request_id="t", keep=True)
        # A second for each pair: it is killed long before the end.
        with held.teacher(tokens_per_second=100.0) as process:
            (told,) = await_message(held.client, is_a(Progress))[:1]
            assert isinstance(told.message, Progress) and told.request_id == "t"
            assert (told.message.step, told.message.steps) == (1, len(PAIRS))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            held.client.send(Gone(name="ada", pid=process.pid))
        with held.teacher(tokens_per_second=1e9):
            (done,) = await_message(held.client, is_a(Trained, Failed))
            assert isinstance(done.message, Trained), done
            new = done.message.trained
            assert trained_weights.read_simulated(tmp_path / "weights" / new).gain > 0.3
            teach = Teach(problem="What is 1 + 1?", answer_form="number", sampling=Sampling())
            for weights in (BASE, new, "c" * 64):
                named = msgspec.structs.replace(teach, weights=weights)
                held.client.send(named, to="ada", request_id=weights, keep=True)
            answers = {one.request_id: one.message for one in await_message(held.client, is_a(Answered, Failed), 3)}
    assert isinstance(answers[BASE], Answered) and isinstance(answers[new], Answered)
    # Whatever a new process holds, it answers with what a request names, or not at all.
    refused = answers["c" * 64]
    assert isinstance(refused, Failed) and refused.kind == "unsupported"
