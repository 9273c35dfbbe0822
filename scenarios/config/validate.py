"""Checks of a scenario beyond the types and bounds of its entries: names, counts, entries that contradict each other.

`mistakes` takes a `Scenario` and yields errors, each with the key to change. scenarios/config/load.py adds the line.
"""

import difflib
import ipaddress
import re
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from broker.errors import Key, ScenarioError
from broker.protocol import LAST_PORT
from broker.work_messages import Sampling
from scenarios.config.elsewhere_rules import elsewhere_mistakes
from scenarios.config.iterate_schema import Iterate
from scenarios.config.maker_rules import maker_mistakes
from scenarios.config.schema import Agent, Scenario
from scenarios.config.yaml_tree import shown

MAX_STUDENTS = 1000
LONGEST_NAME = 32
RESERVED = ("classroom", "broker", "monitor")
ADDRESS = re.compile(r"tcp://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")

CANNOT_SCORE = {
    "openai": "a server does not tell how likely a given text is, which exam.score: logprob asks for",
    "external": "exam.score: logprob would send the gold solutions of its exams to a program of yours",
}
"""Engines of students that cannot be used with exam.score: logprob, with the reason."""

NO_STUDENTS = "is empty; a class needs at least one, except level 3 alone with iterate.itself: true"

PLAIN = re.compile(r"[\w*-]{1,40}")


class ScenarioMistake(ScenarioError):
    """A mistake at a key, without its line in the file."""

    def __init__(self, key: Key, message: str) -> None:
        super().__init__(message, key=key)


def dotted(key: Key) -> str:
    """A key as --set takes it: `students.0.persona`; steps that are not plain words are quoted."""
    return ".".join(str(step) if PLAIN.fullmatch(str(step)) else shown(step) for step in key)


def mistakes(scenario: Scenario) -> Iterator[ScenarioMistake]:
    """The mistakes in a scenario whose entries are each valid alone; its students are those of the file."""
    task, lesson, exam = scenario.task, scenario.lesson, scenario.exam
    if any(after <= before for before, after in pairwise(scenario.levels)):
        yield ScenarioMistake(
            ("level",), f"{list(scenario.levels)}: levels follow one another as 1, 2, 3, each at most once"
        )
    if 2 in scenario.levels:
        yield from _learn_mistakes(scenario)
    if scenario.name.endswith("\n"):
        yield ScenarioMistake(("name",), "ends in a line break")
    if scenario.solves and (task.family is None) == (task.file is None):
        yield ScenarioMistake(
            ("task",), f"needs either family or file, has {'neither' if task.file is None else 'both'}"
        )
    if not scenario.solves and not task.family is task.file is None:
        yield ScenarioMistake(
            ("task",), "is for levels 1 and 2; level 3 has its texts from iterate.task: take this one out"
        )
    if not scenario.students and (scenario.solves or not scenario.iterate.itself):
        yield ScenarioMistake(("students",), NO_STUDENTS)
    for section, name in (("task", "family"), ("task", "file"), ("task", "only"), ("learn", "held_out_file")):
        if getattr(getattr(scenario, section), name) == "":
            yield ScenarioMistake((section, name), "is empty; name one, or leave the key out")
    for name in ("only", "exam_files"):
        if getattr(task, name) and task.file is None:
            yield ScenarioMistake(("task", name), "is about the problems of task.file; give a file, or take this out")
    if "" in task.exam_files:
        yield ScenarioMistake(("task", "exam_files"), "has an empty name; take it out")
    if scenario.learn.held_out_file and not scenario.learn.held_out:
        yield ScenarioMistake(
            ("learn", "held_out"), "is 0, so learn.held_out_file has no use; ask for more, or take the file out"
        )
    if (n := sum(student.copies for student in scenario.students)) > MAX_STUDENTS:
        yield ScenarioMistake(("students",), f"{n:,} students; at most {MAX_STUDENTS:,} fit a class")
    keys: list[Key] = [("teacher",), *(("students", i) for i in range(len(scenario.students)))]
    taken: dict[str, Key] = {}
    for key, agent in zip(keys, (scenario.teacher, *scenario.students), strict=True):
        if agent.name in taken:
            yield ScenarioMistake(
                (*key, "name"), f"{agent.name!r} is taken by {dotted(taken[agent.name])}; give each agent its own name"
            )
        taken[agent.name] = key
        yield from _copies_mistakes(key, agent, scenario)
        if key == ("teacher",):
            yield from _agent_mistakes(key, agent, lesson.sampling, "lesson.sampling")
        else:
            of = "exam.sampling" if agent.sampling.max_tokens is None else f"{dotted(key)}.sampling"
            yield from _agent_mistakes(key, agent, scenario.sampling_of(agent), of)
        yield from _own_sampling_mistakes(key, agent, scenario)
        if exam.score == "logprob" and key != ("teacher",) and agent.engine in CANNOT_SCORE:
            message = f"{agent.engine}: {CANNOT_SCORE[agent.engine]}"
            yield ScenarioMistake((*key, "engine"), f"{message}; take vllm or transformers, or leave exam.score out")
    yield from _sampling_mistakes(("lesson", "sampling"), lesson.sampling, lesson.rationales, "lesson.rationales")
    drawn_so = any(scenario.sampling_of(student) == exam.sampling for student in scenario.students)
    times = exam.repeats if drawn_so or not scenario.students else 1
    yield from _sampling_mistakes(("exam", "sampling"), exam.sampling, times, "exam.repeats")
    yield from _material_mistakes(scenario)
    yield from _equal_cost_mistakes(scenario)
    yield from _allocation_mistakes(scenario)
    yield from _self_debug_mistakes(scenario)
    if len(set(scenario.baselines)) < len(scenario.baselines):
        yield ScenarioMistake(("baselines",), "names one baseline twice")
    if scenario.baselines and scenario.levels[0] == 3:
        yield ScenarioMistake(
            ("baselines",), "goes with levels 1 and 2; this class begins with level 3, so take it out"
        )
    if exam.questions and not scenario.solves:
        yield ScenarioMistake(("exam", "questions"), "are asked about rationales; this class has none, so take it out")
    if exam.questions and 2 in scenario.levels:
        yield ScenarioMistake(
            ("exam", "questions"), "goes with level 1, and level 3 for rationales; level 2 examines without"
        )
    by_name = {name: agent for agent in (scenario.teacher, *scenario.students) for name in copy_names(agent)}
    for where, message in maker_mistakes(scenario, by_name):
        yield ScenarioMistake(where, message)
    for where, message in elsewhere_mistakes(scenario):
        yield ScenarioMistake(where, message)
    yield from _iterate_mistakes(scenario.iterate)
    if scenario.rewrites:
        yield from _rewrite_mistakes(scenario)
    if not is_address(scenario.broker.address):
        message = f"needs ipc or tcp://HOST:PORT, the port from 1 to {LAST_PORT}, has {shown(scenario.broker.address)}"
        yield ScenarioMistake(("broker", "address"), message)


