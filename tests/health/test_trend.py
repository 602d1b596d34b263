"""Trends: found where there is one, and not found where there is only slow noise."""

from __future__ import annotations

import numpy as np
import pytest
from health_clips import autoregressive

from acoustic_ad.health.trend import trend_of

DAYS = np.arange(14 * 144) / 144


@pytest.mark.parametrize("rho", [0.0, 0.9, 0.97])
def test_noise_is_no_trend(rho):
    """The interval is a 99 % one: of 300 healthy machines few may show a significant trend, however slow the noise."""
    rng = np.random.default_rng(0)
    found = [trend_of(DAYS, autoregressive(rng, rho, DAYS.size), 1.0, rho) for _ in range(300)]
    significant = [one for one in found if one is not None and one.significant]
    assert len(significant) <= 9
    assert all((one.days_to_alarm is not None) <= (one.significant and one.per_day > 0) for one in found if one)


def test_a_drift_is_found_and_says_when_it_gets_there():
    """From 0 to 0.7 sigma in 14 days; the alarm is at 1 sigma: six days more."""
    rng = np.random.default_rng(1)
    found = [trend_of(DAYS, rng.standard_normal(DAYS.size) + 0.05 * DAYS, 1.0, 0.0) for _ in range(20)]
    assert all(one is not None and one.significant for one in found)
    assert np.median([one.per_day for one in found]) == pytest.approx(0.05 * 80, rel=0.1)
    assert np.median([one.days_to_alarm for one in found]) == pytest.approx(6.0, abs=1.0)
    covered = [one.low <= 4.0 <= one.high for one in found]
    assert sum(covered) >= 18


def test_what_falls_never_gets_there():
    found = trend_of(DAYS, np.random.default_rng(2).standard_normal(DAYS.size) - 0.1 * DAYS, 1.0, 0.0)
    assert found is not None and found.significant and found.high < 0
    assert found.days_to_alarm is None


def test_what_is_beyond_the_alarm_or_a_year_away_has_no_days_to_alarm():
    z = np.random.default_rng(3).standard_normal(DAYS.size) * 0.1 + 0.05 * DAYS
    assert trend_of(DAYS, z + 5.0, 1.0, 0.0).days_to_alarm is None
    assert trend_of(DAYS, z, 1_000.0, 0.0).days_to_alarm is None
    assert trend_of(DAYS, z, 10.0, 0.0).days_to_alarm == pytest.approx((10 - 0.7) / 0.05, rel=0.05)


@pytest.mark.parametrize(
    ("days", "clips"), [(14.0, 10), (0.5, 200), (0.0, 200)], ids=["few clips", "half a day", "one instant"]
)
def test_too_little_to_tell(days, clips):
    assert trend_of(np.linspace(0, days, clips), np.linspace(0, 1, clips), 1.0, 0.0) is None
