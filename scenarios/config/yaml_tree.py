"""Parses YAML into plain values with line numbers; refuses hostile or surprising text in bounded time.

Plain values are text, whole numbers, numbers, true, false, null, lists, and mappings with text as keys. Everything else
in YAML 1.1 (aliases, merge keys, tags, dates, infinities) is refused with its line, and so are duplicate keys.

ruamel.yaml does not replace PyYAML here: its YAML 1.2 would change the meaning of `no`, `010` and `1e-3` in existing
files without a word, and the bounds below would remain our own code on its nodes, which are the same as PyYAML's.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
import yaml

from broker.errors import Key, ScenarioError

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 20
LARGEST_NUMBER = (1 << 63) - 1
LONGEST_NUMBER = 40
"""Most characters of a number. PyYAML takes time quadratic in the length of 1:1:1 and the like."""

_CORE = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}
_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_AMBIGUOUS = re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+")
"""1e-3 is text in YAML 1.1, whose numbers look like 1.0e-3."""

_UNUSUAL = re.compile(r":|^[-+]?0[0-9_b]")
"""In YAML 1.1, 1:30 has base 60, 010 has base 8 and 0b10 has base 2."""

QUOTE = "write the text in quotes, such as --set 'KEY=\"...\"'"


class TreeError(ScenarioError):
    """The text cannot be parsed into plain values. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Tree(msgspec.Struct):
    """A value with the lines of its parts."""

    value: Any
    lines: dict[Key, int]
    written: dict[Key, str]
    """By key: the characters of each scalar that YAML does not read as text."""


