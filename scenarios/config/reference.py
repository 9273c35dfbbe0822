"""The scenario schema in words: docs/scenarios.md is what this prints, `python -m scenarios.config.reference`.

Keys, types, bounds and defaults come from the structs of scenarios/config/schema.py; meanings from the docstrings under
their fields, which Python forgets and the source keeps. `in_words` also words the mistakes that
scenarios/config/load.py reports. It states nothing that the schema does not.
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
from scenarios.config import schema
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

A scenario file says who is in a class, what is taught and how it is examined. It is YAML: plain values only, every
key known, no key twice. A mistake is reported with its file, line and key, and the agent's name where it is one's, and
nothing is started: models, families and engine arguments included. A mistake in an override names the override.
`python run.py plan FILE` reads a file, counts what it would ask, and starts nothing.

A complete file; what it leaves out takes the defaults below:

```yaml
{EXAMPLE}```

YAML 1.1 reads `no`, `off` and `on` as false and true, `1:30` as a number, and `1e-3` as text: names and personas
that look like anything but text go in quotes, and small numbers are written `1.0e-3`.

## Changing an entry for one run

`--set KEY.PATH=VALUE` changes one entry without touching the file, and may be given several times. The path goes
through sections by name and through lists by number, from 0; `*` stands for every one of a list. The value is
YAML in one line; an empty value is empty text. Where YAML would leave a part of the value out, as a comment after ` #`,
the value is refused: text with such characters goes in quotes, `--set 'teacher.persona="Be careful # and quick"'`.

```
python run.py scenarios/multi_student.yaml --set task.problems=2 --set students.0.persona="You are careful."
python run.py scenarios/multi_student.yaml --set 'students.*.engine=simulated' --set 'lesson.sampling={{top_k: 5}}'
```

`--seed N` is short for `--set seed=N`.

`resume` takes every change that changes no request: limits, devices, replicas, the broker, and engine arguments that
decide how fast an answer comes and not what it says. The same model under another name or path is taken, too, and so
is the engine that `auto` stood for.
"""

RULES = """\
## What the tables do not say

- The agents' names differ; `classroom`, `broker` and `monitor` are taken.
- Levels 1 and 2 need a `task`, which has either a `family` or a `file`; level 3 alone takes none, and has its texts
  from `iterate.task`.
- A class has at least one student and at most 64; none is needed for level 3 alone with `iterate.itself`.
- An agent without `model` is simulated; the engines `transformers` and `openai` need a model. `gpu` names no GPU twice.
- In `sampling`, `temperature` and `top_k` are at least 0, `top_p` is above 0 and at most 1, and `max_tokens` is at
  least 1. Where `temperature` is 0 or `top_k` is 1 every draw gives the same text, so `rationales` or `repeats`
  must be 1, and at level 3 `iterate.revisions` (and `iterate.beam`, where the first sets are written).
- `max_context`, where it is given, is larger than the `max_tokens` that the agent is asked for.
- `exam.score: logprob` scores worked solutions: those of gsm_symbolic, and of a file's `solution` (of a variant, or
  beside `question` and `answer`); elsewhere the line `Answer: ...` alone. Not with a student whose engine is `openai`.
- Lists, sections and text in one file: at most a megabyte; no aliases, merge keys or tags.
"""


def in_words(kind: types.Type) -> str:
    """A type of the schema for people: `a whole number, at least 1`."""
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
            return "a section with keys of its own"
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
    """By class, by field: the docstring that stands under the field in the module's source."""
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
    """Where each section stands in the file, and its type; a type that stands in several places comes once."""
    places: dict[type, list[str]] = {}
    found: dict[type, types.StructType] = {}
    _collect(types.type_info(Scenario), "", places, found)
    for cls, kind in found.items():
        yield ", ".join(places[cls]), kind


def _collect(kind: types.Type, place: str, places: dict[type, list[str]], found: dict[type, types.StructType]) -> None:
    if isinstance(kind, types.VarTupleType):
        _collect(kind.item_type, place + ".*", places, found)
    if isinstance(kind, types.StructType):
        known = kind.cls in found
        found[kind.cls] = kind
        places.setdefault(kind.cls, []).append(place)
        for field in kind.fields if not known else ():
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
    return f"`{value}`"


def section_text(place: str, kind: types.StructType, docs: dict[str, dict[str, str]]) -> str:
    """One section of the page: heading, meaning, a table of its keys."""
    heading = f"### `{place}`" if place else "### The file itself"
    lines = [heading, "", " ".join(inspect.cleandoc(kind.cls.__doc__ or "").split()), ""]
    lines += ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for field in kind.fields:
        meaning = docs.get(kind.cls.__name__, {}).get(field.name, "")
        if not meaning and isinstance(field.type, types.StructType | types.VarTupleType):
            meaning = "See below."
        cells = (f"`{field.encode_name}`", in_words(field.type), _default(field), meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def leading_comment(text: str) -> str:
    """The comment lines that a file begins with, as one paragraph."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)


def page() -> str:
    """The whole of docs/scenarios.md."""
    docs = field_docs(work_messages) | field_docs(schema)
    parts = [INTRODUCTION, "## Every section and key\n"]
    parts += [section_text(place, kind, docs) for place, kind in sections()]
    parts.append(RULES)
    parts.append("## The scenarios that come with the project\n")
    here = Path(__file__).parents[1]
    shipped = [*sorted(here.glob("*.yaml")), *sorted(here.glob("paper/*.yaml"))]
    lines = ((path.relative_to(here), leading_comment(path.read_text("utf-8"))) for path in shipped)
    parts.append("".join(f"- `{name}`: {comment}\n" for name, comment in lines))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
