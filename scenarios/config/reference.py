"""Prints docs/scenarios.md, the reference of scenario files: `python -m scenarios.config.reference`.

Keys, types, bounds and defaults come from the structs of schema.py and what it imports, and meanings from the
docstrings under their fields in their source. scenarios/config/load.py uses `in_words` for its errors.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from msgspec import NODEFAULT
from msgspec import inspect as types

from broker import work_messages
from scenarios.config import invention_schema, iterate_schema, process_schema, published, schema
from scenarios.config.schema import Scenario

PATTERNS = {
    "^[a-z][a-z0-9_-]{0,31}$": "a name (a small letter, then at most 31 small letters, digits, - or _)",
    "^(ipc$|tcp://)": "ipc or tcp://HOST:PORT",
}

EXAMPLE = """\
name: my_first_class
task:
  family: chain_sum
  problems: 4
teacher:
  name: teacher
  model: qwen2.5-coder-0.5b-instruct
students:
  - name: tiny
    model: smollm2-135m-instruct
  - name: hasty
    model: qwen2.5-coder-0.5b-instruct
    persona: You answer in one short line.
lesson:
  rationales: 4
exam:
  problems: 2
"""

INTRODUCTION = f"""\
# Scenario files

A scenario file describes a class: its agents, what the teacher teaches, and the exams. It is YAML.
[glossary.md](glossary.md) explains the abbreviations (TP, TR, EP, EA, LbT, SC, M1, M2, M3, MAX, SUM). `python run.py
plan FILE` checks a file, counts its requests, and starts nothing. If the file has an error, the class does not start;
the message names the file, the line and the key, or the value of `--set`.

This is a complete file. All other keys have the defaults below:

```yaml
{EXAMPLE}```

YAML 1.1 reads `no`, `off` and `on` as false and true, `1:30` as a number, and `1e-3` as text. So put such texts in
quotes, and write small numbers as `1.0e-3`.

A scenario can be based on another one: `base: FILE`, relative to the scenario. The rest of the file then changes the
base: a section changes only the entries that it names, but a list and `engine_args` are replaced as a whole. File
names are relative to the file that contains them. A base cannot have a base itself, and its `published` figures are not
used. `scenarios/paper/m1_math_gpt4o_mini.yaml` is an example.

## Changing an entry for one run

`--set KEY.PATH=VALUE` changes one entry without changing the file; use it as often as you like. The path names sections
by their keys and items of lists by their numbers, from 0; `*` stands for every item. The value is YAML on one line; an
empty value is empty text. If YAML would drop a part of the value, such as a comment after ` #`, the value is refused:
put such text in quotes, `--set 'teacher.persona="Be careful # and quick"'`.

```
python run.py scenarios/multi_student.yaml --set task.problems=2 --set students.0.persona="You are careful."
python run.py scenarios/multi_student.yaml --set 'students.*.engine=simulated' --set 'lesson.sampling={{top_k: 5}}'
```

`--seed N` is short for `--set seed=N`.

`resume` accepts every change that changes no request: limits, devices, replicas, the broker, and engine arguments that
affect the speed of an answer but not its text. It also accepts another name or path of the same model, and the engine
that `auto` chose.

`extend` also accepts larger numbers (`task.problems`, `lesson.rationales`, `exam.problems`, `exam.repeats`,
`exam.invent.candidates`), further students at the end of the list, `lesson.equal_cost`, `baselines`, and levels after
the last one. The larger class must contain all requests that were made before. So `extend` is refused, and changes
nothing, if

- level 2 or 3 has begun and the new results would change its requests: more rationales or exams change the pairs of a
  training (`lesson.equal_cost`, `learn.samples` and `learn.rationales` do not);
- a further identical student would change the repeats of the others (`exam.repeats` above 1);
- the problems cannot be drawn again;
- `exam.allocation` is not `full`.

