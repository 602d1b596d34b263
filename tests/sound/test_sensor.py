"""Sensor faults are found; quiet, gated and intermittent sound is not taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_ad.sound.audio import read_clip
from acoustic_ad.sound.sensor import SensorCheck

RATE_HZ = 16_000
STEP = 2.0**-15


def fault_of(path: Path, channel: int | str = "mean") -> str | None:
    sensor = SensorCheck()
    read_clip(path, sample_rate_hz=8_000, channel=channel, sensor=sensor)  # type: ignore[arg-type]
    fault = sensor.fault()
    return fault.code if fault else None


def written(tmp_path: Path, samples: np.ndarray, subtype: str = "PCM_16", kind: str = "WAV") -> Path:
    path = tmp_path / "clip"
    sf.write(path, samples, RATE_HZ, format=kind, subtype=subtype)
    return path


def noise(rms: float = 0.05, seconds: float = 5.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ)) * rms


SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"]


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_digital_silence(tmp_path: Path, subtype: str) -> None:
    assert fault_of(written(tmp_path, np.zeros(80_000), subtype)) == "silent"


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
def test_digital_silence_compressed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "clip"
    sf.write(path, np.zeros(80_000), RATE_HZ, format=kind)
    assert fault_of(path) == "silent"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW"])
@pytest.mark.parametrize("value", [0.25, -0.25])
def test_constant(tmp_path: Path, subtype: str, value: float) -> None:
    assert fault_of(written(tmp_path, np.full(80_000, value), subtype)) == "constant"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW"])
def test_overdriven_is_clipped_and_loud_is_not(tmp_path: Path, subtype: str) -> None:
    tone = np.sin(2 * np.pi * 100 * np.arange(80_000) / RATE_HZ)
    assert fault_of(written(tmp_path, np.clip(3 * tone, -1, 1), subtype)) == "clipped"
    assert fault_of(written(tmp_path, np.clip(noise(0.5) * 3, -1, 1), subtype)) == "clipped"
    assert fault_of(written(tmp_path, 0.95 * tone, subtype)) is None


def test_a_few_peaks_at_full_scale_are_no_fault(tmp_path: Path) -> None:
    assert fault_of(written(tmp_path, np.clip(noise(0.33), -1, 1))) is None


def test_float_files_may_exceed_full_scale(tmp_path: Path) -> None:
    """A calibrated recording in pascal has no rail at 1.0."""
    assert fault_of(written(tmp_path, noise(20.0), "FLOAT")) is None


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
@pytest.mark.parametrize("where", ["start", "middle", "end"])
@pytest.mark.parametrize("held", [0.0, 0.11])
def test_held_value_is_stuck(tmp_path: Path, subtype: str, where: str, held: float) -> None:
    samples = noise(0.1)
    start = {"start": 0, "middle": 20_000, "end": 50_000}[where]
    samples[start : start + 30_000] = held
    assert fault_of(written(tmp_path, samples, subtype)) == "stuck"


def test_converter_that_freezes_on_its_last_value(tmp_path: Path) -> None:
    samples = noise(0.0007)
    samples[30_000:] = samples[30_000]
    assert fault_of(written(tmp_path, samples)) == "stuck"


def test_staircase_is_stuck(tmp_path: Path) -> None:
    assert fault_of(written(tmp_path, np.repeat(noise(0.1)[:80], 1_000))) == "stuck"


def test_repeated_dropouts_are_stuck_only_above_a_fifth(tmp_path: Path) -> None:
    for length, expected in ((1_000, None), (3_000, "stuck")):
        samples = noise(0.1)
        for start in range(0, 80_000, 10_000):
            samples[start + 500 : start + 500 + length] = 0
        assert fault_of(written(tmp_path, samples)) == expected


@pytest.mark.parametrize("rms_steps", [0.15, 0.2, 0.3, 0.5, 1, 3, 13])
@pytest.mark.parametrize("offset", [0.0, 0.01])
def test_quiet_sound_is_no_fault(tmp_path: Path, rms_steps: float, offset: float) -> None:
    """Between quantisation steps even sound stands still: 0.15 steps RMS gives runs of thousands of equal samples."""
    samples = np.round(noise(rms_steps) + offset / STEP) * STEP
    if np.ptp(samples) > 0:
        assert fault_of(written(tmp_path, samples)) is None


def test_valve_that_strikes_out_of_quantised_quiet(tmp_path: Path) -> None:
    """Each stroke rings down into the 16-bit floor; half of the clip is exact zeros."""
    time_s = np.arange(80_000) / RATE_HZ
    stroke = np.exp(-(time_s % 1.0) / 0.03) * np.sin(2 * np.pi * 900 * time_s) * 0.4
    samples = np.where(time_s < 0.3, 0, stroke)
    rounded = np.round(samples / STEP)
    assert np.mean(rounded == 0) > 0.5
    assert fault_of(written(tmp_path, np.roll(samples, 1))) is None


@pytest.mark.parametrize("dead", [0.0, 0.02])
def test_an_unconnected_channel_is_no_fault_unless_it_is_the_chosen_one(tmp_path: Path, dead: float) -> None:
    path = written(tmp_path, np.stack([noise(), np.full(80_000, dead)], axis=1))
    assert fault_of(path) is None
    assert fault_of(path, 0) is None
    assert fault_of(path, 1) == ("constant" if dead else "silent")


def test_one_clipped_channel_spoils_the_mean(tmp_path: Path) -> None:
    path = written(tmp_path, np.stack([noise(), np.clip(noise(2.0, seed=1), -1, 1)], axis=1))
    assert fault_of(path) == "clipped"
    assert fault_of(path, 0) is None


def test_channels_that_cancel_are_silent(tmp_path: Path) -> None:
    samples = np.round(noise() / STEP) * STEP
    path = written(tmp_path, np.stack([samples, -samples], axis=1))
    assert fault_of(path) == "silent"
    assert fault_of(path, 0) is None


def test_no_samples_no_verdict() -> None:
    assert SensorCheck().fault() is None


def test_begin_forgets_the_clip_before() -> None:
    sensor = SensorCheck()
    for samples, expected in ((np.zeros((100, 1)), "silent"), (noise()[:, None], None)):
        sensor.begin(1, RATE_HZ, "PCM_16")
        block = samples.astype(np.float32)
        sensor.add(block, block[:, 0], float(block.min()), float(block.max()))
        fault = sensor.fault()
        assert (fault.code if fault else None) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40_000))
def test_verdict_does_not_depend_on_blocks(seed: int, block: int) -> None:
    """Runs over block borders count as they do in one piece (edges of 5 ms after a leading run may be cut short)."""
    rng = np.random.default_rng(seed)
    samples = noise(0.1, 2.0, seed).astype(np.float32)
    for _ in range(rng.integers(0, 6)):
        start, length = rng.integers(400, 32_000), rng.integers(1, 4_000)
        samples[start : start + length] = samples[start]
    runs = np.diff(np.flatnonzero(np.concatenate(([True], samples[1:] != samples[:-1], [True]))))
    expected = runs[runs >= 800].sum() / len(samples) > 0.2
    block = max(block, 50)
    sensor = SensorCheck()
    sensor.begin(1, RATE_HZ, "FLOAT")
    for at in range(0, len(samples), block):
        piece = samples[at : at + block]
        sensor.add(piece[:, None], piece, float(piece.min()), float(piece.max()))
    fault = sensor.fault()
    assert (fault is not None and fault.code == "stuck") == expected


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "real_motors"


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real recordings in {REAL}")
@pytest.mark.parametrize("channel", ["mean", 0])
def test_no_real_recording_is_a_sensor_fault(channel: int | str) -> None:
    paths = sorted(REAL.rglob("*.wav"))
    assert len(paths) > 100
    assert {path.name: fault for path in paths if (fault := fault_of(path, channel))} == {}


@pytest.mark.parametrize(("before", "found"), [(0, None), (1, None), (2, "missing_channel")])
def test_a_channel_that_was_alive_in_training_is_missed(tmp_path: Path, before: int, found: str | None) -> None:
    sensor = SensorCheck()
    stereo = written(tmp_path, np.stack([noise(), np.zeros(80_000)], axis=1))
    read_clip(stereo, sample_rate_hz=8_000, channel="mean", sensor=sensor)
    fault = sensor.fault(before)
    assert sensor.alive == 1 and (fault.code if fault else None) == found


def test_a_file_of_fewer_channels_misses_none(tmp_path: Path) -> None:
    """It was made so, by a recorder or a converter; only a channel that is there can be dead."""
    sensor = SensorCheck()
    read_clip(written(tmp_path, noise()), sample_rate_hz=8_000, channel="mean", sensor=sensor)
    assert sensor.fault(2) is None
