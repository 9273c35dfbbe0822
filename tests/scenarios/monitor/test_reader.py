import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scenarios.config.iterate_schema import Iterate
from scenarios.config.schema import Agent, Exam
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.monitor import follow
from scenarios.monitor.reader import Reader
from scenarios.monitor.state import Best, Snapshot
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from tests.scenarios.monitor.monitored import (
    BANK,
    asked,
    begin,
    exams,
    gauges,
    half,
    paying,
    picture,
    prepare,
    record,
    scenario,
    tr,
    whole,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, write=True) as store:
        yield store


def stages(snapshot: Snapshot) -> dict[str, tuple[int, int]]:
    return {stage.name: (stage.done, stage.total) for stage in snapshot.stages}


def at(reader: Reader, clock: float, **known: object) -> Snapshot:
    reader.catch_up()
    said = known.get("said", gauges())
    return reader.snapshot(said, now=datetime.now(UTC), clock=clock, running=True)  # type: ignore[arg-type]


def test_an_empty_class_is_starting_and_has_all_before_it(store: Store, tmp_path: Path) -> None:
    prepare(store)
    snapshot = picture(tmp_path, scenario())
    assert snapshot.status == "starting"
    assert stages(snapshot) == {"greedy": (0, 2), "teach": (0, 6), "exam": (0, 24)}
    assert not snapshot.lessons and not snapshot.events
    assert [agent.name for agent in snapshot.agents] == ["teacher", "ada", "bob"]


def test_a_class_half_way_shows_how_far_it_is_and_how_its_lessons_went(store: Store, tmp_path: Path) -> None:
    half(store, scenario())
    snapshot = picture(tmp_path, scenario(), gauges())
    assert snapshot.status == "running"
    assert stages(snapshot) == {"greedy": (1, 2), "teach": (4, 6), "exam": (13, 24)}
    first, second = snapshot.lessons
    assert first.scores == {"ada": 0.5, "bob": pytest.approx(1 / 3)}
    assert (first.greedy, first.best) == (False, Best("18", 1.0, True, True))
    assert second.best == Best("5", 0.0, False, False)
    ada = next(agent for agent in snapshot.agents if agent.name == "ada")
    assert (ada.queue, ada.leases, ada.cached_share, ada.state, ada.done) == (41, 3, 0.75, "ready", 7)


def test_exams_that_will_not_be_held_leave_the_total(store: Store, tmp_path: Path) -> None:
    record(
        store, tr("tp1", 0), tr("tp1", 1, text="rationale 0"), tr("tp1", 2, answer=None), tr("tp2", 0, failed="engine")
    )
    assert stages(picture(tmp_path, scenario())) == {"greedy": (0, 2), "teach": (4, 6), "exam": (0, 4 + 8)}


@pytest.mark.parametrize(("ties", "answer"), [("votes", "7"), ("first", "3")])
def test_equal_scores_go_to_more_votes_or_the_smallest_repeat(
    store: Store, tmp_path: Path, ties: str, answer: str
) -> None:
    record(store, tr("tp1", 0, answer="3"), tr("tp1", 1, answer="7"), tr("tp1", 2, answer="7"))
    record(store, exams("tp1", 0), exams("tp1", 1))
    best = picture(tmp_path, scenario(ties=ties)).lessons[0].best
    assert best is not None
    assert best.answer == answer


def test_a_lesson_prefers_a_tr_whose_exams_are_all_in(store: Store, tmp_path: Path) -> None:
    record(store, tr("tp1", 0), tr("tp1", 1, answer="4"), exams("tp1", 0, "+", ""), exams("tp1", 1, "+-", "--"))
    assert picture(tmp_path, scenario()).lessons[0].best == Best("4", 0.25, True, True)


def test_failed_exams_count_as_done_and_are_no_wrong_answers(store: Store, tmp_path: Path) -> None:
    record(store, tr("tp1", 0), exams("tp1", 0, "+x", "xx"))
    snapshot = picture(tmp_path, scenario())
    assert (stages(snapshot)["exam"], snapshot.failed) == ((4, 24), 3)
    assert snapshot.lessons[0].scores == {"ada": 1.0}


