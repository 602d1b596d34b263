"""Limits that keep the promised number of false alarms: on machines that their simulation has never seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from health_clips import MODEL, autoregressive, scored

from acoustic_ad.health.baseline import Baseline
from acoustic_ad.health.hearing import limit_arrays
from acoustic_ad.health.limits import Facts, clips_needed, limits
from acoustic_ad.health.policy import Policy
from acoustic_ad.health.search import clips_to_find, known_limits
from acoustic_ad.health.timeline import machine_health

DAILY = 144 * 365.25
POLICY = Policy()
PLENTY = Facts(200, 4, 0.0, DAILY)
OFTEN = Policy(alarm_per_machine_year=24, warning_per_machine_year=120)  # so that few machines show it


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_the_promise_is_kept(rho):
    """Healthy machines, each with a baseline of its own, through all that real clips go through."""
    rng = np.random.default_rng(round(10 * rho))
    months, clips, alarms, promised = 50, 200, 0, 0.0
    for _ in range(months):
        sessions = np.repeat(np.arange(clips // 50), 50)
        baseline = Baseline.of(autoregressive(rng, rho, clips // 50, 50).ravel(), sessions)
        z = baseline.z_all(autoregressive(rng, rho, 4_383))
        health = machine_health(OFTEN, {MODEL: baseline}, scored(z))
        alarms += sum(one.level == "alarm" for one in health.episodes)
        promised += health.limits.alarms_per_month
    assert promised / 2.5 < alarms < promised * 2


def test_what_makes_limits_higher():
    low, high = (np.concatenate(limit_arrays(limits(POLICY, PLENTY))) for _ in range(2))
    for facts in (
        replace(PLENTY, clips=50, sessions=1),
        replace(PLENTY, autocorrelation=float(np.tanh(0.6))),
        replace(PLENTY, clips_per_year=10 * DAILY),
    ):
        high = np.concatenate(limit_arrays(limits(POLICY, facts)))
        assert (high > low).all(), facts
    warning, alarm = limit_arrays(limits(POLICY, PLENTY))
    assert (alarm > warning).all()
    assert (limit_arrays(limits(OFTEN, PLENTY))[1] < alarm).all()


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_recordings_of_one_clip_each_have_limits(rho):
    """Nothing is known of how neighbouring clips depend on one another: the limits allow for it."""
    single, whole = (limits(POLICY, Facts(30, sessions, rho, DAILY)) for sessions in (30, 1))
    for found in (single, whole):
        assert all(0 < np.array(chart) < np.inf for limit in found.charts for chart in (limit.warning, limit.alarm))
    low, high = single.alarms_between
    assert 0 <= low <= single.alarms_per_year <= high


def test_new_facts_that_are_alike_cost_nothing():
    limits(POLICY, PLENTY)
    before = dict(known_limits())
    found = limits(POLICY, replace(PLENTY, clips_per_year=1.3 * DAILY))
    assert found.facts.clips == 200
    assert known_limits() == before and before


def test_limits_do_not_jump_between_what_is_simulated():
    """Between the autocorrelations, calibration sets and clip rates that are simulated, limits are interpolated."""
    rho = np.tanh([0.60, 0.65, 0.75, 0.85, 0.90])
    small = [limit_arrays(limits(POLICY, replace(PLENTY, autocorrelation=float(one))))[1][2] for one in rho]
    assert (np.diff(small) >= -1e-9).all()
    assert small[2] == pytest.approx(np.sqrt(small[0] * small[4]), rel=1e-6)
    clips = [
        limit_arrays(limits(POLICY, replace(PLENTY, clips=one, sessions=one // 50)))[1][2] for one in (200, 300, 500)
    ]
    assert clips[0] > clips[1] > clips[2]
    rates = [limit_arrays(limits(POLICY, replace(PLENTY, clips_per_year=one)))[1] for one in (116_000, 117_500)]
    assert rates[0] == pytest.approx(rates[1], rel=0.15), "on both sides of the middle between two rates"


def test_few_and_dependent_clips_say_beforehand_that_they_cannot():
    facts = Facts(20, 1, float(np.tanh(1.8)), DAILY)
    found = limits(POLICY, facts)
    assert not found.attainable
    assert "out of reach" in found.statement and "20 calibration clips from 1 recording" in found.statement
    assert found.alarms_per_year > POLICY.alarm_per_machine_year
    assert f"{found.alarms_per_year:.2g} false ALARMs" in found.statement
    # What is used instead still finds a lasting change of three sigma within a thousand clips.
    for side in limit_arrays(found):
        assert clips_to_find(POLICY, side) <= 1.03 * POLICY.must_find_clips
    enough = clips_needed(POLICY, facts)
    assert enough is not None and enough >= 40
    assert limits(POLICY, replace(facts, clips=enough, sessions=max(enough // 20, 1))).attainable


def test_what_is_attainable_is_said():
    found = limits(POLICY, PLENTY)
    assert found.attainable
    assert (found.alarms_per_year, found.warnings_per_year) == pytest.approx((1.0, 12.0))
    assert found.alarms_per_month == pytest.approx(1 / 12) and found.warnings_per_month == pytest.approx(1.0)
    assert found.statement.startswith("expect 1 false ALARMs")
    few = limits(POLICY, Facts(50, 1, float(np.tanh(0.6)), DAILY))
    low, high = few.alarms_between
    assert low < 0.5 and high > 1.5, "how much neighbours depend on one another is not known well"
    assert few.is_range and f" to {high:.2g}: so few clips" in few.statement
    assert not found.is_range and "so few clips" not in found.statement


def test_a_clip_a_day_is_not_alarmed_by_anything():
    """Twelve WARNINGs in 365 clips would be one in thirty: limits stay those of more clips, and fewer are promised."""
    rare, common = (
        limits(POLICY, replace(PLENTY, clips_per_year=365)),
        limits(POLICY, replace(PLENTY, clips_per_year=3_650)),
    )
    assert rare.charts == common.charts
    assert rare.alarms_per_year == pytest.approx(common.alarms_per_year / 10)


def test_estimates_below_zero_are_by_chance():
    """Clips that seem to repel one another are taken as independent ones."""
    many = replace(PLENTY, clips=1_000, sessions=20)
    below, zero = (limit_arrays(limits(POLICY, replace(many, autocorrelation=rho)))[1] for rho in (-0.2, 0.0))
    assert below == pytest.approx(zero, rel=0.25)
