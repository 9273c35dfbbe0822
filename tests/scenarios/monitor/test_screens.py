import io
import os
import pty
import re
import signal
import termios
from pathlib import Path

import msgspec
import pytest

from scenarios.monitor.plain import PlainLines
from scenarios.monitor.terminal import Keyboard, LiveScreen
from scenarios.store.sqlite import Store
from tests.scenarios.monitor.monitored import begin, gauges, half, paying, picture, scenario, terminal, written


def test_plain_lines_of_a_resumed_class_begin_with_what_is_there(tmp_path: Path) -> None:
    described = scenario("simulated")
    with Store(tmp_path, write=True) as store:
        half(store, described)
        store.note("", "stopped", "interrupted")
        begin(store, described, device="elsewhere")
    lines = PlainLines(io.StringIO()).lines(picture(tmp_path, described))
    assert lines[1] == "simulated, no language model: teacher, ada, bob"
    assert "so far: greedy 1 of 2, teach 4 of 6, exam 13 of 24" in lines
    assert [line for line in lines if "joined" in line] == [
        f"{name} joined {model} simulated elsewhere"
        for name, model in (("teacher", "qwen"), ("ada", "qwen"), ("bob", "smollm"))
    ]
    assert not any("stopped" in line for line in lines)


def test_plain_lines_tell_what_is_spent(tmp_path: Path) -> None:
    plain = PlainLines(io.StringIO())
    with Store(tmp_path, write=True) as store:
        begin(store, scenario())
        plain.lines(picture(tmp_path, scenario(), paying(0.0)))
        half(store, scenario())
    (told,) = (line for line in plain.lines(picture(tmp_path, scenario(), paying(12.345))) if "teach " in line)
    assert told.endswith((", spent 12.35", ", spent 12.34"))


def test_plain_lines_tell_once_that_an_agent_loads_and_that_it_is_ready(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        begin(store, scenario())
    plain, ready = PlainLines(io.StringIO()), picture(tmp_path, scenario(), gauges())
    teacher, ada, bob = ready.agents
    bob = msgspec.structs.replace(bob, engine="simulated")
    ready = msgspec.structs.replace(ready, agents=(teacher, ada, bob))
    loads = msgspec.structs.replace(ada, state="loading")
    simulated = msgspec.structs.replace(bob, state="loading")
    loading = msgspec.structs.replace(ready, agents=(teacher, loads, simulated))
    told = [line for shown in (loading, loading, ready, ready) for line in plain.lines(shown)]
    assert [line for line in told if re.match("ada (loads|is)", line)] == [
        "ada loads qwen on cpu (1 core)",
        "ada is ready",
    ]
    assert not [line for line in told if line.startswith("bob is")]


def test_failures_for_the_same_reason_have_one_line_and_their_number_at_the_end(tmp_path: Path) -> None:
    plain = PlainLines(io.StringIO())
    with Store(tmp_path, write=True) as store:
        half(store, scenario())
        plain.lines(picture(tmp_path, scenario()))
        for n in range(18):
            store.note("ada", "failed", f"{n:032x} engine: refused: no such model")
        store.note("ada", "failed", f"{18:032x} context: too long")
        first = plain.lines(picture(tmp_path, scenario()))
        store.note("ada", "failed", f"{19:032x} engine: refused: no such model")
        more = plain.lines(picture(tmp_path, scenario()))
        store.note("", "finished", "(every request is answered)")
        last = plain.lines(picture(tmp_path, scenario()))
    assert first == ["ada failed 00000000… engine: refused: no such model", "ada failed 00000000… context: too long"]
    assert more == []
    assert last == [
        "ada failed 19 times: engine: refused: no such model",
        "finished (every request is answered)",
    ]


def test_a_picture_that_did_not_change_is_not_drawn_again(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        half(store, scenario())
    console, shown = terminal(), picture(tmp_path, scenario(), gauges())
    with LiveScreen(console, "") as screen:
        screen.draw(shown)
        once = len(written(console))
        screen.draw(msgspec.structs.replace(shown))
        assert len(written(console)) == once
        screen.draw(msgspec.structs.replace(shown, elapsed_s=shown.elapsed_s + 1))
        assert len(written(console)) > once


def test_only_lines_that_changed_are_written_and_now_and_then_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path, write=True) as store:
        half(store, scenario())
    console, shown = terminal(100, 30), picture(tmp_path, scenario(), gauges())
    monkeypatch.setattr("scenarios.monitor.terminal.WHOLE", 3)
    texts, before = [], 0
    with LiveScreen(console, "") as screen:
        for n in range(3):
            screen.draw(msgspec.structs.replace(shown, elapsed_s=3600.0 + n))
            texts.append(written(console)[before:])
            before = len(written(console))
    first, second, third = texts
    moved = re.findall(r"\x1b\[(\d+);1H([^\n]*)", second)
    assert [(int(row), "elapsed 1:00:01" in line) for row, line in moved] == [(2, True)]
    assert "gradebook" in first and "gradebook" not in second and "gradebook" in third


def test_another_terminal_size_is_another_picture(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        half(store, scenario())
    console, shown = terminal(100, 30), picture(tmp_path, scenario(), gauges())
    with LiveScreen(console, "") as screen:
        screen.draw(shown)
        before = len(written(console))
        console.size = (40, 10)
        screen.draw(shown)
        frame = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written(console)[before:])
    assert len(frame.splitlines()) == 10
    assert {len(line) for line in frame.splitlines()} == {40}


def test_ctrl_z_gives_the_terminal_back_and_the_next_picture_takes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path, write=True) as store:
        half(store, scenario())
    console, shown = terminal(), picture(tmp_path, scenario(), gauges())
    before, stopped = signal.getsignal(signal.SIGTSTP), list[tuple[int, str]]()
    monkeypatch.setattr(os, "kill", lambda _, number: stopped.append((number, written(console))))
    with LiveScreen(console, "") as screen:
        screen.draw(shown)
        signal.raise_signal(signal.SIGTSTP)
        ((number, text),) = stopped
        assert number == signal.SIGTSTP
        assert text.rindex("\x1b[?1049l") > text.rindex("\x1b[?1049h"), "the alternate screen is left before it stops"
        screen.draw(shown)
        again = written(console)[len(text) :]
        assert again.index("\x1b[?1049h") < again.index("small"), "an equal picture is drawn again"
        signal.raise_signal(signal.SIGTSTP)
        assert len(stopped) == 2
    assert signal.getsignal(signal.SIGTSTP) is before


def test_keys_are_heard_without_enter_and_the_terminal_gets_its_settings_back() -> None:
    ours, theirs = pty.openpty()
    wake, waker = os.pipe()
    with (
        os.fdopen(ours, "wb", buffering=0) as keys,
        os.fdopen(theirs) as stream,
        os.fdopen(wake),
        os.fdopen(waker, "w"),
    ):
        before = termios.tcgetattr(stream)
        keyboard = Keyboard(stream)
        keyboard.take()
        assert termios.tcgetattr(stream) != before
        keys.write(b"x\x1b[C")
        assert keyboard.pressed(20, wake) == ["x", "right"]
        keyboard.give_back()
        assert termios.tcgetattr(stream) == before


def test_without_a_terminal_there_are_no_keys_and_an_end_is_still_noticed() -> None:
    with LiveScreen(terminal(), "", io.StringIO("q")) as screen:
        assert not screen.wait(0.0)
        screen.end()
        assert screen.wait(600)
