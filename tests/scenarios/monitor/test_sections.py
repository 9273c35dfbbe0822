"""How the monitor shows levels 2 and 3: sections, stages, and lines where there is no terminal."""

import io
import math
import re
import unicodedata
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.config.schema import LevelNumber
from scenarios.monitor.pace import Counts, Pace, requests_by_agent
from scenarios.monitor.plain import PlainLines
from scenarios.monitor.sections import latest_rounds
from scenarios.monitor.state import Learning, RoundRow, Snapshot, StageRow, TeacherRow, TrainingRow
from scenarios.monitor.texts import curve
from scenarios.monitor.view import view
from scenarios.report.formatting import percent
from scenarios.store.sqlite import Store
from tests.scenarios.monitor.monitored import gauges, picture
from tests.scenarios.monitor.monitored_course import Played, course
from tests.scenarios.monitor.test_view import HOSTILE, SIZES, assert_fits, drawn, snapshot

STAGES = ("greedy", "teach", "exam", "measure", "train", "probe", "probe_exam", "write", "score", "test", "reflect")


def learning(text: str = "plain", rows: int = 3) -> Learning:
    return Learning(
        rounds=tuple(
            RoundRow(1 + n // 4, text, n % 4, 36, 0.5, None if n == rows - 1 else 1.0, {text: None, f"{text}2": 0.25})
            for n in range(rows)
        ),
        trainings=tuple(
            TrainingRow(
                1, (text, text), 64, 7 * n, 40, (0.7, 0.5, math.inf, 0.6), -0.1, 0.75, 90.0, "training" if n else text
            )
            for n in range(rows)
        ),
        teachers=tuple(TeacherRow(1, f"{text}{n}", 3, 20, 0.5, None, 0.25) for n in range(rows)),
    )


def busy(text: str = "plain", *, level: int = 3, rows: int = 3, stages: int = 11) -> Snapshot:
    """A class of three levels with everything in it."""
    return msgspec.structs.replace(
        snapshot(text),
        level=level,
        course=(1, 2, 3),
        amount=f"3 {text}",
        at_work=f"round 2: {text}",
        learning=learning(text, rows),
        stages=tuple(
            StageRow(name, 5 * min(n, 4), 20, left_s=90.0 if n % 2 else None) for n, name in enumerate(STAGES[:stages])
        ),
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 220), st.integers(1, 70), st.integers(0, 40), st.integers(1, 11), st.sampled_from([1, 2, 3]),
    st.sampled_from(["a", HOSTILE]),
)  # fmt: skip
def test_nothing_overflows_whatever_the_size(
    width: int, height: int, rows: int, stages: int, level: int, text: str
) -> None:
    assert_fits(busy(text, level=level, rows=rows, stages=stages), width, height)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_names_reach_the_terminal_as_texts(width: int, height: int) -> None:
    rest = re.sub(r"\x1b\[[0-9;]*m", "", drawn(busy(HOSTILE), width, height))
    assert all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in rest)


