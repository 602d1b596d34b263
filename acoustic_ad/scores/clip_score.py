"""A clip's evidence -> one number, higher = more anomalous.

What betrays a fault is seldom the size of the residual (autoencoders reconstruct faults well enough) but its
direction: it points where it never points in normal operation. Hence `StatisticalScorer`, the default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from acoustic_ad.errors import BundleError, NotFittedError
from acoustic_ad.scores.backends import (
    BACKENDS,
    Backend,
    BackendName,
    CrossFit,
    cross_fit,
    with_a_fold_less,
)
from acoustic_ad.scores.choice import choose, detection, fused
from acoustic_ad.scores.evidence import Array, ClipEvidence, Statistic, gwrp

IntArray = npt.NDArray[np.int64]
State = Mapping[str, npt.NDArray[Any]]
ScorerKind = Literal["mahalanobis", "gaussian_mixture", "nearest_neighbour", "paper", "auto"]
Component = tuple[Statistic, BackendName]
SMALLEST_SCORE: Final = 1e-9

# What `auto` chooses from: every statistic as one cloud, and the other back-ends where several clouds are likely.
CANDIDATES: Final[tuple[Component, ...]] = (
    *((statistic, "mahalanobis") for statistic in get_args(Statistic)),
    *((statistic, "gaussian_mixture") for statistic in ("residual", "spectrum", "power")),
    *((statistic, "nearest_neighbour") for statistic in ("residual", "spectrum", "power", "latent")),
)


@dataclass(frozen=True, slots=True)
class Planted:
    """Evidence of held-out normal clips into which a fault was planted."""

    clips: Sequence[ClipEvidence]
    into: IntArray  # [k], the number of the clip that it was planted into


@dataclass(frozen=True, slots=True)
class FittedScores:
    """Scores of the clips that a scorer was fitted on, as if it had not seen the clip but all the others."""

    normal: Array  # [n]
    planted: Array  # [k]; empty where nothing was planted


class ClipScorer(Protocol):
    """Turns evidence into a clip score; statistical scorers learn what is normal first."""

    @property
    def statistics(self) -> tuple[str, ...]:
        """What a clip's evidence must hold."""

    @property
    def paper(self) -> bool:
        """Whether it goes by the patches' paper scores."""

    def fit(self, clips: Sequence[ClipEvidence], fold: IntArray, planted: Planted | None = None) -> FittedScores:
        """Learn from the evidence of n normal clips; `fold` [n], two at least, keeps those of a recording together."""

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

    statistics: tuple[str, ...] = ()
    paper = True

    def __init__(self, gwrp_r: float = 1.0) -> None:
        self.gwrp_r = gwrp_r

    def fit(self, clips: Sequence[ClipEvidence], fold: IntArray, planted: Planted | None = None) -> FittedScores:
        """The clips' scores: with nothing learnt, nothing flatters."""
        changed = planted.clips if planted else ()
        return FittedScores(np.array([self.score(clip) for clip in clips]), np.array([self.score(c) for c in changed]))

    def score(self, clip: ClipEvidence) -> float:
        """The pooled paper score."""
        return float(gwrp(clip.patch_scores, self.gwrp_r))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing to keep."""
        return {}

    def load_state(self, state: State) -> None:
        """Nothing to take over; anything given is refused."""
        if state:
            raise BundleError(f"the paper scorer keeps no arrays, the bundle has {sorted(state)}")


class StatisticalScorer:
    """Distance of the clip's statistics from those of normal clips: the root of the mean square over the statistics.

    Each statistic has a back-end of its own, in its own unit, so that one of many dimensions does not drown the others.
    Blind to faults that leave all of them alone; the fewer recordings, the closer to a sum of squared deviations.
    `components` None is `auto`: what finds the faintest planted faults is chosen, never by labels.
    """

    paper = False

    def __init__(self, components: Sequence[Component] | None) -> None:
        self.components = None if components is None else tuple(dict.fromkeys(components))
        self._backends: dict[Component, Backend] = {}
        self._weights: dict[Component, float] = {}

    @property
    def statistics(self) -> tuple[str, ...]:
        """What a clip's evidence must hold: before `auto` has chosen, everything."""
        wanted = self._backends or self.components or CANDIDATES
        return tuple(dict.fromkeys(statistic for statistic, _ in wanted))

    @property
    def chosen(self) -> tuple[Component, ...]:
        """The statistics, each with its back-end, that the score is made of."""
        return tuple(self._backends)

    def fit(self, clips: Sequence[ClipEvidence], fold: IntArray, planted: Planted | None = None) -> FittedScores:
        """As `ClipScorer.fit`."""
        fits = {component: _fit(component, clips, fold, planted) for component in self.components or _worthwhile(clips)}
        if self.components is None:
            if planted is None or not planted.clips:
                raise NotFittedError("scorer `auto` chooses by planted faults, and nothing was planted")
            kept = choose({key: (found.distances, found.planted) for key, found in fits.items()})
            fits = {component: fits[component] for component in kept}
        self._backends = {component: found.backend for component, found in fits.items()}
        self._weights = _weights(fits) if self.components else dict.fromkeys(fits, 1.0)
        weights = list(self._weights.values())
        distances, changed = (
            fused([getattr(f, part) for f in fits.values()], weights) for part in ("distances", "planted")
        )
        gain = _gain_by_a_fold(fits, clips, fold, distances, weights)
        return FittedScores(distances * gain, changed * gain)

    def score(self, clip: ClipEvidence) -> float:
        """The distance: a normal clip that was not among those it was fitted on is at 1 or a little more."""
        if not self._backends:
            raise NotFittedError("the clip scorer has learnt nothing yet: call fit or load_state first")
        distances = [
            backend.distances(clip.statistics[statistic][None]) for (statistic, _), backend in self._backends.items()
        ]
        return float(fused(distances, list(self._weights.values()))[0])

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Per statistic and back-end its arrays and its weight, by dotted names."""
        if not self._backends:
            raise NotFittedError("the clip scorer has learnt nothing yet: there is nothing to keep")
        kept: dict[str, npt.NDArray[Any]] = {}
        for component, backend in self._backends.items():
            prefix = ".".join(component)
            kept |= {f"{prefix}.{name}": value for name, value in backend.state().items()}
            kept[f"{prefix}.weight"] = np.array([self._weights[component]])
        return kept

    def load_state(self, state: State) -> None:
        """Take over a `state`; raises BundleError where it does not fit."""
        parts: dict[Component, dict[str, npt.NDArray[Any]]] = {}
        for key, value in state.items():
            statistic, _, rest = key.partition(".")
            name, _, array = rest.partition(".")
            if statistic not in get_args(Statistic) or name not in BACKENDS:
                raise BundleError(f"the clip scorer knows no array {key!r}")
            parts.setdefault((statistic, name), {})[array] = value  # type: ignore[arg-type]  # checked just above
        wanted = set(parts) if self.components is None else set(self.components)
        if set(parts) != wanted or not parts:
            raise BundleError(f"the clip scorer needs {sorted(wanted)}, the bundle has {sorted(parts)}")
        weights = {component: _weight(arrays.pop("weight", None)) for component, arrays in parts.items()}
        if not any(weights.values()):
            raise BundleError("the clip scorer's weights are all 0: it would hear nothing")
        self._backends = {
            (statistic, name): BACKENDS[name].from_state(arrays) for (statistic, name), arrays in parts.items()
        }
        self._weights = weights


def _fit(component: Component, clips: Sequence[ClipEvidence], fold: IntArray, planted: Planted | None) -> CrossFit:
    statistic, name = component
    vectors = np.stack([clip.statistics[statistic] for clip in clips])
    if planted is None or not planted.clips:
        return cross_fit(name, vectors, fold)
    changed = np.stack([clip.statistics[statistic] for clip in planted.clips])
    return cross_fit(name, vectors, fold, changed, fold[planted.into])


def _gain_by_a_fold(
    fits: Mapping[Component, CrossFit],
    clips: Sequence[ClipEvidence],
    fold: IntArray,
    scores: Array,
    weights: list[float],
) -> float:
    """What the scores [n] of left-out clips would be multiplied by, had one fold more been learnt from: at most 1.

    Where recordings are few, each that is left out leaves a gap, and left-out clips seem more unusual than new ones
    will to the final scorer. How much so, the next gap tells: what clips score without their own fold, against what
    they score without another one beside. One of n - 1 folds added matters less than one of n - 2: were the distance to
    go with one over the clips, by (folds - 2)/folds. Nearest neighbours gain less than that at the end, and what is
    taken too much off is a false alarm in time: hence the smaller exponent (`benchmarks/health.py --part sound`).
    """
    folds = len(np.unique(fold))
    if folds < 3:
        return 1.0
    fewer = fused(
        [
            with_a_fold_less(name, np.stack([clip.statistics[statistic] for clip in clips]), fold, found)
            for (statistic, name), found in fits.items()
        ],
        weights,
    )
    step = np.log(np.maximum(scores, SMALLEST_SCORE)) - np.log(np.maximum(fewer, SMALLEST_SCORE))
    # The median: a clip whose copies are in other folds is at no distance, until both are left out.
    return math.exp(min(float(np.median(step)), 0.0) * (folds - 2) / (folds + 1))


def _worthwhile(clips: Sequence[ClipEvidence]) -> list[Component]:
    """The candidates that say something: a detector without a code, or of one band, has statistics of no width."""
    return [(statistic, name) for statistic, name in CANDIDATES if clips[0].statistics[statistic].size]


def _weights(fits: Mapping[Component, CrossFit]) -> dict[Component, float]:
    """Weights of the squared distances, of mean 1: by how much of what was planted each statistic finds alone.

    A statistic by which left-out recordings lie at all distances (it follows the speed or the weather of the day) finds
    little at a fixed rate of false alarms, and so does one that planted faults leave as it was: neither may drown the
    others. Where nothing was planted, or nothing found, all count the same.
    """
    found = {key: detection(fit.distances, fit.planted) if len(fit.planted) else 0.0 for key, fit in fits.items()}
    mean = float(np.mean(list(found.values())))
    return {key: share / mean if mean > 0 else 1.0 for key, share in found.items()}


def _weight(array: npt.NDArray[Any] | None) -> float:
    if array is None or array.shape != (1,) or not np.isfinite(array[0]) or array[0] < 0:
        raise BundleError("the clip scorer's weights must be single finite numbers, 0 or more")
    return float(array[0])


def make_scorer(
    kind: ScorerKind,
    *,
    statistics: Sequence[Statistic] = ("residual",),
    clouds: Sequence[Statistic] = (),
    gwrp_r: float = 1.0,
) -> ClipScorer:
    """The clip scorer that a recipe names: `statistics` judged by the back-end `kind`, `clouds` by `mahalanobis`.

    Raises ValueError where there is none of that kind.
    """
    if kind not in get_args(ScorerKind):
        raise ValueError(f"no clip scorer {kind!r}; there are: {', '.join(get_args(ScorerKind))}")
    if kind == "paper":
        return Paper(gwrp_r)
    if kind == "auto":
        return StatisticalScorer(None)
    beside: list[Component] = [(statistic, "mahalanobis") for statistic in clouds]
    return StatisticalScorer([*((statistic, kind) for statistic in statistics), *beside])
