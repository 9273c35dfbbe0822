"""Exports recorded classes as tables, one file each: from one run, or from several with their names and factors.

Rows are written in blocks, so that the memory does not grow with the number of exams. export_columns.py has the
columns, export_rows.py the rows, export_files.py the formats.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from broker.errors import ScenarioError, in_words
from scenarios.config import load
from scenarios.report import export_files
from scenarios.report.export_columns import TABLES, Column
from scenarios.report.export_files import Form
from scenarios.report.export_rows import REPLAYED, STORED, Row, problems
from scenarios.report.recorded import UNREADABLE, RecordedClass
from scenarios.store.sqlite import Store

ROWS = 10_000
CHARACTERS = 16 << 20
"""A block ends with so many rows, or with so many characters of text."""
PRIVATE = 0o700
"""Mode of the folder, which holds gold answers and all texts."""
FACTOR = "factor_"
"""Before the name of a factor in the name of its column: `teacher` is another column already."""
Factor = str | int | float | bool | None
Replayed = Callable[[Path], AbstractContextManager[RecordedClass]]
"""Opens a run's folder and feeds its records to a new level: `RunFolder.recorded`."""


class Exported(msgspec.Struct, frozen=True):
    """What was written."""

    folder: str
    rows: dict[str, int]
    """By table."""
    absent: dict[str, str]
    """Tables that were not written, and why."""
    left_out: dict[str, Exception] = {}
    """Runs whose records cannot be read, so that no table has them, and why."""


def export(
    folders: Mapping[str, Path],
    form: Form,
    out: Path,
    replayed: Replayed,
    factors: Mapping[str, Mapping[str, Factor]] | None = None,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write every table that these classes have rows for.

    Args:
        folders: the runs' folders, by name. Where there are several, each table begins with the column `run`.
        form: of the files.
        out: their folder, which is made if it is missing.
        replayed: see `Replayed`; it is called for classes with levels 2 or 3, and with `exam.allocation: halving`.
        factors: by run, the settings in which the runs of a study differ: further columns after `run`,
            as text, such as `factor_teacher`.
        overwrite: replace the tables that an earlier export wrote in this form, once all new ones are written.

    Raises:
        ScenarioError: a file is there already (with `overwrite`: one that no export wrote, or one that may have the
            records of a run that cannot be read now), or a library is missing; nothing was written.
        LbtError, sqlite3.Error: the only run cannot be read; nothing was written.
        OSError: a file cannot be written; none is left.
    """
    export_files.check(form)
    out.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    paths = {name: out / f"{name}.{form}" for name in TABLES}
    there = [path.name for path in paths.values() if path.exists()]
    others = [path.name for name, path in paths.items() if path.exists() and not _exported(name, form, path)]
    if others:
        raise ScenarioError(
            f"{out} holds {', '.join(others)} already, which no export wrote: name another folder with --out"
        )
    if there and not overwrite:
        raise ScenarioError(
            f"{out} holds {', '.join(there)} already: replace them with --overwrite, or name another folder with --out"
        )
    names = list(dict.fromkeys(name for of in (factors or {}).values() for name in of))
    many = len(folders) > 1 or factors is not None
    before = [Column("run", "text", "")] * many + [Column(f"{FACTOR}{name}", "text", "") for name in names]
    left_out: dict[str, Exception] = {}
    rows_of = partial(
        _all_rows, folders=folders, replayed=replayed, factors=factors or {}, names=names, many=many, left_out=left_out
    )
    rows: dict[str, int] | None = None
    while rows is None:
        try:
            rows = _write_tables(paths, form, before, rows_of)
        except UNREADABLE as error:
            run = next((run for run, why in left_out.items() if why is error), None)
            if run is None or (factors is None and len(folders) == 1):
                raise
            if there:
                raise ScenarioError(
                    f"{folders[run]} cannot be read: {in_words(error)}\nNothing was replaced, since the "
                    f"tables in {out} may have its records: name another folder with --out to write the others"
                ) from error
            if len(left_out) == len(folders):
                return Exported(str(out), {}, {}, left_out)
    absent = {name: one.absent or "there are no rows yet" for name, one in TABLES.items() if name not in rows}
    return Exported(str(out), rows, absent, left_out)


def _write_tables(
    paths: Mapping[str, Path], form: Form, before: list[Column], all_rows: Callable[[str], Iterator[Row]]
) -> dict[str, int]:
    """Write all tables, or none of them; returns the number of rows of each that has some."""
    rows: dict[str, int] = {}
    with TemporaryDirectory(dir=paths["problems"].parent, prefix=".export-") as unfinished:
        for table, one in TABLES.items():
            if n := _write(form, Path(unfinished, paths[table].name), [*before, *one.columns], all_rows(table)):
                rows[table] = n
        for table, path in paths.items():
            if table in rows:
                Path(unfinished, path.name).replace(path)
            else:
                path.unlink(missing_ok=True)
    return rows


def _exported(table: str, form: Form, path: Path) -> bool:
    """Whether a file is this table as some export wrote it; those of other versions have further columns, or fewer."""
    return {column.name for column in TABLES[table].columns[:3]} <= set(export_files.names(form, path))


def _all_rows(
    table: str,
    folders: Mapping[str, Path],
    replayed: Replayed,
    factors: Mapping[str, Mapping[str, Factor]],
    names: Iterable[str],
    many: bool,
    left_out: dict[str, Exception],
) -> Iterator[Row]:
    """The rows of all runs but those in `left_out`. A run that cannot be read is added there, and its error raised."""
    for run, folder in folders.items():
        if run in left_out:
            continue
        values = [factors.get(run, {}).get(name) for name in names]
        before = [run] * many + [None if value is None else str(value) for value in values]
        try:
            for row in _rows(table, folder, replayed):
                yield (*before, *row)
        except UNREADABLE as error:
            left_out[run] = error
            raise


def _rows(table: str, folder: Path, replayed: Replayed) -> Iterator[Row]:
    """The rows of one run."""
    scenario = load.read(folder / "scenario.yaml")
    halving = scenario.exam.allocation == "halving" and table == "rationales"
    if table == "problems" and scenario.exam.maker == "invented":  # class.db has no exam problems: they follow
        with replayed(folder) as one:
            yield from problems(one.bank)
    elif table in STORED and not halving:
        with Store(folder) as store:
            yield from STORED[table](store, scenario)
    elif halving or {2, 3} & set(scenario.levels):
        with replayed(folder) as one:
            yield from REPLAYED[table](one)


def _write(form: Form, path: Path, columns: list[Column], rows: Iterator[Row]) -> int:
    """Write a file; none where there are no rows. Returns their number."""
    n = 0
    with ExitStack() as stack:
        writer = None
        for block in _blocks(rows):
            writer = writer or stack.enter_context(export_files.opened(form, path, columns))
            writer.write(block)
            n += len(block)
    return n


def _blocks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    block: list[Row] = []
    characters = 0
    for row in rows:
        block.append(row)
        characters += sum(len(value) for value in row if isinstance(value, str))
        if len(block) == ROWS or characters > CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block
