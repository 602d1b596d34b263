"""Several judges' scores of a clip -> one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import BundleError
from acoustic_ad.scores.choice import SMALLEST_GAIN, averaged, detection
from acoustic_ad.scores.clip_score import FittedScores

Array = npt.NDArray[np.float64]
SMALLEST_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Combination:
    """The mean of the members' z-scores: each score in standard deviations from the mean of held-out normal clips."""

    mean: Array  # [members]
    deviation: Array  # [members]

    def __call__(self, scores: Sequence[float] | Array) -> Array:
        """One score, or scores [n], of members' scores [members] or [members, n]."""
        rows = np.asarray(scores, np.float64)
        shape = (-1,) + (1,) * (rows.ndim - 1)
        return averaged(list((rows - self.mean.reshape(shape)) / self.deviation.reshape(shape)))

    @classmethod
    def of(cls, scores: Sequence[FittedScores]) -> Combination:
        """By the members' scores of the clips that they were fitted on, each clip judged by what it had not taught."""
        normal = [found.normal for found in scores]
        return cls(np.array([s.mean() for s in normal]), np.array([max(s.std(), SMALLEST_SPREAD) for s in normal]))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Named arrays that `from_state` turns back into the same combination."""
        return {"mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_state(cls, state: dict[str, npt.NDArray[Any]], members: int) -> Combination:
        """From a bundle's arrays; raises BundleError where they do not fit."""
        if set(state) != {"mean", "deviation"}:
            raise BundleError(f"an ensemble keeps mean and deviation, the bundle has {sorted(state)}")
        mean, deviation = state["mean"], state["deviation"]
        if mean.shape != (members,) or deviation.shape != (members,) or not (deviation > 0).all():
            raise BundleError("the ensemble's mean and deviation do not fit its members")
        return cls(np.asarray(mean, np.float64), np.asarray(deviation, np.float64))


def helpful(scores: Sequence[FittedScores], combine: Literal["mean", "best"]) -> list[int]:
    """Which members to keep, in their order: by planted faults, never by labels.

    "best" keeps the one that finds most of them. "mean" keeps all but those that do harm: one after another is left
    out, the most harmful first, as long as the others find clearly more without it. A single member is kept.
    """
    if len(scores) == 1:
        return [0]
    whole = Combination.of(scores)
    z = [
        tuple((part - mean) / deviation for part in (found.normal, found.planted))
        for found, mean, deviation in zip(scores, whole.mean, whole.deviation, strict=True)
    ]

    def found_by(members: Sequence[int]) -> float:
        return detection(*(averaged([z[number][part] for number in members]) for part in (0, 1)))

    everyone = list(range(len(scores)))
    if combine == "best":
        return [max(everyone, key=lambda number: found_by([number]))]
    while len(everyone) > 1:
        without = {number: [other for other in everyone if other != number] for number in everyone}
        best = max(everyone, key=lambda number: found_by(without[number]))
        if found_by(without[best]) < found_by(everyone) + SMALLEST_GAIN:
            break
        everyone = without[best]
    return everyone