class _Loader(yaml.SafeLoader):
    """Composes nodes within the bounds above."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        peek: Callable[[], yaml.Event] = self.peek_event
        mark = peek().start_mark
        line = mark.line + 1 if mark else 1
        if self.check_event(yaml.AliasEvent):
            raise TreeError(line, "aliases (*name) are not accepted here; write the value out, or text in quotes")
        if name := getattr(peek(), "anchor", None):
            raise TreeError(line, f"anchors (&{name[:40]}) are not accepted here; take it out, or write text in quotes")
        self._nodes += 1
        self._depth += 1
        if self._nodes > MAX_NODES:
            raise TreeError(line, f"more than {MAX_NODES} values; that is not a scenario")
        if self._depth > MAX_DEPTH:
            raise TreeError(line, f"more than {MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def parse(text: str) -> Tree:
    """The only document in `text`; None if it is empty.

    Raises:
        TreeError: the text is not YAML, or a value is not plain; no other error is raised.
    """
    tree = Tree(None, {(): 1}, {})
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not YAML: the character U+{ord(text[error.position]):04X} is not allowed here"
        raise TreeError(line, message) from None
    try:
        node = loader.get_single_node()
        if node is not None:
            tree.value = _plain(loader, node, (), tree)
    except TreeError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "malformed"
        hint = "; indent with spaces, not tabs" if "'\\t'" in problem else ""
        raise TreeError(mark.line + 1 if mark else 1, f"not YAML: {problem}{hint}") from None
    except (ValueError, OverflowError, LookupError):  # such as the escape \UFFFFFFFF
        raise TreeError(loader.line + 1, "not YAML: an escape or a number that cannot be") from None
    return tree


def parse_value(text: str) -> Tree:
    """Parse one value and refuse text of which YAML would drop a part: a comment, a document mark or a line break.

    Raises:
        TreeError: the text is not a plain value, or YAML would drop a part of it.
    """
    tree = parse(text)
    end = 0
    for token in yaml.scan(text):
        if (comment := text.find("#", end, token.start_mark.index)) >= 0:
            raise TreeError(1, f"YAML leaves out {_short(text[comment:])}, a comment: {QUOTE}")
        raw = text[token.start_mark.index : token.end_mark.index]
        if isinstance(token, yaml.DocumentStartToken | yaml.DocumentEndToken | yaml.DirectiveToken):
            raise TreeError(1, f"YAML leaves out {_short(raw)}: {QUOTE}")
        if isinstance(token, yaml.ScalarToken) and token.plain:
            raw = text if token.value == tree.value else raw
            if raw != token.value:
                raise TreeError(1, f"YAML reads {_short(raw)} as {_short(token.value)}: {QUOTE}")
        end = token.end_mark.index
    return tree


def _plain(loader: _Loader, node: yaml.Node, key: Key, tree: Tree) -> Any:
    tree.lines.setdefault(key, _line(node))
    if isinstance(node, yaml.ScalarNode):
        value = _scalar(loader, node)
        if not isinstance(value, str):
            tree.written[key] = node.value
        return value
    if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
        _refuse(node, f"the tag {_short(node.tag)} is not accepted here")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*key, i), tree) for i, item in enumerate(node.value)]
    plain: dict[str, Any] = {}
    for name_node, child in node.value:
        name = _name(loader, name_node)
        entry = (*key, name)
        if name in plain:
            _refuse(name_node, f"{_short(name)} is in this section twice (first in line {tree.lines[entry]})")
        tree.lines[entry] = _line(name_node)
        plain[name] = _plain(loader, child, entry, tree)
    return plain


def _name(loader: _Loader, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        _refuse(node, "a key must be a word, not a list or a section")
    if node.tag == "tag:yaml.org,2002:merge":
        _refuse(node, "merge keys (<<) are not accepted here; write the entries out")
    name = _scalar(loader, node)
    if not isinstance(name, str):
        _refuse(node, f"the key {_short(node.value)} is read as {shown(name)}: write it in quotes")
    return name


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    if node.tag == "tag:yaml.org,2002:timestamp":
        _refuse(node, f"{_short(node.value)} is read as a date: write it in quotes")
    if node.tag not in _CORE:
        if node.value in ("=", "<<"):
            _refuse(node, f"{_short(node.value)} means something else in YAML: write it in quotes")
        _refuse(node, f"the tag {_short(node.tag)} is not accepted here")
    if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
        _refuse(node, f"{_short(node.value)} is too long for a number: write the number plainly, or text in quotes")
    try:
        value = loader.construct_object(node)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError):
        _refuse(node, f"{_short(node.value)} cannot be read as {node.tag.rpartition(':')[2]}: write it in quotes")
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(node, f"{_short(node.value)} is no number that can be used here: it is infinite, or none at all")
    if isinstance(value, int | float) and not isinstance(value, bool) and _UNUSUAL.search(node.value):
        _refuse(node, f"{_short(node.value)} is read as {value}: write the number plainly, or text in quotes")
    if isinstance(value, int) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        _refuse(node, f"{_short(node.value)} is too large: at most {LARGEST_NUMBER}")
    if isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        _refuse(node, "text with a NUL or half a character (a surrogate)")
    return value


def _refuse(node: yaml.Node, message: str) -> NoReturn:
    raise TreeError(_line(node), message)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _short(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def shown(value: Any, limit: int = 40) -> str:
    """A short description of `value` for errors, in the words of YAML and not of Python."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _short(value, limit) if value else "empty text"
    if isinstance(value, dict):
        return "a section (key: value)" if value else "an empty section"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return str(value)


def surprise(value: Any, written: str | None) -> str:
    """A hint about a scalar that YAML 1.1 reads otherwise than people expect; empty if there is none."""
    if isinstance(value, str) and _AMBIGUOUS.fullmatch(value):
        digits, _, power = value.lower().partition("e")
        if not math.isfinite(float(value)):
            return f"{value} is larger than any number that can be used here"
        if float(value).is_integer() and abs(float(value)) < LARGEST_NUMBER:
            return f"YAML reads {value} as text: write {int(float(value))}"
        digits = digits if "." in digits else digits + ".0"
        power = power if power[0] in "+-" else "+" + power
        return f"YAML reads {value} as text: write {digits}e{power}"
    if isinstance(value, bool) and written and written.lower() != shown(value):
        return f"{written!r} is read as {shown(value)}"
    return ""