def test_the_grade_that_was_given_last_counts_whatever_its_version_is_called(store: Store, tmp_path: Path) -> None:
    prepare(store)
    rows = asked(store, [tr("tp1", 0), *exams("tp1", 0)])
    store.record(rows, grader="test", version="2")
    again = [replace(row, correct=row.kind == "Teach") for row in rows]
    store.record(again, grader="test", version="10")
    snapshot = picture(tmp_path, scenario())
    assert snapshot.lessons[0].scores == {"ada": 0.0, "bob": 0.0}


def test_a_failure_that_is_asked_again_is_not_done(store: Store, tmp_path: Path) -> None:
    record(store, tr("tp1", 0), tr("tp1", 1, failed="engine"), exams("tp1", 0, "+x", "++"))
    with Store(tmp_path) as eyes:
        reader = Reader(eyes, scenario())
        assert at(reader, 0.0).failed == 2
        assert store.give_up_failed() == 2
        assert at(reader, 1.0).failed == 0
    snapshot = picture(tmp_path, scenario())
    assert snapshot.failed == 0
    assert stages(snapshot) == {"greedy": (0, 2), "teach": (1, 6), "exam": (3, 24)}
    assert [event.detail for event in snapshot.events] == ["2 failed requests are asked again"]


def test_the_pause_before_failures_are_asked_again_is_no_time_of_the_class(store: Store, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "class.db") as db:
        db.executemany(
            "INSERT INTO event(at, agent, kind, detail) VALUES (?, '', ?, '[]')",
            [
                ("2026-01-01T10:00:00.000+00:00", "started"),
                ("2026-01-01T10:00:20.000+00:00", "stopped"),
                ("2026-01-01T11:59:59.000+00:00", "retry"),
                ("2026-01-01T12:00:00.000+00:00", "started"),
                ("2026-01-01T12:00:03.000+00:00", "complete"),
            ],
        )
    assert picture(tmp_path, scenario(), running=False).elapsed_s == 23.0


# --- over time ------------------------------------------------------------------------------------------


def test_speed_is_what_came_in_the_last_seconds_and_a_new_process_starts_from_nothing(
    store: Store, tmp_path: Path
) -> None:
    with Store(tmp_path) as eyes:
        reader = Reader(eyes, scenario())
        speeds = [
            at(reader, clock, said=gauges(tokens)).agents[0].tokens_per_second
            for clock, tokens in ((0.0, 1000), (1.0, 1100), (2.0, 40), (30.0, 40), (31.0, 40))
        ]
    assert speeds[0] is None
    assert speeds[1:3] == [100.0, 70.0]
    assert speeds[-1] == 0.0


def test_what_was_spent_is_shown_before_while_and_after_an_agent_is_there(store: Store, tmp_path: Path) -> None:
    described = scenario()
    teacher = msgspec.structs.replace(described.teacher, engine="openai", engine_args={"budget": 2.5})
    described = msgspec.structs.replace(described, teacher=teacher)
    begin(store, described)
    with Store(tmp_path) as eyes:
        reader = Reader(eyes, described, {"teacher": 0.25})
        seen = [at(reader, n, said=said) for n, said in enumerate((None, paying(1.25), gauges(agents=["ada"])))]
    assert [(shown.agents[0].spent, shown.agents[0].budget) for shown in seen] == [
        (0.25, 2.5),
        (1.25, 2.5),
        (1.25, 2.5),
    ]
    assert [shown.spent for shown in seen] == ["0.25 of 2.50", "1.25 of 2.50", "1.25 of 2.50"]
    assert seen[1].agents[1].spent is None


def test_the_time_left_is_that_of_the_slowest_agent_at_its_recent_pace(store: Store, tmp_path: Path) -> None:
    described = scenario()
    begin(store, described)
    with Store(tmp_path) as eyes:
        reader = Reader(eyes, described)
        assert at(reader, -60.0).left_s is None
        record(store, *(tr(tp, n) for tp in ("tp1", "tp2") for n in range(3)))
        record(store, *(tr(tp, 0, stage="greedy") for tp in ("tp1", "tp2")))
        record(store, exams("tp1", 0, "++", "+"))
        assert at(reader, 0.0).left_s is None
        record(store, exams("tp1", 1, "++", "+"))
        # Since their first answers, ada made 2 in 10 s and has 8 before her, bob 1 and 10. Loading took a minute.
        assert at(reader, 10.0).left_s == pytest.approx(100.0)
        store.note("", "drain")
        assert at(reader, 11.0).left_s is None


