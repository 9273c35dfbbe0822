"""Printing sentences and summaries to a console."""

import json
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from broker.printable import printable_lines


def say(console: Console, text: str) -> None:
    """Print a sentence; control characters in names and model texts are removed."""
    console.print(Text(printable_lines(text)), soft_wrap=True)


def print_json(found: object) -> None:
    """Print data as JSON on standard output."""
    print(json.dumps(msgspec.to_builtins(found), indent=1))


def show_summary(console: Console, summary: dict[str, Any], *, as_json: bool = False) -> None:
    """Print a summary as tables, or as JSON on standard output."""
    if as_json:
        return print_json(summary)
    from scenarios.report import tables

    console.print(tables.summary_tables(summary))
