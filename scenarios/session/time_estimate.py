"""How long a class takes and what it costs in GPU-hours, on paper: its counted requests, played with given speeds.

`python run.py plan SCENARIO --estimate` prints it. agents/placement/speeds.py has the speeds, and
scenarios/session/schedule.py plays the class.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from broker.errors import ScenarioError
from scenarios.config.schema import Scenario
from scenarios.report.formatting import listed, many
from scenarios.session.request_batches import RequestBatch, persona_tokens, solving_batches, taught_tokens
from scenarios.session.schedule import AgentTime, ProcessSpeed, RequestGroup, play
from scenarios.tasks.build import check_class

AT_START = ("greedy", "teaching_rationales", "alone_answers")
UNDER_RATIONALE = ("questions", "", "exam_answers")
"""The fields of `Counts` whose requests can be estimated; the empty one: the teacher's answers to questions."""


class AgentEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The work of one agent."""

    agent: str
    processes: int
    devices: tuple[str, ...]
    """The GPUs of all its processes, or `CPU`."""
    requests: int
    prompt_tokens: int
    cached_share: float
    """Share of its prompt tokens that are in its prefix cache, if nothing is removed from there too early."""
    completion_tokens: int
    hours: float
    """In which it has requests, as a mean over its processes."""
    idle_share: float
    """Share of the class's time in which a process has no request."""
    requests_at_once: float
    """Mean of each process, while it has requests."""
    tokens_per_second: float
    """Completion tokens over the busy time of one process."""
    ends_h: float
    """Hours until its last answer."""
    speed: ProcessSpeed
    """Of one of its processes."""


class TimeEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """A class on paper."""

    hours: float
    gpus: int
    """GPUs of the machine."""
    gpu_hours: float
    """Of all GPUs of the machine over the whole class."""
    busy_gpu_hours: float
    """Of GPUs while their agents have requests."""
    gpus_without_agents: tuple[str, ...]
    turns: int
    """How often agents take turns; 0: they run side by side."""
    answer_tokens: int | None
    """Mean tokens of a completion; None: all are as long as max_tokens allows."""
    agents: list[AgentEstimate]
    assumptions: list[str]


def of_class(
    scenario: Scenario,
    speeds: Callable[[], Sequence[Mapping[str, Any]]],
    gpus: Sequence[str],
    answer_tokens: int | None,
) -> TimeEstimate:
    """Estimate the time of a class whose files are here; see `estimate`.

    Args:
        scenario: the class.
        speeds: returns the fields of a `ProcessSpeed` for every process; it may raise an LbtError.
        gpus: names of all GPUs of the machine.
        answer_tokens: mean tokens of a completion; None: as many as max_tokens.

    Raises:
        TaskError: its tasks cannot be built.
        ScenarioError: the class asks what cannot be estimated.
    """
    problem_tokens = check_class(scenario, folder=Path()).problem_tokens
    _batches(scenario, problem_tokens)
    return estimate(scenario, problem_tokens, [ProcessSpeed(**one) for one in speeds()], gpus, answer_tokens)


def estimate(
    scenario: Scenario,
    problem_tokens: int,
    speeds: Sequence[ProcessSpeed],
    gpus: Sequence[str] = (),
    answer_tokens: int | None = None,
) -> TimeEstimate:
    """Estimate the time of a class of level 1.

    Args:
        scenario: the class.
        problem_tokens: tokens of one problem.
        speeds: of every process, teacher first.
        gpus: names of all GPUs of the machine.
        answer_tokens: mean tokens of a completion; None: as many as max_tokens.

    Raises:
        ScenarioError: the class asks what cannot be estimated.
    """
    scenario = _shortened(scenario, answer_tokens)
    batches = _batches(scenario, problem_tokens)
    fresh = {id(one): _fresh(one, scenario, problem_tokens) for one in batches}
    groups = list(_groups(scenario, batches, fresh))
    # External agents run elsewhere and take no turns.
    in_turn = {one.name for one in scenario.agents if scenario.time_share and one.engine != "external"}
    played = play(groups, speeds, in_turn=in_turn)
    agents = []
    for name, time in played.agents.items():
        own = [one for one in batches if one.agent.pool == name]
        agents.append(_agent(name, time, own, fresh, [one for one in speeds if one.agent == name], played.seconds))
    taken = {device for one in speeds for device in one.devices}
    return TimeEstimate(
        hours=played.seconds / 3600,
        gpus=len(gpus),
        gpu_hours=played.seconds / 3600 * len(gpus),
        busy_gpu_hours=_busy_gpu_hours(agents, gpus, played.seconds / 3600),
        gpus_without_agents=tuple(gpu for gpu in gpus if gpu not in taken),
        turns=played.turns,
        answer_tokens=answer_tokens,
        agents=agents,
        assumptions=list(_assumptions(scenario, problem_tokens, answer_tokens, agents, played.turns)),
    )


