"""Simulated scores, and clips of machines, for the tests of health."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from acoustic_ad.health.charts import chart_names
from acoustic_ad.health.limits import ChartLimit, Facts, Limits
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.timeline import ClipPoint

Array = npt.NDArray[np.float64]

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
MODEL = "model"


def at(clip: float) -> datetime:
    """When a clip was recorded: one every ten minutes."""
    return START + timedelta(minutes=10 * clip)


def autoregressive(rng: np.random.Generator, rho: float, *shape: int) -> Array:
    """Scores of unit variance; those of neighbours along the last axis have correlation rho."""
    noise = rng.standard_normal(shape)
    noise[..., 0] /= np.sqrt(1 - rho**2)
    found: Array = lfilter([np.sqrt(1 - rho**2)], [1.0, -rho], noise, axis=-1)
    return found


def scored(z: Sequence[float] | Array, first: float = 0) -> list[ClipPoint]:
    """Scored clips with these z's, one every ten minutes."""
    return [ClipPoint(at(first + n), "scored", float(value), f"clip {first + n:g}", MODEL) for n, value in enumerate(z)]


def of_status(status: str, clips: Sequence[float]) -> list[ClipPoint]:
    """Clips without a score."""
    return [ClipPoint(at(clip), status, None, f"{status} {clip:g}", MODEL) for clip in clips]


def plain_limits(policy: Policy, facts: Facts) -> Limits:
    """Limits as of independent clips and a well-known baseline, without a simulation."""
    warning, alarm = (2.6, 4.3, 7.5, 0.28, 2.4), (3.7, 5.6, 10.0, 0.35, 2.8)
    charts = tuple(ChartLimit(*chart) for chart in zip(chart_names(policy), warning, alarm, strict=True))
    return Limits(charts, 12.0, 1.0, (0.9, 1.1), True, "plain limits", facts)
