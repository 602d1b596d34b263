"""The front-end without torch: the same numbers as with it, up to rounding."""

from __future__ import annotations

import numpy as np
import pytest
from test_features import SPECS, white

from acoustic_ad.errors import ClipError
from acoustic_ad.sound.features import FeatureSpec, LogMel
from acoustic_ad.sound.numpy_log_mel import NumpyLogMel, mel_filters

every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


@every_spec
def test_log_mels_are_those_of_torch(spec: FeatureSpec) -> None:
    waveform = white(2 * spec.sample_rate_hz)
    wanted, found = LogMel(spec)(waveform), NumpyLogMel(spec)(waveform)
    assert found.dtype == np.float32 and found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-3  # dB


@every_spec
def test_filters_and_window_are_those_of_torch(spec: FeatureSpec) -> None:
    front_end = LogMel(spec)
    assert np.array_equal(mel_filters(spec).astype(np.float32), front_end.filters.numpy())
    assert np.allclose(NumpyLogMel(spec)._window, front_end.window.numpy(), atol=1e-7)


@every_spec
def test_the_cut_of_the_stream_changes_nothing(spec: FeatureSpec) -> None:
    front_end, waveform = NumpyLogMel(spec), white(3 * spec.sample_rate_hz, seed=1)
    whole = front_end(waveform)
    pieces = np.split(waveform, [700, 701, 9_000, len(waveform) - 3])
    assert np.abs(np.concatenate(list(front_end.stream(pieces))) - whole).max() < 1e-3  # dB


def test_silence_is_the_floor_and_a_short_clip_an_error() -> None:
    assert np.allclose(NumpyLogMel(FeatureSpec())(np.zeros(16_000)), -100.0, atol=1e-4)
    with pytest.raises(ClipError) as caught:
        NumpyLogMel(FeatureSpec())(np.zeros(512))
    assert caught.value.code == "too_short"
