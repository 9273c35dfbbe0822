"""Printing sentences and summaries to a console."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec
from rich.console import Console
from rich.text import Text

from broker.printable import printable_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scenarios.report.summary import Summary

Found = TypeVar("Found")


def say(console: Console, *texts: str, style: str = "") -> None:
    """Print sentences, a line each; control characters in names and model texts are removed."""
    for text in texts:
        console.print(Text(printable_lines(text), style=style), soft_wrap=True)


def print_json(found: object) -> None:
    """Print data as JSON on standard output."""
    print(json.dumps(msgspec.to_builtins(found), indent=1))


def show(console: Console, found: Found, tables: "Callable[[Found], RenderableType]", *, as_json: bool = False) -> None:
    """Print data as `tables` makes them, or as JSON on standard output."""
    if as_json:
        print_json(found)
    else:
        console.print(tables(found))


def show_summary(console: Console, summary: "Summary", *, as_json: bool = False, **more: object) -> None:
    """Print a summary as tables, or as JSON on standard output, with `more` entries."""
    if as_json:
        return print_json(msgspec.json.decode(msgspec.json.encode(summary)) | more)
    from scenarios.report import tables

    console.print(tables.summary_tables(summary))
