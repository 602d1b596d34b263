"""Healthy machines, simulated with all that makes real ones ring false: few calibration clips, and slow noise.

Each machine is an AR(1) process. A calibration set is drawn from it, the baseline is made of that set as it is made of
a real one, and clips that follow are held against it. So what the charts do here contains the error of the baseline
itself, which with few clips outweighs all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, ndtri_exp

from acoustic_ad.health.baseline import HIGHEST_AUTOCORRELATION, Z_BOUND, Tail, corrected
from acoustic_ad.health.charts import BEFORE_THE_FIRST, Array32, persistence, recursions
from acoustic_ad.health.policy import Policy

Array = npt.NDArray[np.float64]

BLOCK: Final = 12  # clips of which only the highest statistic is kept: episodes are longer
_FROM, _TO, _STEP = -4.0, 8.0, 0.02  # of scores, for looking up their z
_POOL_CLIPS: Final = 4_000_000  # of the calibration sets among which those that fit are chosen
_REACH: Final = 5.0  # times its error, from the estimate to the autocorrelations that are tried
_CLOSE: Final = 0.35  # of their error, estimates that count as the same
_FEWEST_SETS: Final = 400  # different calibration sets that must remain
_INDEPENDENT: Final = 0.5  # how likely independent clips are, before anything is measured
_TRIED_INDEPENDENT: Final = 0.3  # of the calibration sets that are drawn
_SEED: Final = 20_62682


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a simulation starts from."""

    clips: int  # calibration clips
    sessions: int  # recordings that they are from, equally long
    autocorrelation: float  # as estimated from those clips
    length: int  # clips that follow
    machines: int


