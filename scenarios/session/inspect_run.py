"""The commands that read a run and change nothing in it: `show` prints parts of it, `export` writes it as tables."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from broker.errors import ScenarioError
from scenarios.report.console import print_json, say
from scenarios.session.exit_codes import COMPLETE
from scenarios.session.run_dir import RunFolder

MOST = 3
"""TP, TR and student."""


def show(run_dir: Path, /, *names: str, as_json: Annotated[bool, Parameter("--json", negative="")] = False) -> int:
    """Show a teaching problem, a rationale, its exams, and their prompts: show RUN [TP [TR [STUDENT]]].

    TP is a number or the beginning of an id; TR is a repeat, greedy, or the beginning of an id.
    """
    from scenarios.report import show as shows
    from scenarios.report import show_text

    if len(names) > MOST:
        raise ScenarioError(f"not understood: {' '.join(names[MOST:])}; show RUN [TP [TR [STUDENT]]]")
    folder = RunFolder(run_dir)
    with folder.recorded(folder.scenario()) as recorded:
        shown = shows.find(recorded, names)
    if as_json:
        print_json(shown)
    else:
        show_text.print_shown(Console(), shown, str(folder))
    return COMPLETE


def export(
    run_dir: Path,
    /,
    *,
    to: Annotated[Literal["parquet", "csv", "jsonl"], Parameter(help="The format of the files.")],
    out_dir: Annotated[Path | None, Parameter("--out", help="A new folder for the files; default: RUN/export.")] = None,
) -> int:
    """Write the rationales, exams, students, problems, trainings and rounds of a class as tables."""
    return COMPLETE
