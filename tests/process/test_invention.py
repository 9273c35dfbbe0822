"""Classes whose exam problems an agent writes, with real processes: reported, killed, resumed, extended, refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from scenarios.config import load
from scenarios.monitor.follow import Follower
from scenarios.store.sqlite import Store
from tests import classes
from tests.classes import summary

INVENTED = ("task.problems=4", "exam.maker=invented")
SLOW = "teacher.engine_args.tokens_per_second=300"
WRITES_NOTHING = ("exam.invent.by=weak", "students.0.engine_args={unparsable_rate: 1.0}")


def listing(out: Path) -> list[dict[str, Any]]:
    problems: list[dict[str, Any]] = json.loads(classes.say("show", out, "--json"))["problems"]
    return problems


def look(out: Path) -> Follower:
    with Store(out) as store:
        follower = Follower(store, load.read(out / "scenario.yaml"))
        follower.look()
        while follower.behind:
            follower.look()
    return follower


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke class with exam problems of its teacher, complete."""
    out = tmp_path_factory.mktemp("invented") / "run"
    classes.finish(classes.start(out, *INVENTED))
    return out


def test_invented_problems_are_marked_wherever_they_are_shown(invented: Path) -> None:
    found = summary(invented)["exams"]["invented"]
    assert len(found) == 4
    said = " ".join(classes.say("report", invented).split())
    written = sum(one["candidates"] for one in found.values())
    assert f"Exam problems were written by teacher: {written}, of which" in said
    left = written - sum(one["unusable"] + one["duplicates"] + one["disputed"] for one in found.values())
    used = sum(len(one["problems"]) for one in found.values())
    assert f"; {used} of the other {left} are used." in said
    assert "and may be wrong" in said
    tp, exam = next((tp, one) for tp, one in found.items() if one["problems"])
    first = exam["problems"][0]
    mark = f"written by teacher; answers agreed by {first['agreeing']} of 5"
    shown = classes.say("show", invented, tp)
    assert f"{first['ep']} ({mark})" in shown
    classes.say("export", invented, "--to", "jsonl", "--overwrite")
    lines = (invented / "export" / "problems.jsonl").read_text().splitlines()
    rows = {row["id"]: row for row in map(json.loads, lines)}
    exported = {id: row for id, row in rows.items() if row["use"] == "exam"}
    assert exported.keys() == {one["ep"] for of in found.values() for one in of["problems"]}
    assert rows[first["ep"]]["written_by"] == "teacher" and rows[first["ep"]]["tp"] == tp
    assert rows[first["ep"]]["agreement"] == first["agreeing"] / 5
    assert rows[tp]["written_by"] is None
    ep = rows[first["ep"]]
    assert (
        f"[{first['ep'].removeprefix(f'{tp}/ep/')}, gold answer {ep['answer']}]\n  {ep['text'].splitlines()[0]}"
        in shown
    )


def test_every_exam_answer_is_graded(invented: Path) -> None:
    with Store(invented) as store:
        found = {stage: list(store.results("stage = ?", stage)) for stage in ("exam", "agree")}
    assert found["exam"] and all(one.correct is not None for one in found["exam"])
    assert found["agree"] and all(one.correct is None for one in found["agree"])


def test_what_was_written_costs_m1_and_not_self_consistency(invented: Path) -> None:
    found = summary(invented)
    written = sum(one["tokens"]["completion_tokens"] for one in found["exams"]["invented"].values())
    with Store(invented) as store:
        ((tokens, exams),) = store.query(
            "SELECT sum(completion_tokens) FILTER (WHERE stage IN ('invent', 'agree')), "
            "sum(completion_tokens) FILTER (WHERE stage = 'exam') FROM result"
        )
    assert written == tokens
    methods = found["methods"]
    assert methods["m1_max"]["completion_tokens"] == methods["sc"]["completion_tokens"] + written + int(str(exams))


def test_the_monitor_counts_the_exams_of_problems_with_fewer_exam_problems(invented: Path) -> None:
    follower = look(invented)
    assert follower.totals["invent"] == 24
    assert not any(follower.waiting.values())
    assert all(row.exams == row.exams_total for row in follower.lessons.values())


def test_a_replay_needs_no_model_and_with_fewer_exam_problems_takes_the_first(invented: Path) -> None:
    before = summary(invented)
    same = json.loads(classes.say("replay", invented, "--json"))
    assert same["methods"] == before["methods"] and same["replay"]["never_asked"] == {}
    fewer = json.loads(classes.say("replay", invented, "--set", "exam.problems=1", "--json"))
    for tp, one in fewer["exams"]["invented"].items():
        assert one["problems"] == before["exams"]["invented"][tp]["problems"][:1]
    refused = classes.say("replay", invented, "--set", "exam.invent.answers=3", code=2)
    assert "this would be another class" in refused


