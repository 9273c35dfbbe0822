"""The monitor of classes with levels after the first, against the levels themselves."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from scenarios.config.schema import LevelNumber
from scenarios.monitor import follow
from scenarios.monitor.reader import Reader
from scenarios.monitor.state import Snapshot
from scenarios.report.iterate import summarize_rounds
from scenarios.store.sqlite import Store
from tests.scenarios.monitor.monitored import picture
from tests.scenarios.monitor.monitored_course import STEPS, Played, course


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, write=True) as store:
        yield store


def stages(snapshot: Snapshot) -> dict[str, tuple[int, int]]:
    return {stage.name: (stage.done, stage.total) for stage in snapshot.stages}


def counted(store: Store) -> dict[str, int]:
    return {str(stage): int(str(n)) for stage, n in store.query("SELECT stage, count(*) FROM result GROUP BY stage")}


def look(reader: Reader, clock: float = 0.0) -> Snapshot:
    reader.catch_up()
    return reader.snapshot(None, now=datetime.now(UTC), clock=clock, running=True)


# --- following ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "fails"), [(2, 0.1), (3, 0.0), (3, 0.1), ((1, 3), 0.1), ((1, 2, 3), 0.0)])
def test_following_a_class_sees_what_reading_it_at_once_sees(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    level: LevelNumber | tuple[LevelNumber, ...],
    fails: float,
) -> None:
    monkeypatch.setattr(follow, "BATCH", 13)
    described = course(level)
    with Store(tmp_path) as eyes:
        follower = Reader(eyes, described)
        follower.look()
        played = Played(store, described, fails=fails)
        while played.play(40):
            follower.look()
            seen = look(follower)
            assert {name: done for name, (done, _) in stages(seen).items() if done} == counted(store)
            assert {name: total for name, (_, total) in stages(seen).items()} == {
                stage: total for stage, total in played.level.totals().items() if total
            }
        seen = look(follower)
    fresh = picture(tmp_path, described)
    assert played.level.finished
    assert seen.learning == fresh.learning
    assert seen.lessons == fresh.lessons
    assert [(a.done, a.tokens) for a in seen.agents] == [(a.done, a.tokens) for a in fresh.agents]
    assert sum(a.done for a in seen.agents) == sum(counted(store).values())
    assert seen.failed == sum(bool(record.failed) for record in store.results())
    assert all(done == total for done, total in stages(fresh).values())


def test_log_probabilities_are_a_stage_of_their_own(store: Store, tmp_path: Path) -> None:
    described = course((1, 2))
    described = msgspec.structs.replace(described, exam=msgspec.structs.replace(described.exam, score="logprob"))
    with Store(tmp_path) as eyes:
        follower = Reader(eyes, described)
        played = Played(store, described, fails=0.1)
        while played.play(40):
            follower.look()
        seen = look(follower)
    assert played.level.finished
    assert stages(seen)["grade"][0] == counted(store)["grade"] > 0
    assert all(done == total for done, total in stages(seen).values())
    assert sum(row.grades for row in seen.lessons) == stages(seen)["grade"][0]
    assert seen.lessons == picture(tmp_path, described).lessons


def test_before_its_problems_are_there_a_class_has_no_stages(store: Store, tmp_path: Path) -> None:
    shown = picture(tmp_path, course((1, 2, 3)))
    assert (shown.stages, shown.level, shown.left_s, shown.task) == ((), 1, None, "x, syllogism")


def test_the_task_is_told_with_all_its_parts(store: Store, tmp_path: Path) -> None:
    described = course((1, 2, 3))
    Played(store, described)
    shown = picture(tmp_path, described)
    assert shown.task == "sums, texts"
    assert shown.amount == "3 TPs, 2 held-out problems, 16 training items, 10 held-out items"


def test_a_failure_that_is_asked_again_is_due_again(store: Store, tmp_path: Path) -> None:
    described = course(3)
    with Store(tmp_path) as eyes:
        follower = Reader(eyes, described)
        Played(store, described, fails=0.2).play()
        assert look(follower).failed
        assert store.give_up_failed()
        played = Played(store, described, resumed=True)
        assert look(follower).status != "complete"
        played.finish()
        seen = look(follower)
    assert all(done == total for done, total in stages(seen).values())
    assert not seen.failed


@pytest.mark.parametrize("level", [2, (1, 2, 3)])
def test_the_gradebook_is_that_of_the_first_teacher(
    store: Store, tmp_path: Path, level: LevelNumber | tuple[LevelNumber, ...]
) -> None:
    described = course(level)
    Played(store, described).play(until="train")
    before = picture(tmp_path, described).lessons
    Played(store, described, resumed=True).finish()
    assert picture(tmp_path, described).lessons == before
    assert [row.tp for row in before] == ["tp0", "tp1", "tp2"]
    assert all(row.exams == row.exams_total and row.rationales == 3 for row in before)


def test_the_level_at_work_is_told_and_what_it_does(store: Store, tmp_path: Path) -> None:
    described = course((1, 2, 3))
    played = Played(store, described)
    told = []
    for stage in ("measure", "train", "probe", "write", "reflect", ""):
        played.play(until=stage)
        shown = picture(tmp_path, described)
        told.append((shown.level, shown.at_work))
    assert told == [
        (2, "round 1: measure"),
        (2, "round 1: train"),
        (2, "round 1: drift, probe"),
        (3, "start: write"),
        (3, "round 1: reflect"),
        (3, ""),
    ]


# --- figures --------------------------------------------------------------------------------------------


def test_rounds_have_the_figures_of_the_report(store: Store, tmp_path: Path) -> None:
    described = course(3, repeats=2, baselines=("random", "self"))
    played = Played(store, described)
    played.finish()
    shown = picture(tmp_path, described).learning.rounds
    reported = summarize_rounds(played.level.outcome().iteration).rounds
    assert [
        (row.run, row.number, row.train, row.held_out, dict(row.students)) for row in shown if row.arm == "class"
    ] == [(one.run, one.round, one.teacher_f1_train, one.teacher_f1_test, one.students) for one in reported]
    assert {row.arm for row in shown} == {"class", "random", "self"}
    assert all(row.train is not None and row.held_out is not None for row in shown)


def test_a_round_is_shown_once_it_is_over_and_its_held_out_figure_once_that_is_known(
    store: Store, tmp_path: Path
) -> None:
    described = course(3)
    played = Played(store, described)
    with Store(tmp_path) as eyes:
        reader = Reader(eyes, described)
        played.play(until="test", group=1)
        (start,) = look(reader).learning.rounds
        assert start.train is not None
        assert (start.held_out, start.number, start.students) == (None, 0, {})
        played.finish()
        assert look(reader).learning.rounds[0].held_out is not None


def test_a_training_shows_its_steps_its_figures_and_the_time_left(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = course(2)
    played = Played(store, described)
    played.play(until="train")
    waiting = picture(tmp_path, described).learning.trainings
    assert {row.status for row in waiting} == {"waiting"}
    for step in range(1, 5):
        monkeypatch.setattr("scenarios.store.sqlite.datetime", _At(step * 10))
        played.step(step, loss=1.0 / step)
    monkeypatch.undo()
    shown = picture(tmp_path, described)
    row = shown.learning.trainings[0]
    assert (row.status, row.step, row.steps, row.accuracy) == ("training", 4, STEPS, 0.75)
    assert row.losses == pytest.approx((1, 1 / 2, 1 / 3, 1 / 4))
    assert row.margin == pytest.approx(0.4)
    assert row.left_s == 40.0
    (stage,) = [stage for stage in shown.stages if stage.name == "train"]
    # The others are as long as this one, of which half is over.
    assert stage.left_s == 40.0 + 80.0 * (stage.total - 1)
    assert not [event for event in shown.events if event.kind == "progress"]
    played.play(1)
    between = picture(tmp_path, described)
    (stage,) = [stage for stage in between.stages if stage.name == "train"]
    assert stage.left_s == 80.0 * (stage.total - stage.done), "the next one takes no longer than the last"


def test_where_nobody_is_at_work_nothing_is_about_to_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = course(2)
    played = Played(store, described)
    played.play(until="train")
    for step in range(1, 5):
        monkeypatch.setattr("scenarios.store.sqlite.datetime", _At(step * 10))
        played.step(step)
    store.note("", "stopped", "interrupted")
    monkeypatch.undo()
    shown = picture(tmp_path, described)
    assert shown.over
    assert not any(row.left_s for row in shown.stages)
    assert not any(row.left_s for row in shown.learning.trainings)


class _At:
    def __init__(self, second: int) -> None:
        self._second = second

    def now(self, _: object) -> datetime:
        return datetime(2030, 1, 1, 0, self._second // 60, self._second % 60, tzinfo=UTC)


def test_a_training_that_goes_on_at_a_checkpoint_counts_its_steps_once(store: Store, tmp_path: Path) -> None:
    described = course(2)
    played = Played(store, described)
    played.play(until="train")
    for step, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (2, 0.85), (3, None)):
        played.step(step, loss=loss)
    store.note("teacher", "progress", "no JSON at all \x1b[2J")
    store.note("teacher", "progress", json.dumps(["a training of another class", 1, 2, {}]))
    row = picture(tmp_path, described).learning.trainings[0]
    assert (row.step, row.losses) == (3, (0.9, 0.85))


def test_teachers_are_shown_as_they_are_measured(store: Store, tmp_path: Path) -> None:
    described = course(2)
    played = Played(store, described)
    played.play(until="train")
    assert [row.name for row in picture(tmp_path, described).learning.teachers] == ["original"]
    played.finish()
    shown = picture(tmp_path, described).learning
    names = Counter(row.name for row in shown.teachers)
    assert names["original"] == names["M2"] == 1
    assert all(row.problems == row.of == 2 for row in shown.teachers)
    assert all(row.greedy is not None and row.sampled is not None and row.lbt is not None for row in shown.teachers)
    assert {row.status for row in shown.trainings} <= {"trained", "no pairs"}


# --- time -----------------------------------------------------------------------------------------------


def test_the_time_left_of_a_stage_is_that_of_its_slowest_agent_and_idle_time_does_not_count(
    store: Store, tmp_path: Path
) -> None:
    described = course(3, minibatch=16, score_items=16)
    played = Played(store, described)
    with Store(tmp_path) as eyes:
        reader, clock = Reader(eyes, described), 0.0
        shown = look(reader, clock)
        while not any(stage.name == "score" and stage.left_s for stage in shown.stages):
            assert played.play(4, group=4)
            clock += 2.0
            reader.look()  # which leaves to the next look what became due
            shown = reader.snapshot(None, now=datetime.now(UTC), clock=clock, running=True)
        (score,) = [stage for stage in shown.stages if stage.name == "score"]
        assert score.left_s == pytest.approx((score.total - score.done) / 2, rel=0.5)
        assert shown.left_s is None, "nobody has sat an exam yet"
        # Nothing is due for whoever is through with all.
        played.finish()
        look(reader, clock)
        assert all(stage.left_s == 0 for stage in look(reader, clock + 3600).stages if stage.done == stage.total)
