"""A scenario file to a checked `Scenario`, and back: the one place that words mistakes in scenario files.

The text and its overrides become a tree with the place of each entry (source.py), the schema converts it, and then
come the checks that no type can say. Whether the task itself can be built is for scenarios/tasks; whether
the agents fit the machine, for placement: `located` adds file and line to their errors.
"""

import contextlib
import difflib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import inspect as types

from broker.engine_args import EXECUTION_ONLY
from broker.errors import Key, LbtError
from scenarios.config.overrides import source_of
from scenarios.config.schema import Agent, Scenario
from scenarios.config.validate import ScenarioMistake, dotted, mistakes
from scenarios.config.yaml_tree import Tree, shown, surprise

FREE = re.compile(
    r"name|time_share|(scoring|limits|broker)\..*|(teacher|students\.\d+)\.(model|engine|gpu|replicas|capacity"
    rf"|memory_share|max_context|engine_args\.({'|'.join(sorted(EXECUTION_ONLY))}))"
)
"""Entries that change no request. Another model or engine does so only where it answers otherwise, which is found out
when its weights are at hand: `Store.keep_answerers`."""
REPLAYABLE = re.compile(
    r"name|(scoring|limits|broker)\..*|task\.problems|lesson\.rationales|exam\.(problems|repeats|score)"
    r"|learn\.(?!held_out).*"
)
"""Entries of which another value needs no new answer, or says which are missing."""
WITHOUT_FOLDER = ("openai", "simulated", "external")
"""Engines that load no model from a folder here."""
BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")
ABSENT = object()


def read(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario in `path`, with `overrides` (KEY.PATH=VALUE each) laid over it.

    Raises:
        ScenarioError: anything that is wrong with the file or the overrides; never anything else.
    """
    source = source_of(path, overrides)
    try:
        scenario = _resolve(_convert(source.tree), path)
        for mistake in mistakes(scenario):
            raise mistake
    except ScenarioMistake as mistake:
        raise source.error(mistake.key, mistake.message) from None
    return scenario


@contextlib.contextmanager
def located(path: Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Add file and line, or the override, to an error that names an agent or an entry of the scenario in `path`.

    Raises:
        ScenarioError: in place of such an error.
    """
    source = source_of(path, overrides)
    try:
        yield
    except LbtError as error:
        if key := source.key_of(error):
            raise source.error(key, error.message) from error
        raise


# --- the schema, and its mistakes in words --------------------------------------------------------------


def _convert(tree: Tree) -> Scenario:
    try:
        return msgspec.convert(tree.value, Scenario)
    except msgspec.ValidationError as error:
        raise _reworded(str(error), tree) from None


def _reworded(message: str, tree: Tree) -> ScenarioMistake:
    from scenarios.config.reference import in_words

    problem, _, path = message.partition(" - at `$")
    key: Key = tuple(name or int(index) for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path))
    kind, value = _at(key, tree.value)
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        return ScenarioMistake((*key, unknown[1]), "no such key; " + _nearest(unknown[1], kind))
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        wanted, _ = _at((*key, missing[1]), tree.value)
        return ScenarioMistake((*key, missing[1]), f"is missing; it needs {in_words(wanted)}")
    needs = f"needs {in_words(kind)}, has {shown(value)}"
    hint = surprise(value, tree.written.get(key))
    if isinstance(kind, types.StrType) and isinstance(value, bool | int | float | dict | None) and value != {}:
        hint += ": write it in quotes" if hint else "if it is meant as text, write it in quotes"
    hint = hint or _nearest_choice(value, kind)
    return ScenarioMistake(key, f"{needs}; {hint}" if hint else needs)


def _nearest_choice(value: Any, kind: types.Type) -> str:
    options = kind.types if isinstance(kind, types.UnionType) else (kind,)
    choices = [str(choice) for option in options if isinstance(option, types.LiteralType) for choice in option.values]
    near = difflib.get_close_matches(value.lower(), choices, n=1) if isinstance(value, str) else []
    return f"did you mean {near[0]}?" if near else ""


def _at(key: Key, tree: Any) -> tuple[types.Type, Any]:
    """What the schema wants at `key`, and what is there."""
    kind: types.Type = types.type_info(Scenario)
    for step in key:
        options = kind.types if isinstance(kind, types.UnionType) else (kind,)
        for option in options:
            if isinstance(option, types.VarTupleType) and isinstance(step, int):
                kind = option.item_type
            elif isinstance(option, types.StructType) and isinstance(step, str):
                kind = next((f.type for f in option.fields if f.encode_name == step), types.AnyType())
        try:
            tree = tree[step]
        except (LookupError, TypeError):
            tree = None
    return kind, tree


