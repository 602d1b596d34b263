"""Planted faults are what they say, and as strong as they say."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from acoustic_ad.sound import planted
from acoustic_ad.sound.planted import (
    KINDS,
    LEVELS_DB,
    SILENCE_POWER,
    PlantedFault,
    Planter,
    plant,
    planted_faults,
    third_octave,
)

RATE_HZ = 16000
SECONDS = 10
FAULTS = planted_faults(RATE_HZ, 8000.0)
ONE_OF_EACH = {fault.kind: fault for fault in FAULTS}
TIMES_S = np.arange(SECONDS * RATE_HZ) / RATE_HZ


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def white(seconds: float = SECONDS, rms: float = 0.1) -> np.ndarray:
    return (rms * rng(7).standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def machine_like() -> np.ndarray:
    """A hum and noise that falls by 80 dB from the bottom to the top of the spectrum, as many machines do."""
    spectrum = np.fft.rfft(rng(8).standard_normal(TIMES_S.size))
    hz = np.fft.rfftfreq(TIMES_S.size, 1 / RATE_HZ)
    noise = np.fft.irfft(spectrum * (1 + hz / 80) ** -2)
    return (noise / noise.std() * 0.03 + 0.05 * np.sin(2 * np.pi * 100 * TIMES_S)).astype(np.float32)


def clicks(every_s: float = 1.0, tail_s: float = 0.02) -> np.ndarray:
    """Strokes in digital silence, each a burst of noise that dies away."""
    out = np.zeros(TIMES_S.size)
    for start in np.arange(0.4, SECONDS - 0.5, every_s):
        later = start <= TIMES_S
        out[later] += rng(int(1000 * start)).standard_normal(later.sum()) * np.exp(-(TIMES_S[later] - start) / tail_s)
    return (0.2 * out).astype(np.float32)


def tone_clip() -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 100 * TIMES_S)).astype(np.float32)


CLIPS = {
    "white": white(),
    "machine_like": machine_like(),
    "tone": tone_clip(),
    "clicks": clicks(),
    "silence": np.zeros(SECONDS * RATE_HZ, np.float32),
    "constant": np.full(RATE_HZ, 0.25, np.float32),
}


def power_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Clip-mean power in a band in dB. A strong window would weigh the clip's middle more than its ends."""
    hz = np.fft.rfftfreq(samples.size, 1 / RATE_HZ)
    power = np.abs(np.fft.rfft(samples.astype(float) * scipy.signal.windows.tukey(samples.size, 0.02))) ** 2
    return float(10 * np.log10(power[(hz >= low_hz) & (hz < high_hz)].sum()))


def rise_db(clip: np.ndarray, fault: PlantedFault, seed: int = 0, band: tuple[float, float] | None = None) -> float:
    """How much the power in a band, by default the fault's, rises."""
    low, high = band or (fault.low_hz or 20.0, fault.high_hz or 8000.0)
    return power_db(plant(clip, RATE_HZ, fault, rng(seed)), low, high) - power_db(clip, low, high)


# --- every kind -------------------------------------------------------------------------------------------------------


def test_the_set_covers_every_kind() -> None:
    assert {fault.kind for fault in FAULTS} == set(KINDS)
    assert 20 <= len(FAULTS) <= 28
    assert len({fault.words for fault in FAULTS}) == len(FAULTS), "people could not tell them apart"
    assert all(fault.level_db == 0.0 for fault in FAULTS)
    assert tuple(sorted(LEVELS_DB)) == LEVELS_DB and LEVELS_DB[0] > 0


@pytest.mark.parametrize("level_db", LEVELS_DB)
@pytest.mark.parametrize("name", CLIPS)
def test_every_fault_in_every_clip_is_finite_and_as_long(name: str, level_db: float) -> None:
    clip = CLIPS[name].copy()
    planter = Planter(clip, RATE_HZ)
    for fault in FAULTS:
        result = planter.plant(replace(fault, level_db=level_db), rng())
        assert result.dtype == np.float32 and result.shape == clip.shape, fault
        assert np.isfinite(result).all(), fault
    np.testing.assert_array_equal(clip, CLIPS[name], err_msg="the clip itself was changed")


