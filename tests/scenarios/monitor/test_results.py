"""The results so far are those of the report, and what else is new in the picture: start, keys, a study's grid."""

import io
import random
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from broker.work_messages import AnswerForm, Sampling
from scenarios.config.schema import Scenario
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.results import result_of
from scenarios.monitor.controls import VIEWS, Look, after, keys_in
from scenarios.monitor.frame import render
from scenarios.monitor.grid import grid
from scenarios.monitor.lessons import Lessons
from scenarios.monitor.plain import PlainLines
from scenarios.monitor.reader import Reader
from scenarios.monitor.results import dot_plot, in_words
from scenarios.monitor.state import CellState, RunningResults, ShareRow
from scenarios.monitor.view import view
from scenarios.records.observe import TeachingProblemRecord
from scenarios.report.methods import chosen_answers, methods
from scenarios.scoring.lbt import Sheet, distinct
from scenarios.scoring.statistics import clustered
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from tests import picture
from tests.scenarios.monitor.monitored import BANK, begin, exams, gauges, half, prepare, record, scenario, tr
from tests.scenarios.monitor.monitored import picture as seen
from tests.scenarios.monitor.test_view import HOSTILE, SIZES, snapshot


def played(store: Store, described: Scenario, seed: int) -> tuple[TeachingProblemRecord, ...]:
    """A complete class with made-up answers, some cut off, some failed; returns what the level made of it."""
    draw = random.Random(seed)
    prepare(store)
    level = ObserveLevel(Setup(described, BANK, store.answerers()))
    due, records = list(level.begin().requests), []
    while due:
        request = due.pop(draw.randrange(len(due)))
        answer = draw.choice(["18", "5", "7", None])
        failed = "engine" if draw.random() < 0.05 else ""
        records.append(
            Record(
                request_id=request.id, kind=request.kind, agent=request.to, stage=request.stage, tp=request.tp,
                tr=request.tr, ep=request.ep, repeat=request.repeat, text="" if failed else f"text {draw.randrange(9)}",
                answer=None if failed else answer, failed=failed,
                finish_reason=draw.choice(["stop", "length"]),
                correct=None if failed else answer == "18",
            )
        )  # fmt: skip
        due += level.receive(result_of(records[-1])).requests
    store.record(records, grader="test", version="1")
    return level.outcome().lessons


def equal(one: str, other: str, form: AnswerForm) -> bool:
    return one == other


def standing(folder: Path, described: Scenario) -> RunningResults:
    return seen(folder, described).standing


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["right", "wrong"]), st.sampled_from(["votes", "first"]))
def test_the_results_of_a_complete_class_are_those_of_the_report(seed: int, cut_off: str, ties: str) -> None:
    described = scenario(cut_off=cut_off if cut_off == "wrong" else scenario().scoring.cut_off, ties=ties)
    with TemporaryDirectory() as folder, Store(Path(folder), write=True) as store:
        lessons = played(store, described, seed)
        shown = standing(Path(folder), described)
    sheets = [Sheet(lesson, lambda one, other, _: one == other) for lesson in lessons]
    reported = methods(
        described, lessons, chosen_answers(described, lessons, sheets, lambda one, other, _: one == other)
    )
    assert (shown.finished, shown.tps) == (2, 2)
    for row in shown.methods:
        if row.name != "greedy":  # of which a failed one does not count here
            of = reported["sc" if row.name == "SC" else f"m1_{row.name.lower()}"]
            assert of.accuracy is None or (row.share, row.ci95, row.n) == (of.accuracy, of.ci95, of.n)
    for row in shown.students:
        answers = [[a.correct for r in distinct(one) for a in r.exams if a.student == row.name] for one in lessons]
        right, n = sum(map(sum, answers)), sum(map(len, answers))
        assert (row.share, row.n) == (right / n, n)
        assert row.ci95 == clustered([(sum(one), len(one)) for one in answers])


