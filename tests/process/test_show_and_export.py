"""`show` and `export` on the folder of a real class, and the examples of docs/data.md."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scenarios.report import show
from scenarios.session.run_dir import RunFolder
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from tests import classes

HOSTILE = "[bold]first[/bold] \x1b[31mred\x1b[0m \x00 \u202eback\nsecond line"
PROMPT = "You solve problems in a few short lines"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shown") / "run"
    classes.finish(classes.start(out))
    return out


def shown(*words: str | Path) -> Any:
    return json.loads(classes.say("show", *words, "--json"))


def changed(finished: Path, folder: Path, sql: str, *values: object) -> Path:
    """A copy of the class, changed."""
    copy = shutil.copytree(finished, folder / "copy")
    with closing(sqlite3.connect(copy / "class.db")) as db, db:
        db.execute(sql, values)
    return copy


def test_the_list_shows_what_each_rule_chooses_as_the_summary_counts_it(finished: Path) -> None:
    problems = shown(finished)["problems"]
    summary = json.loads((finished / "summary.json").read_text())
    assert [one["number"] for one in problems] == list(range(1, 13))
    for rule, method in {"SC": "sc", "MAX": "m1_max", "SUM": "m1_sum"}.items():
        right = sum(one["chosen"][rule]["correct"] for one in problems)
        assert right / 12 == summary["methods"][method]["accuracy"]
    said = classes.say("show", finished)
    assert all(one["tp"] in said for one in problems)


def test_a_problem_can_be_named_by_its_number_or_its_id_and_a_rationale_by_its_repeat_or_its_id(
    finished: Path,
) -> None:
    by_number = shown(finished, "2")
    assert shown(finished, by_number["tp"]) == by_number
    line = next(one for one in by_number["rationales"] if one["repeat"] == 3)
    assert shown(finished, "2", "3") == shown(finished, "2", line["id"][:12])
    assert shown(finished, "2", "greedy")["rationale"]["repeat"] is None


def test_one_problem_is_shown_from_its_own_results_alone(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(finished)
    scenario, names = folder.scenario(), ["2", "0", "weak"]
    read: list[Record] = []
    with folder.recorded(scenario) as whole:
        expected = show.find(whole, names)

    def find_all(self: Store, request_ids: Iterable[str]) -> dict[str, Record]:
        read.extend((found := as_it_is(self, request_ids)).values())
        return found

    as_it_is = Store.find_all
    monkeypatch.setattr(Store, "find_all", find_all)
    with folder.recorded(scenario, partial(show.needed, scenario, names)) as part:
        assert show.find(part, names) == expected
    assert {record.tp for record in read} == {part.bank.items[1].tp.id}


def test_every_exam_is_shown_with_the_prompt_that_was_sent(finished: Path) -> None:
    rationale = shown(finished, "1", "0")
    assert len(rationale["exams"]) == 3 * 2
    assert rationale["prompt"][-1] == ["user", rationale["problem"]["text"]]
    view = shown(finished, "1", "0", "weak")
    assert {one["ep"] for one in view["exams"]} == {one["id"] for one in rationale["problem"]["exam_problems"]}
    for exam in view["exams"]:
        assert exam["prompt"][0] == ["begun", "Solution:"]
        assert PROMPT in exam["prompt"][1][1]
        assert exam["prompt"][-2] == ["assistant", f"Solution: {rationale['text']}"]
        assert exam["prompt"][-1] == ["user", exam["problem"]]
    said = classes.say("show", finished, "1", "0", "weak")
    assert PROMPT in said
    assert all(exam["text"].splitlines()[0] in said for exam in view["exams"])


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["13"], "there are 12, numbered from 1"),
        (["gsm_symbolic/t"], "12 begin with"),
        (["gsm_symbolic/t555/0"], "Did you mean gsm_symbolic/t55/0"),
        (["1", "99"], "its repeats are 0 to 7"),
        (["1", "0", "wek"], "Did you mean weak?"),
        (["1", "0", "weak", "more"], "not understood: more"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(names: list[str], says: str, finished: Path) -> None:
    assert says in " ".join(classes.say("show", finished, *names, code=2).split())


def test_a_text_of_a_model_is_shown_as_data(finished: Path, tmp_path: Path) -> None:
    id = shown(finished, "1", "0")["rationale"]["id"]
    copy = changed(finished, tmp_path, "UPDATE result SET text = ? WHERE request_id = ?", HOSTILE, id)
    said = classes.say("show", copy, "1", "0")
    assert "[bold]first[/bold]" in said
    assert "  second line\n" in said
    assert not set(said) & {"\x1b", "\x00", "\u202e"}
    assert shown(copy, "1", "0")["text"] == HOSTILE


def test_a_class_of_an_earlier_version_is_shown_without_prompts_and_says_so(finished: Path, tmp_path: Path) -> None:
    copy = changed(finished, tmp_path, "ALTER TABLE result DROP COLUMN prompt")
    said = classes.say("show", copy, "1", "0", "weak")
    assert "The prompt was not kept: an earlier version of this program asked for it." in said
    assert shown(copy, "1", "0", "weak")["exams"][0]["prompt"] == []
    classes.say("report", copy)


def test_an_unfinished_class_is_shown_as_far_as_it_is(finished: Path, tmp_path: Path) -> None:
    copy = changed(finished, tmp_path, "DELETE FROM result WHERE stage = 'exam' AND agent = 'strong'")
    assert all(one["awaited"] for one in shown(copy)["problems"])
    assert {one["student"] for one in shown(copy, "1", "0")["exams"]} == {"weak", "average"}
    assert "strong has no exams under this rationale." in classes.say("show", copy, "1", "0", "strong")


def test_level_3_shows_its_sets_and_where_each_came_from(tmp_path: Path) -> None:
    out = tmp_path / "run"
    classes.finish(
        classes.start(out, "iterate.rounds=1", "iterate.baselines=[]", scenario="scenarios/smoke_iterate.yaml")
    )
    lines = shown(out)["sets"]
    revised = next(one for one in lines if one["origin"] == "revision")
    view = shown(out, revised["key"][:12])
    assert view["made_by"][0]["parent"] in {one["key"] for one in lines}
    assert view["made_by"][0]["prompt"]
    assert revised["key"] in classes.say("show", out, revised["key"][:12])
    said = classes.say("export", out, "--to", "csv")
    assert "sets.csv" in said
    assert "no rationales: the class only classifies (level 3)" in said


@pytest.fixture(scope="module")
def tables(finished: Path) -> Path:
    classes.say("export", finished, "--to", "parquet")
    return finished / "export"


def examples() -> list[str]:
    page = (classes.ROOT / "docs" / "data.md").read_text("utf-8")
    return re.findall(r"```python\n(.*?)```", page, re.S)


@pytest.mark.parametrize("example", examples(), ids=["pandas", "polars"])
def test_the_examples_of_the_page_compute_what_the_summary_has(
    example: str, tables: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(example.split()[1])
    run: Callable[[str, dict[str, object]], None] = exec
    run(example.replace('"runs/smoke/export"', repr(str(tables))), {})
    said = capsys.readouterr().out
    summary = json.loads((finished / "summary.json").read_text())
    first = json.loads(classes.say("replay", finished, "--set", "scoring.ties=first", "--json"))
    for ties, methods in (("votes", summary["methods"]), ("first", first["methods"])):
        assert f"M1 MAX {methods['m1_max']['accuracy']:.4f} on 12 problems (ties: {ties})" in said
    for student in summary["students"]:
        assert re.search(rf"{student['name']}\W+{student['exam_accuracy']:.6f}\W+{student['exam_answers']}\b", said)


def test_a_second_export_is_refused_and_changes_nothing(finished: Path, tables: Path) -> None:
    before = {path.name: path.read_bytes() for path in tables.iterdir()}
    assert "already: replace them with --overwrite, or" in classes.say("export", finished, "--to", "parquet", code=2)
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == before


def test_an_export_replaces_the_tables_of_an_earlier_one_where_asked_and_nothing_else(
    finished: Path, tmp_path: Path
) -> None:
    out, plain = tmp_path / "tables", ("export", finished, "--to", "jsonl")
    classes.say(*plain, "--out", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "exams.jsonl").write_bytes(before["exams.jsonl"].splitlines(keepends=True)[0])  # of a smaller class
    (out / "sets.jsonl").write_text('{"arm": "", "run": 0, "round": 0, "key": "of a class with level 3"}\n')
    (out / "notes.txt").write_text("mine")
    classes.say(*plain, "--out", out, "--overwrite")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before | {"notes.txt": b"mine"}


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_an_export_never_replaces_or_deletes_what_no_export_wrote(form: str, finished: Path, tmp_path: Path) -> None:
    for name in ("problems", "sets"):  # a table that it would replace, and one that it would remove
        (tmp_path / f"{name}.{form}").write_text('{"id": 1, "text": "mine"}\n')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    said = classes.say("export", finished, "--to", form, "--out", tmp_path, "--overwrite", code=2)
    assert f"holds problems.{form}, sets.{form} already, which no export wrote" in said
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
