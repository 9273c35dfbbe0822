"""The words of a study file that name line-ups, methods and comparisons: what they stand for, and which are unknown."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from scenarios.config.schema import Scenario
from scenarios.config.validate import ScenarioMistake
from scenarios.config.yaml_tree import shown
from scenarios.report.baselines import BY_CASES, baseline_names, entry_of
from scenarios.report.baselines import LABELS as BASELINES
from scenarios.report.methods import DENSE_METHODS, EQUAL_COST_METHODS, METHODS
from scenarios.scoring import lineups
from scenarios.studies.schema import Study

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
EQUAL_COST = tuple(EQUAL_COST_METHODS)
"""Methods of classes with lesson.equal_cost: SC at the cost of all students or, after a line-up and a dot, of those."""
EVERYONE = "all"
"""The line-up of all students, whatever the study calls it: this name is in RESERVED."""
RESERVED = (*METHODS, *DENSE_METHODS, *EQUAL_COST, EVERYONE, *BASELINES)
Lineups = Mapping[str, tuple[str, ...]]
"""The students of each line-up by its name."""


def lineup_of(term: str, lineups: Collection[str]) -> str | None:
    """The line-up of a term such as `mixed`, `mixed.sum` or `mixed.sc_at_cost`; None: the term is a method."""
    return next((name for name in (term, term.rpartition(".")[0]) if name in lineups), None)


def near(name: str, known: Collection[str]) -> str:
    """A hint: the known name nearest to an unknown one, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def named_lineups(study: Study, students: Sequence[str], seed: int) -> Lineups:
    """The line-ups of a study among the students of one class.

    Raises:
        ScenarioMistake: a line-up is empty, or names a student that the class does not have.
    """
    if not isinstance(study.lineups, dict):
        return by_name(lineups.lineups(students, seed))
    if not study.lineups:
        raise ScenarioMistake(("lineups",), "names no line-up; name some, or write all")
    found = {}
    for name, members in study.lineups.items():
        key = ("lineups", name)
        if not NAME.fullmatch(name) or name in RESERVED:
            why = "is the name of a method" if name in RESERVED else "is no name: small letters, digits, - and _"
            raise ScenarioMistake(key, f"{why}; choose another")
        if not isinstance(members, list | tuple) or not all(isinstance(one, str) for one in members):
            raise ScenarioMistake(key, f"needs a list of students' names, has {shown(members)}")
        if not members:
            raise ScenarioMistake(key, "names nobody; name at least one student, or take the line-up out")
        found[name] = _members(name, members, students)
    return found


def by_name(line_ups: Iterable[tuple[str, ...]]) -> Lineups:
    """Line-ups by their students, `a+b`; a student alone that is called as a method is `NAME alone`."""
    names = (("+".join(one), one) for one in line_ups)
    return {f"{name} alone" if name in RESERVED else name: one for name, one in names}


def without_each(students: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The line-up of all students, first, and those without one of them; empty for one student."""
    if len(students) < 2:
        return {}
    rest = {f"{EVERYONE} without {one}": tuple(name for name in students if name != one) for one in students}
    return {EVERYONE: tuple(students), **rest}


def _members(lineup: str, names: Sequence[str], students: Sequence[str]) -> tuple[str, ...]:
    """The students that a line-up names. `peer.2` is the copy peer-2, and `peer` alone stands for all its copies."""
    chosen: list[str] = []
    for index, name in enumerate(names):
        key = ("lineups", lineup, index)
        exact = name if name in students else re.sub(r"\.(\d+)$", r"-\1", name)
        found = [exact] if exact in students else _copies(name, students)
        if not found:
            stem = re.sub(r"[.-]\d+$", "", name)
            there = [f"{stem}.{one.removeprefix(f'{stem}-')}" for one in _copies(stem, students)]
            hint = f"there are {', '.join(there)}" if there else near(name, students)
            raise ScenarioMistake(key, f"{shown(name)} is no student of this study; {hint}")
        if again := [one for one in found if one in chosen]:
            raise ScenarioMistake(key, f"{again[0]} is in this line-up twice; write copies: 2 at the student for that")
        chosen += found
    return tuple(chosen)


def _copies(name: str, students: Sequence[str]) -> list[str]:
    return [one for one in students if re.fullmatch(rf"{re.escape(name)}-\d+", one)]


def terms(scenario: Scenario, lineups: Collection[str]) -> list[str]:
    """What a comparison may have on either side, for the class `scenario`."""
    methods = [name for name in METHODS if name != "greedy" or scenario.lesson.greedy]
    methods += DENSE_METHODS if scenario.exam.score == "logprob" else ()
    of_lineups = ["sum"]
    if scenario.lesson.equal_cost:
        methods += EQUAL_COST
        of_lineups += EQUAL_COST
    of_each = [f"{name}.{method}" for method in of_lineups for name in lineups]
    return [*lineups, *of_each, *methods, *baseline_names(scenario)]


def primary_terms(study: Study, scenario: Scenario, lineups: Collection[str]) -> list[tuple[str, str]]:
    """Both sides of each primary comparison. Beside a line-up, `sc_at_cost` means SC at the cost of that line-up.

    Raises:
        ScenarioMistake: a comparison is not `A - B`, or a side is unknown.
    """
    known = terms(scenario, lineups)
    found = []
    for index, text in enumerate(study.primary):
        key = ("primary", index)
        sides = [side.strip().removesuffix(".max") for side in re.split(r"\s-\s", text)]
        if len(sides) != 2 or not all(sides):
            raise ScenarioMistake(
                key, f"needs A - B with blanks around the minus, such as mixed - sc, has {shown(text)}"
            )
        for side in sides:
            if side.rpartition(".")[2] in EQUAL_COST and side not in known:
                raise ScenarioMistake(key, f"{side} needs `lesson.equal_cost: true` in the section set")
            if (entry := entry_of(side)) and entry not in scenario.baselines:
                raise ScenarioMistake(key, f"{side} needs `baselines: [{entry}]` in the section set")
            if side == BY_CASES:
                raise ScenarioMistake(
                    key, f"{side} is compared by S-score, and a primary comparison is of right answers"
                )
            if side not in known:
                raise ScenarioMistake(key, f"{shown(side)} is neither a line-up nor a method; {near(side, known)}")
        for place, other in ((0, 1), (1, 0)):
            if sides[place] in EQUAL_COST and (of := lineup_of(sides[other], lineups)):
                sides[place] = f"{of}.{sides[place]}"
        if sides[0] == sides[1]:
            raise ScenarioMistake(key, f"compares {sides[0]} with itself")
        if (sides[0], sides[1]) in found:
            raise ScenarioMistake(key, "is named twice")
        found.append((sides[0], sides[1]))
    return found


def label(factors: Mapping[str, Any]) -> str:
    """Factors with their values in words: `teacher=tiny, lesson.rationales=4`."""
    return ", ".join(f"{factor}={value_label(value)}" for factor, value in factors.items())


def value_label(value: Any) -> str:
    """One value of a factor in words, at most 60 characters."""
    if isinstance(value, dict):
        text = " ".join(f"{name}={entry}" for name, entry in _entries(value))
    elif isinstance(value, list | tuple):
        text = "+".join(map(value_label, value))
    else:
        text = value if isinstance(value, str) else shown(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _entries(section: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The entries of a section in words, with their paths: `engine_args.ability`, `1.0`."""
    for name, entry in section.items():
        if isinstance(entry, dict) and entry:
            yield from _entries(entry, f"{path}{name}.")
        else:
            yield f"{path}{name}", value_label(entry)
