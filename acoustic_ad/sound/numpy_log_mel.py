"""The front-end by numpy: the log-mel of `features.LogMel` up to rounding, where torch is not loaded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from acoustic_ad.sound.features import FeatureSpec, FloatArray, FramedLogMel

Array = npt.NDArray[np.float64]


class NumpyLogMel(FramedLogMel):
    """As `LogMel`, in single precision as well."""

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__(spec, mel_filters(spec).astype(np.float32))
        # Periodic, as torch's: the window of n_fft + 1 samples without its last.
        self._window = np.hanning(spec.n_fft + 1)[:-1].astype(np.float32)

    def _spectrum(self, samples: FloatArray) -> npt.NDArray[np.complex64]:
        frames = np.lib.stride_tricks.sliding_window_view(samples, self.spec.n_fft)[:: self.spec.hop]
        return np.fft.rfft(frames * self._window, axis=1).astype(np.complex64, copy=False)


def mel_filters(spec: FeatureSpec) -> Array:
    """Triangles [n_fft / 2 + 1 bins, mels] on the power in each bin, HTK scale, not normalised to equal area."""
    bins_hz = np.linspace(0.0, spec.sample_rate_hz // 2, spec.n_fft // 2 + 1)
    low, high = (2595.0 * np.log10(1.0 + edge / 700.0) for edge in (spec.fmin_hz, spec.fmax_hz))
    corners_hz = 700.0 * (10.0 ** (np.linspace(low, high, spec.n_mels + 2) / 2595.0) - 1.0)
    distance = corners_hz[None, :] - bins_hz[:, None]
    width = np.diff(corners_hz)
    rising, falling = -distance[:, :-2] / width[:-1], distance[:, 2:] / width[1:]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))
