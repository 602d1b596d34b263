"""What sound is multiplied with: tapers, and gains in decibels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def tukey(size: int, share: float) -> npt.NDArray[np.float64]:
    """A Tukey window [size], of which `share` (0..1) is spent on both ramps together."""
    from scipy.signal import windows  # takes a second to load, and scoring does without

    return np.asarray(windows.tukey(size, share))


def gain_of(level_db: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The factor [n] by which samples that are to rise by `level_db` [n] are multiplied."""
    return np.asarray(np.exp(level_db * np.float32(math.log(10.0) / 20.0)))
