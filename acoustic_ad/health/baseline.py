"""What is normal on one machine: the fixed baseline that clip scores are held against, once and for all.

A score becomes a z: the normal deviate of its rank among the calibration scores. Inside their range the rank is
empirical; beyond it a tail fitted to the highest of them goes on, never lighter than an exponential and heavier the
fewer clips it stands on, so that a few clips never make a one-in-a-million.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, ndtri, ndtri_exp

from acoustic_ad.errors import BundleError

Array = npt.NDArray[np.float64]

FEWEST_CLIPS: Final = 10
Z_BOUND: Final = 8.0  # a probability of 6e-16: nothing that clips can tell lies beyond
_SURE_OF_SHAPE: Final = 50  # tail clips at which half of the estimated shape is believed
_HEAVIEST: Final = 0.5  # shape of the tail; its variance is infinite there
_FEWEST_SESSIONS: Final = 5  # to tell whether sessions differ
_FAR: Final = 0.01  # probability of session means that differ so much
LOWEST_AUTOCORRELATION: Final = -0.5  # of an estimate, by chance
HIGHEST_AUTOCORRELATION: Final = 0.98  # beyond it, clips hardly tell more than one of them


@dataclass(frozen=True, slots=True)
class Tail:
    """Generalised Pareto tails: P(X > x | X > start) = (1 + shape (x - start)/scale)^(-1/shape).

    Each field is [...], one tail per calibration set.
    """

    start: Array
    scale: Array
    shape: Array

    @classmethod
    def of(cls, ascending: Array) -> Tail:
        """The tail of scores [..., n] that ascend along the last axis.

        The shape comes from probability-weighted moments (Hosking & Wallis 1987), shrunk towards 0, the exponential,
        as far as k clips cannot tell, and held within 0..0.5. To it comes 1/k: for an exponential with a mean
        estimated from k clips, the predictive tail is (1 + y/(k mean))^-k, a Pareto of that shape.
        """
        k = tail_clips(ascending.shape[-1])
        start = ascending[..., -k - 1]
        excess = ascending[..., -k:] - start[..., None]
        mean = excess.mean(axis=-1)
        floor = 1e-6 * np.maximum(np.abs(start), 1e-6)  # where the highest scores are all alike
        mean = np.maximum(mean, floor)
        weighted = (excess * ((k - np.arange(k) - 0.65) / k)).mean(axis=-1)
        # With mean = scale/(1-shape) and weighted = scale/(2(2-shape)):
        estimated = 2.0 - mean / np.maximum(mean - 2.0 * weighted, 1e-9 * mean)
        shape = np.clip(estimated * k / (k + _SURE_OF_SHAPE), 0.0, _HEAVIEST)
        return cls(start, mean * (1.0 - shape), shape + 1.0 / k)

    def log_share(self, score: Array) -> Array:
        """Log of the share of the tail's clips beyond `score` [...] >= start."""
        found: Array = -np.log1p(self.shape * (score - self.start) / self.scale) / self.shape
        return found


def tail_clips(clips: int) -> int:
    """How many of the highest scores a tail is fitted to: a quarter; of large sets fewer, and so farther out."""
    return max(min(round(clips / 4), round(2.5 * math.sqrt(clips))), 2)


@dataclass(frozen=True, eq=False)
class Baseline:
    """Calibration scores [n] of normal clips in the order of recording, and the number of each one's recording [n].

    Raises BundleError for fewer than 10 scores, or such that are not finite.
    """

    scores: Array
    sessions: npt.NDArray[np.int64]
    newest: datetime | None = None  # when the last of the clips was recorded: earlier maintenance is contained in them

    @classmethod
    def of(
        cls, scores: npt.ArrayLike, sessions: npt.ArrayLike | None = None, newest: datetime | None = None
    ) -> Baseline:
        """A baseline of scores [n]; without session numbers [n], of one recording."""
        found = np.asarray(scores, np.float64)
        numbers = np.zeros(found.shape, np.int64) if sessions is None else np.asarray(sessions, np.int64)
        return cls(found, numbers, newest)

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or self.scores.shape != self.sessions.shape or not np.isfinite(self.scores).all():
            raise BundleError(
                "a baseline needs calibration scores in one row, all finite, with one session number each"
            )
        if self.clips < FEWEST_CLIPS:
            raise BundleError(f"a baseline needs at least {FEWEST_CLIPS} calibration scores; it was given {self.clips}")

    @property
    def clips(self) -> int:
        """How many calibration clips it stands on."""
        return self.scores.size

    @cached_property
    def recordings(self) -> int:
        """From how many sessions they are."""
        return int(np.unique(self.sessions).size)

    @cached_property
    def autocorrelation(self) -> float:
        """Lag-1 autocorrelation of the z's within sessions, -0.5..0.98, corrected for the shortness of the sessions.

        Where whole sessions differ more than that explains, it is the autocorrelation which would explain it.
        """
        return autocorrelation(self._mid_ranks(), self.sessions)

    @cached_property
    def _ascending(self) -> Array:
        return np.sort(self.scores)

    @cached_property
    def _tail(self) -> Tail:
        return Tail.of(self._ascending)

    def _mid_ranks(self) -> Array:
        low = np.searchsorted(self._ascending, self.scores, side="left")
        high = np.searchsorted(self._ascending, self.scores, side="right")
        found: Array = ndtri((low + high) / (2.0 * self.clips))
        return found

    def p_value(self, score: float) -> float:
        """The probability of such a score or a higher one on the healthy machine, within (0, 1].

        Inside the calibration range it is the conformal (1 + #{calibration >= score}) / (n + 1); beyond, the fitted
        tail goes on from 1 / (n + 1), standing on `tail_clips(n)` clips.
        """
        beyond = self.clips - int(np.searchsorted(self._ascending, score, side="left"))
        p = (1 + beyond) / (self.clips + 1)
        highest = self._ascending[-1]
        if score > highest:
            here, there = self._tail.log_share(np.array([highest, score]))
            p *= math.exp(there - here)
        return max(p, 1e-300)

    def z(self, score: float) -> float:
        """The score as a normal deviate, within -8..8: 0 at the median of normal clips, higher = more anomalous."""
        return float(self.z_all(np.array([score]))[0])

    def z_all(self, scores: npt.ArrayLike) -> Array:
        """`z` of many scores [m] at once. Of equal calibration scores the middle rank counts."""
        return normal_scores(self._ascending, self._tail, np.asarray(scores, np.float64))


