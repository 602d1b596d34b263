"""Convolutional networks on patches [n, frames, mels] of any size: patch -> vector, vector -> patch; see `stages`."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from acoustic_ad.detectors.stages import Over, Size, Stage, stages_of

Norm = Literal["batch", "layer"]


def _down(stage: Stage) -> nn.Conv2d:
    """Map of the stage's `size` -> map of `halved`."""
    return nn.Conv2d(stage.inputs, stage.outputs, stage.kernel, stage.stride, stage.padding)


def _up(stage: Stage) -> nn.ConvTranspose2d:
    """Map of the stage's `halved` -> map of `size`."""
    return nn.ConvTranspose2d(stage.outputs, stage.inputs, stage.kernel, stage.stride, stage.padding, stage.lost)


def _norm(kind: Norm, channels: int) -> nn.Module:
    """BatchNorm, or LayerNorm over channels and map (which does not tie the patches of a batch together)."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(1, channels)


class ConvTrunk(nn.Module):
    """Patches [n, frames, mels] -> features [n, `features`]."""

    def __init__(self, patch_shape: Size, width: int, stages: int, norm: Norm, over: Over = "both") -> None:
        super().__init__()
        self._over = over
        plan = stages_of(patch_shape, width, stages, over)
        layers: list[nn.Module] = []
        for stage in plan:
            layers.append(_down(stage))
            if stage is not plan[0]:  # DCGAN found that a norm right behind the input makes training oscillate
                layers.append(_norm(norm, stage.outputs))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.features = plan[-1].outputs * plan[-1].halved[0] * plan[-1].halved[1]

    def forward(self, x: Tensor) -> Tensor:
        image = x.unsqueeze(1) if self._over == "both" else x.transpose(1, 2).unsqueeze(3)
        features: Tensor = self.layers(image)
        return features


class ConvEncoder(nn.Sequential):
    """Patches [n, frames, mels] -> [n, outputs], linear at the end."""

    def __init__(self, patch_shape: Size, width: int, stages: int, outputs: int, over: Over = "both") -> None:
        trunk = ConvTrunk(patch_shape, width, stages, "batch", over)
        super().__init__(trunk, nn.Linear(trunk.features, outputs))


class ConvDecoder(nn.Module):
    """Codes [n, latent] -> patches [n, frames, mels]: the encoder's stages in reverse, linear at the end."""

    def __init__(self, patch_shape: Size, width: int, stages: int, latent: int, over: Over = "both") -> None:
        super().__init__()
        self._over = over
        plan = stages_of(patch_shape, width, stages, over)
        top = (plan[-1].outputs, *plan[-1].halved)
        layers: list[nn.Module] = [nn.Linear(latent, top[0] * top[1] * top[2]), nn.Unflatten(1, top)]
        for stage in reversed(plan):
            layers += [nn.BatchNorm2d(stage.outputs), nn.ReLU(), _up(stage)]
        self.layers = nn.Sequential(*layers)

    def forward(self, code: Tensor) -> Tensor:
        image: Tensor = self.layers(code)
        return image.squeeze(1) if self._over == "both" else image.squeeze(3).transpose(1, 2)