def is_address(address: str) -> bool:
    """Whether a text is an address of a broker: ipc, or tcp://HOST:PORT."""
    found = ADDRESS.fullmatch(address)
    if found is None:
        return address == "ipc"
    if found[1].startswith("["):
        try:
            ipaddress.IPv6Address(found[1].strip("[]"))
        except ValueError:
            return False
    return 0 < int(found[2]) <= LAST_PORT


def _iterate_mistakes(iterate: Iterate) -> Iterator[ScenarioMistake]:
    yield from _sampling_mistakes(("iterate", "writing"), iterate.writing, iterate.revisions, "iterate.revisions")
    yield from _sampling_mistakes(("iterate", "answering"), iterate.answering, 1, "")
    first_sets = iterate.material == "exemplars" and iterate.start == "description"
    if first_sets and iterate.beam > 1 and iterate.writing.temperature == 0:
        message = (
            f"0 always draws the same text, but {iterate.beam} first sets are asked for; "
            "set iterate.beam to 1, iterate.start to training, or raise the temperature"
        )
        yield ScenarioMistake(("iterate", "writing", "temperature"), message)
    if iterate.curriculum != "all" and iterate.rounds == 1:
        yield ScenarioMistake(
            ("iterate", "curriculum"), "has students join round by round; set iterate.rounds to 2 or more"
        )
    if len(set(iterate.baselines)) < len(iterate.baselines):
        yield ScenarioMistake(("iterate", "baselines"), "names one baseline twice")


def _rewrite_mistakes(scenario: Scenario) -> Iterator[ScenarioMistake]:
    iterate, rationales = scenario.iterate, scenario.lesson.rationales
    if scenario.levels != (3,):
        yield ScenarioMistake(
            ("level",), "with iterate.material: rationale, level 3 begins with level 1's exams; write level: 3"
        )
    if iterate.originals > rationales:
        message = f"{iterate.originals} are more than the {rationales} of lesson.rationales"
        yield ScenarioMistake(("iterate", "originals"), message)
    for name in ("itself", "baselines", "curriculum"):
        if getattr(iterate, name) not in (False, (), "all"):
            yield ScenarioMistake(("iterate", name), "is for sets of exemplars; with material: rationale take it out")


