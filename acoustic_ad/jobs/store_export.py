"""The store's tables as Parquet files, for tools that read no database."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from acoustic_ad.errors import StoreError
from acoustic_ad.jobs.alarm_schema import alarm_actions, alarms, events
from acoustic_ad.jobs.schema import clip_scores, files, machines, runs
from acoustic_ad.jobs.store import Store
from acoustic_ad.sound.clip import one_line

if TYPE_CHECKING:
    import pyarrow

# By name and not all that there are: a table of messages to be sent may hold what is nobody's business.
EXPORTED: Final = (clip_scores, files, machines, runs, alarms, alarm_actions, events)
ROWS_AT_ONCE: Final = 20_000  # in one row group
_TIMES: Final = frozenset({"at", "since", "until", "shelved_until"})


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written."""

    table: str
    path: Path
    rows: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"table": self.table, "file": str(self.path), "rows": self.rows, "bytes": self.bytes}


def export_tables(store: Store, folder: Path) -> list[Written]:
    """Write every table to `folder`, as of one moment; memory does not grow with the rows.

    Raises StoreError where a file cannot be written: what an earlier export left under its name is then still there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"--out {one_line(str(folder))}: {error.strerror}: name a folder that can be made") from error
    with store.reading() as connection:
        return [_export(connection, table, folder / f"{table.name}.parquet") for table in EXPORTED]


def _export(connection: sa.Connection, table: sa.Table, path: Path) -> Written:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([_field(column) for column in table.columns])
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    rows = 0
    try:
        with beside.open("wb") as file:
            with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
                for batch in _batches(connection, table, schema):
                    writer.write_batch(batch)
                    rows += batch.num_rows
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise StoreError(f"{one_line(str(path))} cannot be written: {why}: make room, or name another --out") from error
    finally:
        with suppress(OSError):
            beside.unlink()
    return Written(table.name, path, rows, path.stat().st_size)


def _batches(connection: sa.Connection, table: sa.Table, schema: pyarrow.Schema) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow

    found = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(
        sa.select(table).order_by(*table.primary_key.columns)
    )
    for rows in found.partitions():
        columns = zip(table.columns, zip(*rows, strict=True), strict=True)
        arrays = [
            pyarrow.array(_values(column, values), field.type)
            for (column, values), field in zip(columns, schema, strict=True)
        ]
        yield pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


def _is_time(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.types.TypeDecorator) and (column.name in _TIMES or column.name.endswith("_at"))


def _values(column: sa.Column[Any], values: Sequence[Any]) -> Sequence[Any]:
    if not _is_time(column):
        return values
    return [None if value is None else datetime.fromisoformat(value) for value in values]


def _field(column: sa.Column[Any]) -> pyarrow.Field:
    import pyarrow

    if _is_time(column):
        kind = pyarrow.timestamp("us", tz="UTC")
    elif isinstance(column.type, sa.Double):
        kind = pyarrow.float64()
    elif isinstance(column.type, sa.Integer):
        kind = pyarrow.int64()
    elif isinstance(column.type, sa.LargeBinary):
        kind = pyarrow.binary()
    else:
        kind = pyarrow.string()
    return pyarrow.field(column.name, kind, nullable=bool(column.nullable))
