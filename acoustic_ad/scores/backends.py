"""What is normal for one statistic of a machine's clips, and how far a clip is from it.

Each back-end is fitted on vectors [n, p] of normal clips, and gives the distance of a vector; all distances are on
one scale: that of the closest quarter of normal clips which were left out of the fit is below 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, ClassVar, Final, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import BundleError
from acoustic_ad.scores.covariance import SMALLEST_DEVIATION, Array, Correlations, IntArray, likeliest_shrinkage
from acoustic_ad.scores.distances import apart, parts

State = Mapping[str, npt.NDArray[Any]]
BackendName = Literal["mahalanobis", "gaussian_mixture", "nearest_neighbour"]

UNIT_QUANTILE: Final = 0.25
CLIPS_A_COMPONENT: Final = 20  # of a mixture, at least
MOST_COMPONENTS: Final = 4
NEIGHBOURS: Final = 2
SMALLEST_RADIUS: Final = 1e-3
SMALLEST_DISTANCE: Final = 1e-9


class Backend(Protocol):
    """Distance of a vector [p] from normal ones."""

    name: ClassVar[str]

    @classmethod
    def fit(cls, vectors: Array, shrinkage: float, fewest: int) -> Self:
        """Learn from vectors [n, p], in no unit yet; all of one cross-fit take their size from its `fewest` clips."""

    def distances(self, vectors: Array) -> Array:
        """Distances [n] of vectors [n, p]."""

    def in_unit(self, unit: float) -> Self:
        """The same, with all distances divided by `unit`."""

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Named arrays that `from_state` turns back into the same back-end."""

    @classmethod
    def from_state(cls, state: State) -> Self:
        """From a `state`; raises BundleError where it does not fit."""


@dataclass(frozen=True, slots=True)
class CrossFit:
    """A back-end fitted to all vectors, and the distances of each vector by what those of the other folds taught."""

    backend: Backend
    distances: Array  # [n]
    planted: Array  # [k], of further vectors that belong to folds, such as clips with planted faults
    shrinkage: float
    fewest: int  # clips that the least taught of the folds' back-ends learnt from
    unit: float  # the distance that all distances are divided by


def cross_fit(
    name: BackendName,
    vectors: Array,
    fold: IntArray,
    planted: Array | None = None,
    planted_fold: IntArray | None = None,
) -> CrossFit:
    """Fit the back-end `name` to vectors [n, p] of normal clips, of which fold [n] keeps those of a recording together.

    Shrinkage, size and unit are the same throughout. Chosen anew without each fold, they would differ from the
    final ones, the more the fewer the folds. The unit is the lower quartile of left-out distances, not their median:
    with few recordings, those at the edge (the slowest, the fastest) are extrapolated to when left out, and how far off
    they seem differs from machine to machine. Raises ValueError where all vectors are of one fold.
    """
    if len(np.unique(fold)) < 2:
        raise ValueError("vectors of one fold cannot be judged by what those of the others taught")
    kind = BACKENDS[name]
    shrinkage = likeliest_shrinkage(vectors, fold)
    fewest = len(vectors) - int(np.unique(fold, return_counts=True)[1].max())
    distances = np.empty(len(vectors))
    others = np.empty(0 if planted is None else len(planted))
    for number in np.unique(fold):
        rest = kind.fit(vectors[fold != number], shrinkage, fewest)
        distances[fold == number] = rest.distances(vectors[fold == number])
        if planted is not None and planted_fold is not None:
            others[planted_fold == number] = rest.distances(planted[planted_fold == number])
    unit = max(float(np.quantile(distances, UNIT_QUANTILE)), 1e-9)
    final = kind.fit(vectors, shrinkage, fewest).in_unit(unit)
    return CrossFit(final, distances / unit, others / unit, shrinkage, fewest, unit)


