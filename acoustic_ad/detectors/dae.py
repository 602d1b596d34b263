"""Dense denoising autoencoder on a few frames; with the centre frame hidden it is IDNN."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from acoustic_ad.detectors.base import (
    FloatArray,
    PatchSource,
    ProgressCallback,
    State,
    Training,
    register,
)
from acoustic_ad.detectors.corruption import CorruptionOptions, corrupted
from acoustic_ad.detectors.folding import DenseUnscored
from acoustic_ad.detectors.network import NetworkDetector
from acoustic_ad.detectors.training import TrainingOptions, loss_over, minimise, reproducible, seeded, to_tensor
from acoustic_ad.errors import UsageError


class DaeOptions(TrainingOptions, CorruptionOptions):
    """Shape of the network, and what is done to its input in training."""

    hidden: int = Field(128, ge=1, le=8192)
    layers: int = Field(4, ge=1, le=32)  # hidden layers on each side of the code
    latent: int = Field(8, ge=1, le=8192)
    noise: float = Field(0.3, ge=0)  # standard deviation of the Gaussian noise, in normalised units
    mask_frames: float = Field(0.2, ge=0, lt=1)  # share of training patches with one frame hidden
    mask_bands: float = Field(0.2, ge=0, lt=1)  # share of training patches with a run of bands hidden
    predict: Literal["all", "centre"] = "all"  # centre: the centre frame is hidden and predicted (IDNN)


@register("dae")
class DenoisingAutoencoder(NetworkDetector):
    """640-128x4-8-128x4-640 with BatchNorm and ReLU (DCASE 2020 Task 2 baseline), noise and masks in, clean out.

    Paper score: mean squared reconstruction error. `predict = "centre"` hides the centre frame and scores its
    prediction (IDNN, arXiv 2005.09234). Fails where the fault is as easy to reconstruct as normal sound: use a
    statistical clip scorer on the residual rather than the paper score.
    """

    Options = DaeOptions
    _network: nn.Sequential

    def __init__(self, options: DaeOptions, patch_shape: tuple[int, int], seed: int = 0) -> None:
        if options.predict == "centre" and patch_shape[0] < 3:
            raise UsageError(
                f"detector.predict: the centre of {patch_shape[0]} frames has no neighbours on both sides; "
                "features.patch_frames must be 3 or more"
            )
        self.options = options
        self.patch_shape = patch_shape
        self._seed = seed
        with seeded(seed):
            self._network = _dense_autoencoder(options, patch_shape)
        shown = torch.ones(patch_shape)
        if options.predict == "centre":
            shown[patch_shape[0] // 2] = 0.0
        self._shown = shown  # [frames, mels], 0 where the network never sees the patch

    def fit(
        self,
        patches: PatchSource,
        held_out: PatchSource | None = None,
        *,
        steps: int | None = None,
        start: State | None = None,
        progress: ProgressCallback | None = None,
    ) -> Training:
        """Learn to restore clean patches [N, frames, mels]; stops early on the restoration of `held_out`."""
        with reproducible(self._seed) as rng:
            self._network = _dense_autoencoder(self.options, self.patch_shape)
            if start is not None:
                self.load_state(start)
            held_out_loss = None if held_out is None else lambda: loss_over(held_out, self._error)
            training = minimise(
                self._network, self._loss, held_out_loss, patches, self.options, rng, steps=steps, progress=progress
            )
        self._fitted = True
        return training

    def module(self) -> nn.Module:
        """As `Detector.module`."""
        self._check_fitted()
        return _Judging(self).eval()

    def unscored(self) -> nn.Module:
        """As `NetworkDetector.unscored`."""
        encoder, decoder = self._network
        judged = torch.ones(self.patch_shape[0])
        shown = judged.clone()
        if self.options.predict == "centre":
            shown[len(shown) // 2] = 0.0
            judged = 1.0 - shown
        return DenseUnscored(encoder, decoder, self.options.latent, judged, shown)

    def reconstruct(self, patches: FloatArray) -> FloatArray:
        """The restored patches, [N, frames, mels]."""
        self._check_fitted()
        with torch.inference_mode():
            x = to_tensor(patches)
            return np.asarray(self._network(self._hide(x)).view_as(x).numpy())

    def _loss(self, clean: Tensor) -> Tensor:
        restored = self._network(self._hide(corrupted(clean, self.options))).view_as(clean)
        return self._judged(restored - clean).square().mean()

    def _error(self, clean: Tensor) -> Tensor:
        return self._judged(self._network(self._hide(clean)).view_as(clean) - clean).square().mean(dim=(1, 2))

    def _hide(self, x: Tensor) -> Tensor:
        return x if self.options.predict == "all" else x * self._shown

    def _judged(self, x: Tensor) -> Tensor:
        centre = self.patch_shape[0] // 2
        return x if self.options.predict == "all" else x[:, centre : centre + 1]


class _Judging(nn.Module):
    """Patches [n, frames, mels] -> score, residual, code."""

    def __init__(self, detector: DenoisingAutoencoder) -> None:
        super().__init__()
        self.encoder, self.decoder = detector._network
        self._shape, self._hide, self._judged = detector.patch_shape, detector._hide, detector._judged

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code = self.encoder(self._hide(x))
        residual = self._judged(x - self.decoder(code).view(-1, *self._shape))
        return residual.square().mean(dim=(1, 2)), residual.mean(dim=1), code


def _dense_autoencoder(options: DaeOptions, patch_shape: tuple[int, int]) -> nn.Sequential:
    """(encoder, decoder) on flattened patches."""
    size = patch_shape[0] * patch_shape[1]

    def dense(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]

    encoder: list[nn.Module] = [nn.Flatten(), *dense(size, options.hidden)]
    decoder: list[nn.Module] = [*dense(options.latent, options.hidden)]
    for _ in range(options.layers - 1):
        encoder += dense(options.hidden, options.hidden)
        decoder += dense(options.hidden, options.hidden)
    encoder += dense(options.hidden, options.latent)
    decoder += [nn.Linear(options.hidden, size)]
    return nn.Sequential(nn.Sequential(*encoder), nn.Sequential(*decoder))