@pytest.mark.parametrize("kind", KINDS)
def test_level_zero_is_the_clip_sample_for_sample(kind: str) -> None:
    result = plant(CLIPS["clicks"], RATE_HZ, ONE_OF_EACH[kind], rng())
    np.testing.assert_array_equal(result, CLIPS["clicks"])
    assert not np.shares_memory(result, CLIPS["clicks"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["machine_like", "clicks"])
def test_what_changes_grows_with_the_level(name: str, kind: str) -> None:
    clip = CLIPS[name]
    energy = [
        np.sum((plant(clip, RATE_HZ, replace(ONE_OF_EACH[kind], level_db=level), rng()) - clip.astype(float)) ** 2)
        for level in (0.0, *LEVELS_DB)
    ]
    assert energy[0] == 0 and (np.diff(energy) > 0).all()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.words)
def test_seeds_reproduce_and_a_cached_clip_gives_the_same_as_a_fresh_one(fault: PlantedFault) -> None:
    fault, clip = replace(fault, level_db=4.0), CLIPS["machine_like"]
    planter = Planter(clip, RATE_HZ)
    first = planter.plant(fault, rng(1))
    np.testing.assert_array_equal(plant(clip, RATE_HZ, fault, rng(1)), first)
    np.testing.assert_array_equal(planter.plant(fault, rng(1)), first)
    if fault.kind not in ("band_gain", "missing_strokes"):  # nothing, or little, is random in these
        assert not np.array_equal(planter.plant(fault, rng(2)), first)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.words)
@pytest.mark.parametrize("name", ["white", "clicks"])
def test_loudness_of_the_clip_does_not_matter(name: str, fault: PlantedFault) -> None:
    fault, clip = replace(fault, level_db=4.0), CLIPS[name] + white(rms=0.05)
    loud = plant(clip, RATE_HZ, fault, rng(3))
    quiet = plant(clip * np.float32(0.001), RATE_HZ, fault, rng(3))
    np.testing.assert_allclose(1000 * quiet, loud, atol=1e-5 * np.abs(loud).max())


@pytest.mark.parametrize("level_db", [0.5, 3.0, 8.0])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.low_hz], ids=lambda fault: fault.words)
@pytest.mark.parametrize("name", ["white", "machine_like"])
def test_the_level_is_the_rise_in_the_band(name: str, fault: PlantedFault, level_db: float) -> None:
    if fault.kind == "modulation":
        wanted, tolerance = 0.0, 0.25
    else:
        wanted = -level_db if fault.lowers else level_db
        tolerance = {"tone": 0.1, "band_gain": 0.1, "narrow_noise": 0.5, "impulses": 0.35}[fault.kind]
    assert rise_db(CLIPS[name], replace(fault, level_db=level_db)) == pytest.approx(wanted, abs=tolerance)


# --- one by one -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hz", [150.0, 1000.0, 5000.0])
def test_tone_lands_in_its_third_octave_and_nowhere_else(hz: float) -> None:
    fault = PlantedFault("tone", 3.0, *third_octave(hz))
    assert rise_db(white(), fault) == pytest.approx(3.0, abs=0.1)
    for step in (-2, -1, 1, 2):
        other = third_octave(hz * 2 ** (step / 3))
        if other[1] < 8000:
            assert rise_db(white(), fault, band=other) == pytest.approx(0.0, abs=0.02)
    added = plant(white(), RATE_HZ, fault, rng()) - white()
    power = np.abs(np.fft.rfft(added))
    assert np.fft.rfftfreq(added.size, 1 / RATE_HZ)[power.argmax()] == pytest.approx(hz, abs=0.1)


