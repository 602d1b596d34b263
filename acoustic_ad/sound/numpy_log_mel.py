"""The front-end by numpy: the log-mel of `features.LogMel` up to rounding, where torch is not loaded."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from acoustic_ad.sound.features import FeatureSpec, FloatArray, FramedLogMel, in_decibels

Array = npt.NDArray[np.float64]
# Frames transformed at a time: their spectra stay in the processor's cache.
FRAMES_AT_ONCE: Final = 64


class NumpyLogMel(FramedLogMel):
    """As `LogMel`, in single precision as well."""

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__(spec)
        # Periodic, as torch's: the window of n_fft + 1 samples without its last.
        self._window = np.hanning(spec.n_fft + 1)[:-1].astype(np.float32)
        filters = mel_filters(spec).astype(np.float32)
        used = np.flatnonzero(filters.any(axis=1))
        self._bins = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        self._filters = filters[self._bins]

    def _frames(self, samples: FloatArray) -> FloatArray:
        n_fft, hop = self.spec.n_fft, self.spec.hop
        windows = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, np.float32), n_fft)[::hop]
        mel = np.empty((len(windows), self.spec.n_mels), np.float32)
        for first in range(0, len(windows), FRAMES_AT_ONCE):
            part = slice(first, first + FRAMES_AT_ONCE)
            spectrum = np.fft.rfft(windows[part] * self._window, axis=1)[:, self._bins]
            power = np.square(spectrum.real) + np.square(spectrum.imag)
            np.matmul(power, self._filters, out=mel[part])
        return in_decibels(mel)


def mel_filters(spec: FeatureSpec) -> Array:
    """Triangles [n_fft / 2 + 1 bins, mels] on the power in each bin, HTK scale, not normalised to equal area."""
    bins_hz = np.linspace(0.0, spec.sample_rate_hz // 2, spec.n_fft // 2 + 1)
    low, high = (2595.0 * np.log10(1.0 + edge / 700.0) for edge in (spec.fmin_hz, spec.fmax_hz))
    corners_hz = 700.0 * (10.0 ** (np.linspace(low, high, spec.n_mels + 2) / 2595.0) - 1.0)
    distance = corners_hz[None, :] - bins_hz[:, None]
    width = np.diff(corners_hz)
    rising, falling = -distance[:, :-2] / width[:-1], distance[:, 2:] / width[1:]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))
