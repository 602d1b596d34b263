"""Whether p-values keep their promise on normal clips: those of one recording, held against all other recordings."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BLOCKS: Final = 5  # runs of neighbours that stand in for recordings where these are not known


def held_out_p_values(scores: npt.ArrayLike, sessions: npt.ArrayLike | None = None) -> Array:
    """Conformal p-values [n] of normal clips' scores [n] in the order of recording, each recording held out in turn.

    Uniform where recordings resemble one another; where small ones abound, a new recording sounds less normal than
    the p-value says, and false alarms are more than promised. Needs two recordings at least: raises ValueError.
    `sessions` [n] are their numbers; without them, five runs of neighbouring clips stand in.
    """
    found = np.asarray(scores, np.float64)
    if sessions is None:
        numbers = np.arange(found.size) * BLOCKS // max(found.size, 1)
    else:
        numbers = np.asarray(sessions, np.int64)
    if found.ndim != 1 or numbers.shape != found.shape or np.unique(numbers).size < 2:
        raise ValueError(f"{found.shape} scores in {np.unique(numbers).size} recordings: at least two are needed")
    p = np.empty(found.size)
    for number in np.unique(numbers):
        own = numbers == number
        others = np.sort(found[~own])
        beyond = others.size - np.searchsorted(others, found[own], side="left")
        p[own] = (1 + beyond) / (others.size + 1)
    return p


def largest_gap(p_values: npt.ArrayLike) -> float:
    """The largest distance, 0..1, between the distribution of p-values and a uniform one (Kolmogorov-Smirnov)."""
    p = np.sort(np.asarray(p_values, np.float64))
    if p.size == 0:
        raise ValueError("no p-values")
    above, below = np.arange(1, p.size + 1) / p.size - p, p - np.arange(p.size) / p.size
    return float(max(above.max(), below.max()))
