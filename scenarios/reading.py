"""A scenario file to a checked `Scenario`, and back: the one place that words mistakes in scenario files.

Text becomes a tree with lines (yaml_tree.py), overrides are laid over the tree, the schema converts it, and
then come the checks that no type can say. Whether the task itself can be built is for scenarios/tasks; whether
the agents fit the machine, for placement.
"""

import copy
import difflib
import os
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import inspect as types

from scenarios.rules import Mistake, dotted, mistakes
from scenarios.schema import Agent, Scenario
from scenarios.yaml_tree import MAX_BYTES, Key, Tree, TreeError, parse, shown, surprise

FREE = re.compile(
    r"name|time_share|(scoring|limits|broker)\..*|(teacher|students\.\d+)\.(gpu|replicas|capacity|memory_share"
    r"|engine_args\.(key_env|max_parallel|tokens_per_minute|timeout_s|retries|price_per_million_\w+|budget"
    r"|tokens_per_second|crash_after|hang_after|prefix_cache_mb|kv_cache_mb))"
)
"""Entries that change nothing of what is asked of whom."""
REPLAYABLE = re.compile(
    r"name|(scoring|limits|broker)\..*|task\.problems|lesson\.rationales|exam\.(problems|repeats|score)"
    r"|learn\.(?!held_out).*"
)
"""Entries of which another value needs no new answer, or says which are missing."""
BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")
ABSENT = object()


class ScenarioError(ValueError):
    """The scenario cannot be used: file and line, the entry, and what to do, in one to three lines."""