def _learn_mistakes(scenario: Scenario) -> Iterator[ScenarioMistake]:
    if (engine := scenario.teacher.engine) in ("openai", "external"):
        where = "at a server" if engine == "openai" else "of a program of yours"
        yield ScenarioMistake(
            ("teacher", "engine"), f"{engine}: level 2 trains the teacher, and cannot train one {where}"
        )
    if len(set(scenario.learn.arms)) < len(scenario.learn.arms):
        yield ScenarioMistake(("learn", "arms"), "names an arm twice")
    if "dense" in scenario.learn.arms and scenario.exam.score != "logprob":
        yield ScenarioMistake(
            ("learn", "arms"), "dense needs log-probabilities: set exam.score to logprob, or leave it out"
        )
    sampling = scenario.lesson.sampling
    yield from _sampling_mistakes(("lesson", "sampling"), sampling, scenario.learn.samples, "learn.samples")
    if scenario.lesson.rationales < 2:
        yield ScenarioMistake(
            ("lesson", "rationales"), "1 makes no pairs; level 2 compares two or more rationales of a problem"
        )


def _material_mistakes(scenario: Scenario) -> Iterator[ScenarioMistake]:
    if scenario.lesson.material == "rationale":
        return
    where = ("lesson", "material")
    if scenario.levels != (1,):
        yield ScenarioMistake(where, "answer goes with level 1 alone; levels 2 and 3 need rationales")
    if scenario.exam.questions:
        yield ScenarioMistake(where, "answer leaves nothing to ask about; take exam.questions out")


def _equal_cost_mistakes(scenario: Scenario) -> Iterator[ScenarioMistake]:
    lesson, where = scenario.lesson, ("lesson", "equal_cost")
    if not lesson.equal_cost:
        return
    if 3 in scenario.levels and scenario.levels[0] == 3:
        yield ScenarioMistake(where, "goes with levels 1 and 2; this class has level 3 alone, so take it out")
    if lesson.sampling.temperature == 0 or lesson.sampling.top_k == 1:
        yield ScenarioMistake(where, "asks for further draws, and lesson.sampling always draws the same text")


def _allocation_mistakes(scenario: Scenario) -> Iterator[ScenarioMistake]:
    """What needs every exam answer, where `exam.allocation` does not ask for all."""
    exam, levels = scenario.exam, scenario.levels
    if exam.allocation == "full":
        return
    needs_all = {
        "is about exams under rationales, and level 3 with exemplars has none": levels == (3,)
        and not scenario.rewrites,
        "level 3 with iterate.material: rationale rewrites by the mistakes in every exam": scenario.rewrites,
        "level 2 makes its pairs from every exam": 2 in levels,
        "exam.score: logprob compares the scores of every exam": exam.score == "logprob",
        "lesson.equal_cost samples as many rationales as every exam costs": scenario.lesson.equal_cost,
        "exam.questions asks about every rationale before its first exam": bool(exam.questions),
    }
    for why, is_so in needs_all.items():
        if is_so:
            yield ScenarioMistake(("exam", "allocation"), f"{exam.allocation}: {why}; take one of the two out")


def _self_debug_mistakes(scenario: Scenario) -> Iterator[ScenarioMistake]:
    """What does not go with repaired programs; scenarios/tasks refuses problems other than code."""
    asked = [name for name in ("lesson", "exam") if getattr(scenario, name).self_debug]
    for name in asked if scenario.levels != (1,) else ():
        yield ScenarioMistake((name, "self_debug"), "goes with level 1 alone; take it out")
    if "lesson" in asked and scenario.lesson.equal_cost:
        message = "goes without lesson.equal_cost, whose further rationales are not repaired; take one of the two out"
        yield ScenarioMistake(("lesson", "self_debug"), message)
    if "exam" in asked and "students_alone" in scenario.baselines:
        message = "goes without the baseline students_alone, whose answers are not repaired; take one of the two out"
        yield ScenarioMistake(("exam", "self_debug"), message)


