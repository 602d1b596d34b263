"""Manifest CSV files: rows to clips and back.

Read: UTF-8 or UTF-16, with or without BOM, any line ends; comma, semicolon or tab between cells. Columns may stand
in any order; those the schema does not know are kept as `Clip.extra`. Empty rows are skipped.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import stat
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from acoustic_ad.errors import ManifestError
from acoustic_ad.sound.clip import LABELS, SPLITS, Clip, from_printable, one_line, printable, printable_text
from acoustic_ad.sound.folders import is_inside, outside_root

REQUIRED: Final = ("path", "machine")
COLUMNS: Final = (*REQUIRED, "split", "label", "recorded_at", "condition", "session")
ERRORS_SHOWN: Final = 20
MISSING: Final = "missing: no such file"  # how the reason of a row without a file begins

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # tab and carriage return: spreadsheets look behind them for the sign


def escape_cell(text: str) -> str:
    """`text` as no spreadsheet takes for a formula: a leading = + - @ gets an apostrophe before it."""
    return f"'{text}" if _FORMULA.match(text) else text


def unescape_cell(text: str) -> str:
    """Inverse of `escape_cell`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


# --- reading ---------------------------------------------------------------------------------------------------------


def read_clips(file: Path) -> list[Clip]:
    """The clips of manifest `file`, in its order; paths are relative to the manifest's folder.

    A row whose file is missing, is no regular file or lies outside the manifest's folder is a clip with a `problem`.
    Raises ManifestError when the file is no such table, lacks a required column, or holds values that are not
    allowed: all of them at once, with their rows, up to ERRORS_SHOWN.
    """
    rows = [(number, row) for number, row in enumerate(_rows(file), start=1) if any(row)]
    reader = _Reader(file, rows[0][1] if rows else [])
    clips = [clip for number, row in rows[1:] if (clip := reader.clip(number, row)) is not None]
    reader.raise_errors()
    return clips


def _rows(file: Path) -> list[list[str]]:
    try:
        text = _decode(file.read_bytes())
    except OSError as error:
        raise ManifestError(f"{one_line(str(file))}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{one_line(str(file))}: damaged UTF-16; save it as UTF-8") from error
    first_line = text.lstrip("\r\n").partition("\n")[0]
    try:
        # Strict, as a quote that is never closed would otherwise swallow all rows behind it.
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(first_line), strict=True))
    except csv.Error as error:
        raise ManifestError(f"{one_line(str(file))}: not a CSV file: {error}; save it as CSV in UTF-8") from error


