"""The log-mels of many clips in one array, which may lie on the disk; a clip or a patch is made when asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
StepArray = npt.NDArray[np.int16]

# One step of a stored log-mel, in dB, where the clip spans no more than 255 dB, as all sound within -1..1 does. The
# rounding, .001 dB in the mean, is a hundredth of the smallest deviation that a band is granted. A float16 takes as
# many bytes, and its steps are .03 to .06 dB in the quiet bands, where most of a spectrum lies.
STEP_DB = 2.0**-8
MOST_STEPS = 32_640  # of either sign; some are left for the rounding of the middle to whole dB


class StoredLogMel(NamedTuple):
    """A clip's log-mel in steps: `steps * step_db + middle_db` is the value in dB."""

    steps: StepArray  # [frames, mels]
    step_db: float  # a power of two, so that every value is exact in single precision
    middle_db: float  # whole dB


def in_steps(log_mel: FloatArray) -> StoredLogMel:
    """A finite log-mel [frames, mels] in dB rounded to steps of 1/256 dB; coarser ones where it spans over 255 dB."""
    low, high = (float(log_mel.min()), float(log_mel.max())) if log_mel.size else (0.0, 0.0)
    middle, step = float(round((low + high) / 2.0)), STEP_DB
    while max(high - middle, middle - low) > MOST_STEPS * step:
        step *= 2.0
    steps = np.rint((log_mel - np.float32(middle)) / np.float32(step))
    return StoredLogMel(steps.astype(np.int16), step, middle)


class LogMels(Sequence[FloatArray]):
    """Log-mels of clips: `self[i]` is a clip's log-mel [frames, mels], float32 in dB; see `ClipRows` and `JoinedClips`.

    Only what is asked for is in memory, where the rows are mapped from a file.
    """

    lengths: IntArray  # [n], frames of each clip

    @property
    @abstractmethod
    def mels(self) -> int:
        """Bands of each frame."""

    @abstractmethod
    def patches(self, clip: IntArray, first: IntArray, frames: int) -> FloatArray:
        """Of k clips, given by number [k], the `frames` frames from the frame first [k] on: [k, frames, mels]."""

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> FloatArray: ...
    @overload
    def __getitem__(self, index: slice) -> list[FloatArray]: ...
    def __getitem__(self, index: int | slice) -> FloatArray | list[FloatArray]:
        if isinstance(index, slice):
            return [self._clip(number) for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        return self._clip(index % len(self))

    def _clip(self, number: int) -> FloatArray:
        whole = self.patches(np.array([number]), np.zeros(1, np.int64), int(self.lengths[number]))
        return np.asarray(whole[0])


@dataclass(frozen=True, eq=False)
class ClipRows(LogMels):
    """Clips cut from one array of frames: float32 in dB, or int16 in steps."""

    rows: npt.NDArray[Any]  # [frames of all, mels]
    starts: IntArray  # [n], the first row of each clip
    lengths: IntArray  # [n], its rows
    scale: FloatArray | None = None  # [n, 2], dB of a step and of its middle, where the rows are steps
    offsets: FloatArray | None = None  # [k, mels], dB to take away from a clip, by its `offset` ...
    offset: IntArray | None = None  # ... [n], a row of the offsets

    @classmethod
    def of(cls, log_mels: Sequence[FloatArray]) -> ClipRows:
        """Of log-mels [frames, mels] in dB, copied into one array."""
        lengths = np.array([len(log_mel) for log_mel in log_mels], np.int64)
        return cls(np.concatenate(log_mels).astype(np.float32, copy=False), np.cumsum(lengths) - lengths, lengths)

    @property
    def mels(self) -> int:
        return int(self.rows.shape[1])

    def taking_away(self, offsets: FloatArray, offset: IntArray) -> ClipRows:
        """The same clips, each less the row offset [n] of the offsets [k, mels] in dB."""
        return replace(self, offsets=offsets, offset=offset)

    def patches(self, clip: IntArray, first: IntArray, frames: int) -> FloatArray:
        """As `LogMels.patches`; an array of its own, which may be written to."""
        if len(clip) == 1:  # one stretch of rows: a copy, no gathering
            start = int(self.starts[clip[0]] + first[0])
            found = self.rows[start : start + frames][None].astype(np.float32)
        else:
            found = self.rows[(self.starts[clip] + first)[:, None] + np.arange(frames)]
            found = found.astype(np.float32, copy=False)
        if self.scale is not None:
            scale = self.scale[clip]
            found *= scale[:, :1, None]
            found += scale[:, 1:, None]
        if self.offsets is not None and self.offset is not None:
            found -= self.offsets[self.offset[clip]][:, None, :]
        return np.asarray(found)


class JoinedClips(LogMels):
    """The clips of several machines, one machine's after the other's."""

    def __init__(self, parts: Sequence[LogMels]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.lengths = np.concatenate([part.lengths for part in parts])

    @property
    def mels(self) -> int:
        return self._parts[0].mels

    def patches(self, clip: IntArray, first: IntArray, frames: int) -> FloatArray:
        """As `LogMels.patches`."""
        found = np.empty((len(clip), frames, self.mels), np.float32)
        for part, (start, end) in zip(self._parts, pairwise([0, *self._ends.tolist()]), strict=True):
            own = (clip >= start) & (clip < end)
            if own.any():
                found[own] = part.patches(clip[own] - start, first[own], frames)
        return found


def joined(parts: Sequence[LogMels]) -> LogMels:
    """The clips of all parts as one sequence."""
    return parts[0] if len(parts) == 1 else JoinedClips(parts)