def with_a_fold_less(name: BackendName, vectors: Array, fold: IntArray, found: CrossFit) -> Array:
    """Distances [n] of the vectors [n, p] of a cross-fit by back-ends that had a further fold less to learn from.

    The geometric mean over the folds that can be missing beside the vector's own; NaN where there are but two folds.
    """
    kind, numbers = BACKENDS[name], np.unique(fold)
    if len(numbers) < 3:
        return np.full(len(vectors), np.nan)
    logs = np.zeros(len(vectors))
    for one, other in combinations(numbers.tolist(), 2):
        fewer = kind.fit(vectors[(fold != one) & (fold != other)], found.shrinkage, found.fewest)
        for number in (one, other):
            own = fold == number
            logs[own] += np.log(np.maximum(fewer.distances(vectors[own]), SMALLEST_DISTANCE))
    return np.asarray(np.exp(logs / (len(numbers) - 1)) / found.unit)


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud: root mean square of the whitened deviation from its centre (Mahalanobis)."""

    name: ClassVar[str] = "mahalanobis"
    location: Array  # [p]
    whitening: Array  # [p, p]; W times its transpose is the precision

    @classmethod
    def fit(cls, vectors: Array, shrinkage: float, fewest: int) -> Self:
        """As `Backend.fit`."""
        found = Correlations.of(vectors)
        return cls(found.mean, found.whitening(shrinkage))

    def whitened(self, vectors: Array) -> Array:
        """Vectors [n, p] in the cloud's own coordinates."""
        return np.asarray((vectors - self.location) @ self.whitening)

    def distances(self, vectors: Array) -> Array:
        """As `Backend.distances`."""
        return np.asarray(np.sqrt(np.mean(np.square(self.whitened(vectors)), axis=1)))

    def in_unit(self, unit: float) -> Self:
        """As `Backend.in_unit`."""
        return type(self)(self.location, self.whitening / unit)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """As `Backend.state`."""
        return {"location": self.location, "whitening": self.whitening}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """As `Backend.from_state`."""
        location, whitening = _arrays(state, "location", "whitening")
        if location.ndim != 1 or whitening.shape != (len(location), len(location)):
            raise BundleError(f"scorer shapes do not fit: location {location.shape}, whitening {whitening.shape}")
        return cls(location, whitening)


