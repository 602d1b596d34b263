"""Control charts: what they gather, and the index that they share."""

from __future__ import annotations

import numpy as np
import pytest
from health_clips import plain_limits
from hypothesis import given
from hypothesis import strategies as st

from acoustic_ad.health.charts import (
    BEFORE_THE_FIRST,
    chart_indices,
    chart_names,
    chart_shares,
    index_of,
    persistence,
    recursions,
    statistics,
)
from acoustic_ad.health.hearing import limit_arrays
from acoustic_ad.health.limits import Facts
from acoustic_ad.health.policy import Policy

POLICY = Policy()
LOW, HIGH = limit_arrays(plain_limits(POLICY, Facts(200, 4, 0.0, 52_560)))
Z = st.lists(st.floats(-8, 8), min_size=1, max_size=60).map(np.array)


def charts_of(z):
    return statistics(POLICY, z, np.full((len(HIGH), z.size), 1e9))


def test_every_chart_has_a_name_a_limit_and_a_share():
    assert len(chart_names(POLICY)) == len(chart_shares(POLICY)) == len(LOW) == len(recursions(POLICY)) + 1
    assert len(set(chart_names(POLICY))) == len(LOW)
    assert all(0 < share < 1 for share in chart_shares(POLICY))


@given(Z)
def test_persistence_is_the_kth_highest_of_the_latest(z):
    padded = np.concatenate([np.full(POLICY.persistence_among - 1, BEFORE_THE_FIRST), z])
    expected = [
        sorted(padded[clip : clip + POLICY.persistence_among])[-POLICY.persistence_clips] for clip in range(z.size)
    ]
    assert persistence(POLICY, z).tolist() == expected


@given(Z)
def test_a_lasting_shift_is_gathered_in_full(z):
    """The CUSUM is the largest sum of latest z's above the reference: Page's definition."""
    small = charts_of(z)[2]
    capped = np.minimum(z, POLICY.z_cap) - POLICY.small_reference
    sums = [max(0.0, *(capped[start : clip + 1].sum() for start in range(clip + 1))) for clip in range(z.size)]
    assert small == pytest.approx(sums)


def test_an_ewma_goes_to_the_mean():
    slow = charts_of(np.full(2_000, 1.5))[3]
    assert slow[-1] == pytest.approx(1.5)
    assert slow[0] == pytest.approx(0.015)
    assert charts_of(np.full(100, -3.0))[:4].max() == 0.0


def test_no_chart_climbs_beyond_its_cap():
    """After a week of a fault, a chart comes back within about as many clips as it took to raise the alarm."""
    z = np.concatenate([np.full(1_000, 4.0), np.full(60, 0.0)])
    found = statistics(POLICY, z, np.repeat(1.25 * HIGH[:, None], z.size, axis=1))
    assert found[:4].max(axis=1) == pytest.approx(1.25 * HIGH[:4])
    assert index_of(found[:, -1], LOW, HIGH) < 50


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cap", [3.0, 12.0, np.inf])
def test_charts_are_their_recursions_clip_by_clip(seed, cap):
    """Over more clips than are added up at once, with a long excursion beyond the cap and back; and their beginning
    does not depend on what follows."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(9_000)
    z[2_000:4_500] += rng.uniform(0.5, 3.0)
    caps = cap * rng.uniform(0.9, 1.1, z.size)
    for chart in recursions(POLICY):
        plain, at = [], 0.0
        for one, highest in zip(z, caps, strict=True):
            at = min(max(chart.keep * at + chart.gain * one - chart.reference, 0.0), highest)
            plain.append(at)
        found = chart.statistic(z, caps)
        np.testing.assert_allclose(found, plain, atol=1e-9)
        assert np.array_equal(found == 0.0, np.array(plain) == 0.0)  # where a change began is told by the zeros
        assert np.array_equal(chart.statistic(z[:5_017], caps[:5_017]), found[:5_017])


def test_the_index_is_50_at_the_warning_limit_and_80_at_the_alarm_limit():
    assert chart_indices(LOW, LOW, HIGH) == pytest.approx(50)
    assert chart_indices(HIGH, LOW, HIGH) == pytest.approx(80)
    assert chart_indices(np.zeros(5), LOW, HIGH) == pytest.approx(0)
    assert chart_indices(100 * HIGH, LOW, HIGH) == pytest.approx(100)
    one_above = LOW * 0.5
    one_above[3] = HIGH[3]
    assert index_of(one_above, LOW, HIGH) == pytest.approx(80)


@given(st.lists(st.floats(0, 20), min_size=5, max_size=5), st.integers(0, 4), st.floats(0, 5))
def test_the_index_never_falls_when_a_chart_rises(statistic, chart, rise):
    before = np.array(statistic)
    after = before.copy()
    after[chart] += rise
    assert index_of(after, LOW, HIGH) >= index_of(before, LOW, HIGH)