def test_while_the_teacher_is_at_it_a_student_without_work_says_nothing_of_the_time_left(
    store: Store, tmp_path: Path
) -> None:
    described = scenario()
    begin(store, described)
    with Store(tmp_path) as eyes:
        reader = Reader(eyes, described)
        record(store, tr("tp1", 0))
        at(reader, 0.0)
        record(store, tr("tp1", 1), tr("tp1", 2))
        assert at(reader, 10.0).left_s == pytest.approx(25.0)


def test_a_finished_class_has_no_time_left_and_stands_still(store: Store, tmp_path: Path) -> None:
    whole(store, scenario())
    snapshot = picture(tmp_path, scenario(), gauges(), running=False)
    assert (snapshot.status, snapshot.left_s) == ("complete", None)
    assert all(done == total for done, total in stages(snapshot).values())
    assert [agent.queue for agent in snapshot.agents] == [None] * 3
    assert snapshot.elapsed_s < 60


def test_a_class_without_a_process_and_without_an_end_is_interrupted(store: Store, tmp_path: Path) -> None:
    half(store, scenario())
    assert picture(tmp_path, scenario(), running=False).status == "interrupted"


@pytest.mark.parametrize(
    ("events", "status"),
    [
        (["waiting"], "waiting"),
        (["waiting", "joined"], "running"),
        (["drain"], "draining"),
        (["drain", "joined"], "draining"),
        (["drain", "stopped"], "stopped"),
        (["stopped", "started"], "starting"),
    ],
)
def test_the_status_follows_the_events(store: Store, tmp_path: Path, events: list[str], status: str) -> None:
    begin(store, scenario())
    for kind in events:
        store.note("ada" if kind == "joined" else "", kind, "[]" if kind == "started" else "")
    assert picture(tmp_path, scenario()).status == status


def test_restarts_are_counted_and_an_agent_that_is_away_says_so(store: Store, tmp_path: Path) -> None:
    begin(store, scenario())
    store.note("bob", "lost", "process")
    store.note("bob", "restart", "exit code -9")
    snapshot = picture(tmp_path, scenario(), gauges(agents=("teacher", "ada", "classroom")))
    assert [(a.name, a.state, a.restarts) for a in snapshot.agents] == [
        ("teacher", "ready", 0),
        ("ada", "ready", 0),
        ("bob", "restarting", 1),
    ]


def test_the_time_between_two_sessions_is_not_spent_on_the_class(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    events = [("started", 0), ("joined", 5), ("stopped", 60), ("started", 9000), ("joined", 9001)]
    for kind, second in events:
        monkeypatch.setattr("scenarios.store.sqlite.datetime", _Frozen(start + timedelta(seconds=second)))
        store.note("ada", kind, "[]")
    monkeypatch.undo()
    with Store(tmp_path) as eyes:
        reader = Reader(eyes, scenario())
        reader.catch_up()
        now = start + timedelta(seconds=9030)
        assert reader.snapshot(None, now=now, clock=0.0, running=True).elapsed_s == 90.0
        assert reader.snapshot(None, now=now, clock=0.0, running=False).elapsed_s == 61.0


class _Frozen:
    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self, _: object) -> datetime:
        return self._now


def test_who_has_no_language_model_is_known_before_anybody_joined(store: Store, tmp_path: Path) -> None:
    assert picture(tmp_path, scenario("simulated")).simulated == ("teacher", "ada", "bob")
    begin(store, scenario("simulated"))
    assert picture(tmp_path, scenario("auto")).simulated == ("teacher", "ada", "bob")
    assert picture(tmp_path, scenario("auto"), gauges()).simulated == ()


def test_the_default_model_is_not_that_of_an_external_agent(tmp_path: Path, store: Store) -> None:
    small = scenario()
    small = replace(small, students=(Agent(name="ada", engine="external"), *small.students[1:]))
    models = {agent.name: agent.model for agent in picture(tmp_path, small).agents}
    assert (models["ada"], models["bob"]) == ("", "smollm")


