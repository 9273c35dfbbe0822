"""Ctrl-C ends a process whatever it does, and a process that does nothing but swallow it."""

import signal
import subprocess
import sys

import pytest

from broker.interrupts import SHOW_TERMINAL
from tests.classes import ROOT, WAIT_S

BEGIN = """
from broker.interrupts import Interrupts
interrupts = Interrupts()
interrupts.words = "Interrupted. Go on."
interrupts.install()
"""
SWALLOWS = (
    BEGIN
    + """
print("ready", flush=True)
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
)
FINISHES = (
    BEGIN
    + """
asked = []
with interrupts.on_first_signal(lambda: asked.append("finishing")):
    print("ready", flush=True)
    while not asked:
        pass
print(asked[0], flush=True)
"""
)
IGNORES = (
    BEGIN
    + """
with interrupts.on_first_signal(lambda: print("finishing", flush=True)):
    print("ready", flush=True)
    while True:
        pass
"""
)


def begun(program: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_code_that_swallows_every_exception_is_interrupted(number: int) -> None:
    process = begun(SWALLOWS)
    process.send_signal(number)
    assert process.communicate(timeout=WAIT_S) == ("", "Interrupted. Go on.\n")
    assert process.returncode == 130


def test_the_first_interrupt_asks_a_class_to_finish() -> None:
    process = begun(FINISHES)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=WAIT_S) == ("finishing\n", "")
    assert process.returncode == 0


def test_the_second_interrupt_ends_a_class_that_does_not_finish() -> None:
    process = begun(IGNORES)
    process.send_signal(signal.SIGINT)
    assert process.stdout and process.stdout.readline() == "finishing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=WAIT_S)[1] == "Interrupted. Go on.\n"
    assert process.returncode == 130


def test_a_process_that_was_started_to_ignore_interrupts_goes_on_ignoring_them() -> None:
    ignored = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + BEGIN
    process = begun(ignored + 'print("ready", flush=True)\ninput()\n')
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=WAIT_S)[1] == "Interrupted. Go on.\n"


@pytest.mark.parametrize("live", [True, False])
def test_the_alternate_screen_is_left_where_a_live_picture_is_on_it(live: bool) -> None:
    process = begun(BEGIN + f'Interrupts.on_alternate_screen = {live}\nprint("ready", flush=True)\ninput()\n')
    process.send_signal(signal.SIGINT)
    assert (SHOW_TERMINAL.decode() in process.communicate(timeout=WAIT_S)[0]) is live
