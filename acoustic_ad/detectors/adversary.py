"""The discriminator that judges reconstructions, and what keeps it from winning at once.

A discriminator that tells every reconstruction from sound has nothing to teach. Against an autoencoder it wins in a
few steps, for a reason that has nothing to do with machines: a log-mel frame has a speckle (a periodogram's deviation
is as large as its mean) that no code can carry, so a reconstruction is smoother than sound. Hence `speckled`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from acoustic_ad.detectors.conv import ConvTrunk, Norm
from acoustic_ad.detectors.stages import Over, Size


class Discriminator(nn.Module):
    """Patches [n, frames, mels] -> features [n, F] and the logit [n] of being sound rather than a reconstruction."""

    def __init__(
        self, patch_shape: Size, width: int, stages: int, norm: Norm, spectral: bool, over: Over = "both"
    ) -> None:
        super().__init__()
        self.features = ConvTrunk(patch_shape, width, stages, norm, over)
        self.head = nn.Linear(self.features.features, 1)
        if spectral:
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    spectral_norm(module)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return features, self.head(features).squeeze(1)


def speckled(restored: Tensor, x: Tensor) -> Tensor:
    """Reconstructions [n, frames, mels] with what another patch's reconstruction left unexplained put back on.

    Where residuals do not depend on the patch, these are distributed as sound is, and the discriminator is left with
    what the network could have explained and did not. Gradients flow through the reconstruction only.
    """
    return restored + torch.roll(x - restored, 1, dims=0).detach()


def discriminator_loss(sound: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy of the logits [n] of sound and of reconstructions."""
    return 0.5 * (functional.softplus(-sound).mean() + functional.softplus(fake).mean())


def gradient_penalty(discriminator: Discriminator, x: Tensor) -> Tensor:
    """Mean squared gradient of the logit at sound x [n, frames, mels] (R1, arXiv 1801.04406)."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(x)[1].sum(), x, create_graph=True)
    return gradient.square().sum(dim=(1, 2)).mean()


def accuracy(sound: Tensor, fake: Tensor) -> float:
    """Share of the logits [n] of sound and of reconstructions on the right side of 0; 0.5 is chance."""
    return 0.5 * float((sound > 0).float().mean() + (fake < 0).float().mean())


def feature_distance(sound: Tensor, fake: Tensor) -> Tensor:
    """Mean squared distance of features [n, F], patch by patch."""
    return (sound.detach() - fake).square().mean()


def moment_distance(sound: Tensor, fake: Tensor) -> Tensor:
    """Mean squared distance between the mean, and between the spread, of features [n, F] over a batch (AEGAN-AD)."""
    sound = sound.detach()
    return (sound.mean(0) - fake.mean(0)).square().mean() + (sound.std(0) - fake.std(0)).square().mean()