# --- against the level, and against itself --------------------------------------------------------------


def _result(request: Request, rng: random.Random) -> Record:
    failed = "engine" if rng.random() < 0.1 else ""
    text = rng.choice(["same", "other", "a third", request.id])
    answer = None if failed or text == "other" else text
    return Record(
        request_id=request.id, kind=request.kind, agent=request.to, stage=request.stage, tp=request.tp, tr=request.tr,
        ep=request.ep, repeat=request.repeat, text=text, answer=answer, failed=failed,
        correct=None if failed else answer is not None and len(answer) % 2 == 0,
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans())
@example(seed=779, batch=1, at_once=False)
def test_totals_are_the_levels_own_and_following_sees_what_reading_at_once_sees(
    seed: int, batch: int, at_once: bool
) -> None:
    rng = random.Random(seed)
    described, bank = scenario(), BANK
    level = ObserveLevel(Setup(described, bank, {agent.name: agent.name for agent in described.agents}))
    due = list(level.begin().requests)
    with TemporaryDirectory() as name, Store(Path(name), write=True) as store, Store(Path(name)) as eyes:
        prepare(store)
        follower = Reader(eyes, described)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(follow, "BATCH", batch)
            for _ in range(rng.randrange(1, 40)):
                if not due:
                    break
                row = _result(due.pop(rng.randrange(len(due))), rng)
                store.record([row], grader="test", version="1")
                if row.failed:
                    store.note(row.agent, "failed", f"{row.request_id} {row.failed}: no luck")
                told = Result(row.request_id, row.text, row.answer, bool(row.correct), row.failed)
                due += level.receive(told).requests
                if not at_once:
                    follower.look()
            seen = at(follower, 0.0)
        # A stage without requests is not shown: without any answer to a TP there are no exams.
        totals = {stage: total for stage, total in level.totals().items() if total}
        assert {stage.name: stage.total for stage in seen.stages} == totals
        assert sum(stage.done for stage in seen.stages) == len(list(store.results()))
        fresh = picture(Path(name), described)
        assert seen.lessons == fresh.lessons
        assert [(a.done, a.tokens) for a in seen.agents] == [(a.done, a.tokens) for a in fresh.agents]


def grades(tp: str, repeat: int, *marks: str) -> list[Record]:
    """Log-probabilities under a TR, ada's and bob's: + told, x failed."""
    return [
        Record(
            request_id=f"{tp}-{repeat}-{name}-{ep}-grade", kind="Grade", agent=name, stage="grade", tp=tp,
            tr=f"{tp}-teach-{repeat}", ep=f"{tp}-ep{ep}", prompt_tokens=300, cached_tokens=250,
            failed="context" if mark == "x" else "", score=None if mark == "x" else -0.5,
        )
        for name, row in zip(("ada", "bob"), marks, strict=True)
        for ep, mark in enumerate(row)
    ]  # fmt: skip


def test_grades_are_a_stage_of_their_own_and_no_exams(store: Store, tmp_path: Path) -> None:
    described = msgspec.structs.replace(scenario(), exam=Exam(problems=2, repeats=1, score="logprob"))
    prepare(store)
    assert stages(picture(tmp_path, described))["grade"] == (0, 24)
    half(store, described)
    before = picture(tmp_path, described, gauges())
    record(store, grades("tp1", 0, "++", "+x"), grades("tp1", 1, "+", ""))
    after = picture(tmp_path, described, gauges())
    assert stages(after) == {**stages(before), "grade": (5, 24)}
    assert [msgspec.structs.replace(row, grades=0, last="") for row in after.lessons] == [
        msgspec.structs.replace(row, last="") for row in before.lessons
    ]
    ada, bob = (next(agent for agent in after.agents if agent.name == name) for name in ("ada", "bob"))
    assert (ada.done, bob.done, after.failed) == (7 + 3, before.agents[2].done + 2, 1)


def test_a_failed_grade_that_is_asked_again_leaves_the_count(store: Store, tmp_path: Path) -> None:
    described = msgspec.structs.replace(scenario(), exam=Exam(problems=2, score="logprob"))
    half(store, described)
    record(store, grades("tp1", 0, "+x", "++"))
    store.give_up_failed()
    assert stages(picture(tmp_path, described))["grade"] == (3, 24)


