"""A clip's evidence -> one number, higher = more anomalous.

What betrays a fault is seldom the size of the residual (autoencoders reconstruct faults well enough) but its
direction: it points where it never points in normal operation. Hence `ResidualMahalanobis`, the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.covariance import LedoitWolf

from acoustic_ad.errors import BundleError, NotFittedError

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
State = Mapping[str, npt.NDArray[Any]]
Statistic = Literal["mean", "spread", "spectrum"]


@dataclass(frozen=True, slots=True)
class ClipEvidence:
    """A detector's evidence of one clip, reduced over its N patches."""

    patch_scores: Array  # [N], the detector's paper score of each patch
    residual_mean: Array  # [mels], mean signed residual
    residual_spread: Array  # [mels], standard deviation of the residual over the patches
    latent_mean: Array  # [D], mean code
    spectrum: Array  # [mels], mean of the patches themselves, in normalised units


class EvidenceSum:
    """Gathers a clip's evidence part by part, so that a long clip needs no more memory than a short one."""

    def __init__(self) -> None:
        self._scores: list[Array] = []
        self._sums: list[Array] = []

    def add(self, score: npt.ArrayLike, residual: npt.ArrayLike, latent: npt.ArrayLike, patches: npt.ArrayLike) -> None:
        """Take in n more patches [n, frames, mels]: their score [n], residual [n, mels] and latent [n, D]."""
        part, code = np.asarray(residual, np.float64), np.asarray(latent, np.float64)
        spectrum = np.asarray(patches).mean(axis=1, dtype=np.float64)
        self._scores.append(np.asarray(score, np.float64))
        sums = [part.sum(axis=0), np.square(part).sum(axis=0), code.sum(axis=0), spectrum.sum(axis=0)]
        self._sums = [old + new for old, new in zip(self._sums, sums, strict=True)] if self._sums else sums

    def clip(self) -> ClipEvidence:
        """The evidence of all patches so far; raises ValueError where there are none."""
        if not self._scores:
            raise ValueError("a clip without patches has no evidence")
        scores = np.concatenate(self._scores)
        mean, square, latent, spectrum = (total / len(scores) for total in self._sums)
        return ClipEvidence(scores, mean, np.sqrt(np.maximum(square - np.square(mean), 0.0)), latent, spectrum)


class ClipScorer(Protocol):
    """Turns evidence into a clip score; statistical scorers learn what is normal first."""

    def fit(self, clips: Sequence[ClipEvidence], fold: IntArray | None = None) -> None:
        """Learn from the evidence of normal clips; `fold` [n] keeps clips of one recording together."""

    def score(self, clip: ClipEvidence) -> float:
        """The clip's score; raises NotFittedError before `fit` or `load_state`."""

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Named arrays that `load_state` turns back into the same scorer."""

    def load_state(self, state: State) -> None:
        """Take over a `state`; raises BundleError where it does not fit."""


class Paper:
    """The detector's own paper score, pooled over the clip's patches by GWRP (global weighted rank pooling).

    Patch scores are sorted, largest first, and weighted with r^i: r = 1 is the mean, r towards 0 the largest.
    """

    def __init__(self, gwrp_r: float = 1.0) -> None:
        self.gwrp_r = gwrp_r

    def fit(self, clips: Sequence[ClipEvidence], fold: IntArray | None = None) -> None:
        """Nothing to learn."""

    def score(self, clip: ClipEvidence) -> float:
        """The pooled paper score."""
        return gwrp(clip.patch_scores, self.gwrp_r)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing to keep."""
        return {}

    def load_state(self, state: State) -> None:
        """Nothing to take over; anything given is refused."""
        if state:
            raise BundleError(f"the paper scorer keeps no arrays, the bundle has {sorted(state)}")