def _shortened(scenario: Scenario, tokens: int | None) -> Scenario:
    """The class with completions of at most this many tokens."""
    if tokens is None:
        return scenario
    replace = msgspec.structs.replace
    lesson, exam = (
        replace(section, sampling=replace(section.sampling, max_tokens=min(tokens, section.sampling.max_tokens)))
        for section in (scenario.lesson, scenario.exam)
    )
    students = []
    for one in scenario.students:
        own = one.sampling.max_tokens
        students.append(replace(one, sampling=replace(one.sampling, max_tokens=own and min(own, tokens))))
    return replace(scenario, lesson=lesson, exam=exam, students=tuple(students))


def _batches(scenario: Scenario, problem_tokens: int) -> list[RequestBatch]:
    """The requests of the class.

    Raises:
        ScenarioError: some of them cannot be estimated.
    """
    if scenario.levels != (1,):
        raise ScenarioError("plan --estimate computes the time of level 1 alone: add --set level=1")
    batches = [one for one in solving_batches(scenario, problem_tokens) if one.number]
    if others := sorted({one.counted_as for one in batches} - {*AT_START, *UNDER_RATIONALE}):
        raise ScenarioError(
            f"plan --estimate cannot compute the time of {', '.join(others)}\ntake out what asks for them: self_debug, "
            "exam.score, exam.maker: invented, lesson.equal_cost, or baselines other than students_alone"
        )
    return batches


def _fresh(batch: RequestBatch, scenario: Scenario, problem_tokens: int) -> float:
    """Tokens of a prompt that are in no cache, on average over the batch.

    Instructions and demonstrations are the same in every prompt; a TP is the same in all its TRs, a TP with its TR in
    all exams of one student, and an EP in its repeats.
    """
    exams = scenario.exam.problems * scenario.exam.repeats
    taught = problem_tokens + taught_tokens(scenario)
    dialogue = scenario.exam.questions * (scenario.lesson.sampling.max_tokens + batch.completion)
    match batch.counted_as:
        case "questions":
            return taught
        case "":
            return batch.completion
        case "exam_answers":
            return ((dialogue or taught) + scenario.exam.problems * problem_tokens) / exams
        case _:
            return problem_tokens * scenario.task.problems / batch.number


def _groups(scenario: Scenario, batches: Sequence[RequestBatch], fresh: Mapping[int, float]) -> Iterator[RequestGroup]:
    """The requests that are due at the start, in their order: TP by TP, then students alone."""
    by_kind = {kind: [one for one in batches if one.counted_as == kind] for kind in (*AT_START, *UNDER_RATIONALE)}
    (lessons,) = by_kind["teaching_rationales"]

    def group(batch: RequestBatch, of: int, then: tuple[RequestGroup, ...] = ()) -> RequestGroup:
        number = batch.number // of
        return RequestGroup(batch.agent.pool, number, batch.completion, fresh[id(batch)], then)

    under: list[RequestGroup] = []
    for n, exams in enumerate(by_kind["exam_answers"]):
        due = group(exams, lessons.number)
        if scenario.exam.questions:
            answer = group(by_kind[""][n], by_kind["questions"][n].number, (due,))
            due = group(by_kind["questions"][n], lessons.number, (answer,))
        under.append(due)
    for _ in range(scenario.task.problems):
        yield from (group(one, scenario.task.problems) for one in by_kind["greedy"])
        yield group(lessons, scenario.task.problems, tuple(under))
    yield from (group(one, 1) for one in by_kind["alone_answers"])


