"""Loads a scenario file as a checked `Scenario`, and writes it back; words the mistakes in scenario files.

overrides.py makes a tree of the text and its overrides, the schema converts it, and validate.py checks what types
cannot express. scenarios/tasks checks the task and agents/placement the agents; `located` adds file and line to their
errors.
"""

import contextlib
import difflib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect as types
from msgspec.structs import asdict

from broker.engine_args import EXECUTION_ONLY
from broker.errors import Key, LbtError, ScenarioError
from scenarios.config.overrides import Source, source_of
from scenarios.config.schema import Agent, Scenario, StudentCopy
from scenarios.config.section import Section
from scenarios.config.validate import ScenarioMistake, copy_names, dotted, mistakes
from scenarios.config.yaml_tree import Tree, shown, surprise

FREE = re.compile(
    r"name|time_share|metrics|task\.sandbox|(scoring|limits|broker|published)\..*|(teacher|students\.\d+)\.(model|engine|gpu|replicas|capacity"
    rf"|memory_share|max_context|elsewhere|resources(\..*)?|engine_args\.({'|'.join(sorted(EXECUTION_ONLY))}))"
)
"""Entries that change no request. Another model or engine changes requests only if it answers otherwise, which
`Store.keep_answerers` finds out once its weights are loaded."""
REPLAYABLE = re.compile(
    r"name|metrics|baselines|(scoring|limits|broker|published)\..*|task\.problems|lesson\.(rationales|equal_cost)"
    r"|exam\.(problems|repeats|score|allocation)"
    r"|learn\.(?!held_out).*"
)
"""Entries that a replay may change: it needs no new answer, or reports which ones are missing."""
RENAMED = re.compile(r"name|metrics|(limits|broker|published)\..*")
"""Entries that a replay may change where exams were left out by the scores: others would need more of them."""
GROWING = re.compile(
    r"level|baselines|task\.problems|lesson\.(rationales|greedy|equal_cost)|exam\.(problems|repeats|score|invent\.candidates)|(learn|iterate)\..*"
)
"""Entries that `extend` may change, if all that was asked is asked again; and it may add students."""
WITHOUT_FOLDER = ("openai", "simulated", "external")
"""Engines that do not load a model from a local folder."""
STUDY_KEYS = ("lineups", "primary", "cross", "seeds")
"""Keys that a study has, and a scenario never."""
BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")
ABSENT = object()
Described = TypeVar("Described", bound=Section)


