"""Decoding: every format gives the samples it holds; resampling keeps sound where and as loud as it is."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from acoustic_ad.errors import ClipError
from acoustic_ad.sound.audio import AudioInfo, mono_blocks, probe, read_clip


def tone(frequency_hz: float, rate_hz: int, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def noise(frames: int, channels: int = 1, rms: float = 0.1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, channels)) * rms


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-30))


def peak_frequency_hz(samples: np.ndarray, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate_hz / len(samples)


def write(path: Path, samples: np.ndarray, rate_hz: int = 16_000, kind: str = "WAV", subtype: str = "PCM_16") -> Path:
    sf.write(path, samples, rate_hz, format=kind, subtype=subtype)
    return path


# Format, encoding, and the signal-to-noise ratio that its decoding must reach for a full-band tone of -6 dB.
ENCODINGS = [
    ("WAV", "PCM_U8", 35),
    ("WAV", "PCM_16", 80),
    ("WAV", "PCM_24", 120),
    ("WAV", "PCM_32", 130),
    ("WAV", "FLOAT", 130),
    ("WAV", "DOUBLE", 130),
    ("WAV", "ULAW", 30),
    ("WAV", "ALAW", 30),
    ("WAV", "IMA_ADPCM", 15),
    ("WAV", "MS_ADPCM", 15),
    ("WAV", "GSM610", 5),
    ("WAVEX", "PCM_16", 80),
    ("RF64", "PCM_16", 80),
    ("RF64", "FLOAT", 130),
    ("W64", "PCM_16", 80),
    ("W64", "DOUBLE", 130),
    ("AIFF", "PCM_S8", 35),
    ("AIFF", "PCM_16", 80),
    ("AIFF", "FLOAT", 130),
    ("AU", "PCM_16", 80),
    ("AU", "ULAW", 30),
    ("CAF", "PCM_24", 120),
    ("CAF", "ALAC_16", 80),
    ("FLAC", "PCM_16", 80),
    ("FLAC", "PCM_24", 120),
    ("OGG", "VORBIS", 15),
    ("OGG", "OPUS", 15),
    ("MP3", "MPEG_LAYER_III", 15),
    ("NIST", "PCM_16", 80),
    ("VOC", "PCM_16", 80),
]


@pytest.mark.parametrize(("kind", "subtype", "snr_db"), ENCODINGS, ids=lambda value: str(value))
def test_every_encoding_gives_back_its_tone(tmp_path: Path, kind: str, subtype: str, snr_db: float) -> None:
    rate_hz = 8_000 if subtype == "GSM610" else 16_000
    if not sf.check_format(kind, subtype):
        pytest.skip(f"this libsndfile has no {kind} {subtype}")
    wave = tone(440, rate_hz)
    path = write(tmp_path / "clip", wave, rate_hz, kind, subtype)
    info = probe(path)
    # ADPCM fills its last block with zeros.
    assert len(wave) <= info.frames <= len(wave) + 2100
    assert (info.sample_rate_hz, info.channels) == (rate_hz, 1)
    samples = read_clip(path, sample_rate_hz=rate_hz)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == info.frames
    error = samples[1000 : len(wave) - 1000] - wave[1000:-1000]
    assert level_db(wave) - level_db(error) > snr_db


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_big_endian_wav(tmp_path: Path, endian: str) -> None:
    path = tmp_path / "clip.wav"
    sf.write(path, tone(440, 16_000), 16_000, subtype="PCM_16", endian=endian)
    assert path.read_bytes()[:4] == {"LITTLE": b"RIFF", "BIG": b"RIFX"}[endian]
    assert np.abs(read_clip(path, sample_rate_hz=16_000) - tone(440, 16_000)).max() < 2**-15


@pytest.mark.parametrize("channels", [1, 2, 4, 8, 16, 64])
def test_mean_and_choice_of_channels(tmp_path: Path, channels: int) -> None:
    wave = noise(2_000, channels).astype(np.float32)
    path = write(tmp_path / "clip.wav", wave, subtype="FLOAT")
    assert probe(path).channels == channels
    np.testing.assert_allclose(read_clip(path, sample_rate_hz=16_000), wave.mean(axis=1), atol=1e-7)
    last = read_clip(path, sample_rate_hz=16_000, channel=channels - 1)
    np.testing.assert_array_equal(last, wave[:, -1])


@pytest.mark.parametrize("channel", [2, -1, 63])
def test_missing_channel_is_named(tmp_path: Path, channel: int) -> None:
    path = write(tmp_path / "clip.wav", noise(2_000, 2))
    with pytest.raises(ClipError, match=rf"channel {channel} .* of 2") as caught:
        read_clip(path, sample_rate_hz=16_000, channel=channel)
    assert caught.value.code == "bad_channels"


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_resampling_keeps_frequency_level_and_length(tmp_path: Path, rate_hz: int) -> None:
    path = write(tmp_path / "clip.wav", tone(1_000, rate_hz, 2.0), rate_hz, subtype="FLOAT")
    samples = read_clip(path, sample_rate_hz=16_000)
    assert abs(len(samples) - 32_000) <= 1
    middle = samples[4_000:-4_000]
    assert peak_frequency_hz(middle, 16_000) == pytest.approx(1_000, abs=1)
    assert level_db(middle) == pytest.approx(level_db(tone(1_000, 16_000)), abs=0.05)


def test_resampling_is_in_time(tmp_path: Path) -> None:
    wave = tone(440, 48_000, 1.0)
    path = write(tmp_path / "clip.wav", wave, 48_000, subtype="FLOAT")
    samples = read_clip(path, sample_rate_hz=16_000)
    np.testing.assert_allclose(samples[1_000:-1_000], wave[::3][1_000:-1_000], atol=1e-4)


def test_tone_above_nyquist_does_not_alias(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.wav", tone(10_000, 48_000, 2.0), 48_000, subtype="FLOAT")
    samples = read_clip(path, sample_rate_hz=16_000)
    # The tone's sudden start and end are wide-band and do pass.
    assert level_db(samples[4_000:-4_000]) - level_db(tone(10_000, 48_000)) < -80


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("block_s", [0.01, 1.0, 7.3, 1e6])
def test_samples_do_not_depend_on_block_length(tmp_path: Path, rate_hz: int, block_s: float) -> None:
    path = write(tmp_path / "clip.wav", noise(200_001, 2), rate_hz)
    whole = read_clip(path, sample_rate_hz=16_000)
    blocks = list(mono_blocks(path, sample_rate_hz=16_000, block_s=block_s))
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    length = round(block_s * 16_000)
    assert all(len(block) == length for block in blocks[:-1])
    assert 0 < len(blocks[-1]) <= length


def test_blocks_stay_as_they_were(tmp_path: Path) -> None:
    """A consumer may keep blocks: they are no views of a buffer that is used again."""
    wave = noise(300_000, 1).astype(np.float32)
    path = write(tmp_path / "clip.wav", wave, subtype="FLOAT")
    blocks = list(mono_blocks(path, sample_rate_hz=16_000, block_s=65_536 / 16_000))
    np.testing.assert_array_equal(np.concatenate(blocks), wave[:, 0])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_flac_and_wav_are_bit_identical(tmp_path: Path, subtype: str, rate_hz: int) -> None:
    # Integers, since libsndfile's encoders round floats each in their own way.
    wave = np.round(noise(150_000, 2) * 2**31).astype(np.int32)
    wav = write(tmp_path / "clip.wav", wave, rate_hz, "WAV", subtype)
    flac = write(tmp_path / "clip.flac", wave, rate_hz, "FLAC", subtype)
    left = read_clip(wav, sample_rate_hz=16_000)
    np.testing.assert_array_equal(left, read_clip(flac, sample_rate_hz=16_000))
    assert len(left) > 0


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
def test_forward_reading_equals_whole_reading(tmp_path: Path, kind: str) -> None:
    """Blocks of a lossy or predictive decoder join without a seam."""
    subtype = {"FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}[kind]
    path = write(tmp_path / "clip", noise(200_000, 1), 16_000, kind, subtype)
    whole, _ = sf.read(path, dtype="float32")
    np.testing.assert_allclose(read_clip(path, sample_rate_hz=16_000), whole, atol=1e-6)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "really_flac.wav", noise(2_000), kind="FLAC")
    assert probe(path) == AudioInfo(2_000, 16_000, 1, "FLAC", "PCM_16")
    assert probe(path).duration_s == pytest.approx(0.125)
    raw = write(tmp_path / "really_wav.raw", noise(2_000))
    assert probe(raw).format == "WAV"


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/pump\xff\n01.wav"))
    path.write_bytes(write(tmp_path / "clip.wav", noise(2_000)).read_bytes())
    assert len(read_clip(path, sample_rate_hz=16_000)) == 2_000


def test_long_file_is_streamed(tmp_path: Path) -> None:
    """30 minutes (115 MB as float32) pass in a few MB; 24 hours differ in the number of blocks only."""
    path = tmp_path / "long.wav"
    with sf.SoundFile(path, "w", 16_000, 1, "PCM_16") as out:
        minute = noise(16_000 * 60)
        for _ in range(30):
            out.write(minute)
    tracemalloc.start()
    frames = sum(len(block) for block in mono_blocks(path, sample_rate_hz=8_000, block_s=10.0))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert abs(frames - 8_000 * 60 * 30) <= 1
    assert peak_bytes < 8e6


def test_memory_does_not_follow_a_promise(tmp_path: Path) -> None:
    """A FLAC header that promises 2**30 frames costs no more than what the file holds."""
    data = bytearray(write(tmp_path / "clip.flac", noise(200_000), kind="FLAC").read_bytes())
    data[22:26] = (2**30).to_bytes(4, "big")
    path = tmp_path / "promise.flac"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ClipError) as caught:
        read_clip(path, sample_rate_hz=16_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "truncated"
    assert peak_bytes < 8e6


def test_an_abandoned_iteration_closes_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.wav", noise(200_000))
    before = len(list(Path("/proc/self/fd").iterdir()))
    blocks = mono_blocks(path, sample_rate_hz=8_000, block_s=0.1)
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(("rate_hz", "block_s"), [(0, 1.0), (16_000, 0.0), (16_000, -1.0), (16_000, float("nan"))])
def test_impossible_arguments_are_the_callers_fault(tmp_path: Path, rate_hz: int, block_s: float) -> None:
    path = write(tmp_path / "clip.wav", noise(2_000))
    with pytest.raises(ValueError, match="must be above 0"):
        next(mono_blocks(path, sample_rate_hz=rate_hz, block_s=block_s))
