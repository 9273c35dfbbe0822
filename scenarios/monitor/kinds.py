"""Groups the students of a large class for the picture: a row or a column for each kind, not for each student."""

from collections.abc import Callable, Hashable

import msgspec

from scenarios.config.schema import Agent, Scenario

MOST = 24
"""Students that are shown one by one; of a class with more, at most so many kinds."""

SETTINGS: tuple[Callable[[Agent], Hashable], ...] = (
    lambda one: (one.model, one.engine, one.persona, one.dtype, one.thoughts, _text(one.engine_args), one.sampling),
    lambda one: (one.model, one.engine, one.persona),
    lambda one: (one.model, one.engine),
    lambda _: "students",
)
"""What students of one kind have in common: everything that decides their answers, or less where that is too many
kinds."""


def kinds(scenario: Scenario) -> dict[str, str]:
    """By name of every agent and every student, the name of its row: its own, or in a large class that of its kind."""
    students = scenario.students
    names = {one.pool: one.pool for one in (scenario.teacher, *students)} | {one.name: one.name for one in students}
    if len(students) <= MOST:
        return names
    for setting in SETTINGS:
        groups: dict[Hashable, list[Agent]] = {}
        for one in students:
            groups.setdefault(setting(one), []).append(one)
        if len(groups) <= MOST:
            break
    for group in groups.values():
        label = group[0].name if len(group) == 1 else f"{group[0].name} and {len(group) - 1} more"
        names |= {name: label for one in group for name in (one.name, one.pool)}
    return names


def _text(arguments: object) -> bytes:
    return msgspec.json.encode(arguments, order="sorted")