@pytest.mark.parametrize("seed", range(8))
def test_tone_on_a_hum_adds_to_it_whatever_its_phase(seed: int) -> None:
    fault = PlantedFault("tone", 3.0, *third_octave(100.0))
    assert rise_db(tone_clip(), fault, seed) == pytest.approx(3.0, abs=0.1)


def test_narrow_noise_stays_in_its_band_and_is_noise() -> None:
    fault = PlantedFault("narrow_noise", 6.0, *third_octave(2000.0))
    added = plant(white(), RATE_HZ, fault, rng()) - white()
    assert power_db(added, *third_octave(2000.0)) > power_db(added, 0, 1700) + 40
    assert power_db(added, *third_octave(2000.0)) > power_db(added, 2300, 8000) + 40
    spread = np.abs(scipy.signal.hilbert(added)) ** 2
    assert spread.std() / spread.mean() == pytest.approx(1.0, abs=0.1), "power of noise is exponentially distributed"


@pytest.mark.parametrize("hz", [200.0, 800.0, 2500.0, 6000.0])
def test_broad_noise_raises_every_band_alike(hz: float) -> None:
    fault = PlantedFault("broad_noise", 3.0)
    assert rise_db(machine_like(), fault, band=third_octave(hz)) == pytest.approx(3.0, abs=0.6)


def test_broad_noise_raises_the_whole() -> None:
    result = plant(white(), RATE_HZ, PlantedFault("broad_noise", 2.0), rng())
    assert 10 * np.log10(np.mean(result.astype(float) ** 2) / np.mean(white().astype(float) ** 2)) == pytest.approx(
        2.0, abs=0.02
    )


