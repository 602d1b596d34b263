"""Covariance from few clips: correlations, shrunk as far as clips of other recordings say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Shrinkages to choose from: 0 would trust the sample covariance, 1 only its diagonal.
SHRINKAGES: Final = np.array([0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.18, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95])
# A statistic that hardly moves over the normal clips (in normalised units) may not claim an endless distance.
SMALLEST_DEVIATION: Final = 0.02


@dataclass(frozen=True, slots=True)
class Correlations:
    """Eigenvalues and eigenvectors of a correlation matrix, from which every shrinkage is had at no cost."""

    mean: Array  # [p]
    deviation: Array  # [p]
    values: Array  # [p]
    vectors: Array  # [p, p]

    @classmethod
    def of(cls, rows: Array) -> Correlations:
        """Of rows [n, p]."""
        mean, deviation = rows.mean(axis=0), np.maximum(rows.std(axis=0), SMALLEST_DEVIATION)
        correlation = np.atleast_2d(np.cov((rows - mean) / deviation, rowvar=False, bias=True))
        values, vectors = np.linalg.eigh(correlation)
        return cls(mean, deviation, np.maximum(values, 0.0), vectors)

    def whitening(self, shrinkage: float) -> Array:
        """W [p, p]: deviations from the mean times W are uncorrelated, of unit variance but for the shrinkage."""
        shrunk = (1.0 - shrinkage) * self.values + shrinkage
        return np.asarray(self.vectors / self.deviation[:, None] / np.sqrt(shrunk))

    def surprise(self, rows: Array, shrinkage: float) -> float:
        """Twice the negative log likelihood of rows [n, p], up to a constant."""
        shrunk = (1.0 - shrinkage) * self.values + shrinkage
        log_volume = np.log(shrunk).sum() + 2.0 * np.log(self.deviation).sum()
        return float(np.square((rows - self.mean) @ self.whitening(shrinkage)).sum() + len(rows) * log_volume)


def likeliest_shrinkage(vectors: Array, fold: IntArray) -> float:
    """The shrinkage under which each fold's vectors [n, p] are likeliest, given the other folds (fold is [n]).

    Ledoit & Wolf (2004) assume independent clips, and clips of one recording are not: ten of them look like ten
    observations and are hardly more than one. Where there are no two folds it is theirs all the same.
    """
    numbers = np.unique(fold)
    if len(numbers) < 2:
        spectrum = Correlations.of(vectors)
        from sklearn.covariance import LedoitWolf  # takes a second to load, and scoring does without

        own = float(LedoitWolf().fit((vectors - spectrum.mean) / spectrum.deviation).shrinkage_)
        return max(own, float(SHRINKAGES[0]))  # two clips look like certainty, and their covariance has no inverse
    surprise = np.zeros(len(SHRINKAGES))
    for number in numbers:
        spectrum = Correlations.of(vectors[fold != number])
        surprise += [spectrum.surprise(vectors[fold == number], shrinkage) for shrinkage in SHRINKAGES]
    return float(SHRINKAGES[int(surprise.argmin())])
