"""The commands that need no agent and change no run: `show`, `export` and `replay` read one, `grade` reads a file."""

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from broker.errors import ScenarioError
from scenarios.report.console import print_json, say
from scenarios.report.console import show as print_result
from scenarios.report.formatting import many
from scenarios.report.recorded import RecordedClass
from scenarios.session.command_line import AsJson, Overrides, Overwrite, RunDir
from scenarios.session.exit_codes import COMPLETE
from scenarios.session.run_dir import RunFolder

if TYPE_CHECKING:
    from scenarios.report.export import Exported

MOST = 3
"""TP, TR and student."""


def show(
    run_dir: RunDir,
    /,
    *names: Annotated[
        str,
        Parameter(
            help="TP: its number or the beginning of its id. TR: its repeat, `greedy`, or the beginning of its id. "
            "STUDENT: its name. At level 3 instead the beginning of a set's key."
        ),
    ],
    as_json: AsJson = False,
) -> int:
    """Show a teaching problem, a rationale, its exams, and their prompts: show RUN [TP [TR [STUDENT]]]."""
    from scenarios.report import show as shows
    from scenarios.report import show_text

    if len(names) > MOST:
        raise ScenarioError(f"not understood: {' '.join(names[MOST:])}; show RUN [TP [TR [STUDENT]]]")
    folder = RunFolder(run_dir)
    scenario = folder.scenario()
    with folder.recorded(scenario, partial(shows.needed, scenario, names)) as recorded:
        shown = shows.find(recorded, names)
    if as_json:
        print_json(shown)
    else:
        show_text.print_shown(Console(), shown, str(folder))
    return COMPLETE


def export(
    run_dir: RunDir,
    /,
    *,
    to: Annotated[Literal["parquet", "csv", "jsonl"], Parameter(help="The format of the files.")],
    out_dir: Annotated[Path | None, Parameter("--out", help="A new folder for the files; default: RUN/export.")] = None,
    overwrite: Overwrite = False,
) -> int:
    """Write the records of a class as tables; docs/data.md explains their columns."""
    from scenarios.report.export import export as write

    folder = RunFolder(run_dir)
    folder.scenario()  # refuses what is no run
    out = out_dir or folder.path / "export"
    tell_exported(Console(), write({str(folder): folder.path}, to, out, recorded, overwrite=overwrite), to)
    return COMPLETE


def tell_exported(out: Console, done: "Exported", to: str) -> None:
    """Say which tables were written, and which were not."""
    for name, rows in done.rows.items():
        say(out, f"{name}.{to}: {many(rows, 'row')}")
    for name, why in done.absent.items():
        say(out, f"no {name}: {why}")
    say(out, f"The tables are in {done.folder}; docs/data.md explains the columns.")


def replay(run_dir: RunDir, /, *, overrides: Overrides = (), as_json: AsJson = False) -> int:
    """Score the recorded answers of a class under another rule, and name what was never asked."""
    from scenarios.session import rerun

    rerun.show_replayed(Console(), RunFolder(run_dir), overrides, as_json=as_json)
    return COMPLETE


def grade(
    pairs: Annotated[Path, Parameter(help="A file with a gold answer and a response in each line.")],
    /,
    *,
    as_json: AsJson = False,
) -> int:
    """Grade the responses in a JSON-lines file with `gold`, `response` and, optionally, `form`, `right` and `id`."""
    from scenarios.report import graded_file

    print_result(Console(), graded_file.grade_file(pairs), graded_file.tables, as_json=as_json)
    return COMPLETE


def recorded(path: Path) -> AbstractContextManager[RecordedClass]:
    """The recorded results of the class in this folder."""
    folder = RunFolder(path)
    return folder.recorded(folder.scenario())