def healthy_statistics(policy: Policy, what: Simulated) -> tuple[Array32, Array32]:
    """The autocorrelations [machines] of healthy machines, ascending, and what their charts do.

    That is the highest statistics [length / 12, charts, machines] of each 12 clips.
    """
    rng = np.random.default_rng(_SEED)
    rho, calibration = _calibrated(what, rng)
    z_of_score = _z_tables(calibration)
    charts = recursions(policy)
    keep, gain, reference = (
        np.array([getattr(chart, name) for chart in charts], np.float32)[:, None]
        for name in ("keep", "gain", "reference")
    )
    innovation = np.sqrt(1 - rho**2)
    first_of_machine = (np.arange(what.machines) * z_of_score.shape[1]).astype(np.int32)
    table = z_of_score.ravel()
    score = rng.standard_normal(what.machines, np.float32)
    statistic = np.zeros((len(charts), what.machines), np.float32)
    z = np.full((BLOCK, what.machines), BEFORE_THE_FIRST, np.float32)
    before = policy.persistence_among - 1
    found = np.zeros((max(what.length // BLOCK, 1), len(charts) + 1, what.machines), np.float32)
    for highest in found:
        recent = z[len(z) - before :] if before else z[:0]
        scores = rng.standard_normal((BLOCK, what.machines), np.float32) * innovation
        for now in scores:
            now += rho * score
            score = now
        place = ((scores - np.float32(_FROM)) * np.float32(1 / _STEP) + np.float32(0.5)).astype(np.int32)
        z = np.concatenate([recent, table[np.clip(place, 0, z_of_score.shape[1] - 1) + first_of_machine]])
        highest[-1] = persistence(policy, z)[before:].max(axis=0)
        for now in np.minimum(z[before:], np.float32(policy.z_cap)):
            statistic *= keep
            statistic += gain * now - reference
            np.maximum(statistic, 0.0, out=statistic)
            np.maximum(highest[:-1], statistic, out=highest[:-1])
    return rho, found


def _calibrated(what: Simulated, rng: np.random.Generator) -> tuple[Array32, Array]:
    """Autocorrelations [machines], ascending, and calibration scores [machines, clips] that fit the estimate.

    Calibration sets are drawn for autocorrelations about the estimate, and those kept which lead to the same estimate:
    approximate Bayesian computation, with a prior that is even in Fisher's transform but for half of it on
    independence. So the error of the estimate and that of the baseline come together, as in one calibration set.
    """
    pool = int(np.clip(_POOL_CLIPS / what.clips, 2 * what.machines, 12 * what.machines))
    error = 1 / np.sqrt(what.clips * (1 - what.autocorrelation**2))  # of Fisher's transform (Bartlett 1946)
    fisher = np.arctanh(what.autocorrelation)
    lowest, highest = max(fisher - _REACH * error, 0.0), max(fisher, 0.0) + _REACH * error
    tried = rng.uniform(lowest, highest, pool)
    independent = (rng.random(pool) < _TRIED_INDEPENDENT) & (lowest == 0.0)
    rho = np.where(independent, 0.0, np.minimum(np.tanh(tried), HIGHEST_AUTOCORRELATION)).astype(np.float32)
    drawn = _recordings(what, rho, rng)
    off = (np.arctanh(_estimates(what, drawn)) - fisher) / error
    prior = (1 - _INDEPENDENT) * (highest - lowest) / (np.arctanh(HIGHEST_AUTOCORRELATION) * (1 - _TRIED_INDEPENDENT))
    prior = np.where(independent, _INDEPENDENT / _TRIED_INDEPENDENT, prior)
    close, weight = _CLOSE, np.zeros(pool)
    while weight.sum() ** 2 < _FEWEST_SETS * (weight @ weight) or weight.sum() == 0.0:  # fewer sets than count
        weight = prior * np.exp(-((off / close) ** 2) / 2)
        close *= 1.5
    chosen = rng.choice(pool, what.machines, p=weight / weight.sum())
    chosen = chosen[np.argsort(rho[chosen], kind="stable")]
    scores = np.moveaxis(drawn, 1, 0)[chosen].reshape(what.machines, -1)[:, : what.clips]
    return rho[chosen], scores.astype(np.float64)


def _recordings(what: Simulated, rho: Array32, rng: np.random.Generator) -> Array32:
    """Scores [clips of a recording, machines, recordings]; recordings are independent of one another."""
    length = -(-what.clips // what.sessions)
    drawn = rng.standard_normal((length, rho.size, what.sessions), np.float32)
    innovation = np.sqrt(1 - rho**2)[:, None]
    for earlier, later in pairwise(drawn):
        later *= innovation
        later += rho[:, None] * earlier
    return drawn


def _estimates(what: Simulated, drawn: Array32) -> Array:
    """`baseline.autocorrelation` [machines] of scores [clips of a recording, machines, recordings].

    Recordings of one clip each have no neighbours to compare: the estimate is 0 there, and the prior remains.
    """
    if drawn.shape[0] == 1:
        return np.zeros(drawn.shape[1])
    z = drawn - drawn.mean(axis=(0, 2), keepdims=True)
    squares = np.einsum("tms,tms->m", z, z) / (z.shape[0] * z.shape[2])
    products = np.einsum("tms,tms->m", z[1:], z[:-1]) / ((z.shape[0] - 1) * z.shape[2])
    lengths = np.full(what.sessions, z.shape[0])
    return corrected(products / squares, lengths)


def _z_tables(calibration: Array) -> Array32:
    """The z [machines, scores] that calibration scores [machines, clips] give to scores -4, -3.98, ... 8."""
    clips = calibration.shape[1]
    ascending = np.sort(calibration, axis=1)
    score = np.arange(_FROM, _TO, _STEP)
    z = ndtri((np.arange(clips) + 0.5) / clips)
    tables = np.array([np.interp(score, known, z) for known in ascending], np.float32)
    machine, column = np.nonzero(score > ascending[:, -1:])
    tail = Tail.of(ascending)
    tail = Tail(tail.start[machine], tail.scale[machine], tail.shape[machine])
    log_p = tail.log_share(score[column]) - tail.log_share(ascending[machine, -1]) + np.log(0.5 / clips)
    logs = np.linspace(-36.0, -0.01, 3600)  # exp(-36) is the probability of z = 8.1
    tables[machine, column] = np.minimum(np.interp(log_p, logs, -ndtri_exp(logs)), Z_BOUND)
    return tables