`extend STUDY_RUN` changes all classes of a study alike ([studies.md](studies.md#extending-a-study)). Decide the numbers
before you see a result: if you extend a class because of its result, you find differences that are chance more often
than the p-values say.

With `lesson.equal_cost`, a larger class may need fewer further rationales. The others stay in its records and do not
count.
"""

RULES = """\
## What the tables do not say

- Each agent has its own name; `classroom`, `broker` and `monitor` are reserved.
- Levels 1 and 2 need a `task` with either a `family` or a `file`. Level 3 alone has no `task`; its texts come from
  `iterate.task`.
- A class has 1 to 1,000 students; level 3 alone with `iterate.itself` needs none.
- `task.only` and `task.exam_files` need `task.file`; [your-own-problems.md](your-own-problems.md) explains them.
- An agent without `model` is simulated; the engines `transformers` and `openai` need one. `gpu` names each GPU once.
- In `sampling`, `temperature` and `top_k` are at least 0, `top_p` is above 0 and at most 1, and `max_tokens` is at
  least 1. If `temperature` is 0 or `top_k` is 1, every draw gives the same text, so `rationales` or `repeats` must be
  1, and so must `iterate.revisions` at level 3 (and `iterate.beam`, if the teacher writes the first sets).
- `students.*.sampling` is for exams on rationales; the dense score of `exam.score: logprob` does not depend on it.
- `max_context`, if given, is larger than the `max_tokens` of the agent's requests.
- `exam.score: logprob` scores worked solutions: those of gsm_symbolic, and the `solution` of a file (of a variant, or
  beside `question` and `answer`); otherwise only the line `Answer: ...`. The engine `openai` does not support it.
- A scenario file has at most a megabyte, and no duplicate keys, aliases, merge keys or tags.
"""

SHIPPED = """\
## The scenarios that come with the project

Of those in `paper/` the list has only the first sentence. The comment at the top of each file also says what it needs,
and how it differs from the paper.

"""


def in_words(kind: types.Type) -> str:
    """A type of the schema in words: `a whole number, at least 1`."""
    match kind:
        case types.IntType():
            return "a whole number" + _bounds(kind)
        case types.FloatType():
            return "a number" + _bounds(kind)
        case types.StrType():
            return PATTERNS.get(kind.pattern or "", "text")
        case types.BoolType():
            return "true or false"
        case types.LiteralType():
            *others, last = (str(value) for value in kind.values)
            return f"{', '.join(others)} or {last}" if others else last
        case types.UnionType():
            members = [in_words(member) for member in kind.types if not isinstance(member, types.NoneType)]
            return ", or ".join(members)
        case types.VarTupleType():
            least = f" of at least {kind.min_length}" if kind.min_length else ""
            return f"a list{least}, each {in_words(kind.item_type)}"
        case types.StructType():
            return "a section"
        case types.DictType():
            if isinstance(kind.value_type, types.AnyType):
                return "a section with keys of its own"
            return f"{{NAME: VALUE}}, each value {in_words(kind.value_type)}"
    return "any value"


def _bounds(kind: types.IntType | types.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge} to {kind.le}"
    parts = [
        f"{word} {bound}"
        for word, bound in (("at least", kind.ge), ("above", kind.gt), ("at most", kind.le), ("below", kind.lt))
        if bound is not None
    ]
    return ", " + " and ".join(parts) if parts else ""


def field_docs(module: ModuleType) -> dict[str, dict[str, str]]:
    """By class and field: the docstring under the field in the module's source."""
    docs: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = docs.setdefault(node.name, {})
        for entry, below in zip(node.body, node.body[1:], strict=False):
            match entry, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    fields[name] = " ".join(text.split())
    return docs


def sections() -> Iterator[tuple[str, types.StructType]]:
    """The places of each section in the file, and its type; a type with several places comes once."""
    places: dict[type, list[str]] = {}
    found: dict[type, types.StructType] = {}
    _collect(types.type_info(Scenario), "", places, found)
    for cls, kind in found.items():
        yield ", ".join(places[cls]), kind


def _collect(kind: types.Type, place: str, places: dict[type, list[str]], found: dict[type, types.StructType]) -> None:
    if isinstance(kind, types.VarTupleType):
        _collect(kind.item_type, place + ".*", places, found)
    if isinstance(kind, types.StructType):
        found[kind.cls] = kind
        places.setdefault(kind.cls, []).append(place)
        for field in kind.fields:
            _collect(field.type, f"{place}.{field.encode_name}".lstrip("."), places, found)


def _default(field: types.Field) -> str:
    if field.required:
        return "required"
    value: Any = field.default
    if value is NODEFAULT:
        value = field.default_factory() if callable(field.default_factory) else None
    if value is None:
        return "nothing"
    if isinstance(value, msgspec.Struct):
        return "its own defaults"
    if value in ("", {}):
        return "empty"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def section_text(place: str, kind: types.StructType, docs: dict[str, dict[str, str]]) -> str:
    """One section of the page: a heading, its meaning, and a table of its keys."""
    heading = f"### `{place}`" if place else "### The file itself"
    lines = [heading, "", " ".join(inspect.cleandoc(kind.cls.__doc__ or "").split()), ""]
    lines += ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for field in kind.fields:
        found = (docs.get(cls.__name__, {}).get(field.name) for cls in kind.cls.__mro__)
        meaning = next(filter(None, found), "")
        if not meaning and isinstance(field.type, types.StructType | types.VarTupleType):
            meaning = "See below."
        cells = (f"`{field.encode_name}`", in_words(field.type), _default(field), meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def leading_comment(text: str) -> str:
    """The comment lines at the start of a file, as one paragraph."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)


def page() -> str:
    """The text of docs/scenarios.md."""
    modules = (work_messages, iterate_schema, process_schema, invention_schema, published, schema)
    docs = {name: fields for module in modules for name, fields in field_docs(module).items()}
    parts = [INTRODUCTION, "## Every section and key\n"]
    parts += [section_text(place, kind, docs) for place, kind in sections()]
    parts.append(RULES)
    here = Path(__file__).parents[1]
    comments = {
        path.relative_to(here): leading_comment(path.read_text("utf-8")) for path in sorted(here.glob("*.yaml"))
    }
    for path in sorted(here.glob("paper/*.yaml")):  # of these the first sentence
        first, _, _ = leading_comment(path.read_text("utf-8")).partition(". ")
        comments[path.relative_to(here)] = f"{first.removesuffix('.')}."
    parts.append(SHIPPED + "".join(f"- `{name}`: {comment}\n" for name, comment in comments.items()))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
