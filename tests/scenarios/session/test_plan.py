"""How much a class asks, in numbers and in words."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from broker.errors import TaskError
from scenarios.config.load import read
from scenarios.config.schema import Scenario
from scenarios.session.plan import PlanRow, order, tables, to_dict
from scenarios.session.request_counts import AgentWork, Counts, agent_work, count, counts
from scenarios.session.run_dir import RunFolder
from scenarios.session.seating import grouped
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from tests.printing import printed
from tests.scenarios.levels.iterated import Played, level
from tests.scenarios.levels.iterated import scenario as iterated_scenario

FOLDER = Path(__file__).parents[3] / "scenarios"
PAPER = ["task.problems=181", "lesson.rationales=256", "exam.problems=3", "exam.repeats=3"]
ROWS = [
    PlanRow(
        name="teacher", role="teacher", model="m", size="1.3 GB", engine="transformers", device="GPU 0", why="free",
        weights_mb=1300, cache_mb=9400, engine_mb=1400, memory_share=0.48,
    ),
    PlanRow(name="tiny", role="student", model="[m]", size="", engine="simulated", device="CPU, 1 thread", why=""),
]  # fmt: skip


def scenario(*overrides: str, name: str = "single_student") -> Scenario:
    return read(FOLDER / f"{name}.yaml", overrides)


def test_the_papers_class_asks_what_the_paper_says() -> None:
    plan = count(scenario(*PAPER), 100)
    assert (plan.teaching_problems, plan.teaching_rationales, plan.exam_answers) == (181, 46_336, 417_024)
    assert (plan.greedy, plan.requests) == (181, 181 + 46_336 + 417_024)


def test_a_plan_has_the_cost_of_its_tokens_where_an_agent_has_prices() -> None:
    prices = "engine_args={price_per_million_prompt: 2, price_per_million_completion: 8}"
    assert count(scenario(), 100).cost is None
    every = count(scenario(f"teacher.{prices}", f"students.0.{prices}"), 100)
    assert every.cost == pytest.approx((2 * every.prompt_tokens + 8 * every.completion_tokens) / 1e6)
    teacher, student = (count(scenario(f"{agent}.{prices}"), 100).cost for agent in ("teacher", "students.0"))
    assert teacher and student and teacher + student == pytest.approx(every.cost)
    sets = count(scenario(f"teacher.{prices}", name="iterate"), 50, train=40, held_out=20, item_tokens=50)
    assert sets.cost == pytest.approx((2 * sets.prompt_tokens + 8 * sets.completion_tokens) / 1e6)
    text = printed(tables(scenario(), every, ROWS))
    assert re.search(rf"cost +{every.cost:.3g} +at most, estimated", text)


def test_every_student_takes_every_exam() -> None:
    one, three = scenario(*PAPER), scenario(*PAPER, name="multi_student")
    assert count(three, 100).exam_answers == 3 * count(one, 100).exam_answers
    assert count(three, 100).teaching_rationales == count(one, 100).teaching_rationales


def test_without_the_greedy_baseline_nothing_greedy_is_asked() -> None:
    assert count(scenario("lesson.greedy=false"), 100).greedy == 0
    assert "greedy" not in " ".join(order(scenario("lesson.greedy=false"), counts(scenario("lesson.greedy=false"))))


def test_prompt_tokens_grow_with_the_text_before_the_question() -> None:
    few = count(scenario("task.demonstrations=0"), 100)
    for other in (
        count(scenario("task.demonstrations=1"), 100),
        count(scenario("task.demonstrations=0"), 101),
        count(scenario("task.demonstrations=0", "students.0.persona=You are kind."), 100),
        count(scenario("task.demonstrations=0", "teacher.persona=You are kind."), 100),
    ):
        assert other.prompt_tokens > few.prompt_tokens
        assert other.completion_tokens == few.completion_tokens


def test_completions_are_at_most_as_long_as_their_sampling_lets_them_be() -> None:
    small = scenario("task.problems=1", "lesson.rationales=2", "exam.problems=1", "lesson.sampling.max_tokens=10")
    assert count(small, 100).completion_tokens == 3 * 10 + 2 * 120


def asked_of(agent: str, *overrides: str, name: str = "multi_student") -> AgentWork:
    return agent_work(scenario(*overrides, name=name), 50)[agent]


def test_the_requests_of_the_agents_add_up_to_all_requests() -> None:
    small = ["task.problems=4", "lesson.rationales=5", "exam.problems=2", "exam.repeats=1"]
    three = scenario(*small, name="multi_student")
    each = agent_work(three, 50)
    assert [each[agent.name].requests for agent in three.agents] == [4 + 4 * 5, 4 * 5 * 2, 4 * 5 * 2, 4 * 5 * 2]
    assert sum(one.requests for one in each.values()) == count(three, 50).requests


@pytest.mark.parametrize("agent", ["teacher", "peer"])
def test_the_longest_request_grows_with_each_of_its_parts(agent: str) -> None:
    plain = asked_of(agent).tokens
    longer = [asked_of(agent, f"{section}.sampling.max_tokens=220").tokens - plain for section in ("lesson", "exam")]
    assert longer == ([100, 0] if agent == "teacher" else [100, 100])
    assert agent_work(scenario(name="multi_student"), 150)[agent].tokens - plain == (100 if agent == "teacher" else 200)
    section = "teacher" if agent == "teacher" else "students.0"
    assert asked_of(agent, f"{section}.persona=You are kind.").tokens == plain + 4
    assert asked_of(agent, "task.demonstrations=0").tokens < plain
    assert asked_of(agent, "exam.questions=1").tokens > plain


def test_a_run_that_is_resumed_knows_how_long_its_problems_are(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.problem_tokens() == 0
    folder.make()
    folder.keep(scenario())
    with Store(folder.path, write=True) as store:
        assert folder.problem_tokens() == 0
        problems = tuple(Problem(str(n), "x" * n, "1", "number") for n in (4, 400, 8, 4000, 12))
        store.keep_bank(Bank("", (ProblemGroup(problems[0], problems[1:]),), ()))
    assert folder.problem_tokens() == 3


def test_sets_of_exemplars_make_requests_longer() -> None:
    few, many = (asked_of("teacher", f"iterate.exemplars={n}", name="iterate").tokens for n in (4, 8))
    assert many > few
    assert asked_of("teacher", name="iterate").requests == 0  # how many there will be is not counted


def test_a_task_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(TaskError):
        counts(scenario("task.family=no_such_family"))


def test_the_plan_for_programs_is_json() -> None:
    plan = json.loads(json.dumps(to_dict(scenario(), count(scenario(), 100), ROWS)))
    assert plan["scenario"] == "single_student"
    assert set(plan["counts"]) == set(Counts.__struct_fields__)
    assert [agent["device"] for agent in plan["agents"]] == ["GPU 0", "CPU, 1 thread"]
    assert len(plan["order"]) == 4


@pytest.mark.parametrize("width", [80, 140])
def test_the_plan_for_people_shows_counts_seats_and_order(width: int) -> None:
    text = printed(tables(scenario(*PAPER), count(scenario(*PAPER), 100), ROWS), width=width)
    for shown in ("46,336", "417,024", "at most", "GPU 0", "[m]", "CPU, 1 thread", "teacher: free", "256 times"):
        assert shown in text
    (memory,) = (line.split() for line in text.splitlines() if "48 %" in line)
    assert memory == ["teacher", "1.3", "9.4", "1.4", "12.1", "48", "%"]
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_reason_that_agents_share_is_printed_once() -> None:
    rows = [PlanRow(**{**to_dict(scenario(), counts(scenario()), ROWS)["agents"][0], "name": name}) for name in "ab"]
    text = printed(tables(scenario(), counts(scenario()), rows))
    assert "a, b: free" in text


def test_agents_that_are_alike_share_a_row_in_a_large_class_alone() -> None:
    rows = [*ROWS, *(msgspec.structs.replace(ROWS[1], name=f"tiny-{number}") for number in range(2, 25))]
    assert [row.name for row in grouped(rows)] == ["teacher", "tiny and 23 more"]
    assert grouped(rows[:24]) == rows[:24]


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from scenarios.config.load import read; "
        "from scenarios.session.request_counts import counts; "
        f"counts(read(Path({str(FOLDER / 'multi_student.yaml')!r}))); "
        "print([m for m in ('torch', 'transformers', 'scipy', 'math_verify', 'sympy', 'zmq') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_with_logprob_each_student_grades_each_exam_problem_once_per_rationale() -> None:
    sizes = ["task.problems=4", "lesson.rationales=5", "exam.problems=3", "exam.repeats=2"]
    plain, dense = (
        count(scenario(*sizes, f"exam.score={s}", name="multi_student"), 100) for s in ("accuracy", "logprob")
    )
    assert (plain.grades, dense.grades) == (0, 3 * 4 * 5 * 3)
    assert dense.requests == plain.requests + dense.grades
    assert dense.exam_answers == plain.exam_answers
    assert dense.prompt_tokens > plain.prompt_tokens
    assert dense.completion_tokens == plain.completion_tokens
    steps = " ".join(order(scenario("exam.score=logprob"), counts(scenario("exam.score=logprob"))))
    assert "how likely" in steps and "how likely" not in " ".join(order(scenario(), counts(scenario())))
    text = printed(tables(scenario("exam.score=logprob"), dense, ROWS), width=100)
    assert "solutions graded" in text


def test_best_of_n_trains_on_one_rationale_of_a_problem_at_most() -> None:
    sft, dpo = (scenario(f"learn.training.method={method}", name="smoke_learn") for method in ("sft", "dpo"))
    assert (count(sft, 100).pairs, count(dpo, 100).pairs) == (8, 64)
    assert "best rationale" in " ".join(order(sft, counts(sft))) and "make pairs" in " ".join(order(dpo, counts(dpo)))
    text = printed(tables(sft, count(sft, 100), ROWS))
    assert "best rationales in each" in text and "pairs" not in text


def test_a_class_of_level_3_counts_sets_reflections_and_the_teachers_own_answers() -> None:
    plan = counts(scenario(name="smoke_iterate"))
    assert (plan.teaching_problems, plan.greedy) == (0, 0)
    assert min(plan.exam_answers, plan.reflections, plan.revisions, plan.own_answers, plan.held_out_answers) > 0
    assert "exemplars" in " ".join(order(scenario(name="smoke_iterate"), counts(scenario(name="smoke_iterate"))))
    text = printed(tables(scenario(name="smoke_iterate"), plan, ROWS))
    assert "sets of exemplars written" in text
    assert "greedy answers" not in text


def test_level_3_asks_at_most_what_its_plan_says() -> None:
    played = Played(level(iterated_scenario(baselines=("random", "self", "search"), repeats=2)))
    plan = count(iterated_scenario(baselines=("random", "self", "search"), repeats=2), 0, 16, 10, 20)
    asked = Counter(request.stage for request in played.asked.values())
    assert asked["exam"] <= plan.exam_answers
    assert asked["reflect"] <= plan.reflections
    assert asked["write"] <= plan.revisions
    assert asked["score"] <= plan.own_answers
    assert asked["test"] <= plan.held_out_answers


def test_sentences_use_the_numbers_of_the_table() -> None:
    small = scenario(
        "iterate.task.train=4", "iterate.exemplars=2", "students=[{name: ada}]", "iterate.beam=1", name="smoke_iterate"
    )
    found = counts(small)
    steps = " ".join(order(small, found))
    assert "ada answers 4 training items with each set" in steps
    assert "teacher answers 4 training items with every set; the best is kept." in steps
    assert found.exam_answers % 4 == 0
    learning = scenario("lesson.rationales=3", name="smoke_learn")
    found = counts(learning)
    assert f"at most {found.pairs // found.teaching_problems} per problem" in " ".join(order(learning, found))
    rewriting = scenario("iterate.beam=9", "iterate.originals=2", name="smoke_rewrite")
    assert "Of the first 2 rationales of a problem teacher rewrites the best 2" in " ".join(
        order(rewriting, counts(rewriting))
    )


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_plan_shows_every_agent_and_figure(width: int) -> None:
    described = scenario("students=[{name: a-student-with-a-name}]", name="smoke_learn")
    rows = [*ROWS, PlanRow(name="a-student-with-a-name", role="student", model="org/a-model-with-a-name", size="",
                       engine="simulated", device="CPU, 1 thread", why="")]  # fmt: skip
    text = printed(tables(described, counts(described), rows), width=width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    whole = "".join(text.split())
    for part in ("a-student-with-a-name", "org/a-model-with-a-name", "GPU0", "12.1", "48%", "atmost,estimated"):
        assert part in whole, text


@pytest.mark.parametrize(
    ("exam", "words"),
    [
        ({"maker": "fixed"}, "all with the same 2 exam problems of the others"),
        ({"maker": "retrieval"}, "each with 2 exam problems, the nearest of the others by wordllama"),
        ({"maker": "retrieval", "bank": "/some/bank.jsonl"}, "the nearest of bank.jsonl by wordllama"),
        ({"maker": "retrieval", "abstain_below": 0.5}, "less similar than 0.5, the problem has no exams"),
    ],
)
def test_the_plan_says_where_exam_problems_come_from(exam: dict[str, object], words: str) -> None:
    one = scenario("exam.problems=2", *(f"exam.{key}={value}" for key, value in exam.items()))
    assert words in " ".join(order(one, count(one, 50)))


def test_the_plan_says_that_fewer_exams_are_at_most_so_many() -> None:
    for how, worse in (("lossless", False), ("halving", True)):
        described = scenario(*PAPER, f"exam.allocation={how}")
        steps = order(described, count(described, 100))
        (step,) = (step for step in steps if "These are at most" in step)
        assert "417,024 exams" in step
        assert ("confidence bounds" in step) == worse
        assert not any(step.startswith("As soon as") for step in steps)


def test_baselines_are_asked_as_often_as_one_students_exams_under_a_rationale() -> None:
    wanted = "baselines=[students_alone, self_evaluation, universal]"
    plain, dear = count(scenario(*PAPER), 100), count(scenario(*PAPER, wanted), 100)
    assert (dear.alone_answers, dear.judgements) == (181 * 9, 181 * (256 * 9 + 1))
    assert dear.requests == plain.requests + dear.alone_answers + dear.judgements
    said = " ".join(order(scenario(wanted), counts(scenario(wanted))))
    assert "self-evaluation" in said and "universal SC" in said and "Without a rationale" in said
