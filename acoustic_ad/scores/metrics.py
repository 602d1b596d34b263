"""How well scores separate normal from anomalous clips. Higher score = more anomalous; label 1 = anomaly.

Conventions are those of DCASE Task 2: pAUC is over false-positive rates 0 to 0.1 and McClish-scaled (chance is 0.5).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
MAX_FPR = 0.1


@dataclass(frozen=True, slots=True)
class Separation:
    """Ranking metrics of one machine; all within 0..1."""

    auc: float
    pauc: float
    ap: float
    auc_ci: tuple[float, float]  # 95 %, bootstrap
    n_normal: int
    n_anomaly: int


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """Metrics of a decision: clips with a p-value at or below the limit are called anomalous."""

    precision: float | None  # None where nothing was called anomalous
    recall: float
    false_positive_rate: float
    f1: float


def separation(
    labels: npt.ArrayLike, scores: npt.ArrayLike, sessions: Sequence[Hashable] | None = None, seed: int = 0
) -> Separation:
    """AUC, pAUC and AP of labels [n] in {0, 1} and scores [n]; raises ValueError unless both labels occur, all finite.

    The interval resamples whole sessions where given (windows of one recording are not independent), else clips.
    """
    y, s = _checked(labels, scores)
    low, high = bootstrap_interval(y, s, auc, sessions, seed=seed)
    return Separation(
        auc(y, s), pauc(y, s), float(average_precision_score(y, s)), (low, high), *np.bincount(y).tolist()
    )


def auc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve: the chance that an anomaly scores above a normal clip (ties count half).

    By ranks (Mann & Whitney 1947), which equals `roc_auc_score` and suits a thousand bootstrap rounds a machine.
    """
    anomalies, normals = int((labels == 1).sum()), int((labels == 0).sum())
    above = rankdata(scores)[labels == 1].sum() - anomalies * (anomalies + 1) / 2
    return float(above / (anomalies * normals))


def pauc(labels: Labels, scores: Scores) -> float:
    """Partial AUC up to a false-positive rate of 0.1, McClish-scaled: 0.5 is chance, 1 perfect."""
    return float(roc_auc_score(labels, scores, max_fpr=MAX_FPR))


def at_threshold(labels: npt.ArrayLike, called: npt.ArrayLike) -> AtThreshold:
    """Metrics of decisions `called` [n] (True = anomalous) against labels [n] in {0, 1}."""
    y, c = np.asarray(labels, np.int64), np.asarray(called, bool)
    hits, false = int((c & (y == 1)).sum()), int((c & (y == 0)).sum())
    anomalies, normals = int((y == 1).sum()), int((y == 0).sum())
    return AtThreshold(
        precision=hits / (hits + false) if hits + false else None,
        recall=hits / anomalies if anomalies else 0.0,
        false_positive_rate=false / normals if normals else 0.0,
        f1=2 * hits / (anomalies + hits + false) if anomalies + hits + false else 0.0,
    )


def bootstrap_interval(
    labels: Labels,
    scores: Scores,
    metric: Callable[[Labels, Scores], float],
    sessions: Sequence[Hashable] | None = None,
    *,
    rounds: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of `metric`, resampling sessions (else clips) within strata of equal labels.

    Stratified, so that every round holds both labels. With few sessions the interval is too narrow: two sessions of a
    label can only be drawn in three ways.
    """
    groups = list(range(len(labels))) if sessions is None else list(sessions)
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    strata: dict[tuple[int, ...], list[npt.NDArray[np.int64]]] = {}
    for indices in members.values():
        strata.setdefault(tuple(sorted(set(labels[indices].tolist()))), []).append(np.array(indices, np.int64))
    rng = np.random.default_rng(seed)
    values = np.empty(rounds)
    for number in range(rounds):
        drawn = np.concatenate(
            [group[i] for group in strata.values() for i in rng.integers(len(group), size=len(group))]
        )
        values[number] = metric(labels[drawn], scores[drawn])
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def arithmetic_mean(values: Sequence[float]) -> float:
    """Mean; raises ValueError where there is nothing to average."""
    if not values:
        raise ValueError("no values to average")
    return float(np.mean(values))


def harmonic_mean(values: Sequence[float]) -> float:
    """Harmonic mean of values within 0..1, as DCASE 2022+ averages machines: one poor machine weighs heavily."""
    if not values:
        raise ValueError("no values to average")
    return float(len(values) / np.sum(1.0 / np.maximum(values, np.finfo(np.float64).eps)))


def _checked(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Labels, Scores]:
    y, s = np.asarray(labels), np.asarray(scores, np.float64)
    if y.shape != s.shape or y.ndim != 1:
        raise ValueError(f"labels {y.shape} and scores {s.shape} must be two lists of the same length")
    if not np.isin(y, (0, 1)).all() or len(np.unique(y)) < 2:
        raise ValueError(f"labels must hold both 0 (normal) and 1 (anomaly); they hold {np.unique(y).tolist()[:5]}")
    if not np.isfinite(s).all():
        raise ValueError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are NaN or Inf")
    return y.astype(np.int64), s
