"""Writes tables as files, block by block: Parquet, CSV, or JSON lines."""

import contextlib
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from broker.errors import ScenarioError
from scenarios.report.export_columns import Column

Form = Literal["parquet", "csv", "jsonl"]
Block = Sequence[Sequence[Any]]


class Writer(Protocol):
    """Writes one file."""

    def write(self, block: Block) -> None:
        """Append rows; a value that is not there is None, and a boolean is 0 or 1, or a bool."""

    def close(self) -> None:
        """Finish the file."""


@contextlib.contextmanager
def opened(form: Form, path: Path, columns: Sequence[Column]) -> Iterator[Writer]:
    """A writer of a new file, which is closed at the end.

    Raises:
        ScenarioError: the library for this form is not installed.
    """
    writer: Writer
    if form == "parquet":
        writer = ParquetFile(path, columns)
    else:
        writer = CsvFile(path, columns) if form == "csv" else JsonLinesFile(path, columns)
    with contextlib.closing(writer):
        yield writer


def names(form: Form, path: Path) -> list[str]:
    """The columns of a file of this form; empty: it is none."""
    try:
        if form == "parquet":
            from pyarrow import parquet

            found: list[str] = parquet.read_schema(path).names
        elif form == "csv":
            with path.open(encoding="utf-8", newline="") as file:
                found = next(csv.reader(file), [])
        else:
            with path.open("rb") as file:
                found = list(msgspec.json.decode(file.readline(), type=dict[str, Any]))
    except (OSError, ValueError, csv.Error, msgspec.MsgspecError):
        return []
    return found


def check(form: Form) -> None:
    """Raises ScenarioError if the library that `form` needs is not installed."""
    if form == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise ScenarioError('Parquet needs pyarrow: pip install -e ".[export]", or take --to jsonl') from None


class CsvFile:
    """CSV as the csv module writes it, with a heading; null is empty, booleans are true and false."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._file = path.open("x", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow([column.name for column in columns])
        self._booleans = _booleans(columns)

    def write(self, block: Block) -> None:
        """See `Writer`."""
        for row in block:
            values = list(row)
            for at in self._booleans:
                values[at] = None if values[at] is None else "true" if values[at] else "false"
            self._writer.writerow(values)

    def close(self) -> None:
        """See `Writer`."""
        self._file.close()


class JsonLinesFile:
    """An object on each line."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._file = path.open("xb")
        self._names = [column.name for column in columns]
        self._booleans = _booleans(columns)

    def write(self, block: Block) -> None:
        """See `Writer`."""
        lines = []
        for row in block:
            values = list(row)
            for at in self._booleans:
                values[at] = None if values[at] is None else bool(values[at])
            lines.append(msgspec.json.encode(dict(zip(self._names, values, strict=True))))
        self._file.write(b"\n".join([*lines, b""]))

    def close(self) -> None:
        """See `Writer`."""
        self._file.close()


class ParquetFile:
    """Parquet with one row group for each block; the types are those of the columns."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        import pyarrow as arrow
        from pyarrow import parquet

        kinds = {"text": arrow.string(), "integer": arrow.int64(), "number": arrow.float64(), "boolean": arrow.bool_()}
        self._arrow = arrow
        self._schema = arrow.schema([(column.name, kinds[column.kind]) for column in columns])
        self._booleans = frozenset(_booleans(columns))
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, block: Block) -> None:
        """See `Writer`."""
        arrays = []
        for at, (field, column) in enumerate(zip(self._schema, zip(*block, strict=True), strict=True)):
            values: Sequence[Any] = column
            if at in self._booleans:
                values = [None if value is None else bool(value) for value in values]
            arrays.append(self._arrow.array(values, field.type))
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """See `Writer`."""
        self._writer.close()


def _booleans(columns: Sequence[Column]) -> list[int]:
    return [at for at, column in enumerate(columns) if column.kind == "boolean"]
