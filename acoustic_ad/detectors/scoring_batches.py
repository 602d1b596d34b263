"""Patches for scoring, so many at a time, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from acoustic_ad.detectors.base import FloatArray

# Libraries multiply a handful of rows by other kernels, whose sums round differently, by up to 4e-6 of a score's spread
# (torch 2.14, 1 to 3 patches; onnxruntime 1.32, one patch). From 4 rows on no patch moved by a bit; 16 leaves room for
# processors with larger tiles, and costs nothing: only a very short clip, or the end of a long one, is filled up.
LEAST_BATCH: Final = 16


def scoring_batches(patches: FloatArray, size: int) -> Iterator[tuple[FloatArray, int]]:
    """Batches [n, frames, mels] in float32, each with how many of its rows are patches.

    The rest are zeros; at least one batch comes, so that what judges it tells the shapes of its answers. Patches that
    are views of the frames they share stay so, where they may be written to: torch asks for that.
    """
    for start in range(0, max(len(patches), 1), size):
        batch = np.require(patches[start : start + size], np.float32, ["W"])
        count = len(batch)
        if count < LEAST_BATCH:
            batch = np.concatenate([batch, np.zeros((LEAST_BATCH - count, *batch.shape[1:]), np.float32)])
        yield batch, count
