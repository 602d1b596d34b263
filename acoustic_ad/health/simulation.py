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

from acoustic_ad.health.baseline import HIGHEST_AUTOCORRELATION, Z_BOUND, Tail
from acoustic_ad.health.charts import BEFORE_THE_FIRST, Array32, persistence, recursions
from acoustic_ad.health.policy import Policy

Array = npt.NDArray[np.float64]

BLOCK: Final = 12  # clips of which only the highest statistic is kept: episodes are longer
_FROM, _TO, _STEP = -4.0, 8.0, 0.02  # of scores, for looking up their z
_SEED: Final = 20_62682


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a simulation starts from."""

    clips: int  # calibration clips
    sessions: int  # recordings that they are from, equally long
    autocorrelation: float  # as estimated from those clips
    length: int  # clips that follow
    machines: int


def healthy_statistics(policy: Policy, what: Simulated) -> Array32:
    """The highest statistics [length / 12, charts, machines] of the charts in each 12 clips of healthy machines."""
    rng = np.random.default_rng(_SEED)
    rho = _autocorrelations(what, rng)
    z_of_score = _z_tables(what, rho, rng)
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
    return found


def _autocorrelations(what: Simulated, rng: np.random.Generator) -> Array32:
    """Autocorrelations [machines] that the estimate may stand for: its Fisher transform is about normal.

    The variance of an AR(1) estimate from n clips is (1 - rho^2)/n (Bartlett 1946), so that of its transform is
    1 / (n (1 - rho^2)). False alarms grow faster than linearly with rho, so this spread is on the safe side.
    """
    error = 1 / np.sqrt(what.clips * (1 - what.autocorrelation**2))
    drawn = np.tanh(np.arctanh(what.autocorrelation) + error * rng.standard_normal(what.machines))
    rho: Array32 = np.clip(drawn, 0.0, HIGHEST_AUTOCORRELATION).astype(np.float32)
    return rho


def _z_tables(what: Simulated, rho: Array32, rng: np.random.Generator) -> Array32:
    """The z [machines, scores] that each machine's own calibration set gives to scores -4, -3.98, ... 8."""
    length = -(-what.clips // what.sessions)
    drawn = rng.standard_normal((length, what.machines, what.sessions), np.float32)
    for earlier, later in pairwise(drawn):
        later *= np.sqrt(1 - rho**2)[:, None]
        later += rho[:, None] * earlier
    ascending = np.moveaxis(drawn, 1, 0).reshape(what.machines, -1)[:, : what.clips].astype(np.float64)
    ascending.sort(axis=1)
    score = np.arange(_FROM, _TO, _STEP)
    z = ndtri((np.arange(what.clips) + 0.5) / what.clips)
    tables = np.array([np.interp(score, known, z) for known in ascending], np.float32)
    machine, column = np.nonzero(score > ascending[:, -1:])
    tail = Tail.of(ascending)
    tail = Tail(tail.start[machine], tail.scale[machine], tail.shape[machine])
    log_p = tail.log_share(score[column]) - tail.log_share(ascending[machine, -1]) + np.log(0.5 / what.clips)
    logs = np.linspace(-36.0, -0.01, 3600)  # exp(-36) is the probability of z = 8.1
    tables[machine, column] = np.minimum(np.interp(log_p, logs, -ndtri_exp(logs)), Z_BOUND)
    return tables
