"""No network at all: how far a patch's mean log-mel lies from the normal ones.

With the `residual_mahalanobis` clip scorer this is the Mahalanobis distance of the clip-mean log-mel, the detector that
a learned one has to beat. It fails where normal operation is not one cloud (several speeds, several products) and
where the fault leaves the mean spectrum alone (a missing stroke).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # its parts load when first asked for: scoring needs none of them
import torch
from pydantic import Field
from torch import Tensor, nn

from acoustic_ad.detectors.base import (
    Evidence,
    FloatArray,
    IntArray,
    Options,
    PatchSource,
    ProgressCallback,
    State,
    Training,
    check_state,
    not_fitted,
    register,
)
from acoustic_ad.detectors.training import MOST_SHUFFLED, SCORING_BATCH, evidence_by


class MahalanobisOptions(Options):
    """Limits of the fit."""

    max_patches: int = Field(200_000, ge=2)  # a covariance of 128 bands needs no more


@register("mahalanobis")
class Mahalanobis:
    """Paper score: squared Mahalanobis distance of the patch's mean spectrum, Ledoit-Wolf shrunk (Ledoit & Wolf 2004).

    The residual is the mean spectrum itself (patches are normalised, so normal operation is zero), and so is the code.
    """

    Options = MahalanobisOptions

    def __init__(self, options: MahalanobisOptions, patch_shape: tuple[int, int], seed: int = 0) -> None:
        self.options = options
        self.patch_shape = patch_shape
        self._seed = seed
        self._mean: npt.NDArray[np.float64] | None = None
        self._precision: npt.NDArray[np.float64] | None = None

    def fit(
        self,
        patches: PatchSource,
        held_out: PatchSource | None = None,
        *,
        steps: int | None = None,
        start: State | None = None,
        progress: ProgressCallback | None = None,
    ) -> Training:
        """Mean and shrunk covariance of the patch means; held-out patches are not needed."""
        index = self._chosen(len(patches))
        mean = sum(means.sum(axis=0) for means in _patch_means(patches, index)) / len(index)
        scatter, fourth = np.zeros((len(mean), len(mean))), 0.0
        for means in _patch_means(patches, index):
            deviation = means - mean
            scatter += deviation.T @ deviation
            fourth += float(np.square(np.square(deviation).sum(axis=1)).sum())
        self._mean = mean
        self._precision = scipy.linalg.pinvh(_shrunk(scatter / len(index), fourth / len(index), len(index)))
        return Training()

    def _chosen(self, count: int) -> IntArray:
        """The patches to learn from, ascending; of very many, drawn one by one, as their order would take memory."""
        most, rng = self.options.max_patches, np.random.default_rng(self._seed)
        if count <= most:
            return np.arange(count)
        if count > MOST_SHUFFLED:
            return np.unique(rng.integers(count, size=most))
        return np.sort(rng.choice(count, most, replace=False))

    def evidence(self, patches: FloatArray, paper: bool = True) -> Evidence:
        """Evidence for patches [N, frames, mels]; without `paper` its scores are NaN."""
        if not paper:
            if self._mean is None:
                raise not_fitted(self)
            mean = patches.mean(axis=1, dtype=np.float64).astype(np.float32)
            return Evidence(np.full(len(mean), np.nan, np.float32), mean, mean)
        return evidence_by(self.module(), patches)

    def module(self) -> nn.Module:
        """As `Detector.module`."""
        if self._mean is None or self._precision is None:
            raise not_fitted(self)
        return _Judging(torch.from_numpy(self._mean), torch.from_numpy(self._precision)).eval()

    def reconstruct(self, patches: FloatArray) -> FloatArray:
        """The mean spectrum of normal operation, whatever the patch."""
        if self._mean is None:
            raise not_fitted(self)
        return np.broadcast_to(self._mean.astype(np.float32), patches.shape)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The mean [mels] and the precision [mels, mels]."""
        if self._mean is None or self._precision is None:
            raise not_fitted(self)
        return {"mean": self._mean.copy(), "precision": self._precision.copy()}

    def load_state(self, state: State) -> None:
        """Take over a `state`; raises BundleError where it does not fit."""
        mels = self.patch_shape[1]
        check_state(state, {"mean": np.zeros(mels), "precision": np.zeros((mels, mels))})
        self._mean, self._precision = np.array(state["mean"]), np.array(state["precision"])


def _patch_means(patches: PatchSource, index: IntArray) -> Iterator[npt.NDArray[np.float64]]:
    """The mean spectra [k, mels] of some patches, so many at a time."""
    for part in np.array_split(index, len(index) // SCORING_BATCH + 1):
        yield patches[part].mean(axis=1).astype(np.float64)


def _shrunk(covariance: npt.NDArray[np.float64], fourth: float, count: int) -> npt.NDArray[np.float64]:
    """The sample covariance [p, p] of `count` vectors, drawn towards a multiple of the identity (Ledoit & Wolf 2004).

    `fourth` is the mean fourth power of the vectors' distance from their mean: how far single vectors' outer products
    scatter around the covariance says how far it may be off.
    """
    p = len(covariance)
    size = float(np.trace(covariance)) / p
    apart = float(np.square(covariance).sum())
    distance = (apart - p * size**2) / p  # of the covariance from the identity's multiple
    off = min((fourth - apart) / (p * count), distance)
    share = off / distance if p > 1 and off > 0 else 0.0
    return (1.0 - share) * covariance + share * size * np.eye(p)


class _Judging(nn.Module):
    """Patches [n, frames, mels] -> squared distance, mean spectrum, mean spectrum; in double precision between."""

    mean: Tensor
    precision: Tensor

    def __init__(self, mean: Tensor, precision: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("precision", precision)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.double().mean(dim=1)
        deviation = mean - self.mean
        score = ((deviation @ self.precision) * deviation).sum(dim=1)
        residual = mean.float()
        return score.float(), residual, residual
