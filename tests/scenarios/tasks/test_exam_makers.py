"""Exam problems that are chosen among other problems: the same for every TP, or the nearest ones."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.errors import TaskError
from scenarios.config.load import read
from scenarios.config.schema import Exam, Task
from scenarios.store.sqlite import Store
from scenarios.tasks import embedding, exam_makers
from scenarios.tasks.build import build, check, check_class
from scenarios.tasks.problems import Bank, Problem, folded
from tests import classes

FIXED = Exam(maker="fixed", problems=2)
NEAREST = Exam(maker="retrieval", problems=2)
TOPICS = {
    "trains": "The train to {place} leaves at {n} and the journey by train takes {m} hours. When does it arrive?",
    "cakes": "A baker in {place} bakes {n} cakes with {m} eggs for each cake. How many eggs does the baker need?",
    "paint": "Painting a fence in {place} takes {n} tins of paint at {m} dollars. What does the paint cost?",
}
PLACES = ("Rome", "Oslo", "Lima", "Bern")


def line(topic: str, place: str, n: int = 2, m: int = 3, **more: Any) -> dict[str, Any]:
    text = TOPICS[topic].format(place=place, n=n, m=m)
    return {"id": f"{topic}-{place}-{n}-{m}", "question": text, "answer": n * m, **more}


LINES = [line(topic, place, n + 2, m + 3) for n, topic in enumerate(TOPICS) for m, place in enumerate(PLACES)]


def write(folder: Path, lines: list[dict[str, Any]], name: str = "mine.jsonl") -> str:
    (folder / name).write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return name


def made(folder: Path, exam: Exam, problems: int = 3, seed: int = 7, lines: list[dict[str, Any]] = LINES) -> Bank:
    return build(Task(file=write(folder, lines), problems=problems), exam, seed, folder=folder)


def topic(problem: Problem) -> str:
    return problem.id.rpartition("/")[2].partition("-")[0]


def test_fixed_exams_are_the_same_for_every_problem_and_none_of_them_is_taught(tmp_path: Path) -> None:
    items = made(tmp_path, FIXED, 6).items
    (texts,) = {tuple(ep.text for ep in item.eps) for item in items}
    assert len(texts) == 2
    assert not {*texts} & {item.tp.text for item in items}
    assert [item.tp for item in items] == [item.tp for item in made(tmp_path, Exam(problems=2), 6).items]


@pytest.mark.parametrize("maker", ["fixed", "retrieval"])
@pytest.mark.parametrize("task", [Task(family="gsm_symbolic"), Task(family="chain_sum"), Task(file="mine.jsonl")])
def test_a_larger_class_keeps_its_exams(maker: Any, task: Task, tmp_path: Path) -> None:
    write(tmp_path, LINES)
    few, more = Exam(maker=maker, problems=2), Exam(maker=maker, problems=3)
    small = build(replace(task, problems=3), few, 7, folder=tmp_path)
    large = build(replace(task, problems=5), more, 7, folder=tmp_path)
    assert small.grown(large) == large
    assert small.grown(large).only(3, 2) == small


def test_retrieved_exams_are_about_the_same_and_the_nearest_comes_first(tmp_path: Path) -> None:
    for item in made(tmp_path, replace(NEAREST, problems=3), 12).items:
        assert {topic(ep) for ep in item.eps} == {topic(item.tp)}
        assert len(item.similarities) == 3
        assert list(item.similarities) == sorted(item.similarities, reverse=True)


def test_code_problems_that_read_alike_but_have_other_cases_are_no_copies() -> None:
    text = (
        "A text holds {} brackets, some of which open and some of which close. Say whether every bracket that opens "
        "has one behind it that closes it, and whether every bracket that closes has one before it that opens."
    )
    angle, square = (Problem(id, text.format(id), "", "code", program=f'"{id}"') for id in ("angle", "square"))
    retyped = replace(angle, id="retyped", text=angle.text.removesuffix("."))
    (item,) = exam_makers.make([angle], [square, retyped], "bank", replace(NEAREST, problems=1))
    assert item.similarities[0] > exam_makers.DUPLICATE
    assert [ep.id for ep in item.eps] == ["angle/ep/square"]


def test_retrieval_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert made(tmp_path, NEAREST).items[0].similarities


def test_exams_come_from_the_bank_that_the_scenario_names(tmp_path: Path) -> None:
    task = Task(family="gsm_symbolic", problems=2)
    bank = write(tmp_path, LINES, "bank.jsonl")
    for maker in (FIXED, NEAREST):
        items = build(task, replace(maker, bank=bank), 7, folder=tmp_path).items
        assert all("-" in ep.id for item in items for ep in item.eps)
    one = build(task, replace(FIXED, bank=bank), 8, folder=tmp_path).items
    assert one[0].eps != build(task, replace(FIXED, bank=bank), 9, folder=tmp_path).items[0].eps, "drawn by the seed"


def test_of_a_bank_with_variants_the_first_of_each_line_counts(tmp_path: Path) -> None:
    variants = [
        {
            "id": str(n),
            "variants": [{"problem": f"What is ${n}+{k}$?", "solution": f"\\boxed{{{n + k}}}"} for k in (0, 1)],
        }
        for n in (10, 20, 30)
    ]
    bank = write(tmp_path, variants, "bank.jsonl")
    items = build(Task(family="gsm_symbolic", problems=1), replace(NEAREST, bank=bank), 7, folder=tmp_path).items
    assert all(ep.text.endswith("+0$?") and ep.form == "latex" for ep in items[0].eps)


@pytest.mark.parametrize(
    "copy",
    [str.upper, "{} ".format, lambda text: text.replace(".", " ."), lambda text: text.replace("the", "teh", 1),
     lambda text: f"Question: {text}", lambda text: f"{text} Give a number."],
)  # fmt: skip
def test_a_near_duplicate_of_the_problem_is_no_exam(copy: Any, tmp_path: Path) -> None:
    (tp,) = made(tmp_path, FIXED, 1).items
    again = replace(tp.tp, id="again", text=copy(tp.tp.text))
    others = [ep for item in made(tmp_path, FIXED, 12 - 2).items for ep in (item.tp,) if ep != tp.tp]
    (found,) = exam_makers.make([tp.tp], [*others, again], "a list", NEAREST)
    assert "again" not in {ep.id.rpartition("/")[2] for ep in found.eps}


def test_another_draw_of_the_same_template_may_be_an_exam(tmp_path: Path) -> None:
    lines = [line("cakes", "Rome", n, 7) for n in range(2, 7)]
    (item,) = made(tmp_path, NEAREST, 1, lines=lines).items
    assert item.similarities[0] > exam_makers.DUPLICATE
    assert item.tp.answer not in {ep.answer for ep in item.eps}


@settings(deadline=None, max_examples=8)
@given(st.permutations(LINES))
def test_the_order_of_the_bank_decides_nothing_and_ties_go_to_the_smaller_id(lines: list[dict[str, Any]]) -> None:
    def problem(one: dict[str, Any], id: str) -> Problem:
        return Problem(id, one["question"], str(one["answer"]), "number")

    tps = [problem(LINES[0], "tp")]
    # Word order does not matter to wordllama: these two are equally near.
    twins = [Problem(id, text, "1", "number") for id, text in (("b", "train journey"), ("a", "journey train"))]
    bank = [problem(one, one["id"]) for one in lines]
    found = exam_makers.make(tps, [*twins, *bank], "a list", replace(NEAREST, problems=12))
    straight = exam_makers.make(tps, [*bank[::-1], *twins], "a list", replace(NEAREST, problems=12))
    assert found == straight
    ids = [ep.id for ep in found[0].eps if ep.id in ("tp/ep/a", "tp/ep/b")]
    assert ids == sorted(ids)


def test_a_problem_without_a_near_exam_problem_abstains_and_says_how_near_one_was(tmp_path: Path) -> None:
    lines = [*LINES, {"id": "alone", "question": "Who was the second president of France?", "answer": "Perier"}]
    items = made(tmp_path, replace(NEAREST, abstain_below=0.5), 13, lines=lines).items
    (alone,) = [item for item in items if item.tp.id == "alone"]
    assert alone.abstains and alone.eps == ()
    assert len(alone.similarities) == 2 and alone.similarities[0] < 0.5
    assert not any(item.abstains for item in items if item is not alone)


def test_similarities_are_kept_with_the_problems(tmp_path: Path) -> None:
    nearest = sorted(item.similarities[0] for item in made(tmp_path, NEAREST, 12).items)
    bank = made(tmp_path, replace(NEAREST, abstain_below=nearest[6]), 12)
    assert {item.abstains for item in bank.items} == {True, False}
    with Store(tmp_path, write=True) as store:
        store.keep_bank(bank)
        assert store.bank() == bank
    assert bank.only(12, 2) == bank


@pytest.mark.parametrize("maker", [FIXED, NEAREST])
@pytest.mark.parametrize("door", [build, check])
def test_a_bank_that_is_too_small_is_refused_with_the_numbers(maker: Exam, door: Any, tmp_path: Path) -> None:
    bank = write(tmp_path, LINES[:3], "bank.jsonl")
    exam, task = replace(maker, problems=4, bank=bank), Task(family="gsm_symbolic", problems=2)
    with pytest.raises(TaskError, match=r"4 are asked for, and bank.jsonl has 3"):
        door(task, exam, **({"folder": tmp_path} if door is check else {"seed": 1, "folder": tmp_path}))


def test_the_plan_refuses_what_the_run_would_refuse(tmp_path: Path) -> None:
    write(tmp_path, LINES[:4])
    (tmp_path / "class.yaml").write_text(
        "name: small\nteacher: {name: teacher}\nstudents: [{name: student}]\n"
        "task: {file: mine.jsonl, problems: 3}\nexam: {maker: fixed, problems: 2}\n"
    )
    scenario = read(tmp_path / "class.yaml")
    message = r"2 are asked for, and mine.jsonl has 1 besides the teaching problems"
    with pytest.raises(TaskError, match=message):
        check_class(scenario, folder=tmp_path)
    with pytest.raises(TaskError, match=message):
        build(scenario.task, scenario.exam, 0, folder=tmp_path)


def test_a_bank_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no.jsonl: No such file") as error:
        build(Task(family="gcd"), replace(NEAREST, bank="no.jsonl"), 1, folder=tmp_path)
    assert error.value.key == ("exam", "bank")


@pytest.mark.parametrize("name", ["wordllama", "sentence-transformers/all-mpnet-base-v2"])
def test_a_missing_package_is_named_with_what_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(TaskError, match=r"not installed: pip install -e '\.\[(retrieval|embeddings)\]'"):
        embedding.check(name)


def tiny_model(folder: Path) -> str:
    """A model of sentence-transformers with random weights, made without network."""
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = sorted({word for one in LINES for word in folded(one["question"]).replace(".", " .").split()})
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *words]))
    plain, path = folder / "plain", folder / "model"
    BertTokenizerFast(vocab_file=str(vocabulary)).save_pretrained(plain)
    config = BertConfig(
        vocab_size=len(words) + 7, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(plain)
    whole = Transformer(str(plain))
    SentenceTransformer(modules=[whole, Pooling(32)], device="cpu").save(str(path))
    return str(path)


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_sentence_transformers_can_measure_instead(tmp_path: Path) -> None:
    name = tiny_model(tmp_path)
    vectors = embedding.embed(name, ["A baker bakes cakes.", "The train leaves.", "A baker bakes cakes."])
    assert vectors.shape == (3, 32)
    assert abs(vectors[0] @ vectors[2] - 1) < 1e-5 < 1 - vectors[0] @ vectors[1]
    with pytest.raises(TaskError, match="cannot be used as an embedding: ") as error:
        embedding.embed(str(tmp_path / "nothing"), ["text"])
    assert error.value.key == ("exam", "embedding")


def test_a_class_with_retrieved_exams_runs_says_how_near_they_are_and_exports_it(tmp_path: Path) -> None:
    out, sets = tmp_path / "run", ("task.problems=6", "exam.maker=retrieval", "exam.abstain_below=0.87")
    said = classes.finish(classes.start(out, *sets))
    summary = json.loads((out / "summary.json").read_text())
    source = summary["exams"]
    without = [one for one in source["nearest"] if not one["examined"]]
    assert 0 < len(without) < 6
    assert summary["counts"]["problems_without_exams"] == len(without)
    assert all(one["similarities"][0] < 0.87 for one in without)
    assert "the similarity of the nearest is" in " ".join(said.split())
    with Store(out) as store:
        assert not store.query(f"SELECT 1 FROM result WHERE kind = 'Examine' AND tp = '{without[0]['tp']}'")  # noqa: S608
    before, exams = classes.results(out), summary["counts"]["exam_answers"]
    classes.finish(classes.extend(out, "exam.problems=3"))
    assert classes.results(out) == before + exams // 2, "every examined TP has a third exam problem"
    classes.say("export", out, "--to", "jsonl")
    rows = [json.loads(row) for row in (out / "export" / "problems.jsonl").read_text().splitlines()]
    near = {row["id"]: row["similarity"] for row in rows if row["use"] == "teaching"}
    assert near == {one["tp"]: one["similarities"][0] for one in source["nearest"]}
    assert all((row["similarity"] is not None) == (row["use"] in ("teaching", "exam")) for row in rows)
