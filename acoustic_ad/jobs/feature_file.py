"""One machine's log-mels in a file that is mapped, not read: frames one after the other, and an index of the clips.

It is data, and never trusted: header, index and every clip have a checksum, sizes are checked against the file's, and
what does not fit is made again. In bytes: "acoustic-ad features", the header's sha256 (hex) and the header (JSON),
padded to 4096; the frames (int16 [frames, mels]); the index (`ENTRY` each).
"""

from __future__ import annotations

import hashlib
import json
import mmap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.sound.log_mels import ClipRows, StepArray, StoredLogMel

IntArray = npt.NDArray[np.int64]

MAGIC: Final = b"acoustic-ad features\n"
VERSION: Final = 1  # of the layout, of the rounding, and of what is told of a clip beside its log-mel
HEADER_BYTES: Final = 4096
KEY_BYTES: Final = 32
# key: 32 bytes that say what was computed; check: sha256 of the clip's frames; channels: alive in the recording.
ENTRY: Final = np.dtype(
    [
        ("key", "<u8", 4),
        ("check", "<u8", 4),
        ("start", "<i8"),
        ("frames", "<i8"),
        ("step_db", "<f4"),
        ("middle_db", "<f4"),
        ("channels", "<i4"),
        ("unused", "<i4"),
    ]
)


class NotThisFile(Exception):
    """A file that is damaged, or holds other features than wanted."""


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """A file of features that was checked, mapped into memory."""

    spec: str  # what the features are of: equal texts mean equal log-mels of equal contents
    rows: StepArray  # [frames of all clips, mels], on the disk until asked for
    index: npt.NDArray[Any]  # [n] of `ENTRY`, likewise

    @classmethod
    def open(cls, path: Path, spec: str) -> FeatureFile:
        """The file at `path`, if it holds features of `spec`; raises NotThisFile."""
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                if size < HEADER_BYTES:
                    raise NotThisFile(f"{size} bytes")
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise NotThisFile(str(error)) from error
        header = _header(mapped[:HEADER_BYTES])
        if header.get("version") != VERSION or header.get("spec") != spec:
            raise NotThisFile("of another version or front-end")
        frames, mels, clips = (_count(header.get(name)) for name in ("frames", "mels", "clips"))
        if min(frames, mels, clips) == 0 or size != HEADER_BYTES + 2 * frames * mels + ENTRY.itemsize * clips:
            raise NotThisFile(f"{size} bytes do not hold {frames} frames of {clips} clips")
        rows = np.frombuffer(mapped, np.dtype("<i2"), frames * mels, HEADER_BYTES).reshape(frames, mels)
        index = np.frombuffer(mapped, ENTRY, clips, HEADER_BYTES + 2 * frames * mels)
        if hashlib.sha256(index.data).hexdigest() != header.get("index"):
            raise NotThisFile("the index is damaged")
        _check_entries(index, frames)
        return cls(spec, rows, index)

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def _order(self) -> IntArray:
        return np.argsort(self.index["key"][:, 0], kind="stable")

    def find(self, key: bytes) -> int | None:
        """The number of the clip with this key (32 bytes), if it is there and its frames are as they were written."""
        wanted = np.frombuffer(key, "<u8")
        firsts = self.index["key"][:, 0]
        place = int(np.searchsorted(firsts, wanted[0], sorter=self._order))
        while place < len(self) and firsts[number := int(self._order[place])] == wanted[0]:
            entry = self.index[number]
            if np.array_equal(entry["key"], wanted):
                intact = hashlib.sha256(self.steps(number).data).digest() == entry["check"].tobytes()
                return number if intact else None
            place += 1
        return None

    def steps(self, number: int) -> StepArray:
        """The frames [frames, mels] of a clip, in steps."""
        start, frames = int(self.index["start"][number]), int(self.index["frames"][number])
        return self.rows[start : start + frames]

    def stored(self, number: int) -> StoredLogMel:
        """A clip's log-mel as it was written."""
        entry = self.index[number]
        return StoredLogMel(self.steps(number), float(entry["step_db"]), float(entry["middle_db"]))

    def clips(self, numbers: IntArray) -> ClipRows:
        """The log-mels of some clips, by number, in that order."""
        start, frames, step_db, middle_db = (
            self.index[name][numbers] for name in ("start", "frames", "step_db", "middle_db")
        )
        scale = np.stack([step_db, middle_db], axis=1)
        return ClipRows(self.rows, start.astype(np.int64), frames.astype(np.int64), scale)