class _Source:
    """Where each part of the tree comes from: a line of the file, or an override."""

    def __init__(self, path: Path, tree: Tree) -> None:
        self.path = path
        self.tree = tree
        self.overridden: dict[Key, str] = {}

    def error(self, key: Key, message: str) -> ScenarioError:
        """`message` about `key`, with the nearest place that is known."""
        text = f"{dotted(key)}: {message}" if key else message
        if origin := self._override_of(key):
            return ScenarioError(f"{origin}: {message if origin.endswith(dotted(key)) else text}")
        line = next(self.tree.lines[key[:n]] for n in range(len(key), -1, -1) if key[:n] in self.tree.lines)
        return ScenarioError(f"{self.path}:{line}: {text}")

    def _override_of(self, key: Key) -> str:
        """The override that brought in `key`, or what holds it, or an entry of it; empty where it is the file's."""
        if key in self.tree.lines:
            return ""
        holding = (self.overridden[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.overridden)
        held = (origin for below, origin in self.overridden.items() if below[: len(key)] == key)
        return next(holding, "") or next(held, "")

    def put(self, key: Key, value: Tree, origin: str) -> None:
        """Note that all at and below `key` now comes from `origin`."""
        for known in (self.tree.lines, self.tree.written, self.overridden):
            for below in [k for k in known if k[: len(key)] == key]:
                del known[below]
        self.tree.written |= {(*key, *below): text for below, text in value.written.items()}
        self.overridden[key] = origin


def read(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario in `path`, with `overrides` (KEY.PATH=VALUE each) laid over it.

    Raises:
        ScenarioError: anything that is wrong with the file or the overrides; never anything else.
    """
    try:
        source = _Source(path, parse(_text(path)))
    except TreeError as error:
        raise ScenarioError(f"{path}:{error.line}: {error}") from None
    if source.tree.value is None:
        raise ScenarioError(f"{path}: the file is empty; docs/scenarios.md shows a small one")
    if not isinstance(source.tree.value, dict):
        raise ScenarioError(f"{path}: needs sections (key: value), has {shown(source.tree.value)}")
    for override in overrides:
        _override(source, override)
    try:
        scenario = _resolve(_convert(source.tree), path)
        for mistake in mistakes(scenario):
            raise mistake
    except Mistake as mistake:
        raise source.error(mistake.key, str(mistake)) from None
    return scenario


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ScenarioError(f"{path}: no such file") from None
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ScenarioError(f"{str(path)!r}: no name of a file: {error}") from None
    if len(data) > MAX_BYTES:
        raise ScenarioError(f"{path}: larger than {MAX_BYTES} bytes; that is no scenario")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScenarioError(f"{path}:{line}: not UTF-8 text") from None


# --- overrides ------------------------------------------------------------------------------------------


def _override(source: _Source, text: str) -> None:
    path, equals, written = text.partition("=")
    origin = f"--set {dotted(tuple(path.split('.')))}"
    if not equals or not all(path.split(".")):
        raise ScenarioError(f"--set {text[:60]!r}: needs KEY.PATH=VALUE, such as task.problems=4")
    try:
        value = parse(written) if written.strip() else Tree("", {}, {})
    except TreeError as error:
        raise ScenarioError(f"{origin}: {error}") from None
    try:
        for key in _targets(source.tree.value, path.split("."), ()):
            _put(source.tree.value, key, copy.deepcopy(value.value))
            source.put(key, value, origin)
    except Mistake as mistake:
        where = f"{dotted(mistake.key)}: " if mistake.key else ""
        raise ScenarioError(f"{origin}: {where}{mistake}") from None


def _targets(tree: Any, steps: Sequence[str], done: Key) -> Iterator[Key]:
    """The keys that a path names, `*` being every index of a list."""
    if not steps:
        yield done
        return
    step, rest = steps[0], steps[1:]
    if isinstance(tree, list):
        if step == "*":
            if not tree:
                raise Mistake(done, "the list is empty")
            for index, item in enumerate(tree):
                yield from _targets(item, rest, (*done, index))
            return
        if not re.fullmatch("[0-9]{1,6}", step) or int(step) >= len(tree):
            there = f"0 to {len(tree) - 1}" if tree else "none"
            raise Mistake(done, f"no number {step!r} in this list; there are {there}, and * for all")
        yield from _targets(tree[int(step)], rest, (*done, int(step)))
    elif isinstance(tree, dict) or tree is None:
        inside = tree.get(step) if tree else None
        yield from _targets(inside, rest, (*done, step))
    else:
        raise Mistake(done, f"has no entries; it is {shown(tree)}")


def _put(tree: Any, key: Key, value: Any) -> None:
    for step in key[:-1]:
        if (tree.get(step) if isinstance(tree, dict) else tree[step]) is None:
            tree[step] = {}
        tree = tree[step]
    tree[key[-1]] = value


# --- the schema, and its mistakes in words --------------------------------------------------------------


def _convert(tree: Tree) -> Scenario:
    try:
        return msgspec.convert(tree.value, Scenario)
    except msgspec.ValidationError as error:
        raise _reworded(str(error), tree) from None


def _reworded(message: str, tree: Tree) -> Mistake:
    from scenarios.describe import in_words

    problem, _, path = message.partition(" - at `$")
    key: Key = tuple(name or int(index) for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path))
    kind, value = _at(key, tree.value)
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        return Mistake((*key, unknown[1]), "no such key; " + _nearest(unknown[1], kind))
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        wanted, _ = _at((*key, missing[1]), tree.value)
        return Mistake((*key, missing[1]), f"is missing; it needs {in_words(wanted)}")
    needs = f"needs {in_words(kind)}, has {shown(value)}"
    hint = surprise(value, tree.written.get(key))
    if isinstance(kind, types.StrType) and isinstance(value, bool | int | float | dict) and value != {}:
        hint += ": write it in quotes" if hint else "if it is meant as text, write it in quotes"
    return Mistake(key, f"{needs}; {hint}" if hint else needs)


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

    def absolute(name: str | None) -> str | None:
        return os.path.join(os.path.abspath(path.parent), name) if name and not os.path.isabs(name) else name

    task = msgspec.structs.replace(scenario.task, file=absolute(scenario.task.file))
    texts = scenario.iterate.task
    texts = msgspec.structs.replace(texts, file=absolute(texts.file), test_file=absolute(texts.test_file))
    iterate = msgspec.structs.replace(scenario.iterate, task=texts)

    def settled(agent: Agent) -> Agent:
        simulated = agent.engine == "auto" and agent.model == "simulated"
        return msgspec.structs.replace(agent, engine="simulated") if simulated else agent

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


def asked_differs(old: Scenario, new: Scenario) -> list[str]:
    """The part of `difference` that changes what is asked of whom: a class under way cannot go on with it."""
    # At level 2 the scores choose what is trained on.
    asked = ("scoring.",) if 2 in new.levels else ()
    lines = difference(old, new)
    return [line for line in lines if line.startswith(asked) or not FREE.fullmatch(line.partition(": ")[0])]


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
