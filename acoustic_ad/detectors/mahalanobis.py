"""No network at all: how far a patch's mean log-mel lies from the normal ones.

With the `residual_mahalanobis` clip scorer this is the Mahalanobis distance of the clip-mean log-mel, the detector that
a learned one has to beat. It fails where normal operation is not one cloud (several speeds, several products) and
where the fault leaves the mean spectrum alone (a missing stroke).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from acoustic_ad.detectors.base import (
    Evidence,
    FloatArray,
    Options,
    PatchSource,
    ProgressCallback,
    State,
    Training,
    check_state,
    not_fitted,
    register,
)
from acoustic_ad.detectors.training import evidence_by


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
        from sklearn.covariance import LedoitWolf  # takes a second to load, and scoring does without

        index = np.arange(len(patches))
        if len(index) > self.options.max_patches:
            index = np.sort(
                np.random.default_rng(self._seed).choice(len(patches), self.options.max_patches, replace=False)
            )
        means = np.concatenate([patches[part].mean(axis=1) for part in np.array_split(index, len(index) // 4096 + 1)])
        fitted = LedoitWolf().fit(means.astype(np.float64))
        self._mean, self._precision = fitted.location_, fitted.precision_
        return Training()

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
