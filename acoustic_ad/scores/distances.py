"""Distances between many clips, in pieces: all of them at once would grow with the square of the clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from acoustic_ad.scores.covariance import Array

MOST_DISTANCES: Final = 1_000_000  # in memory at a time


def parts(rows: int, others: int) -> Iterator[slice]:
    """Of so many rows, so many at a time that their distances from the others take no more than 8 MB."""
    size = max(MOST_DISTANCES // others, 1)
    return (slice(start, start + size) for start in range(0, rows, size))


def apart(left: Array, right: Array, right_squares: Array | None = None) -> Array:
    """Root mean square differences [n, m] of rows [n, p] and [m, p], whose sums of squares [m] may be known."""
    squares = np.square(right).sum(axis=1) if right_squares is None else right_squares
    square = np.square(left).sum(axis=1)[:, None] + squares - 2.0 * left @ right.T
    return np.asarray(np.sqrt(np.maximum(square, 0.0) / left.shape[1]))
