"""The commands `show`, `report` and `export` on the folder of a study, or else of a class (session/inspect_run).

`show` says which classes a study has, and `export` writes all of them as one set of tables.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from broker.errors import ScenarioError, in_words
from scenarios.report.console import print_json, say
from scenarios.report.formatting import many
from scenarios.report.layout import Ruled, Trimmed
from scenarios.session import inspect_run
from scenarios.session.command_line import AsJson, Overwrite, RunOrStudyDir
from scenarios.session.conclusion import report_class
from scenarios.session.exit_codes import COMPLETE, FAILED
from scenarios.session.run_dir import RunFolder
from scenarios.studies.commands import rebuild_study
from scenarios.studies.folder import StudyFolder
from scenarios.studies.terms import value_label


def report(run_dir: RunOrStudyDir, /, *, as_json: AsJson = False) -> int:
    """Rebuild the summary and the page of a class or study from the recorded answers, and print the tables."""
    out, err = Console(), Console(stderr=True)
    if (of := StudyFolder(run_dir)).used:
        return rebuild_study(of, out, err, as_json=as_json)
    return report_class(RunFolder(run_dir), out, err, as_json=as_json)


def show(
    run_dir: Annotated[Path, Parameter(help="The folder of a class or a study.")],
    /,
    *names: Annotated[
        str,
        Parameter(
            help="For a class: TP, TR and STUDENT. TP: the number of a problem, or the beginning of its id. TR: the "
            "repeat of a rationale, `greedy`, or the beginning of its id. At level 3: the beginning of a set's key."
        ),
    ],
    as_json: Annotated[bool, Parameter("--json", help="Print JSON.", negative="")] = False,
) -> int:
    """Show a teaching problem, a rationale, its exams, and their prompts: show RUN [TP [TR [STUDENT]]].

    Of a study: its classes.
    """
    study = StudyFolder(run_dir)
    if not study.used:
        return inspect_run.show(run_dir, *names, as_json=as_json)
    if names:
        raise ScenarioError(f"{study} is a study: name one of its classes: python run.py show {study}/runs/CLASS ...")
    rows = [(cell, run := study.run(cell), run.trouble()) for cell in study.cells()]
    if as_json:
        print_json(
            [
                {"cell": cell.name, "folder": f"runs/{cell.name}", "factors": cell.factors, "seed": cell.seed}
                | {"status": "unreadable" if trouble else run.status, "reason": in_words(trouble) if trouble else ""}
                | {"progress": "" if trouble else run.progress()}
                for cell, run, trouble in rows
            ]
        )
        return COMPLETE
    table = Ruled(f"{study.study().study}: {many(len(rows), 'class', 'classes')} in {study}/runs")
    table.add_column("class", fold=True)
    table.add_columns("status", right=False)
    table.add_column("so far", fold=True)
    for cell, run, trouble in rows:
        standing = ("unreadable", "") if trouble else (run.status, run.progress() or run.figures())
        table.add_row(cell.name, *standing)
    out = Console()
    out.print(Trimmed(table))
    for _, run, trouble in rows:
        if trouble:
            say(Console(stderr=True), run.repair(trouble))
    begun = next((run for _, run, trouble in rows if run.used and not trouble), None)
    say(out, f"Show one of them: python run.py show {begun}" if begun else study.go_on)
    return COMPLETE


def export(
    run_dir: Annotated[Path, Parameter(help="The folder of a class or a study.")],
    /,
    *,
    to: Annotated[Literal["parquet", "csv", "jsonl"], Parameter(help="The format of the files.")],
    out_dir: Annotated[Path | None, Parameter("--out", help="A new folder for the files; default: RUN/export.")] = None,
    overwrite: Overwrite = False,
) -> int:
    """Write the records of a class, or of all classes of a study, as tables; docs/data.md explains their columns."""
    from scenarios.report.export import export as write

    study = StudyFolder(run_dir)
    if not study.used:
        return inspect_run.export(run_dir, to=to, out_dir=out_dir, overwrite=overwrite)
    cells = study.cells()
    begun = {cell.name: cell for cell in cells if (study.run(cell).path / "class.db").exists()}
    if not begun:
        raise ScenarioError(f"{study}: no class of this study has begun, so there is nothing to write. {study.go_on}")
    folders = {name: study.run(cell).path for name, cell in begun.items()}
    factors: dict[str, dict[str, Any]] = {
        name: {factor: value_label(value) for factor, value in cell.factors.items()} | {"seed": cell.seed}
        for name, cell in begun.items()
    }
    to_folder = out_dir or study.path / "export"
    done = write(folders, to, to_folder, inspect_run.recorded, factors, overwrite=overwrite)
    out = Console()
    if done.rows or not done.left_out:
        inspect_run.tell_exported(out, done, to)
    if left := len(cells) - len(begun):
        say(out, f"{many(left, 'class', 'classes')} of the study left out: not begun.")
    for name, why in done.left_out.items():
        say(Console(stderr=True), study.run_named(name).repair(why))
    return FAILED if done.left_out else COMPLETE
