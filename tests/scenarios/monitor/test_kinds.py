"""Large classes in the monitor: a row and a column for each kind of student."""

from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from broker.protocol import Gauges, PeerGauge
from scenarios.config import load
from scenarios.config.schema import Agent, Scenario
from scenarios.monitor.kinds import MOST, kinds
from scenarios.monitor.reader import Reader
from scenarios.monitor.view import view
from scenarios.store.sqlite import Store
from tests.scenarios.monitor.monitored import scenario
from tests.scenarios.report.page.played import play


def of(*students: Agent) -> Scenario:
    return replace(scenario(), students=students)


def simulated(name: str, **more: object) -> Agent:
    return Agent(name=name, engine="simulated", **more)  # type: ignore[arg-type]


def test_students_of_a_usual_class_are_themselves() -> None:
    students = [simulated(f"s{n}") for n in range(MOST)]
    assert kinds(of(*students)) == {name: name for name in ("teacher", *(one.name for one in students))}


def test_students_with_the_same_settings_are_one_kind() -> None:
    strong = [simulated(f"a{n}", engine_args={"ability": 1.0}) for n in range(20)]
    weak = [simulated(f"b{n}", engine_args={"ability": -1.0}) for n in range(20)]
    alone = simulated("c", persona="terse")
    found = kinds(of(*strong, *weak, alone))
    assert set(found.values()) == {"teacher", "a0 and 19 more", "b0 and 19 more", "c"}
    assert found["a7"] == "a0 and 19 more"


def test_students_of_too_many_kinds_are_grouped_by_less() -> None:
    differ = [simulated(f"s{n}", engine_args={"ability": n / 100}) for n in range(100)]
    assert set(kinds(of(*differ)).values()) == {"teacher", "s0 and 99 more"}
    personas = [simulated(f"s{n}", persona=str(n)) for n in range(50)]
    models = [Agent(name=f"m{n}", model="a model") for n in range(50)]
    assert set(kinds(of(*personas, *models)).values()) == {"teacher", "s0 and 49 more", "m0 and 49 more"}
    many = [Agent(name=f"m{n}", model=f"model {n}") for n in range(50)]
    assert set(kinds(of(*many)).values()) == {"teacher", "m0 and 49 more"}


def test_the_picture_of_a_large_class_adds_up_its_kinds(tmp_path: Path) -> None:
    folder = play(tmp_path / "run", "students.0.copies=40", "task.problems=1", "lesson.rationales=2", ending="running")
    described = load.read(folder.scenario_file)
    peers = tuple(
        PeerGauge(
            name=name, role="student", pool=name, model="", engine="simulated", device="", state=state, credit=8,
            leases=3, finished=0, prompt_tokens=100, cached_tokens=50, completion_tokens=10, memory_mb=1.0,
        )
        for name, state in (("weak", "ready"), ("average", "loading"), ("strong", "ready"))
    )  # fmt: skip
    gauges = Gauges(epoch="e", peers=peers, queues={"weak": 5, "strong": 2})
    with Store(folder.path) as store:
        reader = Reader(store, described)
        reader.catch_up()
        shown = reader.snapshot(gauges, now=datetime.now(UTC), clock=1.0, running=True)
        exams = store.query("SELECT count(*) FROM result WHERE stage = 'exam' AND agent LIKE 'weak-%'")[0][0]
    kind = "weak-1 and 39 more"
    assert shown.students == (kind, "average", "strong")
    rows = {row.name: row for row in shown.agents}
    assert set(rows) == {"teacher", kind, "average", "strong"}
    assert (rows[kind].done, rows[kind].queue, rows[kind].leases, rows[kind].state) == (exams, 5, 3, "ready")
    assert rows["average"].state == "loading"
    assert {row.name: row.n for row in shown.standing.students}[kind] == exams
    assert kind in "\n".join(line.text if hasattr(line, "text") else str(line) for line in view(shown, 160, 40).lines)
