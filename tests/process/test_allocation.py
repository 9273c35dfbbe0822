"""Classes that do not ask all exams, with real processes: killed and resumed, and replayed from one with all."""

import json
from pathlib import Path

import pytest

from scenarios.config import load
from scenarios.monitor.follow import Follower
from scenarios.store.sqlite import Store
from tests import classes
from tests.classes import summary

HALVING = "exam.allocation=halving"


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke class with fewer exams, complete."""
    out = tmp_path_factory.mktemp("halved") / "run"
    classes.finish(classes.start(out, HALVING))
    return out


def test_what_was_saved_is_told_apart_and_what_needs_every_exam_is_left_out(halved: Path) -> None:
    found = summary(halved)
    saved = found["allocation"]
    assert saved["asked"] == found["counts"]["exam_answers"] < saved["full"]
    by_reason = [saved[f"saved_by_{why}"] for why in ("agreement", "certainty", "halving")]
    assert saved["full"] - saved["asked"] == sum(by_reason)
    assert saved["saved_by_agreement"] > 0 < saved["saved_by_halving"]
    assert {name: found[name] for name in ("shapley", "agreement", "abilities", "curves", "fidelity")} == dict.fromkeys(
        ("shapley", "agreement", "abilities", "curves", "fidelity")
    )
    assert all(up["m1_max"] is None for up in found["lineups"])
    assert all(student["m1_sum"] is None for student in found["students"])
    assert found["assumption"]["pairs"] == 0
    assert found["signals"] == [] and "signals" in saved["left_out"]
    assert found["methods"]["m1_max"]["n"] == 12
    assert found["methods"]["m1_max"]["tie_share"] is None is not found["methods"]["sc"]["tie_share"]
    assert found["counts"]["exam_answers_left_out"] == 0
    said = " ".join(classes.say("report", halved).split())
    assert f"asked {saved['asked']} of the {saved['full']} exams of a full class" in said
    assert f"Exam scores of {saved['dropped_rationales']} dropped rationales rest on fewer answers" in said
    assert "Which students should take the exams?" not in said
    assert "exam.allocation did not ask for all" in (halved / "report.html").read_text()


def test_the_monitor_knows_which_exams_are_not_asked(halved: Path) -> None:
    with Store(halved) as store:
        follower = Follower(store, load.read(halved / "scenario.yaml"))
        follower.look()
        while follower.behind:
            follower.look()
    assert all(row.exams == row.exams_total for row in follower.lessons.values())
    assert follower.totals["exam"] == summary(halved)["allocation"]["asked"]
    found = {row.name: row.share for row in follower.standing().methods}
    assert found["MAX"] == summary(halved)["methods"]["m1_max"]["accuracy"]


def test_show_and_export_mark_the_dropped_rationales(halved: Path, tmp_path: Path) -> None:
    classes.say("export", halved, "--to", "jsonl", "--out", tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rationales.jsonl").read_text().splitlines()]
    dropped = {row["request_id"] for row in rows if row["dropped"]}
    assert len(dropped) == summary(halved)["allocation"]["dropped_rationales"] > 0
    assert {row["stage"] for row in rows if row["dropped"] is None} == {"greedy"}
    for number in map(str, range(1, 13)):
        view = json.loads(classes.say("show", halved, number, "--json"))
        lines = view["rationales"]
        assert {line["id"] for line in lines if line["dropped"]} == {line["id"] for line in lines} & dropped
        said = " ".join(classes.say("show", halved, number).split())
        assert ("Dropped: exams ended early" in said) == any(line["dropped"] for line in lines)


def test_a_killed_class_goes_on_to_the_same_results_and_asks_nothing_twice(halved: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, HALVING, enough=201, students=40) as process:
        process.kill()
        process.communicate()
    before = classes.gradebook(out)
    said = classes.finish(classes.resume(out))
    assert f"{len(before)} results reused" in said
    assert classes.gradebook(out) == classes.gradebook(halved)
    assert summary(out)["allocation"] == summary(halved)["allocation"]


def test_a_replay_of_a_class_with_all_exams_says_how_often_the_choice_is_the_same(halved: Path, tmp_path: Path) -> None:
    full = tmp_path / "run"
    classes.finish(classes.start(full))
    again = json.loads(classes.say("replay", full, "--set", HALVING, "--json"))
    assert again["replay"]["never_asked"] == {}
    assert again["allocation"] == summary(halved)["allocation"]
    assert {name: again["methods"][name]["accuracy"] for name in again["methods"]} == {
        name: of["accuracy"] for name, of in summary(halved)["methods"].items()
    }
    lossless = json.loads(classes.say("replay", full, "--set", "exam.allocation=lossless", "--json"))
    assert lossless["replay"]["same_choices"] == {"m1_max": 1.0, "m1_sum": 1.0, "m1_avg": 1.0}
    said = " ".join(classes.say("replay", full, "--set", HALVING).split())
    assert "The same choice as with all exams, of 12 problems: M1 MAX" in said
