"""Simulated faults sound like what they are, and grow with their severity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.signal
from simulated_parts import RATE_HZ, parts_of, power_spectrum

from acoustic_ad.errors import UsageError
from acoustic_ad.sound.machine_faults import bearing_hz
from acoustic_ad.sound.machine_sounds import draw_machine
from acoustic_ad.sound.simulate import (
    MACHINE_TYPES,
    faults_of,
    simulate_clip,
)

CASES = [(kind, fault) for kind in MACHINE_TYPES for fault in faults_of(kind)]


@pytest.mark.parametrize(("kind", "fault"), CASES)
def test_severity_zero_is_the_healthy_clip_sample_for_sample(kind: str, fault: str) -> None:
    healthy = simulate_clip(f"{kind}/id_00", duration_s=1.0, seed=8)
    np.testing.assert_array_equal(
        simulate_clip(f"{kind}/id_00", duration_s=1.0, fault=fault, severity=0.0, seed=8), healthy
    )


@pytest.mark.parametrize(("kind", "fault"), CASES)
def test_energy_of_the_fault_never_falls_with_severity(kind: str, fault: str) -> None:
    energy = [
        float(np.sum(parts_of(f"{kind}/id_00", fault=fault, severity=severity).change.astype(float) ** 2))
        for severity in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    assert energy[0] == 0.0
    assert (np.diff(energy) >= 0).all()
    assert energy[-1] > energy[2] > 0.0


@pytest.mark.parametrize("kind", [kind for kind, fault in CASES if fault == "bearing"])
def test_envelope_of_a_bearing_fault_beats_at_the_fault_rate(kind: str) -> None:
    spec = draw_machine(f"{kind}/id_00", 0)
    parts = parts_of(f"{kind}/id_00", duration_s=10.0, fault="bearing", severity=1.0)
    envelope = np.abs(scipy.signal.hilbert(parts.change))
    hz, power = power_spectrum(envelope - envelope.mean())
    audible = (hz > 40) & (hz < 400)  # above the shaft rate, which modulates the impacts
    assert hz[audible][power[audible].argmax()] == pytest.approx(bearing_hz(spec, parts.sound), rel=0.01)


def test_bearing_impacts_ring_at_the_resonance_of_the_housing() -> None:
    spec = draw_machine("fan/id_00", 0)
    hz, power = scipy.signal.welch(parts_of("fan/id_00", fault="bearing", severity=1.0).change, RATE_HZ, nperseg=256)
    assert hz[power.argmax()] == pytest.approx(spec.bearing_resonance_hz, abs=150)


def test_imbalance_adds_a_line_at_the_shaft_rate() -> None:
    parts = parts_of("fan/id_00", duration_s=10.0, fault="imbalance", severity=1.0)
    hz, power = power_spectrum(parts.change)
    expected = draw_machine("fan/id_00", 0).shaft_hz * parts.sound.point.speed
    assert hz[power.argmax()] == pytest.approx(expected, abs=0.3)


def test_electrical_hum_stands_on_multiples_of_twice_the_mains() -> None:
    hz, power = power_spectrum(parts_of("motor/id_00", fault="electrical_hum", severity=1.0).change)
    on_lines = np.abs(hz - 100 * np.rint(hz / 100)) < 1.0
    assert power[on_lines].sum() > 0.99 * power.sum()


def test_leak_is_steady_and_high() -> None:
    change = parts_of("valve/id_00", fault="leak", severity=1.0).change
    hz, power = power_spectrum(change)
    assert power[hz > 2000].sum() > 0.95 * power.sum()
    levels = 10 * np.log10(np.mean(change.reshape(16, -1) ** 2, axis=1))
    assert np.ptp(levels) < 1.0


def test_a_blocked_machine_loses_high_flow_noise_and_gains_a_surge() -> None:
    parts = parts_of("fan/id_00", fault="blocked", severity=1.0)
    hz, before = power_spectrum(parts.machine)
    _, after = power_spectrum(parts.machine + parts.change)
    assert after[hz > 2000].sum() < 0.5 * before[hz > 2000].sum()
    # Between the lines, as the surge is noise.
    low = (hz > 60) & (hz < 250)
    assert np.median(after[low]) > np.median(before[low])


def test_gear_tooth_knocks_once_per_revolution() -> None:
    spec = draw_machine("gearbox/id_00", 0)
    parts = parts_of("gearbox/id_00", duration_s=10.0, fault="gear_tooth", severity=1.0)
    envelope = np.abs(scipy.signal.hilbert(parts.change))
    hz, power = power_spectrum(envelope - envelope.mean())
    assert hz[power.argmax()] == pytest.approx(spec.shaft_hz * parts.sound.point.speed, abs=0.3)


def test_missing_strokes_are_missing_and_a_worse_valve_misses_more() -> None:
    counts = []
    for severity in (0.3, 0.6, 1.0):
        parts = parts_of("valve/id_00", duration_s=10.0, fault="missing_stroke", severity=severity)
        gone = 0
        for onset in parts.sound.onsets:
            opening = slice(onset, onset + RATE_HZ // 20)  # the click and the first of the exhaust
            left = np.mean((parts.machine + parts.change)[opening] ** 2) / np.mean(parts.machine[opening] ** 2)
            assert left < 0.6 or left == pytest.approx(1.0)
            gone += left < 0.6
        counts.append(gone)
    assert 0 < counts[0] < counts[1] < counts[2] <= parts.sound.onsets.size


def test_sticking_moves_energy_to_after_the_stroke() -> None:
    parts = parts_of("valve/id_00", duration_s=10.0, fault="sticking", severity=1.0)
    first = int(0.04 * RATE_HZ)  # the earliest second jump comes 0.05 s late
    early = np.concatenate([np.arange(o, o + first) for o in parts.sound.onsets if o + first < parts.machine.size])
    assert np.mean((parts.machine + parts.change)[early] ** 2) < 0.5 * np.mean(parts.machine[early] ** 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fault": "leak"},
        {"fault": "gremlins"},
        {"fault": "rub", "severity": 1.1},
        {"severity": float("nan")},
        {"duration_s": 0.0},
        {"duration_s": float("nan")},
        {"sample_rate_hz": 8000},
        {"snr_db": float("inf")},
    ],
)
def test_impossible_clips_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        simulate_clip("fan/id_00", seed=0, **wrong)


def test_unknown_machines_are_refused_with_the_choices() -> None:
    with pytest.raises(UsageError, match="fan, pump, gearbox, valve, motor"):
        draw_machine("toaster/id_00", 0)
    with pytest.raises(UsageError, match="gearbox"):
        faults_of("toaster")
