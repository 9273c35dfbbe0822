from msgspec.structs import replace

from broker.protocol import digest
from broker.work_messages import Sampling
from scenarios.config.schema import Agent, StudentSampling
from scenarios.levels.asker import Asker
from scenarios.levels.base import Request, Setup
from scenarios.tasks.problems import Bank
from tests.scenarios.levels.played import small_scenario

SCENARIO = small_scenario(("ada", "bob", "cy"))
ANSWERERS = {"teacher": "t", "ada": "same", "bob": "other", "cy": "same"}


def asker(retried: frozenset[str] = frozenset(), weights: str = "") -> Asker:
    return Asker(Setup(SCENARIO, Bank("made up", (), ()), ANSWERERS, retried, weights))


def exam(one: Asker, student: str, *, shared: bool = False, step: int = 2) -> Request:
    key = one.key("Examine", student, "the problem")
    return one.request("Examine", student, "exam", Sampling(), key, ep="ep", step=step, shared=shared)


def test_identical_students_take_different_repeats_of_one_question() -> None:
    one = asker()
    assert [one.identical(student) for student in ("ada", "bob", "cy")] == [2, 1, 2]
    assert one.largest_group == 2
    assert [exam(one, student).repeat for student in ("ada", "bob", "cy")] == [0, 0, 1]
    assert len({exam(one, student).id for student in ("ada", "bob", "cy")}) == 3


def test_identical_students_share_a_request_where_one_answer_serves_all() -> None:
    one = asker()
    assert exam(one, "ada", shared=True).id == exam(one, "cy", shared=True).id


def test_students_with_different_sampling_are_not_identical_except_where_it_decides_nothing() -> None:
    warm = Agent(name="cy", sampling=StudentSampling(temperature=1.5))
    same = Agent(name="bob", sampling=StudentSampling(top_k=SCENARIO.exam.sampling.top_k))
    setup = Setup(
        replace(SCENARIO, students=(Agent(name="ada"), same, warm)),
        Bank("made up", (), ()),
        dict.fromkeys(("teacher", "ada", "bob", "cy"), "same"),
    )
    exams, others = Asker(setup), Asker(setup, own_sampling=False)
    assert [exams.identical(student) for student in ("ada", "bob", "cy")] == [2, 2, 1]
    assert [exam(exams, student).repeat for student in ("ada", "bob", "cy")] == [0, 1, 0]
    assert [exam(others, student).repeat for student in ("ada", "bob", "cy")] == [0, 1, 2]


def test_an_id_is_a_digest_of_the_key_and_the_repeat_and_of_no_level_round_or_stage() -> None:
    one, other = asker(), Asker(Setup(SCENARIO, Bank("made up", (), ()), ANSWERERS), level=3)
    key = one.key("Examine", "ada", "the problem")
    first = one.request("Examine", "ada", "exam", Sampling(), key)
    second = other.request("Examine", "ada", "probe", Sampling(), key, round=2)
    assert first.id == second.id == digest(key, 0)
    assert (second.level, second.round, second.stage) == (3, 2, "probe")


def test_a_retried_request_takes_the_next_repeat_that_is_its_own() -> None:
    failed = exam(asker(), "ada")
    again = exam(asker(frozenset({failed.id})), "ada")
    assert again.repeat == 2, "repeat 1 is that of cy"
    assert exam(asker(frozenset({failed.id, again.id})), "ada").repeat == 4


def test_trained_weights_are_part_of_the_teachers_requests_alone() -> None:
    before, after = asker(), asker(weights="new")
    assert before.key("Teach", "teacher") != after.key("Teach", "teacher")
    assert before.key("Examine", "ada") == after.key("Examine", "ada")
    assert after.request("Teach", "teacher", "teach", Sampling(), "key").weights == "new"
    assert exam(after, "ada").weights == ""
