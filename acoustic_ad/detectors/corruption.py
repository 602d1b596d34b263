"""What is done to a patch before a network has to restore it: what is restored well is learnt, not copied."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from acoustic_ad.detectors.base import Options


class CorruptionOptions(Options):
    """Noise and masks on the patches that a network learns from; it is scored on clean ones."""

    noise: float = Field(0.0, ge=0)  # standard deviation of the Gaussian noise, in normalised units
    mask_frames: float = Field(0.0, ge=0, lt=1)  # share of training patches with one frame hidden
    mask_bands: float = Field(0.0, ge=0, lt=1)  # share of training patches with a run of bands hidden
    mask_band_width: int = Field(16, ge=1)


def corrupted(x: Tensor, options: CorruptionOptions) -> Tensor:
    """Patches [n, frames, mels] with noise, and in some a hidden frame or a hidden run of bands (0 is their mean)."""
    n, frames, mels = x.shape
    if options.noise:
        x = x + options.noise * torch.randn_like(x)
    if not options.mask_frames and not options.mask_bands:
        return x
    frame = (torch.arange(frames) == torch.randint(frames, (n, 1))) & (torch.rand(n, 1) < options.mask_frames)
    first, band = torch.randint(mels, (n, 1)), torch.arange(mels)
    run = (band >= first) & (band < first + options.mask_band_width) & (torch.rand(n, 1) < options.mask_bands)
    return x.masked_fill(frame[:, :, None] | run[:, None, :], 0.0)