def test_grades_are_counted_once_per_exam_problem_however_often_it_is_answered(store: Store, tmp_path: Path) -> None:
    described = msgspec.structs.replace(scenario(), exam=Exam(problems=2, repeats=3, score="logprob"))
    prepare(store)
    assert stages(picture(tmp_path, described)) == {
        "greedy": (0, 2),
        "teach": (0, 6),
        "exam": (0, 72),
        "grade": (0, 24),
    }


@pytest.mark.parametrize(
    ("kind", "detail", "shown"),
    [
        ("lost", "goodbye drained", "left (finished)"),
        ("gone", "left (exit code 0)", "left (finished)"),
        ("left", "finished", "left (finished)"),
        ("lost", "goodbye no room for the model", "lost goodbye no room for the model"),
        ("gone", "signal 9 (SIGKILL)", "gone signal 9 (SIGKILL)"),
        ("joined", "simulated simulated CPU, 1 thread", "joined simulated CPU, 1 thread"),
        ("session", '{"wall_seconds": 64.0, "status": "complete"}', "session complete after 1:04"),
        ("started", "[]", "started with 0 agents"),
    ],
)
def test_events_are_told_in_words_for_people(store: Store, tmp_path: Path, kind: str, detail: str, shown: str) -> None:
    store.note("ada", kind, detail)
    (event,) = picture(tmp_path, scenario()).events
    assert f"{event.kind} {event.detail}" == shown


def test_agents_that_leave_an_interrupted_class_have_not_finished(store: Store, tmp_path: Path) -> None:
    half(store, scenario())
    store.note("", "drain", "finishing what is under way")
    store.note("ada", "left", "finished")
    *_, drain, left = picture(tmp_path, scenario(), gauges(agents=("teacher", "bob"))).events
    assert (drain.kind, drain.detail) == ("", "finishing what is under way")
    assert (left.kind, left.detail) == ("left", "(interrupted)")


def test_a_class_whose_requests_are_all_answered_is_finished_while_its_agents_leave(
    store: Store, tmp_path: Path
) -> None:
    half(store, scenario())
    store.note("", "finished", "(every request is answered)")
    store.note("ada", "lost", "goodbye drained")
    store.note("ada", "gone", "left (exit code 0)")
    shown = picture(tmp_path, scenario(), gauges(agents=("teacher", "bob")))
    assert (shown.status, shown.left_s) == ("finished", None)
    assert {agent.name: agent.state for agent in shown.agents}["ada"] == "left"
    assert [event.kind for event in shown.events if event.agent == "ada"] == ["joined", "left"], "said once"


@pytest.mark.parametrize(
    ("level", "material", "levels", "task"),
    [
        (3, "rationale", (1, 3), "gsm_symbolic"),
        ((2, 3), "rationale", (1, 2, 3), "gsm_symbolic"),
        (3, "exemplars", (), "syllogism"),
        ((1, 3), "exemplars", (1, 3), "gsm_symbolic, syllogism"),
        (1, "exemplars", (), "gsm_symbolic"),
    ],
)
def test_the_levels_and_tasks_that_are_used_are_named(
    store: Store, tmp_path: Path, level: Any, material: Any, levels: tuple[int, ...], task: str
) -> None:
    used = replace(scenario(), level=level, iterate=Iterate(material=material))
    shown = picture(tmp_path, used)
    assert (shown.course, shown.task) == (levels, task)


def test_exams_that_are_named_after_another_of_identical_trs_are_counted_once(store: Store, tmp_path: Path) -> None:
    record(store, tr("tp1", 1, text="same"), exams("tp1", 1, "++", "+-"))
    with Store(tmp_path) as eyes:
        reader = Reader(eyes, scenario())
        reader.catch_up()
        record(store, tr("tp1", 0, text="same"))
        store.name_first_twins()
        reader.catch_up()
        (row,) = at(reader, 0.0).lessons
    assert (row.exams, row.scores) == (4, {"ada": 1.0, "bob": 0.5})
    assert {name: tally.done for name, tally in reader.follower.agents.items()} == {"teacher": 2, "ada": 2, "bob": 2}