@pytest.mark.parametrize("stage", ["invent", "agree"])
def test_a_class_killed_while_problems_are_written_comes_to_the_same(
    tmp_path: Path, invented: Path, stage: str
) -> None:
    out = tmp_path / "run"
    process = classes.start(out, *INVENTED, SLOW)

    def under_way() -> bool:
        if not classes.results(out):
            return False
        with Store(out) as store:
            return bool(store.query("SELECT 1 FROM result WHERE stage = ?", stage))

    classes.wait_until(process, under_way)
    process.kill()
    process.communicate()
    with Store(out) as store:
        assert not store.query("SELECT 1 FROM result WHERE stage = 'exam'")
    assert "Exam problems" not in classes.say("report", out)
    assert "the figures cover 0 of 4 teaching problems" in " ".join(classes.say("report", out).split())
    shown = classes.say("show", out, "4")
    assert "near enough" not in shown and "It has no rationales yet." in shown and "REPEAT" not in shown
    assert all(one["writing"] for one in listing(out)) and "due)" not in classes.say("show", out)
    classes.finish(classes.resume(out, "teacher.engine_args.tokens_per_second=4000"))
    assert classes.gradebook(out) == classes.gradebook(invented)
    assert summary(out)["exams"] == summary(invented)["exams"]
    assert look(out).totals == look(invented).totals


def test_a_writer_that_answers_nothing_leaves_every_choice_to_votes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = " ".join(classes.finish(classes.start(out, *INVENTED, *WRITES_NOTHING), code=3).split())
    found = summary(out)
    assert found["counts"]["problems_without_exams"] == 4 and found["counts"]["exam_answers"] == 0
    assert all(one["unusable"] == 6 and not one["problems"] for one in found["exams"]["invented"].values())
    assert found["methods"]["sc"]["n"] == 4 and found["methods"]["m1_max"]["n"] == 0, "M1 has no figure without exams"
    assert all(one["chosen"]["MAX"] == one["chosen"]["SC"] for one in listing(out))
    assert "4 problems without any: SC chooses there" in said
    assert "weak: of 24 invented exam problems, 24 were empty" in said
    shown = " ".join(classes.say("show", out, "1").split())
    assert "No usable exam problem of written by weak: 6, of which 6 empty" in shown


def test_a_class_can_grow_by_problems_and_by_candidates(tmp_path: Path) -> None:
    out = tmp_path / "run"
    classes.finish(classes.start(out, "task.problems=2", "exam.maker=invented"))
    before, few = classes.gradebook(out), summary(out)["exams"]["invented"]
    classes.finish(classes.extend(out, "task.problems=3", "exam.invent.candidates=8"))
    assert before < classes.gradebook(out)
    after = summary(out)["exams"]["invented"]
    assert len(after) == 3
    for tp, one in few.items():
        problems = one["problems"]
        assert after[tp]["candidates"] == 8 and after[tp]["problems"][: len(problems)] == problems


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("level=[1, 2]",), "invented goes with level 1 alone"),
        (("exam.score=logprob",), "logprob reads worked solutions"),
        (("exam.problems=7",), "6 are fewer than the 7 of exam.problems"),
        (("exam.invent.by=nobody",), "no agent is called 'nobody'; there are teacher, weak, average, strong"),
        (("lesson.sampling.temperature=0", "lesson.rationales=1"), "lesson.sampling always draws the same text"),
        (("exam.abstain_below=0.5",), "is for exam.maker: retrieval, not invented"),
    ],
)
def test_what_does_not_go_with_invented_problems_is_refused(overrides: tuple[str, ...], why: str) -> None:
    said = classes.say("plan", classes.SMOKE, *classes.sets(*INVENTED, *overrides), code=2)
    assert why in " ".join(said.split())


def test_entries_of_invented_problems_are_refused_elsewhere_and_so_are_code_problems(tmp_path: Path) -> None:
    said = classes.say("plan", classes.SMOKE, *classes.sets("exam.invent.answers=9"), code=2)
    assert "exam.invent.answers: is for exam.maker: invented, not variants" in " ".join(said.split())
    said = classes.say("plan", "scenarios/code.yaml", *classes.sets("exam.maker=invented"), code=2)
    assert "programs have no answer to agree on" in " ".join(said.split())
    lines = [json.dumps({"question": f"Is {n} even?", "answer": "Yes"}) for n in range(8)]
    (tmp_path / "yes.jsonl").write_text("\n".join(lines))
    task = f"task={{file: {tmp_path}/yes.jsonl, problems: 2}}"
    said = classes.say("plan", classes.SMOKE, *classes.sets("exam.maker=invented", task), code=2)
    assert "agreement says little" in " ".join(said.split())
