"""Printing sentences and summaries to a console."""

import json
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.text import Text

from broker.printable import printable_lines

if TYPE_CHECKING:
    from scenarios.report.summary import Summary


def say(console: Console, text: str) -> None:
    """Print a sentence; control characters in names and model texts are removed."""
    console.print(Text(printable_lines(text)), soft_wrap=True)


def print_json(found: object) -> None:
    """Print data as JSON on standard output."""
    print(json.dumps(msgspec.to_builtins(found), indent=1))


def show_summary(console: Console, summary: "Summary", *, as_json: bool = False, **more: object) -> None:
    """Print a summary as tables, or as JSON on standard output, with `more` entries."""
    if as_json:
        return print_json(msgspec.json.decode(msgspec.json.encode(summary)) | more)
    from scenarios.report import tables

    console.print(tables.summary_tables(summary))
