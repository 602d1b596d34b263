"""Choosing without labels: what finds the faintest faults that were planted into held-out normal clips."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Name = TypeVar("Name", bound=Hashable)

# Found means: above the highest tenth of normal scores. One in ten is what few clips can still tell apart.
FALSE_ALARM_RATE: Final = 0.1
# A further statistic must find this much more of what is planted: below that, it is luck.
SMALLEST_GAIN: Final = 0.005
MOST_CHOSEN: Final = 5


def detection(normal: Array, planted: Array) -> float:
    """Share of planted faults found, averaged over false-alarm rates up to a tenth; within 0..1.

    `normal` [n] are scores of normal clips, `planted` [k] those of clips with a planted fault. It is the partial AUC up
    to that rate, without McClish's rescaling.
    """
    strictest = np.sort(normal)[-max(1, int(np.ceil(FALSE_ALARM_RATE * len(normal)))) :]
    return float(np.searchsorted(strictest, planted, side="left").mean() / len(strictest))


def fused(distances: Sequence[Array], weights: Sequence[float] | None = None) -> Array:
    """Root of the weighted mean square of distances [n] that share one unit."""
    squares = np.square(np.stack(distances))
    if weights is None:
        return np.asarray(np.sqrt(squares.mean(axis=0)))
    shares = np.asarray(weights, np.float64)
    return np.asarray(np.sqrt((shares[:, None] * squares).sum(axis=0) / shares.sum()))


def averaged(scores: Sequence[Array]) -> Array:
    """Mean of scores [n] that share one scale."""
    return np.asarray(np.mean(scores, axis=0))


def choose(candidates: Mapping[Name, tuple[Array, Array]], most: int = MOST_CHOSEN) -> list[Name]:
    """The candidates whose fused distances find most: the best one, then whichever adds most, while it adds enough.

    Each candidate is its distances of normal [n] and of planted clips [k]; the order of candidates decides ties.
    """
    chosen: list[Name] = []
    reached = -np.inf
    while len(chosen) < min(most, len(candidates)):
        found = {name: _together(candidates, [*chosen, name]) for name in candidates if name not in chosen}
        best = max(found, key=lambda name: found[name])
        if found[best] < reached + SMALLEST_GAIN:
            break
        chosen.append(best)
        reached = found[best]
    return chosen


def _together(candidates: Mapping[Name, tuple[Array, Array]], names: Sequence[Name]) -> float:
    normal, planted = (fused([candidates[name][part] for name in names]) for part in (0, 1))
    return detection(normal, planted)
