"""Patches as machines give them: a few operating points, each with its spectrum and its beat, under a speckle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def normal_patches(count: int, shape: tuple[int, int], seed: int) -> FloatArray:
    """[count, frames, mels], about standardised: three quarters of the variance can be explained."""
    rng = np.random.default_rng(seed)
    frames, mels = shape
    frame, band = np.arange(frames)[None, :, None], np.arange(mels)[None, None, :]
    load = rng.uniform(-1.0, 1.0, (count, 1, 1))
    phase = rng.uniform(0.0, 2.0 * np.pi, (count, 1, 1))
    spectrum = load * np.cos(2.0 * np.pi * band / mels)
    beat = 0.7 * np.cos(2.0 * np.pi * frame / 8.0 + phase) * (band < mels // 2)
    return np.asarray(spectrum + beat + 0.4 * rng.standard_normal((count, *shape)), np.float32)


def with_tone(patches: FloatArray, band: int, by: float) -> FloatArray:
    """The patches with one band louder by `by` deviations."""
    faulty = patches.copy()
    faulty[:, :, band] += by
    return faulty