def read(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read the scenario in `path` and apply `overrides`, each KEY.PATH=VALUE.

    Raises:
        ScenarioError: the file or an override is wrong; no other error is raised.
    """
    source = source_of(path, overrides)
    if "study" in source.tree.value:
        raise ScenarioError(f"{path} is a study, not a scenario: python run.py study {path}")
    refuse_nameless(path, source)
    return checked(source)


def refuse_nameless(path: Path, source: Source) -> None:
    """Raises ScenarioError for a file without the key `study` that has other keys of a study."""
    keys = [key for key in STUDY_KEYS if key in source.tree.value]
    if keys and "study" not in source.tree.value:
        raise ScenarioError(
            f"{path}: has {keys[0]}, as only studies have, but not the name of the study; add study: NAME"
        )


def checked(source: Source) -> Scenario:
    """The scenario that `source` describes; file names in it are relative to the folder of its file.

    Raises:
        ScenarioError: an entry is wrong; no other error is raised.
    """
    try:
        scenario = _resolve(convert(source.tree, Scenario), os.path.abspath(os.path.expanduser(source.folder)))
        for mistake in mistakes(scenario):
            raise mistake
        scenario = msgspec.structs.replace(scenario, students=with_copies(scenario.students))
    except ScenarioMistake as mistake:
        raise source.error(mistake.key, mistake.message) from None
    return scenario


@contextlib.contextmanager
def located(path: Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Add file and line, or the override, to an error that names an agent or an entry of the scenario in `path`.

    Raises:
        ScenarioError: it replaces such an error.
    """
    with located_in(source_of(path, overrides)):
        yield


@contextlib.contextmanager
def located_in(source: Source) -> Iterator[None]:
    """Like `located`, for a scenario that was read already.

    Raises:
        ScenarioError: it replaces such an error.
    """
    try:
        yield
    except LbtError as error:
        if key := source.key_of(error):
            raise source.error(key, error.message) from error
        raise


# --- conversion to the schema, and its errors -----------------------------------------------------------


def convert(tree: Tree, schema: type[Described]) -> Described:
    """The tree of a file as `schema`, a struct.

    Raises:
        ScenarioMistake: an entry has the wrong name or type.
    """
    try:
        return msgspec.convert(tree.value, schema)
    except msgspec.ValidationError as error:
        raise _reworded(str(error), tree, schema) from None


def _reworded(message: str, tree: Tree, schema: type[Section]) -> ScenarioMistake:
    from scenarios.config.reference import in_words

    problem, _, path = message.partition(" - at `$")
    key: Key = tuple(name or int(index) for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path))
    kind, value = _at(key, tree.value, schema)
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        return ScenarioMistake((*key, unknown[1]), "no such key; " + _nearest(unknown[1], kind))
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        wanted, _ = _at((*key, missing[1]), tree.value, schema)
        return ScenarioMistake((*key, missing[1]), f"is missing; it needs {in_words(wanted)}")
    if isinstance(kind, types.DictType) and isinstance(value, dict):
        # msgspec does not say which value is wrong. Only `resources` has such values, all of them numbers above 0.
        for name, entry in value.items():
            if type(entry) not in (int, float) or entry <= 0:
                key, kind, value = (*key, name), kind.value_type, entry
                break
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


def _at(key: Key, tree: Any, schema: type[Section]) -> tuple[types.Type, Any]:
    """The type at `key` in the schema, and the value there."""
    kind: types.Type = types.type_info(schema)
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
    hint = "; an argument of its engine belongs in engine_args" if "engine_args" in known else ""
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}{hint}"


def _resolve(scenario: Scenario, folder: str) -> Scenario:
    """Make file names absolute, which are relative to `folder`, and resolve entries that depend on others."""

    def absolute(name: str | None) -> str | None:
        return os.path.join(folder, os.path.expanduser(name)) if name else name

    def model(agent: Agent) -> str:
        """The absolute path of a folder beside the file; any other name unchanged."""
        inside = os.path.join(folder, os.path.expanduser(agent.model))
        named = agent.model.startswith((".", "~")) or (agent.model and os.path.isdir(inside))
        return os.path.normpath(inside) if named and agent.engine not in WITHOUT_FOLDER else agent.model

    task = msgspec.structs.replace(
        scenario.task,
        file=absolute(scenario.task.file),
        only=absolute(scenario.task.only),
        exam_files=tuple(absolute(name) or "" for name in scenario.task.exam_files),
    )
    exam = msgspec.structs.replace(scenario.exam, bank=absolute(scenario.exam.bank))
    learn = msgspec.structs.replace(scenario.learn, held_out_file=absolute(scenario.learn.held_out_file))
    texts = scenario.iterate.task
    texts = msgspec.structs.replace(texts, file=absolute(texts.file), test_file=absolute(texts.test_file))
    iterate = msgspec.structs.replace(scenario.iterate, task=texts)

    def settled(agent: Agent) -> Agent:
        if agent.engine == "auto" and agent.model == "simulated":
            return msgspec.structs.replace(agent, engine="simulated")
        return msgspec.structs.replace(agent, model=model(agent))

    students = tuple(settled(student) for student in scenario.students)
    teacher = settled(scenario.teacher)
    return msgspec.structs.replace(
        scenario, task=task, exam=exam, learn=learn, iterate=iterate, teacher=teacher, students=students
    )


