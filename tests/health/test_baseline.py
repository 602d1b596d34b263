"""What a score means on a machine: p-values that keep their promise beyond the calibration set, and z's."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from health_clips import autoregressive
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import genpareto, lognorm, norm

from acoustic_ad.errors import BundleError
from acoustic_ad.health.baseline import Z_BOUND, Baseline, Tail, corrected, mean_variance, tail_clips

SCORES = st.lists(st.floats(-100, 100), min_size=10, max_size=40)


@given(SCORES, st.lists(st.floats(-300, 300), min_size=2, max_size=20))
def test_z_and_p_follow_the_score(calibration, scores):
    """A higher score is never less unusual; both are finite, and within their ranges."""
    baseline = Baseline.of(calibration)
    z = baseline.z_all(sorted(scores))
    p = [baseline.p_value(score) for score in sorted(scores)]
    assert np.isfinite(z).all() and (np.abs(z) <= Z_BOUND).all()
    assert (np.diff(z) >= -1e-9).all()
    assert all(0 < one <= 1 for one in p)
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(p))


@given(SCORES, st.floats(-100, 100))
def test_inside_the_range_p_is_conformal(calibration, score):
    if score <= max(calibration):
        beyond = sum(one >= score for one in calibration)
        assert Baseline.of(calibration).p_value(score) == pytest.approx((1 + beyond) / (len(calibration) + 1))


def test_z_is_the_normal_deviate_of_the_rank():
    baseline = Baseline.of(np.random.default_rng(0).lognormal(size=5_000))
    for z in (-2.0, -1.0, 0.0, 1.0, 2.0):
        assert baseline.z(math.exp(z)) == pytest.approx(z, abs=0.1)
    assert Baseline.of([1.0] * 20 + [2.0] * 20).z(1.0) == pytest.approx(norm.ppf(0.25))


def test_beyond_the_range_the_tail_goes_on_where_it_was():
    """No jump at the highest calibration score, and no floor: an honest p-value goes on falling."""
    baseline = Baseline.of(np.random.default_rng(1).exponential(size=200))
    highest = float(baseline.scores.max())
    assert baseline.p_value(highest + 1e-9) == pytest.approx(1 / 201, rel=1e-6)
    assert baseline.z(highest + 1e-9) == pytest.approx(baseline.z(highest), abs=1e-6)
    assert baseline.p_value(highest + 3) < baseline.p_value(highest + 1) < 1 / 201


@pytest.mark.parametrize("clips", [20, 50, 200, 1000])
@pytest.mark.parametrize("law", [norm(), lognorm(0.5)], ids=["normal", "lognormal"])
def test_the_tail_is_honest(law, clips):
    """Of healthy clips, p < 1/1000 or 1/10,000 comes about that often, on average over calibration sets, or less."""
    rng = np.random.default_rng(clips)
    share = {0.001: [], 0.0001: []}
    for _ in range(60):
        baseline = Baseline.of(law.rvs(clips, random_state=rng))
        scores = np.linspace(float(np.median(baseline.scores)), float(baseline.scores.max()) + 60, 6_000)
        p = np.array([baseline.p_value(score) for score in scores[::6]])
        for level, found in share.items():
            found.append(law.sf(scores[::6][int(np.argmax(p <= level))]) if (p <= level).any() else 0.0)
    for level, found in share.items():
        assert np.mean(found) < 4 * level


def test_few_clips_do_not_make_a_one_in_a_million():
    """Twice as far from the median as the highest of 20 clips: surprising, but no more than 20 clips can tell."""
    rng = np.random.default_rng(2)
    few = [Baseline.of(rng.standard_normal(20)) for _ in range(200)]
    many = Baseline.of(rng.standard_normal(2_000))
    assert np.median([one.p_value(4.0) for one in few]) > 20 * norm.sf(4.0)
    assert many.p_value(4.0) < 10 * norm.sf(4.0)


def test_the_tails_shape_and_scale_are_found():
    drawn = np.sort(genpareto(0.3).rvs((50, 4_000), random_state=np.random.default_rng(3)), axis=1)
    tail = Tail.of(drawn)
    assert np.mean(tail.shape) == pytest.approx(0.3 * 158 / 208, abs=0.06)  # shrunk by what 158 clips cannot tell
    exponential = Tail.of(np.sort(np.random.default_rng(4).exponential(2.0, (50, 4_000)), axis=1))
    assert np.mean(exponential.scale / (1 - exponential.shape)) == pytest.approx(2.0, rel=0.1)
    assert tail_clips(20) == 5 and tail_clips(100) == 25 and tail_clips(1_000) < 100


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("recordings", "length"), [(1, 200), (10, 20)])
def test_the_autocorrelation_is_found_in_short_recordings(rho, recordings, length):
    rng = np.random.default_rng(5)
    sessions = np.repeat(np.arange(recordings), length)
    found = [
        Baseline.of(autoregressive(rng, rho, recordings, length).ravel(), sessions).autocorrelation for _ in range(60)
    ]
    assert np.mean(found) == pytest.approx(rho, abs=0.04)


def test_neighbours_in_different_recordings_are_not_neighbours():
    """Ten recordings of two alternating levels: within each, clips are independent."""
    rng = np.random.default_rng(6)
    z = rng.standard_normal(200)
    together = Baseline.of(np.repeat(z, 2)).autocorrelation
    apart = Baseline.of(np.repeat(z, 2), np.arange(400) % 2).autocorrelation
    assert together > 0.35 and abs(apart) < 0.15


def test_recordings_with_levels_of_their_own_count_as_slow_noise():
    """Neighbours hardly tell, the means of the recordings do: no fewer false alarms may be promised than they say."""
    rng = np.random.default_rng(7)
    sessions = np.repeat(np.arange(10), 40)
    level = rng.standard_normal(10)[sessions]
    alike = Baseline.of(rng.standard_normal(400), sessions).autocorrelation
    assert abs(alike) < 0.2
    found = Baseline.of(rng.standard_normal(400) + 0.7 * level, sessions).autocorrelation
    spread = np.array([np.sqrt(0.49 / 1.49)])
    assert mean_variance(found, 40) == pytest.approx(float(spread[0]) ** 2, rel=0.7)


def test_the_variance_of_a_mean():
    rng = np.random.default_rng(8)
    drawn = autoregressive(rng, 0.8, 20_000, 30)
    assert mean_variance(0.8, 30) == pytest.approx(drawn.mean(axis=1).var(), rel=0.05)
    assert mean_variance(0.0, 30) == pytest.approx(1 / 30)
    assert corrected(np.array([0.0]), np.array([1_000])) == pytest.approx(0.0, abs=0.002)


@pytest.mark.parametrize(
    ("scores", "sessions"),
    [([1.0] * 9, None), ([1.0] * 9 + [math.nan], None), ([[1.0] * 10], None), ([1.0] * 10, [0] * 9)],
)
def test_what_is_no_baseline(scores, sessions):
    with pytest.raises(BundleError, match="baseline"):
        Baseline.of(scores, sessions)


def test_scores_that_are_all_alike_do_not_break_it():
    baseline = Baseline.of([3.0] * 30)
    assert baseline.z(3.0) == 0.0
    assert baseline.z(2.0) <= 0.0 < baseline.z(4.0) <= Z_BOUND
    assert 0 < baseline.p_value(4.0) < 1 / 30
    assert baseline.autocorrelation == pytest.approx(0.0, abs=0.05)
    assert float(ndtr(baseline.z(3.0))) == 0.5
