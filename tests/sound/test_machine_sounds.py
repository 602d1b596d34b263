"""Simulated machines and their background obey physics and seeds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from simulated_parts import RATE_HZ, parts_of, power_spectrum

from acoustic_ad.sound.machine_faults import fault_change
from acoustic_ad.sound.machine_sounds import draw_machine, draw_point, machine_sound
from acoustic_ad.sound.simulate import (
    FAULTS,
    MACHINE_TYPES,
    Session,
    draw_session,
    faults_of,
    simulate_clip,
)
from acoustic_ad.sound.simulated_clip import soft_limit

CASES = [(kind, fault) for kind in MACHINE_TYPES for fault in faults_of(kind)]


def test_there_are_five_machines_and_at_least_six_faults() -> None:
    assert MACHINE_TYPES == ("fan", "pump", "gearbox", "valve", "motor")
    assert len(FAULTS) >= 6
    assert {fault for _, fault in CASES} == set(FAULTS)
    assert all(len(faults_of(kind)) >= 4 for kind in MACHINE_TYPES)


@pytest.mark.parametrize("kind", MACHINE_TYPES)
def test_healthy_clip_is_float32_unclipped_and_near_its_level(kind: str) -> None:
    clip = simulate_clip(f"{kind}/id_00", duration_s=2.0, seed=5)
    assert clip.dtype == np.float32
    assert clip.shape == (2 * RATE_HZ,)
    assert np.abs(clip).max() < 0.8
    assert -30 < 10 * np.log10(np.mean(clip**2)) < -26


@pytest.mark.parametrize(("kind", "fault"), CASES)
@pytest.mark.parametrize("snr_db", [-6.0, 6.0])
def test_every_fault_at_its_worst_is_finite_and_unclipped(kind: str, fault: str, snr_db: float) -> None:
    clip = simulate_clip(f"{kind}/id_01", duration_s=1.0, snr_db=snr_db, fault=fault, severity=1.0, seed=6)
    assert np.isfinite(clip).all()
    assert np.abs(clip).max() < 1.0


@pytest.mark.parametrize("rate_hz", [12_000, 22_050, 48_000])
@pytest.mark.parametrize("kind", MACHINE_TYPES)
def test_other_rates_and_odd_lengths(kind: str, rate_hz: int) -> None:
    clip = simulate_clip(f"{kind}/id_00", duration_s=0.777, sample_rate_hz=rate_hz, seed=7)
    assert clip.shape == (round(0.777 * rate_hz),)
    assert np.isfinite(clip).all()


def test_fan_has_its_strongest_line_family_at_the_blade_rate() -> None:
    spec = draw_machine("fan/id_00", 0)
    parts = parts_of("fan/id_00", duration_s=10.0)
    blade_hz = spec.blades * spec.shaft_hz * parts.sound.point.speed
    hz, power = power_spectrum(parts.sound.lines)
    near = (hz > 0.8 * blade_hz) & (hz < 1.2 * blade_hz)
    assert hz[near][power[near].argmax()] == pytest.approx(blade_hz, rel=0.01)


def test_shaft_line_follows_the_speed_of_the_session() -> None:
    spec = draw_machine("fan/id_00", 0)
    for ratio in (0.9, 1.0, 1.1):
        parts = parts_of("fan/id_00", duration_s=10.0, session=Session("s", speed_ratio=ratio))
        expected = spec.shaft_hz * parts.sound.point.speed
        hz, power = power_spectrum(parts.sound.lines)
        low = hz < 1.5 * expected
        assert hz[low][power[low].argmax()] == pytest.approx(expected, abs=0.3)
        assert parts.sound.revolutions[-1] / 10.0 == pytest.approx(expected, rel=0.007)


def test_individuals_of_one_type_differ_and_return() -> None:
    first, other = draw_machine("pump/id_00", 0), draw_machine("pump/id_01", 0)
    assert first.shaft_hz != other.shaft_hz
    assert first == draw_machine("pump/id_00", 0)
    assert first != draw_machine("pump/id_00", 1)
    assert draw_machine("hall 3/press", 0, type="pump").type == "pump"


def test_load_raises_upper_harmonics_more_than_lower_ones() -> None:
    spec = draw_machine("gearbox/id_00", 0)
    point = draw_point(spec, 1.0, 0)
    shares = []
    for load in (0.3, 1.0):
        sound = machine_sound(spec, type(point)(1.0, load), 4 * RATE_HZ, RATE_HZ, 1)
        hz, power = power_spectrum(sound.lines)
        mesh = spec.teeth * spec.shaft_hz
        shares.append(power[(hz > 2.5 * mesh) & (hz < 5.5 * mesh)].sum() / power[hz < 1.5 * mesh].sum())
    assert shares[1] > 1.5 * shares[0]


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 6.0, 20.0])
@pytest.mark.parametrize("kind", MACHINE_TYPES)
def test_snr_is_exact(kind: str, snr_db: float) -> None:
    session = draw_session("any", 4)
    parts = parts_of(f"{kind}/id_00", snr_db=snr_db, session=session)
    assert parts.snr_db == pytest.approx(snr_db, abs=0.1)
    clip = simulate_clip(f"{kind}/id_00", duration_s=4.0, snr_db=snr_db, session=session, seed=3)
    np.testing.assert_array_equal(clip, parts.machine + parts.change + parts.background)


def test_background_is_coloured_with_the_slope_of_its_session() -> None:
    for slope in (-4.5, -3.0):
        parts = parts_of("fan/id_00", duration_s=10.0, session=Session("s", slope_db_per_octave=slope, hum_share=0.0))
        hz, power = scipy.signal.welch(parts.background, RATE_HZ, nperseg=1024)
        inside = (hz > 200) & (hz < 6000)
        measured = np.polyfit(np.log2(hz[inside]), 10 * np.log10(power[inside]), 1)[0]
        assert measured == pytest.approx(slope, abs=0.35)  # a clip's own slope is within 0.2 of its session's


def test_session_gain_moves_everything_alike() -> None:
    quiet, loud = (simulate_clip("pump/id_00", duration_s=1.0, session=Session("s", gain_db=g), seed=1) for g in (0, 6))
    np.testing.assert_allclose(loud, quiet * 10 ** (6 / 20), rtol=1e-4, atol=1e-7)


def test_off_clip_is_the_background_of_the_running_clip() -> None:
    parts = parts_of("motor/id_00")
    off = simulate_clip("motor/id_00", duration_s=4.0, session=Session("s"), running=False, seed=3)
    np.testing.assert_array_equal(off, parts.background)


def test_soft_limit_leaves_quiet_sound_alone_and_never_reaches_full_scale() -> None:
    ramp = np.linspace(-5, 5, 1001, dtype=np.float32)
    bent = soft_limit(ramp)
    inside = np.abs(ramp) <= 0.8
    np.testing.assert_array_equal(bent[inside], ramp[inside])
    assert np.abs(bent).max() < 1.0
    assert (np.diff(bent) >= 0).all()


@pytest.mark.parametrize("kind", MACHINE_TYPES)
def test_same_seed_same_clip_other_seed_other_clip(kind: str) -> None:
    first = simulate_clip(f"{kind}/id_00", duration_s=1.0, seed=1)
    np.testing.assert_array_equal(first, simulate_clip(f"{kind}/id_00", duration_s=1.0, seed=1))
    assert not np.array_equal(first, simulate_clip(f"{kind}/id_00", duration_s=1.0, seed=2))


def test_a_fault_does_not_move_the_draws_of_the_machine() -> None:
    healthy, faulty = parts_of("pump/id_00"), parts_of("pump/id_00", fault="cavitation", severity=0.7)
    np.testing.assert_array_equal(healthy.machine, faulty.machine)
    np.testing.assert_array_equal(healthy.background, faulty.background)


def test_fault_change_is_in_units_of_the_healthy_machine() -> None:
    spec = draw_machine("fan/id_00", 0)
    sound = machine_sound(spec, draw_point(spec, 1.0, 1), RATE_HZ, RATE_HZ, 1)
    assert np.mean(sound.healthy**2) == pytest.approx(1.0, rel=1e-3)
    half, full = (fault_change(spec, sound, "rub", severity, 1) for severity in (0.5, 1.0))
    np.testing.assert_allclose(full, 2 * half, rtol=1e-5)
