import io
import re
import unicodedata
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from scenarios.monitor.plain import PlainLines
from scenarios.monitor.state import AgentRow, Best, EventRow, LessonRow, Snapshot, StageRow
from scenarios.monitor.texts import bar, cell, duration, fitted, roughly, rule, spread, tail
from scenarios.monitor.view import view
from scenarios.report.formatting import harmless
from scenarios.store.sqlite import Store
from tests.scenarios.monitor.monitored import gauges, half, paying, picture, prepare, record, scenario, tr, whole

SIZES = [(80, 24), (120, 40), (200, 60), (40, 10)]
HOSTILE = (
    "\x1b[35mred\x1b[0m [bold]b[/] \x1b]0;title\x07 a\nb\r\tc \x9b2J \uff57ide \u6f22\u5b57 "
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 e\u0301\u202e \x00\ud800 " + "x" * 300
)


def snapshot(text: str = "plain", *, lessons: int = 3, agents: int = 4, stages: int = 3) -> Snapshot:
    students = tuple(f"{text}{n}" for n in range(agents - 1))
    return Snapshot(
        scenario=text,
        level=1,
        task=text,
        status="running",
        simulated=(text,),
        elapsed_s=3725.0,
        left_s=100.0,
        amount=f"{lessons} TPs",
        students=students,
        agents=tuple(
            AgentRow(
                name=name, role="student", model=text, engine=text, device=text, state=text, done=10**6, tokens=10**9,
                restarts=1, queue=10**5, leases=8, tokens_per_second=123.4, cached_share=0.0,
            )
            for name in (text, *students)
        ),
        stages=tuple(StageRow(name, 10**5 * n, 417_024) for n, name in enumerate(("greedy", "teach", "exam")[:stages])),
        lessons=tuple(
            LessonRow(
                tp=f"{text}{n}", rationales=256, exams=n, exams_total=2304, scores=dict.fromkeys(students, 0.5),
                greedy=True, best=Best(text, 0.75, False, n == 0), last=f"{n:03}",
            )
            for n in range(lessons)
        ),
        events=tuple(EventRow(n, "12:00:00", text, text, text) for n in range(50)),
        failed=3,
    )  # fmt: skip


