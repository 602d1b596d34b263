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

    def cross_fit(self, clips: Sequence[ClipEvidence], fold: IntArray, trust: float = 1.0) -> Array:
        """Learn from all clips; the score [n] of each by what the clips of the other folds (two at least) taught.

        `trust`, within 0..1, is what the detector's own evidence is worth beside what it was given.
        """

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

    def cross_fit(self, clips: Sequence[ClipEvidence], fold: IntArray, trust: float = 1.0) -> Array:
        """The clips' scores [n]: with nothing learnt, nothing flatters."""
        return np.array([self.score(clip) for clip in clips])

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
    """Mahalanobis distance of the clip's residual statistics to those of normal clips, with shrunk covariances.

    `statistics` names what is compared, per band: the `mean` residual, its `spread` over time, and the `spectrum`, the
    clip-mean log-mel before the detector saw it. Each has a covariance of its own and is scaled to unit variance first,
    so that shrinking pulls towards independent bands; the distances are put on one scale and averaged as squares.

    How much to shrink: Ledoit & Wolf (2004) assume independent clips, and clips of one recording are not; ten of them
    look like ten observations and are hardly more than one. So the shrinkage is the one under which the clips of each
    fold are likeliest, given the others (Ledoit-Wolf's own where there are no folds).
    Blind to faults that leave the statistics alone; the fewer recordings, the closer to a sum of squared deviations.
    """

    def __init__(self, statistics: Sequence[Statistic] = ("mean",)) -> None:
        self.statistics = tuple(dict.fromkeys(statistics))
        self._clouds: dict[Statistic, _Cloud] = {}

    def fit(self, clips: Sequence[ClipEvidence], fold: IntArray | None = None) -> None:
        """Location and shrunk covariance of each statistic of normal clips."""
        if fold is None or len(np.unique(fold)) < 2:
            self._clouds = {name: _Cloud.of(_vectors(clips, name)) for name in self.statistics}
        else:
            self.cross_fit(clips, fold)

    def cross_fit(self, clips: Sequence[ClipEvidence], fold: IntArray, trust: float = 1.0) -> Array:
        """As `fit`; the score [n] of each clip by the clouds of the other folds.

        Shrinkage and unit are those of all clips throughout. Chosen anew without each fold, they would differ from the
        final ones, the more the fewer the folds, and the scores of these clips from those of new ones.
        Beside the spectrum, the squared distances of the residual's statistics weigh `trust` to one.
        """
        weight = {name: 1.0 if name == "spectrum" else trust for name in self.statistics}
        mean_weight = float(np.mean(list(weight.values())))
        self._clouds, squares = {}, []
        for name in self.statistics:
            cloud, distances = _Cloud.cross_fitted(_vectors(clips, name), fold)
            scale = float(np.sqrt(weight[name] / mean_weight))
            self._clouds[name] = _Cloud(cloud.location, cloud.whitening * scale)
            squares.append(np.square(distances * scale))
        return np.asarray(np.sqrt(np.mean(squares, axis=0)))

    def score(self, clip: ClipEvidence) -> float:
        """The distance: a normal clip that was not among those it was fitted on is at 1 or a little more."""
        if not self._clouds:
            raise NotFittedError("the clip scorer has learnt nothing yet: call fit or load_state first")
        squares = [cloud.distance(_vector(clip, name)) ** 2 for name, cloud in self._clouds.items()]
        return float(np.sqrt(np.mean(squares)))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Per statistic its location [p] and whitening W [p, p]; W times its transpose is the precision."""
        if not self._clouds:
            raise NotFittedError("the clip scorer has learnt nothing yet: there is nothing to keep")
        parts = {f"{name}.location": cloud.location for name, cloud in self._clouds.items()}
        return parts | {f"{name}.whitening": cloud.whitening for name, cloud in self._clouds.items()}

    def load_state(self, state: State) -> None:
        """Take over a `state`; raises BundleError where it does not fit."""
        wanted = {f"{name}.{part}" for name in self.statistics for part in ("location", "whitening")}
        if set(state) != wanted:
            raise BundleError(f"the clip scorer needs {sorted(wanted)}, the bundle has {sorted(state)}")
        clouds: dict[Statistic, _Cloud] = {}
        for name in self.statistics:
            location, whitening = (np.asarray(state[f"{name}.{part}"]) for part in ("location", "whitening"))
            if location.ndim != 1 or whitening.shape != (len(location), len(location)):
                raise BundleError(f"scorer shapes do not fit: location {location.shape}, whitening {whitening.shape}")
            if not (np.isfinite(location).all() and np.isfinite(whitening).all()):
                raise BundleError("the clip scorer's arrays contain NaN or Inf")
            clouds[name] = _Cloud(location, whitening)
        self._clouds = clouds


def _vector(clip: ClipEvidence, statistic: Statistic) -> Array:
    return {"mean": clip.residual_mean, "spread": clip.residual_spread, "spectrum": clip.spectrum}[statistic]


def _vectors(clips: Sequence[ClipEvidence], statistic: Statistic) -> Array:
    return np.stack([_vector(clip, statistic) for clip in clips])


@dataclass(frozen=True, slots=True)
class _Cloud:
    """Where one statistic of normal clips lies, and how it spreads."""

    location: Array  # [p]
    whitening: Array  # [p, p]

    @classmethod
    def of(cls, vectors: Array) -> _Cloud:
        """Fitted to vectors [n, p] that are taken to be independent."""
        spectrum = _Spectrum.of(vectors)
        # Two clips look like certainty to Ledoit and Wolf, and their covariance has no inverse.
        ledoit_wolf = LedoitWolf().fit((vectors - spectrum.mean) / spectrum.deviation).shrinkage_
        return cls(spectrum.mean, spectrum.whitening(max(float(ledoit_wolf), float(SHRINKAGES[0]))))

    @classmethod
    def cross_fitted(cls, vectors: Array, fold: IntArray) -> tuple[_Cloud, Array]:
        """Fitted to vectors [n, p], and the distance [n] of each from the cloud of the other folds, in the same unit.

        The unit is their lower quartile, not their median: with few recordings, those at the edge (the slowest, the
        fastest) are extrapolated to when left out, and how far off they seem differs from machine to machine.
        """
        shrinkage = likeliest_shrinkage(vectors, fold)
        distances = np.empty(len(vectors))
        for number in np.unique(fold):
            rest = _Spectrum.of(vectors[fold != number])
            cloud = cls(rest.mean, rest.whitening(shrinkage))
            distances[fold == number] = [cloud.distance(vector) for vector in vectors[fold == number]]
        spectrum, unit = _Spectrum.of(vectors), max(float(np.quantile(distances, UNIT_QUANTILE)), 1e-9)
        return cls(spectrum.mean, spectrum.whitening(shrinkage) / unit), distances / unit

    def distance(self, vector: Array) -> float:
        """Root mean square of the whitened deviation."""
        return float(np.sqrt(np.mean(np.square((vector - self.location) @ self.whitening))))


# Shrinkages to choose from: 0 would trust the sample covariance, 1 only its diagonal.
SHRINKAGES = np.array([0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.18, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95])
UNIT_QUANTILE = 0.25
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