@pytest.mark.parametrize(("level", "until", "facts"), [
    (2, "train", ("level 2", "original", "train")),
    (2, "", ("M2", "measure")),
    (3, "", ("level 3", "start", "score")),
    ((1, 2, 3), "", ("level 3", "start", "score")),
])  # fmt: skip
def test_the_key_facts_of_a_level_are_there_at_every_size(
    tmp_path: Path, level: LevelNumber | tuple[LevelNumber, ...], until: str, facts: tuple[str, ...]
) -> None:
    described = course(level)
    with Store(tmp_path, write=True) as store:
        played = Played(store, described)
        played.play(until=until)
        if until:
            played.step(2)
    shown = picture(tmp_path, described, gauges())
    for width, height in SIZES:
        text = "\n".join(assert_fits(shown, width, height))
        if height < 24:
            assert re.search("train 0", text) if until else re.search(r"^ ([\d,]+) of \1 requests$", text, re.MULTILINE)
            continue
        assert all(fact in text for fact in facts)
        if until:
            assert re.search(r"training +2/8 .*0\.500 +\+0\.200 +75 %", text)
        elif level == 3:
            *_, last = shown.learning.rounds
            digits = 1 if width >= 80 else 0
            train, held_out = (percent(share, digits) for share in (last.train, last.held_out))
            assert re.search(rf"(^|  ) +{last.number} .*{train} .*{held_out} ", text, re.MULTILINE)


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_seeds_can_be_told_apart_at_every_width(width: int) -> None:
    numbers = range(2, 5)
    rows = learning().trainings[-1]
    many = Learning(
        trainings=tuple(
            msgspec.structs.replace(rows, arms=(f"correctness #{n}",), step=n, left_s=90.0) for n in numbers
        ),
        teachers=tuple(TeacherRow(1, f"correctness_dpo #{n}", 20, 20, 0.5, 0.5, 0.25) for n in numbers),
    )
    text = view(msgspec.structs.replace(busy(level=2), learning=many), width, 60).text
    assert all(f"{name} #{n}" in text for name in ("correctness", "correctness_dpo") for n in numbers), text


def test_the_section_of_the_level_at_work_stays_longest() -> None:
    at_2 = view(busy(level=2), 80, 24).text
    assert "── training ──" in at_2 and "── rounds ──" not in at_2.partition("── training ──")[2]
    at_3 = view(busy(level=3), 80, 24).text
    assert "── rounds ──" in at_3 and "── training ──" not in at_3


def test_many_stages_have_bars_only_while_they_are_under_way() -> None:
    text = view(busy(), 120, 40).text
    assert re.search(r"^ teach +━.* 25 % +2 min left$", text, re.MULTILINE)
    assert re.search(r"^ done  train 20 · probe 20 · ", text, re.MULTILINE)
    assert re.search(r"^ to come  greedy 20", text, re.MULTILINE)
    assert re.search(r"^ greedy +─+ +0 / 20", view(busy(stages=4), 120, 40).text, re.MULTILINE)


def test_of_many_rounds_the_last_of_every_search_is_shown_and_then_the_latest() -> None:
    rows = [RoundRow(1, arm, n, 4, 0.5, 0.5, {}) for arm in ("class", "random", "self") for n in range(4)]
    assert [(row.arm, row.number) for row in latest_rounds(rows, 5)] == [
        ("class", 3), ("random", 2), ("random", 3), ("self", 2), ("self", 3),
    ]  # fmt: skip
    assert latest_rounds(rows, 0) == []


@given(st.lists(st.floats()), st.integers(1, 30))
def test_a_curve_has_a_cell_per_value_at_most(values: list[float], cells: int) -> None:
    drawn = curve(values, cells)
    known = [value for value in values if math.isfinite(value)]
    assert len(drawn) == (min(cells, len(known)) if len(known) > 1 else 0)


def test_a_curve_falls_where_the_values_fall() -> None:
    assert curve([3.0, 2.0, 1.0], 12) == "█▅▁"
    assert curve([1.0] * 5 + [0.0] * 5, 2) == "█▁"
    assert curve([1.0, 1.0], 12) == "▄▄"


# --- plain ----------------------------------------------------------------------------------------------


