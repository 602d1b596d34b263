"""Where in a clip the sound stands out: the region of time and frequency that a listener should look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float64]

# Chosen on simulated machines with planted tones, noise and bursts at +10 dB; see tests/scores/test_localisation.py.
SMOOTHING_S: Final = 0.16  # single frames of noise vary by several dB: what lasts shorter than this is not shown
LEAST_Z: Final = 1.3  # of the smoothed map, in standard deviations of a normal cell
OF_THE_PEAK: Final = 0.4  # a region reaches down to this share of the map's highest z ...
HIGHEST_PEAK: Final = 6.0  # ... of which more than this says nothing about how far the region reaches
FILLED: Final = 0.2  # rows and columns with fewer cells than this share of the fullest one are no part of the box
LEAST_MASS: Final = 1.0  # z x seconds x bands: less is a speck


@dataclass(frozen=True, slots=True)
class Region:
    """A box in a map [frames, mels]: frames first_frame..end_frame-1 and bands first_band..end_band-1."""

    first_frame: int
    end_frame: int
    first_band: int
    end_band: int
    db: float  # mean excess over the cells that stand out, signed: negative where sound is missing
    z: float  # mean excess of the same cells, smoothed, in standard deviations of a normal cell, signed
    mass: float  # z x seconds x bands


def localise(excess_db: npt.ArrayLike, spread_db: npt.ArrayLike, frame_s: float) -> Region | None:
    """The region that stands out most in a map of excess [frames, mels] in dB; None where there is nothing but specks.

    `spread_db` [mels] is the standard deviation of a cell of that band over normal frames, `frame_s` the time between
    frames. The map, in standard deviations, is smoothed over 0.16 s and cut at 0.4 of its peak; of the connected
    regions above, or below, the one with the most excess wins, and its box leaves thin tails out. It names a place, and
    no fault: a normal clip has its most unusual place too. Where many narrow lines rise at once (a new speed) it shows
    the strongest only. Raises ValueError for shapes that do not fit.
    """
    excess, spread = np.asarray(excess_db, np.float64), np.asarray(spread_db, np.float64)
    if excess.ndim != 2 or spread.shape != excess.shape[1:] or not (spread > 0).all():
        raise ValueError(f"excess {excess.shape} and spread {spread.shape} do not fit, or a spread is not above 0")
    if not excess.size:
        return None
    frames = max(1, round(SMOOTHING_S / frame_s))
    z = ndimage.uniform_filter1d(excess / spread, frames, axis=0, mode="nearest")
    found = [one for sign in (1.0, -1.0) if (one := _heaviest(sign * z)) is not None]
    if not found:
        return None
    mass, cells = max(found, key=lambda one: one[0])
    mass *= frame_s
    if mass < LEAST_MASS:
        return None
    (first_frame, end_frame), (first_band, end_band) = _filled(cells.sum(axis=1)), _filled(cells.sum(axis=0))
    return Region(
        first_frame, end_frame, first_band, end_band, float(excess[cells].mean()), float(z[cells].mean()), mass
    )


def _heaviest(z: Array) -> tuple[float, npt.NDArray[np.bool_]] | None:
    """Of the connected regions of high cells the one with the largest sum of z: that sum, and its cells."""
    limit = max(LEAST_Z, OF_THE_PEAK * min(float(z.max()), HIGHEST_PEAK))
    labels, count = ndimage.label(z >= limit)
    if not count:
        return None
    mass = np.asarray(ndimage.sum_labels(z, labels, np.arange(1, count + 1)))
    best = int(mass.argmax())
    return float(mass[best]), labels == best + 1


def _filled(cells: npt.NDArray[np.int_]) -> tuple[int, int]:
    """From the first to behind the last row that is not almost empty."""
    full = np.flatnonzero(cells >= FILLED * cells.max())
    return int(full[0]), int(full[-1]) + 1
