"""Labelled texts for level 3: gathered, split, and refused where they cannot be used."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect as types

from broker.errors import TaskError
from scenarios.config import iterate_schema, reference
from scenarios.config.iterate_schema import LabelledTask
from scenarios.tasks.problems import Problem, folded
from scenarios.tasks.sources import jsonlines
from scenarios.tasks.sources.labelled import build, check, gather

MINE = LabelledTask(file="mine.jsonl", positive="spam", description="Is it spam?", train=4, dev=2, test=2)


def rows(positive: int, negative: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"buy {n}", "label": "spam"} for n in range(start, start + positive)] + [
        {"text": f"hello {n}", "label": "ham"} for n in range(start, start + negative)
    ]


def write(folder: Path, lines: list[Any], name: str = "mine.jsonl") -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / name).write_text(text, encoding="utf-8")


def changed(task: LabelledTask = MINE, **entries: Any) -> LabelledTask:
    return msgspec.structs.replace(task, **entries)


def texts(problems: tuple[Problem, ...]) -> set[str]:
    return {problem.text for problem in problems}


def yes(problems: tuple[Problem, ...]) -> int:
    return sum(problem.answer == "Yes" for problem in problems)


def refused(task: LabelledTask, folder: Path, message: str) -> None:
    """By the plan and by the class alike, in at most three lines."""
    for call in (lambda: check(task, folder=folder), lambda: build(task, 1, folder=folder)):
        with pytest.raises(TaskError, match=message) as caught:
            call()
        assert len(str(caught.value).splitlines()) <= 3


# --- what comes out -------------------------------------------------------------------------------------


def test_the_positive_label_is_yes_and_all_others_are_no(tmp_path: Path) -> None:
    write(tmp_path, [*rows(8, 8), {"text": "a poem", "label": "verse"}])
    made = build(changed(test=0), 1, folder=tmp_path)
    problems = (*made.train, *made.dev, *made.test)
    assert (made.source, made.description) == ("mine.jsonl", "Is it spam?")
    assert len(problems) == 17
    assert all(problem.form == "yes_no" for problem in problems)
    assert {p.text: p.answer for p in problems} == {
        **{f"buy {n}": "Yes" for n in range(8)}, **{f"hello {n}": "No" for n in range(8)}, "a poem": "No"
    }  # fmt: skip


def test_problems_are_named_by_split_and_place(tmp_path: Path) -> None:
    write(tmp_path, rows(8, 8))
    made = build(MINE, 1, folder=tmp_path)
    assert [p.id for p in made.train] == ["train-0", "train-1", "train-2", "train-3"]
    assert [p.id for p in (*made.dev, *made.test)] == ["dev-0", "dev-1", "test-0", "test-1"]


@pytest.mark.parametrize(
    ("positive", "labels"),
    [("1", (1, 0)), (1, ("1", "0")), (True, (True, False)), ("true", (True, False)), (True, ("True", "False")),
     ("SPAM", (" spam ", "ham")), ("-1", (-1, 1))],
)  # fmt: skip
def test_labels_are_compared_as_text(tmp_path: Path, positive: Any, labels: tuple[Any, Any]) -> None:
    write(tmp_path, [row | {"label": labels[row["label"] == "ham"]} for row in rows(4, 4)])
    made = build(changed(positive=positive), 1, folder=tmp_path)
    assert all((p.answer == "Yes") == p.text.startswith("buy") for p in (*made.train, *made.dev, *made.test))


def test_several_keys_become_a_text_with_a_line_for_each_value(tmp_path: Path) -> None:
    context: list[dict[str, Any]] = [
        {"job_title": "Senator", "party": ""},
        {"party": None, "age": 61},
        {"job_title": " "},
        {},
    ]
    write(tmp_path, [row | context[n % 4] for n, row in enumerate(rows(4, 4))])
    task = changed(text=("text", "job_title", "party", "age"), train=0, balanced=False)
    made = build(task, 1, folder=tmp_path)
    assert {"Text: buy 0\nJob title: Senator", "Text: buy 1\nAge: 61", "Text: buy 2", "Text: buy 3"} < (
        texts(made.train) | texts(made.dev) | texts(made.test)
    )


def test_repeated_texts_are_kept_once_and_texts_with_both_labels_not_at_all(tmp_path: Path) -> None:
    again = [{"text": "BUY  0", "label": "spam"}, {"text": " buy 0\n", "label": "spam"}]
    doubtful = [{"text": "hello 0", "label": "spam"}, {"text": "Hello 0", "label": "ham"}]
    write(tmp_path, [*rows(6, 6), *again, *doubtful])
    task = changed(train=0, balanced=False)
    made, pool = build(task, 1, folder=tmp_path), gather(task, tmp_path)
    everything = [*made.train, *made.dev, *made.test]
    assert (pool.repeated, pool.contradicting, len(everything)) == (4, 1, 11)
    assert "hello 0" not in {folded(p.text) for p in everything}
    assert [p.text for p in everything if folded(p.text) == "buy 0"] == ["BUY  0"]


def test_dev_and_test_come_from_their_own_file_and_its_texts_are_not_trained_on(tmp_path: Path) -> None:
    write(tmp_path, rows(6, 9))
    write(tmp_path, [*rows(4, 4, start=100), *rows(2, 3)], "held.jsonl")
    task = changed(test_file="held.jsonl", train=0, dev=4, test=0)
    made = build(task, 1, folder=tmp_path)
    held = {row["text"] for row in [*rows(4, 4, start=100), *rows(2, 3)]}
    assert texts(made.dev) | texts(made.test) == held
    assert (len(made.dev), len(made.test), gather(task, tmp_path).repeated) == (4, 9, 5)
    assert not texts(made.train) & held
    assert (len(made.train), yes(made.train)) == (8, 4)
    assert made.source == "mine.jsonl and held.jsonl"


def test_a_larger_train_leaves_dev_and_test_as_they_were(tmp_path: Path) -> None:
    write(tmp_path, rows(20, 30))
    small, large = (build(changed(train=n, dev=5, test=5), 3, folder=tmp_path) for n in (10, 30))
    assert (small.dev, small.test) == (large.dev, large.test)
    assert texts(small.train) < texts(large.train)


def test_the_seed_decides_and_the_hash_seed_of_the_process_does_not(tmp_path: Path) -> None:
    write(tmp_path, rows(20, 20))
    made = build(MINE, 1, folder=tmp_path)
    assert texts(build(MINE, 2, folder=tmp_path).train) != texts(made.train)
    code = (
        "from pathlib import Path; from scenarios.config.iterate_schema import LabelledTask;"
        "from scenarios.tasks.sources.labelled import *;"
        f"print([build(t, 1, folder=Path({str(tmp_path)!r})) for t in ({MINE!r}, LabelledTask(train=4, dev=0))])"
    )
    for_sure_another = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    environment = {**os.environ, "PYTHONHASHSEED": for_sure_another}
    there = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert there.stdout.strip() == repr([made, build(LabelledTask(train=4, dev=0), 1, folder=tmp_path)])


def test_blank_lines_windows_line_ends_and_a_byte_order_mark_are_no_mistakes(tmp_path: Path) -> None:
    lines = "\r\n\r\n".join(json.dumps(row) for row in rows(4, 4))
    (tmp_path / "mine.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    assert len(build(MINE, 1, folder=tmp_path).train) == 4


def test_a_typical_text_is_the_middle_one(tmp_path: Path) -> None:
    write(tmp_path, [row | {"text": row["text"].ljust(200, "!")} for row in rows(4, 4)])
    assert check(MINE, folder=tmp_path).tokens == 51
    made = build(LabelledTask(), 1, folder=tmp_path)
    mean = sum(len(p.text) for p in made.train) / len(made.train) / 4
    assert 0.8 * mean < check(LabelledTask(), folder=tmp_path).tokens < 1.2 * mean


def test_a_file_whose_texts_all_have_both_labels_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [{"text": "a", "label": kind} for kind in ("spam", "ham")])
    with pytest.raises(TaskError, match="both labels"):
        check(MINE, folder=tmp_path)


def test_checking_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from scenarios.config.iterate_schema import *;"
        "from scenarios.tasks.sources.labelled import *;"
        "check(LabelledTask(), folder=Path());"
        "print([m for m in ('reasoning_gym', 'datasets', 'numpy', 'torch') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"


def test_the_section_can_be_described() -> None:
    docs = reference.field_docs(iterate_schema)
    kind = types.type_info(LabelledTask)
    assert isinstance(kind, types.StructType)
    page = reference.section_text("iterate.task", kind, docs)
    assert set(docs["LabelledTask"]) == set(LabelledTask.__struct_fields__)
    assert "| `text` | text, or a list, each text | `text` |" in page
    assert "| `positive` | text, or a whole number, or true or false | nothing |" in page


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"family": "syllogism"}, "needs one of family, file and hub, has family and file"),
        ({"file": None, "test_file": "x"}, "test_file: goes with file, and the texts come from a family"),
        ({"hub_config": "x"}, "hub_config: goes with hub, and the texts come from a file"),
        ({"description": " "}, "description: is empty; say what the texts are and what Yes and No mean"),
        ({"positive": None}, "positive: is missing; name the label that stands for Yes"),
        ({"negative": "Spam"}, "negative: is the same label as positive, 'spam'"),
        ({"text": ()}, "text: needs a key"),
        ({"text": ("text", "text")}, "text: needs a key, or several different ones"),
        ({"text": ("text", "label")}, "none that is the label's"),
        ({"positive": "junk"}, r"'junk'; the 'label' there: 'spam' \(8\), 'ham' \(8\)"),
        ({"negative": "verse"}, r"line 9: `label`: 'ham' is neither 'spam' \(positive\) nor 'verse' \(negative\)"),
        ({"label": "kind"}, "line 1: no `kind`; there: text, label"),
        ({"text": "body"}, "line 1: no `body`; there: text, label"),
        (
            {"file": "none.jsonl"},
            r"iterate.task.file: .*none.jsonl: No such file or directory\nthe head of the scenario",
        ),
        ({"test_file": "none.jsonl"}, "iterate.task.test_file: .*none.jsonl: No such file"),
        ({"file": "."}, "iterate.task.file: .* is a folder"),
        ({"file": "\0"}, "not a file name"),
        ({"file": "/dev/zero"}, "no plain file"),
        ({"train": 0, "test": 0}, "train and test are both 0, all that are left; give one of them a number"),
        ({"train": 13}, r"train: 13, half of them .* 6 positive and 7 negative texts, and 6 positive and"),
        ({"train": 13, "balanced": False}, "train: 13 texts are asked for, and 12 are left"),
        ({"test": 15}, "test: 15 texts are asked for, and 14 are left"),
        ({"dev": 17}, r"dev: 17 texts are asked for, and 16 are left \(8 positive and 8 negative\)\nmine.jsonl: 16 t"),
        ({"dev": 1}, "dev: would be 1 positive and 0 negative: no negative one"),
        ({"test": 14}, "train: 4, half of them positive, take .* and 0 positive and 0 negative are left"),
        ({"test_file": "mine.jsonl"}, "test_file: is the file itself; leave it out to have it split"),
        ({"test_file": "./mine.jsonl"}, "train: 4, half .* 0 positive .*\n.*left out: 16 that come again"),
        ({"file": ""}, "file: is empty; name one, or leave the key out"),
        ({"label": ""}, "label: is empty; name one"),
    ],
)
def test_a_task_that_cannot_be_built_is_refused_with_the_entry_and_the_numbers(
    tmp_path: Path, entries: dict[str, Any], message: str
) -> None:
    write(tmp_path, rows(8, 8))
    refused(changed(**entries), tmp_path, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{bad", "line 2: not JSON"),
        ("[1]", "line 2: a JSON object is wanted, not list"),
        ('{"text": "\\ud800", "label": "spam"}', "line 2: not JSON"),
        ("[" * 100_000, "line 2: not JSON"),
        ("x" * (jsonlines.MAX_LINE + 1), "line 2: longer than 1,048,576 bytes"),
        ({"text": "hi"}, "line 2: no `label`; there: text"),
        ({}, "line 2: no `label`; there: nothing"),
        ({"text": " \n", "label": "spam"}, "line 2: `text` is empty"),
        ({"text": 5, "label": "spam"}, "line 2: `text`: text is wanted, not int"),
        ({"text": "hi", "label": None}, "line 2: `label`: text, a whole number, true or false is wanted, not nothing"),
        ({"text": "hi", "label": ["spam"]}, "line 2: `label`: .* not list"),
        ({"text": "hi", "label": 1.0}, "line 2: `label`: .* not float"),
        ({"text": "hi" * 20_000, "label": "ham"}, "line 2: the text has 40,000 characters, and at most 32,000"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path: Path, line: Any, message: str) -> None:
    good = rows(8, 8)
    write(tmp_path, [good[0], line, *good[1:]])
    refused(MINE, tmp_path, message)


@pytest.mark.parametrize("entries", [{"positive": True}, {"positive": True, "negative": False}])
def test_labels_that_yaml_reads_as_true_and_false_are_explained(tmp_path: Path, entries: dict[str, Any]) -> None:
    write(tmp_path, [{"text": f"t{n}", "label": "yes" if n % 2 else "no"} for n in range(16)])
    refused(changed(**entries), tmp_path, 'YAML reads yes, no.*write the label in quotes, iterate.task.positive: "yes"')


def test_a_context_that_is_no_text_is_named(tmp_path: Path) -> None:
    write(tmp_path, [row | {"who": {}} for row in rows(8, 8)])
    refused(changed(text=("text", "who")), tmp_path, "line 1: `who`: text or a number is wanted, not dict")


def test_text_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_bytes(b'{"text": "a", "label": "spam"}\n{"text": "\xe9", "label": "ham"}')
    refused(MINE, tmp_path, "line 2: not UTF-8 text")
    (tmp_path / "mine.jsonl").write_bytes(json.dumps(rows(1, 0)[0]).encode("utf-16"))
    refused(MINE, tmp_path, "line 1: not UTF-8 text")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "mine.jsonl holds no texts that can be used$"),
        (["", " "], "mine.jsonl holds no texts that can be used$"),
        (rows(0, 8), "positive: no text of mine.jsonl has the label 'spam'; the 'label' there: 'ham' .8."),
        (rows(8, 0), "mine.jsonl: every 'label' is 'spam': the negative class has no text"),
        (rows(1, 50), "dev: would be 0 positive and 2 negative: no positive one"),
        ([{"text": "a", "label": f"kind {n}"} for n in range(9)], "'kind 5' .1. and 3 more"),
        (
            [{"text": "a", "label": kind} for kind in ("spam", "ham")],
            "no texts that can be used: all 1 of them have both labels",
        ),
    ],
)
def test_a_file_that_lacks_texts_or_labels_is_refused(tmp_path: Path, lines: list[Any], message: str) -> None:
    write(tmp_path, lines)
    refused(MINE, tmp_path, message)


def test_a_file_too_large_to_be_kept_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "mine.jsonl").open("wb") as file:
        file.truncate(jsonlines.MAX_BYTES + 1)
    refused(MINE, tmp_path, "has 67,108,865 bytes, and at most 67,108,864 are read; cut it")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.jsonl")
    refused(MINE, tmp_path, "is no plain file")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"family": "gcd"}, "family: no family of labelled texts is called 'gcd'; there is syllogism"),
        ({"positive": "Yes"}, "positive: is for files and data sets"),
        ({"negative": 0}, "negative: is for files and data sets"),
        ({"balanced": False}, "balanced: syllogism is always half positive"),
        ({"train": 0}, "train: 0 cannot hold a Yes and a No; syllogism is endless: ask for 2 or more"),
        ({"dev": 1}, "dev: 1 cannot hold"),
        ({"test": 5001}, "test: 5001 are asked for, and syllogism gives at most 5000 a split"),
    ],
)
def test_entries_that_a_family_does_not_have_are_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    refused(changed(LabelledTask(), **entries), tmp_path, message)