def test_plain_lines_tell_quarters_of_trainings_rounds_and_who_is_measured(tmp_path: Path) -> None:
    described = course((1, 2, 3))
    plain, lines = PlainLines(io.StringIO()), []
    with Store(tmp_path, write=True) as store:
        played = Played(store, described)
        lines += plain.lines(picture(tmp_path, described))
        played.play(until="train")
        played.step(0, loss=None)
        lines += plain.lines(picture(tmp_path, described))
        for step in range(1, 9):
            played.step(step, loss=1 / step)
            if step > 4:
                lines += plain.lines(picture(tmp_path, described))
        played.finish()
        lines += plain.lines(picture(tmp_path, described))
    assert lines[0] == (
        "small, levels 1, 2, 3: sums, texts, 3 TPs, 2 held-out problems, 16 training items, 10 held-out items"
    )
    begins, *training = [line for line in lines if line.startswith("round 1: training of")]
    assert re.fullmatch(r"round 1: training of M2.* begins: [1-9]\d* pairs? in 8 steps", begins)
    assert re.fullmatch(
        r"round 1: training of M2.* 62 % \(step 5 of 8\), loss 0\.200, reward margin \+0\.500, chosen preferred 75 %.*",
        training[0],
    )
    assert [re.search(r"(\d+) %", line)[1] for line in training[:3]] == ["62", "75", "100"]  # type: ignore[index]
    measured = [line for line in lines if line.endswith(" of 2 held-out problems")]
    assert re.fullmatch(r"round 1: original greedy [\d.]+ % right, sampled [\d.]+ % right of 2 .*", measured[0])
    assert len([line for line in measured if " M2 " in line]) == 1
    assert len([line for line in lines if line.startswith("round 2: teacher F1") and "training items" in line]) == 1
    assert "complete" in lines


def test_plain_lines_begin_with_what_is_known_and_say_how_a_round_went(tmp_path: Path) -> None:
    plain = PlainLines(io.StringIO())
    with Store(tmp_path, write=True) as store:
        store.note("", "started", "[]")
        assert plain.lines(picture(tmp_path, course(3))) == [
            "small, level 3: syllogism",
            "problems are being made",
        ]
        store.note("", "round", "2: teacher F1 0.750 on held-out items")
    assert plain.lines(picture(tmp_path, course(3))) == ["round 2: teacher F1 0.750 on held-out items"]


def test_plain_lines_of_a_resumed_class_do_not_repeat_what_was_told(tmp_path: Path) -> None:
    described = course(2)
    with Store(tmp_path, write=True) as store:
        played = Played(store, described)
        played.play(until="train")
        played.step(4)
        store.note("", "stopped", "interrupted")
        Played(store, described, resumed=True)
    lines = PlainLines(io.StringIO()).lines(picture(tmp_path, described))
    assert any(line.startswith("so far: greedy 3 of 3, teach 9 of 9") for line in lines)
    assert not any("training of" in line or "original" in line for line in lines)


# --- pace -----------------------------------------------------------------------------------------------


def test_the_time_an_agent_waits_for_others_says_nothing_of_its_pace() -> None:
    pace = Pace()
    pace.note(0.0, {("exam", "ada"): 1}, {"ada": 9})
    pace.note(10.0, {("exam", "ada"): 6}, {"ada": 0})
    pace.note(500.0, {("exam", "ada"): 6}, {"ada": 5})
    pace.note(510.0, {("exam", "ada"): 11}, {})
    assert pace.left("ada", "probe_exam", 10) == pytest.approx(20.0)
    assert pace.left("ada", "score", 10) is None
    assert pace.left("ada", "score", 0) == 0.0


def test_loading_is_no_pace() -> None:
    pace = Pace()
    pace.note(0.0, {}, {"ada": 9})
    pace.note(300.0, {("exam", "ada"): 1}, {"ada": 8})
    pace.note(304.0, {("exam", "ada"): 5}, {"ada": 4})
    assert pace.left("ada", "exam", 4) == pytest.approx(4.0)


def test_requests_to_come_are_spread_as_the_earlier_ones_were_and_waiting_ones_stay_with_their_agent() -> None:
    def left(stage: str, requests: int, asked: Counts, done: Counts) -> dict[str, float]:
        return requests_by_agent(stage, requests, asked, done, "teacher", ("ada", "bob"))

    assert left("exam", 4, {}, {}) == {"ada": 2, "bob": 2}
    assert left("score", 4, {}, {}) == {"teacher": 4}
    asked = {("exam", "ada"): 3, ("exam", "teacher"): 1}
    assert left("exam", 4, asked, asked) == {"ada": 3, "teacher": 1}
    assert left("exam", 4, asked, {("exam", "ada"): 3}) == {"ada": 2.25, "teacher": 1.75}
    assert left("exam", 1, asked, {("exam", "ada"): 3}) == {"ada": 0, "teacher": 1}
