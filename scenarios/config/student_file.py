"""One student in a file of its own, an item of `students` as scenarios have it (`run.py ctl RUN add-student FILE`)."""

from pathlib import Path

import msgspec

from broker.errors import ScenarioError
from scenarios.config import load
from scenarios.config.overrides import absolute, read_source
from scenarios.config.schema import Agent, Scenario
from scenarios.config.validate import ScenarioMistake, copy_names, dotted, mistakes


def read_student(path: Path) -> Agent:
    """The student that a YAML file describes; the name of a model's folder is relative to the file.

    Raises:
        ScenarioError: the file cannot be read, or describes no student.
    """
    source = read_source(path)
    source.tree.value = absolute("student", source.tree.value, path)
    try:
        return load.convert(source.tree, Agent)
    except ScenarioMistake as mistake:
        raise source.error(mistake.key, mistake.message) from None


def with_student(scenario: Scenario, student: Agent) -> Scenario:
    """The scenario with one student more, after the others.

    Raises:
        ScenarioError: the scenario has an agent of this name, or cannot have this student.
    """
    if student.name in {name for one in scenario.agents for name in (one.name, *copy_names(one))}:
        raise ScenarioError(f"the class has an agent {student.name!r} already")
    larger = msgspec.structs.replace(scenario, students=(*scenario.entries, student))
    for mistake in mistakes(larger):
        raise ScenarioError(f"{dotted(mistake.key)}: {mistake.message}" if mistake.key else mistake.message)
    return msgspec.structs.replace(larger, students=load.with_copies(larger.students))