def _agent_mistakes(key: Key, agent: Agent, sampling: Sampling, of: str) -> Iterator[ScenarioMistake]:
    if agent.name in RESERVED:
        yield ScenarioMistake((*key, "name"), f"{agent.name!r} is the name of a part of the program; choose another")
    if agent.name.endswith("\n"):
        yield ScenarioMistake((*key, "name"), "ends in a line break")
    if agent.engine in ("transformers", "openai") and agent.model in ("", "simulated"):
        what = "the name that the server knows" if agent.engine == "openai" else "a model's name or folder"
        yield ScenarioMistake((*key, "model"), f"is missing; the engine {agent.engine} needs {what}")
    # Any other name goes with `engine: simulated`, so that `--set teacher.engine=simulated` suits every scenario.
    meant = difflib.get_close_matches(agent.model.casefold(), ["simulated"], cutoff=0.8)
    if agent.engine in ("auto", "simulated") and meant and agent.model != "simulated":
        yield ScenarioMistake((*key, "model"), f"no model is called {shown(agent.model)}; did you mean simulated?")
    if agent.model == "":
        yield ScenarioMistake((*key, "model"), "is empty; name one, or leave the key out")
    if agent.gpu == ():
        yield ScenarioMistake((*key, "gpu"), "is an empty list; write none for no GPU")
    if isinstance(agent.gpu, tuple) and len(set(agent.gpu)) < len(agent.gpu):
        yield ScenarioMistake((*key, "gpu"), "names one GPU twice")
    if 0 < agent.max_context <= sampling.max_tokens:
        message = f"{agent.max_context} tokens leave no room: {of}.max_tokens is {sampling.max_tokens}"
        yield ScenarioMistake((*key, "max_context"), message)


def copy_names(student: Agent) -> tuple[str, ...]:
    """The names of the students that an entry of the file stands for."""
    if student.copies == 1:
        return (student.name,)
    return tuple(f"{student.name}-{number}" for number in range(1, student.copies + 1))


def _copies_mistakes(key: Key, agent: Agent, scenario: Scenario) -> Iterator[ScenarioMistake]:
    """Mistakes in the copies of one student: their names, and copies that could not differ."""
    if agent.copies == 1:
        return
    where, names = (*key, "copies"), copy_names(agent)
    if key == ("teacher",):
        yield ScenarioMistake(where, "is for students; a class has one teacher")
    if len(names[-1]) > LONGEST_NAME:
        message = (
            f"the name {names[-1]!r} is longer than {LONGEST_NAME} characters; choose a shorter one for the student"
        )
        yield ScenarioMistake(where, message)
    others = [one for one in (scenario.teacher, *scenario.students) if one is not agent]
    if taken := sorted({name for other in others for name in copy_names(other)} & {*names}):
        yield ScenarioMistake(
            where, f"a copy would have the name {taken[0]!r}, which another agent has; give each agent its own name"
        )
    drawn = [("exam.sampling", scenario.sampling_of(agent))] if scenario.solves else []
    drawn += [("iterate.answering", scenario.iterate.answering)] if scenario.classifies else []
    for entry, sampling in drawn:
        if sampling.temperature == 0 or sampling.top_k == 1:
            at = "temperature 0" if sampling.temperature == 0 else "top_k 1"
            yield ScenarioMistake(
                where, f"copies differ in what they draw, and {entry} with {at} draws nothing; raise it"
            )


def _own_sampling_mistakes(key: Key, agent: Agent, scenario: Scenario) -> Iterator[ScenarioMistake]:
    """Mistakes in the sampling of one student, and sampling that has no effect."""
    given = [name for name, value in msgspec.structs.asdict(agent.sampling).items() if value is not None]
    if not given:
        return
    where = (*key, "sampling")
    if key == ("teacher",):
        yield ScenarioMistake(where, "is for students; the teacher's is lesson.sampling")
    elif not scenario.solves:
        yield ScenarioMistake(
            where, "is for exams on rationales; level 3 draws all answers with iterate.answering: take it out"
        )
    else:
        # What the student takes from exam.sampling has its mistakes reported there.
        repeats = scenario.exam.repeats
        for mistake in _sampling_mistakes(where, scenario.sampling_of(agent), repeats, "exam.repeats"):
            if mistake.key[-1] in given:
                yield mistake


def _sampling_mistakes(key: Key, sampling: Sampling, times: int, counted: str) -> Iterator[ScenarioMistake]:
    if sampling.temperature < 0:
        yield ScenarioMistake((*key, "temperature"), f"needs a number, at least 0, has {sampling.temperature}")
    if sampling.top_k < 0:
        yield ScenarioMistake((*key, "top_k"), f"needs a whole number, at least 0, has {sampling.top_k}")
    if not 0 < sampling.top_p <= 1:
        yield ScenarioMistake((*key, "top_p"), f"needs a number above 0 and at most 1, has {sampling.top_p}")
    if sampling.max_tokens < 1:
        yield ScenarioMistake((*key, "max_tokens"), f"needs a whole number, at least 1, has {sampling.max_tokens}")
    if times > 1 and (sampling.temperature == 0 or sampling.top_k == 1):
        entry, value = ("temperature", 0) if sampling.temperature == 0 else ("top_k", 1)
        message = (
            f"{value} always draws the same text, but {counted} asks {times} times; set {counted} to 1 or raise "
            f"{'the temperature' if entry == 'temperature' else entry}"
        )
        yield ScenarioMistake((*key, entry), message)
