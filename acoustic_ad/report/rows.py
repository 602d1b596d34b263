"""Clip rows as a file: CSV, JSON lines or Parquet, whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from acoustic_ad.errors import StoreError, UsageError, refusal
from acoustic_ad.jobs.schema import ClipRow, json_text
from acoustic_ad.sound.clip import one_line, printable_text
from acoustic_ad.whole_file import whole_file

COLUMNS: Final = (
    "clip_id",
    "machine",
    "recorded_at",
    "sha256",
    "model",
    "score",
    "p_value",
    "status",
    "reason",
    "bands",
    "recorded_at_source",
    "label",
    "index",
    "detail",
    "also_known_as",
    "duration_s",
    "level_db",
)
NUMBERS: Final = frozenset({"score", "p_value", "index", "duration_s", "level_db"})

# A spreadsheet takes a cell that starts with one of these for a formula, and runs it.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")

_ROWS_AT_ONCE: Final = 10_000  # in one row group of Parquet


def check_out_suffix(path: str | Path) -> None:
    """Raise UsageError where `write_rows` could not write `path`: another suffix, a name that is no name, a folder, a
    device. Links are followed to what they lead to; the suffix is that of the name as given. Touches nothing."""
    path = Path(path)
    name = one_line(str(path))
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(f"--out {name}: the name must end with {', '.join(_WRITERS)}, which chooses the format")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
            raise UsageError(f"--out {name}: {error.strerror}: name a file") from error
        return  # not there yet, or out of reach: writing tells
    if stat.S_ISDIR(mode):
        raise UsageError(f"--out {name} is a folder: name a file")
    if not stat.S_ISREG(mode):
        # It would be replaced by a file: a pipe's reader would wait for ever, and a device be gone.
        raise UsageError(f"--out {name} is a device or a pipe: name a file")


def write_rows(path: str | Path, rows: Iterable[ClipRow]) -> int:
    """Write `rows` to `path` in the format of its suffix (.csv, .jsonl, .parquet); returns how many there were.

    Written beside, flushed to the disk, then renamed: readers see the old file or the new one. Without rows, CSV has
    its header and Parquet its schema. Numbers have full precision; NaN and infinities are left empty (null). Rows are
    taken one by one: memory does not grow with their number.
    Raises UsageError for other suffixes, StoreError where the file cannot be written; whatever the reason, nothing of
    an unfinished file is left.
    """
    check_out_suffix(path)
    write = _WRITERS[Path(path).suffix.lower()]
    target = Path(os.path.realpath(path))  # a link stays one: the file that it points to is replaced
    try:
        with whole_file(target) as file:
            return write(file, rows)
    except OSError as error:
        why = f"{refusal(error)}; the file is as it was before"
        raise StoreError(f"{one_line(str(target))} cannot be written: {why}") from error


# --- formats ---------------------------------------------------------------------------------------------------------


def csv_cell(text: str) -> str:
    """`text`, with an apostrophe in front where a spreadsheet would take it for a formula."""
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def _write_csv(file: IO[bytes], rows: Iterable[ClipRow]) -> int:
    count = 0
    text = _text_file(file)
    writer = csv.writer(text)  # CRLF line ends, as in RFC 4180: so a lone CR or LF in a name is quoted
    writer.writerow(COLUMNS)
    for values in map(_values, rows):
        count += 1
        values["recorded_at"] = _iso(values["recorded_at"])
        values["also_known_as"] = json_text(values["also_known_as"])
        # Numbers are never escaped: "-0.5" is no formula.
        writer.writerow([_number(values[c]) if c in NUMBERS else csv_cell(values[c] or "") for c in COLUMNS])
    text.flush()
    text.detach()
    return count


def _write_json_lines(file: IO[bytes], rows: Iterable[ClipRow]) -> int:
    count = 0
    text = _text_file(file)
    for values in map(_values, rows):
        count += 1
        values["recorded_at"] = _iso(values["recorded_at"])
        values["bands"] = json.loads(values["bands"])
        text.write(json_text({column: values[column] for column in COLUMNS}) + "\n")
    text.flush()
    text.detach()
    return count


def _write_parquet(file: IO[bytes], rows: Iterable[ClipRow]) -> int:
    import pyarrow as pa  # large, and only needed here
    from pyarrow import parquet

    special = {
        "recorded_at": pa.timestamp("us", tz="UTC"),
        "also_known_as": pa.list_(pa.string()),
        **dict.fromkeys(NUMBERS, pa.float64()),
    }
    schema = pa.schema([(column, special.get(column, pa.string())) for column in COLUMNS])
    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(map(_values, rows)):
            count += len(group)
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return count


_WRITERS: Final[dict[str, Callable[[IO[bytes], Iterable[ClipRow]], int]]] = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}


# --- values ----------------------------------------------------------------------------------------------------------


def _values(row: ClipRow) -> dict[str, Any]:
    """The row by column: finite numbers or None, text that can be encoded, bands as JSON, also_known_as as a list."""
    values = {column: getattr(row, column) for column in COLUMNS}
    values["bands"] = json_text(list(row.bands))
    values["also_known_as"] = [printable_text(name) for name in row.also_known_as]
    for column, value in values.items():
        if isinstance(value, str):
            values[column] = printable_text(value)
        elif isinstance(value, float) and not math.isfinite(value):
            values[column] = None
    return values


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))  # repr: the shortest text that reads back as the same number


def _text_file(file: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8", newline="")


def _groups(values: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(values)
    while group := list(islice(iterator, _ROWS_AT_ONCE)):
        yield group