def normal_scores(ascending: Array, tail: Tail, scores: Array) -> Array:
    """The z's [m] of scores [m] against one calibration set [n], ascending, and its tail."""
    n = ascending.size
    known, first, count = np.unique(ascending, return_index=True, return_counts=True)
    shares = (first + count / 2.0) / n  # at most 1 - 0.5/n
    found = np.interp(scores, known, ndtri(shares))
    beyond = scores > known[-1]
    if beyond.any():
        log_p = tail.log_share(scores[beyond]) - tail.log_share(known[-1]) + math.log1p(-shares[-1])
        found[beyond] = -ndtri_exp(np.maximum(log_p, -700.0))
    bounded: Array = np.clip(found, -Z_BOUND, Z_BOUND)
    return bounded


def autocorrelation(z: Array, sessions: npt.NDArray[np.int64]) -> float:
    """See `Baseline.autocorrelation`; z [n] are normal scores (mean 0), sessions [n] their recordings."""
    order = np.argsort(sessions, kind="stable")
    z, sessions = z[order], sessions[order]
    together = sessions[1:] == sessions[:-1]
    if together.sum() < 5 or not z.any():
        return 0.0
    r = (z[1:] * z[:-1])[together].mean() / (z * z).mean()
    first, lengths = np.unique(sessions, return_index=True, return_counts=True)[1:]
    rho = float(corrected(np.array([r]), lengths)[0])
    return _explaining_sessions(rho, np.add.reduceat(z, first) / lengths, lengths)


def corrected(r: Array, lengths: npt.NDArray[np.int64]) -> Array:
    """Autocorrelations rho [...] from estimates r = mean z_t z_t+1 / mean z^2 in sessions of these lengths.

    An estimate is low for two reasons. The mean is the sample's own, which takes v, the mean's variance, from both: E r
    is about (rho - v)/(1 - v), with v itself from rho. And the ratio is biased by about -2 rho/n (Kendall 1954), as
    much again where z are ranks.
    """
    n = float(lengths.sum())
    rho = r
    for _ in range(8):
        known = np.clip(rho, 0.0, HIGHEST_AUTOCORRELATION)
        v = np.zeros_like(r)
        for length, count in zip(*np.unique(lengths, return_counts=True), strict=True):
            v += count * (length / n) ** 2 * mean_variance(known, length)
        v = np.minimum(v, 0.9)
        rho = r * (1.0 - v) + v
    found: Array = np.clip(rho * (1.0 + 4.0 / n), LOWEST_AUTOCORRELATION, HIGHEST_AUTOCORRELATION)
    return found


def _explaining_sessions(rho: float, means: Array, lengths: npt.NDArray[np.int64]) -> float:
    """`rho`, or where the session means differ by far too much for it, the one with which they would not.

    A recording has a level of its own, from the weather or where the microphone stood: slow noise that neighbouring
    clips do not show, but a chart gathers.
    """
    freedom = means.size - 1
    low, high = max(rho, 0.0), HIGHEST_AUTOCORRELATION
    if freedom < _FEWEST_SESSIONS - 1 or (means**2 / mean_variance(low, lengths)).sum() <= chdtri(freedom, _FAR):
        return rho
    for _ in range(20):
        middle = (low + high) / 2
        if (means**2 / mean_variance(middle, lengths)).sum() > freedom:
            low = middle
        else:
            high = middle
    return high


def mean_variance(rho: Array | float, length: npt.NDArray[np.int64] | int) -> Array:
    """Variance of the mean of AR(1) runs of unit variance with autocorrelation `rho` and this many clips."""
    m = np.asarray(length, np.float64)
    found: Array = ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**m) / (m * (1 - rho) ** 2)) / m
    return found