def test_only_finished_problems_count_for_methods_and_all_exams_for_students(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        half(store, scenario())
        shown = standing(tmp_path, scenario())
        assert [(row.name, row.share, row.n) for row in shown.methods] == [
            ("greedy", 0.0, 1), ("SC", 1.0, 1), ("MAX", 1.0, 1), ("SUM", 1.0, 1),
        ]  # fmt: skip
        assert [(row.name, row.n) for row in shown.students] == [("ada", 7), ("bob", 6)]
        assert in_words(shown).startswith("1 of 2 TPs finished: greedy 0.0 % (0 to 79 %), SC 100.0 %")


def test_an_answer_that_was_cut_off_is_wrong_where_the_scenario_says_so(tmp_path: Path) -> None:
    described = scenario(cut_off="wrong")
    with Store(tmp_path, write=True) as store:
        cut = [replace(one, finish_reason="length") for one in exams("tp1", 0, "++", "")]
        record(store, tr("tp1", 0), cut)
        (lesson,) = seen(tmp_path, described).lessons
        assert lesson.scores == {"ada": 0.0}
        (lesson,) = seen(tmp_path, scenario()).lessons
        assert lesson.scores == {"ada": 1.0}


# --- the start ------------------------------------------------------------------------------------------


def test_the_start_says_what_is_made_and_loaded_until_all_are_ready(tmp_path: Path) -> None:
    described = scenario()
    told = gauges()
    loads = replace(told, peers=(told.peers[0], replace(told.peers[1], state="loading"), *told.peers[2:]))
    with Store(tmp_path, write=True) as store, Store(tmp_path) as eyes:
        store.note("", "started", "[]")
        reader = Reader(eyes, described)

        def rows(said: object) -> list[tuple[str, bool]]:
            reader.catch_up()
            shown = reader.snapshot(said, now=datetime.now(UTC), clock=0.0, running=True)  # type: ignore[arg-type]
            return [(f"{row.name} {row.words}", row.done) for row in shown.start]

        assert rows(None)[:2] == [("problems are being made", False), ("teacher starts: qwen", False)]
        begin(store, described)
        assert rows(loads) == [
            ("problems 2 TPs", True),
            ("teacher ready: qwen on cpu (1 core)", True),
            ("ada loads: qwen on cpu (1 core)", False),
            ("bob ready: smollm on cpu (1 core)", True),
        ]
        assert rows(told) == []
        assert rows(loads) == [], "an agent that loads again is no start"


# --- keys -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=40))
def test_whatever_a_terminal_sends_is_read_as_keys(sent: bytes) -> None:
    look = Look()
    for key in keys_in(sent):
        look = after(look, key, 3)
        assert look.view in VIEWS and (look.agent is None or 0 <= look.agent < 3)


def test_keys_go_round_the_views_and_the_agents() -> None:
    look, views = Look(), []
    for _ in VIEWS:
        look = after(look, "v", 3)
        views.append(look.view)
    assert views == ["lessons", "agents", "log", "overview"]
    chosen = []
    for key in keys_in(b"nn\x1b[C\x1bOCp\x1b[D"):
        look = after(look, key, 3)
        chosen.append(look.agent)
    assert (look.view, chosen) == ("agents", [0, 1, 2, 0, 2, 1])
    assert after(after(look, "?", 3), "v", 3) == look
    assert after(look, "escape", 3).view == "overview"
    assert after(after(look, " ", 3), " ", 3) == look


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 240), st.integers(1, 70), st.integers(0, 30), st.integers(1, 12), st.sampled_from(["a", HOSTILE]),
    st.sampled_from(VIEWS), st.booleans(), st.integers(0, 20),
)  # fmt: skip
def test_no_view_overflows_whatever_the_size(
    width: int, height: int, lessons: int, agents: int, text: str, chosen: str, help: bool, agent: int
) -> None:
    shown = replace(snapshot(text, lessons=lessons, agents=agents), standing=results(text))
    look = Look(view=chosen, help=help, agent=agent % agents)  # type: ignore[arg-type]
    lines = view(shown, width, height, "a hint", None, look).text.splitlines()
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)


def results(text: str = "ada") -> RunningResults:
    rows = tuple(ShareRow(f"{text}{n}", n / 3, (n / 4, 1 - (3 - n) / 4), 9) for n in range(4))
    return RunningResults(
        3,
        12,
        tuple(replace(row, name=name) for row, name in zip(rows, ("greedy", "SC", "MAX", "SUM"), strict=True)),
        rows[:2],
    )


@pytest.mark.parametrize(("width", "height"), SIZES[:3])
def test_the_results_are_there_at_every_usual_size(width: int, height: int) -> None:
    text = view(replace(snapshot("tp", lessons=30), standing=results()), width, height).text
    assert "results so far" in text and "3 of 12 TPs finished" in text
    assert all(name in text for name in ("greedy", "SC", "MAX", "SUM", "ada0", "ada1"))
    assert ("●───" in text) == (height >= 40)


