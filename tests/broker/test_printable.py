"""Texts of others in logs and on the terminal."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from broker.child_process import ROOT
from broker.printable import LogFormatter, printable, printable_lines, printable_traceback

HOSTILE = "\x1b[2J\x1b]0;title\x07 \x9b31m \x7f\x00 \u202eabc\u2066 \u200bd\u2028e\x85f\x0bg\rh\ni\tj \ud800"
FORGED = "peer\n2026-11-28 12:00:00,000 ERROR the class is over"


def test_characters_that_control_a_terminal_are_removed() -> None:
    assert printable(HOSTILE) == "[2J]0;title 31m  abc d e f g h i j "
    assert printable_lines("a\x1b[1m\nb\u202e\n") == "a[1m\nb\n"
    for code in [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029]:
        assert printable(f"a{chr(code)}b") in ("ab", "a b"), hex(code)


@pytest.mark.parametrize("text", ["", "plain [red]text[/red] :smile:", "é e\u0301 数 ﷺ नमस्ते \N{NO-BREAK SPACE}|", "😀"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


def logged(message: str, *args: object, error: BaseException | None = None) -> list[str]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("broker", logging.WARNING, "x.py", 1, message, args, info)
    return LogFormatter("%(asctime)s %(levelname)s %(message)s").format(record).split("\n")


def test_no_text_forges_a_line_of_a_log() -> None:
    first, *others = logged("dropped: %s", FORGED + HOSTILE)
    assert first.endswith(" WARNING dropped: peer")
    assert all(line.startswith("    ") for line in others)
    assert others[0].strip().startswith("2026-11-28")
    assert all(line.isprintable() for line in (first, *others))


def test_a_traceback_stays_readable_and_its_message_forges_nothing() -> None:
    try:
        try:
            raise ValueError(FORGED)
        except ValueError as error:
            raise KeyError("x\x1b[2J") from error
    except KeyError as error:
        lines = logged("request %s", "r1", error=error)
        assert printable_traceback(error) in "\n".join(lines)
    assert "ValueError: peer" in lines
    assert "    2026-11-28 12:00:00,000 ERROR the class is over" in lines
    assert "KeyError: 'x\\x1b[2J'" in lines
    assert [line for line in lines if line.startswith("20")] == lines[:1]
    assert lines.count("Traceback (most recent call last):") == 2


@pytest.mark.parametrize("where", ["", "log"])
@pytest.mark.parametrize("thread", [False, True])
def test_an_error_that_nothing_catches_is_logged_like_any_other(tmp_path: Path, where: str, thread: bool) -> None:
    log = tmp_path / "log"
    program = (
        "import threading; from broker import logs\n"
        f"logs.configure({str(log) if where else ''!r})\n"
        f"def fail(): raise ValueError({FORGED + HOSTILE!r})\n"
    ) + ("thread = threading.Thread(target=fail); thread.start(); thread.join()" if thread else "fail()")
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
    text = log.read_text() if where else ended.stderr.decode()
    assert "CRITICAL nothing caught this error:\n" in text
    assert "\nValueError: peer\n    2026" in text
    assert all(line.isprintable() for line in text.splitlines())


def test_warnings_and_uncaught_errors_do_nothing_to_the_terminal() -> None:
    program = (
        "import logging; from broker import logs\n"
        "logs.configure_terminal()\n"
        f"logging.getLogger('client').warning('dropped: %s', {HOSTILE!r})\n"
        f"raise ValueError({HOSTILE!r})\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
    text = ended.stderr.decode()
    assert ended.returncode == 1
    assert text.startswith("dropped: [2J") and "\nValueError: [2J" in text
    assert all(line.isprintable() for line in text.splitlines())
