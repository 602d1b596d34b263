"""What stands out in a clip, in Hz and dB, in words that a mechanic can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# A band stands out when it is this many standard deviations of normal clips away, and audibly so.
LIMIT_Z = 3.0
LIMIT_DB = 1.0


@dataclass(frozen=True, slots=True)
class Standout:
    """A run of neighbouring bands that are all too loud, or all too quiet."""

    hz: float  # where it is strongest
    low_hz: float
    high_hz: float
    db: float  # against the machine's normal, signed, where it is strongest
    z: float  # in standard deviations of normal clips, signed, where it is strongest

    def __str__(self) -> str:
        return f"{self.db:+.0f} dB around {in_hertz(self.hz)}"

    def as_dict(self) -> dict[str, float]:
        """For JSON, rounded to what is meaningful."""
        return {key: round(value, 1) for key, value in asdict(self).items()}


def standouts(db: Array, z: Array, centres_hz: Array, most: int = 3) -> list[Standout]:
    """The runs of bands that stand out, strongest first; all inputs are [mels], db and z signed."""
    found = []
    far = np.abs(z) >= LIMIT_Z
    if not far.any():  # most clips
        return []
    outside = far & (np.abs(db) >= LIMIT_DB) & (np.sign(z) == np.sign(db))
    direction = np.where(outside, np.sign(z), 0.0)
    edges = np.flatnonzero(np.diff(direction, prepend=0.0, append=0.0))
    for first, end in pairwise(edges.tolist()):
        if direction[first] == 0.0:
            continue
        peak = first + int(np.abs(z[first:end]).argmax())
        found.append(
            Standout(
                float(centres_hz[peak]),
                float(centres_hz[first]),
                float(centres_hz[end - 1]),
                float(db[peak]),
                float(z[peak]),
            )
        )
    return sorted(found, key=lambda standout: -abs(standout.z))[:most]


def in_words(found: Sequence[Standout]) -> str:
    """'+9 dB around 3.4 kHz, -4 dB around 250 Hz'; empty where nothing stands out."""
    return ", ".join(str(standout) for standout in found)


def summarise(clips: Sequence[Sequence[Standout]], most: int = 2) -> list[Standout]:
    """What stands out in several clips together: runs within a third of an octave are one, the most frequent first.

    Where some clips are louder and others quieter around one frequency, the rarer is left out: both would contradict.
    """
    heaps: list[list[Standout]] = []
    for standout in (standout for clip in clips for standout in clip):
        heap = next((heap for heap in heaps if _near(heap[0], standout) and heap[0].db * standout.db > 0), None)
        if heap is None:
            heaps.append([standout])
        else:
            heap.append(standout)
    heaps.sort(key=lambda heap: -sum(abs(standout.z) for standout in heap))
    found: list[Standout] = []
    for heap in heaps:
        typical = sorted(heap, key=lambda standout: standout.db)[len(heap) // 2]
        if not any(_near(typical, other) for other in found):
            found.append(typical)
    return found[:most]


def _near(one: Standout, other: Standout) -> bool:
    """Whether two are within a third of an octave."""
    return 2 ** (-1 / 3) <= max(one.hz, 1.0) / max(other.hz, 1.0) <= 2 ** (1 / 3)


def in_hertz(frequency: float) -> str:
    """A frequency as people say it: 250 Hz, 3.4 kHz."""
    return f"{frequency:.0f} Hz" if frequency < 1000 else f"{frequency / 1000:.1f} kHz"