@pytest.mark.parametrize(("rate_hz", "hz"), [(23.0, 1200.0), (13.0, 3000.0), (7.0, 5500.0)])
def test_impulses_come_at_their_rate_and_ring_at_their_resonance(rate_hz: float, hz: float) -> None:
    fault = PlantedFault("impulses", 6.0, *third_octave(hz), rate_hz=rate_hz)
    added = plant(white(), RATE_HZ, fault, rng()).astype(float) - white()
    spectrum_hz, power = scipy.signal.welch(added, RATE_HZ, nperseg=2048)
    assert spectrum_hz[power.argmax()] == pytest.approx(hz, rel=0.03)
    inside = (spectrum_hz >= third_octave(hz)[0]) & (spectrum_hz < third_octave(hz)[1])
    assert power[inside].sum() > 0.95 * power.sum()
    envelope = np.abs(scipy.signal.hilbert(added))
    peaks, _ = scipy.signal.find_peaks(envelope, height=envelope.max() / 3, distance=RATE_HZ // 100)
    assert peaks.size == pytest.approx(rate_hz * SECONDS, abs=2)
    gaps_s = np.diff(peaks) / RATE_HZ
    assert gaps_s.mean() == pytest.approx(1 / rate_hz, rel=0.02)
    assert 0.01 < gaps_s.std() * rate_hz < 0.08, "a few percent of jitter"


def test_impulses_die_away_after_each_hit() -> None:
    fault = PlantedFault("impulses", 6.0, *third_octave(1200.0), rate_hz=7.0)
    envelope = np.abs(scipy.signal.hilbert(plant(white(), RATE_HZ, fault, rng()).astype(float) - white()))
    peak = scipy.signal.find_peaks(envelope, height=envelope.max() / 3, distance=RATE_HZ // 20)[0][5]
    assert envelope[peak + RATE_HZ // 40] < 0.01 * envelope[peak]
    # It rises in less time than it falls: a ring, no symmetric packet.
    above = envelope[peak - RATE_HZ // 40 : peak + RATE_HZ // 40] > envelope[peak] / 4
    assert above[: RATE_HZ // 40].sum() < 0.8 * above[RATE_HZ // 40 :].sum()


@pytest.mark.parametrize("rate_hz", [2.3, 7.1])
@pytest.mark.parametrize("level_db", LEVELS_DB)
def test_modulation_swings_the_level_and_keeps_the_mean_power(rate_hz: float, level_db: float) -> None:
    clip = white()
    result = plant(clip, RATE_HZ, PlantedFault("modulation", level_db, rate_hz=rate_hz), rng())
    mean_db = 10 * np.log10(np.mean(result.astype(float) ** 2) / np.mean(clip.astype(float) ** 2))
    assert mean_db == pytest.approx(0.0, abs=0.2)
    gain_db = 20 * np.log10(np.abs(result[clip != 0] / clip[clip != 0]))
    assert np.ptp(gain_db[np.abs(clip[clip != 0]) > 0.01]) == pytest.approx(2 * level_db, rel=0.02)


@pytest.mark.parametrize("band", [(None, None), (1000.0, 2000.0)])
def test_modulation_shows_in_the_envelope_at_its_rate(band: tuple[float | None, float | None]) -> None:
    result = plant(white(), RATE_HZ, PlantedFault("modulation", 4.0, *band, rate_hz=5.0), rng())
    sos = scipy.signal.butter(4, (1100.0, 1900.0), "bandpass", fs=RATE_HZ, output="sos")
    envelope = np.abs(scipy.signal.hilbert(scipy.signal.sosfiltfilt(sos, result)))
    lines = np.abs(np.fft.rfft(envelope - envelope.mean()))
    hz = np.fft.rfftfreq(envelope.size, 1 / RATE_HZ)
    assert hz[lines.argmax()] == pytest.approx(5.0, abs=0.11)
    assert lines.max() > 8 * np.median(lines[(hz > 1) & (hz < 20)])


def test_modulation_of_a_band_leaves_other_bands() -> None:
    clip, fault = white(), PlantedFault("modulation", 6.0, 1000.0, 2000.0, rate_hz=4.0)
    added = plant(clip, RATE_HZ, fault, rng()).astype(float) - clip
    assert power_db(added, 20, 850) < power_db(clip, 20, 850) - 40
    assert power_db(added, 2400, 8000) < power_db(clip, 2400, 8000) - 40


@pytest.mark.parametrize("level_db", [1.0, 4.0, 8.0])
def test_missing_strokes_lower_some_strokes_by_three_times_the_level_and_nothing_else(level_db: float) -> None:
    clip = clicks()
    result = plant(clip, RATE_HZ, PlantedFault("missing_strokes", level_db), rng())
    starts = (np.arange(0.4, SECONDS - 0.5, 1.0) * RATE_HZ).astype(int)
    change_db = [
        10
        * np.log10(np.sum(result[at : at + 1600].astype(float) ** 2) / np.sum(clip[at : at + 1600].astype(float) ** 2))
        for at in starts
    ]
    missing = np.array(change_db) < -0.1
    assert 1 <= missing.sum() <= len(starts) // 2
    assert np.array(change_db)[missing] == pytest.approx(-3 * level_db, abs=0.3)
    assert np.array(change_db)[~missing] == pytest.approx(0.0, abs=1e-3)
    changed = np.flatnonzero(np.abs(result - clip) > 1e-6)
    assert all(np.min(np.abs(at - starts[missing])) < 0.2 * RATE_HZ for at in changed[::50])


def test_the_one_stroke_of_a_clip_goes_missing() -> None:
    clip = clicks(every_s=100.0) + white(rms=1e-4)
    result = plant(clip, RATE_HZ, PlantedFault("missing_strokes", 8.0), rng())
    start = int(0.4 * RATE_HZ)
    assert power_db(result[start : start + 1600], 20, 8000) < power_db(clip[start : start + 1600], 20, 8000) - 15
    np.testing.assert_array_equal(result[2 * RATE_HZ :], clip[2 * RATE_HZ :])


@pytest.mark.parametrize("name", ["white", "machine_like"])
@pytest.mark.parametrize("lowers", [False, True])
def test_band_gain_changes_its_band_only(name: str, lowers: bool) -> None:
    fault = PlantedFault("band_gain", 6.0, *third_octave(1000.0), lowers=lowers)
    assert rise_db(CLIPS[name], fault) == pytest.approx(-6.0 if lowers else 6.0, abs=0.1)
    for band in ((20.0, 750.0), (1350.0, 8000.0)):
        assert rise_db(CLIPS[name], fault, band=band) == pytest.approx(0.0, abs=0.02)


def test_band_gain_does_not_ring_before_a_hit() -> None:
    clip, fault = clicks(), PlantedFault("band_gain", 8.0, *third_octave(1000.0))
    change = np.abs(plant(clip, RATE_HZ, fault, rng()) - clip)
    start = int(1.4 * RATE_HZ)
    assert change[start - 1600 : start - 480].max() < 0.003 * change[start : start + 800].max()


# --- awkward clips ----------------------------------------------------------------------------------------------------


def test_silence_is_planted_relative_to_the_floor_and_never_gets_less_or_a_swing() -> None:
    silence = CLIPS["silence"]
    fault = PlantedFault("tone", 3.0, *third_octave(1000.0))
    share = np.diff(fault.band_hz).item() / (RATE_HZ / 2)
    tone = plant(silence, RATE_HZ, fault, rng()).astype(float)
    assert np.mean(tone**2) == pytest.approx(SILENCE_POWER * share * (10**0.3 - 1), rel=0.01)
    noise = plant(silence, RATE_HZ, PlantedFault("broad_noise", 3.0), rng()).astype(float)
    assert np.mean(noise**2) == pytest.approx(SILENCE_POWER * (10**0.3 - 1), rel=0.01)
    for kind in ("modulation", "missing_strokes", "band_gain"):
        np.testing.assert_array_equal(plant(silence, RATE_HZ, replace(ONE_OF_EACH[kind], level_db=8.0), rng()), silence)


def test_an_offset_is_no_sound() -> None:
    clip, fault = white(), PlantedFault("broad_noise", 3.0)
    offset = plant(clip + np.float32(0.5), RATE_HZ, fault, rng()) - np.float32(0.5)
    np.testing.assert_allclose(offset, plant(clip, RATE_HZ, fault, rng()), atol=2e-6)


@pytest.mark.parametrize("samples", [1, 2, 3, 17, 300, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_very_short_clips(samples: int, kind: str) -> None:
    clip = white()[:samples]
    for seed in range(5):
        result = plant(clip, RATE_HZ, replace(ONE_OF_EACH[kind], level_db=4.0), rng(seed))
        assert result.shape == clip.shape and np.isfinite(result).all()


def test_a_clip_shorter_than_the_spacing_still_gets_a_hit() -> None:
    fault = PlantedFault("impulses", 6.0, *third_octave(3000.0), rate_hz=7.0)
    clip = white()[:600]
    for seed in range(20):
        added = plant(clip, RATE_HZ, fault, rng(seed)) - clip
        assert np.abs(added).max() > 0.01


def test_nothing_is_clipped() -> None:
    result = plant(white(rms=0.3), RATE_HZ, PlantedFault("broad_noise", 8.0), rng())
    assert np.abs(result).max() > 1.5


@pytest.mark.parametrize(
    "clip", [np.zeros(0), np.array([0.0, np.nan]), np.array([np.inf, 0.0]), np.zeros((2, 100))], ids=str
)
def test_clips_that_are_refused(clip: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite samples"):
        Planter(clip.astype(np.float32), RATE_HZ)


@pytest.mark.parametrize("kind", ["tone", "narrow_noise", "impulses", "band_gain"])
def test_bands_above_half_the_rate_are_refused_at_every_level(kind: str) -> None:
    rate_hz = 10.0 if kind == "impulses" else None
    for level_db in (0.0, 3.0):
        fault = PlantedFault(kind, level_db, *third_octave(9000.0), rate_hz=rate_hz)
        with pytest.raises(ValueError, match="above half"):
            plant(white(), RATE_HZ, fault, rng())


def test_a_band_that_reaches_beyond_half_the_rate_ends_there() -> None:
    fault = PlantedFault("band_gain", 6.0, 4000.0, 12000.0)
    assert rise_db(white(), fault, band=(4000.0, 8000.0)) == pytest.approx(6.0, abs=0.1)


# --- the description --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"kind": "howl"}, "must be one of tone"),
        ({"kind": "broad_noise", "level_db": -1.0}, "outside"),
        ({"kind": "broad_noise", "level_db": float("nan")}, "outside"),
        ({"kind": "broad_noise", "low_hz": 100.0, "high_hz": 200.0}, "has no band"),
        ({"kind": "tone"}, "needs a band"),
        ({"kind": "tone", "low_hz": 100.0}, "no band"),
        ({"kind": "tone", "low_hz": 200.0, "high_hz": 100.0}, "no band"),
        ({"kind": "tone", "low_hz": 0.0, "high_hz": 100.0}, "no band"),
        ({"kind": "tone", "low_hz": 100.0, "high_hz": 120.0, "rate_hz": 5.0}, "has no rate_hz"),
        ({"kind": "modulation"}, "not above 0"),
        ({"kind": "modulation", "rate_hz": -2.0}, "not above 0"),
        ({"kind": "modulation", "rate_hz": 2.0, "lowers": True}, "cannot lower"),
    ],
)
def test_faults_that_make_no_sense(options: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        PlantedFault(**({"level_db": 1.0} | options))  # type: ignore[arg-type]


def test_words() -> None:
    assert PlantedFault("tone", 4.0, *third_octave(1000.0)).words == "a tone at 1.0 kHz"
    assert PlantedFault("narrow_noise", 4.0, *third_octave(250.0)).words == "noise at 250 Hz"
    impulses = PlantedFault("impulses", 4.0, *third_octave(3000.0), rate_hz=13.0)
    assert impulses.words == "impulses ringing at 3.0 kHz, 13 a second"
    assert PlantedFault("modulation", 4.0, rate_hz=2.3).words == "a level that swings 2.3 times a second"
    assert PlantedFault("band_gain", 4.0, 2000.0, 8000.0, lowers=True).words == "less sound from 2.0 kHz to 8.0 kHz"


@pytest.mark.parametrize(
    ("rate_hz", "fmax_hz", "fmin_hz"),
    [(16000, 8000.0, 0.0), (8000, 8000.0, 0.0), (1000, 500.0, 0.0), (48000, 20000.0, 50.0), (16000, 8000.0, 2000.0)],
)
def test_the_set_lies_within_what_the_features_see(rate_hz: int, fmax_hz: float, fmin_hz: float) -> None:
    faults = planted_faults(rate_hz, fmax_hz, fmin_hz)
    assert {fault.kind for fault in faults} == set(KINDS)
    bands = [fault.band_hz for fault in faults if fault.low_hz]
    limit = min(fmax_hz, rate_hz / 2)
    assert all(fmin_hz <= low * 1.001 and high <= limit * 1.001 for low, high in bands)
    planter = Planter(white(seconds=2.0), rate_hz)
    for fault in faults:
        assert np.isfinite(planter.plant(replace(fault, level_db=8.0), rng())).all()


@pytest.mark.parametrize(("fmax_hz", "fmin_hz"), [(8000.0, 8000.0), (100.0, 200.0), (8000.0, -1.0)])
def test_no_room_for_faults(fmax_hz: float, fmin_hz: float) -> None:
    with pytest.raises(ValueError, match="no band between"):
        planted_faults(RATE_HZ, fmax_hz, fmin_hz)


def test_planted_faults_are_not_the_simulators() -> None:
    """Choosing by them would be tuning on what the simulator is tested with."""
    tree = ast.parse(Path(planted.__file__).read_text(encoding="utf-8"))
    imported = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    shared = "from acoustic_ad.sound.envelopes import gain_of, tukey"  # plain arithmetic
    assert [line for line in imported if "acoustic_ad" in line] == [shared]