def _decode(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    # Bytes that are not UTF-8 survive as surrogate escapes: a path made of them still finds its file.
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _delimiter(header: str) -> str:
    """The one that splits the header into the most required columns, then into the most columns."""

    def columns(delimiter: str) -> tuple[int, int]:
        names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
        return sum(name in names for name in REQUIRED), len(names)

    return max(",;\t", key=columns)


class _Reader:
    """Turns rows into clips and collects what is wrong with them."""

    def __init__(self, file: Path, header: Sequence[str]) -> None:
        self.file = file
        self.root = str(absolute(file.parent))
        self.real_root = os.path.realpath(self.root)
        self.real_folders: dict[str, str] = {}
        self.errors: list[str] = []
        names = [unescape_cell(name.strip()) for name in header]
        self.columns = [name.lower() if name.lower() in COLUMNS else printable_text(name) for name in names]
        self._check_header()

    def _check_header(self) -> None:
        missing = [name for name in REQUIRED if name not in self.columns]
        twice = sorted({name for name in self.columns if name and self.columns.count(name) > 1})
        problem = f"no column {' and no column '.join(missing)}" if missing else f"columns twice: {', '.join(twice)}"
        if missing or twice:
            raise ManifestError(
                f"{one_line(str(self.file))}: {one_line(problem)}; columns seen: "
                f"{one_line(', '.join(self.columns)) or 'none'}; required: {', '.join(REQUIRED)}; "
                f"optional: {', '.join(COLUMNS[len(REQUIRED) :])}"
            )

    def clip(self, number: int, row: Sequence[str]) -> Clip | None:
        """The clip of row `number`; None for a row that is wrong, which is noted in `errors`."""
        before = len(self.errors)
        pairs = list(zip_longest(self.columns, map(unescape_cell, row)))
        cells = {name: value or "" for name, value in pairs if name}
        if any(value for name, value in pairs if not name):
            self._error(number, f"has {len(row)} cells under {len(cells)} column names")
        cell = {name: cells.pop(name, "") for name in COLUMNS}
        for name in REQUIRED:
            if not cell[name].strip() or (name == "path" and "\0" in cell[name]):
                self._error(number, f"{name} {'holds a NUL' if cell[name].strip() else 'is empty'}")
        split = self._choice(number, "split", cell["split"], ("", *SPLITS))
        label = self._choice(number, "label", cell["label"], LABELS) if cell["label"].strip() else "unknown"
        recorded_at = self._time(number, cell["recorded_at"].strip())
        if len(self.errors) > before:
            return None
        clip_id, file, problem = self._locate(cell["path"])
        extra = tuple((name, printable_text(value)) for name, value in cells.items() if value)
        machine, condition, session = (printable_text(cell[name]) for name in ("machine", "condition", "session"))
        said = (machine, split, label, recorded_at, condition, session, extra, problem, number)
        return Clip(clip_id, file, *said, folder=self.root)

    def _choice(self, number: int, column: str, value: str, choices: Sequence[str]) -> str:
        word = value.strip().lower()
        if word not in choices:
            self._error(number, f"{column} {one_line(value)!r} is none of {', '.join(filter(None, choices))}")
        return word

    def _time(self, number: int, value: str) -> datetime | None:
        try:
            time = datetime.fromisoformat(value) if value else None
            return time and (time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC))
        except (ValueError, OverflowError):
            self._error(number, f"recorded_at {one_line(value)!r} is not ISO 8601 such as 2026-01-05T14:30:00Z")
            return None

    def _error(self, number: int, message: str) -> None:
        self.errors.append(f"row {number}: {message}")

    def raise_errors(self) -> None:
        """Raises ManifestError with all that was wrong."""
        if self.errors:
            shown = "; ".join(self.errors[:ERRORS_SHOWN])
            more = len(self.errors) - ERRORS_SHOWN
            raise ManifestError(f"{one_line(str(self.file))}: {shown}" + (f"; and {more} more" if more > 0 else ""))

    def _locate(self, cell: str) -> tuple[str, str, tuple[str, str] | None]:
        """clip_id, file in the root and problem of a `path` cell. `..` is resolved by name: the root cannot be left."""
        decoded = from_printable(cell)
        name = cell if decoded == cell else os.fsdecode(os.fsencode(decoded))
        path, problem = self._examine(name)
        if problem is not None and name != cell:  # a manifest written by hand may mean the backslash itself
            spelt, no_problem = self._examine(cell)
            path, problem = (spelt, None) if no_problem is None else (path, problem)
        file = relative_to(path, self.root)
        return printable(file), file, problem

    def _examine(self, name: str) -> tuple[str, tuple[str, str] | None]:
        path = os.path.normpath(os.path.join(self.root, name))  # noqa: PTH118 (a Path per row would double the time)
        return path, self._problem(path)

    def _problem(self, path: str) -> tuple[str, str] | None:
        folder, _, name = path.rpartition("/")
        if folder not in self.real_folders:
            self.real_folders[folder] = os.path.realpath(folder or "/")
        real = f"{self.real_folders[folder].rstrip('/')}/{name}"
        try:
            mode = os.lstat(real).st_mode
            if stat.S_ISLNK(mode):
                real = os.path.realpath(real)
                mode = os.stat(real).st_mode  # noqa: PTH116
        except (OSError, ValueError) as error:
            failed: Exception | None = error
        else:
            failed = None
        if not is_inside(real, self.real_root):
            return outside_root(real, self.real_root)
        if isinstance(failed, FileNotFoundError | NotADirectoryError):
            hint = "; folders are separated by /" if "\\" in path else ""
            return "unreadable", f"{MISSING} in the manifest's folder{hint}"
        if failed is not None:
            return "unreadable", getattr(failed, "strerror", None) or str(failed)
        if stat.S_ISREG(mode):
            return None
        return "unreadable", "a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file"


# --- writing ---------------------------------------------------------------------------------------------------------


def write_clips(clips: Iterable[tuple[str, Clip]], stream: io.TextIOBase) -> None:
    """Writes (path relative to the manifest, clip) rows under COLUMNS and the extra columns, UTF-8, `\\n` line ends."""
    rows = list(clips)
    extras = list(dict.fromkeys(name for _, clip in rows for name, _ in clip.extra))
    # Written with "\r\n" so that the csv module quotes cells that hold either; the row's own end is then made "\n".
    writer = csv.writer(SimpleNamespace(write=lambda line: stream.write(line.removesuffix("\r\n") + "\n")))
    writer.writerow([escape_cell(name) for name in (*COLUMNS, *extras)])
    for path, clip in rows:
        time = "" if clip.recorded_at is None else clip.recorded_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        known = (printable(path), clip.machine, clip.split, clip.label, time, clip.condition, clip.session)
        extra = dict(clip.extra)
        writer.writerow([escape_cell(cell) for cell in (*known, *(extra.get(name, "") for name in extras))])


# --- paths -----------------------------------------------------------------------------------------------------------


def absolute(path: Path) -> Path:
    """`path` from the top, without `..`; links keep the names that the user knows them by."""
    if ".." in path.parts:  # only the file system knows what is above a link
        return Path(os.path.realpath(path))
    return path.absolute()


def relative_to(path: str, root: str) -> str:
    """`path` seen from the absolute `root`, with `..` where it lies outside; both normalised."""
    prefix = root.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else os.path.relpath(path, root)