class FeatureWriter:
    """Writes such a file clip by clip; it is one when `finish` has returned."""

    def __init__(self, file: BinaryIO, spec: str, mels: int) -> None:
        self._file, self._spec, self._mels = file, spec, mels
        self._frames = 0
        self._index = bytearray()
        file.write(bytes(HEADER_BYTES))

    def __len__(self) -> int:
        return len(self._index) // ENTRY.itemsize

    @property
    def size(self) -> int:
        """Bytes so far."""
        return HEADER_BYTES + 2 * self._mels * self._frames + len(self._index)

    def add(self, key: bytes, log_mel: StoredLogMel, channels: int = 0) -> None:
        """Append a clip; raises OSError."""
        steps = np.ascontiguousarray(log_mel.steps, "<i2")
        if steps.ndim != 2 or steps.shape[1] != self._mels:
            raise ValueError(f"a log-mel of shape {steps.shape} in a file of {self._mels} mels")
        entry = np.zeros(1, ENTRY)
        entry["key"], entry["check"] = (
            np.frombuffer(key, "<u8"),
            np.frombuffer(hashlib.sha256(steps.data).digest(), "<u8"),
        )
        entry["start"], entry["frames"], entry["channels"] = self._frames, len(steps), channels
        entry["step_db"], entry["middle_db"] = log_mel.step_db, log_mel.middle_db
        self._file.write(steps.data)
        self._index += entry.tobytes()
        self._frames += len(steps)

    def finish(self) -> None:
        """Write index and header; raises OSError."""
        self._file.write(self._index)
        about = {"version": VERSION, "spec": self._spec, "frames": self._frames, "mels": self._mels}
        about |= {"clips": len(self), "index": hashlib.sha256(self._index).hexdigest()}
        text = json.dumps(about).encode()
        header = MAGIC + hashlib.sha256(text).hexdigest().encode() + text
        if len(header) > HEADER_BYTES:
            raise ValueError(f"a header of {len(header)} bytes")
        self._file.seek(0)
        self._file.write(header.ljust(HEADER_BYTES))
        self._file.flush()


def _header(page: bytes) -> dict[str, Any]:
    digest, text = page[len(MAGIC) : len(MAGIC) + 64], page[len(MAGIC) + 64 :].rstrip()
    if page[: len(MAGIC)] != MAGIC or hashlib.sha256(text).hexdigest().encode() != digest:
        raise NotThisFile("the header is damaged, or there is none")
    try:
        header = json.loads(text)
    except ValueError as error:
        raise NotThisFile("the header is not JSON") from error
    if not isinstance(header, dict):
        raise NotThisFile("the header is no table")
    return header


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**48:
        raise NotThisFile(f"a count of {value!r}")
    return value


def _check_entries(index: npt.NDArray[Any], frames: int) -> None:
    """Raise NotThisFile where a clip would lie outside the file, or its numbers are none."""
    starts, lengths = index["start"], index["frames"]
    inside = (starts >= 0) & (lengths >= 0) & (starts <= frames) & (lengths <= frames - starts)
    finite = (index["step_db"] > 0) & np.isfinite(index["step_db"]) & np.isfinite(index["middle_db"])
    if not (inside & finite & (index["channels"] >= 0)).all():
        raise NotThisFile("the index is damaged")
