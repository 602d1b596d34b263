"""How long a machine may be silent."""

from __future__ import annotations

import numpy as np
import pytest

from acoustic_ad.health.gaps import longest_usual_gap
from acoustic_ad.health.policy import Policy

HOUR = 3600.0
POLICY = Policy(gap_floor_hours=1.0, gap_factor=2.0)


def every(seconds, count, start=0.0):
    return start + seconds * np.arange(count)


def test_twice_the_usual_gap():
    assert longest_usual_gap(every(3 * HOUR, 100), POLICY) == pytest.approx(6 * HOUR)


def test_one_outage_does_not_make_outages_usual():
    before, after = every(HOUR, 500), every(HOUR, 500, start=500 * HOUR + 40 * HOUR)
    assert longest_usual_gap(np.concatenate([before, after]), POLICY) == pytest.approx(2 * HOUR)
    outage_of_weeks = np.concatenate([every(HOUR, 50), every(HOUR, 50, start=1_000 * HOUR)])
    assert longest_usual_gap(outage_of_weeks, POLICY) == pytest.approx(2 * HOUR)


def test_weekends_are_usual_on_a_machine_of_working_days():
    days = [day for day in range(70) if day % 7 < 5]
    times = np.concatenate([every(HOUR / 6, 48, start=day * 24 * HOUR) for day in days])
    assert longest_usual_gap(times, POLICY) > 2.5 * 24 * HOUR


def test_never_silent_before_the_floor():
    assert longest_usual_gap(every(1.0, 100), POLICY) == HOUR
    assert longest_usual_gap(np.array([5.0]), POLICY) == HOUR
    assert longest_usual_gap(np.array([5.0, 5.0]), POLICY) == HOUR