def drawn(snapshot: Snapshot, width: int, height: int) -> str:
    """What reaches a terminal with colours."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="256", width=width, height=height)
    console.print(view(snapshot, width, height, "a hint"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def assert_fits(snapshot: Snapshot, width: int, height: int) -> list[str]:
    lines = view(snapshot, width, height, "a hint").text.splitlines()
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)
    return lines


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, write=True)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("filled", [None, half, whole])
def test_the_key_facts_are_there_at_every_size(
    store: Store, tmp_path: Path, width: int, height: int, filled: object
) -> None:
    with store:
        prepare(store)
        if callable(filled):
            filled(store, scenario())
    shown = picture(tmp_path, scenario(), gauges(), running=filled is not whole)
    text = "\n".join(assert_fits(shown, width, height))
    assert "small" in text
    assert shown.status in text
    for word in ("greedy", "teach", "exam", "teacher", "ada", "bob"):
        assert word in text
    if filled:
        assert "tp2" in text
        assert "top TR" in text
    if height >= 24:
        assert f"{shown.stages[2].done} / 24" in text
        assert ("tp1" in text) == (filled is not None)
        assert ("joined" in text) == (filled is not None)
        assert "smollm" in text
    if height >= 24 and shown.status == "running":
        assert all(title in text for title in ("queue", "leases", "tok/s", "cached", "restarts", "device"))
    if height >= 40:
        assert "role" in text


def test_the_gradebook_says_who_was_right(store: Store, tmp_path: Path) -> None:
    with store:
        whole(store, scenario())
    lines = view(picture(tmp_path, scenario(), running=False), 100, 30).text.splitlines()
    one, two = (next(line for line in lines if f" {tp} " in line) for tp in ("tp1", "tp2"))
    assert re.search(r"12/12 .*0\.50.*0\.33.*✗.*1\.00  ✓  18", one)
    assert re.search(r"✓ .*0\.25  ✗  5", two)
    assert any("greedy right 1 of 2 · top TR right 1 of 2" in line for line in lines)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_simulated_engines_are_named_as_what_they_are_at_every_size(tmp_path: Path, width: int, height: int) -> None:
    with Store(tmp_path, write=True) as store:
        half(store, scenario("simulated"))
    shown = picture(tmp_path, scenario("simulated"))
    assert "simulated: no language model" in view(shown, width, height).text
    some = msgspec.structs.replace(shown, simulated=("bob",))
    assert "simulated: no language model in bob" in view(some, width, height).text
    none = msgspec.structs.replace(shown, simulated=())
    assert "no language model" not in view(none, width, height).text


def test_the_lessons_that_are_shown_are_the_latest_in_the_order_of_the_task() -> None:
    lines = view(snapshot("tp", lessons=60), 100, 30).text.splitlines()
    shown = [int(found[1]) for line in lines if (found := re.match(r" tp(\d+) .*2304", line))]
    assert shown == list(range(60 - len(shown), 60))
    assert f"{len(shown)} of 60 TPs shown" in "\n".join(lines)


def test_a_title_keeps_its_last_notes_where_there_is_no_room_for_all() -> None:
    notes = ["5 of 12 TPs shown", "greedy right 6 of 12"]
    wide, narrow, none = (rule("gradebook", notes, width).plain for width in (80, 48, 24))
    assert notes[0] in wide and notes[1] in wide
    assert notes[0] not in narrow and notes[1] in narrow
    assert none == "── gradebook " + "─" * 11


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_spent_has_a_column_where_somebody_pays(store: Store, tmp_path: Path, width: int) -> None:
    with store:
        half(store, scenario())
    assert "0.42" in drawn(picture(tmp_path, scenario(), paying(0.42)), width, 24)
    assert "spent" not in drawn(picture(tmp_path, scenario(), gauges()), width, 24)


def test_more_agents_than_fit_are_counted() -> None:
    text = view(snapshot("peer", agents=40, lessons=0), 80, 24).text
    rows = len(re.findall(r"^ peer\d* .*100000", text, re.MULTILINE))
    assert f"… {40 - rows} more" in text


def test_a_class_without_stages_or_agents_draws_what_it_has() -> None:
    assert_fits(snapshot(agents=1, lessons=0, stages=0), 80, 24)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 220), st.integers(1, 70), st.integers(0, 30), st.integers(1, 12), st.sampled_from(["a", HOSTILE]))
def test_nothing_overflows_whatever_the_size(width: int, height: int, lessons: int, agents: int, text: str) -> None:
    assert_fits(snapshot(text, lessons=lessons, agents=agents), width, height)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_texts_of_models_and_problems_reach_the_terminal_as_texts(width: int, height: int) -> None:
    # rich itself writes colours (SGR) and line ends; nothing else may control the terminal.
    rest = re.sub(r"\x1b\[[0-9;]*m", "", drawn(snapshot(HOSTILE), width, height))
    assert all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in rest)
    assert "[bold]b[/]" in rest or width < 80
    assert "35" not in re.findall(r"\x1b\[([0-9;]*)m", drawn(snapshot("\x1b[35mno colour"), width, 3))


def test_a_hostile_answer_in_the_gradebook_stays_in_its_cell(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(store, tr("tp1", 0, answer="\x1b[2J[red]18\n\n漢字漢字漢字漢字漢字"))
    assert_fits(picture(tmp_path, scenario()), 80, 24)


@given(st.text() | st.just(HOSTILE))
def test_harmless_text_is_one_line_of_agreed_width_and_stays_as_it_is(text: str) -> None:
    out = harmless(text)
    assert harmless(out) == out
    assert not any(unicodedata.category(c)[0] == "C" or c in "\u2028\u2029" for c in out)
    assert cell_len(out) == sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in out)


@given(st.text(), st.integers(1, 30))
def test_a_cell_is_as_wide_as_it_should_be(text: str, width: int) -> None:
    assert fitted(text, "", width).cell_len == width
    assert cell_len(tail(text, width)) <= width


def test_a_cut_text_keeps_its_beginning_or_its_end() -> None:
    assert fitted("gsm_symbolic-17", "", 8).plain == "gsm_sym…"
    assert tail("gsm_symbolic-17", 8) == "…olic-17"
    assert tail("sums-17", 7) == "sums-17"


@given(st.floats(0, 1), st.integers(0, 50))
def test_a_bar_fills_its_width_and_is_full_at_the_end_only(share: float, width: int) -> None:
    drawn = bar(share, width).plain
    assert len(drawn) == width
    if share < 1 and width:
        assert drawn != "━" * width


def test_two_ends_of_a_line_stay_apart() -> None:
    assert spread(cell("left"), cell("right"), 20).plain == " left         right"


def test_times_are_said_as_precisely_as_they_are_known() -> None:
    assert [duration(s) for s in (-3600, 0, 65.9, 3725)] == ["0:00", "0:00", "1:05", "1:02:05"]
    assert [roughly(s) for s in (1, 42, 80, 3500, 7900)] == ["5 s", "40 s", "1 min", "58 min", "2 h 10 min"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_columns_without_room_are_counted_and_no_name_of_a_student_is_lost(width: int) -> None:
    lines = view(snapshot("a", lessons=3, agents=6), width, 24).text.splitlines()
    for section in ("agents", "gradebook"):
        titles = lines[next(n for n, line in enumerate(lines) if line.startswith(f"── {section}")) + 1]
        assert re.search(r" …\+\d+$", titles)
    assert all(any(line.startswith(f" a{n} ") for line in lines) for n in range(3))


def test_a_table_with_room_for_all_counts_nothing() -> None:
    assert "…+" not in view(snapshot("a", lessons=3, agents=3), 200, 60).text


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_rows_that_are_not_shown_are_counted_at_every_width(width: int) -> None:
    assert re.search(r"\d of 30 TPs shown", view(snapshot("a", lessons=30, stages=1), width, 22).text)


@given(st.integers(1, 500), st.integers(1, 500))
def test_percentages_are_those_of_the_counts_beside_them(one: int, other: int) -> None:
    done, total = sorted((one, other))
    part = msgspec.structs.replace(snapshot(), stages=(StageRow("exam", done, total),), events=())
    (line,) = [line for line in view(part, 100, 30).text.splitlines() if line.startswith(" exam")]
    shown = int(re.search(r"(\d+) %$", line)[1])  # type: ignore[index]
    assert shown <= 100 * done / total < shown + 1
    plain = PlainLines(io.StringIO())
    plain.lines(msgspec.structs.replace(part, stages=(StageRow("exam", 0, total),)))
    told = [line for line in plain.lines(part) if line.startswith("exam ")]
    assert [line.partition("),")[0].rstrip(")") for line in told] == [f"exam {shown} % ({done} of {total}"] * (
        4 * done >= total
    )
