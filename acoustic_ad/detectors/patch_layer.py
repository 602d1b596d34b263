"""The first layer of a dense network on patches, at the cost of a convolution along the frames that they share."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Array = npt.NDArray[np.float64]

# Frames of a tile. With more of them the matrices below amplify rounding; with 8 it stays within 1e-5 of a unit.
TILE: Final = 8
# Where polynomials of degree 7 are looked at; the eighth point is infinity.
POINTS: Final = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


class PatchLayer(nn.Module):
    """A linear layer on flattened patches [n, frames, mels] -> [n, hidden]; of the frames, it sees those `shown`.

    Patches that lie one frame apart are a convolution of the frames, which minimal filtering does in 8 products of
    matrices for 4 patches of 5 frames, in place of 20 (Toom, Cook, Winograd; arXiv 1509.09308). Rounding is that of
    single precision either way. Other patches, and those of more than 7 frames, are gone through frame by frame; either
    way, overlapping patches are never copied apart.
    """

    weight: Tensor  # [frames, mels, hidden]
    bias: Tensor  # [hidden]
    tile_weight: Tensor  # [TILE, mels, hidden]: the weight at the points
    to_points: Tensor  # [TILE, TILE]: frames of a tile -> the points
    to_patches: Tensor  # [patches of a tile, TILE]

    def __init__(self, layer: nn.Linear, shown: Tensor) -> None:
        super().__init__()
        frames = len(shown)
        weight = layer.weight.detach().view(layer.out_features, frames, -1).permute(1, 2, 0)
        self._shown = torch.nonzero(shown).flatten().tolist()
        self.register_buffer("weight", weight.contiguous())
        self.register_buffer("bias", layer.bias.detach())
        self._patches_a_tile = TILE - frames + 1 if frames > 1 else 1
        if self._patches_a_tile < 2:  # nothing to be saved
            return
        to_patches, weight_to_points, to_points = minimal_filtering(frames)
        seen = weight.double() * shown[:, None, None]
        at_points = torch.einsum("pf,fmh->pmh", torch.from_numpy(weight_to_points), seen)
        self.register_buffer("tile_weight", at_points.float().contiguous())
        self.register_buffer("to_points", torch.from_numpy(to_points).float())
        self.register_buffer("to_patches", torch.from_numpy(to_patches).float())

    def forward(self, x: Tensor) -> Tensor:
        """Patches [n, frames, mels] -> [n, hidden]."""
        one_frame_apart = x.stride() == (x.shape[2], x.shape[2], 1)
        if self._patches_a_tile > 1 and one_frame_apart and len(x) >= TILE:
            return self._by_tiles(x)
        one, *others = self._shown
        hidden = torch.addmm(self.bias, x[:, one], self.weight[one])
        for frame in others:
            hidden.addmm_(x[:, frame], self.weight[frame])
        return hidden

    def _by_tiles(self, x: Tensor) -> Tensor:
        count, frames, mels = x.shape
        step = self._patches_a_tile
        tiles = -(-count // step)
        shared = x.as_strided((count + frames - 1, mels), (mels, 1))
        missing = (tiles - 1) * step + TILE - len(shared)
        if missing > 0:
            shared = torch.cat([shared, shared.new_zeros(missing, mels)])
        tiled = shared.as_strided((TILE, tiles, mels), (mels, step * mels, 1))
        at_points = (self.to_points @ tiled.reshape(TILE, -1)).view(TILE, tiles, mels)
        products = torch.bmm(at_points, self.tile_weight).view(TILE, -1)
        patches = (self.to_patches @ products).view(step, tiles, -1).transpose(0, 1)
        return patches.reshape(tiles * step, -1)[:count].add_(self.bias)


def minimal_filtering(taps: int) -> tuple[Array, Array, Array]:
    """A [outputs, TILE], G [TILE, taps], B [TILE, TILE]: filter g over a tile d is A ((G g) * (B d)).

    There are TILE - taps + 1 outputs. It is the multiplication of polynomials by their values at points, transposed.
    """
    outputs, whole = powers(TILE - taps + 1), powers(TILE)
    to_points = np.linalg.inv(whole).T
    # Points at which a tile is large share that with the filter: what is rounded is then of one size.
    size = np.abs(to_points).max(axis=1, keepdims=True)
    return outputs.T, powers(taps) * size, to_points / size


def powers(count: int) -> Array:
    """[TILE, count]: the powers 0..count-1 of each point; at infinity only the highest counts."""
    finite = np.power(np.array(POINTS)[:, None], np.arange(count))
    return np.concatenate([finite, np.eye(count)[-1:]])