def _nearest(name: str, kind: types.Type) -> str:
    known = [f.encode_name for f in kind.fields] if isinstance(kind, types.StructType) else []
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def _resolve(scenario: Scenario, path: Path) -> Scenario:
    """Settle what depends on the file's place or on two entries together."""
    folder = os.path.abspath(os.path.expanduser(path.parent))

    def absolute(name: str | None) -> str | None:
        return os.path.join(folder, os.path.expanduser(name)) if name else name

    def model(agent: Agent) -> str:
        """A folder beside the file as an absolute path; any other name as it is."""
        inside = os.path.join(folder, os.path.expanduser(agent.model))
        named = agent.model.startswith((".", "~")) or (agent.model and os.path.isdir(inside))
        return os.path.normpath(inside) if named and agent.engine not in WITHOUT_FOLDER else agent.model

    task = msgspec.structs.replace(scenario.task, file=absolute(scenario.task.file))
    texts = scenario.iterate.task
    texts = msgspec.structs.replace(texts, file=absolute(texts.file), test_file=absolute(texts.test_file))
    iterate = msgspec.structs.replace(scenario.iterate, task=texts)

    def settled(agent: Agent) -> Agent:
        if agent.engine == "auto" and agent.model == "simulated":
            return msgspec.structs.replace(agent, engine="simulated")
        return msgspec.structs.replace(agent, model=model(agent))

    students = tuple(settled(student) for student in scenario.students)
    teacher = settled(scenario.teacher)
    return msgspec.structs.replace(scenario, task=task, iterate=iterate, teacher=teacher, students=students)


# --- back to text, and what differs ---------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        """PyYAML escapes exotic line breaks between double quotes only."""
        style = '"' if BREAKS.search(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.text)


def dump(scenario: Scenario) -> str:
    """The scenario as YAML, every default written out; `read` makes an equal scenario of it."""
    plain = msgspec.to_builtins(scenario)
    text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


def difference(old: Scenario, new: Scenario) -> list[str]:
    """What differs, one line per entry: `task.problems: 6 -> 12`, in the order of the file."""
    pairs = _differing(msgspec.to_builtins(old), msgspec.to_builtins(new), ())
    return [f"{key}: {_value(was)} -> {_value(now)}" for key, was, now in pairs]


def asked_differs(old: Scenario, new: Scenario, without_answers: Collection[str] = ()) -> list[str]:
    """The part of `difference` that changes what is asked of whom: a class under way cannot go on with it.

    `without_answers` names agents that have answered nothing yet: their `engine_args` may change.
    """
    # At level 2 the scores choose what is trained on.
    asked = ("scoring.",) if 2 in new.levels else ()
    places = {"teacher": new.teacher} | {f"students.{i}": student for i, student in enumerate(new.students)}
    free = tuple(f"{place}.engine_args." for place, agent in places.items() if agent.name in without_answers)
    return [
        line
        for line in difference(old, new)
        if line.startswith(asked) or not (line.startswith(free) or FREE.fullmatch(line.partition(": ")[0]))
    ]


def beyond_replay(old: Scenario, new: Scenario) -> list[str]:
    """What of the changes is more than another rule over the same records, or fewer of them."""
    known = {student.name: student for student in old.students}
    strangers = [f"students: {s.name} was not in this class as such" for s in new.students if known.get(s.name) != s]
    same = msgspec.structs.replace(new, students=old.students)
    return strangers + [line for line in difference(old, same) if not REPLAYABLE.fullmatch(line.partition(": ")[0])]


def _differing(old: Any, new: Any, key: Key) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old | new:
            yield from _differing(old.get(name, ABSENT), new.get(name, ABSENT), (*key, name))
    elif key == ("students",):
        for index, (was, now) in enumerate(zip_longest(old, new, fillvalue=ABSENT)):
            yield from _differing(was, now, (*key, index))
    elif old != new:
        yield dotted(key), old, new


def _value(value: Any) -> str:
    if value is ABSENT:
        return "not there"
    if isinstance(value, dict) and "name" in value:
        return shown(value["name"])
    if isinstance(value, list | tuple):
        return f"[{', '.join(shown(item) for item in value)}]"
    return shown(value, 120)