def with_copies(students: Sequence[Agent]) -> tuple[Agent, ...]:
    """The students with each copy as one."""
    return tuple(
        StudentCopy(**asdict(student) | {"name": name, "copies": 1}, entry=student.name)
        if student.copies > 1
        else student
        for student in students
        for name in copy_names(student)
    )


# --- writing and comparing ------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        """PyYAML escapes special line breaks only within double quotes."""
        style = '"' if BREAKS.search(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.text)


def dump(described: Section) -> str:
    """A scenario or a study as YAML with all defaults; reading it returns an equal one."""
    plain = _plain(described) if isinstance(described, Scenario) else msgspec.to_builtins(described)
    text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


def _plain(scenario: Scenario) -> Any:
    """The values of the file."""
    return msgspec.to_builtins(msgspec.structs.replace(scenario, students=scenario.entries))


def difference(old: Scenario, new: Scenario) -> list[str]:
    """The differing entries, one line each, in the order of the file: `task.problems: 6 -> 12`."""
    pairs = _differing(_compared(old), _compared(new), ())
    return [f"{key}: {_value(was)} -> {_value(now)}" for key, was, now in pairs]


def _compared(scenario: Scenario) -> Any:
    """The values of the file; `exam.invent.by` is null for the teacher, whether it is named or not."""
    if scenario.exam.invent.by != scenario.teacher.name:
        return _plain(scenario)
    invent = msgspec.structs.replace(scenario.exam.invent, by=None)
    return _plain(msgspec.structs.replace(scenario, exam=msgspec.structs.replace(scenario.exam, invent=invent)))


def asked_differs(old: Scenario, new: Scenario, without_answers: Collection[str] = ()) -> list[str]:
    """The lines of `difference` that change requests: a class that has begun cannot continue with them.

    `without_answers` names agents that have given no answer yet: their `engine_args` may change.
    """
    # At level 2 the scores choose the training data; where exams come in rounds they choose the next exams.
    asked = ("scoring.",) if 2 in new.levels or new.exam.allocation != "full" else ()
    places = {"teacher": new.teacher} | {f"students.{i}": student for i, student in enumerate(new.entries)}
    free = tuple(f"{place}.engine_args." for place, agent in places.items() if agent.name in without_answers)
    return [
        line
        for line in difference(old, new)
        if line.startswith(asked) or not (line.startswith(free) or FREE.fullmatch(line.partition(": ")[0]))
    ]


def is_free(path: str) -> bool:
    """Whether the entry or the section at `path` changes no request, in any student for `*`; see FREE."""
    named = path.replace("*", "0")
    return any(map(FREE.fullmatch, (named, f"{named}.")))


def beyond_extension(old: Scenario, new: Scenario, without_answers: Collection[str] = ()) -> list[str]:
    """The changes that no extension can make: those of requests, other than the entries in GROWING and new students."""
    now = {student.name: student for student in new.students}
    how = old.exam.allocation
    if how == new.exam.allocation != "full" and asked_differs(old, new, without_answers):
        return [f"exam.allocation: {how} asked only the exams that this class needed; a class that can grow asks all"]
    gone = [f"students: {student.name} would be gone" for student in old.students if student.name not in now]
    same = msgspec.structs.replace(new, students=tuple(now.get(student.name, student) for student in old.students))
    changed = asked_differs(old, same, without_answers)
    return gone + [line for line in changed if not GROWING.fullmatch(line.partition(": ")[0])]


def beyond_replay(old: Scenario, new: Scenario) -> list[str]:
    """The changes that a replay of the same records cannot make."""
    known = {student.name: student for student in old.students}
    strangers = [f"students: {s.name} was not in this class as such" for s in new.students if known.get(s.name) != s]
    if (how := old.exam.allocation) != "full":
        beyond = [line for line in difference(old, new) if not RENAMED.fullmatch(line.partition(": ")[0])]
        return [*beyond, f"exam.allocation: {how} asked only the exams that its own rules need"] if beyond else []
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
