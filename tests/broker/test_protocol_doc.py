"""The student of docs/protocol.md, exactly as it is printed there, in a class."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec

from broker.client import Client
from broker.members import Member
from broker.protocol import Ack, Drain, Joined, Lost
from broker.work_messages import Answered
from tests.broker.running import (
    CLASSROOM,
    PATIENCE_S,
    QUESTION,
    await_message,
    is_a,
    local,
    serving,
    short_folder,
)

DOC = Path(__file__).parents[2] / "docs" / "protocol.md"


def printed_student() -> str:
    [program] = re.findall(r"^```python\n(.*?)^```", DOC.read_text(), re.DOTALL | re.MULTILINE)
    return str(program)


def test_the_printed_student_joins_answers_and_leaves(tmp_path: Path) -> None:
    program = tmp_path / "student.py"
    program.write_text(printed_student())
    with short_folder() as folder:
        spec = local(folder, heartbeat_s=1.0)
        with serving(spec), Client(spec.endpoint, CLASSROOM) as classroom:
            process = subprocess.Popen([sys.executable, str(program), spec.endpoint, "walt"])
            try:
                [joined] = await_message(classroom, is_a(Joined))
                assert isinstance(joined.message, Joined)
                assert (joined.message.hello.name, joined.message.hello.pool) == ("walt", "walt")
                for number in range(10):
                    classroom.send(QUESTION, to="walt", request_id=f"r{number}", affinity="x", keep=True)
                results = await_message(classroom, is_a(Answered), 10)
                classroom.send(Ack(request_ids=tuple(r.request_id for r in results)))
                classroom.send(Drain())
                [lost] = await_message(classroom, is_a(Lost))
                assert process.wait(PATIENCE_S) == 0
            finally:
                process.kill()
                process.wait()
    assert {r.request_id for r in results} == {f"r{number}" for number in range(10)}
    assert {r.peer for r in results} == {"walt"}
    for result in results:
        assert isinstance(result.message, Answered)
        assert result.message.text.startswith(QUESTION.problem)
    assert isinstance(lost.message, Lost)
    assert (lost.message.why, lost.message.detail) == ("goodbye", "drained")


def test_the_printed_student_says_why_it_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "student.py"
    program.write_text(printed_student())
    with short_folder() as folder:
        spec = msgspec.structs.replace(local(folder, heartbeat_s=1.0), members={"ann": Member("student", "ann")})
        with serving(spec):
            words = [sys.executable, str(program), spec.endpoint, "anne"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "refused: " in done.stderr
    assert "anne" in done.stderr
