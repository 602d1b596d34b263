"""Gate 3: every encoding, rate and number of channels that recorders write gives the same sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from acoustic_ad.sound.audio import SensorCheck, probe, read_clip

RATE_HZ = 16_000
# Largest difference of a sample from the one that was written; None: made for speech, only its level is kept.
EXACT, FINE, COARSE, SPEECH = 1e-6, 1e-4, 0.02, None
ENCODINGS = [
    ("WAV", "PCM_U8", COARSE), ("WAV", "PCM_16", FINE), ("WAV", "PCM_24", EXACT), ("WAV", "PCM_32", EXACT),
    ("WAV", "FLOAT", EXACT), ("WAV", "DOUBLE", EXACT), ("WAV", "ULAW", COARSE), ("WAV", "ALAW", COARSE),
    ("WAV", "IMA_ADPCM", SPEECH), ("WAV", "MS_ADPCM", SPEECH), ("WAV", "GSM610", SPEECH),
    ("WAVEX", "PCM_24", EXACT), ("RF64", "PCM_16", FINE), ("RF64", "FLOAT", EXACT), ("W64", "PCM_16", FINE),
    ("W64", "DOUBLE", EXACT), ("AIFF", "PCM_S8", COARSE), ("AIFF", "PCM_24", EXACT), ("AIFF", "FLOAT", EXACT),
    ("AU", "ULAW", COARSE), ("CAF", "PCM_32", EXACT), ("CAF", "ALAC_24", EXACT), ("FLAC", "PCM_S8", COARSE),
    ("FLAC", "PCM_16", FINE), ("FLAC", "PCM_24", EXACT), ("OGG", "VORBIS", SPEECH), ("OGG", "OPUS", SPEECH),
    ("MP3", "MPEG_LAYER_III", SPEECH),
]  # fmt: skip


def hum(rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    """A tone at 200 Hz with a little noise: no encoder has an easy time, and none fails."""
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    noise = np.random.default_rng(3).standard_normal(len(time))
    return 0.3 * np.sin(2 * np.pi * 200 * time) + 0.01 * noise


def read(path: Path, rate_hz: int) -> np.ndarray:
    sensor = SensorCheck()
    samples = read_clip(path, sample_rate_hz=rate_hz, sensor=sensor)
    assert sensor.fault() is None
    return samples


@pytest.mark.parametrize(("container", "encoding", "largest"), ENCODINGS)
def test_encodings(tmp_path: Path, container: str, encoding: str, largest: float | None) -> None:
    if not sf.check_format(container, encoding):
        pytest.skip(f"this libsndfile does not write {container} {encoding}")
    rate_hz = 8_000 if encoding == "GSM610" else RATE_HZ
    sound = hum(rate_hz)
    path = tmp_path / "clip.wav"
    sf.write(path, sound, rate_hz, format=container, subtype=encoding)
    samples = read(path, rate_hz)
    if largest is not None:
        assert len(samples) == len(sound)
        assert np.abs(samples - sound).max() < largest
    else:
        assert abs(len(samples) / len(sound) - 1) < 0.1
        assert samples.std() == pytest.approx(sound.std(), rel=0.1)


@pytest.mark.parametrize("channels", range(1, 17))
def test_channels(tmp_path: Path, channels: int) -> None:
    """Their mean, or the one that is asked for."""
    sound = np.stack([hum(RATE_HZ) * (channel + 1) / channels for channel in range(channels)], axis=1)
    path = tmp_path / "clip.wav"
    sf.write(path, sound, RATE_HZ, format="WAV", subtype="FLOAT")
    np.testing.assert_allclose(read(path, RATE_HZ), sound.mean(axis=1), atol=1e-6)
    last = read_clip(path, sample_rate_hz=RATE_HZ, channel=channels - 1)
    np.testing.assert_allclose(last, sound[:, -1], atol=1e-6)


@pytest.mark.parametrize(
    "rate_hz", [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000]
)
def test_rates(tmp_path: Path, rate_hz: int) -> None:
    """A tone that was recorded at any rate is the same tone at the model's."""
    path = tmp_path / "clip.wav"
    sf.write(path, hum(rate_hz), rate_hz, format="WAV", subtype="PCM_24")
    assert probe(path).sample_rate_hz == rate_hz
    samples = read(path, RATE_HZ)
    assert abs(len(samples) - RATE_HZ) <= 2
    power = np.abs(np.fft.rfft(samples[: RATE_HZ // 2 * 2])) ** 2
    tone_hz = np.argmax(power) * RATE_HZ / len(samples)
    assert tone_hz == pytest.approx(200, abs=1.5)
    assert samples[1_000:-1_000].std() == pytest.approx(0.3 / np.sqrt(2), rel=0.02)
