"""The tables of docs/evidence.md, made from the results in docs/evidence.

`python -m tests.evidence` prints them. A result is the `summary.json` of a class, as the command in docs/evidence.md
wrote it; `study.json` of its study lies beside it. A test compares what is printed here with what the document shows.
"""

from pathlib import Path

import msgspec
from rich.console import Console, Group, RenderableType
from rich.text import Text

from scenarios.report import baselines, signals
from scenarios.report.layout import Sentences
from scenarios.report.lineup_tables import line_ups
from scenarios.report.summary import Summary
from scenarios.report.tables import assumption, comparisons, methods

FOLDER = Path(__file__).parents[1] / "docs" / "evidence"
WIDTH = 100


def class_tables(summary: Summary) -> str:
    """How right each method is, the baselines, the line-ups, and what tells right rationales from wrong ones."""
    parts: list[RenderableType] = [
        methods(summary),
        baselines.table(summary.baselines),
        comparisons(summary),
        line_ups(summary),
        Sentences(assumption(summary)),
        signals.table(summary.signals),
    ]
    console = Console(width=WIDTH, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(Group(*(one for part in parts for one in (part, Text()))))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip()


def tables() -> dict[str, str]:
    """By the name of a result, its tables."""
    return {
        path.name: class_tables(msgspec.json.decode(path.read_bytes(), type=Summary))
        for path in sorted(FOLDER.glob("*.summary.json"))
    }


def main() -> None:
    """Print the tables of every result."""
    for name, text in tables().items():
        print(f"{name}\n\n{text}\n")


if __name__ == "__main__":
    main()
