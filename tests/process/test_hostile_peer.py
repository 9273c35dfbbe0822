"""A whole class with a hostile peer ends like one without it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from broker import auth
from broker.endpoints import endpoints
from broker.protocol import Hello, Role, envelope, from_frames, to_frames
from broker.work_messages import Answered
from tests import classes
from tests.ports import free_port

SLOW = ("task.problems=6", "teacher.engine_args.tokens_per_second=300", "students.*.engine_args.tokens_per_second=300")
Gradebook = set[tuple[str, str, str | None, bool | None]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Gradebook:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    classes.finish(classes.start(out, *SLOW))
    return classes.gradebook(out)


def attack(
    endpoint: str, name: str, role: Role, pool: str, ids: list[str], keys: Path | None = None, key: str = ""
) -> Iterator[str]:
    """Say Hello and forge results for all `ids`; gives the kinds of what the broker says."""
    hello = Hello(name=name, role=role, pool=pool, state="ready", credit=100)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        if keys:
            auth.secure_client(socket, keys, key)
        socket.connect(endpoint)
        socket.send_multipart(to_frames([envelope(hello)]))
        for request_id in ids:
            socket.send_multipart(to_frames([envelope(Answered(text="Answer: 1"), request_id=request_id)]))
        while socket.poll(1000 * classes.WAIT_S):
            yield from (came.kind for came in from_frames(socket.recv_multipart()))


def test_with_the_key_of_one_student_nobody_is_another(tmp_path: Path, undisturbed: Gradebook) -> None:
    out, address = tmp_path / "run", f"tcp://127.0.0.1:{free_port()}"
    ids = [row[0] for row in undisturbed]
    told = []
    hostile: tuple[tuple[str, str, Role, str], ...] = (
        ("weak", "classroom", "classroom", ""),
        ("weak", "weak", "classroom", ""),
        ("weak", "weak", "student", "strong"),
        ("weak", "weak", "student", "weak"),
        ("weak", "strong", "student", "strong"),
        ("weak", "weak", "teacher", "teacher"),
        ("monitor", "monitor", "teacher", "teacher"),
    )
    with classes.held(out, *SLOW, f"broker.address={address}", students=1) as process:
        for key, name, role, pool in hostile:
            told.append(
                next(kind for kind in attack(address, name, role, pool, ids, out / "keys", key) if kind != "Unknown")
            )
    classes.finish(process)
    assert told == ["Drain"] * len(hostile)
    assert classes.gradebook(out) == undisturbed
    refused = [event for event in classes.events(out, "lost") if "refused" in event]
    assert len(refused) == len(hostile), refused
    assert classes.events(out, "restart") == []


def test_a_namesake_on_this_machine_is_refused_and_the_class_goes_on(tmp_path: Path, undisturbed: Gradebook) -> None:
    out = tmp_path / "run"
    endpoint, _ = endpoints("ipc", out)
    ids = [row[0] for row in undisturbed]
    with classes.held(out, *SLOW, students=1) as process:
        for name, role in (("weak", "student"), ("classroom", "classroom"), ("eve", "student")):
            assert next(kind for kind in attack(endpoint, name, role, "", ids) if kind != "Unknown") == "Drain"  # type: ignore[arg-type]
    classes.finish(process)
    assert classes.gradebook(out) == undisturbed
    assert classes.events(out, "restart") == []


EXTERNAL = """
import sys, msgpack, zmq
endpoint, usage, body = sys.argv[1], eval(sys.argv[2]), {"text": "Answer: 1"}
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(endpoint)
hello = {"name": "average", "role": "student", "state": "ready", "credit": 4}
def send(kind, body, request_id=b""):
    socket.send_multipart([kind, b"", request_id, b"", msgpack.packb(body)])
send(b"Hello", hello)
while True:
    frames = socket.recv_multipart() if socket.poll(500) else []
    send(b"Heartbeat", {"state": "ready", "credit": 4})
    for kind, _, request_id, _, _ in zip(*[iter(frames)] * 5):
        if kind == b"Examine":
            send(b"Answered", body | {"usage": usage}, request_id)
        elif kind == b"Unknown":
            send(b"Hello", hello)
        elif kind == b"Drain":
            send(b"Goodbye", {"reason": "drained"})
            sys.exit()
"""


@pytest.mark.parametrize(
    ("usage", "why"),
    [
        ("{'prompt_tokens': 2**63}", "$.usage.prompt_tokens"),
        ("{'completion_tokens': -1}", "$.usage.completion_tokens"),
        ("{'seconds': float('nan')}", "$.usage.seconds"),
        ("{'seconds': float('inf')}", "$.usage.seconds"),
    ],
)
def test_an_answer_with_an_impossible_number_is_a_failed_request(usage: str, why: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ("task.problems=2", "lesson.rationales=2", "exam.problems=2", "broker.heartbeat_s=1")
    process = classes.start(out, "students.1.engine=external", "students.1.engine_args={}", *small)
    endpoint, _ = endpoints("ipc", out)
    with subprocess.Popen([sys.executable, "-c", EXTERNAL, endpoint, usage]) as external:
        classes.finish(process, code=3)
        assert external.wait(classes.WAIT_S) == 0
    found = json.loads((out / "summary.json").read_text())
    assert found["status"] == "complete"
    assert found["counts"]["failed"] == len(found["failures"]) > 0
    assert all(failure["agent"] == "average" and why in failure["detail"] for failure in found["failures"])
    average = next(agent for agent in found["agents"] if agent["name"] == "average")
    assert average["requests"] == average["failed"], "no answer is missing"
