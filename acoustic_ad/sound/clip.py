"""A clip: one audio file, what is known about it, and when it was recorded. Standard library only."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

SPLITS: Final = ("train", "calibration", "test")
LABELS: Final = ("normal", "anomaly", "unknown")


@dataclass(frozen=True, slots=True)
class Clip:
    """One audio file as the manifest, or the folder it lies in, describes it. Hashable and picklable.

    A clip with a `problem` (code of `errors.CLIP_CODES`, reason) is a row like any other: it is accounted for, and
    must not be opened. `place` is absolute, and usable with `open()` also where the name is not UTF-8. It is text, and
    made of the folder and the file's name in it when it is asked for, as is `path`: a job keeps all clips of a folder.
    """

    clip_id: str  # relative to DATA's root, "/" between folders, see `printable`
    file: str
    machine: str
    split: str = ""  # "" (not assigned) or one of SPLITS
    label: str = "unknown"  # one of LABELS
    recorded_at: datetime | None = None  # UTC; None where only the file's name or mtime can tell
    condition: str = ""
    session: str = ""
    extra: tuple[tuple[str, str], ...] = ()  # (column, value) of columns that the manifest's schema does not know
    problem: tuple[str, str] | None = None
    row: int | None = field(default=None, compare=False)  # as a spreadsheet counts: the header is row 1
    folder: str = field(default="", compare=False)  # that `file` is relative to

    @property
    def place(self) -> str:
        """Where the file is."""
        return os.path.join(self.folder, self.file)  # noqa: PTH118 (a Path takes longer, and a run asks for very many)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self.folder, self.file)

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """(column, value) of what the manifest says of the recording itself: its condition, and unknown columns."""
        return (("condition", self.condition), *self.extra)


# --- names -----------------------------------------------------------------------------------------------------------

_SURROGATE = re.compile("[\ud800-\udfff]")
_LOOKS_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def printable(name: str) -> str:
    r"""`name` with undecodable bytes (surrogate escapes) shown as `\xff`; ordinary names are returned as they are.

    Two different names never become equal: where a name holds undecodable bytes, or spells something like `\xff`
    out in four characters, its backslashes become `\x5c`. `from_printable` is the inverse.
    """
    if _SURROGATE.search(name) is None and _LOOKS_ESCAPED.search(name) is None:
        return name
    return _SURROGATE.sub(_show_surrogate, name.replace("\\", r"\x5c"))


def _show_surrogate(match: re.Match[str]) -> str:
    code = ord(match[0])
    # Only U+DC80 to U+DCFF come from file names (PEP 383); others can only be made by a program.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def printable_text(text: str) -> str:
    r"""`text` from a cell or an option, kept as it stands (also a spelt-out `\xff`) unless it cannot be encoded."""
    return text if _SURROGATE.search(text) is None else printable(text)


def from_printable(text: str) -> str:
    r"""The file name behind `text`: `\x80` to `\xff` become surrogate escapes again, `\x5c` a backslash."""

    def restore(match: re.Match[str]) -> str:
        value = int(match[1], 16)
        if value == 0x5C:
            return "\\"
        return chr(0xDC00 + value) if value >= 0x80 else match[0]

    return _LOOKS_ESCAPED.sub(restore, text)


def one_line(text: str) -> str:
    r"""`text` fit for one line of a terminal: line ends, escape sequences and other controls shown as `\n`, `\x1b`."""
    shown = printable(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)


# --- content and time ------------------------------------------------------------------------------------------------


def sha256_of(path: Path | str) -> str:
    """Hex sha256 of the file's bytes, read in pieces (memory does not grow with the file). Raises OSError."""
    with open(path, "rb") as file:  # noqa: PTH123 (see `place`)
        return hashlib.file_digest(file, "sha256").hexdigest()


# 20260105T143000Z, 20260105_143000, 20260105143000, 2026-01-05_14-30-00, 2026-01-05T14:30:00.250+01:00 and the like.
# Date and time are both required: eight digits alone are more often a counter (00000012) than a date.
_STAMP = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
    r"(?:(T)|[_ -]|(?<=\d{8}))"
    r"([01]\d|2[0-3])([-_.:]?)([0-5]\d)\7([0-5]\d)"
    r"(?:[.,](\d{1,6}))?"
    r"(?:(Z)|([+-])(0\d|1[0-4]):?(00|30|45))?(?!\d)"
)
_EPOCH_STEM = re.compile(r"(\d{10})(\d{3})?")
_EPOCH_FROM_S, _EPOCH_UNTIL_S = 1_262_304_000, 4_102_444_800  # 2010 to 2100: outside, ten digits are a serial number


def recording_time(clip: Clip, mtime: float) -> tuple[datetime, str]:
    """When `clip` was recorded, in UTC, and the source of that: "manifest", "name" or "mtime".

    `mtime` is the file's modification time in seconds since 1970 (`stat().st_mtime`). A time stamp without a zone is
    taken as UTC; a name that is nothing but 10 (13) digits is read as seconds (milliseconds) since 1970.
    """
    if clip.recorded_at is not None:
        return clip.recorded_at, "manifest"
    named = time_in_name(os.path.basename(clip.file))  # noqa: PTH119 (see `place`)
    if named is not None:
        return named, "name"
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        return epoch + timedelta(seconds=mtime), "mtime"
    except (OverflowError, ValueError):  # file systems can hold years that a datetime cannot
        return epoch, "mtime"


def time_in_name(name: str) -> datetime | None:
    """The first full time stamp (date and time of day to the second) in a file name, in UTC; None without one."""
    for match in _STAMP.finditer(name):
        year, _, month, day, t_sign, hour, _, minute, second, fraction, zulu, sign, off_h, off_min = match.groups()
        try:
            stamp = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        except ValueError:  # 31 February
            continue
        # Behind a plain date_time, "-0100" is more likely a counter than a zone; a zone needs the T of ISO 8601.
        if sign and t_sign and not zulu:
            offset = timedelta(hours=int(off_h), minutes=int(off_min))
            stamp += -offset if sign == "+" else offset
        return stamp + timedelta(microseconds=int((fraction or "0").ljust(6, "0")))
    epoch = _EPOCH_STEM.fullmatch(name.partition(".")[0])
    if epoch and _EPOCH_FROM_S <= int(epoch[1]) < _EPOCH_UNTIL_S:
        return datetime.fromtimestamp(int(epoch[1]), UTC) + timedelta(milliseconds=int(epoch[2] or "0"))
    return None
