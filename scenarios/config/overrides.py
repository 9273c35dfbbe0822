"""Puts a scenario file on its base, applies overrides, and records the line or override that each part comes from.

scenarios/config/load.py converts the tree to the structs of scenarios/config/schema.py.
"""

import copy
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from broker.errors import Key, LbtError, ScenarioError
from broker.protocol import pool_of
from scenarios.config.validate import ScenarioMistake, dotted
from scenarios.config.yaml_tree import MAX_BYTES, Tree, TreeError, parse, parse_value, shown

WHOLE = "engine_args"
"""The section whose keys depend on another entry, the engine: it is replaced as a whole."""
FILES = ("file", "test_file", "only", "exam_files", "held_out_file", "bank")
"""Entries that name files."""


class Source:
    """A tree of values with the origin of each part: a line of the file, or an override."""

    def __init__(self, path: Path, tree: Tree) -> None:
        self.path = path
        self.folder = path.parent
        """Names of files are relative to it."""
        self.tree = tree
        self.overridden: dict[Key, str] = {}

    def error(self, key: Key, message: str) -> ScenarioError:
        """An error about `key`: `message` with the nearest known line or override, and the name of the agent."""
        agent = self._agent_at(key)
        text = f"{dotted(key)}{agent}: {message}" if key else message
        if origin := self._override_of(key):
            return ScenarioError(f"{origin}{agent}: {message}" if origin.endswith(dotted(key)) else f"{origin}: {text}")
        return ScenarioError(f"{self.path}:{self._line(key)}: {text}")

    def place(self, key: Key) -> str:
        """Where `key` comes from, for an error: the override, or file, line and key."""
        return self._override_of(key) or f"{self.path}:{self._line(key)}: {'.'.join(map(str, key))}"

    def _line(self, key: Key) -> int:
        """The line of `key`, or of the nearest section around it that has one."""
        return next(self.tree.lines[key[:n]] for n in range(len(key), -1, -1) if key[:n] in self.tree.lines)

    def key_of(self, error: LbtError) -> Key:
        """The full key of the entry that `error` is about; empty if it names none."""
        if not error.agent:
            return error.key
        for key, section in self._agents():
            if section.get("name") == pool_of(error.agent):
                return (*key, *error.key)
        return ()

    def _agents(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """The sections of the agents with their keys, without entries that are not sections."""
        root = self.tree.value
        students = root.get("students")
        found: list[tuple[Key, Any]] = [(("teacher",), root.get("teacher"))]
        found += [(("students", i), one) for i, one in enumerate(students if isinstance(students, list) else ())]
        yield from ((key, section) for key, section in found if isinstance(section, dict))

    def _agent_at(self, key: Key) -> str:
        """The name of the agent whose section has `key`, in brackets; empty for the key `name` and elsewhere."""
        for start, section in self._agents():
            name = section.get("name")
            if key[: len(start)] == start and key != (*start, "name") and isinstance(name, str):
                return f" ({name[:40]})"
        return ""

    def _override_of(self, key: Key) -> str:
        """The override that set `key`, a section around it or an entry in it; empty if `key` is from the file."""
        if key in self.tree.lines:
            return ""
        holding = (self.overridden[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.overridden)
        held = (origin for below, origin in self.overridden.items() if below[: len(key)] == key)
        return next(holding, "") or next(held, "")

    def assign(self, steps: Sequence[str], value: Tree, origin: str) -> None:
        """Set the entry that a path names to `value`, which comes from `origin`; `*` stands for every item of a list.

        Raises:
            ScenarioMistake: the path names no entry that can be.
        """
        for key in _targets(self.tree.value, steps, ()):
            _put(self.tree.value, key, copy.deepcopy(value.value))
            self._record(key, value, origin)

    def _record(self, key: Key, value: Tree, origin: str) -> None:
        """Record that `key` and everything below it now comes from `origin`."""
        for known in (self.tree.lines, self.tree.written, self.overridden):
            for below in [k for k in known if k[: len(key)] == key]:
                del known[below]
        self.tree.written |= {(*key, *below): text for below, text in value.written.items()}
        self.overridden[key] = origin


def beside(path: Path, name: str) -> str:
    """A file name relative to the folder of `path`, as an absolute path."""
    return os.path.join(os.path.abspath(os.path.expanduser(path.parent)), os.path.expanduser(name))


def absolute(name: str, value: Any, path: Path) -> Any:
    """The value of the entry `name` with names of files and of model folders, relative to the file `path`, absolute."""
    if isinstance(value, dict):
        return {key: absolute(str(key), entry, path) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [absolute(name, entry, path) for entry in value]
    if not isinstance(value, str) or not value:
        return value
    inside = beside(path, value)
    is_model = name == "model" and (value.startswith((".", "~")) or os.path.isdir(inside))
    return os.path.normpath(inside) if is_model or name in FILES else value


class Edit:
    """Puts entries of a file into the tree of its base, each with its line in that file.

    Args:
        source: the base.
        written: the file: a study, or a scenario.
    """

    def __init__(self, source: Source, written: Source) -> None:
        self._source = source
        self._written = written
        source.tree.value.pop("published", None)  # those figures are about the base alone

    def put_path(self, path: str, value: Any, origin: Key) -> None:
        """Set the entry at a dotted path. A section, but for WHOLE, changes only the entries that it names."""
        if isinstance(value, dict) and value and not path.endswith(WHOLE):
            for name, entry in value.items():
                self.put_path(f"{path}.{name}", entry, (*origin, name))
            return
        try:
            self.put(tuple(path.split(".")), value, origin)
        except ScenarioMistake as mistake:
            where = f"{dotted(mistake.key)}: " if mistake.key else ""
            raise ScenarioMistake(origin, f"{where}{mistake.message}") from None

    def put(self, steps: Sequence[str], value: Any, origin: Key) -> None:
        """Set the entry at `steps`, with the line of `origin` in the file."""
        value = absolute(steps[-1], value, self._written.path)
        written, depth = self._written, len(origin)
        scalars = {key[depth:]: text for key, text in written.tree.written.items() if key[:depth] == origin}
        self._source.assign(steps, Tree(value, {}, scalars), written.place(origin))
        for key in (*written.tree.lines, *written.overridden):
            if key[:depth] == origin and len(key) > depth:
                self._source.overridden[(*steps, *key[depth:])] = written.place(key)


def source_of(path: Path, overrides: Sequence[str]) -> Source:
    """The tree of a file with the overrides applied.

    Raises:
        ScenarioError: the file or an override cannot be used.
    """
    source = read_source(path)
    if "base" in source.tree.value and "study" not in source.tree.value:
        source = _on_base(source)
    for one in overrides:
        override(source, one)
    return source


def read_source(path: Path) -> Source:
    """The tree of a file as it is.

    Raises:
        ScenarioError: it cannot be read, or has no sections.
    """
    """The tree of a file as it is.

    Raises:
        ScenarioError: it cannot be read, or has no sections.
    """
    try:
        source = Source(path, parse(_text(path)))
    except TreeError as error:
        raise ScenarioError(f"{path}:{error.line}: {error}") from None
    if source.tree.value is None:
        raise ScenarioError(f"{path}: the file is empty; docs/scenarios.md shows a small one")
    if not isinstance(source.tree.value, dict):
        raise ScenarioError(f"{path}: needs sections (key: value), has {shown(source.tree.value)}")
    return source


def _on_base(written: Source) -> Source:
    """The base of a scenario with the entries of the scenario put into it.

    Raises:
        ScenarioError: the base cannot be used.
    """
    entries = dict(written.tree.value)
    name, key = entries.pop("base"), ("base",)
    if not isinstance(name, str) or not name:
        raise written.error(key, f"needs the name of a scenario file, has {shown(name)}")
    path = Path(os.path.normpath(beside(written.path, name)))
    if not path.is_file():
        raise written.error(key, f"{path}: no such file; name a scenario, relative to this one")
    source = read_source(path)
    if second := {"base", "study"} & source.tree.value.keys():
        what = "is a study" if "study" in second else "has a base itself"
        raise written.error(key, f"{path} {what}; name a scenario without a base")
    source.tree.value.update(absolute("", source.tree.value, path))
    source.folder = written.path.parent
    edit = Edit(source, written)
    try:
        for entry, value in entries.items():
            edit.put_path(str(entry), value, (entry,))
    except ScenarioMistake as mistake:
        raise written.error(mistake.key, mistake.message) from None
    return source


def _text(path: Path) -> str:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ScenarioError(f"{path}: no such file") from None
    except IsADirectoryError:
        if (of_class := Path(os.path.expanduser(path), "scenario.yaml")).is_file():
            raise ScenarioError(
                f"{path} is the folder of a class; this needs a scenario file or a study file, and `plan` also takes "
                f"the folder of a study\nWhat the class asks: python run.py plan {shlex.quote(str(of_class))}"
            ) from None
        raise ScenarioError(f"{path} is a folder; this needs a scenario file or a study file") from None
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ScenarioError(f"{str(path)!r}: not a file name: {error}") from None
    if len(data) > MAX_BYTES:
        raise ScenarioError(f"{path}: larger than {MAX_BYTES} bytes; that is not a scenario")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScenarioError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None


# --- overrides ------------------------------------------------------------------------------------------


def override(source: Source, text: str) -> None:
    """Apply an override, KEY.PATH=VALUE.

    Raises:
        ScenarioError: it cannot be used.
    """
    path, equals, written = text.partition("=")
    origin = f"--set {dotted(tuple(path.split('.')))}"
    if not equals or not all(path.split(".")):
        raise ScenarioError(f"--set {text[:60]!r}: needs KEY.PATH=VALUE, such as task.problems=4")
    try:
        value = parse_value(written) if written.strip() else Tree("", {}, {})
    except TreeError as error:
        hint = "; write text in quotes" if error.message.startswith("not YAML") else ""
        raise ScenarioError(f"{origin}: {error}{hint}") from None
    try:
        source.assign(path.split("."), value, origin)
    except ScenarioMistake as mistake:
        where = f"{dotted(mistake.key)}: " if mistake.key else ""
        raise ScenarioError(f"{origin}: {where}{mistake.message}") from None


def _targets(tree: Any, steps: Sequence[str], done: Key) -> Iterator[Key]:
    """The keys that a path names; `*` stands for every index of a list."""
    if not steps:
        yield done
        return
    step, rest = steps[0], steps[1:]
    if isinstance(tree, list):
        if step == "*":
            if not tree:
                raise ScenarioMistake(done, "the list is empty")
            for index, item in enumerate(tree):
                yield from _targets(item, rest, (*done, index))
            return
        if not re.fullmatch("[0-9]{1,6}", step) or int(step) >= len(tree):
            there = f"0 to {len(tree) - 1}" if tree else "none"
            raise ScenarioMistake(done, f"no number {step!r} in this list; there are {there}, and * for all")
        yield from _targets(tree[int(step)], rest, (*done, int(step)))
    elif isinstance(tree, dict) or tree is None:
        inside = tree.get(step) if tree else None
        yield from _targets(inside, rest, (*done, step))
    else:
        raise ScenarioMistake(done, f"has no entries; it is {shown(tree)}")


def _put(tree: Any, key: Key, value: Any) -> None:
    for step in key[:-1]:
        if (tree.get(step) if isinstance(tree, dict) else tree[step]) is None:
            tree[step] = {}
        tree = tree[step]
    tree[key[-1]] = value
