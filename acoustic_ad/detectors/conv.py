"""Convolutional networks on patches [n, frames, mels] of any size: patch -> vector, vector -> patch.

Each stage halves as DCGAN does (arXiv 1511.06434: kernel 4, stride 2, no pooling), but leaves alone an axis that is
down to three or fewer, so that short patches work too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Norm = Literal["batch", "layer"]
# both: the patch is an image, and a pattern means the same in any band. time: bands are channels, each with a meaning
# of its own, as a machine's bands have; a third of the work besides.
Over = Literal["time", "both"]
Size = tuple[int, int]
CONV_SCORING_BATCH = 256  # activations of 256 patches 32x128 take some 20 MB a layer


@dataclass(frozen=True, slots=True)
class Stage:
    """One halving and its inverse: channels and map size before and after."""

    inputs: int
    outputs: int
    size: Size

    @property
    def stride(self) -> Size:
        """2 along every axis that is long enough to halve."""
        return (2 if self.size[0] > 3 else 1, 2 if self.size[1] > 3 else 1)

    @property
    def halved(self) -> Size:
        """The map after this stage."""
        return (self.size[0] // self.stride[0], self.size[1] // self.stride[1])

    def down(self) -> nn.Conv2d:
        """Map of `size` -> map of `halved`."""
        return nn.Conv2d(self.inputs, self.outputs, self._kernel(), self.stride, self._padding())

    def up(self) -> nn.ConvTranspose2d:
        """Map of `halved` -> map of `size`."""
        # what halving dropped: the last row of an axis of odd length
        lost = (self.size[0] % self.stride[0], self.size[1] % self.stride[1])
        return nn.ConvTranspose2d(self.outputs, self.inputs, self._kernel(), self.stride, self._padding(), lost)

    def _kernel(self) -> Size:
        return (_kernel(self.size[0]), _kernel(self.size[1]))

    def _padding(self) -> Size:
        return (int(self.size[0] > 1), int(self.size[1] > 1))


def _kernel(length: int) -> int:
    if length > 3:
        return 4
    return 3 if length > 1 else 1


def stages_of(patch_shape: Size, width: int, count: int, over: Over) -> list[Stage]:
    """The stages for patches [frames, mels]: `width` channels in each over time, doubled in each over both axes."""
    frames, mels = patch_shape
    stage = Stage(mels, width, (frames, 1)) if over == "time" else Stage(1, width, (frames, mels))
    stages = [stage]
    for _ in range(count - 1):
        stage = Stage(stage.outputs, stage.outputs * (1 if over == "time" else 2), stage.halved)
        stages.append(stage)
    return stages


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
            layers.append(stage.down())
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
            layers += [nn.BatchNorm2d(stage.outputs), nn.ReLU(), stage.up()]
        self.layers = nn.Sequential(*layers)

    def forward(self, code: Tensor) -> Tensor:
        image: Tensor = self.layers(code)
        return image.squeeze(1) if self._over == "both" else image.squeeze(3).transpose(1, 2)
