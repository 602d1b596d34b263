"""Drift of the whole fleet, and what is none."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from health_clips import START, autoregressive

from acoustic_ad.health.fleet import fleet_drift

DAYS = 21


def fleet(machines: int, moved: int, shift: float, *, day: int = 14, seed: int = 0, rho: float = 0.5):
    """Clips of machines, every two hours for three weeks, of which some move on a day."""
    rng = np.random.default_rng(seed)
    history = {}
    for number in range(machines):
        z = autoregressive(rng, rho, 12 * DAYS)
        z[12 * day :] += shift * (number < moved)
        history[f"fan/{number}"] = [(START + timedelta(hours=2 * clip), float(value)) for clip, value in enumerate(z)]
    return history


@pytest.mark.parametrize("shift", [2.5, -2.5])
def test_most_machines_moved_at_once(shift):
    found = fleet_drift(fleet(10, 8, shift))
    assert found is not None
    assert (found.direction, found.machines) == ("up" if shift > 0 else "down", 10)
    assert set(found.moved) <= {f"fan/{number}" for number in range(8)} and len(found.moved) >= 7
    assert found.shift == pytest.approx(shift, abs=0.6)
    assert f"since {found.since:%Y-%m-%d} UTC, by" in found.statement
    assert abs((found.since - (START + timedelta(days=14))).total_seconds()) <= 1.5 * 86_400
    assert f"{len(found.moved)} of 10 machines" in found.statement


@pytest.mark.parametrize("moved", [0, 1, 4])
def test_single_machines_are_no_fleet(moved):
    assert fleet_drift(fleet(10, moved, 3.0)) is None


def test_healthy_fleets_do_not_drift():
    assert not any(fleet_drift(fleet(5, 0, 0.0, seed=seed, rho=0.9)) for seed in range(60))


def test_opposite_directions_do_not_add_up():
    up, down = fleet(6, 6, 3.0), fleet(6, 6, -3.0, seed=1)
    mixed = {f"{name} up": clips for name, clips in list(up.items())[:3]}
    mixed |= {f"{name} down": clips for name, clips in list(down.items())[:3]}
    assert fleet_drift(mixed) is None


def test_what_has_gone_back_is_no_drift():
    history = fleet(6, 6, 3.0, day=10)
    back = {
        name: [(at, z - 3.0 * (at >= START + timedelta(days=16))) for at, z in clips] for name, clips in history.items()
    }
    assert fleet_drift(history) is not None
    assert fleet_drift(back) is None


def test_too_few_machines_or_days():
    assert fleet_drift({}) is None
    assert fleet_drift(fleet(2, 2, 4.0)) is None
    assert fleet_drift({name: clips[:36] for name, clips in fleet(6, 6, 4.0, day=1).items()}) is None
    assert fleet_drift({name: [] for name in "abcdef"}) is None