@dataclass(frozen=True, slots=True)
class Mixture:
    """A Gaussian mixture, for machines with several ways of running.

    The cloud is that of clips around their own mode (by k-means): around the mean of all, its covariance would hold the
    distance between modes, and whitening would squeeze them together. In its coordinates there are as many spherical
    components as 20 clips each allow, at most four. The distance is the root of twice the drop of
    the log density, per dimension, from where it is highest.
    """

    name: ClassVar[str] = "gaussian_mixture"
    cloud: Cloud
    weights: Array  # [k]
    means: Array  # [k, p]
    variances: Array  # [k]
    unit: float = 1.0

    @classmethod
    def fit(cls, vectors: Array, shrinkage: float, fewest: int) -> Self:
        """As `Backend.fit`."""
        # Here and not above: scoring needs none of it, and it takes a second to load.
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        count = int(np.clip(fewest // CLIPS_A_COMPONENT, 1, MOST_COMPONENTS))
        scaled = vectors / np.maximum(vectors.std(axis=0), SMALLEST_DEVIATION)
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # clips that are all alike
            mode = KMeans(count, n_init=4, random_state=0).fit_predict(scaled)
        centres = np.stack([vectors[mode == number].mean(axis=0) for number in np.unique(mode)])
        cloud = Cloud.fit(vectors - centres[np.unique(mode, return_inverse=True)[1]], shrinkage, fewest)
        mixture = GaussianMixture(
            len(centres),
            covariance_type="spherical",
            means_init=cloud.whitened(centres),
            reg_covar=0.05,
            random_state=0,
        )
        mixture.fit(cloud.whitened(vectors))
        return cls(cloud, mixture.weights_, mixture.means_, mixture.covariances_)

    def _log_density(self, whitened: Array) -> Array:
        square = np.square(whitened[:, None, :] - self.means[None]).sum(axis=2)  # [n, k]
        p = whitened.shape[1]
        logs = np.log(self.weights) - 0.5 * (square / self.variances + p * np.log(self.variances))
        return np.asarray(np.logaddexp.reduce(logs, axis=1))

    def distances(self, vectors: Array) -> Array:
        """As `Backend.distances`."""
        drop = self._log_density(self.means).max() - self._log_density(self.cloud.whitened(vectors))
        return np.asarray(np.sqrt(np.maximum(2.0 * drop / vectors.shape[1], 0.0)) / self.unit)

    def in_unit(self, unit: float) -> Self:
        """As `Backend.in_unit`."""
        return type(self)(self.cloud, self.weights, self.means, self.variances, self.unit * unit)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """As `Backend.state`."""
        own = {"weights": self.weights, "means": self.means, "variances": self.variances}
        return self.cloud.state() | own | {"unit": np.array([self.unit])}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """As `Backend.from_state`."""
        names = ("location", "whitening", "weights", "means", "variances", "unit")
        location, whitening, weights, means, variances, unit = _arrays(state, *names)
        cloud = Cloud.from_state({"location": location, "whitening": whitening})
        count = len(weights) if weights.ndim == 1 else 0
        if not count or means.shape != (count, len(location)) or variances.shape != (count,) or unit.shape != (1,):
            raise BundleError("the mixture's shapes do not fit")
        if not ((weights > 0).all() and (variances > 0).all() and unit[0] > 0):
            raise BundleError("the mixture's weights, variances and unit must be positive")
        return cls(cloud, weights, means, variances, float(unit[0]))


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Distance to the nearest normal clips in the cloud's coordinates, each in units of how sparse it is around them.

    A clip near a lonely normal one is no more unusual than one as near to a crowd, relative to their own neighbours'
    distance (local density rescaling).
    """

    name: ClassVar[str] = "nearest_neighbour"
    cloud: Cloud
    points: Array  # [n, p], whitened
    radius: Array  # [n]
    unit: float = 1.0
    squares: Array = field(init=False, repr=False)  # [n], of the points: the same for every clip

    def __post_init__(self) -> None:
        object.__setattr__(self, "squares", np.square(self.points).sum(axis=1))

    @classmethod
    def fit(cls, vectors: Array, shrinkage: float, fewest: int) -> Self:
        """As `Backend.fit`."""
        cloud = Cloud.fit(vectors, shrinkage, fewest)
        points = cloud.whitened(vectors)
        nearest = np.empty((len(points), min(NEIGHBOURS, len(points) - 1)))
        for part in parts(len(points), len(points)):
            away = apart(points[part], points)
            away[np.arange(len(away)), np.arange(len(points))[part]] = np.inf
            nearest[part] = np.sort(away, axis=1)[:, : nearest.shape[1]]
        return cls(cloud, points, np.maximum(nearest.mean(axis=1), SMALLEST_RADIUS))

    def distances(self, vectors: Array) -> Array:
        """As `Backend.distances`."""
        whitened, nearest = self.cloud.whitened(vectors), np.empty(len(vectors))
        for part in parts(len(vectors), len(self.points)):
            away = apart(whitened[part], self.points, self.squares) / self.radius
            nearest[part] = np.sort(away, axis=1)[:, :NEIGHBOURS].mean(axis=1)
        return np.asarray(nearest / self.unit)

    def in_unit(self, unit: float) -> Self:
        """As `Backend.in_unit`."""
        return type(self)(self.cloud, self.points, self.radius, self.unit * unit)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """As `Backend.state`."""
        return self.cloud.state() | {"points": self.points, "radius": self.radius, "unit": np.array([self.unit])}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """As `Backend.from_state`."""
        location, whitening, points, radius, unit = _arrays(state, "location", "whitening", "points", "radius", "unit")
        cloud = Cloud.from_state({"location": location, "whitening": whitening})
        if points.ndim != 2 or points.shape[1] != len(location) or radius.shape != points.shape[:1] or not len(radius):
            raise BundleError("the neighbours' shapes do not fit")
        if unit.shape != (1,) or not (unit[0] > 0 and (radius > 0).all()):
            raise BundleError("the neighbours' radius and unit must be positive")
        return cls(cloud, points, radius, float(unit[0]))


def _arrays(state: State, *names: str) -> list[Array]:
    if set(state) != set(names):
        raise BundleError(f"the clip scorer needs {sorted(names)}, the bundle has {sorted(state)}")
    arrays = [np.asarray(state[name]) for name in names]
    if not all(np.isfinite(array).all() for array in arrays):
        raise BundleError("the clip scorer's arrays contain NaN or Inf")
    return arrays


BACKENDS: Final[Mapping[str, type[Backend]]] = {kind.name: kind for kind in (Cloud, Mixture, Neighbours)}
