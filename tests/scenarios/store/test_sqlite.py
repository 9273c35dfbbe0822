import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.errors import StoreError
from broker.work_messages import Exemplar
from scenarios.records.observe import ExamAnswer, Rationale
from scenarios.scoring.lbt import lbt_score
from scenarios.session.run_dir import RunFolder
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Problem, ProblemGroup


def teach(id: str, text: str = "text", repeat: int = 0, **more: object) -> Record:
    values = {"answer": "1", "correct": True, "stage": "teach", **more}
    return Record(request_id=id, kind="Teach", agent="teacher", tp="tp", repeat=repeat, text=text, **values)  # type: ignore[arg-type]


def exam(id: str, tr: str, correct: bool, student: str = "ada") -> Record:
    return Record(
        request_id=id, kind="Examine", agent=student, stage="exam", tp="tp", tr=tr, ep="ep", text=id, answer="1",
        correct=correct,
    )  # fmt: skip


SLOTS = [(student, ep, repeat) for student in ("ada", "bob") for ep in ("ep0", "ep1") for repeat in (0, 1)]


def record(store: Store, *records: Record) -> int:
    return store.record(records, grader="lbt", version="1")


def test_a_second_result_of_a_request_is_dropped(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        assert record(store, teach("a", "first")) == 1
        assert record(store, teach("a", "second"), teach("b")) == 1
        assert [(r.request_id, r.text) for r in store.results()] == [("a", "first"), ("b", "text")]


@given(st.lists(st.lists(st.sampled_from("abcdefg"), max_size=5), max_size=8))
def test_whatever_arrives_how_often_each_request_is_there_once(groups: list[list[str]]) -> None:
    with TemporaryDirectory() as folder, Store(Path(folder), write=True) as store:
        new = sum(record(store, *(teach(id) for id in group)) for group in groups)
        assert new == len({id for group in groups for id in group}) == len(list(store.results()))


@pytest.mark.parametrize("broken", [{"seconds": float("nan")}, {"text": None}, {"finish_reason": None}])
def test_a_row_that_is_incomplete_is_an_error_and_no_silent_loss(broken: dict[str, object], tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
            record(store, teach("a"), teach("b", **broken))  # type: ignore[arg-type]
        assert list(store.results()) == []


def test_what_is_recorded_comes_back_as_it_was(tmp_path: Path) -> None:
    hostile = "'; DROP TABLE result; -- \x00 \u2603 \x1b[31m"
    records = [teach("a", hostile, completion_tokens=7, seconds=0.5), teach("b", failed="engine", correct=None)]
    with Store(tmp_path, write=True) as store:
        record(store, *records)
    with Store(tmp_path) as store:
        assert list(store.results()) == records
        assert store.find("a") == records[0]
        assert store.find("nobody") is None
        assert store.find_all(["b", "nobody", "a"]) == {"a": records[0], "b": records[1]}


def test_a_second_writer_is_refused_and_a_dead_one_holds_no_lock(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from scenarios.store.sqlite import Store\n"
        "store = Store(Path(sys.argv[1]), write=True); print('held', flush=True); input()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with owner:
        assert owner.stdout and owner.stdout.readline() == b"held\n"
        with pytest.raises(
            StoreError, match=r"another run\.py is at work on this class; python run\.py watch .+ shows it"
        ):
            Store(tmp_path, write=True)
        owner.kill()
    with Store(tmp_path, write=True) as store:
        record(store, teach("a"))


def test_a_process_that_dies_while_it_makes_the_gradebook_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # As after SIGKILL: nothing is renamed and nothing is removed.
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            Store(tmp_path, write=True)
    assert not (tmp_path / "class.db").exists()
    RunFolder(tmp_path).make()  # nothing in it is in the way of a class
    with Store(tmp_path, write=True) as store:
        record(store, teach("a"))


def test_an_empty_gradebook_of_an_earlier_version_is_called_so(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "class.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
    with pytest.raises(StoreError, match="is empty: its class did not begin"):
        Store(tmp_path)


def test_a_gradebook_of_another_version_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, write=True).close()
    with sqlite3.connect(tmp_path / "class.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="version 99; this program reads version 2"):
        Store(tmp_path)


def test_a_file_that_is_no_gradebook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "class.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path)
    with pytest.raises(StoreError, match=r"holds no class\.db"):
        Store(tmp_path / "nowhere")


def test_only_an_agent_without_answers_may_become_another_answerer(tmp_path: Path) -> None:
    before = {"teacher": "t", "twin": "t", "ada": "a"}
    with Store(tmp_path, write=True) as store:
        store.keep_answerers(before)
        store.keep_answerers(before | {"teacher": "u", "twin": "u"})
        store.keep_answerers(before)
        record(store, teach("1"))
        assert store.answered() == {"teacher", "twin"}  # an answer of one is an answer of the other
        store.keep_answerers(before | {"ada": "b"})
        for name in ("teacher", "twin"):
            with pytest.raises(StoreError, match=rf"(?s){name} would answer otherwise.*Start a new class"):
                store.keep_answerers(before | {"ada": "b", name: "c"})
        assert store.answerers() == before | {"ada": "b"}


def test_a_full_disk_keeps_what_was_committed_and_nothing_of_the_group_that_failed(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(store, teach("a"))
        (pages,) = store.query("PRAGMA page_count")[0]
        store.query(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            record(store, *(teach(f"b{n}", "x" * 5000) for n in range(50)))
        assert [r.request_id for r in store.results()] == ["a"]
        assert store.find("b0") is None
        store.query("PRAGMA max_page_count = 1000000")
        assert record(store, teach("b")) == 1


def test_a_writer_knows_when_its_file_was_moved_removed_or_replaced(tmp_path: Path) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    run.mkdir()
    with Store(run, write=True) as store:
        assert store.misplaced == "" and store.folder == run
        run.rename(moved)
        if sys.platform == "linux":
            assert store.misplaced == f"{run} was moved to {moved} while the class ran" and store.folder == moved
        moved.rename(run)
        assert store.misplaced == ""
        (run / "class.db").rename(run / "elsewhere.db")
        (run / "class.db").write_bytes((run / "elsewhere.db").read_bytes())
        assert store.misplaced == f"{run / 'class.db'} was removed, moved or replaced while the class ran"
        (run / "class.db").unlink()
        assert store.misplaced and store.folder == run


def test_the_lbt_score_of_identical_rationales_is_the_same(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(
            store, teach("t1", "same"), teach("t2", "same", repeat=1), teach("t3", "other", repeat=2),
            exam("e1", "t1", True), exam("e2", "t1", False), exam("e3", "t3", True),
        )  # fmt: skip
        assert sorted(store.query("SELECT tr, student, score, n FROM lbt_score")) == [
            ("t1", "ada", 0.5, 2), ("t2", "ada", 0.5, 2), ("t3", "ada", 1.0, 1),
        ]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("abc"), st.dictionaries(st.sampled_from(SLOTS), st.booleans())), max_size=6))
def test_the_view_lbt_score_is_the_lbt_score_of_each_student(
    rows: list[tuple[str, dict[tuple[str, str, int], bool]]],
) -> None:
    examined: dict[str, tuple[ExamAnswer, ...]] = {}
    expected = []
    with TemporaryDirectory() as folder, Store(Path(folder), write=True) as store:
        for number, (text, marks) in enumerate(rows):
            tr = f"tr{number}"
            record(store, teach(tr, text, repeat=number))
            if text not in examined:  # identical rationales share the exams of the first
                examined[text] = tuple(ExamAnswer(*slot, right) for slot, right in marks.items())
                for n, one in enumerate(examined[text]):
                    record(
                        store, replace(exam(f"{tr}-{n}", tr, one.correct, one.student), ep=one.ep, repeat=one.repeat)
                    )
            rationale = Rationale(tr, number, "1", True, 0, examined[text])
            for name in sorted({one.student for one in examined[text]}):
                n = sum(one.student == name for one in examined[text])
                expected.append((tr, name, float(lbt_score(rationale, [name], "answers")), n))
        assert store.query("SELECT tr, student, score, n FROM lbt_score ORDER BY tr, student") == expected


def test_exams_count_for_a_rationale_that_was_written_before_to_measure_its_teacher(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(store, teach("probe", "same", stage="probe"), teach("t1", "same"), exam("e1", "probe", True))
        assert store.query("SELECT tr, student, score, n FROM lbt_score") == [("t1", "ada", 1.0, 1)]


def test_a_better_grade_replaces_the_earlier_one_in_the_views(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        store.record([teach("a", correct=False)], grader="lbt", version="1")
        store.record([teach("a", correct=True)], grader="other", version="1")
        assert store.query("SELECT correct FROM teaching_rationale") == [(1,)]
        assert [r.correct for r in store.results()] == [True]


def test_the_problems_of_a_class_are_kept(tmp_path: Path) -> None:
    problems = [Problem(f"p{n}", f"text {n}", str(n), "number") for n in range(6)]
    bank = Bank(
        "made up",
        tuple(ProblemGroup(problems[n], tuple(problems[n + 1 : n + 3])) for n in (3, 0)),
        (Exemplar("1 + 1?", "2"), Exemplar("2 + 2?", "4")),
    )
    with Store(tmp_path, write=True) as store:
        assert store.bank() is None
        store.keep_bank(bank)
    with Store(tmp_path) as store:
        assert store.bank() == bank


def test_events_come_back_in_order(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        for kind in ("started", "joined", "lost"):
            store.note("ada", kind, "why")
        assert [e.kind for e in store.events()] == ["started", "joined", "lost"]
        assert [e.kind for e in store.events(after=1, kinds=["lost"])] == ["lost"]


def test_a_writer_finds_what_was_there_before_and_what_it_records(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(store, teach("a"))
    with Store(tmp_path, write=True) as store, Store(tmp_path) as reader:
        assert store.find("b") is None
        record(store, teach("b"))
        assert [store.find(id) for id in "abc"] == [reader.find(id) for id in "abc"] == [teach("a"), teach("b"), None]


def test_what_was_asked_about_identical_rationales_names_the_first_by_repeat_whoever_came_first(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(store, teach("late", "same", repeat=2), exam("e1", "late", True), teach("g", "same", stage="greedy"))
        record(store, teach("first", "same", repeat=1), teach("other", "else"), exam("e2", "other", True))
        record(store, teach("probe", "else", stage="probe"), exam("e3", "probe", False, "bob"))
        before = store.query("SELECT tr, student, score FROM lbt_score ORDER BY 1, 2")
        store.name_first_twins()
        assert {r.request_id: r.tr for r in store.results() if r.tr} == {"e1": "first", "e2": "other", "e3": "other"}
        assert store.query("SELECT tr, student, score FROM lbt_score ORDER BY 1, 2") == before


def test_it_is_known_how_a_text_was_drawn(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(store, teach("a", temperature=0.0), teach("b", temperature=0.7), teach("c"))
    with Store(tmp_path) as store:
        assert store.query("SELECT request_id, temperature FROM result ORDER BY 1") == [
            ("a", 0.0), ("b", 0.7), ("c", None),
        ]  # fmt: skip


def test_one_answer_may_serve_several_arms_runs_rounds_and_agents(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(store, exam("e", "set", True), exam("f", "set", False))
        wanted = [("e", "class", 0, 1, "ada", "exam"), ("e", "self", 0, 1, "teacher", "exam")]
        store.keep_asked(wanted)
        store.keep_asked([*wanted, ("f", "class", 1, 2, "ada", "exam")])
        assert store.query(
            "SELECT arm, run, round, agent, stage, exemplar_set, item, request_id, correct FROM set_answer "
            "ORDER BY 1, 2"
        ) == [
            ("class", 0, 1, "ada", "exam", "set", "ep", "e", 1),
            ("class", 1, 2, "ada", "exam", "set", "ep", "f", 0),
            ("self", 0, 1, "teacher", "exam", "set", "ep", "e", 1),
        ]


def group(tp: str, level: str) -> ProblemGroup:
    own = [Problem(id, f"{id}?", "1", "number", level=level, subject=level and "Algebra") for id in (tp, f"{tp}/ep1")]
    return ProblemGroup(own[0], (own[1],))


def test_a_gradebook_of_an_earlier_version_is_read_as_it_is_and_completed_when_it_is_written(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        record(store, teach("a"))
        store.keep_bank(Bank("file", (group("p1", "Level 1"),), ()))
    with closing(sqlite3.connect(tmp_path / "class.db")) as db:
        db.executescript("DROP VIEW set_answer; DROP TABLE asked; ALTER TABLE result DROP COLUMN temperature;")
        db.execute("ALTER TABLE result DROP COLUMN thought_tokens")
        for label in ("program", "subject", "level"):
            db.execute(f"ALTER TABLE problem DROP COLUMN {label}")
    with Store(tmp_path) as store:
        assert [(r.request_id, r.temperature, r.thought_tokens) for r in store.results()] == [("a", None, 0)]
        assert (store.column("thought_tokens"), store.column("text")) == ("0", "text")
        assert store.find("a") is not None
        old = store.bank()
        assert old == Bank("file", (group("p1", ""),), ())
        larger = Bank("file", (group("p1", "Level 1"), group("p2", "Level 2")), ())
        assert [item.tp.id for item in old.grown(larger).items] == ["p1", "p2"]
    with Store(tmp_path, write=True) as store:
        store.keep_bank(larger)
        assert store.bank() == Bank("file", (group("p1", ""), group("p2", "Level 2")), ())
        record(store, teach("b", temperature=0.5, thought_tokens=3))
        store.keep_asked([("b", "class", 0, 0, "teacher", "score")])
        found = [(r.request_id, r.temperature, r.thought_tokens) for r in store.results()]
        assert found == [("a", None, 0), ("b", 0.5, 3)]
