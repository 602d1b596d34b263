"""The front-end measures what it says: in Hz, in dB, wherever the stream is cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_ad.errors import ClipError
from acoustic_ad.sound.features import POWER_FLOOR, FeatureSpec, LogMel, PatchSet, cut_patches

FloatArray = npt.NDArray[np.float32]
SPECS = {
    "16 kHz": FeatureSpec(),
    "48 kHz": FeatureSpec(sample_rate_hz=48_000, n_fft=2048, hop=1024, fmax_hz=24_000.0),
    "8 kHz": FeatureSpec(sample_rate_hz=8_000, n_fft=512, hop=256, n_mels=64, fmax_hz=4_000.0),
    "a band": FeatureSpec(n_fft=2048, hop=160, n_mels=40, fmin_hz=500.0, fmax_hz=5_000.0),
}
DEFAULT = LogMel(FeatureSpec())
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def white(samples: int, seed: int = 0, rms: float = 0.1) -> FloatArray:
    return (rms * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def tone(frequency_hz: float, spec: FeatureSpec, seconds: float = 0.5) -> FloatArray:
    time = np.arange(int(seconds * spec.sample_rate_hz)) / spec.sample_rate_hz
    return (0.3 * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


@every_spec
def test_equals_librosa_with_the_same_settings(spec: FeatureSpec) -> None:
    waveform = white(spec.sample_rate_hz)
    power = librosa.feature.melspectrogram(
        y=waveform.astype(np.float64),
        sr=spec.sample_rate_hz,
        n_fft=spec.n_fft,
        hop_length=spec.hop,
        n_mels=spec.n_mels,
        fmin=spec.fmin_hz,
        fmax=spec.fmax_hz,
        htk=True,
        norm=None,
        pad_mode="reflect",
        dtype=np.float64,
    )
    theirs = librosa.power_to_db(power, ref=1.0, amin=POWER_FLOOR, top_db=None).T
    ours = LogMel(spec)(waveform)
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 1e-4


@every_spec
def test_a_tone_lands_in_its_band(spec: FeatureSpec) -> None:
    centres, log_mel = spec.band_centres_hz, LogMel(spec)
    assert centres.shape == (spec.n_mels,) and (np.diff(centres) > 0).all()
    assert spec.fmin_hz < centres[0] and centres[-1] < spec.fmax_hz
    # The narrowest bands are narrower than the Hann window's main lobe of four bins.
    lobe = 2.0 * spec.sample_rate_hz / spec.n_fft
    for band in np.linspace(2, spec.n_mels - 2, 9).astype(int):
        loudest = int(log_mel(tone(centres[band], spec))[2:-2].mean(axis=0).argmax())
        assert abs(centres[loudest] - centres[band]) <= lobe
        if centres[band + 1] - centres[band] > lobe:
            assert loudest == band


@every_spec
def test_six_db_more_is_six_db_more(spec: FeatureSpec) -> None:
    log_mel, waveform = LogMel(spec), white(spec.sample_rate_hz // 2)
    np.testing.assert_allclose(log_mel(2.0 * waveform) - log_mel(waveform), 6.0206, atol=1e-4)


def test_silence_is_at_the_floor() -> None:
    assert (DEFAULT(np.zeros(16_000, np.float32)) == -100.0).all()
    assert (DEFAULT(white(16_000, rms=1e-12)) == -100.0).all()


def test_a_click_shows_where_it_is() -> None:
    waveform = np.zeros(16_000, np.float32)
    waveform[20 * 512] = 1.0  # frame k is centred on sample k * hop
    assert int(DEFAULT(waveform).mean(axis=1).argmax()) == 20


@pytest.mark.parametrize("samples", [513, 514, 1023, 1024, 1025, 5119, 5120, 5121, 16_000])
def test_frame_count(samples: int) -> None:
    assert DEFAULT(white(samples)).shape == (1 + samples // 512, 128)


@pytest.mark.parametrize("samples", [0, 1, 511, 512])
def test_too_short_says_both_numbers(samples: int) -> None:
    with pytest.raises(ClipError, match=f"{samples} samples at 16000 Hz.*more than 512") as caught:
        DEFAULT(white(samples))
    assert caught.value.code == "too_short"
    with pytest.raises(ClipError):
        list(DEFAULT.stream(iter([])))


# Also hops that leave samples out between frames: the gap must not be lost at the cut.
STREAMED = [LogMel(FeatureSpec(n_fft=256, hop=hop, n_mels=16)) for hop in (64, 100, 128, 256, 257, 600)]


@settings(max_examples=60, deadline=None)
@given(
    log_mel=st.sampled_from(STREAMED),
    samples=st.integers(129, 4000),
    cuts=st.lists(st.integers(0, 4000), max_size=12),
)
def test_stream_equals_whole_wherever_it_is_cut(log_mel: LogMel, samples: int, cuts: list[int]) -> None:
    waveform = white(samples)
    blocks = np.split(waveform, sorted(min(cut, samples) for cut in cuts))
    streamed, whole = np.concatenate(list(log_mel.stream(blocks))), log_mel(waveform)
    assert streamed.shape == whole.shape == (1 + samples // log_mel.spec.hop, 16)
    np.testing.assert_allclose(streamed, whole, atol=1e-4)


@pytest.mark.parametrize("log_mel", STREAMED, ids=[f"hop {log_mel.spec.hop}" for log_mel in STREAMED])
@pytest.mark.parametrize("parts", [2, 7, 60])
def test_stream_equals_whole_in_equal_parts(log_mel: LogMel, parts: int) -> None:
    waveform = white(6_000)
    streamed = np.concatenate(list(log_mel.stream(np.array_split(waveform, parts))))
    assert len(streamed) == 1 + 6_000 // log_mel.spec.hop
    np.testing.assert_allclose(streamed, log_mel(waveform), atol=1e-4)


def test_a_stream_of_single_samples_is_read() -> None:
    waveform = white(1500)
    streamed = np.concatenate(list(DEFAULT.stream(np.split(waveform, len(waveform)))))
    np.testing.assert_allclose(streamed, DEFAULT(waveform), atol=1e-4)


def test_digest_changes_with_every_field_and_with_nothing_else() -> None:
    spec = FeatureSpec()
    others: dict[str, Any] = {
        field.name: dataclasses.replace(spec, **{field.name: getattr(spec, field.name) + 1}).digest
        for field in dataclasses.fields(spec)
    }
    assert len({spec.digest, *others.values()}) == len(others) + 1
    assert FeatureSpec().digest == spec.digest
    assert FeatureSpec(fmin_hz=0, fmax_hz=8000) == spec and FeatureSpec(fmin_hz=0, fmax_hz=8000).digest == spec.digest


def test_torch_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert torch.get_default_dtype() == torch.float32
    torch.set_default_dtype(torch.float16)
    try:
        log_mel = LogMel(FeatureSpec())
        assert torch.get_default_dtype() == torch.float16 and torch.version.cuda == "12.8"
    finally:
        torch.set_default_dtype(torch.float32)
    waveform = white(8_000)
    np.testing.assert_array_equal(log_mel(waveform), DEFAULT(waveform))


def test_torch_is_left_as_it_was_even_by_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("no transform")

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr("torchaudio.transforms.MelSpectrogram", fail)
    with pytest.raises(RuntimeError, match="no transform"):
        LogMel(FeatureSpec())
    assert torch.get_default_dtype() == torch.float32 and torch.version.cuda == "12.8"


def test_the_waveform_is_only_read() -> None:
    waveform = white(8_000)
    before = waveform.copy()
    first = DEFAULT(waveform)
    assert np.array_equal(first, DEFAULT(waveform)) and np.array_equal(before, waveform)
    assert np.array_equal(first, DEFAULT(before.astype(np.float64)))


clip_lengths = st.lists(st.integers(0, 30), min_size=1, max_size=6)


@settings(deadline=None)
@given(lengths=clip_lengths, frames=st.integers(1, 8), hop=st.integers(1, 10))
def test_patch_set_agrees_with_cut_patches_clip_by_clip(lengths: list[int], frames: int, hop: int) -> None:
    # Each frame holds its clip's number and its own, so that patches show where they were cut.
    clips = [
        np.stack([np.full(length, number), np.arange(length)], axis=1).astype(np.float32)
        for number, length in enumerate(lengths)
    ]
    patches = PatchSet(clips, frames, hop)
    cut = [cut_patches(clip, frames, hop) for clip in clips]
    everything = patches[np.arange(len(patches))]
    assert patches.shape == everything.shape == (sum(map(len, cut)), frames, 2)
    assert np.array_equal(everything, np.concatenate(cut))
    assert np.array_equal(patches.clip, np.repeat(np.arange(len(clips)), [len(part) for part in cut]))
    for number, patch in zip(patches.clip, everything, strict=True):
        assert (patch[:, 0] == number).all(), "a patch holds frames of two clips"
        assert (np.diff(patch[:, 1]) == 1).all() and patch[0, 1] % hop == 0


def test_patches_come_in_the_order_asked_for() -> None:
    clip = white(40 * 3).reshape(40, 3)
    patches = PatchSet([clip], 5)
    index = np.array([7, 0, 35, 7])
    assert np.array_equal(patches[index], cut_patches(clip, 5)[index])
    assert patches[index].dtype == np.float32


def test_a_clip_shorter_than_a_patch_has_none() -> None:
    assert cut_patches(white(12).reshape(4, 3), 5).shape == (0, 5, 3)