def test_a_wide_terminal_has_the_gradebook_beside_the_results() -> None:
    lines = view(replace(snapshot("tp", lessons=30), standing=results()), 200, 60).text.splitlines()
    assert any("── results so far ──" in line and "── gradebook ──" in line for line in lines)
    assert sum(not line.strip() for line in lines) == 0


def test_the_detail_of_an_agent_has_its_last_text_as_text(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(store, tr("tp1", 0, text="\x1b[2Jfirst line\nsecond [bold]line\x07"))
    text = view(seen(tmp_path, scenario(), gauges()), 100, 30, "", None, Look(view="agents", agent=0)).text
    assert "latest text: teach tp1" in text
    assert "  first line\n   second [bold]line" in text.replace("\n   first", "\n  first")


# --- a study, and the picture ---------------------------------------------------------------------------


def test_a_studys_grid_shows_the_cells_around_the_one_that_runs() -> None:
    statuses = ["complete"] * 10 + ["running"] + ["to come"] * 9
    cells = [
        CellState(f"cell-{n}", {"teacher": HOSTILE, "seed": str(n)}, status, 5 * (status == "running"), 20, results())
        for n, status in enumerate(statuses)
    ]
    for width, height in ((80, 6), (200, 30), (40, 3)):
        lines = render(grid(cells, width, height), width).text.splitlines()
        assert len(lines) <= height and all(cell_len(line) <= width for line in lines)
        assert any("cell-10" in line for line in lines)
    text = render(grid(cells, 120, 8), 120).text
    assert "running" in text and "25 %" in text and "… 14 more; 10 of 20 cells complete" in text
    assert "67 % 50-75" in text
    assert render(grid([], 80, 5), 80).text == ""


@pytest.mark.parametrize(("width", "height"), [(100, 30), (200, 60), (60, 24), (80, 20)])
def test_the_classes_of_a_study_stand_above_the_one_that_runs(width: int, height: int) -> None:
    cells = tuple(CellState(str(n), {"seed": str(n)}, "to come" if n else "running") for n in range(40))
    shown = replace(snapshot("tp", lessons=30), cells=cells)
    lines = view(shown, width, height).text.splitlines()
    assert len(lines) <= height and all(cell_len(line) <= width for line in lines)
    above = [n for n, line in enumerate(lines) if "── the study's classes ──" in line]
    assert above == ([0] if height >= 24 else [])
    assert any("tp" in line for line in lines[height // 4 :])
    assert "classes ──" not in view(shown, width, height, look=Look(view="log")).text, "other views are the class's"
    assert "study: 0 of 40 classes complete" in PlainLines(io.StringIO()).lines(shown)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(17, 41))
def test_a_dot_plot_has_its_dot_within_its_line(low: float, share: float, high: float, cells: int) -> None:
    low, share, high = sorted((low, share, high))
    plot = dot_plot(ShareRow("", share, (low, high), 1), cells).plain
    assert len(plot) == cells and plot.count("●") == 1


def test_the_picture_of_the_readme_is_drawn_again_the_same() -> None:
    drawn = picture.draw()
    assert drawn == picture.draw()
    assert len(drawn.encode()) < 200_000 > picture.PICTURE.stat().st_size
    for text in (drawn, picture.PICTURE.read_text("utf-8")):
        assert all(word in text for word in ("gradebook", "MAX", "simulated:"))
        assert "url(http" not in text, "it needs no network"


def test_a_repair_counts_for_further_rationales_with_the_same_text() -> None:
    lessons = Lessons(scenario(), {"p": "code"}, {}, abstaining={"p"})
    for number, (stage, answer) in enumerate(
        [("teach", "bad"), ("repair", "good"), ("teach", "bad"), ("teach", "bad")]
    ):
        about = "request-0" if stage == "repair" else ""
        request = Request(f"request-{number}", "Teach", "teacher", stage, Sampling(), "p", about, repeat=number)
        lessons.add(request, Result(request.id, f"text {answer}", answer, answer == "good"), "now")
    lessons.row("p")
    assert {row.name: row.share for row in lessons.standing().methods}["SC"] == 1.0
