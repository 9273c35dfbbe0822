"""Output whose reader leaves, or cannot take every character, is no error."""

import os
import pty
import subprocess
import sys

from tests.classes import ROOT, WAIT_S

PROGRAM = """
import sys
from broker.streams import protect
protect()
for n in range(20_000):
    print("a line of output", n)
    print("a line of errors", n, file=sys.stderr)
sys.exit(7)
"""


def test_a_reader_that_leaves_changes_nothing() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=WAIT_S) == 7


def test_a_terminal_that_is_closed_changes_nothing() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    assert process.wait(timeout=WAIT_S) == 7


def test_characters_that_the_encoding_lacks_become_question_marks() -> None:
    program = "from broker.streams import protect; protect(); print('caf\\u00e9 \\u2026')"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, check=True)
    assert done.stdout == b"caf? ?\n"


def test_a_full_disk_is_reported_once() -> None:
    program = "from broker.streams import protect; protect(); print('x')"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.count(b"No space left on device: 'output 1'") == 1