def _agent(
    name: str,
    time: AgentTime,
    batches: Sequence[RequestBatch],
    fresh: Mapping[int, float],
    speeds: Sequence[ProcessSpeed],
    seconds: float,
) -> AgentEstimate:
    prompts = sum(one.number * (one.prompt + persona_tokens(one.agent)) for one in batches)
    completions = sum(one.number * one.completion for one in batches)
    computed = sum(one.number * fresh[id(one)] for one in batches)
    return AgentEstimate(
        agent=name,
        processes=len(speeds),
        devices=tuple(dict.fromkeys(device for one in speeds for device in one.devices)),
        requests=time.requests,
        prompt_tokens=prompts,
        cached_share=1 - computed / prompts if prompts else 0.0,
        completion_tokens=completions,
        hours=time.busy_s / 3600,
        idle_share=1 - time.busy_s / seconds if seconds else 0.0,
        requests_at_once=time.running,
        tokens_per_second=completions / time.busy_s / len(speeds) if time.busy_s else 0.0,
        ends_h=time.ended_s / 3600,
        speed=speeds[0],
    )


def _busy_gpu_hours(agents: Sequence[AgentEstimate], gpus: Sequence[str], hours: float) -> float:
    """Hours in which the agents of each GPU have requests; of agents that share one at most, since they may overlap."""
    return sum(min(hours, sum(one.hours for one in agents if gpu in one.devices)) for gpu in gpus)


def _assumptions(
    scenario: Scenario,
    problem_tokens: int,
    answer_tokens: int | None,
    agents: Sequence[AgentEstimate],
    turns: int,
) -> Iterator[str]:
    """What the estimate takes for granted, a sentence each."""
    yield (
        f"Every completion has {many(answer_tokens, 'token')}, or max_tokens where that is less (--answer-tokens)."
        if answer_tokens
        else "Every completion is as long as max_tokens allows, which is too long; --answer-tokens 300 sets their mean."
    )
    yield (
        f"A problem has {many(problem_tokens, 'token')}. Every rationale is distinct and has an answer, so all its "
        "exams take place."
    )
    if scenario.exam.allocation != "full":
        yield (
            f"exam.allocation: {scenario.exam.allocation} asks fewer exams, and none before all TRs of a TP are there; "
            "the estimate is that of full."
        )
    yield (
        "Prompts share their beginnings, and a TR stays in the prefix cache until its exams are answered. Keys and "
        "values of all requests at once fit into the memory."
    )
    for words in dict.fromkeys(_speed_words(one.speed) for one in agents):
        yield f"{listed([one.agent for one in agents if _speed_words(one.speed) == words])}: {words}"
    devices = dict.fromkeys(device for one in agents for device in one.devices)
    for device in devices:
        sharing = [one.agent for one in agents if device in one.devices]
        if len(sharing) > 1 and not turns:
            yield (
                f"{listed(sharing)} share {called(device)}: while several have requests, each computes for an equal "
                "share of the time."
            )
    if turns:
        yield f"Agents take turns (time_share), {many(turns, 'turn')}; loading the model of each is not counted."
    yield (
        "Not counted: downloads, the start of the engines, retries, grading, the broker, and what a server allows an "
        "account."
    )


def _speed_words(speed: ProcessSpeed) -> str:
    prompts = f", {_rate(speed.prompt_tokens_per_second)} prompt tokens/s" if speed.prompt_tokens_per_second else ""
    return (
        f"{_rate(speed.tokens_per_second)} completion tokens/s with {many(speed.measured_with, 'request')} at once, "
        f"{_rate(speed.alone)} with one{prompts}; a process takes {speed.at_once:,} at once. Source: {speed.source}."
    )


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def called(*devices: str) -> str:
    """Devices for people: `GPU 0`, `GPU 0, 1, 4`, `GPU 0 to 7`, `CPU`; a dash for none."""
    if not all(one.isdigit() for one in devices):
        return ", ".join(devices)
    numbers = sorted(map(int, devices))
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"GPU {numbers[0]} to {numbers[-1]}"
    return f"GPU {', '.join(map(str, numbers))}" if numbers else "-"