class ResidualMahalanobis:
    """Mahalanobis distance of the clip's residual statistics to those of normal clips, with a shrunk covariance.

    `statistics` names what is compared, per band: the `mean` residual, its `spread` over time, and the `spectrum`, the
    clip-mean log-mel before the detector saw it. Each is scaled to unit variance over the normal clips first, so the shrinking pulls towards independent bands.

    How much to shrink: Ledoit & Wolf (2004) assume independent clips, and clips of one recording are not; ten of them
    look like ten observations and are hardly more than one. So the shrinkage is the one under which the clips of each
    fold are likeliest, given the others (Ledoit-Wolf's own where there are no folds).
    Blind to faults that leave the statistics alone; the fewer recordings, the closer to a sum of squared deviations.
    """

    def __init__(self, statistics: Sequence[Statistic] = ("mean",)) -> None:
        self.statistics = tuple(statistics)
        self._location: Array | None = None
        self._whitening: Array | None = None

    def fit(self, clips: Sequence[ClipEvidence], fold: IntArray | None = None) -> None:
        """Location and shrunk covariance of the statistics of normal clips."""
        vectors = np.stack([self._vector(clip) for clip in clips])
        spectrum = _Spectrum.of(vectors)
        if fold is None or len(np.unique(fold)) < 2:
            shrinkage = float(LedoitWolf().fit((vectors - spectrum.mean) / spectrum.deviation).shrinkage_)
        else:
            shrinkage = likeliest_shrinkage(vectors, fold)
        self._location, self._whitening = spectrum.mean, spectrum.whitening(shrinkage)

    def score(self, clip: ClipEvidence) -> float:
        """The distance, as root mean square over the statistics: about 1 for the clips it was fitted on."""
        if self._location is None or self._whitening is None:
            raise NotFittedError("the clip scorer has learnt nothing yet: call fit or load_state first")
        white = (self._vector(clip) - self._location) @ self._whitening
        return float(np.sqrt(np.mean(np.square(white))))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Location [p] and whitening matrix [p, p], whose product with its transpose is the precision."""
        if self._location is None or self._whitening is None:
            raise NotFittedError("the clip scorer has learnt nothing yet: there is nothing to keep")
        return {"location": self._location, "whitening": self._whitening}

    def load_state(self, state: State) -> None:
        """Take over a `state`; raises BundleError where it does not fit."""
        if set(state) != {"location", "whitening"}:
            raise BundleError(f"the clip scorer needs location and whitening, the bundle has {sorted(state)}")
        location, whitening = np.asarray(state["location"]), np.asarray(state["whitening"])
        if location.ndim != 1 or whitening.shape != (len(location), len(location)):
            raise BundleError(f"scorer shapes do not fit: location {location.shape}, whitening {whitening.shape}")
        if not (np.isfinite(location).all() and np.isfinite(whitening).all()):
            raise BundleError("the clip scorer's arrays contain NaN or Inf")
        self._location, self._whitening = location, whitening

    def _vector(self, clip: ClipEvidence) -> Array:
        parts = {"mean": clip.residual_mean, "spread": clip.residual_spread, "spectrum": clip.spectrum}
        return np.concatenate([parts[statistic] for statistic in self.statistics])


# Shrinkages to choose from: 0 would trust the sample covariance, 1 only its diagonal.
SHRINKAGES = np.array([0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.18, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95])
# A statistic that hardly moves over the normal clips (in normalised units) may not claim an endless distance.
SMALLEST_DEVIATION = 0.02


@dataclass(frozen=True, slots=True)
class _Spectrum:
    """Eigenvalues and eigenvectors of a correlation matrix, from which every shrinkage is had at no cost."""

    mean: Array  # [p]
    deviation: Array  # [p]
    values: Array  # [p]
    vectors: Array  # [p, p]

    @classmethod
    def of(cls, rows: Array) -> _Spectrum:
        mean, deviation = rows.mean(axis=0), np.maximum(rows.std(axis=0), SMALLEST_DEVIATION)
        values, vectors = np.linalg.eigh(np.cov((rows - mean) / deviation, rowvar=False, bias=True))
        return cls(mean, deviation, np.maximum(values, 0.0), vectors)

    def whitening(self, shrinkage: float) -> Array:
        shrunk = (1.0 - shrinkage) * self.values + shrinkage
        return np.asarray(self.vectors / self.deviation[:, None] / np.sqrt(shrunk))

    def surprise(self, rows: Array, shrinkage: float) -> float:
        """Twice the negative log likelihood of rows [n, p], up to a constant."""
        shrunk = (1.0 - shrinkage) * self.values + shrinkage
        log_volume = np.log(shrunk).sum() + 2.0 * np.log(self.deviation).sum()
        return float(np.square((rows - self.mean) @ self.whitening(shrinkage)).sum() + len(rows) * log_volume)


def likeliest_shrinkage(vectors: Array, fold: IntArray) -> float:
    """The shrinkage under which each fold's vectors [n, p] are likeliest, given the other folds (fold is [n])."""
    surprise = np.zeros(len(SHRINKAGES))
    for number in np.unique(fold):
        spectrum = _Spectrum.of(vectors[fold != number])
        surprise += [spectrum.surprise(vectors[fold == number], shrinkage) for shrinkage in SHRINKAGES]
    return float(SHRINKAGES[int(surprise.argmin())])


def gwrp(values: Array, r: float) -> float:
    """Global weighted rank pooling of values [N]: weights r^i on the values sorted in descending order."""
    weights = np.power(r, np.arange(len(values), dtype=np.float64))
    return float(np.sort(values)[::-1] @ weights / weights.sum())


def make_scorer(kind: str, *, statistics: Sequence[Statistic] = ("mean",), gwrp_r: float = 1.0) -> ClipScorer:
    """The clip scorer that a recipe names."""
    if kind == "paper":
        return Paper(gwrp_r)
    if kind == "residual_mahalanobis":
        return ResidualMahalanobis(statistics)
    raise ValueError(f"unknown scorer {kind!r}; one of residual_mahalanobis, paper")
